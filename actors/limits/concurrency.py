"""`concurrency="auto"`: calls in flight that follow the latency, where the other side never refuses but slows down.

The rule is TCP Vegas (Brakmo and Peterson, 1995), with the thresholds of VegasLimit in Netflix's concurrency-limits: of
the calls in flight, the share by which the latency exceeds the least one is taken to wait in a queue over there; the limit
grows while that queue is short, and shrinks while it is long. Calls differ, so latencies are compared as means over a round
of as many answers as the limit allows in flight, never one by one.
"""

from __future__ import annotations

import math

INITIAL = 4.0
ROUND_MIN = 10
"""Answers in a round, at least: a mean of fewer says little."""
TOLERANCE = 1.1
"""A round's mean may exceed the least by this factor before anything is taken to queue."""
FORGET = 1.0003
"""The least mean is forgotten by this factor a round, so that a service that has become slower is believed in the end."""


class ConcurrencySearch:
    """One gate's limit on calls in flight."""

    def __init__(self, highest: int = 10_000) -> None:
        self.limit = INITIAL
        self._highest = highest
        self._least_s = math.inf
        self._sum_s = 0.0
        self._n = 0
        self._filled = False

    def on_answered(self, n: int, latency_s: float, in_use: int) -> None:
        """`n` calls took `latency_s` each, with `in_use` of them in flight."""
        if latency_s <= 0.0 or n <= 0:
            return
        self._sum_s += n * latency_s
        self._n += n
        # A limit that was never reached proves nothing (RFC 7661 says it of congestion windows).
        self._filled = self._filled or in_use >= int(self.limit)
        if self._n >= max(ROUND_MIN, self.limit):
            self._end_round(self._sum_s / self._n)
            self._sum_s, self._n, self._filled = 0.0, 0, False

    def _end_round(self, mean_s: float) -> None:
        self._least_s = min(self._least_s * FORGET, mean_s)
        if not self._filled:
            return
        step = max(1.0, math.log10(self.limit))
        queue = self.limit * max(0.0, 1.0 - TOLERANCE * self._least_s / mean_s)
        if queue <= step:
            self.limit += 6.0 * step
        elif queue < 3.0 * step:
            self.limit += step
        elif queue > 6.0 * step:
            # By what waits above the threshold, half at most: a queue that has grown long is not left to shrink by ones.
            self.limit -= min(max(step, queue - 6.0 * step), self.limit / 2.0)
        self.limit = min(float(self._highest), self.limit)
