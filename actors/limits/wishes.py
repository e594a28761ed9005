"""Who wishes for permits of a gate: by turns among the stages, each of which asks in the order of its rows (L77)."""

from __future__ import annotations

from collections import deque

import msgspec

from ..actor import Ref


class Wish(msgspec.Struct):
    """So many permits, and what the rows weigh that they are for, where that was said."""

    n: int
    costs: deque[float]

    @property
    def weight(self) -> float:
        """What its next row weighs; 1 where nobody has said."""
        return self.costs[0] if self.costs else 1.0


class Wishes:
    """It does what the module says; one object belongs to one gate."""

    def __init__(self) -> None:
        self._of: dict[Ref, deque[Wish]] = {}
        """Of each stage, in the order of its rows. The stage whose turn it is comes first."""
        self.waiting = 0
        """Permits that are wished for, in all."""

    def __len__(self) -> int:
        """Stages that wish for some."""
        return len(self._of)

    def add(self, stage: Ref, n: int, costs: tuple[float, ...]) -> None:
        """The stage wishes for so many more."""
        wishes = self._of.get(stage)
        if wishes is None:
            wishes = self._of[stage] = deque()
        wishes.append(Wish(n, deque(costs)))
        self.waiting += n

    def withdraw(self, stage: Ref) -> int:
        """The stage takes back what it asked for; how much that was."""
        n = sum(wish.n for wish in self._of.pop(stage, ()))
        self.waiting -= n
        return n

    @property
    def first(self) -> tuple[Ref, deque[Wish]]:
        """Whose turn it is, where anybody wishes for some, and for what."""
        return next(iter(self._of.items()))

    def end_turn(self) -> None:
        """Of the stage whose turn it is."""
        stage, wishes = self.first
        del self._of[stage]
        if wishes:
            self._of[stage] = wishes
