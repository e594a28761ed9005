"""A token bucket that may go into debt: the arithmetic of a stated or learned rate.

Tokens come at `rate_per_s`, up to `burst`. An amount larger than the burst may go once the bucket is full, and leaves it
in debt, so that a row that weighs more than the burst still passes, and the average holds.

What was taken and is given back unused counts as if it had never been taken. A bucket that would have been full meanwhile
would have lost what came on top, so at most as much comes back as was missing to a full one at every moment since.
"""

from __future__ import annotations

from collections import deque

from ..errors import InternalError

ROUNDING = 1e-9
"""Tokens may be short by this much: a refill is a float."""
LOWS_MAX = 64
"""So many moments are remembered at which it was as full as never since; two old ones then count as one."""


class TokenBucket:
    """Starts full. Amounts are calls, or the unit of the rows' weights."""

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        if rate_per_s <= 0:
            raise InternalError("a rate is positive")
        if burst <= 0:
            raise InternalError("a burst is positive")
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._tokens = burst
        self._at = now
        self._lows: deque[tuple[float, float]] = deque()
        """Moments just before something was taken, and what was missing to a full bucket then; each time more than the time
        before, since of two such moments the later one counts if less was missing at it."""

    def set_rate(self, rate_per_s: float, burst: float, now: float) -> None:
        self._refill(now)
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._tokens = min(self._tokens, burst)

    def room(self, now: float) -> int:
        """How many amounts of 1 may be taken now."""
        self._refill(now)
        # A refill is a float: 0.9999999 tokens after exactly one interval is one token.
        return max(0, int(self._tokens + ROUNDING))

    def affords(self, amount: float, now: float) -> bool:
        self._refill(now)
        return self._tokens + ROUNDING >= min(amount, self.burst)

    def take(self, amount: float) -> None:
        self._note_low()
        self._tokens -= amount

    def put_back(self, amount: float, since_s: float, now: float) -> None:
        """What was taken at `since_s` was not used: it is as if it had not been taken."""
        self._refill(now)
        amount = min(amount, self.burst - self._tokens)
        lows = self._lows
        later = sum(at > since_s for at, _ in lows)
        if later:
            # What came back before may have left less missing at a later moment than at an earlier one.
            amount = min(amount, min(lows[i][1] for i in range(len(lows) - later, len(lows))))
        if amount > 0.0:
            for i in range(len(lows) - later, len(lows)):
                lows[i] = (lows[i][0], lows[i][1] - amount)
            self._tokens += amount

    def _note_low(self) -> None:
        lows, missing = self._lows, self.burst - self._tokens
        if lows and lows[-1][0] == self._at and lows[-1][1] <= missing:
            return
        while lows and lows[-1][1] >= missing:
            lows.pop()
        if len(lows) >= LOWS_MAX:
            _, least = lows.popleft()
            lows[0] = (lows[0][0], least)
        lows.append((self._at, missing))

    def credit(self, amount: float, most: float, now: float) -> None:
        """What had been reserved and was not needed, and waited for: it counts on top of the burst, up to `most`."""
        self._refill(now)
        self._tokens = max(self._tokens, min(self.burst + most, self._tokens + amount))

    def charge(self, amount: float, now: float) -> None:
        """More was needed than had been reserved: it is taken now, even where that leaves a debt."""
        self._refill(now)
        self._tokens -= amount

    def empty(self, now: float) -> None:
        """Begin with nothing saved up."""
        self._refill(now)
        self._tokens = min(self._tokens, 0.0)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken."""
        self._refill(now)
        missing = min(amount, self.burst) - self._tokens
        # As in `room`: what is there but for rounding is there, else one would wake for ever at the same instant.
        return missing / self.rate_per_s if missing > ROUNDING else 0.0

    def full(self, now: float) -> bool:
        self._refill(now)
        return self._tokens >= self.burst - ROUNDING

    def _refill(self, now: float) -> None:
        if now > self._at:
            if self._tokens < self.burst:
                self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate_per_s)
            self._at = now
