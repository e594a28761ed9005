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
drained; it tells its `Credit` to what stands before it, and starts no call whose row the next stage has no room for.

Which rows start, on which permits and with which workers, its scheduler says.

This file is long: every way in which a row can leave a stage goes over the same few counts, which have one owner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, assert_never

from . import protocol
from .actor import Actor, Context, Ref
from .buffers.backlog import as_seqs
from .edges.operators import Map, Operator
from .edges.outputs import UNLIMITED, Outputs
from .errors import InternalError
from .journaling.stage_record import Leaving, NothingKept, StageRecord, Unkept
from .protocol import Ended, Fault, Key, Kind, Message, Seqs, Status
from .rows.identity import Id, show
from .stages.assignments import Assignment
from .stages.key_queue import KeyQueue
from .stages.meter import Meter
from .stages.scheduler import CheckOverdue, Described, Scheduler
from .stages.terms import (
    AccountShut,
    DeadlineExceeded,
    OutageDeadlineExceeded,
    Retracted,
    StageStatistics,
    StageTerms,
    TooManyHungCalls,
    TooManyRefusals,
)
from .stages.trials import TURNS_MAX, Recess, Trials, Trouble
from .stages.workforce import ABANDONED_PER_WORKER
from .text import remark
from .worker import Progress

LAST_FEW = 9
"""So many rows may be at fault themselves, where they are all that is left: fewer than make an outage."""
CREDIT = 3
"""Chunks that are here for each worker: the one that it has in hand, the next one, and one on its way."""
PATIENCE_S = 0.05
"""A stage that has ended waits so long for calls that are under way: who closes what they use shall not come before them."""


class _Again(Message, frozen=True):
    """A row's backoff is over."""

    seq: Id


class _CheckDeadlines(protocol.Control, frozen=True):
    pass


