"""Rows of a stage that are on trial: whose fault their failure was, other rows' calls shall say (see `witnesses.py`).

Until then they rest as between two attempts: they hold no worker and no permit, and are not in the way of others that come.
The stage says what failed; this says what becomes of it, by `again` and `end`. State only; one object belongs to one stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..actor import Context
from ..protocol import Fault, Key, Kind, Message
from ..rows.identity import Id
from .key_queue import KeyQueue
from .resting import Resting
from .troubles import Troubles
from .witnesses import ALONE_MAX, DOUBT_MIN, SOONEST_S, Trial

TURNS_MAX = 3
"""A row for which the account was exhausted so often, and each time not for others, is at fault itself."""


class Recess(Message, frozen=True):
    """To the stage, from itself: those on trial in a queue have waited long enough, if no call has ended since."""

    key: Key
    ended: int


class Trials:
    """It does what the module says. `wait_s`: of `StageTerms.trial_s`. `troubles`, `resting`: those of the stage's
    rows. `again`: call the row of a fault again, after its backoff. `end`: it ends here, with that error."""

    def __init__(
        self,
        wait_s: float | None,
        troubles: Troubles,
        resting: Resting,
        again: Callable[[Fault, Any, KeyQueue], None],
        end: Callable[[Id, Any, KeyQueue, BaseException], None],
    ) -> None:
        self._wait_s = wait_s
        self._troubles = troubles
        self._resting = resting
        self._again = again
        self._end = end
        self._context: Context
        self.open = 0
        """Rows on trial, in all queues."""
        self.all_have_come = False
        """All rows of the run have come, and no other one will."""

    def start(self, context: Context) -> None:
        """The stage calls this before the first row comes."""
        self._context = context

    @property
    def held(self) -> bool:
        """Whether rows are put on trial here; where they are not, a failure counts whoever's fault it was."""
        return self._wait_s is not None

    def try_(self, seq: Id, value: Any, queue: KeyQueue, fault: Fault) -> None:
        """This row's call was the last that ended in its queue, and did not answer."""
        alone = not self._has_others(queue)
        self._resting.begin(seq, value, queue)
        self.open += 1
        trouble, number = self._troubles[seq], queue.witnesses.ended
        trouble.alone = trouble.alone + 1 if alone and trouble.at == number - 1 else 0
        trouble.at = number
        trial = queue.witnesses.try_(seq, value, fault, self._context.now(), stale=trouble.alone > ALONE_MAX)
        share = queue.witnesses.share(trial, over=False)
        if share:
            self._settle(trial, queue, share)

    def judge(self, queue: KeyQueue, *, over: bool = False) -> None:
        """Settle those in this queue of whom enough is known, in the order in which their calls ended. `over`
        says that no more will become known."""
        if queue.outage:
            return
        witnesses, now = queue.witnesses, self._context.now()
        over = over or (not self._has_others(queue) and (self.all_have_come or not self._wait_s))
        for trial in list(witnesses.trials.values()):
            share = witnesses.share(trial, over=over)
            if share is None and now - trial.since_s >= SOONEST_S and witnesses.clean(trial):
                share = 0.0
            if share is None:
                break
            self._settle(trial, queue, share, over=over)
        if witnesses.trials and not self._has_others(queue):
            self._context.after(self._wait_s or 0.0, Recess(queue.key, witnesses.ended))

    def judge_lonely(self, queues: Iterable[KeyQueue]) -> list[KeyQueue]:
        """Other rows have left, or will not come: judge where none is left, and say where that was."""
        lonely = [queue for queue in queues if queue.witnesses.trials and not self._has_others(queue)]
        for queue in lonely:
            self.judge(queue)
        return lonely

    def on_recess(self, queue: KeyQueue, ended: int) -> bool:
        """Told by the stage to itself. True: something was settled."""
        if not queue.witnesses.trials or queue.witnesses.ended != ended or self._has_others(queue):
            return False
        self.judge(queue, over=True)
        return True

    def acquit(self, queue: KeyQueue, *, turned_away: bool = True) -> int:
        """All in this queue are called again: the governor has found that many are concerned. Not `turned_away`: those that
        were wait on, so that others are asked first. How many are."""
        before = self.open
        for trial in list(queue.witnesses.trials.values()):
            trouble = self._troubles[trial.seq]
            if trial.fault.kind is not Kind.EXHAUSTED:
                trouble.failed -= 1
            elif turned_away:
                trouble.turns += 1
            else:
                continue
            self._leave(queue, trial.seq)
            queue.put_first(trial.seq, trial.value)
        return before - self.open

    def withdraw(self, queue: KeyQueue, seq: Id) -> None:
        """The row has left for another reason, if it was on trial."""
        if queue.witnesses.trials.pop(seq, None) is not None:
            self.open -= 1

    def _has_others(self, queue: KeyQueue) -> bool:
        """Rows are here whose calls can say whose fault something was."""
        resting = queue.resting - len(queue.witnesses.trials) - len(self._resting.parked)
        return bool(queue.in_flight or len(queue.backlog) or resting > 0)

    def _settle(self, trial: Trial, queue: KeyQueue, share: float, *, over: bool = False) -> None:
        """`share`: of others that failed as it did; 0.0: too few to excuse it."""
        seq, value, fault = trial.seq, trial.value, trial.fault
        self._leave(queue, seq)
        trouble = self._troubles[seq]
        trouble.doubt *= share or 1.0
        excused = share > 0.0 and trouble.doubt >= DOUBT_MIN
        if fault.kind is not Kind.EXHAUSTED:
            if excused:
                trouble.failed -= 1
                trouble.forgiven += 1
                self._again(fault, value, queue)
            else:
                self._end(seq, value, queue, fault.error)
        elif excused or over:
            # With nobody else to ask, it is asked again itself: the governor closes when it is turned away again and again.
            trouble.turns += 1
            queue.put_first(seq, value)
        else:
            trouble.failed += 1
            self._end(seq, value, queue, fault.error)

    def _leave(self, queue: KeyQueue, seq: Id) -> None:
        del queue.witnesses.trials[seq]
        self.open -= 1
        self._resting.end(seq)
