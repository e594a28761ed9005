"""How long the calls of a stage take: a histogram of fixed size, and the slowest ones by row. State only; the stage counts.

Each power of two of a second has eight buckets of one width, so a percentile is right to a sixteenth, and there are at most
`8 * (EXPONENT_MAX - EXPONENT_MIN)` buckets, however many calls there are. Calls that are faster than a millisecond are told
of many at a time, with what they took together: of those the mean is counted.
"""

from __future__ import annotations

import heapq
from math import frexp

import msgspec

from ..protocol import Answered
from ..rows.identity import Id, row_of, show

EXPONENT_MIN = -20
"""Calls of less than about a microsecond are one bucket."""
EXPONENT_MAX = 21
"""As are those of more than about 12 days."""
SLOWEST = 5
"""Calls that are remembered by their row."""


class SlowCall(msgspec.Struct, frozen=True):
    """One of the slowest calls: of which row (its number from 0, and its name with its branches), and its seconds."""

    row: int
    name: str
    took_s: float


class LatencySummary(msgspec.Struct, frozen=True):
    """How long calls took, in seconds: half of them no longer than `p50_s`, nine of ten no longer than `p90_s`, and so on.

    Args:
        calls: How many were measured.
        p50_s: The median.
        p90_s: The 90th percentile.
        p99_s: The 99th percentile.
        max_s: The longest.
        slowest: The slowest calls, the longest first; each by itself, so a row that was called twice may be there twice.
    """

    calls: int = 0
    p50_s: float = 0.0
    p90_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0
    slowest: tuple[SlowCall, ...] = ()


class Latencies:
    """It does what the module says; one object belongs to one stage."""

    __slots__ = ("_buckets", "_floor_s", "_max_s", "_n", "_slowest")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._n = 0
        self._max_s = 0.0
        self._slowest: list[tuple[float, int, Id]] = []
        """A heap; the number keeps identities from being compared."""
        self._floor_s = 0.0
        """Calls that took no longer are none of the slowest."""

    def add(self, answered: Answered, ended: int) -> None:
        """Calls have ended, so many."""
        if not answered.times_s:
            took_s = answered.busy_s / ended
            self._add(took_s, ended)
            if took_s > self._floor_s:
                self._note(took_s, answered.seqs[0] if answered.seqs else answered.faults[0].seq)
            return
        n = len(answered.seqs)
        for index, took_s in enumerate(answered.times_s):
            self._add(took_s, 1)
            if took_s > self._floor_s:
                self._note(took_s, answered.seqs[index] if index < n else answered.faults[index - n].seq)

    def add_lost(self, seqs: list[Id], timeout_s: float) -> None:
        """Workers were given up on, whose calls of these rows had not come back in time."""
        for seq in seqs:
            self._add(timeout_s, 1)
            if timeout_s > self._floor_s:
                self._note(timeout_s, seq)

    def _add(self, took_s: float, n: int) -> None:
        mantissa, exponent = frexp(took_s)
        if exponent <= EXPONENT_MIN:
            bucket = 8 * EXPONENT_MIN
        else:
            bucket = 8 * min(exponent, EXPONENT_MAX) + int(16.0 * mantissa) - 8
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + n
        self._n += n

    def _note(self, took_s: float, seq: Id) -> None:
        self._max_s = max(self._max_s, took_s)
        heapq.heappush(self._slowest, (took_s, self._n, seq))
        if len(self._slowest) > SLOWEST:
            heapq.heappop(self._slowest)
            self._floor_s = self._slowest[0][0]

    def summary(self) -> LatencySummary:
        """What was counted so far."""
        if not self._n:
            return LatencySummary()
        slowest = tuple(
            SlowCall(row_of(seq), show(seq), took_s) for took_s, _, seq in sorted(self._slowest, reverse=True)
        )
        return LatencySummary(
            self._n, self._percentile(0.5), self._percentile(0.9), self._percentile(0.99), self._max_s, slowest
        )

    def _percentile(self, share: float) -> float:
        wanted, seen = share * self._n, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                exponent, eighth = divmod(bucket, 8)
                # The middle of the bucket, though nothing took longer than the longest.
                return min((8.5 + eighth) / 16.0 * 2.0**exponent, self._max_s)
        return self._max_s
