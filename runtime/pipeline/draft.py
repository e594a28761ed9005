"""A pipeline as it is written down so far: a value, so that two that go on from one place are two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..connectors.port import SinkConnector, SourceConnector
from ..errors import ConfigError
from ..graph.nodes.fork import ForkPlan
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


def second_way(draft: Draft, sunk: tuple[End, ...]) -> tuple[Draft, End, tuple[End, ...]]:
    """One more way from where the last sink stands: the first time, by a fork put in front of it. The draft, the way, and
    where the sinks stand now."""
    first, port = sunk[0]
    fork = next((node for node in draft.nodes if isinstance(node, ForkPlan) and node.name == first), None)
    # Whoever writes a fork down lets things stand after its branches.
    if fork is None or port:
        sink = next(edge.after for edge in draft.edges if (edge.before, edge.port) == sunk[0])
        fork = ForkPlan(draft.unused("sinks"), (sink,))
        bare = draft.with_(edges=tuple(edge for edge in draft.edges if edge.after != sink))
        forked = bare.add(fork, sunk)
        draft = forked.with_(edges=(*forked.edges, Edge(fork.name, sink, sink)))
        sunk = ((fork.name, ""),)
    way = str(len(fork.branches) + 1)
    wider = msgspec.structs.replace(fork, branches=(*fork.branches, way))
    return draft.with_(nodes=tuple(wider if node is fork else node for node in draft.nodes)), (fork.name, way), sunk
