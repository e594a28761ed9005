"""How rows come into a stage: each gets its queue there, unless an earlier life of the run has answered or ended it.

A row whose key or weight cannot be told ends here, as its own fault. A row that was pending rests until it is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..actor import Context
from ..journaling.stage_record import StageRecord
from ..protocol import Key, Seqs, Status
from ..rows.identity import Id
from .attempts import Attempts
from .counters import Counters
from .credit import StageCredit
from .deadlines import CheckDeadlines, Deadlines
from .departures import Departures
from .key_queue import KeyQueue
from .scheduler import Scheduler
from .terms import StageTerms
from .troubles import Troubles


class Arrivals:
    """It does what the module says; one object belongs to one stage."""

    def __init__(
        self,
        terms: StageTerms,
        record: StageRecord,
        scheduler: Scheduler,
        troubles: Troubles,
        attempts: Attempts,
        departures: Departures,
        deadlines: Deadlines,
        counters: Counters,
        credit: StageCredit,
    ) -> None:
        self._keyed = terms.key is not None or terms.weigh is not None
        self._record = record
        self._scheduler = scheduler
        self._troubles = troubles
        self._attempts = attempts
        self._departures = departures
        self._deadlines = deadlines
        self._counters = counters
        self._credit = credit
        self._context: Context

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    def take(self, seqs: Seqs, values: list[Any], attempts: dict[Id, int] | None) -> Iterable[KeyQueue]:
        """Rows have come; the queues in which there is something new. `attempts`: of those that had several before."""
        n = len(seqs)
        self._counters.rows += n
        self._counters.here += n
        self._credit.came(n)
        if attempts:
            self._troubles.came(attempts)
        if self._record.remembers:
            seqs, values = self._recall(seqs, values)
            if not seqs:
                self._credit.tell()
                return ()
        if self._keyed:
            return self._queue_each(seqs, values)
        queue = self._scheduler.queue(None)
        queue.append(seqs, values)
        self._note_deadline(seqs, queue)
        return (queue,)

    def _queue_each(self, seqs: Seqs, values: list[Any]) -> Iterable[KeyQueue]:
        touched: dict[Key, KeyQueue] = {}
        for seq, value in zip(seqs, values, strict=True):
            of = self._queue_of(seq, value)
            if of is None:
                continue
            queue, weight = of
            touched[queue.key] = queue
            queue.append([seq], [value], [weight] if weight is not None else None)
            self._note_deadline([seq], queue)
        return touched.values()

    def _recall(self, seqs: Seqs, values: list[Any]) -> tuple[list[Id], list[Any]]:
        """Less those that were answered, had their end here, or were pending in an earlier life of the run (L26)."""
        known = self._record.recall(seqs, values)
        gone = len(known.answered[0]) + len(known.ended)
        self._counters.here -= gone
        self._counters.recalled += gone
        for seq, value, state, in_s in known.pending:
            self._await(seq, value, state, in_s)
        self._departures.recall(known)
        return known.rest

    def _await(self, seq: Id, value: Any, state: Any, in_s: float) -> None:
        """It was pending in an earlier life, and is asked about again when it is due."""
        of = self._queue_of(seq, value)
        if of is None:
            return
        queue, weight = of
        queue.weigh(seq, weight)
        self._troubles.of(seq).state = state
        self._note_deadline([seq], queue)
        self._attempts.park(seq, value, queue, in_s)

    def _queue_of(self, seq: Id, value: Any) -> tuple[KeyQueue, float | None] | None:
        """Its queue and what it weighs there; None if it ends here, since that cannot be told."""
        try:
            return self._scheduler.queue_of(value)
        except BaseException as error:
            self._departures.end(seq, value, None, error, Status.QUARANTINED)
            return None

    def _note_deadline(self, seqs: Seqs, queue: KeyQueue) -> None:
        if self._deadlines.within_s is None:
            return
        again_s = self._deadlines.note(seqs, queue, self._context.now())
        if again_s is not None:
            self._context.after(again_s, CheckDeadlines())
