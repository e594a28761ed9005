"""What can go wrong, named by blame."""

from __future__ import annotations

from typing import Any

from headrace.actors.conductor import ActorDied, Overdue
from headrace.actors.join import PartsMissing
from headrace.actors.ledger import TooManyQuarantined
from headrace.actors.outlets import NoSuchRoute, NotAligned
from headrace.actors.stage_terms import (
    AttemptTimedOut,
    DeadlineExceeded,
    OutageDeadlineExceeded,
    TooManyHungCalls,
    TooManyRefusals,
)

__all__ = [
    "ActorDied",
    "AttemptTimedOut",
    "BadInput",
    "ConfigError",
    "DeadlineExceeded",
    "GraphError",
    "HeadraceError",
    "NoSuchRoute",
    "NotAligned",
    "OutageDeadlineExceeded",
    "Overdue",
    "PartsMissing",
    "RateLimited",
    "RunAborted",
    "RunFailed",
    "TooManyHungCalls",
    "TooManyQuarantined",
    "TooManyRefusals",
    "TransientError",
]


class HeadraceError(Exception):
    """Root of the errors that Headrace itself raises."""


# --- raised by a user's function, to say what happened ---


class RateLimited(HeadraceError):
    """Raise it in a function to say: the other side refused this call for now. It costs the row no attempt.

    `retry_after`: seconds until it may be tried again, where the other side said so.
    """

    def __init__(self, message: str = "refused for now", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TransientError(HeadraceError):
    """Raise it in a function to say: this call failed, and may work when tried again."""


# --- you used it wrongly ---


class ConfigError(HeadraceError, ValueError):
    """An option or a file says something that cannot be: what, where, and what to do."""


class GraphError(ConfigError):
    """A node that cannot be where it is. `node`: its name."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


class BadInput(HeadraceError, ValueError):
    """A line of a source that is no row. It goes to quarantine with its place."""


# --- it is over ---


class RunFailed(HeadraceError):
    """The run could not go on. `__cause__` is what went wrong first; `report` is what it came to."""

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class RunAborted(HeadraceError):
    """Somebody aborted what was waited for."""
