"""What is said of a stage: its terms, its errors, what it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from .errors import HeadraceError
from .protocol import Key, Traffic
from .quantities import HEAVIEST
from .retry import Backoff

CHUNK_MAX = 512
"""Rows in one assignment to a thread at most."""


class StageTerms(msgspec.Struct, frozen=True):
    """What the user said of a stage.

    `workers`: calls in flight at most. `concurrent`: they run on a loop, in one worker. `timeout_s`: of an attempt;
    `deadline_s`: of a row in this stage, all waits included. `key`, `weigh`: of a row, for keyed and weighted limits.
    """

    name: str
    workers: int
    concurrent: bool = False
    timeout_s: float | None = None
    deadline_s: float | None = None
    backoff: Backoff = Backoff()
    on_error: Literal["quarantine", "fail", "drop"] = "quarantine"
    on_unknown: Literal["retry", "quarantine"] = "retry"
    chunk_max: int = CHUNK_MAX
    key: Callable[[Any], Key] | None = None
    weigh: Callable[[Any], float] | None = None
    weight_max: float = HEAVIEST
    """A heavier row is an error; see `weight_of`."""
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


class StageStatistics(msgspec.Struct, frozen=True):
    """Counted by one stage. `calls` counts attempts that were started, refused ones too; `late` answers reached nobody;
    `recalled` rows were answered in an earlier life of the run."""

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
