"""A stage: owns its rows from their arrival until they go on or end, its workers, and the permits it holds.

Told: `Rows` and `EndOfRows` by what stands before it, `Credit` by what stands after it; `PermitsGranted`,
`CooldownBegan`, `CooldownEnded`, `OutageOverdue`, `AccountGivenUp` by its governor; `Answered` by its workers and `Died` by
the host about them; `Abort` by the conductor. Tells: `Rows`, `Outcomes` and `EndOfRows` by its outputs, `Assign` to workers,
`PermitsWanted`, `PermitsReturned`, `CallsEnded`, `LimitHit`, `TurnedAway` to the governor, `Drained` and `Failing` to the
conductor.

Promises: a row leaves exactly once. A call starts only on a permit of today's epoch. A refused row stays here, goes to
the head, and loses no attempt (L11); nor does one whose call failed as those of many others did (L40, L76).
A row that waits to be tried again keeps its place. A worker that is lost costs
one attempt of one row, and is replaced. The answer to an assignment that was given up reaches nobody, and is counted (L05).

How many rows: as many as keep its workers busy, and no more, so that what waits here is soon done with when the run is
drained; it starts no call whose row the next stage has no room for.

Here is what happens on each message, and the life of the stage. What it works with is in `stages/`, one subject a file: how
rows arrive and depart, which of them start (`scheduler`), what becomes of those whose calls did not answer (`attempts`), how
many are asked for (`credit`), and which end while they wait (`evictions`).

    COMING → ENDING (all rows have come) → LEAVING (no row is left; calls may be under way) → GONE
       └──────────── Abort ──────────────────↗
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, assert_never

from . import protocol
from .actor import Actor, Context, Ref
from .edges.operators import Map, Operator
from .edges.outputs import Outputs
from .journaling.stage_record import StageRecord
from .protocol import Message, Seqs
from .rows.identity import Id
from .stages.arrivals import Arrivals
from .stages.attempts import Again, Attempts
from .stages.call_news import call_news
from .stages.counters import Counters
from .stages.credit import StageCredit
from .stages.deadlines import CheckDeadlines, Deadlines
from .stages.departures import Departures
from .stages.evictions import Evictions
from .stages.key_queue import KeyQueue
from .stages.resting import Resting
from .stages.scheduler import CheckOverdue, LookAgain, Scheduler
from .stages.terms import StageStatistics, StageTerms
from .stages.trials import Recess
from .stages.troubles import Troubles
from .states import StateMachine, Table
from .worker import Progress

PATIENCE_S = 0.05
"""A stage that has ended waits so long for calls that are under way: who closes what they use shall not come before them."""


class _LeaveAnyway(protocol.Control, frozen=True):
    pass


class StageState(Enum):
    """How far the life of a stage has come."""

    COMING = auto()
    ENDING = auto()
    LEAVING = auto()
    GONE = auto()


STATES: Table[StageState] = MappingProxyType(
    {
        StageState.COMING: frozenset({StageState.ENDING, StageState.LEAVING}),
        StageState.ENDING: frozenset({StageState.LEAVING}),
        StageState.LEAVING: frozenset({StageState.GONE}),
        StageState.GONE: frozenset(),
    }
)


Told = (
    protocol.Rows
    | protocol.EndOfRows
    | protocol.Credit
    | protocol.PermitsGranted
    | protocol.WishesForgotten
    | protocol.CooldownBegan
    | protocol.CooldownEnded
    | protocol.Reopened
    | protocol.OutageOverdue
    | protocol.AccountGivenUp
    | protocol.Answered
    | protocol.Kept
    | protocol.Retract
    | protocol.Died
    | protocol.Start
    | protocol.Abort
    | Again
    | CheckOverdue
    | LookAgain
    | CheckDeadlines
    | Recess
    | _LeaveAnyway
)


class Stage(Actor):
    """It does what the module says. `new_worker(stage)` makes a worker's actor."""

    def __init__(
        self,
        terms: StageTerms,
        governor: Ref,
        outputs: Outputs,
        conductor: Ref,
        new_worker: Callable[[Ref], Actor],
        operator: Operator | None = None,
        inputs: int = 1,
        before: Ref | None = None,
        record: StageRecord | None = None,
        *,
        suspends: bool = False,
    ) -> None:
        """`operator`: which way a row takes. `inputs`: edges that end here. `before`: who is told its credit. `record`:
        its share of the journal. `suspends`: the conductor wants to know when nothing is left to do."""
        self._terms = terms
        self._governor = governor
        self._outputs = outputs
        self._operator = operator = operator or Map()
        self._inputs = inputs
        self._conductor = conductor
        self._record = record = record or StageRecord(terms.name)
        self._suspends = suspends
        self._rests: int | None = None
        """What the conductor was told last: pending rows that are all that is left, or None."""
        self._life = StateMachine("a stage", STATES, StageState.COMING)
        self._total = 0
        """Rows of the run, once all of them have come."""
        self._counters = counters = Counters()
        self._resting = resting = Resting()
        self._deadlines = deadlines = Deadlines(terms.deadline_s)
        self._troubles = troubles = Troubles()
        self._scheduler = scheduler = Scheduler(terms, governor, new_worker, self._room_after, troubles)
        self._assignments = scheduler.assignments
        self._credit = credit = StageCredit(terms, before, outputs, record, counters, resting, scheduler)
        self._departures = departures = Departures(
            terms, outputs, operator, record, troubles, deadlines, counters, credit, conductor
        )
        self._attempts = attempts = Attempts(terms, troubles, resting, record, counters, departures.end)
        self._trials = attempts.trials
        self._evictions = Evictions(
            terms, record, scheduler, troubles, resting, attempts, departures, deadlines, counters, conductor
        )
        self._arrivals = Arrivals(terms, record, scheduler, troubles, attempts, departures, deadlines, counters, credit)

    def start(self, context: Context) -> None:
        super().start(context)
        for part in (self._outputs, self._record, self._scheduler, self._credit, self._departures):
            part.start(context)
        for piece in (self._attempts, self._arrivals, self._evictions):
            piece.start(context)

    def receive(self, message: Told) -> None:
        if self._life.now is StageState.LEAVING or self._life.now is StageState.GONE:
            if self._life.now is StageState.LEAVING:
                self._on_last_word(message)
            return
        match message:
            case protocol.Answered():
                self._on_answered(message)
            case protocol.Rows(seqs, values, attempts):
                self._on_rows(seqs, values, attempts)
            case protocol.Kept(n):
                self._departures.on_kept(n)
                # Not all of them take room in what stands after this: some were dropped.
                self._scheduler.pump_all()
                self._credit.tell()
                self._finish_if_done()
            case protocol.PermitsGranted():
                self._scheduler.on_granted(message)
            case protocol.EndOfRows(total):
                self._on_end_of_rows(total)
            case Again(seq):
                queue_of = self._attempts.on_again(seq)
                if queue_of is not None:
                    self._scheduler.pump(queue_of)
            case protocol.CooldownBegan():
                self._record.cooled(message.until_s, message.closure)
                self._scheduler.on_cooldown_began(message)
                self._attempts.on_closed(self._scheduler.queue(message.key), message.closure)
            case protocol.CooldownEnded(_, probing, key):
                if probing:
                    self._attempts.on_probing(self._scheduler.queue(key))
                self._scheduler.on_cooldown_ended(message)
            case protocol.WishesForgotten():
                self._scheduler.on_wishes_forgotten(message)
            case protocol.Retract(seqs):
                self._evictions.retract(seqs)
                self._look_after_ends()
            case protocol.Reopened(_, key):
                queue = self._scheduler.queue(key)
                self._attempts.on_reopened(queue)
                self._scheduler.pump(queue)
            case Recess(key, ended):
                queue = self._scheduler.queue(key)
                if self._trials.on_recess(queue, ended):
                    self._scheduler.pump(queue)
                    self._finish_if_done()
            case LookAgain():
                self._scheduler.look_again()
            case CheckOverdue():
                self._scheduler.check_overdue()
            case CheckDeadlines():
                self._evictions.check_deadlines()
                self._look_after_ends()
            case protocol.Died(who, error, salvage):
                self._on_worker_died(who, error, salvage)
            case protocol.OutageOverdue(since_s):
                self._evictions.give_up_outage(since_s, all_have_come=self._life.now is StageState.ENDING)
                self._finish_if_done()
            case protocol.AccountGivenUp(since_s, words):
                self._evictions.give_up_account(since_s, words)
                self._finish_if_done()
            case protocol.Credit(n, who):
                self._outputs.welcome(who, n)
                self._scheduler.pump_all()
                self._credit.tell()
            case protocol.Start():
                self._credit.tell()
            case protocol.Abort():
                self._life.go(StageState.LEAVING)
                self._end_calls()
                self._leave_if_quiet()
            case _LeaveAnyway():
                pass
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)
        if self._suspends:
            self._tell_rest()

    def _tell_rest(self) -> None:
        parked = len(self._resting.parked)
        rests = parked if self._counters.here == parked and not self._assignments else None
        if rests != self._rests:
            self._rests = rests
            self._tell(self._conductor, protocol.Resting(self.context.me, rests))

    def _on_rows(self, seqs: Seqs, values: list[Any], attempts: dict[Id, int] | None) -> None:
        for queue in self._arrivals.take(seqs, values, attempts):
            self._evictions.give_up_waiting(queue)
            if queue.key is None:
                self._scheduler.pump(queue)
            else:
                self._scheduler.queue_up(queue)
        self._scheduler.pump_others()
        self._finish_if_done()

    # --- what the governor says ---

    def _room_after(self) -> int:
        """Results that have somewhere to go."""
        return self._outputs.room - self._record.held

    # --- answers ---

    def _on_answered(self, answered: protocol.Answered) -> None:
        found = self._scheduler.settle(answered)
        if found is None:
            return
        assignment, answered = found
        queue = assignment.queue
        if answered.faults and not queue.outage and any(fault.overloaded for fault in answered.faults):
            answered = queue.overload.judged(answered, assignment.epoch, self._troubles)
        seqs, faults, unstarted = answered.seqs, answered.faults, answered.unstarted
        ended = len(seqs) + len(faults)
        if faults:
            self._record.failed(faults, answered.busy_s / ended)
        # Before the rows leave, and with them what they weigh.
        spent = self._counters.meter.count(answered.heard, queue.reserved) if answered.heard else ()
        self._record.metered(spent)
        queue.witnesses.on_answered(len(seqs))
        if seqs:
            queue.overload.on_answered(len(seqs), answered.answer_s)
            self._departures.answer(assignment, seqs, answered.values, answered.busy_s / ended)
        if ended:
            self._tell_governor(queue, assignment.epoch, answered, spent)
        if unstarted:
            for seq in unstarted:
                if self._deadlines.is_open(seq):
                    queue.put_first(seq, assignment.value_of(seq))
            n, weight, since_s = len(unstarted), queue.weight_of(unstarted), assignment.since_s
            self._tell(self._governor, protocol.PermitsReturned(self.context.me, n, queue.key, weight, since_s))
        if faults:
            self._outputs.gather()
            for fault in faults:
                if self._deadlines.takes_fault(fault.seq):
                    self._attempts.on_fault(queue, assignment.value_of(fault.seq), fault)
            self._outputs.tell_gathered()
        if queue.witnesses.trials:
            self._trials.judge(queue)
        self._scheduler.pump(queue)
        self._scheduler.pump_others()
        self._credit.tell()
        self._finish_if_done()

    def _tell_governor(
        self,
        queue: KeyQueue,
        epoch: protocol.Epoch,
        answered: protocol.Answered,
        spent: tuple[protocol.Spent, ...],
    ) -> None:
        for news in call_news(self.context.me, queue, epoch, answered, spent, tells_turned_away=self._trials.held):
            if type(news) is protocol.LimitHit and not news.doubtful:
                queue.on_refused(epoch)
            self._tell(self._governor, news)

    # --- the end ---

    def _on_end_of_rows(self, total: int) -> None:
        self._inputs -= 1
        if not self._inputs:
            self._total = total
            self._life.go(StageState.ENDING)
            self._credit.close()
            self._trials.all_have_come = True
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._life.now is not StageState.ENDING:
            return
        if self._trials.open:
            self._judge_lonely()
        if not self._counters.here and self._life.now is StageState.ENDING:
            self._life.go(StageState.LEAVING)
            self._outputs.finish(self._total)
            if self._assignments:
                # Calls of rows whose deadline has passed.
                self._end_calls()
            self._leave_if_quiet()

    def _look_after_ends(self) -> None:
        """Rows have ended while they waited."""
        if self._trials.open:
            self._judge_lonely()
        self._finish_if_done()

    def _judge_lonely(self) -> None:
        for queue in self._trials.judge_lonely(self._scheduler.queues):
            self._scheduler.pump(queue)

    def _end_calls(self) -> None:
        self._scheduler.cancel_calls()
        self.context.after(PATIENCE_S, _LeaveAnyway())

    def _on_last_word(self, message: Message) -> None:
        """Nothing counts any more but that a call has ended; and what it answered, for another life."""
        match message:
            case protocol.Answered():
                found = self._assignments.settle(message)
                if found is not None:
                    assignment, answered = found
                    self._record.metered(self._counters.meter.count(answered.heard, assignment.queue.reserved))
                    self._record.answered_last(*self._deadlines.in_time(answered.seqs, answered.values))
            case protocol.Died(who):
                self._assignments.drop(who)
            case _LeaveAnyway():
                self._assignments.drop()
            case _:
                return
        self._leave_if_quiet()

    def _leave_if_quiet(self) -> None:
        if not self._assignments:
            self._life.go(StageState.GONE)
            self._scheduler.leave()
            self._tell(self._conductor, protocol.Drained(self.context.me))

    # --- workers ---

    def _on_worker_died(self, worker: Ref, error: BaseException, salvage: Progress | None) -> None:
        workforce = self._scheduler.workforce
        if not workforce.lose(worker):
            return
        fatal = workforce.too_many_lost(self._terms)
        if fatal is not None:
            fatal.__cause__ = error
            self._tell(self._conductor, protocol.Failing(self.context.me, fatal))
            return
        for id_ in self._assignments.of(worker):
            self._on_answered(self._assignments.inherited(id_, error, salvage, self._terms.dispatch))

    def _tell(self, ref: Ref, message: Message) -> None:
        self.context.tell(ref, message)

    def statistics(self) -> StageStatistics:
        traffic = self._outputs.traffic(self._counters.rows, self._counters.here, self._operator.made)
        return self._counters.statistics(self._terms, self._scheduler, self._deadlines, traffic)
