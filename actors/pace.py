"""How fast to go where nobody said: what a gate learns from answers and refusals.

Until the first refusal, a window of calls in flight that grows by one with each answer, so doubles with each answered
round: TCP's slow start (RFC 5681, with the initial window of RFC 6928). Nothing is paced, so that a fast function is not
slowed down.

The first refusal says that there is a quota, not yet where: what went through until then holds the server's full bucket.
From there on calls are paced: from a quarter of that rate, doubled again and again until the next refusal. The server's
bucket is empty at each refusal, so what it answered from one to the next brackets its quota: over the whole time between
them it is at most the quota (what ran over the bucket's rim is lost), and, if the rate was too high all along, over the
time without the cooldown at least (what the bucket saved meanwhile is in it). A second, slower search follows, unless the
first was refused so soon that its bracket is narrow.

From then on the rate follows CUBIC's curve (RFC 9438, in rates instead of windows): from just below the estimate
back to it, flat around it, then steeper; where nothing refuses it well above, the quota has grown, and the search goes on.
How long it stays flat grows with what a refusal costs: a server whose hint silences us for a second is probed less often
than one that lets us go on at once.
"""

from __future__ import annotations

import math

from .bucket import Bucket

INITIAL_WINDOW = 10
"""Calls in flight at the start (RFC 6928)."""
LOCAL_S = 0.002
"""Calls that take less are no remote ones: the window doubles with each answered round, however short."""
WINDOW_DOUBLES_S = 0.05
"""Otherwise it doubles in this time at most: whatever the quota is, what is in flight when it is met will be refused."""
SEARCH_START = 0.5
"""Where the search starts, as a share of the rate up to the first refusal."""
SEARCH_DOUBLES_S = 0.5
"""Seconds in which the paced rate doubles until it is refused, at least."""
SEARCH_DOUBLES_CALLS = 10.0
"""... and so many latencies of a call: what is under way when the refusal becomes known is refused too."""
OVERSHOT = 0.6
"""Where the second, slower search starts, as a share of the rate that ended the first."""
SECOND_DOUBLES_S = 4.0
"""As `SEARCH_DOUBLES_S`, for the second search."""
SECOND_PER_COOLDOWN = 8.0
"""... and this many times the cooldown that a refusal costs."""
OVERSHOT_SECOND = 0.95
"""The estimate, as a share of the rate that ended the second search."""
EARLY_S = 1.0
"""A refusal so soon after a cooldown: the rate was above the quota all along, so both ends of the bracket hold."""
OPTIMISM = 0.5
"""Where in such a bracket the estimate stands."""
FEW = 10
"""With fewer answers than this a bracket says little: ..."""
BETA_FEW = 0.85
"""... the estimate keeps at least this share."""
BETA = 0.92
"""What is left of the estimate after a refusal."""
BETA_KNOWN = 0.97
"""The same where the bracket is narrow, ..."""
KNOWN_WITHIN = 1.1
"""... which is: its ends no further apart than this."""
PLATEAU_FIRST_S = 1.0
"""Seconds from just below the first estimate back to it."""
PLATEAU_S = 4.0
"""The same from then on, at least."""
PLATEAU_PER_COOLDOWN = 20.0
"""... and this many times the cooldown that a refusal costs."""
GROWN = 1.15
"""So far above the estimate without a refusal, the quota has grown: search."""
GROWN_DOUBLES_S = 1.0
"""As `SEARCH_DOUBLES_S`, for that search."""
RATE_MIN, RATE_MAX = 0.01, 1e6
"""Calls a second."""
BURST_S = 0.02
"""A stated rate's default burst, as seconds of it: makes up for a late timer, too little to be noticed (L55)."""
LEARNED_BURST_S = 0.001
"""The same of a learned rate, on top of one call: nobody said that the other side allows a burst."""


def small_burst(rate_per_s: float) -> float:
    """The default burst of a rate: 20 ms of it, at least one call."""
    return max(1.0, rate_per_s * BURST_S)


def _learned_burst(rate_per_s: float) -> float:
    return 1.0 + rate_per_s * LEARNED_BURST_S


