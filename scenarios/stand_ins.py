"""What stands in for a user's parts in a scenario: the source, the functions of the stages, the sinks. The same in
simulation and in reality: they sleep by `time.sleep`, `asyncio.sleep` and events, all of which are virtual where time is.

What they see from where they stand (what was opened and closed, when, and which rows came out) goes into a `Diary`.

This file is long: one stand-in for each thing of a user's, which note what they see in the same words.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from headrace.actors.protocol import BadRow
from headrace.runtime.calls.current import CallInfo, current_call
from headrace.runtime.errors import BadInput, Pending, ProcessDied, UnwritableRows

from .history import Call, Reply
from .outside import HttpStatus, Told
from .script import QuirkTable, SinkTable, SourceTable, StageTable, id_of

FOREVER_S = 1e9


class Event(Protocol):
    """What has the methods of a `threading.Event`."""

    def set(self) -> None: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Transport(Protocol):
    """The way from a function to a service of the scenario."""

    def call(self, row: int, key: int) -> Told:
        """Raises what a client's library would."""

    async def call_async(self, row: int, key: int) -> Told:
        """Make the same call from an event loop."""

    async def close_async(self) -> None:
        """End what belongs to the loop."""


class Diary:
    """What was seen outside. `complaints`: (invariant's name, what), where something must not be."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        self.note = note
        self.replies = False
        """Whether anybody wants to hear of replies, too."""
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.busy: set[str] = set()
        """In the middle of something: nobody can close what never comes back."""
        self.complaints: list[tuple[str, str]] = []
        self.on_given: Callable[[range], None] | None = None
        self.on_written: Callable[[list[int]], None] | None = None
        self.on_call: Callable[[str, CallInfo], None] | None = None
        self._open: set[str] = set()
        self._last: dict[str, int] = {}

    def open(self, name: str) -> None:
        self.opened[name] += 1
        self._open.add(name)
        if self.opened[name] > 1:
            self.complaints.append(("PAIRED", f"{name} was opened twice"))

    def close(self, name: str) -> None:
        self.closed[name] += 1
        self._open.discard(name)
        if self.closed[name] > self.opened[name]:
            self.complaints.append(
                ("PAIRED", f"{name} was closed {self.closed[name]} times, opened {self.opened[name]} times")
            )

    def use(self, name: str) -> None:
        """Note a use; the stand-in must be open."""
        if name not in self._open:
            self.complaints.append(("PAIRED", f"{name} is used and {'closed' if self.closed[name] else 'not open'}"))

    def write(self, name: str, rows: list[int], ordered: bool) -> None:
        """Rows came out of a sink."""
        self.written[name] += len(rows)
        if self.on_written is not None:
            self.on_written(rows)
        if not ordered:
            return
        last = self._last.get(name, -1)
        for row in rows:
            # Pieces of one row come one after the other.
            if row < last:
                self.complaints.append(("ORDERED", f"row {row} came out of {name} after {last}"))
            last = row
        self._last[name] = last

    def check(self) -> None:
        """Look at the end whether all was paired."""
        for name, n in self.opened.items():
            if n != self.closed[name] and name not in self.busy:
                self.complaints.append(("PAIRED", f"{name} was opened {n} times, closed {self.closed[name]} times"))


class Broken(RuntimeError):
    """A scripted error of a source, a sink or a function."""


class ScriptedSource:
    """A source connector, as `[source]` says. Rows are `first_id`, `first_id` + 1, …, in a list of one where they
    may change."""

    name = "scripted source"
    placed = True

    def __init__(self, table: SourceTable, diary: Diary, event: Event, first_id: int, mutable: bool) -> None:
        self.resumable = table.resumable
        self._table = table
        self._diary = diary
        self._interrupted = event
        self._first_id = first_id
        self._name = f"source {first_id}"
        self._mutable = mutable
        self._next = 0
        self._failed: Counter[int] = Counter()
        self._pauses = sorted((int(row), seconds) for row, seconds in table.pauses)
        self._bad = set(table.bad)
        special = {*table.fails_at, *(row for row, _ in self._pauses)}
        if table.hangs_at is not None:
            special.add(table.hangs_at)
        self._special = sorted(special)

    def open(self) -> None:
        time.sleep(self._table.opens)
        if self._table.open_fails:
            raise Broken("the source cannot be opened")
        self._diary.open(self._name)

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        self._diary.use(self._name)
        self._diary.busy.add(self._name)
        try:
            return self._read(n)
        finally:
            self._diary.busy.discard(self._name)

    def _read(self, n: int) -> tuple[list[Any], bool, int]:
        table, first = self._table, self._next
        if first == table.hangs_at:
            self._interrupted.wait(FOREVER_S)
            return [], False, 0
        if first in table.fails_at and self._failed[first] < table.fails:
            self._failed[first] += 1
            raise Broken(f"the source broke before row {first}")
        if self._pauses and self._pauses[0][0] == first and self._interrupted.wait(self._pauses.pop(0)[1]):
            return [], False, 0
        if table.every:
            if first and self._interrupted.wait(table.every):
                return [], False, 0
            n = 1
        last = first + n if table.rows < 0 else min(first + n, table.rows)
        if self._special:
            last = min([last, *(row for row in self._special if row > first)])
        self._next = last
        if self._diary.on_given is not None:
            self._diary.on_given(range(self._first_id + first, self._first_id + last))
        values: list[Any] = [self._row(row) for row in range(first, last)]
        return values, last == table.rows, sum(row in self._bad for row in range(first, last)) if self._bad else 0

    def tell(self) -> int:
        """The number of the next row."""
        return self._next

    def resume(self, place: int | None) -> None:
        """Begin at that row."""
        self.open()
        self._next = place or 0

    def _row(self, row: int) -> Any:
        if row in self._bad:
            return BadRow(BadInput(f"row {row} is no row"), None)
        return [self._first_id + row] if self._mutable else self._first_id + row

    def interrupt(self) -> None:
        """From any thread: do not wait for the next row."""
        if not self._table.deaf:
            self._interrupted.set()

    def close(self) -> None:
        self._diary.close(self._name)
        if self._table.close_fails:
            raise Broken("the source cannot be closed")


class ScriptedSink:
    """A sink connector, as `[sink]` or `[quarantine]` says."""

    def __init__(self, name: str, table: SinkTable, diary: Diary, event: Event, ordered: bool) -> None:
        self.name = name
        self._table = table
        self._diary = diary
        self._never = event
        self._ordered = ordered
        self._broken = False
        self._unwritable = frozenset(table.unwritable)

    def open(self) -> None:
        time.sleep(self._table.opens)
        if self._table.open_fails:
            raise Broken(f"{self.name} cannot be opened")
        self._diary.open(self.name)

    def write(self, items: list[Any]) -> None:
        self._diary.use(self.name)
        self._diary.busy.add(self.name)
        try:
            self._write(items)
        finally:
            self._diary.busy.discard(self.name)

    def _write(self, items: list[Any]) -> None:
        table = self._table
        rows = [id_of(item["seq"] if isinstance(item, dict) else item) for item in items]
        if table.write or table.row:
            time.sleep(table.write + table.row * len(rows))
        if table.hangs_at is not None and table.hangs_at in rows:
            self._never.wait(FOREVER_S)
        if self._broken:
            self._diary.complaints.append(("ORDERED", f"{self.name} is given row {rows[0]} after a write that failed"))
        if table.fails_at is not None and table.fails_at in rows:
            self._broken = True
            self._diary.write(self.name, rows[: rows.index(table.fails_at)], self._ordered)
            match table.error:
                case "disk full":
                    raise OSError(errno.ENOSPC, "No space left on device")
                case "refused":
                    raise HttpStatus(429)
                case _:
                    raise Broken(f"{self.name} cannot write row {table.fails_at}")
        if self._unwritable.isdisjoint(rows):
            self._diary.write(self.name, rows, self._ordered)
            return
        # A record of the quarantine that comes again as marked text can be written.
        bad = {
            index: BadInput(f"{self.name} cannot hold row {row}")
            for index, (row, item) in enumerate(zip(rows, items, strict=True))
            if row in self._unwritable and not (isinstance(item, dict) and item.get("escaped"))
        }
        self._diary.write(self.name, [row for index, row in enumerate(rows) if index not in bad], self._ordered)
        if bad:
            raise UnwritableRows(bad)

    def close(self, complete: bool) -> None:
        self._diary.close(self.name)
        if self._table.close_fails:
            raise Broken(f"{self.name} cannot be closed")


class Quirks:
    """What a stage's own code does to some rows."""

    def __init__(self, tables: list[QuirkTable]) -> None:
        self._tables = tables

    def of(self, row: int, attempt: int) -> QuirkTable | None:
        """The one that strikes this call."""
        for table in self._tables:
            struck = row in table.rows or (table.every is not None and row % table.every == 0)
            if struck and (attempt == 1 or not table.once):
                return table
        return None

    @staticmethod
    def strike(quirk: QuirkTable, value: Any) -> Any:
        """Do it, as far as it takes no time."""
        match quirk.does:
            case "raise":
                raise Broken("the function broke: it expected 4290 tokens, not a quota, a rate limit or 429")
            case "crash":
                raise ProcessDied("the worker process was ended by SIGSEGV while it called this row")
            case "interrupt":
                raise KeyboardInterrupt
            case "exit":
                raise SystemExit(1)
            case "mutate":
                value.append("touched")
                raise TimeoutError("the function broke after it had changed its row")
            case "pending":
                call = current_call()
                if call.state is None:
                    raise Pending(quirk.seconds, ["begun", call.seq])
                if call.state != ["begun", call.seq]:
                    raise AssertionError(f"row {call.seq} is asked about with the state {call.state}")
            case "writes":
                _write_on(value)
            case "nonsense":
                return -id_of(value) - 2
        return value

    @staticmethod
    def takes_s(quirk: QuirkTable | None) -> float:
        """The time that the function itself takes."""
        if quirk is None:
            return 0.0
        return {"block": FOREVER_S, "slow": quirk.seconds}.get(quirk.does, 0.0)


