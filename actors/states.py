"""A named state that moves only along its table.

An actor whose life has several states keeps them here instead of in booleans. What may follow what is one mapping, which a
reader finds at the top of the actor's file and which a test walks. A move that the table does not have is an `InternalError`
that names both states.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from .errors import InternalError

S = TypeVar("S", bound=Enum)

Table = Mapping[S, frozenset[S]]
"""From each state to those that may follow it; a state that nothing follows is the last one."""


def check_move(of: str, table: Table[S], now: S, to: S) -> None:
    """Raises `InternalError` where the table does not lead from `now` to `to`."""
    if to not in table[now]:
        raise InternalError(f"{of} cannot go from {now.name} to {to.name}")


class StateMachine(Generic[S]):
    """The state of one actor: `now`. `of`: whose state that is, for the error."""

    __slots__ = ("_of", "_table", "now")

    def __init__(self, of: str, table: Table[S], first: S) -> None:
        self._of = of
        self._table = table
        self.now = first

    def go(self, to: S) -> None:
        """Move to another state. Raises `InternalError` where the table does not lead there from the present one."""
        check_move(self._of, self._table, self.now, to)
        self.now = to
