"""Answers of functions that are still to be awaited (L68).

A plain function may give a coroutine: a lambda around a coroutine function, a decorated one, a method of a client. Where
such a call can be awaited, it is; where it cannot, because an actor itself asks the function, it is that row's error.
"""

from __future__ import annotations

from types import GeneratorType
from typing import Any

ITERABLE_COROUTINE = 0x100
"""The flag of the code of a generator that `types.coroutine` has made awaitable (`inspect.CO_ITERABLE_COROUTINE`)."""

NOT_AWAITABLE = frozenset({type(None), bool, int, float, complex, str, bytes, list, dict, tuple, set, frozenset})
"""Types of most answers, none of which can be awaited."""


def is_awaitable(value: Any) -> bool:
    """Whether `await value` is possible. Only the type is looked at, so that no code of the value's own is run."""
    cls = type(value)
    if cls in NOT_AWAITABLE:
        return False
    if cls is GeneratorType:
        return bool(value.gi_code.co_flags & ITERABLE_COROUTINE)
    return hasattr(cls, "__await__")


def at_once(option: str, value: Any) -> Any:
    """The answer of a function that must answer at once, such as `key=`. Raises `TypeError` for an awaitable one, which is
    closed, so that Python does not warn of a coroutine that nobody awaited."""
    if type(value) in NOT_AWAITABLE or not is_awaitable(value):
        return value
    discard(value)
    raise TypeError(
        f"{option} gave a {type(value).__name__}, which nobody awaits; it needs a function that is not async"
    )


def discard(value: Any) -> None:
    """Close a coroutine that will not be awaited. Whatever closing it raises is nobody's concern any more."""
    try:
        value.close()
    except BaseException:
        return
