"""Rows from and to the program itself: iterables, async iterables, callables."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence, Set, Sized
from contextvars import Context, copy_context
from itertools import islice
from types import GeneratorType
from typing import Any

from headrace.actors.awaitables import is_awaitable
from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow

from ..calls.awaiting import is_settled, settled
from ..calls.contexts import differ
from ..errors import BadInput
from ..hosts.loop_home import LoopHome
from ..names import connector_name, function_name
from ..rows.contracts import Contract, hold
from .port import Extent, SourceConnector
from .prefetch import LoopAhead, ThreadAhead

FAST_S = 0.002
"""A portion that took less may be twice as large next time."""
SLOW_S = 0.005
"""After one that took more, rows are given one by one: the next may be long in coming, and none shall wait for it."""


class Portions:
    """How many rows to take at once from something whose speed is not known."""

    def __init__(self) -> None:
        self.n = 1

    def learn(self, took_s: float, n: int) -> None:
        if took_s > SLOW_S:
            self.n = 1
        elif took_s < FAST_S and n >= self.n:
            self.n = min(self.n * 2, 1 << 16)


class IteratorSource:
    """Base of sources that iterate. Subclasses implement `iterate`, and count the `BadRow`s they give in `bad`.

    `quiet`: the next row may be long in coming, so rows are pulled ahead (see `ahead.py`).
    """

    name = "iterable"
    resumable = False
    quiet = False
    counts = True
    """A row's place is its number, so rows are counted where places are told."""

    def __init__(self) -> None:
        self.bad = 0
        self._bad_told = 0
        self._iterator: Iterator[object] | None = None
        self._ahead: ThreadAhead | None = None
        self._portions = Portions()
        self._error: BaseException | None = None
        self._contract: Contract | str | None = None
        self._row = -1

    def hold_to(self, contract: Contract | str) -> None:
        """Before `open`: rows that do not fit go to quarantine."""
        self._contract = contract

    def place(self) -> str:
        """Where the row that was given last stands, for people."""
        return f"row {self._row}"

    def iterate(self) -> Iterator[object]:
        """Give the iterator; it is called once, by `open`."""
        raise NotImplementedError

    def held_to(self) -> Contract | str | None:
        """The contract that rows are held to, or that it is inferred from the first of them. Called once, by `open`."""
        return self._contract

    def open(self) -> None:
        contract = self.held_to()
        self._iterator = self.iterate()
        if contract is not None:
            rows = self._counted(self._iterator) if self.counts else self._iterator
            self._iterator = hold(rows, contract, self.place, self._unfit)
        if self.quiet:
            self._ahead = ThreadAhead(self._iterator, self.name)

    def _counted(self, rows: Iterator[object]) -> Iterator[object]:
        for self._row, row in enumerate(rows):
            yield row

    def _unfit(self, place: str, what: str, row: object) -> BadRow:
        self.bad += 1
        return BadRow(BadInput(f"{place}: {what}"), row)

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        if self._iterator is None:
            raise InternalError("a source is opened before it is read")
        began = time.monotonic()
        if self._ahead is not None:
            values, ended = self._ahead.take(n, self._portions.n)
        else:
            values, ended = self._take(min(n, self._portions.n))
        self._portions.learn(time.monotonic() - began, len(values))
        return values, ended, self._count_bad(values)

    def _take(self, n: int) -> tuple[list[object], bool]:
        if self._iterator is None:
            raise InternalError("the source is open")
        if self._error is not None:
            raise self._error
        values: list[object] = []
        try:
            # `extend` keeps what came before an error.
            values.extend(islice(self._iterator, n))
        except BaseException as error:
            if not values:
                raise
            self._error = error
            return values, False
        return values, len(values) < n

    def _count_bad(self, values: list[object]) -> int:
        if self.bad == self._bad_told:
            return 0
        bad = sum(isinstance(value, BadRow) for value in values)
        self._bad_told += bad
        return bad

    def interrupt(self) -> None:
        """From any thread: a `read` that waits for its next row shall not."""
        if (ahead := self._ahead) is not None:
            ahead.interrupt()

    def close(self) -> None:
        iterator, self._iterator = self._iterator, None
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()
            return
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


class IterableSource(IteratorSource):
    """Any iterable; an iterator is used up by the run."""

    def __init__(self, rows: Iterable[object]) -> None:
        super().__init__()
        self._rows = rows
        # What is in memory is never quiet; a generator, a cursor, a queue may be.
        self.quiet = not isinstance(rows, Sequence | Set | Mapping)
        self.in_memory = rows if isinstance(rows, Sequence) else None
        """The rows, where they are all there; None where they come one by one."""

    def iterate(self) -> Iterator[object]:
        return iter(self._rows)

    def extent(self) -> Extent | None:
        """How many rows there are, where that is known. Those that were read, its reader counts."""
        return Extent(0.0, float(len(self._rows)), "rows") if isinstance(self._rows, Sized) else None


