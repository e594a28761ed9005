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
    "JournalError",
    "NoSuchRoute",
    "NotAligned",
    "OutageDeadlineExceeded",
    "Overdue",
    "PartsMissing",
    "RateLimited",
    "Recalled",
    "RunAborted",
    "RunFailed",
    "TooManyHungCalls",
    "TooManyQuarantined",
    "TooManyRefusals",
    "TransientError",
    "name_of",
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


# --- the journal ---


class JournalError(HeadraceError):
    """The journal cannot go on: a full disk, a file that broke. What was committed before is safe."""


class Recalled(HeadraceError):
    """An error of an earlier life of the run, as the journal tells it. `kind`: the name of its type then."""

    def __init__(self, kind: str, message: str | None) -> None:
        super().__init__(message or "")
        self.kind = kind


def name_of(error: BaseException) -> str:
    """What kind of error it is, also where it is told by a journal."""
    return error.kind if isinstance(error, Recalled) else type(error).__name__


# --- it is over ---


class RunFailed(HeadraceError):
    """The run could not go on. `__cause__` is what went wrong first; `report` is what it came to."""

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class RunAborted(HeadraceError):
    """Somebody aborted what was waited for."""
