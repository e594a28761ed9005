"""Rows that wait for a permit and a worker, in columns.

New rows queue at the end, as the chunks that they came in. A row that was refused, or that is tried again, goes to the
head, the lowest place in the order first: a permit goes to the oldest row, so none loses every race (L11, L54).
"""

from __future__ import annotations

import heapq
from collections import deque
from operator import itemgetter
from typing import Any

from ..protocol import Seqs
from ..rows.identity import Column, Id, Place, place, plain


class Backlog:
    """Chunks in order of arrival, and a heap of rows that come before all of them."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Seqs, list[Any]]] = deque()
        self._again: list[tuple[Place, Id, Any]] = []
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, seqs: Seqs, values: list[Any]) -> None:
        """Queue rows behind those that wait already."""
        self._chunks.append((seqs, values))
        self._n += len(seqs)

    def put_first(self, seq: Id, value: Any) -> None:
        """Put a row back at the head."""
        # A heap of (place, seq, value) never compares values: a place is in here once.
        heapq.heappush(self._again, (place(seq), seq, value))
        self._n += 1

    def take(self, n: int) -> tuple[Seqs, list[Any]]:
        """The next `n` rows, or all there are."""
        if not self._again and self._chunks:
            seqs, _ = self._chunks[0]
            if len(seqs) >= n or len(self._chunks) == 1 or type(seqs) is Column:
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
        seqs: list[Id] = []
        values: list[Any] = []
        while self._again and len(seqs) < n:
            _, seq, value = heapq.heappop(self._again)
            seqs.append(seq)
            values.append(value)
            self._n -= 1
        while self._chunks and len(seqs) < n:
            more_seqs, more_values = self._take_from_head(n - len(seqs))
            seqs.extend(more_seqs)
            values.extend(more_values)
        return as_seqs(seqs), values

    def peek(self) -> tuple[Id, Any]:
        """The row that `take(1)` would give. The backlog must not be empty."""
        if self._again:
            return self._again[0][1:]
        seqs, values = self._chunks[0]
        return seqs[0], values[0]

    def seqs(self) -> list[Id]:
        """All places that wait, in the order in which `take` gives them."""
        waiting = [seq for _, seq, _ in sorted(self._again, key=_place)]
        for seqs, _ in self._chunks:
            waiting.extend(seqs)
        return waiting

    def remove(self, seq: Id) -> tuple[bool, Any]:
        """Take one row out of the middle: (found, value). Costs a pass over the backlog."""
        for i, (_, again, value) in enumerate(self._again):
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


_place = itemgetter(0)


def as_seqs(seqs: list[Id]) -> Seqs:
    """The same as a `range` where they are contiguous rows of the source."""
    if not seqs:
        return range(0)
    first, last = seqs[0], seqs[-1]
    if type(first) is not int or type(last) is not int or last - first + 1 != len(seqs) or not plain(seqs):
        return seqs
    contiguous = range(first, last + 1)
    return contiguous if all(map(int.__eq__, seqs, contiguous)) else seqs  # type: ignore[arg-type]
