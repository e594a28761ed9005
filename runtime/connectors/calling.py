"""Connectors as the actors call them: what is asynchronous is awaited, what is no answer is told, and errors bear a name.

An error that a connector raises stays what it is; a remark on it says which method of which source or sink raised it.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

from ..calls.awaiting import Awaiting, Loop
from ..errors import ConfigError, HeadraceError, UnwritableRows
from ..names import connector_name
from ..text import kind_of, remark, told
from .port import Extent, ReadResult


class BadAnswer(HeadraceError, TypeError):
    """A connector's method gave what it must not give."""


Role = Literal["source", "sink"]


def asked(role: Role, connector: object, method: str, *args: object) -> Any:
    """What a connector answers to something that it may be asked before or after a run; None where it has no such method.
    Whatever it raises becomes a `ConfigError` that names the connector and the method; errors of Headrace's stay."""
    try:
        function = getattr(connector, method, None)
        if function is None:
            return None
        if not callable(function):
            raise TypeError(f"it is a {type(function).__name__}, and no method")
        return function(*args)
    except HeadraceError:
        raise
    except Exception as error:
        name = connector_name(connector)
        raise ConfigError(f"{role}: connector {name!r}: its {method}() raised {told(error)}") from error


class _Calling:
    role: Role

    def __init__(self, connector: object, loop: Loop | None, name: str | None = None) -> None:
        """`loop`: where methods are awaited that are asynchronous. `name`: of its node, where it has one."""
        self._connector = connector
        self._awaiting = Awaiting(loop)
        self.name = own = connector_name(connector)
        self._who = f"{self.role} {own!r}" if name in (None, own) else f"{self.role} {name!r} ({own})"

    def _call(self, method: str, *args: object) -> object:
        try:
            return self._awaiting.settled(getattr(self._connector, method)(*args))
        except UnwritableRows:
            # It blames rows, and no connector.
            raise
        except BaseException as error:
            remark(error, "connector", f"raised by {method}() of the {self._who}")
            raise

    def open(self) -> None:
        self._call("open")

    def tell(self) -> object:
        return self._call("tell")

    def resume(self, place: object) -> None:
        self._call("resume", place)


class CalledSource(_Calling):
    """A source's connector, as the actor that reads from it calls it."""

    role = "source"

    def __init__(self, connector: object, loop: Loop | None, name: str | None = None) -> None:
        super().__init__(connector, loop, name)
        self._tells_extent = inspect.getattr_static(connector, "extent", None) is not None

    @property
    def resumable(self) -> bool:
        """Whether it may be read again after an error; a connector that does not say may not."""
        try:
            return getattr(self._connector, "resumable", False) is True
        except BaseException:
            return False

    @property
    def extent(self) -> Extent | None:
        """How far it has been read, where the connector says so. Nothing that is wrong with that concerns the run."""
        try:
            found: Any = self._connector.extent() if self._tells_extent else None  # type: ignore[attr-defined]
            return Extent(float(found[0]), float(found[1]), str(found[2])) if found is not None else None
        except Exception:
            self._tells_extent = False
            return None

    def read(self, n: int) -> ReadResult:
        answer = self._call("read", n)
        try:
            return _result(answer, n)
        except BadAnswer as wrong:
            wanted = "a ReadResult(values, ended, bad) is expected"
            raise BadAnswer(f"read() of the {self._who} gave {wrong}; {wanted}") from None

    def close(self) -> None:
        self._call("close")


class CalledSink(_Calling):
    """A sink's connector, as the actor that writes to it calls it."""

    role = "sink"

    def write(self, items: list[Any]) -> None:
        self._call("write", items)

    def sync(self) -> None:
        self._call("sync")

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        self._call("close", complete)


def _result(answer: Any, n: int) -> ReadResult:
    """The answer of a `read` of `n` rows. Raises `BadAnswer`, which says what was given in its place."""
    kind = type(answer)
    if kind is not ReadResult and kind is not tuple:
        raise BadAnswer(f"a {kind.__name__}")
    if len(answer) != 3:
        raise BadAnswer(f"a tuple of {len(answer)}")
    values, ended, bad = answer
    if not isinstance(values, list | tuple):
        raise BadAnswer(f"a {type(values).__name__} for values, which is no list")
    if type(values) is not list:
        values = list(values)
    if len(values) > n:
        raise BadAnswer(f"{len(values)} rows, where {n} at most were asked for")
    if type(bad) is not int or bad < 0:
        raise BadAnswer(f"a {type(bad).__name__} for bad, which is no number of rows")
    try:
        return ReadResult(values, bool(ended), bad)
    except BaseException:
        raise BadAnswer(f"a {kind_of(ended)} for ended, which is neither true nor false") from None
