"""Rows that wait for a permit and a worker, in columns.

New rows queue at the end, as the chunks that they came in. A row that was refused, or that is tried again, goes to the
head, the lowest place in the source first: a permit goes to the oldest row, so none loses every race (L11, L54).
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any

from .protocol import Seqs


class Backlog:
    """Chunks in order of arrival, and a heap of rows that come before all of them."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Seqs, list[Any]]] = deque()
        self._again: list[tuple[int, Any]] = []
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, seqs: Seqs, values: list[Any]) -> None:
        """Queue rows at the end."""
        self._chunks.append((seqs, values))
        self._n += len(seqs)

    def put_first(self, seq: int, value: Any) -> None:
        """Put a row back at the head."""
        # A heap of (seq, value) never compares values: a seq is in here once.
        heapq.heappush(self._again, (seq, value))
        self._n += 1

    def take(self, n: int) -> tuple[Seqs, list[Any]]:
        """The next `n` rows, or all there are."""
        if not self._again and self._chunks:
            seqs, _ = self._chunks[0]
            if len(seqs) >= n or len(self._chunks) == 1:
                return self._take_from_head(n)
        return self._take_many(n)

    def _take_from_head(self, n: int) -> tuple[Seqs, list[Any]]:
        seqs, values = self._chunks[0]
        if len(seqs) <= n:
            self._chunks.popleft()
            self._n -= len(seqs)
            return seqs, values
        self._chunks[0] = (seqs[n:], values[n:])
        self._n -= n
        return seqs[:n], values[:n]

    def _take_many(self, n: int) -> tuple[Seqs, list[Any]]:
        seqs: list[int] = []
        values: list[Any] = []
        while self._again and len(seqs) < n:
            seq, value = heapq.heappop(self._again)
            seqs.append(seq)
            values.append(value)
            self._n -= 1
        while self._chunks and len(seqs) < n:
            more_seqs, more_values = self._take_from_head(n - len(seqs))
            seqs.extend(more_seqs)
            values.extend(more_values)
        return as_seqs(seqs), values

    def peek(self) -> tuple[int, Any]:
        """The row that `take(1)` would give. The backlog must not be empty."""
        if self._again:
            return self._again[0]
        seqs, values = self._chunks[0]
        return seqs[0], values[0]

    def seqs(self) -> list[int]:
        """All places that wait, in the order in which `take` gives them."""
        waiting = sorted(seq for seq, _ in self._again)
        for seqs, _ in self._chunks:
            waiting.extend(seqs)
        return waiting

    def remove(self, seq: int) -> tuple[bool, Any]:
        """Take one row out of the middle: (found, value). Costs a pass over the backlog."""
        for i, (again, value) in enumerate(self._again):
            if again == seq:
                self._again.pop(i)
                heapq.heapify(self._again)
                self._n -= 1
                return True, value
        for i, (seqs, values) in enumerate(self._chunks):
            if seq in seqs:
                at = seqs.index(seq)
                rest = list(seqs)
                del rest[at]
                value = values[at]
                self._n -= 1
                if rest:
                    self._chunks[i] = (as_seqs(rest), values[:at] + values[at + 1 :])
                else:
                    del self._chunks[i]
                return True, value
        return False, None


def as_seqs(seqs: list[int]) -> Seqs:
    """The same places as a `range` where they are contiguous."""
    if not seqs:
        return range(0)
    first = seqs[0]
    if seqs[-1] - first + 1 == len(seqs) and all(map(int.__eq__, seqs, range(first, first + len(seqs)))):
        return range(first, first + len(seqs))
    return seqs
