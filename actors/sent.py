"""How many calls had begun, or ended, by a moment that is not long past.

A refusal comes back in milliseconds and an answer in seconds. So what the other side had let in when it refused a
call is told by what had been sent before that call, not by what had been answered.
"""

from __future__ import annotations

from collections import deque

MARKS = 4096
"""Moments that are remembered at most."""
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
