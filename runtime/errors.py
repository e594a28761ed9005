"""What can go wrong, named by blame."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from headrace.actors.conductor import ActorDied, Overdue
from headrace.actors.dedupe import Duplicate
from headrace.actors.edges.operators import NoSuchRoute, NotAligned
from headrace.actors.errors import HeadraceError, InternalError
from headrace.actors.joins.terms import PartsMissing
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
    "Duplicate",
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
    "ProcessDied",
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

    Args:
        message: What errors and logs say.
        retry_after: When the call may be tried again, where the other side said so: seconds, a timedelta, a datetime, or
            the text of a Retry-After header. What cannot be used (NaN, a time that is past) counts as None. What is longer
            than the limit's `max_hint` counts as that.

    Examples:
        >>> refusals = iter([RateLimited(retry_after=0.01)])
        >>> def ask(city):
        ...     for refusal in refusals:
        ...         raise refusal
        ...     return city.upper()
        >>> report = Pipeline().source(["Lund"]).map(ask).sink(print).run()
        LUND
        >>> report.refusals
        1
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
    """Raise it in a function to say: this call failed, and may work when it is tried again. It costs the row an attempt.

    Args:
        message: What errors and logs say.

    Examples:
        >>> answers = iter([None, "Malmö"])
        >>> def ask(_):
        ...     answer = next(answers)
        ...     if answer is None:
        ...         raise TransientError("the answer was empty")
        ...     return answer
        >>> Pipeline().source([1]).map(ask, retry=Retry(2, base=0.01)).sink(print).run().quarantined
        Malmö
        0
    """


class Pending(HeadraceError):
    """Raise it in a function to say: this was begun elsewhere (a provider's batch job was submitted), and is not done.

    The row is parked: it holds no worker and no permit, and costs no attempt. `check_after_s` seconds later, the function
    is called with it again, with `state` as `current_call().state`, in another life of the run if need be.

    Args:
        check_after_s: A finite number of seconds, 31 years (1e9 s) at most, or a timedelta; a negative one asks at once.
        state: Plain data that says what was begun, such as the number of a job.

    Raises:
        BadAnswer: `check_after_s` is anything else. It is the row's error then.

    Examples:
        >>> def render(name):
        ...     if current_call().state is None:
        ...         raise Pending(check_after_s=0.01, state={"job": 17})
        ...     return f"{name}: job {current_call().state['job']} is done"
        >>> report = Pipeline().source(["poster"]).map(render).sink(print).run()
        poster: job 17 is done
    """

    def __init__(self, check_after_s: float | timedelta, state: object = None) -> None:
        self.check_after_s = seconds_until_check(check_after_s)
        super().__init__(f"not done yet; to be asked about again in {self.check_after_s:g} s")
        self.state = state if state is not None else True

    def __reduce__(self) -> tuple[type[Pending], tuple[float, object]]:
        return type(self), (self.check_after_s, self.state)


# --- raised by a sink's connector ---


class UnwritableRows(HeadraceError):
    """Raise it in the `write` of a sink's connector to say: these rows cannot be written, and all others were.

    Each of these rows goes to quarantine with its error; the run goes on.

    Args:
        rows: Maps the index of a row in the batch to its error, which says which field the sink cannot hold, and why.

    Examples:
        >>> class Numbers(SinkConnector):
        ...     def write(self, items):
        ...         wrong = {i: ValueError(f"{row!r} is no number") for i, row in enumerate(items) if row == "two"}
        ...         print([row for row in items if row != "two"])
        ...         if wrong:
        ...             raise UnwritableRows(wrong)
        >>> Pipeline().source([1, "two", 3]).batch(3).unbatch().sink(Numbers()).run().quarantined
        [1, 3]
        1
    """

    def __init__(self, rows: Mapping[int, BaseException]) -> None:
        super().__init__(f"{len(rows)} rows of a batch cannot be written")
        self.rows = dict(rows)


# --- you used it wrongly ---


class ConfigError(HeadraceError, ValueError):
    """An option or a file says something that cannot be. The message says what, where, and what to do.

    What the message quotes (a path, a name, a value) can hold what a terminal would obey; that is made visible (L81).

    Args:
        message: What people read.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(visible(str(message), multiline=True))


class GraphError(ConfigError):
    """A node of a pipeline cannot be where it is.

    Args:
        node: The node's name.
        message: What people read.
    """

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


class ProcessDied(HeadraceError, RuntimeError):
    """A worker process ended while it called a row: by a signal (a crash, the system that was out of memory), or since the
    function ended it. Whether the call happened, nobody can say."""


# --- the journal ---


class JournalError(HeadraceError):
    """The journal cannot go on: a full disk, a file that broke. What was committed before is safe."""


class Recalled(HeadraceError):
    """An error of an earlier life of the run, as the journal tells it. `kind`: the name of its type then."""

    def __init__(self, kind: str, message: str | None) -> None:
        super().__init__(message or "")
        self.kind = kind

    def __reduce__(self) -> tuple[type[Recalled], tuple[str, str], dict[str, object]]:
        return type(self), (self.kind, str(self)), self.__dict__


def name_of(error: BaseException) -> str:
    """What kind of error it is, also where it is told by a journal."""
    # Not `isinstance`, which asks for an attribute `__class__` that may be a property that raises (L72).
    if issubclass(type(error), Recalled):
        return cast(Recalled, error).kind
    return kind_of(error)


# --- it is over ---


class RunFailed(HeadraceError):
    """A run could not go on. `__cause__` is what went wrong first.

    Args:
        message: The name of the run, and what went wrong first.
        report: What the run came to, as a `RunReport`.

    Examples:
        >>> def write(row):
        ...     raise OSError("the disk is full")
        >>> try:
        ...     Pipeline("copy").source([1, 2]).sink(write).run()
        ... except RunFailed as failed:
        ...     print(failed, failed.report.state.value, sep="; ")
        copy: OSError: the disk is full (raised by write() of the sink 'sink' (write)); failed
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class RunAborted(HeadraceError):
    """What was waited for was aborted: a call of an executor, or a run of a process that was forked."""
