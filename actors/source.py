"""The source: numbers the rows and gives no more than was asked for.

Told: `Demand` by the ledger, `Credit` by the first stage, `ReadDone` and `ReadFailed` by its reader (a resource that may
block), `Start`, `Drain`, `Abort` by the conductor. Tells: `Rows` and `EndOfRows` to the first node, `Outcomes` of lines that
could not be read, `RowsGiven` to the ledger, `Drained`, `Resting` or `Failing` to the conductor.

Promises: one read at a time, rows in flight ≤ demand, and one `EndOfRows`, after the last row, also when drained in the
middle of a read (what that read brings soon is still given: it was taken from the user's iterator).
"""

from __future__ import annotations

import enum
from itertools import compress
from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .edges.operators import ONWARD
from .edges.outputs import Outputs
from .errors import InternalError
from .journaling.recovered import NEW, Recovered
from .protocol import BadRow, Ended, Message, Status
from .rows.rowset import RowSet
from .stages.backoff import Backoff

READ_MAX = 1024
"""Rows of one read at most; demand above it is read in several."""
DRAIN_PATIENCE_S = 1.0
"""A drain waits so long for a read that is under way; what a quiet source gives after that is not taken (L48)."""


class _State(enum.Enum):
    IDLE = enum.auto()
    READING = enum.auto()
    WAITING = enum.auto()
    """A read failed; it will be tried again at the same place."""
    ENDED = enum.auto()


class _ReadAgain(Message, frozen=True):
    pass


class _DrainedLongEnough(protocol.Control, frozen=True):
    pass


class SourceStatistics(msgspec.Struct, frozen=True):
    """`rows` given, of which `bad` could not be read; `failures` of the source itself that were tried again. `expected`: how
    many rows there are in all: `ended`, that is known; else it is what the source's extent says, or None."""

    rows: int
    bad: int
    failures: int
    traffic: protocol.Traffic
    expected: int | None = None
    ended: bool = False


Told = (
    protocol.Demand
    | protocol.Credit
    | protocol.ReadDone
    | protocol.ReadFailed
    | protocol.Start
    | protocol.Drain
    | protocol.Abort
    | _ReadAgain
    | _DrainedLongEnough
)


