"""The deadlines of the rows of a stage: each row has the same time from its arrival on, all waits included.

State only; the stage decides. Where a stage has no deadline, nothing is noted and every row is in time.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..protocol import Control, Seqs
from ..rows.identity import Id
from .key_queue import KeyQueue


class CheckDeadlines(Control, frozen=True):
    """To the stage, from itself: the time of a row may be over."""


class Deadlines:
    """`within_s`: of `StageTerms.deadline_s`. `late`: answers of rows that had ended by their deadline (L05)."""

    def __init__(self, within_s: float | None) -> None:
        self.within_s = within_s
        self._due: deque[tuple[float, Seqs]] = deque()
        self._open: dict[Id, KeyQueue] | None = {} if within_s is not None else None
        self.late = 0

    def note(self, seqs: Seqs, queue: KeyQueue, now: float) -> float | None:
        """Rows have come. The answer is in how many seconds somebody must look for those that are overdue; None where
        somebody will look anyway."""
        if self._open is None or self.within_s is None:
            return None
        self._open.update(dict.fromkeys(seqs, queue))
        self._due.append((now + self.within_s, seqs))
        return self.within_s if len(self._due) == 1 else None

    def is_open(self, seq: Id) -> bool:
        """Whether the row has not ended by its deadline."""
        return self._open is None or seq in self._open

    def takes_fault(self, seq: Id) -> bool:
        """Whether what has become of a call still counts. Where it does not, that is counted."""
        if self.is_open(seq):
            return True
        self.late += 1
        return False

    def ended(self, seq: Id) -> None:
        """The row has left the stage."""
        if self._open is not None:
            self._open.pop(seq, None)

    def in_time(self, seqs: Seqs, values: list[Any]) -> tuple[Seqs, list[Any]]:
        """Rows leave that were answered; without those whose deadline has passed, which have ended."""
        if self._open is None:
            return seqs, values
        kept = [(s, v) for s, v in zip(seqs, values, strict=True) if self._open.pop(s, None) is not None]
        self.late += len(seqs) - len(kept)
        return [s for s, _ in kept], [v for _, v in kept]

    def overdue(self, now: float) -> list[tuple[Id, KeyQueue]]:
        """Rows that are here and whose time is over, with the queues that they came to."""
        found: list[tuple[Id, KeyQueue]] = []
        if self._open is None:
            return found
        while self._due and self._due[0][0] <= now:
            _, seqs = self._due.popleft()
            found += [(seq, self._open[seq]) for seq in seqs if seq in self._open]
        return found

    def next_in_s(self, now: float) -> float | None:
        """When to look again; None where no row has a deadline."""
        return self._due[0][0] - now if self._due else None
