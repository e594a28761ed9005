"""A function with a life: an object that is called, and may have `prepare` and `close`."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from ..text import remark


def call_hook(function: object, name: str, settled: Callable[[object], object]) -> None:
    """Call its `prepare` or `close`, if it has one. `settled`: awaits what is to be awaited. Raises what the hook raises."""
    if inspect.isfunction(function) or inspect.isclass(function):
        return
    # Only what it has: a client whose `__getattr__` makes a remote call of any name has no `prepare`.
    if inspect.getattr_static(function, name, None) is None:
        return
    try:
        settled(getattr(function, name)())
    except BaseException as error:
        remark(error, "strategy", f"raised by {name}() of {type(function).__name__}")
        raise
