"""Which rows something is known of: all up to some row, and others ahead of it, in any order.

Rows are kept in blocks of so many, as sets. A block that is full is passed at once and forgotten whole, so that a row costs
little more than its place in a set.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import count, filterfalse
from typing import Any

from .identity import Plain

BITS = 10
SIZE = 1 << BITS
"""Rows in a block."""


class Frontier:
    """See the module. Who asks keeps the mark: rows below it have been passed."""

    def __init__(self) -> None:
        self._blocks: dict[int, set[int]] = {}

    def __len__(self) -> int:
        """Blocks that are kept."""
        return len(self._blocks)

    def add(self, rows: Sequence[Any]) -> bool:
        """Something is known of these. False: of one of them it was known before."""
        if type(rows) is not Plain and type(rows) is not tuple and len(rows) > 1:
            rows = sorted(rows)
        well = True
        while True:
            number = rows[0] >> BITS
            rest: Sequence[Any] = ()
            if rows[-1] >> BITS != number:
                cut = bisect_left(rows, (number + 1) << BITS)
                rows, rest = rows[:cut], rows[cut:]
            block = self._blocks.get(number)
            if block is None:
                block = self._blocks[number] = set()
            n = len(block)
            block.update(rows)
            well = well and len(block) - n == len(rows)
            if not rest:
                return well
            rows = rest

    def has(self, row: int) -> bool:
        """Something is known of this one. (Of one that was passed, nobody can tell.)"""
        block = self._blocks.get(row >> BITS)
        return block is not None and row in block

    def after(self, row: int) -> int:
        """The first one, from this one on, of which nothing is known."""
        blocks = self._blocks
        while (block := blocks.get(row >> BITS)) is not None:
            end = ((row >> BITS) + 1) << BITS
            if len(block) != SIZE:
                first = next(filterfalse(block.__contains__, count(row)))
                if first != end:
                    return first
            del blocks[row >> BITS]
            row = end
        return row

    def forget(self, first: int, last: int) -> None:
        """Rows from `first` up to `last` have been passed otherwise."""
        for number in range(first >> BITS, last >> BITS):
            self._blocks.pop(number, None)