class AsyncIterableSource:
    """Any async iterable, iterated on the run's loop."""

    name = "async iterable"
    resumable = False

    def __init__(self, rows: AsyncIterable[object], loop: Callable[[], LoopHome]) -> None:
        self._rows = rows
        self._loop = loop
        self._ahead: LoopAhead | None = None
        self._portions = Portions()

    def open(self) -> None:
        self._ahead = LoopAhead(self._rows.__aiter__(), self._loop)

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        if self._ahead is None:
            raise InternalError("a source is opened before it is read")
        began = time.monotonic()
        values, ended = self._ahead.take(n, self._portions.n)
        self._portions.learn(time.monotonic() - began, len(values))
        return values, ended, 0

    def interrupt(self) -> None:
        """From any thread: a `read` that waits for its next row shall not."""
        if (ahead := self._ahead) is not None:
            ahead.interrupt()

    def close(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()


class TypedSource:
    """A connector whose rows are held to a contract. Whatever else the connector can do, this one can (L27): it is the
    connector's own."""

    def __init__(self, connector: SourceConnector, contract: Contract) -> None:
        self.name = connector_name(connector)
        self.resumable = getattr(connector, "resumable", False)
        self._connector: Any = connector
        self._contract = contract
        self._row = 0

    def __getattr__(self, name: str) -> object:
        # Asked for what is not defined here: `fingerprint`, `placed`, `interrupt`, whatever there will be.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._connector, name)

    def open(self) -> None:
        self._row = 0
        self._connector.open()

    def tell(self) -> list[object] | None:
        """The connector's place, and the number of the row there."""
        place = self._connector.tell()
        return [self._row, place] if place is not None else None

    def resume(self, place: list[Any] | None) -> None:
        """As `open`, at a place that `tell` told."""
        self._row, inner = place if place is not None else (0, None)
        self._connector.resume(inner)

    @property
    def verify(self) -> Callable[[Any], str | None]:
        """Whether all before a place is as it was, where the connector can say that."""
        verify: Callable[[object], str | None] = self._connector.verify
        return lambda place: verify(place[1])

    @property
    def recall(self) -> Callable[[list[Any]], None]:
        """What earlier lives have read, told to a connector that wants to know it."""
        recall: Callable[[list[object]], None] = self._connector.recall
        return lambda places: recall([place[1] for place in places])

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        values, ended, bad = self._connector.read(n)
        held: list[object] = []
        for row in values:
            if not isinstance(row, BadRow):
                try:
                    row = self._contract.convert(row)
                except BadInput as error:
                    bad += 1
                    row = BadRow(BadInput(f"row {self._row}: {error}"), row)
            held.append(row)
            self._row += 1
        return held, ended, bad

    def close(self) -> None:
        self._connector.close()


_CHANGED = object()


class CallableSink:
    """Calls a function with one row's value at a time, which sees nothing that another call has set (L73). A coroutine that
    it gives is awaited before the next call (L68)."""

    def __init__(self, function: Callable[[object], object]) -> None:
        self._function = function
        self.name = function_name(function)

    def open(self) -> None:
        """Nothing to open."""

    def write(self, items: list[Any]) -> Coroutine[object, object, None] | None:
        """A coroutine where there is something to await, which writes the rest."""
        rest, context = iter(items), copy_context()
        while True:
            own = context.copy()
            answer = own.run(self._write_some, rest, own, context)
            if answer is None:
                return None
            if answer is not _CHANGED:
                _check_done(answer)
                return self._write_on(answer, list(rest))

    def _write_some(self, rest: Iterator[object], own: Context, context: Context) -> object:
        """The answer that is to be awaited; `_CHANGED` where a call has set something, so that the next one needs a context
        of its own; None where nothing is left."""
        function = self._function
        for item in rest:
            if (answer := function(item)) is not None and (not is_settled(answer) or type(answer) is GeneratorType):
                return answer
            # As `differ`, which would be a call for each row.
            try:
                if own != context:
                    return _CHANGED
            except BaseException:
                return _CHANGED
        return None

    async def _write_on(self, answer: object, rest: list[object]) -> None:
        context = copy_context()
        _check_done(await settled(answer))
        changed = False
        for item in rest:
            changed = changed or differ(copy_context(), context)
            if changed:
                await asyncio.get_running_loop().create_task(self._write_one(item), context=context.copy())
            else:
                await self._write_one(item)

    async def _write_one(self, item: object) -> None:
        _check_done(await settled(self._function(item)))

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Nothing to close."""


def _check_done(answer: object) -> None:
    """Raises `TypeError` where the call has done nothing yet (L68)."""
    if type(answer) is GeneratorType and not is_awaitable(answer):
        raise TypeError("the function gave a generator, of which nothing was run: it should do its work and return")


class NullSink:
    """Where rows go of a pipeline that is run for its effects."""

    name = "nowhere"

    def open(self) -> None:
        """Nothing to open."""

    def write(self, items: list[Any]) -> None:
        """Nothing to write."""

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Nothing to close."""
