"""A graph as it is written down: the nodes and edges so far."""

from __future__ import annotations

from .errors import ConfigError
from .names import NAME_CHARS_MAX, check_name
from .plan import SOURCE, Edge, Node

End = tuple[str, str]
"""A node and its port, from which the next edge begins."""


class Draft:
    """The nodes and edges so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def add(self, node: Node, ends: list[End]) -> None:
        """A node after these."""
        check_name(node.kind, node.name)
        if node.name == SOURCE:
            raise ConfigError(
                f"{node.kind}: {SOURCE!r} is the name of what the rows come from; give another with name="
            )
        if any(other.name == node.name for other in self.nodes):
            raise ConfigError(f"two nodes are named {node.name!r}; name one of them with name=")
        self.nodes.append(node)
        self.edges += [Edge(before, port, node.name) for before, port in ends]

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