class _LeaveAnyway(protocol.Control, frozen=True):
    pass


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
    | _Again
    | CheckOverdue
    | _CheckDeadlines
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
        suspends: bool = False,
    ) -> None:
        """`operator`: which way a row takes. `inputs`: edges that end here. `before`: who is told its credit. `record`:
        its share of the journal. `suspends`: the conductor wants to know when nothing is left to do."""
        self._terms = terms
        self._governor = governor
        self._outputs = outputs
        self._operator = operator or Map()
        self._inputs = inputs
        self._conductor = conductor
        self._before = before
        self._record = record or StageRecord(terms.name)
        self._parked: set[Id] = set()
        """Rows that rest because they are pending."""
        self._suspends = suspends
        self._rests: int | None = None
        self._promised = 0
        self._scheduler = Scheduler(terms, governor, new_worker, self._room_after, self._described)
        self._assignments = self._scheduler.assignments
        self._deadlines: deque[tuple[float, Seqs, KeyQueue | None]] = deque()
        self._present: dict[Id, KeyQueue] | None = {} if terms.deadline_s is not None else None
        self._troubles: dict[Id, Trouble] = {}
        self._carried: dict[Id, int] = {}
        self._resting: dict[Id, tuple[Any, KeyQueue]] = {}
        self._trials = Trials(terms.trial_s, self._troubles, self._resting, self._parked, self._rest_after, self._end)
        self._rows_here = 0
        self._total: int | None = None
        self._over = False
        self._leaving = False
        self._rows = 0
        self._answered = 0
        self._refusals = 0
        self._turned_away = 0
        self._retries = 0
        self._unknown_fates = 0
        self._meter = Meter()
        self._late = 0
        self._recalled = 0

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)
        self._record.start(context)
        self._scheduler.start(context)
        self._trials.start(context)

    def receive(self, message: Told) -> None:
        if self._over:
            if self._leaving:
                self._on_last_word(message)
            return
        match message:
            case protocol.Answered():
                self._on_answered(message)
            case protocol.Rows(seqs, values, attempts):
                self._on_rows(seqs, values, attempts)
            case protocol.Kept(n):
                self._on_kept(n)
            case protocol.PermitsGranted():
                self._scheduler.on_granted(message)
            case protocol.EndOfRows(total):
                self._inputs -= 1
                if not self._inputs:
                    self._total = total
                    self._trials.all_have_come = True
                    self._finish_if_done()
            case _Again(seq):
                self._on_again(seq)
            case protocol.CooldownBegan():
                self._on_cooldown_began(message)
            case protocol.CooldownEnded():
                self._on_cooldown_ended(message)
            case protocol.WishesForgotten():
                self._scheduler.on_wishes_forgotten(message)
            case protocol.Retract(seqs):
                self._on_retract(seqs)
            case protocol.Reopened(_, key):
                self._on_reopened(self._scheduler.queue(key))
            case Recess(key, ended):
                queue = self._scheduler.queue(key)
                if self._trials.on_recess(queue, ended):
                    self._scheduler.pump(queue)
                    self._finish_if_done()
            case CheckOverdue():
                self._scheduler.check_overdue()
            case _CheckDeadlines():
                self._on_check_deadlines()
            case protocol.Died(who, error, salvage):
                self._on_worker_died(who, error, salvage)
            case protocol.OutageOverdue(since_s):
                self._on_outage_overdue(since_s)
            case protocol.AccountGivenUp(since_s, words):
                self._on_given_up(AccountShut(self._terms.limit or f"stage {self._terms.name!r}", since_s, words))
            case protocol.Credit(n, who):
                self._outputs.welcome(who, n)
                self._scheduler.pump_all()
                self._tell_credit()
            case protocol.Start():
                self._tell_credit()
            case protocol.Abort():
                self._on_abort()
            case _LeaveAnyway():
                pass
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)
        if self._suspends:
            self._tell_rest()

    def _tell_rest(self) -> None:
        rests = len(self._parked) if self._rows_here == len(self._parked) and not self._assignments else None
        if rests != self._rests:
            self._rests = rests
            self._tell(self._conductor, protocol.Resting(self.context.me, rests))

    # --- rows come ---

    def _on_rows(self, seqs: Seqs, values: list[Any], attempts: dict[Id, int] | None) -> None:
        n = len(seqs)
        self._rows += n
        self._rows_here += n
        self._promised -= n
        if attempts:
            self._carried.update(attempts)
        if self._record.remembers:
            seqs, values = self._recall(seqs, values)
            if not seqs:
                self._tell_credit()
                self._finish_if_done()
                return
        if self._terms.key is None and self._terms.weigh is None:
            queue = self._scheduler.queue(None)
            queue.append(seqs, values)
            self._note_deadline(seqs, queue)
            if queue.given_up is not None and queue.cooling:
                self._give_up(queue, queue.given_up)
            self._scheduler.pump(queue)
            return
        touched: dict[Key, KeyQueue] = {}
        for seq, value in zip(seqs, values, strict=True):
            of = self._queue_of(seq, value)
            if of is None:
                continue
            queue, weight = of
            touched[queue.key] = queue
            queue.append([seq], [value], [weight] if weight is not None else None)
            self._note_deadline([seq], queue)
        for queue in touched.values():
            if queue.given_up is not None and queue.cooling:
                self._give_up(queue, queue.given_up)
            self._scheduler.pump(queue)
        self._finish_if_done()

    def _recall(self, seqs: Seqs, values: list[Any]) -> tuple[list[Id], list[Any]]:
        """Less those that were answered, had their end here, or were pending in an earlier life of the run (L26)."""
        known = self._record.recall(seqs, values)
        again, answers, rows = known.answered
        gone = len(again) + len(known.ended)
        self._rows_here -= gone
        self._recalled += gone
        for seq in again:
            self._carried.pop(seq, None)
        for seq, value, state, in_s in known.pending:
            self._await(seq, value, state, in_s)
        if again:
            self._operator.leave(self._outputs, as_seqs(again), answers, rows, known.attempts or None)
        if known.ended:
            for end in known.ended:
                self._carried.pop(end.seq, None)
            self._outputs.end(known.ended)
        return known.rest

    def _await(self, seq: Id, value: Any, state: Any, in_s: float) -> None:
        """It was pending in an earlier life, and is asked about again when it is due."""
        of = self._queue_of(seq, value)
        if of is None:
            return
        queue, weight = of
        queue.weigh(seq, weight)
        self._troubles[seq] = Trouble(state=state)
        self._note_deadline([seq], queue)
        self._parked.add(seq)
        self._rest(seq, value, queue, in_s)

    def _tell_credit(self) -> None:
        """Ask for rows, in portions that are worth a message. Rows that rest between attempts, or wait for the journal, are
        not in the way."""
        if self._before is None or self._total is not None:
            return
        chunks = 1 if self._terms.concurrent else self._scheduler.chunk
        # Rows of a key that must wait shall not keep those of another one away.
        wanted = CREDIT * self._terms.workers * chunks if self._terms.key is None else UNLIMITED
        # Nor shall rows that could not go on from here.
        wanted = min(wanted, self._outputs.room - self._record.held)
        n = wanted - (self._rows_here - len(self._resting) - self._record.held) - self._promised
        if n > 0 and n * 4 >= wanted:
            self._promised += n
            self._tell(self._before, protocol.Credit(n, self.context.me))

    def _queue_of(self, seq: Id, value: Any) -> tuple[KeyQueue, float | None] | None:
        """Its queue and what it weighs there; None if it ends here, since that cannot be told."""
        try:
            return self._scheduler.queue_of(value)
        except BaseException as error:
            self._end(seq, value, None, error, Status.QUARANTINED)
            return None

    # --- calls ---

    def _room_after(self) -> int:
        """Results that have somewhere to go."""
        return self._outputs.room - self._record.held

    def _described(self, seqs: Seqs) -> Described:
        """What a worker is told of rows that had trouble."""
        if not self._troubles:
            return None, None
        troubles = {s: self._troubles[s] for s in seqs if s in self._troubles}
        attempts = {s: trouble.failed + 1 for s, trouble in troubles.items()}
        states = {s: trouble.state for s, trouble in troubles.items() if trouble.state is not None}
        return attempts or None, states or None

    def _on_cooldown_began(self, began: protocol.CooldownBegan) -> None:
        self._record.cooled(began.until_s, began.closure)
        self._scheduler.on_cooldown_began(began)
        queue = self._scheduler.queue(began.key)
        if queue.outage:
            self._retries += self._trials.acquit(queue, turned_away=began.closure is protocol.Closure.OUTAGE)

    def _on_cooldown_ended(self, ended: protocol.CooldownEnded) -> None:
        queue = self._scheduler.queue(ended.key)
        if ended.probing and not len(queue.backlog):
            # Whether the account is exhausted, a row that was not turned away would say better; there is none.
            self._retries += self._trials.acquit(queue)
        self._scheduler.on_cooldown_ended(ended)

    def _on_reopened(self, queue: KeyQueue) -> None:
        queue.outage = False
        queue.given_up = None
        self._retries += self._trials.acquit(queue)
        self._scheduler.pump(queue)

    def _on_given_up(self, error: AccountShut) -> None:
        if self._terms.gives_up == "run":
            self._tell(self._conductor, protocol.Failing(self.context.me, error))
            return
        for queue in self._scheduler.queues:
            if queue.outage:
                queue.given_up = error
                self._retries += self._trials.acquit(queue)
                self._give_up(queue, error)
        self._finish_if_done()

    def _give_up(self, queue: KeyQueue, error: AccountShut) -> None:
        """Whoever asks for what waits here need not wait until somebody may ask again."""
        for seq, value in zip(*queue.backlog.take(len(queue.backlog)), strict=True):
            self._end(seq, value, queue, error)

    # --- answers ---

    def _on_answered(self, answered: protocol.Answered) -> None:
        found = self._scheduler.settle(answered)
        if found is None:
            return
        assignment, answered = found
        queue = assignment.queue
        seqs, values, faults, unstarted = answered.seqs, answered.values, answered.faults, answered.unstarted
        ended = len(seqs) + len(faults)
        if faults:
            self._record.failed(faults, answered.busy_s / ended)
        # Before the rows leave, and with them what they weigh.
        spent = self._meter.count(answered.heard, queue.reserved) if answered.heard else ()
        self._record.metered(spent)
        queue.witnesses.on_answered(len(seqs))
        if seqs:
            self._pass_on(queue, seqs, values, assignment, answered.busy_s / ended)
        if ended or faults:
            self._tell_governor(queue, assignment.epoch, answered, ended, spent)
        for seq in unstarted:
            if self._present is None or seq in self._present:
                queue.put_first(seq, assignment.value_of(seq))
        if unstarted:
            self._tell(
                self._governor,
                protocol.PermitsReturned(self.context.me, len(unstarted), queue.key, queue.weight_of(unstarted)),
            )
        for fault in faults:
            self._on_fault(queue, assignment, fault)
        if queue.witnesses.trials:
            self._trials.judge(queue)
        self._scheduler.pump(queue)
        self._scheduler.pump_others(queue)
        self._tell_credit()
        self._finish_if_done()

    def _pass_on(self, queue: KeyQueue, seqs: Seqs, values: list[Any], assignment: Assignment, took_s: float) -> None:
        seqs, values = self._in_time(seqs, values)
        if not seqs:
            return
        try:
            kept, unkept = self._record.keep(values)
        except NothingKept as error:
            self._tell(self._conductor, protocol.Failing(self.context.me, error))
            return
        if unkept:
            seqs, values, kept = self._end_unkept(queue, seqs, values, kept, unkept, assignment)
            if not seqs:
                return
        rows = assignment.values if seqs is assignment.seqs else assignment.rows_of(seqs)
        attempts = None
        if self._troubles or self._carried:
            attempts = {}
            for seq in seqs:
                trouble = self._troubles.pop(seq, None)
                carried = self._carried.pop(seq, 1)
                here = trouble.failed + 1 if trouble else 1
                if here > 1 or carried > 1:
                    attempts[seq] = here + carried - 1
        if self._terms.weigh is not None:
            for seq in seqs:
                queue.forget(seq)
        self._answered += len(seqs)
        if self._record.answered(seqs, values, kept, rows, attempts or None, took_s):
            self._leave_by(Leaving(seqs, values, rows, attempts or None))

    def _end_unkept(
        self,
        queue: KeyQueue,
        seqs: Seqs,
        values: list[Any],
        kept: list[Any],
        unkept: list[Unkept],
        assignment: Assignment,
    ) -> tuple[Seqs, list[Any], list[Any]]:
        """Rows whose answers the journal cannot keep end here, in quarantine; the others are given back (L62)."""
        bad = {each.index: each.error for each in unkept}
        for index, error in bad.items():
            seq = seqs[index]
            self._troubles.setdefault(seq, Trouble()).failed += 1
            self._end(seq, assignment.value_of(seq), queue, error, Status.QUARANTINED)
        well = [index for index in range(len(seqs)) if index not in bad]
        return as_seqs([seqs[i] for i in well]), [values[i] for i in well], [kept[i] for i in well]

    def _in_time(self, seqs: Seqs, values: list[Any]) -> tuple[Seqs, list[Any]]:
        """Less those whose deadline has passed: they have ended."""
        if self._present is None:
            return seqs, values
        kept = [(s, v) for s, v in zip(seqs, values, strict=True) if self._present.pop(s, None) is not None]
        self._late += len(seqs) - len(kept)
        return [s for s, _ in kept], [v for _, v in kept]

    def _on_kept(self, n: int) -> None:
        for leaving in self._record.kept(n):
            self._leave_by(leaving)
        # Not all of them take room in what stands after this: some were dropped.
        self._scheduler.pump_all()
        self._tell_credit()
        self._finish_if_done()

    def _leave_by(self, leaving: Leaving) -> None:
        self._rows_here -= len(leaving.seqs)
        self._operator.leave(self._outputs, leaving.seqs, leaving.values, leaving.rows, leaving.attempts)

    def _tell_governor(
        self,
        queue: KeyQueue,
        epoch: protocol.Epoch,
        answered: protocol.Answered,
        ended: int,
        spent: tuple[protocol.Spent, ...],
    ) -> None:
        failed: tuple[Id, ...] = ()
        not_answered = 0
        latency_s = answered.busy_s / ended if ended else 0.0
        if answered.faults:
            failed = tuple(f.seq for f in answered.faults if f.kind in (Kind.TRANSIENT, Kind.UNKNOWN))
            refused = [f for f in answered.faults if f.kind is Kind.REFUSED]
            away = [f for f in answered.faults if f.kind is Kind.EXHAUSTED]
            not_answered = len(failed) + len(refused) + len(away)
            if refused:
                hints = [f.retry_after_s for f in refused if f.retry_after_s is not None]
                took_s = max(latency_s if f.took_s is None else f.took_s for f in refused)
                queue.cooling = queue.cooling or queue.epoch == epoch
                self._tell(
                    self._governor,
                    protocol.LimitHit(epoch, max(hints, default=None), queue.key, len(refused), took_s),
                )
            if away and self._trials.held:
                named_s = max((f.retry_after_s for f in away if f.retry_after_s is not None), default=None)
                words = next((f.words for f in away if f.words), None)
                self._tell(self._governor, protocol.TurnedAway(epoch, len(away), named_s, words, queue.key))
        self._tell(
            self._governor,
            protocol.CallsEnded(
                self.context.me,
                epoch,
                ended,
                ended - not_answered,
                failed,
                latency_s,
                queue.key,
                answered.heard,
                spent,
            ),
        )

    def _on_fault(self, queue: KeyQueue, assignment: Assignment, fault: Fault) -> None:
        seq = fault.seq
        if self._present is not None and seq not in self._present:
            self._late += 1
            return
        value = assignment.value_of(seq)
        trouble = self._troubles.setdefault(seq, Trouble())
        backoff, witnesses = self._terms.backoff, queue.witnesses
        match fault.kind:
            case Kind.PENDING:
                trouble.state = fault.state
                self._park(seq, value, queue, fault.retry_after_s or 0.0)
                return
            case Kind.REFUSED:
                self._refusals += 1
                # Where many are refused and nobody is answered, that is no matter of this row (L71).
                few = witnesses.on_refused(seq)
                if not self._trials.held or (few and not queue.outage):
                    trouble.refusals += 1
                if trouble.refusals > backoff.refusals:
                    error = TooManyRefusals(f"refused {trouble.refusals} times; Retry(refusals=...) allows more")
                    error.__cause__ = fault.error
                    self._end(seq, value, queue, error)
                else:
                    queue.put_first(seq, value)
                return
            case Kind.EXHAUSTED:
                self._turned_away += 1
                witnesses.on_failed(seq)
                if queue.given_up is not None:
                    self._end(seq, value, queue, queue.given_up)
                elif queue.outage and self._trials.held:
                    queue.put_first(seq, value)
                elif not self._trials.held or trouble.turns > TURNS_MAX:
                    trouble.failed += 1
                    self._end(seq, value, queue, fault.error)
                else:
                    self._trials.try_(seq, value, queue, fault)
                return
            case Kind.UNKNOWN:
                self._unknown_fates += 1
                witnesses.on_failed(seq)
                if self._terms.on_unknown == "quarantine":
                    trouble.failed += 1
                    self._end(seq, value, queue, fault.error)
                    return
            case Kind.PERMANENT:
                # The other side dealt with it.
                witnesses.on_answered(1)
                trouble.failed += 1
                self._end(seq, value, queue, fault.error)
                return
            case Kind.TRANSIENT:
                witnesses.on_failed(seq)
            case _:
                assert_never(fault.kind)
        if queue.outage:
            # The governor has closed: an outage is not the row's fault, and costs no attempt of its (L40).
            self._retries += 1
            queue.put_first(seq, value)
            return
        trouble.failed += 1
        if trouble.failed < backoff.attempts:
            self._rest_after(fault, value, queue)
        elif not self._trials.held:
            self._end(seq, value, queue, fault.error)
        else:
            self._trials.try_(seq, value, queue, fault)

    def _rest_after(self, fault: Fault, value: Any, queue: KeyQueue) -> None:
        """It is called again, a while after this failure."""
        trouble = self._troubles[fault.seq]
        self._retries += 1
        delay_s = self._terms.backoff.delay_s(trouble.failed + trouble.forgiven, self.context.random())
        self._rest(fault.seq, value, queue, max(delay_s, min(fault.retry_after_s or 0.0, self._terms.hint_max_s)))

    def _park(self, seq: Id, value: Any, queue: KeyQueue, after_s: float) -> None:
        """It holds no worker and no permit, and is asked about again."""
        try:
            self._record.parked(seq, self._troubles[seq].state, after_s)
        except BaseException as error:
            # Without its state nobody could ask about it in another life; so it ends, and says so (L62).
            self._troubles[seq].failed += 1
            self._end(seq, value, queue, error, Status.QUARANTINED)
            return
        self._parked.add(seq)
        self._rest(seq, value, queue, after_s)

    def _rest(self, seq: Id, value: Any, queue: KeyQueue, for_s: float) -> None:
        self._resting[seq] = (value, queue)
        queue.resting += 1
        self.context.after(for_s, _Again(seq))

    def _on_again(self, seq: Id) -> None:
        resting = self._resting.pop(seq, None)
        self._parked.discard(seq)
        if resting is None:
            return
        value, queue = resting
        queue.resting -= 1
        queue.put_first(seq, value)
        self._scheduler.pump(queue)

    # --- rows that end here ---

    def _end(
        self, seq: Id, value: Any, queue: KeyQueue | None, error: BaseException, status: Status | None = None
    ) -> None:
        """The row goes no further. What becomes of it, the stage's error policy says. `queue`: the one that it was in."""
        trouble = self._troubles.pop(seq, None)
        attempts = (trouble.failed if trouble else 0) + self._carried.pop(seq, 1) - 1
        if self._present is not None:
            self._present.pop(seq, None)
        if queue is not None:
            queue.forget(seq)
        status = status or _STATUS_OF[self._terms.on_error]
        self._rows_here -= 1
        self._tell_credit()
        self._outputs.end([Ended(seq, status, error, attempts, value, self._terms.name)])
        if status is Status.FAILED:
            remark(error, "row", f"row {show(seq)} in {self._terms.name!r}")
            self._tell(self._conductor, protocol.Failing(self.context.me, error))

    def _finish_if_done(self) -> None:
        if self._trials.open and self._total is not None and not self._over:
            self._judge_lonely()
        if self._total is not None and self._rows_here == 0 and not self._over:
            self._over = self._leaving = True
            self._outputs.finish(self._total)
            if self._assignments:
                # Calls of rows whose deadline has passed.
                self._end_calls()
            self._leave_if_quiet()

    def _judge_lonely(self) -> None:
        for queue in self._trials.judge_lonely(self._scheduler.queues):
            self._scheduler.pump(queue)

    def _leave(self) -> None:
        self._scheduler.leave()
        self._tell(self._conductor, protocol.Drained(self.context.me))

    def _on_abort(self) -> None:
        self._over = self._leaving = True
        self._end_calls()
        self._leave_if_quiet()

    def _end_calls(self) -> None:
        self._scheduler.cancel_calls()
        self.context.after(PATIENCE_S, _LeaveAnyway())

    def _on_last_word(self, message: Message) -> None:
        """Nothing counts any more but that a call has ended; and what it answered, for another life."""
        match message:
            case protocol.Answered():
                found = self._assignments.settle(message)
                if found is not None:
                    self._record.metered(self._meter.count(found[1].heard, found[0].queue.reserved))
                    self._record.answered_last(*self._in_time(found[1].seqs, found[1].values))
            case protocol.Died(who):
                self._assignments.drop(who)
            case _LeaveAnyway():
                self._assignments.drop()
            case _:
                return
        self._leave_if_quiet()

    def _leave_if_quiet(self) -> None:
        if not self._assignments:
            self._leaving = False
            self._leave()

    def _on_outage_overdue(self, since_s: float) -> None:
        """No call has gone through for too long: the run fails, so that it can go on when the service is back. But where a
        few rows are left that have all been called, and no other ones to come, it may be that they are at fault."""
        last = self._last_few()
        said = "no call has gone through" if not last else f"no call of the last {len(last)} rows has gone through"
        text = (
            f"stage {self._terms.name!r}: {said} for {since_s:.0f} s; raise outage_deadline, or "
            f"{'run' if not last else 'try them'} again when the service is back"
        )
        if not last:
            self._tell(self._conductor, protocol.Failing(self.context.me, OutageDeadlineExceeded(text)))
            return
        for seq, queue in last:
            found, value = self._take_out(seq, queue)
            self._end(seq, value, found, OutageDeadlineExceeded(text))
        self._finish_if_done()

    def _last_few(self) -> list[tuple[Id, KeyQueue]]:
        """All rows that are here, with their queues; none, where there may be others whose calls go through."""
        if self._total is None or self._rows_here > LAST_FEW or self._parked or self._record.held:
            return []
        here = [(seq, queue) for queue in self._scheduler.queues for seq in queue.backlog.seqs()]
        here += [(seq, queue) for seq, (_, queue) in self._resting.items()]
        return here if len(here) == self._rows_here and all(seq in self._troubles for seq, _ in here) else []

    # --- time ---

    def _note_deadline(self, seqs: Seqs, queue: KeyQueue) -> None:
        if self._present is None or self._terms.deadline_s is None:
            return
        self._present.update(dict.fromkeys(seqs, queue))
        self._deadlines.append((self.context.now() + self._terms.deadline_s, seqs, queue))
        if len(self._deadlines) == 1:
            self.context.after(self._terms.deadline_s, _CheckDeadlines())

    def _on_check_deadlines(self) -> None:
        if self._present is None:
            raise InternalError("rows that are here are counted")
        now = self.context.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, seqs, _ = self._deadlines.popleft()
            for seq in seqs:
                if seq in self._present:
                    self._expire(seq, self._present[seq])
        if self._deadlines:
            self.context.after(self._deadlines[0][0] - now, _CheckDeadlines())
        if self._trials.open:
            self._judge_lonely()
        self._finish_if_done()

    def _expire(self, seq: Id, queue: KeyQueue) -> None:
        error = DeadlineExceeded(
            f"not done within {self._terms.deadline_s:g} s (deadline of stage {self._terms.name!r}, waits included)"
        )
        found, value = self._take_out(seq, queue)
        if found is None:
            # In flight: what it answers will be late news.
            for assignment in self._assignments:
                if seq in assignment.seqs:
                    value = assignment.value_of(seq)
            self._unknown_fates += 1
        self._end(seq, value, queue, error)
        self._scheduler.give_back_unused(queue)

    def _take_out(self, seq: Id, queue: KeyQueue) -> tuple[KeyQueue | None, Any]:
        """A row that waits, for a permit in this queue or for its backoff: the queue that it was in, or None where it
        does not wait, and its value."""
        found, value = queue.backlog.remove(seq)
        if not found and seq in self._resting:
            value, queue = self._resting.pop(seq)
            self._parked.discard(seq)
            self._trials.withdraw(queue, seq)
            queue.resting -= 1
            return queue, value
        return queue if found else None, value

    def _on_retract(self, seqs: Seqs) -> None:
        for queue in self._scheduler.queues:
            for seq in seqs:
                found, value = self._take_out(seq, queue)
                if found is not None:
                    self._end(seq, value, found, Retracted("withdrawn before it began"), Status.DROPPED)
            self._scheduler.give_back_unused(queue)
        if self._trials.open:
            self._judge_lonely()
        self._finish_if_done()

    # --- workers ---

    def _on_worker_died(self, worker: Ref, error: BaseException, salvage: Progress | None) -> None:
        workforce = self._scheduler.workforce
        if not workforce.lose(worker):
            return
        if workforce.too_many_lost(self._terms.workers):
            fatal = TooManyHungCalls(
                f"stage {self._terms.name!r} has lost {workforce.lost} workers to hung or crashed calls "
                f"(at most {ABANDONED_PER_WORKER} for each of its {self._terms.workers} workers); "
                f"give the call a time-out of its own"
            )
            fatal.__cause__ = error
            self._tell(self._conductor, protocol.Failing(self.context.me, fatal))
            return
        for id_ in self._assignments.of(worker):
            self._on_answered(self._assignments.inherited(id_, error, salvage, self._terms.concurrent))

    def _tell(self, ref: Ref, message: Message) -> None:
        self.context.tell(ref, message)

    def statistics(self) -> StageStatistics:
        # Workers have rows in hand that wait for their turn, so that none of them waits for a row: these are no calls yet.
        in_flight = min(self._assignments.in_flight, self._terms.workers)
        return StageStatistics(
            name=self._terms.name,
            rows=self._rows,
            calls=self._scheduler.calls,
            answered=self._answered,
            refusals=self._refusals,
            retries=self._retries,
            unknown=self._unknown_fates,
            late=self._late + self._assignments.late,
            recalled=self._recalled,
            turned_away=self._turned_away,
            workers_lost=self._scheduler.workforce.lost,
            in_flight=in_flight,
            in_flight_max=min(self._assignments.in_flight_max, self._terms.workers),
            waiting=self._rows_here - in_flight,
            busy_s=self._scheduler.busy_s,
            traffic=self._outputs.traffic(self._rows, self._rows_here, self._operator.made),
            spent=dict(self._meter.total),
        )


_STATUS_OF = {"quarantine": Status.QUARANTINED, "fail": Status.FAILED, "drop": Status.DROPPED}
