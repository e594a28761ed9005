"""The workers of one stage: born when first needed, replaced when lost. State only; the stage decides."""

from __future__ import annotations

from ..actor import Ref
from .terms import StageTerms, TooManyHungCalls

ABANDONED_PER_WORKER = 4
"""Hung calls that a stage leaves behind, for each of its workers, before it fails the run."""


class Workforce:
    """`size` workers at most; `idle` ones have nothing in hand, or, where they run calls on a loop, room for more."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.members: list[Ref] = []
        self.idle: list[Ref] = []
        self.born = 0
        self.lost = 0

    @property
    def to_hire(self) -> int:
        """Workers that may still be born."""
        return self.size - len(self.members)

    def welcome(self, worker: Ref) -> None:
        """Note that a worker was born."""
        self.born += 1
        self.members.append(worker)
        self.idle.append(worker)

    def lose(self, worker: Ref) -> bool:
        """One is gone. False if it was gone already."""
        if worker not in self.members:
            return False
        self.lost += 1
        self.members.remove(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        return True

    def too_many_lost(self, terms: StageTerms) -> TooManyHungCalls | None:
        """The error of a stage that has left more hung or crashed calls behind than is good for the process."""
        if self.lost <= ABANDONED_PER_WORKER * terms.workers:
            return None
        return TooManyHungCalls(
            f"stage {terms.name!r} has lost {self.lost} workers to hung or crashed calls "
            f"(at most {ABANDONED_PER_WORKER} for each of its {terms.workers} workers); "
            f"give the call a time-out of its own"
        )