class Source(Actor):
    """Numbers the rows and gives what is asked for; the module says how."""

    def __init__(
        self,
        reader: Ref,
        outputs: Outputs,
        ledger: Ref,
        conductor: Ref,
        backoff: Backoff | None = None,
        journal: Ref | None = None,
        past: Recovered = NEW,
        *,
        suspends: bool = False,
    ) -> None:
        """`suspends`: the conductor wants to know when nothing is left to do."""
        self._reader = reader
        self._outputs = outputs
        self._ledger = ledger
        self._conductor = conductor
        self._backoff = backoff or Backoff()
        self._state = _State.IDLE
        self._draining = False
        self._demand = 0
        self._journal = journal
        self._suspends = suspends
        self._rests = False
        self._next = past.row
        self._first = past.first
        self._done = RowSet()
        for first, bits in past.done:
            self._done.add(first, bits)
        self._given = 0
        self._bad = 0
        self._failures = 0
        self._failures_in_a_row = 0
        self._extent: tuple[float, float, str] | None = None
        self._all_read = False

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)

    def receive(self, message: Told) -> None:
        match message:
            case protocol.ReadDone():
                self._on_read_done(message)
            case protocol.Demand(n):
                self._demand += n
                self._read()
            case protocol.Credit(n, who):
                self._outputs.welcome(who, n)
                self._read()
            case protocol.ReadFailed(error, resumable):
                self._on_read_failed(error, resumable=resumable)
            case _ReadAgain():
                if self._state is _State.WAITING:
                    self._state = _State.IDLE
                    self._read()
            case protocol.Start():
                self._read()
            case protocol.Drain():
                self._draining = True
                if self._state in (_State.IDLE, _State.WAITING):
                    self._end()
                elif self._state is _State.READING:
                    self.context.after(DRAIN_PATIENCE_S, _DrainedLongEnough())
            case _DrainedLongEnough():
                if self._state is not _State.ENDED:
                    self._end()
            case protocol.Abort():
                self._state = _State.ENDED
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)
        if self._suspends:
            self._tell_rest()

    def _tell_rest(self) -> None:
        """Whether it waits for room, and for nothing else: the window may be full of pending rows."""
        rests = self._state is _State.IDLE and min(self._demand, self._outputs.room) <= 0
        if rests is not self._rests:
            self._rests = rests
            self.context.tell(self._conductor, protocol.Resting(self.context.me, 0 if rests else None))

    def _read(self) -> None:
        n = min(self._demand, self._outputs.room, READ_MAX)
        if self._state is _State.IDLE and n > 0:
            self._state = _State.READING
            self.context.tell(self._reader, protocol.Read(n))

    def _on_read_done(self, done: protocol.ReadDone) -> None:
        if self._state is _State.ENDED:
            return
        if self._state is not _State.READING:
            raise InternalError(f"a read ended while {self._state}")
        self._failures_in_a_row = 0
        self._extent, self._all_read = done.extent, done.ended
        values = done.values
        n = len(values)
        if self._journal is not None and (n or done.ended):
            self.context.tell(self._journal, protocol.ReadTo(self._next + n, done.place, done.ended))
        if n:
            if n > self._demand:
                raise InternalError(f"the reader gave {n} rows where {self._demand} were asked for")
            rows = range(self._next, self._next + n)
            seqs: protocol.Seqs = rows
            self._next += n
            if rows.start < self._first or self._done:
                seqs, values = self._without_done(rows, values)
            self._demand -= len(seqs)
            self._given += len(seqs)
            self.context.tell(self._ledger, protocol.RowsGiven(self._given))
            if done.bad:
                seqs, values = self._without_bad(seqs, values)
            if values:
                self._outputs.send(ONWARD, seqs, values)
        self._state = _State.IDLE
        if done.ended or self._draining:
            self._end()
        else:
            self._read()

    def _without_done(self, seqs: range, values: list[Any]) -> tuple[protocol.Seqs, list[Any]]:
        """Less what an earlier life of the run has done. Nobody waits for what is before the first row."""
        fresh = [seq >= self._first and not self._done.has(seq) for seq in seqs]
        if all(fresh):
            return seqs, values
        gone = [seq for seq, new in zip(seqs, fresh, strict=True) if not new and seq >= self._first]
        if gone:
            self._outputs.tell_gaps(gone)
        return list(compress(seqs, fresh)), list(compress(values, fresh))

    def _without_bad(self, seqs: protocol.Seqs, values: list[Any]) -> tuple[protocol.Seqs, list[Any]]:
        bad = [
            Ended(seq, Status.QUARANTINED, value.error, 0, value.raw, self._outputs.name)
            for seq, value in zip(seqs, values, strict=True)
            if type(value) is BadRow
        ]
        self._bad += len(bad)
        if bad:
            self._outputs.end(bad)
        good = [(s, v) for s, v in zip(seqs, values, strict=True) if type(v) is not BadRow]
        return [s for s, _ in good], [v for _, v in good]

    def _on_read_failed(self, error: BaseException, *, resumable: bool) -> None:
        if self._state is _State.ENDED:
            return
        self._failures += 1
        self._failures_in_a_row += 1
        if self._draining:
            self._end()
        elif resumable and self._failures_in_a_row < self._backoff.attempts:
            self._state = _State.WAITING
            self.context.after(self._backoff.delay_s(self._failures_in_a_row, self.context.random()), _ReadAgain())
        else:
            self._state = _State.ENDED
            self.context.tell(self._conductor, protocol.Failing(self.context.me, error))

    def _end(self) -> None:
        self._state = _State.ENDED
        # What an earlier life has done has come to its end, though it was not read again.
        self._outputs.finish(max(self._next, self._first))
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> SourceStatistics:
        traffic = self._outputs.traffic(self._given, 0)
        return SourceStatistics(self._next, self._bad, self._failures, traffic, self._expected(), self._all_read)

    def _expected(self) -> int | None:
        if self._all_read:
            return self._next
        if self._extent is None:
            return None
        read, of, unit = self._extent
        if unit == "rows":
            return max(self._next, int(of))
        return max(self._next, round(self._next * of / read)) if read > 0.0 else None
