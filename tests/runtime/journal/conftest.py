"""What the tests of journals share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def versioned(function: F) -> F:
    """The function, with a word that stands for what it is: a list that it closes over may hold other things in the
    next life."""
    function.version = "1"  # type: ignore[attr-defined]
    return function
