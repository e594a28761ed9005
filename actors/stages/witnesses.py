"""Whose fault a failure is: the row's, or the other side's, which many rows meet at once (L40, L76).

A failure is held against its row only where the calls of other rows are answered meanwhile. So a row that has used up its
attempts is on trial: the calls of other rows that ended just before its own and just after it are its witnesses.

- Where more than one in eight of these rows failed too (and there are at least two of them), the failure concerns many: it
  costs no attempt, and the row is called again.
- Else the row is at fault, and ends as `attempts` says.
- A row that fails again and again while others fail half of the time must be unlucky to be innocent. Each time, the share of
  the others that failed is multiplied into its doubt, and below one in a million it is at fault whatever else goes on.

A trial ends as soon as the calls before it say that many fail, or when 64 calls have ended after it, or 16 of which none has
failed and ten seconds, or when nothing is left to wait for. With so many calls, and three of ten that fail at random, one
innocent row in a million is found at fault at its first failure. State only; the stage decides.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from ..protocol import Fault
from ..rows.identity import Id

CALLS = 64
"""So many calls before and after a failure are its witnesses."""
FEWEST = 8
"""With fewer calls than this a trial does not end, where more are to come."""
CLEAN, SOONEST_S = 16, 10.0
"""With so many that were all answered, it ends after this time."""
SHARE = 1 / 8
"""A greater share of rows whose calls fail concerns many."""
MANY = 2
"""Fewer other rows may be at fault themselves."""
DOUBT_MIN = 1e-6
"""A row that fails as often as only one innocent row in so many would is not innocent."""


ALONE_MAX = 8
"""A row that is called so often while nobody else is here is not excused any more by what others met before."""


class Trial(msgspec.Struct):
    """A row that has failed, while it is not known whose fault it was. `at`: the number of its call among those that ended
    in its queue. `stale`: what ended before has been heard too often, and says nothing any more."""

    seq: Id
    value: Any
    fault: Fault
    at: int
    since_s: float
    stale: bool = False


class Witnesses:
    """Calls of one queue that ended, by number: only the failed ones are remembered, and only as long as they can count."""

    def __init__(self) -> None:
        self.ended = 0
        self._refused: set[Id] = set()
        self.trials: dict[Id, Trial] = {}
        """In the order in which their calls ended."""
        self._failed: deque[tuple[int, Id]] = deque()

    def on_answered(self, n: int) -> None:
        """The other side dealt with so many calls."""
        self.ended += n
        if self._refused and n:
            self._refused.clear()

    def on_refused(self, seq: Id) -> bool:
        """The call of this row was refused. True: too few others were since the last answer for it to concern many."""
        others = len(self._refused) - (seq in self._refused)
        if len(self._refused) <= MANY:
            # With one more than that, whichever is refused next has so many beside it.
            self._refused.add(seq)
        return others < MANY

    def on_failed(self, seq: Id) -> None:
        """The other side did not deal with the call of this row."""
        self.ended += 1
        self._failed.append((self.ended, seq))
        # What an open trial can ask for is younger than the oldest trial and its calls before.
        oldest = next(iter(self.trials.values())).at if self.trials else self.ended
        while self._failed[0][0] < oldest - CALLS:
            self._failed.popleft()

    def try_(self, seq: Id, value: Any, fault: Fault, now: float, *, stale: bool = False) -> Trial:
        """This row, whose call was the last that ended, is on trial. `stale`: see `Trial`."""
        trial = self.trials[seq] = Trial(seq, value, fault, self.ended, now, stale)
        return trial

    def share(self, trial: Trial, *, over: bool) -> float | None:
        """The share of other rows that failed around it, if that says that many are concerned; else 0.0. None: more calls
        must end first. `over` says that no more will end."""
        before = 0.0 if trial.stale else self._share(trial, trial.at - CALLS, trial.at)
        early = over or trial.at > FEWEST
        if early and before > 0.0:
            return before
        n = self.ended - trial.at
        after = self._share(trial, trial.at, trial.at + CALLS)
        if n < FEWEST and not over:
            return None
        if after > 0.0:
            return after
        return 0.0 if over or n >= CALLS else None

    def clean(self, trial: Trial) -> bool:
        """Some calls have ended after it, and none of another row has failed."""
        failed = any(number > trial.at and seq != trial.seq for number, seq in self._failed)
        return self.ended - trial.at >= CLEAN and not failed

    def _share(self, trial: Trial, after: int, up_to: int) -> float:
        """Of the rows whose calls ended within these numbers; 0.0 where it is too small to concern many."""
        n = min(up_to, self.ended) - max(after, 0)
        failed = [seq for number, seq in self._failed if after < number <= up_to]
        others = {seq for seq in failed if seq != trial.seq}
        if len(others) < MANY:
            return 0.0
        share = len(others) / max(len(others) + n - len(failed), 1)
        return share if share > SHARE else 0.0
