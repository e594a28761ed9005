"""What is said of a stage: its terms, its errors, what it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from ..errors import HeadraceError
from ..protocol import ErrorGroup, Key, Traffic
from ..quantities import HEAVIEST
from .backoff import Backoff
from .dispatch import Dispatch
from .latencies import LatencySummary

TRIAL_S = 5.0
"""So long a row of a pipeline that has failed waits for another one's call, which may say whose fault it was."""


class StageTerms(msgspec.Struct, frozen=True):
    """What the user said of a stage.

    `workers`: calls in flight at most. `dispatch`: how they are handed to workers. `timeout_s`: of an attempt;
    `deadline_s`: of a row in this stage, all waits included. `key`, `weigh`: of a row, for keyed and weighted limits.
    """

    name: str
    workers: int
    dispatch: Dispatch = Dispatch.in_threads()
    timeout_s: float | None = None
    deadline_s: float | None = None
    backoff: Backoff = Backoff()
    on_error: Literal["quarantine", "fail", "drop"] = "quarantine"
    on_unknown: Literal["retry", "quarantine"] = "retry"
    key: Callable[[Any], Key] | None = None
    weigh: Callable[[Any], float] | None = None
    weight_max: float = HEAVIEST
    """A heavier row is an error; see `weight_of`."""
    trial_s: float | None = None
    """A row that has used up its attempts is on trial (see `Witnesses`): where no other row is here that could say whose
    fault it was, it waits so long for one. None: there are no trials, and an exhausted account is a row's own matter."""
    limit: str | None = None
    """What the limit is called, for people."""
    gives_up: Literal["run", "rows"] = "run"
    """What ends when the account is given up: the run, or each row that waits here."""
    hint_max_s: float = 300.0
    """The ceiling of a hint that came with an error; the governor has the same for refusals."""


class DeadlineExceeded(HeadraceError, TimeoutError):
    """A row was longer in a stage than its deadline allows, waits for permits and cooldowns included."""


class AttemptTimedOut(HeadraceError, TimeoutError):
    """A call did not come back within the attempt's time-out. Whether it happened, nobody can say."""


class Retracted(HeadraceError, RuntimeError):
    """The one who had asked for this call does not want it any more."""


class TooManyRefusals(HeadraceError, RuntimeError):
    """One row was refused more often than its stage's retry allows."""


class TooManyHungCalls(HeadraceError, RuntimeError):
    """More calls hang than a stage may leave behind."""


class OutageDeadlineExceeded(HeadraceError, TimeoutError):
    """The other side has been out for longer than the outage deadline."""


class AccountShut(HeadraceError, RuntimeError):
    """The other side has taken no call of this account for longer than `Limit(give_up_after=)`: no credit, a quota that is
    used up, a wrong key (L71). Rows that wait for it have not failed.

    `words`: the provider's own. `limit`: what the limit is called, else the stage. `shut_for_s`: seconds. `rows_left`: rows
    that were read and wait, once the run has ended. `go_on`: how to go on, where there is a journal.
    """

    def __init__(self, limit: str, shut_for_s: float, words: str) -> None:
        super().__init__(limit, shut_for_s, words)
        self.limit = limit
        self.shut_for_s = shut_for_s
        self.words = words
        self.rows_left: int | None = None
        self.go_on: str | None = None

    def __str__(self) -> str:
        left = (
            ""
            if self.rows_left is None
            else f" {self.rows_left:,} rows that were read wait, and none of them has failed."
        )
        return (
            f"{self.limit}: the other side has taken no call of this account for {_duration(self.shut_for_s)}: "
            f"{self.words.rstrip('.')}.{left} Once it takes calls again, {self.go_on or 'run it again'}; "
            f"Limit(give_up_after=...) says how long to wait for that."
        )


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"


class StageStatistics(msgspec.Struct, frozen=True):
    """Counted by one stage. `calls` counts attempts that were started, refused ones too; `late` answers reached nobody;
    `recalled` rows were answered in an earlier life of the run; `turned_away` calls were answered by an account that was
    exhausted."""

    name: str
    rows: int
    calls: int
    answered: int
    refusals: int
    retries: int
    unknown: int
    late: int
    workers_lost: int
    in_flight: int
    in_flight_max: int
    waiting: int
    busy_s: float
    traffic: Traffic = Traffic()
    recalled: int = 0
    spent: dict[str, float] = {}
    """What its calls say that they took, by unit."""
    turned_away: int = 0
    latency: LatencySummary = LatencySummary()
    """How long its calls took."""
    faults: tuple[ErrorGroup, ...] = ()
    """Its calls that did not answer, by error; also of rows that were answered later."""
