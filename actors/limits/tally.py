"""How many calls had begun, or ended, by a moment that is not long past.

A refusal comes back in milliseconds and an answer in seconds. So what the other side had let in when it refused a
call is told by what had been sent before that call, not by what had been answered. Nor is what an answer says of a quota
how it stands now: what was sent since has to be taken off.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

MARKS = 8_192
"""So many moments are remembered at least, and twice as many at most."""
ROUNDING = 1e-6
"""Seconds; a call's length is the difference of two floats."""


class Tally:
    """A count that knows what it was at each of the last moments at which something was added. Times never go back."""

    __slots__ = ("_before", "_times", "total")

    def __init__(self) -> None:
        self.total = 0
        self._times: list[float] = []
        """The moments at which something was added, and ..."""
        self._before: list[int] = []
        """... the total before each of them."""

    def add(self, n: int, now: float) -> None:
        """Count `n` more of them, now."""
        if not self._times or self._times[-1] < now:
            if len(self._times) >= 2 * MARKS:
                del self._times[:MARKS]
                del self._before[:MARKS]
            self._times.append(now)
            self._before.append(self.total)
        self.total += n

    def take_back(self, n: int) -> None:
        """The last `n` that were counted have not happened."""
        self.total -= n
        while self._before and self._before[-1] > self.total:
            self._before.pop()
            self._times.pop()

    def before(self, at_s: float) -> int:
        """The total before a moment. If that is older than all that are remembered, the total before the oldest of them."""
        return self._total_at(bisect_left(self._times, at_s - ROUNDING))

    def since(self, at_s: float) -> int:
        """How many were counted after a moment, as far as moments are remembered."""
        return self.total - self._total_at(bisect_right(self._times, at_s))

    def after(self, n: int) -> float | None:
        """When the call after the first `n` was counted; None if there is none yet."""
        if n >= self.total:
            return None
        return self._times[max(0, bisect_right(self._before, n) - 1)]

    def _total_at(self, i: int) -> int:
        """The total before the moment of that index; what it is now, if there is none."""
        return self._before[i] if i < len(self._before) else self.total
