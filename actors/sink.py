"""A sink: gives its writer one batch at a time, and says what is settled when it is written.

Told: `Rows`, `Outcomes` and `EndOfRows` by what stands before it, `Written` and `WriteFailed` by its writer (a resource that
may block), `Abort` by the conductor. Tells: `Write` to the writer, `Settled` to the ledger, `Drained` or `Failing` to the
conductor; by its outputs, `Outcomes` and `EndOfRows` to the quarantine.

Promises: batches in order, one under way, and none after one that failed; a row is settled only after its writer
said so (L37, L51), and once. A row that the writer names as unwritable ends here, in quarantine, and the run goes on (L62).
What waits here is bounded by the window. Where a failed write need not end the run at once (`drain`), rows that still come
here are interrupted, so that nobody elsewhere waits for them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .buffers.backlog import as_seqs
from .buffers.wait_clock import WaitClock
from .edges.outputs import Outputs
from .errors import InternalError
from .protocol import Ended, Message, Outcomes, Rows, Status, Traffic
from .rows.identity import Id, show
from .states import StateMachine, Table
from .text import kind_of

BATCH_MAX = 4096
"""Rows in one write at most."""


RECORDS_MAX = 64
"""Errors of which a quarantine knows the first record."""


class ErrorRecord(msgspec.Struct, frozen=True):
    """The first record of an error that this life of the run wrote to a quarantine: the node where the row ended, the
    error's type, the row as reports show it, and the record's number, counted from 1 by what this life has written there."""

    node: str
    error: str
    name: str
    record: int


class SinkStatistics(msgspec.Struct, frozen=True):
    """Rows `written` and `waiting`, in `writes` batches. `waited_s`: seconds in which rows waited until others were written.
    `records`: of a quarantine, the first of each error."""

    name: str
    written: int
    waiting: int
    writes: int
    traffic: Traffic
    waited_s: float = 0.0
    records: tuple[ErrorRecord, ...] = ()


class SinkState(Enum):
    """How far a sink has come."""

    OPEN = auto()
    BROKEN = auto()
    ABORTING = auto()
    DRAINED = auto()
    ABORTED = auto()


STATES: Table[SinkState] = MappingProxyType(
    {
        SinkState.OPEN: frozenset({SinkState.BROKEN, SinkState.ABORTING, SinkState.DRAINED}),
        SinkState.BROKEN: frozenset({SinkState.ABORTING, SinkState.DRAINED}),
        SinkState.ABORTING: frozenset({SinkState.ABORTED}),
        SinkState.DRAINED: frozenset(),
        SinkState.ABORTED: frozenset(),
    }
)


Told = (
    Rows
    | Outcomes
    | protocol.Gaps
    | protocol.EndOfRows
    | protocol.Written
    | protocol.WriteFailed
    | protocol.OutOfTurn
    | protocol.Start
    | protocol.Abort
)


class Sink(Actor):
    """One sink of a run. `inputs`: edges that end here. `drain`: a failed write lets the rest of the run finish.
    `written`: rows that an earlier life of the run has written. `unwritable`: rows that ended here in an earlier life.
    `outputs`: how rows end here that cannot be written. `shown_as`: the name of the sink in reports."""

    def __init__(
        self,
        name: str,
        writer: Ref,
        ledger: Ref,
        conductor: Ref,
        inputs: int = 1,
        *,
        drain: bool = False,
        written: Container[Id] = (),
        shown_as: str | None = None,
        outputs: Outputs | None = None,
        unwritable: Mapping[Id, Ended] | None = None,
    ) -> None:
        self._name = name
        self._shown_as = shown_as or name
        self._known = written
        self._unwritable = dict(unwritable or {})
        self._outputs = outputs or Outputs(name, {}, ledger=ledger)
        self._writer = writer
        self._ledger = ledger
        self._conductor = conductor
        self._inputs = inputs
        self._drain = drain
        self._waiting: list[Rows | Outcomes] = []
        self._writing: list[Rows | Outcomes] = []
        self._life = StateMachine("a sink", STATES, SinkState.OPEN)
        self._total = 0
        self._came = 0
        self._written = 0
        self._writes = 0
        self._settled: dict[Status, int] = {}
        self._waits = WaitClock()
        self._records: dict[tuple[str, str], ErrorRecord] = {}

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)

    def receive(self, message: Told) -> None:
        match message:
            case protocol.Written(places, unwritable):
                self._on_written(places, unwritable or {})
            case Rows() | Outcomes():
                if self._is_aborted():
                    return
                self._came += _rows_in(message)
                if self._known or self._unwritable:
                    message = self._without_known(message)
                    if not _rows_in(message):
                        return
                self._waiting.append(message)
                if self._life.now is SinkState.BROKEN:
                    self._interrupt()
                else:
                    self._write()
            case protocol.EndOfRows(total):
                self._inputs -= 1
                self._total = total
                self._finish_if_done()
            case protocol.WriteFailed(error):
                self._on_write_failed(error)
            case protocol.OutOfTurn(seqs):
                if not self._is_aborted():
                    self._came += len(seqs)
                    self._settle(Status.INTERRUPTED, seqs)
            case protocol.Start() | protocol.Gaps():
                pass
            case protocol.Abort():
                self._on_abort()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _is_aborted(self) -> bool:
        return self._life.now is SinkState.ABORTING or self._life.now is SinkState.ABORTED

    def _on_abort(self) -> None:
        """What is being written may yet be written; the rest is interrupted."""
        if self._life.now is SinkState.OPEN or self._life.now is SinkState.BROKEN:
            self._life.go(SinkState.ABORTING)
        self._waiting = []
        self._waits.end(self.context)
        self._finish_if_done()

    def _write(self) -> None:
        if self._writing or not self._waiting:
            if self._waiting:
                self._waits.begin(self.context)
            return
        rows = 0
        cut = 0
        while cut < len(self._waiting) and rows < BATCH_MAX:
            rows += _rows_in(self._waiting[cut])
            cut += 1
        self._writing, self._waiting = self._waiting[:cut], self._waiting[cut:]
        self._writes += 1
        self.context.tell(self._writer, protocol.Write(self._writing))
        if not self._waiting:
            self._waits.end(self.context)

    def _without_known(self, part: Rows | Outcomes) -> Rows | Outcomes:
        """The part without what an earlier life of the run has written, or could not write: those rows are settled again."""
        known, unwritable = self._known, self._unwritable
        if isinstance(part, Rows):
            old = [seq for seq in part.seqs if seq in known]
            if old:
                self._settle(Status.DELIVERED, as_seqs(old))
            pairs = [(seq, value) for seq, value in zip(part.seqs, part.values, strict=True) if seq not in known]
            bad = [msgspec.structs.replace(unwritable.pop(s), value=v) for s, v in pairs if s in unwritable]
            if bad:
                self._end(bad, recalled=True)
                gone = {end.seq for end in bad}
                pairs = [pair for pair in pairs if pair[0] not in gone]
            if len(pairs) == len(part.seqs):
                return part
            return Rows([seq for seq, _ in pairs], [value for _, value in pairs], part.attempts)
        for ended in part.ended:
            if ended.seq in known:
                self._settle(ended.status, _one(ended.seq))
        return Outcomes([ended for ended in part.ended if ended.seq not in known])

    def _on_written(self, places: list[Any] | None, unwritable: dict[Id, BaseException]) -> None:
        if not self._writing:
            raise InternalError("a writer said `Written` where nothing was to be written")
        for at, part in enumerate(self._writing):
            place = places[at] if places is not None else None
            if isinstance(part, Rows):
                seqs = self._without_unwritable(part, unwritable) if unwritable else part.seqs
                if seqs:
                    self._settle(Status.DELIVERED, seqs, place)
                self._written += len(seqs)
            else:
                # One word for all that stands before one place.
                of: dict[Status, list[Id]] = {}
                for index, ended in enumerate(part.ended, 1):
                    self._note_record(ended, self._written + index)
                    of.setdefault(ended.status, []).append(ended.seq)
                for status, ids in of.items():
                    self._settle(status, as_seqs(ids), place)
                self._written += len(part.ended)
        self._writing = []
        self._write()
        self._finish_if_done()

    def _note_record(self, ended: Ended, record: int) -> None:
        if ended.error is None or len(self._records) >= RECORDS_MAX:
            return
        key = ended.stage, kind_of(ended.error)
        if key not in self._records:
            self._records[key] = ErrorRecord(*key, show(ended.seq), record)

    def _without_unwritable(self, part: Rows, unwritable: dict[Id, BaseException]) -> protocol.Seqs:
        """The rows of the part that were written; the others end here."""
        tries = part.attempts or {}
        bad = [
            Ended(seq, Status.QUARANTINED, unwritable[seq], tries.get(seq, 1), value, self._name)
            for seq, value in zip(part.seqs, part.values, strict=True)
            if seq in unwritable
        ]
        if not bad:
            return part.seqs
        self._end(bad)
        return as_seqs([seq for seq in part.seqs if seq not in unwritable])

    def _end(self, bad: list[Ended], *, recalled: bool = False) -> None:
        self._settled[Status.QUARANTINED] = self._settled.get(Status.QUARANTINED, 0) + len(bad)
        self._outputs.end(bad, recalled=recalled)

    def _on_write_failed(self, error: BaseException) -> None:
        if self._is_aborted():
            self._writing = []
            self._finish_if_done()
            return
        # No row is written after one that could not be: the abort that this brings may be long in coming.
        self._life.go(SinkState.BROKEN if self._drain else SinkState.ABORTING)
        self.context.tell(self._conductor, protocol.Failing(self.context.me, error, self._drain))
        if self._drain:
            self._waiting = self._writing + self._waiting
            self._writing = []
            self._interrupt()
            self._finish_if_done()
        else:
            self._writing = self._waiting = []
            self._waits.end(self.context)

    def _interrupt(self) -> None:
        for part in self._waiting:
            if isinstance(part, Rows):
                self._settle(Status.INTERRUPTED, part.seqs)
            else:
                for ended in part.ended:
                    self._settle(Status.INTERRUPTED, _one(ended.seq))
        self._waiting = []
        self._waits.end(self.context)

    def _settle(self, status: Status, seqs: protocol.Seqs, place: Any = None) -> None:
        self._settled[status] = self._settled.get(status, 0) + len(seqs)
        self.context.tell(self._ledger, protocol.Settled(status, seqs, self._name, place))

    def _finish_if_done(self) -> None:
        if self._writing or self._waiting:
            return
        if self._life.now is SinkState.ABORTING:
            self._life.go(SinkState.ABORTED)
        elif not self._inputs and self._life.now in (SinkState.OPEN, SinkState.BROKEN):
            self._life.go(SinkState.DRAINED)
            # The quarantine waits for the end of everybody who may have rows for it.
            self._outputs.finish(self._total)
        else:
            return
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> SinkStatistics:
        settled = {status.value: n for status, n in self._settled.items()}
        here = self._came - sum(settled.values())
        ends = self._outputs.traffic(0, 0)
        traffic = Traffic(self._came, here=here, errors=ends.errors, recalled=ends.recalled)
        traffic = msgspec.structs.replace(traffic, **settled)
        return SinkStatistics(
            self._shown_as,
            self._written,
            sum(map(_rows_in, self._waiting)),
            self._writes,
            traffic,
            self._waits.seconds(self.context),
            tuple(self._records.values()),
        )


def _rows_in(part: Rows | Outcomes) -> int:
    return len(part.seqs) if isinstance(part, Rows) else len(part.ended)


def _one(seq: Id) -> protocol.Seqs:
    return range(seq, seq + 1) if type(seq) is int else [seq]
