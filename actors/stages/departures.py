"""How rows leave a stage: answered, by its operator, once the journal has what must be kept; or ended, as the stage's error
policy says.

Each row leaves once, and leaves here: so what is remembered of it elsewhere in the stage is forgotten here as well. Tells
the conductor `Failing` where a row ends the run.
"""

from __future__ import annotations

from typing import Any

from .. import protocol
from ..actor import Context, Ref
from ..buffers.backlog import as_seqs
from ..edges.operators import Operator
from ..edges.outputs import Outputs
from ..journaling.stage_record import Known, Leaving, NothingKept, StageRecord, Unkept
from ..protocol import Ended, Seqs, Status
from ..rows.identity import Id, show
from ..text import remark
from .assignments import Assignment
from .counters import Counters
from .credit import StageCredit
from .deadlines import Deadlines
from .key_queue import KeyQueue
from .terms import StageTerms
from .troubles import Troubles

_STATUS_OF = {"quarantine": Status.QUARANTINED, "fail": Status.FAILED, "drop": Status.DROPPED}


class Departures:
    """It does what the module says; one object belongs to one stage."""

    def __init__(
        self,
        terms: StageTerms,
        outputs: Outputs,
        operator: Operator,
        record: StageRecord,
        troubles: Troubles,
        deadlines: Deadlines,
        counters: Counters,
        credit: StageCredit,
        conductor: Ref,
    ) -> None:
        self._terms = terms
        self._outputs = outputs
        self._operator = operator
        self._record = record
        self._troubles = troubles
        self._deadlines = deadlines
        self._counters = counters
        self._credit = credit
        self._conductor = conductor
        self._context: Context

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    # --- with an answer ---

    def answer(self, assignment: Assignment, seqs: Seqs, values: list[Any], took_s: float) -> None:
        """These rows of the assignment were answered, in so many seconds each."""
        seqs, values = self._deadlines.in_time(seqs, values)
        if not seqs:
            return
        try:
            kept, unkept = self._record.keep(values)
        except NothingKept as error:
            self._context.tell(self._conductor, protocol.Failing(self._context.me, error))
            return
        if unkept:
            seqs, values, kept = self._end_unkept(assignment, seqs, values, kept, unkept)
            if not seqs:
                return
        rows = assignment.values if seqs is assignment.seqs else assignment.rows_of(seqs)
        attempts = self._troubles.answered(seqs)
        if self._terms.weigh is not None:
            for seq in seqs:
                assignment.queue.forget(seq)
        self._counters.answered += len(seqs)
        if self._record.answered(seqs, values, kept, rows, attempts, took_s):
            self._leave(Leaving(seqs, values, rows, attempts))

    def _end_unkept(
        self, assignment: Assignment, seqs: Seqs, values: list[Any], kept: list[Any], unkept: list[Unkept]
    ) -> tuple[Seqs, list[Any], list[Any]]:
        """Rows whose answers the journal cannot keep end here, in quarantine; the others are given back (L62)."""
        bad = {each.index: each.error for each in unkept}
        for index, error in bad.items():
            seq = seqs[index]
            self._troubles.of(seq).failed += 1
            self.end(seq, assignment.value_of(seq), assignment.queue, error, Status.QUARANTINED)
        well = [index for index in range(len(seqs)) if index not in bad]
        return as_seqs([seqs[i] for i in well]), [values[i] for i in well], [kept[i] for i in well]

    def on_kept(self, n: int) -> None:
        """The oldest `n` portions of answers that waited for the journal go on."""
        for leaving in self._record.kept(n):
            self._leave(leaving)

    def _leave(self, leaving: Leaving) -> None:
        self._counters.here -= len(leaving.seqs)
        self._operator.leave(self._outputs, leaving.seqs, leaving.values, leaving.rows, leaving.attempts)

    def recall(self, known: Known) -> None:
        """Rows were answered, or had their end here, in an earlier life of the run; they are not counted here any more."""
        seqs, values, rows = known.answered
        for seq in seqs:
            self._troubles.recalled(seq)
        if seqs:
            self._operator.leave(self._outputs, as_seqs(seqs), values, rows, known.attempts or None)
        if known.ended:
            for end in known.ended:
                self._troubles.recalled(end.seq)
            self._outputs.end(known.ended, recalled=True)

    # --- without one ---

    def end(
        self, seq: Id, value: Any, queue: KeyQueue | None, error: BaseException, status: Status | None = None
    ) -> None:
        """The row goes no further. What becomes of it, the stage's error policy says. `queue`: the one that it was in."""
        attempts = self._troubles.ended(seq)
        self._deadlines.ended(seq)
        if queue is not None:
            queue.forget(seq)
        status = status or _STATUS_OF[self._terms.on_error]
        self._counters.here -= 1
        self._credit.tell()
        self._outputs.end([Ended(seq, status, error, attempts, value, self._terms.name)])
        if status is Status.FAILED:
            remark(error, "row", f"row {show(seq)} in {self._terms.name!r}")
            self._context.tell(self._conductor, protocol.Failing(self._context.me, error))
