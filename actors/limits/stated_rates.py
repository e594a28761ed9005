"""The rates that were stated, each a bucket, of calls or of what their rows weigh; and the share that is used (L74)."""

from __future__ import annotations

import math

from ..protocol import Spent
from .pace import learned_burst, small_burst
from .terms import Rate
from .token_bucket import TokenBucket


class StatedRates:
    """It does what the module says; one object belongs to one gate. Every `now` is `context.now()`."""

    def __init__(self, rates: tuple[Rate, ...], now: float) -> None:
        buckets = [TokenBucket(rate.per_s, rate.burst or small_burst(rate.per_s), now) for rate in rates]
        self._rates = list(zip(buckets, rates, strict=True))
        self._counting = [bucket for bucket, rate in self._rates if rate.unit == "calls"]
        self._weighing = [bucket for bucket, rate in self._rates if rate.unit == "cost"]
        self.weighing = bool(self._weighing)
        """Whether rows have weights."""
        self._share: float | None = None

    def use(self, share: float, now: float) -> None:
        """Of what is stated, go at what has turned out to be allowed of it; at most at that."""
        if share != self._share:
            self._share = share
            for bucket, rate in self._rates:
                bucket.set_rate(rate.per_s * share, learned_burst(rate.per_s * share), now)

    def room(self, now: float) -> float:
        """Calls that may go out now; infinite where no rate of calls is stated."""
        return min([bucket.room(now) for bucket in self._counting]) if self._counting else math.inf

    def affords(self, weight: float, now: float) -> bool:
        """A row of that weight may go out now."""
        return all(bucket.affords(weight, now) for bucket in self._weighing)

    def take(self, n: int) -> None:
        """So many calls go out."""
        for bucket in self._counting:
            bucket.take(n)

    def take_weight(self, weight: float) -> None:
        """A row of that weight goes out."""
        for bucket in self._weighing:
            bucket.take(weight)

    def put_back(self, n: int, cost: float, since_s: float, now: float) -> None:
        """So many calls, whose rows weigh as much in all, were not made; they were taken at `since_s`."""
        for bucket in self._counting:
            bucket.put_back(n, since_s, now)
        for bucket in self._weighing:
            bucket.put_back(cost, since_s, now)

    def correct(self, spent: tuple[Spent, ...], now: float) -> None:
        """What calls took more, or less, than their rows' weights had reserved."""
        for each in spent:
            for bucket, rate in self._rates:
                if rate.unit == "cost" and rate.name == each.unit:
                    if each.amount > each.reserved:
                        bucket.charge(each.amount - each.reserved, now)
                    else:
                        bucket.credit(each.reserved - each.amount, each.reserved, now)

    def waits_for_weight(self, weight: float, now: float) -> list[float]:
        """Seconds until a row of that weight may go out, by each rate of weights."""
        return [bucket.wait_s(weight, now) for bucket in self._weighing]

    def waits_for_call(self, now: float) -> list[float]:
        """Seconds until a call may go out, by each rate of calls."""
        return [bucket.wait_s(1.0, now) for bucket in self._counting]

    def full(self, now: float) -> bool:
        """Nothing has been taken of late."""
        return all(bucket.full(now) for bucket, _ in self._rates)
