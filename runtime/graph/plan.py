"""A whole pipeline, checked: what `Pipeline` writes down and a host puts together."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.actors.conductor import LifeTerms

from ..connectors.port import SinkConnector, SourceConnector
from ..hosts.loop_home import LoopHome
from ..limits import Retry
from .nodes.calls import StagePlan
from .nodes.node import NodePlan
from .nodes.sink import SinkPlan

WINDOW_MIN = 8192
"""Rows between source and settlement, unless the stages have more workers than a quarter of it, or nodes want more."""
SOURCE = "source"
"""The name of the node that everything begins with."""
QUARANTINE = "quarantine"
"""The name of the sink of rows that end badly, in a journal."""


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
    nodes: tuple[NodePlan, ...]
    edges: tuple[Edge, ...]
    quarantine: SinkConnector | None
    window: int | None
    max_quarantined: float | None
    life: LifeTerms
    grows_to: int = 0
    """The window may grow to so many rows where they pass in next to no time."""
    rows: object = None
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
        return self.window or max(WINDOW_MIN, 4 * workers, sum(node.window_rows for node in self.nodes))
