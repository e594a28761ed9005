"""What became of one row."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from headrace.actors.protocol import Status

T = TypeVar("T")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """What became of one row.

    Args:
        seq: The number of the row in its source, from 0.
        status: Whether it was delivered, dropped, quarantined, or something else.
        value: The result, where it was delivered; else the row as it was where it ended.
        error: Why it was not delivered, or None.
        attempts: How many calls the last stage has made for it.
        branch: The path of forks and outputs under the row, as indices; empty for most rows.

    Examples:
        >>> [(outcome.seq, outcome.value) for outcome in Pipeline().source(["Lund", "Oslo"]).map(str.upper).stream()]
        [(0, 'LUND'), (1, 'OSLO')]
    """

    seq: int
    status: Status
    value: T
    error: BaseException | None = None
    attempts: int = 1
    branch: tuple[int, ...] = ()
