"""Exceptions that are awkward to handle, and every place of a pipeline where somebody's code can raise one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from headrace.runtime import Flow, Limit, Pipeline, ReadResult, Retry

# --- what is raised ---


class OwnBase(BaseException):
    """Derives from nothing that `except Exception` catches."""


class StrRaises(Exception):
    def __str__(self) -> str:
        raise OwnBase("no text")


class StrGivesNone(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class ReprRaises(Exception):
    def __repr__(self) -> str:
        raise KeyboardInterrupt


class ResponseRaises(Exception):
    @property
    def response(self) -> object:
        raise OwnBase("the request was never made")


class AttributesRaise(Exception):
    def __getattr__(self, name: str) -> object:
        raise KeyError(name)


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


class Equal(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


class Unequal(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise OwnBase("not to be compared")


class Frozen(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set")


class NotesRaise(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise OwnBase("no notes")


class _NamelessKind(type):
    def __getattribute__(cls, name: str) -> object:
        if name in ("__name__", "__qualname__", "__module__"):
            raise OwnBase(f"the class has no {name}")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=_NamelessKind):
    """Of a class that does not say what it is called."""


class ClassRaises(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise OwnBase("of no class")


def _cycle() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


KINDS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("x"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(1),
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": lambda: StopIteration(3),
    "StopAsyncIteration": StopAsyncIteration,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "OwnBase": lambda: OwnBase("x"),
    "ExceptionGroup": lambda: ExceptionGroup("g", [ValueError(1)]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("g", [KeyboardInterrupt()]),
    "StrRaises": lambda: StrRaises("x"),
    "StrGivesNone": lambda: StrGivesNone("x"),
    "ReprRaises": lambda: ReprRaises("x"),
    "ResponseRaises": lambda: ResponseRaises("x"),
    "AttributesRaise": lambda: AttributesRaise("x"),
    "Falsy": lambda: Falsy("x"),
    "Equal": lambda: Equal("x"),
    "Unequal": lambda: Unequal("x"),
    "Frozen": lambda: Frozen("x"),
    "NotesRaise": lambda: NotesRaise("x"),
    "Nameless": lambda: Nameless("x"),
    "ClassRaises": lambda: ClassRaises("x"),
    "a cycle of causes": _cycle,
    "a lone surrogate": lambda: ValueError("no file \udce4.txt"),
    "an escape sequence": lambda: ValueError("\x1b[2J\x9b\u202e\x00 gone\nand a second line"),
    "ten megabytes": lambda: ValueError("x" * 10_000_000),
}
"""By name; each call makes a new one."""
UNREADABLE = ("StrRaises", "StrGivesNone")
NOTELESS = ("NotesRaise",)

# --- where it is raised ---

Raise = Callable[..., Any]


class Orders:
    """A source whose methods raise."""

    name = "orders"
    resumable = False

    def __init__(self, method: str = "", boom: Raise | None = None) -> None:
        self._method, self._boom = method, boom

    def _come_to(self, method: str) -> None:
        if method == self._method and self._boom is not None:
            self._boom()

    def open(self) -> None:
        self._come_to("open")

    def read(self, n: int) -> ReadResult:
        self._come_to("read")
        return ReadResult(list(KINDS), ended=True)

    def close(self) -> None:
        self._come_to("close")


class Bills(Orders):
    """A sink whose methods raise."""

    name = "bills"

    def write(self, items: list[Any]) -> None:
        self._come_to("write")

    def close(self, complete: bool = True) -> None:
        self._come_to("close")


class Strategy(Orders):
    """A function whose `prepare` or `close` raises."""

    def prepare(self) -> None:
        self._come_to("prepare")

    def __call__(self, row: Any) -> Any:
        return row


def _async(boom: Raise) -> Raise:
    async def ask(row: Any) -> Any:
        await asyncio.sleep(0)
        return boom(row)

    return ask


def _fails(row: Any) -> Any:
    raise ValueError(row)


def _same(flow: Any) -> Any:
    return flow.map(lambda row: row)


def source() -> Flow[Any]:
    """A pipeline whose rows are the names of all kinds."""
    return Pipeline("job").source(list(KINDS))


def _from(orders: Orders) -> Flow[Any]:
    return Pipeline("job").source(orders)


ROWS_FAULT: dict[str, Callable[[Raise], Flow[Any]]] = {
    "map": lambda boom: source().map(boom, name="ask"),
    "a coroutine function": lambda boom: source().map(_async(boom), name="ask", retry=2),
    "a coroutine of a plain function": lambda boom: source().map(lambda row: _async(boom)(row), name="ask"),
    "filter": lambda boom: source().filter(boom, name="ask"),
    "tap": lambda boom: source().tap(boom, name="ask"),
    "route": lambda boom: source().route(boom, name="ask", a=lambda flow: flow.sink(lambda row: None)),
    "flat_map": lambda boom: source().flat_map(boom, name="ask"),
    "the items of flat_map": lambda boom: source().flat_map(lambda row: (boom(i) for i in [row]), name="ask"),
    "merge": lambda boom: source().fork(a=_same, b=_same).join(merge=boom, name="ask"),
    "key of a limit": lambda boom: source().map(str, name="ask", limit=Limit(concurrency=2, key=boom)),
    "cost of a limit": lambda boom: source().map(str, name="ask", limit=Limit("100 t/s", cost=boom)),
    "key of a batch": lambda boom: source().batch(2, key=boom, name="ask"),
    "size of a batch": lambda boom: source().batch(max_bytes=99, size=boom, name="ask"),
}
"""What is raised here is the fault of one row: each row is in quarantine, and the run goes on."""
CLASSIFIER = "classify"


def with_classifier(boom: Raise) -> Flow[Any]:
    """Whose classifier raises, asked about the error of a row."""
    return source().map(_fails, name="ask", retry=Retry(2, base=0.001, classify=boom))


RUN_FAILS: dict[str, tuple[Callable[[Raise], Flow[Any]], str]] = {
    "open of a source": (lambda boom: _from(Orders("open", boom)).map(str), "open() of the source 'orders'"),
    "read of a source": (lambda boom: _from(Orders("read", boom)).map(str), "read() of the source 'orders'"),
    "prepare": (lambda boom: source().map(Strategy("prepare", boom)), "prepare() of Strategy"),
    "open of a sink": (lambda boom: source().map(str).sink(Bills("open", boom)), "open() of the sink 'sink' (bills)"),
    "write of a sink": (lambda boom: source().map(str).sink(Bills("write", boom)), "write() of the sink 'sink' (bills)"),
    "a function as a sink": (lambda boom: source().map(str).sink(boom), "write() of the sink 'sink' (boom)"),
    "on_error='fail'": (lambda boom: source().map(boom, name="ask", workers=1, on_error="fail"), "row 0 in 'ask'"),
}  # fmt: skip
"""The run cannot go on, and says who is to blame."""

RUN_GOES_ON: dict[str, tuple[Callable[[Raise], Flow[Any]], str]] = {
    "close of a source": (lambda boom: _from(Orders("close", boom)).map(str), "close() of the source 'orders'"),
    "close of a sink": (lambda boom: source().map(str).sink(Bills("close", boom)), "close() of the sink 'sink' (bills)"),
    "close of a function": (lambda boom: source().map(Strategy("close", boom)), "close() of Strategy"),
}  # fmt: skip
"""All rows are delivered; a note says what went wrong in closing, and whose it was."""