def _write_on(value: Any) -> None:
    if isinstance(value[0], list):
        # A batch.
        for row in value:
            _write_on(row)
    else:
        value.append("written")


def _own(value: Any) -> Any:
    return value.copy() if isinstance(value, list) else value


class _Function:
    """The function of a stage: a strategy, with `prepare` and `close`."""

    def __init__(
        self,
        name: str,
        stage: StageTable,
        transport: Transport | None,
        diary: Diary,
        keys: int | None,
        managed: bool = True,
    ) -> None:
        """`managed`: somebody prepares and closes it."""
        self.__name__ = stage.name
        self._managed = managed
        self._name = name
        self._stage = stage
        self._transport = transport
        self._diary = diary
        self._keys = keys
        self._quirks = Quirks(stage.quirk)

    def prepare(self) -> None:
        time.sleep(self._stage.prepare)
        if self._stage.prepare_fails:
            raise Broken(f"{self._name} cannot be prepared")
        self._diary.open(self._name)

    def _close(self) -> None:
        self._diary.close(self._name)
        time.sleep(self._stage.close)
        if self._stage.close_fails:
            raise Broken(f"{self._name} cannot be closed")

    def _begin(self, value: Any) -> tuple[int, QuirkTable | None]:
        row, attempt = id_of(value), current_call().attempt
        if self._managed:
            self._diary.use(self._name)
        if self._diary.on_call is not None:
            self._diary.on_call(self._stage.name, current_call())
        self._diary.note(Call(self._stage.name, row, attempt))
        return row, self._quirks.of(row, attempt)

    def _key(self, row: int) -> int:
        return row % self._keys if self._keys else 0

    def _pass_on(self, told: Told) -> None:
        """Say what the answer told, as a user's function would."""
        if told.headers:
            current_call().headers(told.headers)
        if told.tokens:
            current_call().spent(tokens=told.tokens)

    def _replied(self, row: int, error: BaseException | None) -> None:
        if isinstance(error, HttpStatus) and error.headers:
            current_call().headers(error.headers)
        if self._diary.replies:
            self._diary.note(Reply(self._stage.name, row, type(error).__name__ if error is not None else "ok"))

    def _answer(self, row: int, value: Any) -> Any:
        """What the function says, as the kind of its node wants it."""
        stage = self._stage
        match stage.kind:
            case "filter":
                return row % stage.every != 0
            case "route":
                ways = [*stage.branches, *([None] if stage.onward else [])]
                return ways[row % len(ways)]
            case "flat_map":
                return [_own(value) for _ in range(row % (stage.pieces + 1))]
            case _:
                return value


class Function(_Function):
    """A function that runs on threads."""

    def close(self) -> None:
        self._close()

    def __call__(self, value: Any, parts: Any = None) -> Any:
        row, quirk = self._begin(value)
        if quirk is not None:
            time.sleep(self._quirks.takes_s(quirk))
            value = self._quirks.strike(quirk, value)
        if self._transport is None:
            return self._answer(row, value)
        try:
            told = self._transport.call(row, self._key(row))
        except Exception as error:
            self._replied(row, error)
            raise
        self._replied(row, None)
        self._pass_on(told)
        return self._answer(row, value)


class AsyncFunction(_Function):
    """A coroutine function, which runs on an event loop."""

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close_async()
        self._close()

    async def __call__(self, value: Any, parts: Any = None) -> Any:
        row, quirk = self._begin(value)
        if quirk is not None:
            await asyncio.sleep(self._quirks.takes_s(quirk))
            value = self._quirks.strike(quirk, value)
        if self._transport is None:
            return self._answer(row, value)
        try:
            told = await self._transport.call_async(row, self._key(row))
        except Exception as error:
            self._replied(row, error)
            raise
        self._replied(row, None)
        self._pass_on(told)
        return self._answer(row, value)
