"""What a graph of nodes means, and whether it can be run: its order, and who must be told of rows that go elsewhere.

A node that waits for rows by name (one whose rows must come in order, such as an ordered sink, or a join) is a keeper.
Whoever sends a row away from a keeper, or ends it, tells the keeper; so each node must know the keepers behind it, and
behind each of its edges.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from functools import cached_property

from headrace.actors.errors import InternalError
from headrace.actors.joins.terms import LATE, JoinTerms

from ..errors import ConfigError, GraphError
from .nodes.fork import ForkPlan
from .nodes.join import JoinPlan
from .nodes.node import MIXED, ROWS_OF_SOURCE, NodePlan, Shape
from .nodes.sink import SinkPlan
from .nodes.unbatch import UnbatchPlan
from .plan import SOURCE, Edge


class Graph:
    """Nodes and edges, checked. Raises `GraphError` for the first thing that is wrong, naming the node and the mend."""

    def __init__(self, nodes: Iterable[NodePlan], edges: Iterable[Edge]) -> None:
        self.nodes: dict[str, NodePlan] = {}
        for node in nodes:
            if node.name in self.nodes or node.name == SOURCE:
                raise GraphError(node.name, f"two nodes are named {node.name!r}; name one of them otherwise")
            self.nodes[node.name] = node
        self.edges = tuple(edges)
        self._outs: dict[str, dict[str, str]] = {name: {} for name in (SOURCE, *self.nodes)}
        self._ins: dict[str, list[Edge]] = {name: [] for name in (SOURCE, *self.nodes)}
        for edge in self.edges:
            self._add(edge)
        self._check_ends()
        self.order = self._sorted()
        self._check_ports()
        self.shapes = self._shapes()
        self._check_shapes()
        self._check_keepers()

    def _add(self, edge: Edge) -> None:
        for name in (edge.before, edge.after):
            if name not in self._outs:
                near = difflib.get_close_matches(name, self._outs, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise GraphError(edge.after, f"no node is named {name!r}{hint}")
        if isinstance(self.nodes.get(edge.before), SinkPlan):
            raise GraphError(
                edge.after, f"{edge.after!r} stands after the sink {edge.before!r}, from which nothing goes on"
            )
        if edge.port in self._outs[edge.before]:
            way = f"{edge.before}.{edge.port}" if edge.port else edge.before
            other = self._outs[edge.before][edge.port]
            raise GraphError(
                edge.after, f"{other!r} and {edge.after!r} both stand after {way!r}; a fork sends rows two ways"
            )
        self._outs[edge.before][edge.port] = edge.after
        self._ins[edge.after].append(edge)

    # --- what it looks like ---

    def ways(self, name: str) -> dict[str, str]:
        """Where the edges of a node lead, by port."""
        return self._outs[name]

    def into(self, name: str) -> list[Edge]:
        """The edges that end at a node."""
        return self._ins[name]

    def join_of(self, fork: str) -> str | None:
        """The join that closes a fork."""
        return next((n.name for n in self.nodes.values() if isinstance(n, JoinPlan) and n.fork == fork), None)

    def branches_of(self, join: str) -> dict[int, str]:
        """The branches of its fork that meet in a join, by index."""
        plan = self.nodes[join]
        if not isinstance(plan, JoinPlan):
            raise InternalError("a join is planned as one")
        fork = self.nodes[plan.fork]
        if not isinstance(fork, ForkPlan):
            raise InternalError("what is joined was forked")
        return {i: name for i, name in enumerate(fork.branches) if join in self.along(plan.fork, name)}

    # --- keepers ---

    def behind(self, name: str) -> frozenset[str]:
        """The keepers that a row which ends here will not come to."""
        found = self._behind.get(name)
        if found is None:
            found = self._behind[name] = self._find_behind(name)
        return found

    @cached_property
    def _behind(self) -> dict[str, frozenset[str]]:
        return {}

    def _find_behind(self, name: str) -> frozenset[str]:
        if isinstance(self.nodes.get(name), JoinPlan):
            return self.along(name, "")
        found = frozenset[str]().union(*(self.along(name, port) for port in self._outs[name]))
        join = self.join_of(name)
        if join is not None:
            # What is not forked has no parts, but it is missed behind the join.
            found = (found - {join}) | self.behind(join)
        return found

    def along(self, name: str, port: str) -> frozenset[str]:
        """The actors that wait for rows by name behind an edge."""
        after = self._outs[name].get(port)
        if after is None:
            return frozenset()
        node = self.nodes[after]
        if isinstance(node, JoinPlan):
            return frozenset({after}) | self.along(after, LATE)
        waits = node.in_order or (isinstance(node, SinkPlan) and node.whole)
        return self.behind(after) | ({after} if waits else set())

    def missed(self, name: str, port: str) -> frozenset[str]:
        """The keepers that a row which leaves by this edge will not come to."""
        node = self.nodes.get(name)
        if isinstance(node, ForkPlan):
            parts = frozenset[str]().union(*(self.along(name, other) for other in self._outs[name]))
            join = self.join_of(name)
            # A join knows which branches lead to it.
            return parts - self.along(name, port) - ({join} if join is not None else set())
        if isinstance(node, JoinPlan):
            return frozenset()
        return self.behind(name) - self.along(name, port)

    # --- checks ---

    def _check_ends(self) -> None:
        for name, node in self.nodes.items():
            if not self._ins[name]:
                raise GraphError(name, f"nothing leads to {name!r}; say what it comes after, or take it out")
            if not isinstance(node, SinkPlan) and not self._outs[name]:
                raise GraphError(name, f"{name!r} leads nowhere; let a sink stand after it")
        if not self._outs[SOURCE]:
            raise ConfigError("nothing stands after the source")

    def _sorted(self) -> list[str]:
        """In the direction of the rows."""
        waiting = Counter({name: len(edges) for name, edges in self._ins.items()})
        ready = [SOURCE]
        order: list[str] = []
        while ready:
            name = ready.pop(0)
            order.append(name)
            for after in self._outs[name].values():
                waiting[after] -= 1
                if not waiting[after]:
                    ready.append(after)
        rest = [name for name in self.nodes if name not in order]
        if rest:
            raise GraphError(
                rest[0],
                f"{', '.join(map(repr, rest))}: rows would go round in a circle; each node stands after earlier ones",
            )
        return order[1:]

    def _check_ports(self) -> None:
        for name, node in self.nodes.items():
            node.check_ports(self._outs[name])

    def _shapes(self) -> dict[str, Shape]:
        """What rows are made of where they come into a node."""
        shapes: dict[str, Shape] = {}
        for name in self.order:
            into = [self._shape_along(edge, shapes) for edge in self._ins[name]]
            shapes[name] = _common(into)
        return shapes

    def _shape_along(self, edge: Edge, shapes: dict[str, Shape]) -> Shape:
        if edge.before == SOURCE:
            return ()
        return self.nodes[edge.before].shape_after(shapes[edge.before], edge.port)

    def _check_shapes(self) -> None:
        for name, node in self.nodes.items():
            shape = self.shapes[name]
            top = shape[-1] if shape else ROWS_OF_SOURCE
            if isinstance(node, UnbatchPlan) and not top.startswith("batch "):
                raise GraphError(
                    name, f"{name!r}: what comes here are no batches ({_said(top)}); let it stand after a batch"
                )
            if isinstance(node, JoinPlan):
                tops = [(self._shape_along(edge, self.shapes) or (ROWS_OF_SOURCE,))[-1] for edge in self._ins[name]]
                self._check_join(node, next((other for other in tops if other != f"fork {node.fork}"), top))

    def _check_join(self, join: JoinPlan, top: str) -> None:
        fork = self.nodes.get(join.fork)
        if not isinstance(fork, ForkPlan):
            raise GraphError(join.name, f"join {join.name!r}: {join.fork!r} is no fork")
        others = [
            n.name for n in self.nodes.values() if isinstance(n, JoinPlan) and n.fork == join.fork and n is not join
        ]
        if others:
            raise GraphError(join.name, f"{others[0]!r} and {join.name!r} both join {join.fork!r}; a fork has one join")
        if top != f"fork {join.fork}":
            raise GraphError(
                join.name,
                f"the branches of join {join.name!r} cannot meet: {_said(top)} comes there, where one part of each "
                f"branch of {join.fork!r} is expected; {_mend(top)}",
            )
        n = len(self.branches_of(join.name))
        if isinstance(join.require, int) and not 1 <= join.require <= n:
            raise GraphError(join.name, f"join {join.name!r}: require={join.require}, and {n} branches meet there")

    def _check_keepers(self) -> None:
        for name, node in self.nodes.items():
            if isinstance(node, ForkPlan) and (join := self.join_of(name)) is not None:
                inside = frozenset[str]().union(*(self.along(name, port) for port in node.branches)) - {join}
                both = inside & self.behind(join)
                if both:
                    raise GraphError(
                        name,
                        f"{sorted(both)[0]!r} is reached from within {name!r} and from behind its join {join!r}; "
                        "give each its own sink",
                    )


def _common(shapes: list[Shape]) -> Shape:
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    n = 0
    while all(len(shape) > n and shape[n] == first[n] for shape in shapes):
        n += 1
    return (*first[:n], MIXED)


def _said(top: str) -> str:
    return (
        "rows of different kinds"
        if top == MIXED
        else top
        if top.startswith("rows")
        else f"what {top.partition(' ')[2]!r} makes"
    )


def _mend(top: str) -> str:
    if top.startswith("batch "):
        return "let an unbatch stand before the join"
    if top.startswith("flat_map "):
        return "let the function return one list, by map, in its place"
    return "join the branches of one fork"


def join_terms(graph: Graph, name: str) -> JoinTerms:
    """What a join's actor must know."""
    join = graph.nodes[name]
    fork = graph.nodes[join.fork] if isinstance(join, JoinPlan) else None
    if not isinstance(join, JoinPlan) or not isinstance(fork, ForkPlan):
        raise InternalError("a join closes a fork, which is seen to when a pipeline is built")
    return JoinTerms(
        name=name,
        branches=graph.branches_of(name),
        ways=len(fork.branches),
        require=join.require,
        within_s=join.within,
        on_missing=join.on_missing,
        bare=join.bare,
    )
