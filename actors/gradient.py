"""`concurrency="auto"`: calls in flight that follow the latency, where the other side never refuses but slows down.

The rule is Gradient2 of Netflix's concurrency-limits library: the limit is multiplied by the ratio of the long-term
latency to today's (with some tolerance), and a small queue is allowed on top, which lets it grow while nothing slows.
"""

from __future__ import annotations

import math

INITIAL = 16.0
TOLERANCE = 1.5
"""Latency may rise by this factor before the limit falls."""
SMOOTHING = 0.2
LONG_WINDOW = 600
"""Answers over which the long-term latency is averaged."""


class Gradient:
    """One gate's limit on calls in flight."""

    def __init__(self, highest: int = 10_000) -> None:
        self.limit = INITIAL
        self._highest = highest
        self._long_s = 0.0
        self._seen = 0

    def on_answered(self, n: int, latency_s: float, in_use: int) -> None:
        """`n` calls took `latency_s` each, with `in_use` of them in flight."""
        if latency_s <= 0.0 or n <= 0:
            return
        self._seen += n
        weight = min(1.0, 2.0 * n / (min(self._seen, LONG_WINDOW) + 1.0))
        self._long_s += weight * (latency_s - self._long_s)
        if self._long_s / latency_s > 2.0:
            # The load has gone: forget the bad times faster than the average would.
            self._long_s *= 0.95
        if in_use * 2 < self.limit:
            return
        gradient = max(0.5, min(1.0, TOLERANCE * self._long_s / latency_s))
        wanted = self.limit * gradient + math.sqrt(self.limit)
        share = min(1.0, SMOOTHING * n / self.limit)
        self.limit = max(1.0, min(float(self._highest), self.limit + share * (wanted - self.limit)))
