"""What rows are along each edge, as far as contracts and annotations say, and whether each node can take them."""

from __future__ import annotations

from .plan import SOURCE
from .topology import Graph


def check(graph: Graph, contract: object) -> None:
    """Raises `GraphError` for the first node that cannot take what comes to it. `contract`: the type of the source's rows;
    None: nobody knows."""
    kinds: dict[str, object] = {}

    def along(before: str, port: str) -> object:
        return contract if before == SOURCE else graph.nodes[before].gives(kinds[before], port)

    for name in graph.order:
        came = [along(edge.before, edge.port) for edge in graph.into(name)]
        kinds[name] = came[0] if all(kind == came[0] for kind in came) else None
        graph.nodes[name].check_takes(kinds[name])
