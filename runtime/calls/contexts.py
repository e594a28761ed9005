"""Whose context a call runs in (L73): a copy of that of whoever wants the call, and nothing that another call has set.

A copy is made once for many calls, and made anew when one of them has changed it. To see whether one has, it is compared
with its original: as long as nothing is set in it, both have the same table, and no variable is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

T = TypeVar("T")


def differ(one: Context, other: Context) -> bool:
    """Whether something was set in one of them. What was set may refuse to be compared: then it is something else."""
    try:
        return one != other
    except BaseException:
        return True


def apart(function: Callable[[object], T], context: Context) -> Callable[[object], T]:
    """`function`, each time in a copy of `context`; for what an actor asks about a row, such as its key."""
    return lambda row: context.copy().run(function, row)
