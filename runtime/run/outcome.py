"""What became of one row."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from headrace.actors.protocol import Status

T = TypeVar("T")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """What became of one row. `value` is the result where it was delivered, of type `T`; else the row as it was where it
    ended. `branch`: the path of forks and outputs under the row, as indices; empty for most."""

    seq: int
    status: Status
    value: T
    error: BaseException | None = None
    attempts: int = 1
    branch: tuple[int, ...] = ()
