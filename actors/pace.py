"""How fast to go where nobody said: what a gate learns from answers and refusals.

Until the first refusal, a window of calls in flight that grows by one with each answer, so doubles with each answered
round: TCP's slow start (RFC 5681, with the initial window of RFC 6928). Nothing is paced, so that a fast function is not
slowed down.

The first refusal says that there is a quota, not yet where: what went through until then holds the server's full bucket.
From there on calls are paced, from half of that rate, doubled every half second until the next refusal. Paced calls
meet a refusal with little overshoot, so the rate at that moment bounds the quota from above; and what was answered from
one refusal to the next, over the time between them, bounds it from below. Then the rate follows CUBIC's curve (RFC 9438,
in rates instead of windows): from just below the rate that was refused back to it, flat around it, then steeper. How
long it stays flat grows with what a refusal costs: a server whose hint silences us for a second is probed less often
than one that lets us go on at once.
"""

from __future__ import annotations

import math

from .bucket import Bucket

INITIAL_WINDOW = 10
"""Calls in flight at the start (RFC 6928)."""
BETA = 0.9
"""What is left of the rate after a refusal."""
BETA_NOTHING_ANSWERED = 0.5
"""The same where not one call went through since the refusal before."""
KNOWN_WITHIN = 1.1
"""Bounds of the quota that are no further apart pin it down."""
BETA_KNOWN = 0.96
"""The same where two refusals have pinned the quota down."""
SEARCH_START = 0.5
"""Where the search starts, as a share of the rate up to the first refusal."""
SEARCH_DOUBLES_S = 0.5
"""Seconds in which the paced rate doubles until it is refused."""
PLATEAU_S = 4.0
"""Seconds back to the rate that was refused, at least."""
PLATEAU_PER_COOLDOWN = 20.0
"""... and this many times the cooldown that the refusal cost."""
BURST_S = 0.02
"""A rate's default burst, as seconds of it: enough to make up for a late timer, too little to be noticed (L55)."""


def small_burst(rate_per_s: float) -> float:
    """The default burst of a rate: 20 ms of it, at least one call."""
    return max(1.0, rate_per_s * BURST_S)


class Pace:
    """One gate's knowledge. Times are `context.now()` seconds; `answered` are calls that the other side dealt with."""

    def __init__(self, window: float, now: float) -> None:
        self.window = window
        """Calls in flight at most; infinite where the user stated the limit."""
        self.bucket: Bucket | None = None
        """None until the first refusal."""
        self._searching = False
        self._peak_rate = 0.0
        self._beta = BETA
        self._plateau_s = PLATEAU_S
        self._limited_s = 0.0
        self._moved_at = now
        self._interval_began = now
        self._active_since = now
        self._answered = 0

    def on_answered(self, n: int, in_use: int) -> None:
        """`n` calls were answered while `in_use` permits were out."""
        self._answered += n
        # A window that was not filled proves nothing, and must not grow (RFC 7661).
        if in_use * 2 >= self.window:
            self.window += n

    def on_refused(self, in_use: int, cooldown_s: float, now: float) -> None:
        """The first refusal of an epoch."""
        self.move(True, now)
        elapsed_s = max(now - self._interval_began, 1e-3)
        active_s = max(now - self._active_since, 1e-3)
        low, high = self._answered / elapsed_s, self._answered / active_s
        if self.bucket is None:
            self._searching = True
            self._peak_rate = max(high, 1.0 / elapsed_s) * SEARCH_START
        elif self._answered == 0:
            # Not one went through: the quota has fallen, or is held by somebody else. Look for it again from below.
            self._searching = True
            self._peak_rate = self.bucket.rate_per_s * BETA_NOTHING_ANSWERED
        else:
            refused_at = self.bucket.rate_per_s
            known = not self._searching and high <= low * KNOWN_WITHIN
            self._searching = False
            self._peak_rate = min(refused_at, low + 0.25 * (high - low)) if known else max(refused_at, low)
            self._beta = BETA_KNOWN if known else BETA
        self._plateau_s = max(PLATEAU_S, PLATEAU_PER_COOLDOWN * cooldown_s)
        self._limited_s = 0.0
        self._answered = 0
        self._interval_began = now
        self.window = max(2.0, in_use / 2.0)

    def on_closed_for_outage(self) -> None:
        """Start from one call; what was learned of the rate stands."""
        self.window = 1.0

    def on_reopened(self, now: float) -> None:
        """A cooldown has ended."""
        self._active_since = now
        self._moved_at = now
        if self._peak_rate:
            rate = self._rate()
            if self.bucket is None:
                self.bucket = Bucket(rate, small_burst(rate), now)
            else:
                self.bucket.set_rate(rate, small_burst(rate), now)
            self.bucket.empty(now)

    def move(self, limited: bool, now: float) -> None:
        """Time has passed. Only time in which rows waited for permits counts: an idle rate proves nothing."""
        if self.bucket is not None:
            if limited:
                self._limited_s += now - self._moved_at
            rate = self._rate()
            self.bucket.set_rate(rate, small_burst(rate), now)
        self._moved_at = now

    def _rate(self) -> float:
        if self._searching:
            return self._peak_rate * math.pow(2.0, min(self._limited_s / SEARCH_DOUBLES_S, 60.0))
        x = self._limited_s / self._plateau_s - 1.0
        return max(self._peak_rate * (1.0 + (1.0 - self._beta) * x * x * x), 0.01)