class Pace:
    """One gate's knowledge. Times are `context.now()` seconds; `answered` are calls that the other side dealt with."""

    def __init__(self, window: float, now: float) -> None:
        self.window = window
        """Calls in flight at most; infinite where the user stated the limit."""
        self.bucket: Bucket | None = None
        """None until the first refusal."""
        self._searching = False
        self._estimate = 0.0
        self._doubles_s = SEARCH_DOUBLES_S
        self._base = 0.0
        self._beta = BETA
        self._plateau_s = PLATEAU_S
        self._limited_s = 0.0
        self._moved_at = now
        self._interval_began = now
        self._closed_s = 0.0
        self._idle_s = 0.0
        self._opened_at = now
        self._answered = 0
        self._latency_s = 0.0

    def on_answered(self, n: int, in_use: int, latency_s: float = 0.0) -> None:
        """`n` calls were answered in `latency_s` each while `in_use` permits were out."""
        self._answered += n
        self._latency_s += 0.2 * (latency_s - self._latency_s)
        # A window that was not filled proves nothing, and must not grow (RFC 7661).
        if in_use * 2 >= self.window:
            self.window += n * self._growth()

    def on_idle(self, seconds: float) -> None:
        """So long no call was under way, and none was closed out."""
        self._idle_s += seconds

    def on_refused(self, in_use: int, cooldown_s: float, now: float) -> None:
        """The first refusal of an epoch."""
        self.move(False, now)
        self.window = max(2.0, in_use / 2.0)
        if self._answered == 0:
            # Not one went through since the last refusal: the bucket is as empty as it was. Nothing new, but to wait
            # longer; and where nothing ever went through, nothing is known of a rate.
            return
        interval_s = max(now - self._interval_began, 1e-3)
        high = self._answered / max(interval_s - self._closed_s, 1e-3)
        if self.bucket is None:
            # Time in which nobody called says nothing of the other side.
            interval_s = max(interval_s - self._idle_s, 1e-3)
            high = max(high, self._answered / interval_s)
            self._searching = True
            self._base = max(high, 1.0 / interval_s) * SEARCH_START
        else:
            self._narrow(self._answered / interval_s, high, cooldown_s, now)
        self._limited_s = 0.0
        self._answered = 0
        self._interval_began = now
        self._closed_s = 0.0

    def _growth(self) -> float:
        """What an answer adds to the window."""
        if self._latency_s < LOCAL_S:
            return 1.0
        return min(1.0, self._latency_s / WINDOW_DOUBLES_S)

    def _narrow(self, low: float, high: float, cooldown_s: float, now: float) -> None:
        assert self.bucket is not None, "an estimate comes of a refused rate"
        refused_at = self.bucket.rate_per_s
        early = now - self._opened_at < EARLY_S
        if self._searching and early and self._answered < FEW and not self._estimate:
            # Too little to go by: a straggler's answer, say, while the other side refuses everything.
            self._base = refused_at * SEARCH_START
            return
        if self._searching and self._doubles_s == SEARCH_DOUBLES_S and not (early and self._answered < FEW):
            self._doubles_s = max(SECOND_DOUBLES_S, SECOND_PER_COOLDOWN * cooldown_s)
            self._base = max(low, refused_at * OVERSHOT)
            return
        before = self._estimate
        if early:
            high = max(low, min(high, refused_at))
            self._estimate = low + OPTIMISM * (high - low)
            if self._answered < FEW:
                self._estimate = max(self._estimate, before * BETA_FEW)
        elif self._searching:
            self._estimate = max(low, refused_at * OVERSHOT_SECOND)
        else:
            self._estimate = min(max(self._estimate, low), refused_at)
        self._beta = BETA if self._searching or high > low * KNOWN_WITHIN else BETA_KNOWN
        self._plateau_s = PLATEAU_FIRST_S if self._searching else PLATEAU_S
        self._plateau_s = max(self._plateau_s, PLATEAU_PER_COOLDOWN * cooldown_s)
        self._searching = False

    def on_closed_for_outage(self) -> None:
        """Start from one call; what was learned of the rate stands."""
        self.window = 1.0

    def on_reopened(self, cooled_s: float, now: float) -> None:
        """A cooldown has ended."""
        self._closed_s += cooled_s
        self._opened_at = now
        self._moved_at = now
        if self._base or self._estimate:
            rate = self._rate()
            if self.bucket is None:
                self.bucket = Bucket(rate, _learned_burst(rate), now)
            else:
                self.bucket.set_rate(rate, _learned_burst(rate), now)
            self.bucket.empty(now)

    def move(self, limited: bool, now: float) -> None:
        """Time has passed. Only time in which rows waited for the rate counts (`limited`): one not used proves nothing."""
        if limited and self.bucket is not None:
            self._limited_s += now - self._moved_at
            rate = self._rate()
            if not self._searching and rate > self._estimate * GROWN:
                self._searching = True
                self._doubles_s = GROWN_DOUBLES_S
                self._base = rate
                self._limited_s = 0.0
            self.bucket.set_rate(rate, _learned_burst(rate), now)
        self._moved_at = now

    def _rate(self) -> float:
        if self._searching:
            doubles_s = max(self._doubles_s, SEARCH_DOUBLES_CALLS * self._latency_s)
            return min(self._base * math.pow(2.0, min(self._limited_s / doubles_s, 60.0)), RATE_MAX)
        x = self._limited_s / self._plateau_s - 1.0
        return min(max(self._estimate * (1.0 + (1.0 - self._beta) * x * x * x), RATE_MIN), RATE_MAX)
