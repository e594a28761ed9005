"""A whole pipeline, checked: what `Pipeline` writes down and a host puts together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from headrace.actors.conductor import LifeTerms
from headrace.actors.stage_terms import StageTerms

from .calls.aio import LoopThread, runs_on_a_loop
from .connectors.port import SinkConnector, SourceConnector
from .limits import Limit, Retry

WINDOW_MIN = 8192
"""Rows between source and settlement, unless the stages have more workers than a quarter of it."""


class StagePlan(msgspec.Struct, frozen=True):
    """One `map` of a pipeline."""

    name: str
    function: Callable[[Any], Any]
    workers: int
    limit: Limit
    retry: Retry
    timeout: float | None
    deadline: float | None
    on_error: Literal["quarantine", "fail", "drop"]
    on_unknown: Literal["retry", "quarantine"]

    @property
    def concurrent(self) -> bool:
        """Its function is a coroutine function, so its calls run on the loop."""
        return runs_on_a_loop(self.function)

    @property
    def terms(self) -> StageTerms:
        return StageTerms(
            name=self.name,
            workers=self.workers,
            concurrent=self.concurrent,
            timeout_s=self.timeout,
            deadline_s=self.deadline,
            backoff=self.retry.backoff,
            on_error=self.on_error,
            on_unknown=self.on_unknown,
            key=self.limit.key,
            weigh=self.limit.cost,
        )


class Plan(msgspec.Struct, frozen=True):
    """A whole pipeline, checked. `source` is given the loop, should it need one."""

    name: str
    source: Callable[[Callable[[], LoopThread]], SourceConnector]
    source_retry: Retry
    stages: tuple[StagePlan, ...]
    sink: SinkConnector
    quarantine: SinkConnector | None
    whole: bool
    ordered: bool
    window: int | None
    max_quarantined: float | None
    life: LifeTerms

    @property
    def rows_in_flight(self) -> int:
        """The window: rows between the source's read and their settlement, at most."""
        workers = max((stage.workers for stage in self.stages), default=1)
        return self.window or max(WINDOW_MIN, 4 * workers)
