"""What becomes of a row whose call did not answer: it is called again at once, or after a while, or is asked about again, or
is on trial, or ends.

Told by the stage: each fault, news of the account and the governor, and `Again` when a row has rested. It puts rows back
into their queues, ends them by `end`, and sets the timers of those that rest. It owns who is on trial. When it has put rows
back, the stage has the scheduler look at their queues.
"""

from __future__ import annotations

from typing import Any, Protocol, assert_never

from ..actor import Context
from ..journaling.stage_record import StageRecord
from ..protocol import Closure, Fault, Kind, Message, Status
from ..rows.identity import Id
from .counters import Counters
from .key_queue import KeyQueue
from .resting import Resting
from .terms import StageTerms, TooManyRefusals
from .trials import TURNS_MAX, Trials
from .troubles import Troubles


class Again(Message, frozen=True):
    """To the stage, from itself: the row has rested."""

    seq: Id


class End(Protocol):
    """How a row ends here; `status`: other than the stage's error policy says."""

    def __call__(
        self, seq: Id, value: Any, queue: KeyQueue | None, error: BaseException, status: Status | None = None
    ) -> None: ...


class Attempts:
    """It does what the module says; one object belongs to one stage."""

    def __init__(
        self,
        terms: StageTerms,
        troubles: Troubles,
        resting: Resting,
        record: StageRecord,
        counters: Counters,
        end: End,
    ) -> None:
        self._terms = terms
        self._troubles = troubles
        self._record = record
        self._counters = counters
        self._end = end
        self._context: Context
        self._resting = resting
        self.trials = Trials(terms.trial_s, troubles, resting, self._rest_after, end)

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context
        self.trials.start(context)

    # --- faults ---

    def on_fault(self, queue: KeyQueue, value: Any, fault: Fault) -> None:
        """A call of that queue has ended so. `value`: the row's."""
        if fault.kind is not Kind.PENDING:
            self._counters.faults.count(fault.kind.value, fault.error, fault.seq, words=fault.words)
        match fault.kind:
            case Kind.PENDING:
                self._troubles.of(fault.seq).state = fault.state
                self._park(fault.seq, value, queue, fault.retry_after_s or 0.0)
            case Kind.REFUSED:
                self._on_refused(queue, value, fault)
            case Kind.EXHAUSTED:
                self._on_turned_away(queue, value, fault)
            case Kind.PERMANENT:
                # The other side dealt with it.
                queue.witnesses.on_answered(1)
                self._end_failed(queue, value, fault)
            case Kind.UNKNOWN:
                self._counters.unknown += 1
                if not fault.crashed:
                    queue.witnesses.on_failed(fault.seq)
                if self._terms.on_unknown == "quarantine":
                    self._end_failed(queue, value, fault)
                elif fault.crashed:
                    self._on_crashed(queue, value, fault)
                else:
                    self._on_failed(queue, value, fault)
            case Kind.TRANSIENT:
                queue.witnesses.on_failed(fault.seq)
                self._on_failed(queue, value, fault)
            case _:
                assert_never(fault.kind)

    def _on_refused(self, queue: KeyQueue, value: Any, fault: Fault) -> None:
        seq, trouble = fault.seq, self._troubles.of(fault.seq)
        self._counters.refusals += 1
        # Where many are refused and nobody is answered, that is no matter of this row (L71).
        few = queue.witnesses.on_refused(seq)
        if not self.trials.held or (few and not queue.outage):
            trouble.refusals += 1
        if fault.overloaded:
            # It may be no quota, and then this is a witness of others whose calls fail.
            queue.witnesses.on_failed(seq)
            trouble.forgiven += 1
            self._rest_after(fault, value, queue)
        elif trouble.refusals > self._terms.backoff.refusals:
            error = TooManyRefusals(f"refused {trouble.refusals} times; Retry(refusals=...) allows more")
            error.__cause__ = fault.error
            self._end(seq, value, queue, error)
        else:
            queue.put_first(seq, value)

    def _on_turned_away(self, queue: KeyQueue, value: Any, fault: Fault) -> None:
        """The account is exhausted."""
        seq, trouble = fault.seq, self._troubles.of(fault.seq)
        self._counters.turned_away += 1
        queue.witnesses.on_failed(seq)
        if queue.given_up is not None:
            self._end(seq, value, queue, queue.given_up)
        elif queue.outage and self.trials.held:
            queue.put_first(seq, value)
        elif not self.trials.held or trouble.turns > TURNS_MAX:
            self._end_failed(queue, value, fault)
        else:
            self.trials.try_(seq, value, queue, fault)

    def _on_failed(self, queue: KeyQueue, value: Any, fault: Fault) -> None:
        """The other side did not deal with it, and may do so the next time."""
        if queue.outage:
            # The governor has closed: an outage is not the row's fault, and costs no attempt of its (L40).
            self._counters.retries += 1
            self._troubles.of(fault.seq)
            queue.put_first(fault.seq, value)
            return
        trouble = self._troubles.of(fault.seq)
        trouble.failed += 1
        if trouble.failed < self._terms.backoff.attempts:
            self._rest_after(fault, value, queue)
        elif not self.trials.held:
            self._end(fault.seq, value, queue, fault.error)
        else:
            self.trials.try_(fault.seq, value, queue, fault)

    def _on_crashed(self, queue: KeyQueue, value: Any, fault: Fault) -> None:
        """Its process has ended in its call, which is this row's matter, whatever other calls come to."""
        trouble = self._troubles.of(fault.seq)
        trouble.failed += 1
        if trouble.failed < self._terms.backoff.attempts:
            self._rest_after(fault, value, queue)
        else:
            self._end(fault.seq, value, queue, fault.error)

    def _end_failed(self, queue: KeyQueue, value: Any, fault: Fault) -> None:
        self._troubles.of(fault.seq).failed += 1
        self._end(fault.seq, value, queue, fault.error)

    # --- rows that rest ---

    def _rest_after(self, fault: Fault, value: Any, queue: KeyQueue) -> None:
        """It is called again, a while after this failure."""
        trouble = self._troubles[fault.seq]
        self._counters.retries += 1
        delay_s = self._terms.backoff.delay_s(trouble.failed + trouble.forgiven, self._context.random())
        self._rest(fault.seq, value, queue, max(delay_s, min(fault.retry_after_s or 0.0, self._terms.hint_max_s)))

    def _park(self, seq: Id, value: Any, queue: KeyQueue, after_s: float) -> None:
        """It holds no worker and no permit, and is asked about again."""
        trouble = self._troubles[seq]
        try:
            self._record.parked(seq, trouble.state, after_s)
        except BaseException as error:
            # Without its state nobody could ask about it in another life; so it ends, and says so (L62).
            trouble.failed += 1
            self._end(seq, value, queue, error, Status.QUARANTINED)
            return
        self.park(seq, value, queue, after_s)

    def park(self, seq: Id, value: Any, queue: KeyQueue, in_s: float) -> None:
        """It is pending, and the journal knows that: ask about it again in so many seconds."""
        self._resting.parked.add(seq)
        self._rest(seq, value, queue, in_s)

    def _rest(self, seq: Id, value: Any, queue: KeyQueue, for_s: float) -> None:
        self._resting.begin(seq, value, queue)
        self._context.after(for_s, Again(seq))

    def on_again(self, seq: Id) -> KeyQueue | None:
        """The row has rested: it waits for a permit in the queue that is given; None where it has left meanwhile."""
        found = self._resting.end(seq)
        if found is None:
            return None
        value, queue = found
        queue.put_first(seq, value)
        return queue

    def take_out(self, seq: Id, queue: KeyQueue) -> tuple[KeyQueue | None, Any]:
        """A row that waits, for a permit in this queue or for its backoff, does so no more: the queue that it was in, or
        None where it does not wait, and its value."""
        waited, value = queue.backlog.remove(seq)
        if waited:
            return queue, value
        rested = self._resting.end(seq)
        if rested is None:
            return None, None
        value, queue = rested
        self.trials.withdraw(queue, seq)
        return queue, value

    # --- the account and the governor ---

    def on_closed(self, queue: KeyQueue, closure: Closure) -> None:
        """The governor has closed, which may be because many calls fail."""
        if queue.outage:
            self.acquit(queue, turned_away=closure is Closure.OUTAGE)

    def on_probing(self, queue: KeyQueue) -> None:
        """The governor wants a call to be made. Whether the account is exhausted, a row that was not turned away would say
        better; where there is none, those on trial are called."""
        if not len(queue.backlog):
            self.acquit(queue)

    def on_reopened(self, queue: KeyQueue) -> None:
        """Note that a probe was answered."""
        queue.on_reopened()
        self.acquit(queue)

    def acquit(self, queue: KeyQueue, *, turned_away: bool = True) -> None:
        """Nobody need be on trial any more: it is known whether many are concerned. See `Trials.acquit`."""
        self._counters.retries += self.trials.acquit(queue, turned_away=turned_away)
