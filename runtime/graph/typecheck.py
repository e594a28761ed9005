"""What rows are along each edge, as far as contracts and annotations say, and whether each node can take them."""

from __future__ import annotations

from headrace.actors.joins.terms import LATE

from ..errors import ConfigError, GraphError
from ..rows.contracts import complaint, item_of, signature_of
from ..rows.expressions import Expression
from .plan import SOURCE, BatchPlan, JoinPlan, StagePlan, UnbatchPlan
from .topology import Graph

_WANTED = {"filter": ("BOOL",), "route": ("STRING", "BOOL", "NULL")}


class Batched:
    """Lists of rows of one type."""

    def __init__(self, of: object) -> None:
        self.of = of


def check(graph: Graph, contract: object) -> None:
    """Raises `GraphError` for the first node that cannot take what comes to it. `contract`: the type of the source's rows;
    None: nobody knows."""
    kinds: dict[str, object] = {}
    for name in graph.order:
        came = [_along(graph, edge.before, edge.port, kinds, contract) for edge in graph.into(name)]
        kinds[name] = came[0] if all(kind == came[0] for kind in came) else None
        node = graph.nodes[name]
        if isinstance(node, StagePlan):
            _check_stage(node, kinds[name])
        elif isinstance(node, BatchPlan) and isinstance(node.key, Expression):
            _check_expression(node.name, node.key, kinds[name], ())


def _check_stage(stage: StagePlan, kind: object) -> None:
    if isinstance(stage.function, Expression):
        _check_expression(stage.name, stage.function, kind, _WANTED.get(stage.kind, ()))
        return
    if stage.kind == "merge":
        return
    given = list if isinstance(kind, Batched) else kind
    why = complaint(given, signature_of(stage.function).takes)
    if why is not None:
        raise GraphError(
            stage.name,
            f"{stage.name!r} cannot take what comes to it: {why}; let a map before it make the one of the other",
        )


def _check_expression(name: str, expression: Expression, kind: object, wanted: tuple[str, ...]) -> None:
    if kind is None or isinstance(kind, Batched):
        return
    try:
        expression.check(kind, wanted)
    except ConfigError as error:
        raise GraphError(name, f"{name!r}: {error}") from None


def _along(graph: Graph, before: str, port: str, kinds: dict[str, object], contract: object) -> object:
    """What rows are on the way from a node."""
    if before == SOURCE:
        return contract
    node, kind = graph.nodes[before], kinds[before]
    match node:
        case StagePlan(kind="map" | "merge"):
            return _record(signature_of(node.function).gives)
        case StagePlan(kind="flat_map"):
            return _record(item_of(signature_of(node.function).gives))
        case BatchPlan():
            return Batched(kind)
        case UnbatchPlan():
            # What the calls between have made of the batch, its function may not say.
            return kind.of if isinstance(kind, Batched) else None
        case JoinPlan():
            return kind if port == LATE else None
        case _:
            return kind


def _record(kind: object) -> object:
    """Of annotations, those that say what fields there are, or at least which class it is."""
    return kind if isinstance(kind, type) and kind is not object else None
