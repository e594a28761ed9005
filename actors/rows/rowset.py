"""Which rows something is known of: all up to some row, and others ahead of it, in any order.

Rows are the bits of a number, so that it costs no more to be told of a hundred rows than of one. They are kept in blocks of
so many, lest that number grow with the window; a block that is known whole is passed and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InternalError

BITS = 12
SIZE = 1 << BITS
"""Rows in a block."""
_FULL = (1 << SIZE) - 1

_AS_DIGITS = bytes.maketrans(b"\0\1", b"01")


def bits_of(rows: Sequence[Any]) -> tuple[int, int]:
    """The first of these rows, and from there on a bit for each of them. They are plain ones, in any order."""
    n = len(rows)
    if n == 1:
        return rows[0], 1
    if type(rows) is range:
        return rows.start, (1 << n) - 1
    first = min(rows)
    spread = max(rows) - first + 1
    bits = 0
    if n < 16 or spread > 256 * n:
        for row in rows:
            bits |= 1 << (row - first)
    else:
        flags = bytearray(spread)
        for row in rows:
            flags[row - first] = 1
        bits = bits_of_flags(flags)
    if bits.bit_count() != n:
        raise InternalError(f"a row from {first} on is named twice at once")
    return first, bits


def bits_of_flags(flags: bytes | bytearray) -> int:
    """A bit for each byte, which is 0 or 1; the first is the lowest."""
    return int(flags[::-1].translate(_AS_DIGITS), 2)


class RowSet:
    """It does what the module says. Who asks keeps the mark: rows below it have been passed."""

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}

    def __len__(self) -> int:
        """How many blocks of bits are kept."""
        return len(self._blocks)

    def add(self, first: int, bits: int) -> bool:
        """Something is known of these; see `bits_of`. False: of one of them it was known before."""
        blocks = self._blocks
        number = first >> BITS
        bits <<= first & (SIZE - 1)
        well = True
        while bits:
            known = blocks.get(number, 0)
            new = bits & _FULL
            well = well and not known & new
            blocks[number] = known | new
            bits >>= SIZE
            number += 1
        return well

    def without(self, first: int, bits: int) -> tuple[int, int]:
        """Those of these of which nothing is known yet."""
        number, offset = first >> BITS, first & (SIZE - 1)
        known = 0
        for i in range(((bits.bit_length() + offset) >> BITS) + 1):
            known |= self._blocks.get(number + i, 0) << (i * SIZE)
        bits &= ~(known >> offset)
        low = (bits & -bits).bit_length() - 1 if bits else 0
        return first + low, bits >> low

    def remove(self, row: int) -> None:
        """Nothing is known of this one, after all."""
        self._blocks[row >> BITS] &= ~(1 << (row & (SIZE - 1)))

    def beyond(self, row: int) -> list[tuple[int, int]]:
        """Those after this one of which something is known; see `bits_of`."""
        spans = []
        for number, known in sorted(self._blocks.items()):
            first = max(number << BITS, row + 1)
            bits = known >> (first - (number << BITS))
            if first >> BITS == number and bits:
                low = (bits & -bits).bit_length() - 1
                spans.append((first + low, bits >> low))
        return spans

    def has(self, row: int) -> bool:
        """Something is known of this one. (Of one that was passed, nobody can tell.)"""
        return bool(self._blocks.get(row >> BITS, 0) >> (row & (SIZE - 1)) & 1)

    def after(self, row: int) -> int:
        """The first one, from this one on, of which nothing is known."""
        blocks = self._blocks
        while known := blocks.get(row >> BITS):
            rest = known >> (row & (SIZE - 1))
            # As many as there are ones at its end.
            row += (~rest & (rest + 1)).bit_length() - 1
            if row & (SIZE - 1) or not rest & 1:
                return row
            del blocks[(row >> BITS) - 1]
        return row

    def forget(self, first: int, last: int) -> None:
        """Rows from `first` up to `last` have been passed otherwise."""
        for number in range(first >> BITS, last >> BITS):
            self._blocks.pop(number, None)
