"""A pipeline as it is written down so far: a value, so that two that go on from one place are two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..connectors.port import SinkConnector, SourceConnector
from ..errors import ConfigError
from ..graph.nodes.node import NodePlan
from ..graph.plan import SOURCE, Edge
from ..hosts.loop_home import LoopHome
from ..limits import Retry
from ..names import NAME_CHARS_MAX, check_name
from ..rows.contracts import Contract

End = tuple[str, str]
"""A node and its port, from which the next edge begins."""


class SourceDraft(msgspec.Struct, frozen=True):
    """Where the rows come from. `made`: gives the connector that is read, held to the contract, when it is given the loop.
    `connector`: the one that the user gave, if it was one. `columns`: gives the names of its columns, if it knows them."""

    made: Callable[[Callable[[], LoopHome]], SourceConnector]
    connector: SourceConnector | None = None
    columns: Callable[[], list[str] | None] | None = None
    contract: Contract | str | None = None
    retry: Retry = Retry()


class Draft(msgspec.Struct, frozen=True):
    """The nodes and edges so far, and what is known of the whole. The methods that change something give another draft."""

    name: str
    window: int | None
    ordered: bool
    source: SourceDraft | None = None
    quarantine: SinkConnector | None = None
    nodes: tuple[NodePlan, ...] = ()
    edges: tuple[Edge, ...] = ()

    def with_(self, **changes: Any) -> Draft:
        """The same with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def add(self, node: NodePlan, ends: tuple[End, ...]) -> Draft:
        """With a node after these ends. Raises `ConfigError` for a name that cannot be, or is another node's."""
        check_name(node.kind, node.name)
        if node.name == SOURCE:
            raise ConfigError(
                f"{node.kind}: {SOURCE!r} is the name of what the rows come from; give another with name="
            )
        if any(other.name == node.name for other in self.nodes):
            raise ConfigError(f"two nodes are named {node.name!r}; name one of them with name=")
        edges = tuple(Edge(before, port, node.name) for before, port in ends)
        return self.with_(nodes=(*self.nodes, node), edges=self.edges + edges)

    def goes_on_from(self, other: Draft) -> bool:
        """Whether it was written by adding to the other one."""
        names = [node.name for node in self.nodes[: len(other.nodes)]]
        return names == [node.name for node in other.nodes]

    def named(self) -> set[str]:
        """The names of the nodes so far."""
        return {node.name for node in self.nodes}

    def unused(self, base: str) -> str:
        """A name that no other node has."""
        base = base.strip("<>") or "node"
        # So that a number still fits.
        base = base[: NAME_CHARS_MAX - 10]
        taken = self.named() | {SOURCE}
        name, n = base, 2
        while name in taken:
            name, n = f"{base}-{n}", n + 1
        return name
