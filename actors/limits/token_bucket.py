"""A token bucket that may go into debt: the arithmetic of a stated or learned rate.

Tokens come at `rate_per_s`, up to `burst`. An amount larger than the burst may go once the bucket is full, and leaves it
in debt, so that a row that weighs more than the burst still passes, and the average holds.
"""

from __future__ import annotations

from ..errors import InternalError

ROUNDING = 1e-9
"""Tokens may be short by this much: a refill is a float."""


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
        self._tokens -= amount

    def put_back(self, amount: float) -> None:
        self._tokens = min(self.burst, self._tokens + amount)

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
