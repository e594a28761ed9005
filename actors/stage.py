"""A stage: owns its rows from their arrival until they go on or end, its workers, and the permits it holds.

Told: `Rows` and `EndOfRows` by what stands before it, `Credit` by what stands after it; `PermitsGranted`,
`CooldownBegan`, `CooldownEnded`, `OutageOverdue`, `AccountGivenUp` by its governor; `Answered` by its workers and `Died` by
the host about them; `Abort` by the conductor. Tells: `Rows`, `Outcomes` and `EndOfRows` by its exits, `Assign` to workers,
`PermitsWanted`, `PermitsReturned`, `CallsEnded`, `LimitHit`, `TurnedAway` to the governor, `Drained` and `Failing` to the
conductor.

Promises: a row leaves exactly once. A call starts only on a permit of today's epoch. A refused row stays here, goes to
the head, and loses no attempt (L11); nor does one whose call failed as those of many others did (L40, L76).
A row that waits to be tried again keeps its place. A worker that is lost costs
one attempt of one row, and is replaced. The answer to an assignment that was given up reaches nobody, and is counted (L05).

How many rows: as many as keep its workers busy, and no more, so that what waits here is soon done with when the run is
drained; it tells its `Credit` to what stands before it, and starts no call whose row the next stage has no room for.

Which rows start, on which permits and with which workers, its launcher says.
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
APPETITE = 3
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
    """See the module. `new_worker(stage)` makes a worker's actor."""

    def __init__(
        self,
        terms: StageTerms,
        governor: Ref,
        exits: Outputs,
        conductor: Ref,
        new_worker: Callable[[Ref], Actor],
        outlet: Operator | None = None,
        inputs: int = 1,
        before: Ref | None = None,
        record: StageRecord | None = None,
        suspends: bool = False,
    ) -> None:
        """`outlet`: which way a row takes. `inputs`: edges that end here. `before`: who is told its appetite. `record`: its
        share of the journal. `suspends`: the conductor wants to know when nothing is left to do."""
        self._terms = terms
        self._governor = governor
        self._exits = exits
        self._outlet = outlet or Map()
        self._inputs = inputs
        self._conductor = conductor
        self._before = before
        self._record = record or StageRecord(terms.name)
        self._parked: set[Id] = set()
        """Rows that rest because they are pending."""
        self._suspends = suspends
        self._rests: int | None = None
        self._promised = 0
        self._launcher = Scheduler(terms, governor, new_worker, self._room_after, self._described)
        self._assignments = self._launcher.assignments
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
        self._exits.start(context)
        self._record.start(context)
        self._launcher.start(context)
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
                self._launcher.on_granted(message)
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
                self._launcher.on_wishes_forgotten(message)
            case protocol.Retract(seqs):
                self._on_retract(seqs)
            case protocol.Reopened(_, key):
                self._on_reopened(self._launcher.lane(key))
            case Recess(key, ended):
                lane = self._launcher.lane(key)
                if self._trials.on_recess(lane, ended):
                    self._launcher.pump(lane)
                    self._finish_if_done()
            case CheckOverdue():
                self._launcher.check_overdue()
            case _CheckDeadlines():
                self._on_check_deadlines()
            case protocol.Died(who, error, estate):
                self._on_worker_died(who, error, estate)
            case protocol.OutageOverdue(since_s):
                self._on_outage_overdue(since_s)
            case protocol.AccountGivenUp(since_s, words):
                self._on_given_up(AccountShut(self._terms.limit or f"stage {self._terms.name!r}", since_s, words))
            case protocol.Credit(n, who):
                self._exits.welcome(who, n)
                self._launcher.pump_all()
                self._tell_appetite()
            case protocol.Start():
                self._tell_appetite()
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
                self._tell_appetite()
                self._finish_if_done()
                return
        if self._terms.key is None and self._terms.weigh is None:
            lane = self._launcher.lane(None)
            lane.append(seqs, values)
            self._note_deadline(seqs, lane)
            if lane.given_up is not None and lane.cooling:
                self._give_up(lane, lane.given_up)
            self._launcher.pump(lane)
            return
        touched: dict[Key, KeyQueue] = {}
        for seq, value in zip(seqs, values, strict=True):
            of = self._lane_of(seq, value)
            if of is None:
                continue
            lane, weight = of
            touched[lane.key] = lane
            lane.append([seq], [value], [weight] if weight is not None else None)
            self._note_deadline([seq], lane)
        for lane in touched.values():
            if lane.given_up is not None and lane.cooling:
                self._give_up(lane, lane.given_up)
            self._launcher.pump(lane)
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
            self._outlet.leave(self._exits, as_seqs(again), answers, rows, known.attempts or None)
        if known.ended:
            for end in known.ended:
                self._carried.pop(end.seq, None)
            self._exits.end(known.ended)
        return known.rest

    def _await(self, seq: Id, value: Any, state: Any, in_s: float) -> None:
        """It was pending in an earlier life, and is asked about again when it is due."""
        of = self._lane_of(seq, value)
        if of is None:
            return
        lane, weight = of
        lane.weigh(seq, weight)
        self._troubles[seq] = Trouble(state=state)
        self._note_deadline([seq], lane)
        self._parked.add(seq)
        self._rest(seq, value, lane, in_s)

    def _tell_appetite(self) -> None:
        """Ask for rows, in portions that are worth a message. Rows that rest between attempts, or wait for the journal, are
        not in the way."""
        if self._before is None or self._total is not None:
            return
        chunks = 1 if self._terms.concurrent else self._launcher.chunk
        # Rows of a key that must wait shall not keep those of another one away.
        wanted = APPETITE * self._terms.workers * chunks if self._terms.key is None else UNLIMITED
        # Nor shall rows that could not go on from here.
        wanted = min(wanted, self._exits.room - self._record.held)
        n = wanted - (self._rows_here - len(self._resting) - self._record.held) - self._promised
        if n > 0 and n * 4 >= wanted:
            self._promised += n
            self._tell(self._before, protocol.Credit(n, self.context.me))

    def _lane_of(self, seq: Id, value: Any) -> tuple[KeyQueue, float | None] | None:
        """Its lane and what it weighs there; None if it ends here, since that cannot be told."""
        try:
            return self._launcher.lane_of(value)
        except BaseException as error:
            self._end(seq, value, None, error, Status.QUARANTINED)
            return None

    # --- calls ---

    def _room_after(self) -> int:
        """Results that have somewhere to go."""
        return self._exits.room - self._record.held

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
        self._launcher.on_cooldown_began(began)
        lane = self._launcher.lane(began.key)
        if lane.outage:
            self._retries += self._trials.acquit(lane, turned_away=began.closure is protocol.Closure.OUTAGE)

    def _on_cooldown_ended(self, ended: protocol.CooldownEnded) -> None:
        lane = self._launcher.lane(ended.key)
        if ended.probing and not len(lane.backlog):
            # Whether the account is exhausted, a row that was not turned away would say better; there is none.
            self._retries += self._trials.acquit(lane)
        self._launcher.on_cooldown_ended(ended)

    def _on_reopened(self, lane: KeyQueue) -> None:
        lane.outage = False
        lane.given_up = None
        self._retries += self._trials.acquit(lane)
        self._launcher.pump(lane)

    def _on_given_up(self, error: AccountShut) -> None:
        if self._terms.gives_up == "run":
            self._tell(self._conductor, protocol.Failing(self.context.me, error))
            return
        for lane in self._launcher.lanes:
            if lane.outage:
                lane.given_up = error
                self._retries += self._trials.acquit(lane)
                self._give_up(lane, error)
        self._finish_if_done()

    def _give_up(self, lane: KeyQueue, error: AccountShut) -> None:
        """Whoever asks for what waits here need not wait until somebody may ask again."""
        for seq, value in zip(*lane.backlog.take(len(lane.backlog)), strict=True):
            self._end(seq, value, lane, error)

    # --- answers ---

    def _on_answered(self, answered: protocol.Answered) -> None:
        found = self._launcher.settle(answered)
        if found is None:
            return
        assignment, answered = found
        lane = assignment.lane
        seqs, values, faults, unstarted = answered.seqs, answered.values, answered.faults, answered.unstarted
        ended = len(seqs) + len(faults)
        if faults:
            self._record.failed(faults, answered.busy_s / ended)
        # Before the rows leave, and with them what they weigh.
        spent = self._meter.count(answered.heard, lane.reserved) if answered.heard else ()
        self._record.metered(spent)
        lane.witnesses.on_answered(len(seqs))
        if seqs:
            self._pass_on(lane, seqs, values, assignment, answered.busy_s / ended)
        if ended or faults:
            self._tell_governor(lane, assignment.epoch, answered, ended, spent)
        for seq in unstarted:
            if self._present is None or seq in self._present:
                lane.put_first(seq, assignment.value_of(seq))
        if unstarted:
            self._tell(
                self._governor,
                protocol.PermitsReturned(self.context.me, len(unstarted), lane.key, lane.weight_of(unstarted)),
            )
        for fault in faults:
            self._on_fault(lane, assignment, fault)
        if lane.witnesses.trials:
            self._trials.judge(lane)
        self._launcher.pump(lane)
        self._launcher.pump_others(lane)
        self._tell_appetite()
        self._finish_if_done()

    def _pass_on(self, lane: KeyQueue, seqs: Seqs, values: list[Any], assignment: Assignment, took_s: float) -> None:
        seqs, values = self._in_time(seqs, values)
        if not seqs:
            return
        try:
            kept, unkept = self._record.keep(values)
        except NothingKept as error:
            self._tell(self._conductor, protocol.Failing(self.context.me, error))
            return
        if unkept:
            seqs, values, kept = self._end_unkept(lane, seqs, values, kept, unkept, assignment)
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
                lane.forget(seq)
        self._answered += len(seqs)
        if self._record.answered(seqs, values, kept, rows, attempts or None, took_s):
            self._leave_by(Leaving(seqs, values, rows, attempts or None))

    def _end_unkept(
        self,
        lane: KeyQueue,
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
            self._end(seq, assignment.value_of(seq), lane, error, Status.QUARANTINED)
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
        self._launcher.pump_all()
        self._tell_appetite()
        self._finish_if_done()

    def _leave_by(self, leaving: Leaving) -> None:
        self._rows_here -= len(leaving.seqs)
        self._outlet.leave(self._exits, leaving.seqs, leaving.values, leaving.rows, leaving.attempts)

    def _tell_governor(
        self,
        lane: KeyQueue,
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
                lane.cooling = lane.cooling or lane.epoch == epoch
                self._tell(
                    self._governor,
                    protocol.LimitHit(epoch, max(hints, default=None), lane.key, len(refused), took_s),
                )
            if away and self._trials.held:
                named_s = max((f.retry_after_s for f in away if f.retry_after_s is not None), default=None)
                words = next((f.words for f in away if f.words), None)
                self._tell(self._governor, protocol.TurnedAway(epoch, len(away), named_s, words, lane.key))
        self._tell(
            self._governor,
            protocol.CallsEnded(
                self.context.me,
                epoch,
                ended,
                ended - not_answered,
                failed,
                latency_s,
                lane.key,
                answered.heard,
                spent,
            ),
        )

    def _on_fault(self, lane: KeyQueue, assignment: Assignment, fault: Fault) -> None:
        seq = fault.seq
        if self._present is not None and seq not in self._present:
            self._late += 1
            return
        value = assignment.value_of(seq)
        trouble = self._troubles.setdefault(seq, Trouble())
        backoff, witnesses = self._terms.backoff, lane.witnesses
        match fault.kind:
            case Kind.PENDING:
                trouble.state = fault.state
                self._park(seq, value, lane, fault.retry_after_s or 0.0)
                return
            case Kind.REFUSED:
                self._refusals += 1
                # Where many are refused and nobody is answered, that is no matter of this row (L71).
                few = witnesses.on_refused(seq)
                if not self._trials.held or (few and not lane.outage):
                    trouble.refusals += 1
                if trouble.refusals > backoff.refusals:
                    error = TooManyRefusals(f"refused {trouble.refusals} times; Retry(refusals=...) allows more")
                    error.__cause__ = fault.error
                    self._end(seq, value, lane, error)
                else:
                    lane.put_first(seq, value)
                return
            case Kind.EXHAUSTED:
                self._turned_away += 1
                witnesses.on_failed(seq)
                if lane.given_up is not None:
                    self._end(seq, value, lane, lane.given_up)
                elif lane.outage and self._trials.held:
                    lane.put_first(seq, value)
                elif not self._trials.held or trouble.turns > TURNS_MAX:
                    trouble.failed += 1
                    self._end(seq, value, lane, fault.error)
                else:
                    self._trials.try_(seq, value, lane, fault)
                return
            case Kind.UNKNOWN:
                self._unknown_fates += 1
                witnesses.on_failed(seq)
                if self._terms.on_unknown == "quarantine":
                    trouble.failed += 1
                    self._end(seq, value, lane, fault.error)
                    return
            case Kind.PERMANENT:
                # The other side dealt with it.
                witnesses.on_answered(1)
                trouble.failed += 1
                self._end(seq, value, lane, fault.error)
                return
            case Kind.TRANSIENT:
                witnesses.on_failed(seq)
            case _:
                assert_never(fault.kind)
        if lane.outage:
            # The governor has closed: an outage is not the row's fault, and costs no attempt of its (L40).
            self._retries += 1
            lane.put_first(seq, value)
            return
        trouble.failed += 1
        if trouble.failed < backoff.attempts:
            self._rest_after(fault, value, lane)
        elif not self._trials.held:
            self._end(seq, value, lane, fault.error)
        else:
            self._trials.try_(seq, value, lane, fault)

    def _rest_after(self, fault: Fault, value: Any, lane: KeyQueue) -> None:
        """It is called again, a while after this failure."""
        trouble = self._troubles[fault.seq]
        self._retries += 1
        delay_s = self._terms.backoff.delay_s(trouble.failed + trouble.forgiven, self.context.random())
        self._rest(fault.seq, value, lane, max(delay_s, min(fault.retry_after_s or 0.0, self._terms.hint_max_s)))

    def _park(self, seq: Id, value: Any, lane: KeyQueue, after_s: float) -> None:
        """It holds no worker and no permit, and is asked about again."""
        try:
            self._record.parked(seq, self._troubles[seq].state, after_s)
        except BaseException as error:
            # Without its state nobody could ask about it in another life; so it ends, and says so (L62).
            self._troubles[seq].failed += 1
            self._end(seq, value, lane, error, Status.QUARANTINED)
            return
        self._parked.add(seq)
        self._rest(seq, value, lane, after_s)

    def _rest(self, seq: Id, value: Any, lane: KeyQueue, for_s: float) -> None:
        self._resting[seq] = (value, lane)
        lane.resting += 1
        self.context.after(for_s, _Again(seq))

    def _on_again(self, seq: Id) -> None:
        resting = self._resting.pop(seq, None)
        self._parked.discard(seq)
        if resting is None:
            return
        value, lane = resting
        lane.resting -= 1
        lane.put_first(seq, value)
        self._launcher.pump(lane)

    # --- rows that end here ---

    def _end(
        self, seq: Id, value: Any, lane: KeyQueue | None, error: BaseException, status: Status | None = None
    ) -> None:
        """The row goes no further. What becomes of it, the stage's error policy says. `lane`: the one that it was in."""
        trouble = self._troubles.pop(seq, None)
        attempts = (trouble.failed if trouble else 0) + self._carried.pop(seq, 1) - 1
        if self._present is not None:
            self._present.pop(seq, None)
        if lane is not None:
            lane.forget(seq)
        status = status or _STATUS_OF[self._terms.on_error]
        self._rows_here -= 1
        self._tell_appetite()
        self._exits.end([Ended(seq, status, error, attempts, value, self._terms.name)])
        if status is Status.FAILED:
            remark(error, "row", f"row {show(seq)} in {self._terms.name!r}")
            self._tell(self._conductor, protocol.Failing(self.context.me, error))

    def _finish_if_done(self) -> None:
        if self._trials.open and self._total is not None and not self._over:
            self._judge_lonely()
        if self._total is not None and self._rows_here == 0 and not self._over:
            self._over = self._leaving = True
            self._exits.finish(self._total)
            if self._assignments:
                # Calls of rows whose deadline has passed.
                self._end_calls()
            self._leave_if_quiet()

    def _judge_lonely(self) -> None:
        for lane in self._trials.judge_lonely(self._launcher.lanes):
            self._launcher.pump(lane)

    def _leave(self) -> None:
        self._launcher.leave()
        self._tell(self._conductor, protocol.Drained(self.context.me))

    def _on_abort(self) -> None:
        self._over = self._leaving = True
        self._end_calls()
        self._leave_if_quiet()

    def _end_calls(self) -> None:
        self._launcher.cancel_calls()
        self.context.after(PATIENCE_S, _LeaveAnyway())

    def _on_last_word(self, message: Message) -> None:
        """Nothing counts any more but that a call has ended; and what it answered, for another life."""
        match message:
            case protocol.Answered():
                found = self._assignments.settle(message)
                if found is not None:
                    self._record.metered(self._meter.count(found[1].heard, found[0].lane.reserved))
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
        for seq, lane in last:
            found, value = self._take_out(seq, lane)
            self._end(seq, value, found, OutageDeadlineExceeded(text))
        self._finish_if_done()

    def _last_few(self) -> list[tuple[Id, KeyQueue]]:
        """All rows that are here, with their lanes; none, where there may be others whose calls go through."""
        if self._total is None or self._rows_here > LAST_FEW or self._parked or self._record.held:
            return []
        here = [(seq, lane) for lane in self._launcher.lanes for seq in lane.backlog.seqs()]
        here += [(seq, lane) for seq, (_, lane) in self._resting.items()]
        return here if len(here) == self._rows_here and all(seq in self._troubles for seq, _ in here) else []

    # --- time ---

    def _note_deadline(self, seqs: Seqs, lane: KeyQueue) -> None:
        if self._present is None or self._terms.deadline_s is None:
            return
        self._present.update(dict.fromkeys(seqs, lane))
        self._deadlines.append((self.context.now() + self._terms.deadline_s, seqs, lane))
        if len(self._deadlines) == 1:
            self.context.after(self._terms.deadline_s, _CheckDeadlines())

    def _on_check_deadlines(self) -> None:
        assert self._present is not None
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

    def _expire(self, seq: Id, lane: KeyQueue) -> None:
        error = DeadlineExceeded(
            f"not done within {self._terms.deadline_s:g} s (deadline of stage {self._terms.name!r}, waits included)"
        )
        found, value = self._take_out(seq, lane)
        if found is None:
            # In flight: what it answers will be late news.
            for assignment in self._assignments:
                if seq in assignment.seqs:
                    value = assignment.value_of(seq)
            self._unknown_fates += 1
        self._end(seq, value, lane, error)
        self._launcher.give_back_unused(lane)

    def _take_out(self, seq: Id, lane: KeyQueue) -> tuple[KeyQueue | None, Any]:
        """A row that waits, for a permit in this lane or for its backoff: the lane that it was in, or None where it does not
        wait, and its value."""
        found, value = lane.backlog.remove(seq)
        if not found and seq in self._resting:
            value, lane = self._resting.pop(seq)
            self._parked.discard(seq)
            self._trials.withdraw(lane, seq)
            lane.resting -= 1
            return lane, value
        return lane if found else None, value

    def _on_retract(self, seqs: Seqs) -> None:
        for lane in self._launcher.lanes:
            for seq in seqs:
                found, value = self._take_out(seq, lane)
                if found is not None:
                    self._end(seq, value, found, Retracted("withdrawn before it began"), Status.DROPPED)
            self._launcher.give_back_unused(lane)
        if self._trials.open:
            self._judge_lonely()
        self._finish_if_done()

    # --- workers ---

    def _on_worker_died(self, worker: Ref, error: BaseException, estate: Progress | None) -> None:
        crew = self._launcher.crew
        if not crew.lose(worker):
            return
        if crew.too_many_lost(self._terms.workers):
            fatal = TooManyHungCalls(
                f"stage {self._terms.name!r} has lost {crew.lost} workers to hung or crashed calls "
                f"(at most {ABANDONED_PER_WORKER} for each of its {self._terms.workers} workers); "
                f"give the call a time-out of its own"
            )
            fatal.__cause__ = error
            self._tell(self._conductor, protocol.Failing(self.context.me, fatal))
            return
        for id_ in self._assignments.of(worker):
            self._on_answered(self._assignments.inherited(id_, error, estate, self._terms.concurrent))

    def _tell(self, ref: Ref, message: Message) -> None:
        self.context.tell(ref, message)

    def statistics(self) -> StageStatistics:
        # Workers have rows in hand that wait for their turn, so that none of them waits for a row: these are no calls yet.
        in_flight = min(self._assignments.in_flight, self._terms.workers)
        return StageStatistics(
            name=self._terms.name,
            rows=self._rows,
            calls=self._launcher.calls,
            answered=self._answered,
            refusals=self._refusals,
            retries=self._retries,
            unknown=self._unknown_fates,
            late=self._late + self._assignments.late,
            recalled=self._recalled,
            turned_away=self._turned_away,
            workers_lost=self._launcher.crew.lost,
            in_flight=in_flight,
            in_flight_max=min(self._assignments.in_flight_max, self._terms.workers),
            waiting=self._rows_here - in_flight,
            busy_s=self._launcher.busy_s,
            traffic=self._exits.traffic(self._rows, self._rows_here, self._outlet.made),
            spent=dict(self._meter.total),
        )


_STATUS_OF = {"quarantine": Status.QUARANTINED, "fail": Status.FAILED, "drop": Status.DROPPED}
