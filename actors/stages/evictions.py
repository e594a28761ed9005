"""Rows that end in a stage while they wait: their deadline has passed, whoever asked for them has withdrawn, the account is
given up, or the other side has been out for too long.

Told by the stage, which then looks whether it is done. Tells the conductor `Failing` where waiting on would be in vain for
all rows.
"""

from __future__ import annotations

from .. import protocol
from ..actor import Context, Ref
from ..journaling.stage_record import StageRecord
from ..protocol import Seqs, Status
from ..rows.identity import Id
from .attempts import Attempts
from .counters import Counters
from .deadlines import CheckDeadlines, Deadlines
from .departures import Departures
from .key_queue import KeyQueue
from .resting import Resting
from .scheduler import Scheduler
from .terms import AccountShut, DeadlineExceeded, OutageDeadlineExceeded, Retracted, StageTerms
from .troubles import Troubles

LAST_FEW = 9
"""So many rows may be at fault themselves, where they are all that is left: fewer than make an outage."""


class Evictions:
    """It does what the module says; one object belongs to one stage."""

    def __init__(
        self,
        terms: StageTerms,
        record: StageRecord,
        scheduler: Scheduler,
        troubles: Troubles,
        resting: Resting,
        attempts: Attempts,
        departures: Departures,
        deadlines: Deadlines,
        counters: Counters,
        conductor: Ref,
    ) -> None:
        self._terms = terms
        self._record = record
        self._scheduler = scheduler
        self._troubles = troubles
        self._resting = resting
        self._attempts = attempts
        self._departures = departures
        self._deadlines = deadlines
        self._counters = counters
        self._conductor = conductor
        self._context: Context

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    # --- deadlines ---

    def check_deadlines(self) -> None:
        """End the rows whose time is over, and look again when that of the next ones is."""
        now = self._context.now()
        for seq, queue in self._deadlines.overdue(now):
            self._expire(seq, queue)
        again_s = self._deadlines.next_in_s(now)
        if again_s is not None:
            self._context.after(again_s, CheckDeadlines())

    def _expire(self, seq: Id, queue: KeyQueue) -> None:
        error = DeadlineExceeded(
            f"not done within {self._terms.deadline_s:g} s (deadline of stage {self._terms.name!r}, waits included)"
        )
        found, value = self._attempts.take_out(seq, queue)
        if found is None:
            # In flight: what it answers will be late news.
            for assignment in self._scheduler.assignments:
                if seq in assignment.seqs:
                    value = assignment.value_of(seq)
            self._counters.unknown += 1
        self._departures.end(seq, value, queue, error)
        self._scheduler.give_back_unused(queue)

    # --- withdrawn ---

    def retract(self, seqs: Seqs) -> None:
        """End those of these rows whose call has not begun."""
        for queue in self._scheduler.queues:
            for seq in seqs:
                found, value = self._attempts.take_out(seq, queue)
                if found is not None:
                    error = Retracted("withdrawn before it began")
                    self._departures.end(seq, value, found, error, Status.DROPPED)
            self._scheduler.give_back_unused(queue)

    # --- nobody answers ---

    def give_up_account(self, since_s: float, words: str) -> None:
        """The account has been exhausted for longer than anybody waits."""
        error = AccountShut(self._terms.limit or f"stage {self._terms.name!r}", since_s, words)
        if self._terms.gives_up == "run":
            self._fail(error)
            return
        for queue in self._scheduler.queues:
            if queue.outage:
                queue.given_up = error
                self._attempts.acquit(queue)
                self._give_up(queue, error)

    def give_up_waiting(self, queue: KeyQueue) -> None:
        """Rows have come to a queue whose account may be given up."""
        if queue.given_up is not None and queue.cooling:
            self._give_up(queue, queue.given_up)

    def _give_up(self, queue: KeyQueue, error: AccountShut) -> None:
        """Whoever asks for what waits here need not wait until somebody may ask again."""
        for seq, value in zip(*queue.backlog.take(len(queue.backlog)), strict=True):
            self._departures.end(seq, value, queue, error)

    def give_up_outage(self, since_s: float, *, all_have_come: bool) -> None:
        """No call has gone through for too long: the run fails, so that it can go on when the service is back. But where a
        few rows are left that have all been called, and no other ones to come, it may be that they are at fault."""
        last = self._last_few() if all_have_come else []
        said = "no call has gone through" if not last else f"no call of the last {len(last)} rows has gone through"
        text = (
            f"stage {self._terms.name!r}: {said} for {since_s:.0f} s; raise outage_deadline, or "
            f"{'run' if not last else 'try them'} again when the service is back"
        )
        if not last:
            self._fail(OutageDeadlineExceeded(text))
        for seq, queue in last:
            found, value = self._attempts.take_out(seq, queue)
            self._departures.end(seq, value, found, OutageDeadlineExceeded(text))

    def _last_few(self) -> list[tuple[Id, KeyQueue]]:
        """All rows that are here, with their queues; none, where there may be others whose calls go through."""
        here = self._counters.here
        if here > LAST_FEW or self._resting.parked or self._record.held:
            return []
        rows = [(seq, queue) for queue in self._scheduler.queues for seq in queue.backlog.seqs()]
        rows += self._resting.items()
        return rows if len(rows) == here and all(seq in self._troubles for seq, _ in rows) else []

    def _fail(self, error: BaseException) -> None:
        self._context.tell(self._conductor, protocol.Failing(self._context.me, error))
