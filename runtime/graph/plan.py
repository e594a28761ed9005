"""A whole pipeline, checked: what `Pipeline` writes down and a host puts together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Literal

import msgspec

from headrace.actors.conductor import LifeTerms
from headrace.actors.joins.terms import Require
from headrace.actors.stages.terms import TRIAL_S, StageTerms

from ..calls.answers import Kind, on_a_loop
from ..calls.loop_home import LoopHome
from ..connectors.port import SinkConnector, SourceConnector
from ..limits import Limit, Retry

WINDOW_MIN = 8192
"""Rows between source and settlement, unless the stages have more workers than a quarter of it, or batches want more."""
SOURCE = "source"
"""The name of the node that everything begins with."""
QUARANTINE = "quarantine"
"""The name of the sink of rows that end badly, in a journal."""


class StagePlan(msgspec.Struct, frozen=True):
    """A node that calls a function: `map` and its like."""

    name: str
    function: Callable[..., object]
    workers: int
    limit: Limit
    retry: Retry
    timeout: float | None
    deadline: float | None
    on_error: Literal["quarantine", "fail", "drop"]
    on_unknown: Literal["retry", "quarantine"]
    kind: Kind = "map"
    branches: tuple[str, ...] = ()
    """Of a route."""
    version: str | None = None
    """What its function is to a journal, where the user says so."""

    @property
    def concurrent(self) -> bool:
        """Its function is a coroutine function, so its calls run on the loop."""
        return on_a_loop(self.kind, self.function)

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
            weight_max=self.limit.terms.weight_max,
            hint_max_s=self.limit.terms.hint_max_s,
            trial_s=TRIAL_S,
            limit=self.limit.called(self.name),
        )


class ForkPlan(msgspec.Struct, frozen=True):
    """A node that gives every row to each of its branches."""

    name: str
    branches: tuple[str, ...]
    kind: Literal["fork"] = "fork"


class JoinPlan(msgspec.Struct, frozen=True):
    """Where the branches of `fork` meet again. `bare`: nobody merges, so the parts are the row."""

    name: str
    fork: str
    require: Require
    within: float | None
    on_missing: Literal["quarantine", "drop", "fail"]
    bare: bool
    kind: Literal["join"] = "join"
    late: bool = False
    """Something stands where late parts go."""


class BatchPlan(msgspec.Struct, frozen=True):
    """A node that gathers rows into lists."""

    name: str
    count: int | None
    bytes_max: int | None
    within: float | None
    key: Callable[[object], Hashable] | None
    size: Callable[[Any], int] | None
    kind: Literal["batch"] = "batch"


class UnbatchPlan(msgspec.Struct, frozen=True):
    """The rows of a batch go on by themselves."""

    name: str
    kind: Literal["unbatch"] = "unbatch"


class SinkPlan(msgspec.Struct, frozen=True):
    """Where rows leave. `whole`: it takes every row's outcome. `on_error`: what a failed write does to the others."""

    name: str
    connector: SinkConnector
    ordered: bool
    on_error: Literal["abort", "drain"] = "abort"
    whole: bool = False
    kind: Literal["sink"] = "sink"


Node = StagePlan | ForkPlan | JoinPlan | BatchPlan | UnbatchPlan | SinkPlan


class Edge(msgspec.Struct, frozen=True):
    """From one node to another. `port`: which way out of `before`: "" is the main line, else a branch."""

    before: str
    port: str
    after: str


class Plan(msgspec.Struct, frozen=True):
    """A whole pipeline, checked. `source` is given the loop, should it need one. `nodes` are in the direction of the
    rows."""

    name: str
    source: Callable[[Callable[[], LoopHome]], SourceConnector]
    source_retry: Retry
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    quarantine: SinkConnector | None
    window: int | None
    max_quarantined: float | None
    life: LifeTerms
    rows: Any = None
    """The contract of the source's rows: their type, or "infer"; None where there is none."""

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """The nodes that call functions, in the order of the graph."""
        return tuple(node for node in self.nodes if isinstance(node, StagePlan))

    @property
    def sinks(self) -> tuple[SinkPlan, ...]:
        """The nodes where rows leave the graph."""
        return tuple(node for node in self.nodes if isinstance(node, SinkPlan))

    @property
    def rows_in_flight(self) -> int:
        """The window: rows between the source's read and their settlement, at most."""
        workers = max((stage.workers for stage in self.stages), default=1)
        batches = sum(2 * (node.count or 0) for node in self.nodes if isinstance(node, BatchPlan))
        return self.window or max(WINDOW_MIN, 4 * workers, batches)
