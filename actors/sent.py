"""How many calls had begun, or ended, by a moment that is not long past.

A refusal comes back in milliseconds and an answer in seconds. So what the other side had let in when it refused a
call is told by what had been sent before that call, not by what had been answered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

MARKS = 4096
"""Moments that are remembered at most."""
KEPT_MAX = 8_192
"""The same of a `Log`, at least."""
ROUNDING = 1e-6
"""Seconds; a call's length is the difference of two floats."""


class Tally:
    """Counts; of the last moments also as it was then."""

    def __init__(self) -> None:
        self.total = 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS)
        """When something was added, and the total before it."""

    def add(self, n: int, now: float) -> None:
        if not self._marks or self._marks[-1][0] < now:
            self._marks.append((now, self.total))
        self.total += n

    def take_back(self, n: int) -> None:
        """Of what was added last, so much has not happened."""
        self.total -= n
        while self._marks and self._marks[-1][1] > self.total:
            self._marks.pop()

    def before(self, at: float) -> int:
        """The total before a moment; of moments that are no longer known, the least that is known."""
        at -= ROUNDING
        found = self.total
        for when, total in reversed(self._marks):
            if when < at:
                break
            found = total
        return found

    def after(self, n: int) -> float | None:
        """When the call after the first `n` was added; None if there is none yet."""
        found = None
        for when, total in reversed(self._marks):
            if total < n:
                return found if found is not None else when if n < self.total else None
            found = when
        return found


class Log:
    """As `Tally`, for many moments, of which any may be asked for."""

    __slots__ = ("_sums", "_times")

    def __init__(self) -> None:
        self._times: list[float] = []
        self._sums: list[int] = []

    def add(self, n: int, now: float) -> None:
        """So many more."""
        self._times.append(now)
        self._sums.append((self._sums[-1] if self._sums else 0) + n)
        if len(self._times) >= 2 * KEPT_MAX:
            del self._times[:KEPT_MAX]
            del self._sums[:KEPT_MAX]

    def take_back(self, n: int) -> None:
        """The last ones were none."""
        at = len(self._sums)
        total = max(0, self._sums[-1] - n) if self._sums else 0
        while at and self._sums[at - 1] > total:
            at -= 1
            self._sums[at] = total

    def since(self, at_s: float) -> int:
        """Those that came after that time."""
        if not self._sums:
            return 0
        i = bisect_right(self._times, at_s)
        return self._sums[-1] - (self._sums[i - 1] if i else 0)
