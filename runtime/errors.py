"""What can go wrong, named by blame."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from headrace.actors.conductor import ActorDied, Overdue
from headrace.actors.edges.operators import NoSuchRoute, NotAligned
from headrace.actors.errors import HeadraceError, InternalError
from headrace.actors.join import PartsMissing
from headrace.actors.ledger import TooManyQuarantined
from headrace.actors.quantities import BadAnswer
from headrace.actors.quantities import check_after_s as seconds_until_check
from headrace.actors.stages.terms import (
    AccountShut,
    AttemptTimedOut,
    DeadlineExceeded,
    OutageDeadlineExceeded,
    Retracted,
    TooManyHungCalls,
    TooManyRefusals,
)
from headrace.actors.text import kind_of, visible

__all__ = [
    "AccountShut",
    "ActorDied",
    "AttemptTimedOut",
    "BadAnswer",
    "BadInput",
    "CannotStartThread",
    "ConfigError",
    "DeadlineExceeded",
    "GraphError",
    "HeadraceError",
    "InternalError",
    "JournalError",
    "LoopDied",
    "NoSuchRoute",
    "NotAligned",
    "OutageDeadlineExceeded",
    "Overdue",
    "PartsMissing",
    "Pending",
    "RateLimited",
    "Recalled",
    "Retracted",
    "RunAborted",
    "RunFailed",
    "SourceChanged",
    "TooManyHungCalls",
    "TooManyQuarantined",
    "TooManyRefusals",
    "TransientError",
    "UnwritableRows",
    "name_of",
]


# --- raised by a user's function, to say what happened ---


class RateLimited(HeadraceError):
    """Raise it in a function to say: the other side refused this call for now. It costs the row no attempt.

    `retry_after`: when it may be tried again, where the other side said so: seconds, a timedelta, a datetime, or the text of
    a Retry-After header. What cannot be used (NaN, a time that is past) counts as None; what is longer than the limit's
    `max_hint` counts as that.
    """

    def __init__(
        self,
        message: str = "refused for now",
        *,
        retry_after: float | timedelta | datetime | str | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TransientError(HeadraceError):
    """Raise it in a function to say: this call failed, and may work when tried again."""


class Pending(HeadraceError):
    """Raise it in a function to say: this was begun elsewhere (a provider's batch job was submitted), and is not done.

    The row is parked: it holds no worker and no permit, and costs no attempt. `check_after_s` seconds later it is asked
    about again, with `state` (plain data) as `current_call().state`, in another life of the run if need be.

    `check_after_s` is a finite number of seconds, 31 years (1e9 s) at most, or a timedelta; a negative one asks at once. For
    anything else, this raises `BadAnswer`, which is the row's error.
    """

    def __init__(self, check_after_s: float | timedelta, state: object = None) -> None:
        self.check_after_s = seconds_until_check(check_after_s)
        super().__init__(f"not done yet; to be asked about again in {self.check_after_s:g} s")
        self.state = state if state is not None else True


# --- raised by a sink's connector ---


class UnwritableRows(HeadraceError):
    """A sink's connector raises it from `write`: these rows of the batch cannot be written, and all others were.

    Each of these rows goes to quarantine with its error; the run goes on. `rows` maps the index of a row in the batch to the
    error that says which field the sink cannot hold, and why.

        raise UnwritableRows({3: BadInput("field 'n': an integer of more than 64 bits")})
    """

    def __init__(self, rows: Mapping[int, BaseException]) -> None:
        super().__init__(f"{len(rows)} rows of a batch cannot be written")
        self.rows = dict(rows)


# --- you used it wrongly ---


class ConfigError(HeadraceError, ValueError):
    """An option or a file says something that cannot be: what, where, and what to do.

    What its message quotes (a path, a name, a value) can hold what a terminal would obey; that is made visible (L81).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(visible(str(message), multiline=True))


class GraphError(ConfigError):
    """A node that cannot be where it is. `node`: its name."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


class BadInput(HeadraceError, ValueError):
    """A line of a source that is no row. It goes to quarantine with its place."""


class SourceChanged(HeadraceError):
    """A file was cut short, overwritten or damaged while its rows were read. Rows that were read before are not lost."""


# --- the machine has no more to give ---


class CannotStartThread(HeadraceError, RuntimeError):
    """The operating system starts no more threads, or the interpreter is about to end. The message names the thread."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(
            f"the thread {name!r} cannot be started ({error}); use fewer workers, or allow this process more threads "
            f"(ulimit -u, or the limit of its container)"
        )


class LoopDied(HeadraceError, RuntimeError):
    """The event loop of a run or executor broke while calls were under way: whether they happened, nobody can say (L69)."""


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
    # Not `isinstance`, which asks for an attribute `__class__` that may be a property that raises (L72).
    if issubclass(type(error), Recalled):
        return cast(Recalled, error).kind
    return kind_of(error)


# --- it is over ---


class RunFailed(HeadraceError):
    """The run could not go on. `__cause__` is what went wrong first; `report` is what it came to."""

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class RunAborted(HeadraceError):
    """Somebody aborted what was waited for."""
