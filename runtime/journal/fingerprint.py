"""What a run works on and with, so that another work is not taken for the same (L27)."""

from __future__ import annotations

import inspect
import textwrap
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.names import connector_name
from headrace.runtime.plan import BatchPlan, JoinPlan, Plan, SinkPlan, StagePlan


class Fingerprint(msgspec.Struct, frozen=True):
    """`source`: by what it is known again. `nodes`: of each, what it does. `edges`: where rows go."""

    source: dict[str, Any]
    nodes: dict[str, dict[str, Any]]
    edges: list[str]


def fingerprint_of(plan: Plan, source: SourceConnector) -> Fingerprint:
    """Of a pipeline, and of what it reads."""
    known = getattr(source, "fingerprint", None)
    return Fingerprint(
        source={
            "kind": type(source).__name__,
            "name": connector_name(source),
            **(known() if known is not None else {}),
        },
        nodes={node.name: _node(node) for node in plan.nodes},
        edges=[f"{edge.before}.{edge.port} > {edge.after}" for edge in plan.edges],
    )


def _node(node: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": node.kind}
    match node:
        case StagePlan():
            version = getattr(node.function, "version", None)
            told |= {"version": str(version)} if version is not None else {"code": code_of(node.function)}
            told["branches"] = list(node.branches)
        case BatchPlan():
            told |= {"count": node.count, "bytes": node.bytes_max, "key": code_of(node.key) if node.key else None}
        case JoinPlan():
            told |= {"require": node.require, "fork": node.fork}
        case SinkPlan():
            told |= {"to": connector_name(node.connector), "ordered": node.ordered}
    return told


def code_of(function: Any) -> str:
    """A digest of a function's source text, or of its type's; of what it was compiled to, where no text can be had."""
    expression = getattr(function, "text", None)
    if isinstance(expression, str):
        return _digest(expression)
    call = function if hasattr(function, "__code__") else type(function)
    try:
        return _digest(textwrap.dedent(inspect.getsource(call)))
    except (OSError, TypeError):
        code = getattr(call, "__code__", None)
        return _digest(repr((code.co_code, code.co_names))) if code is not None else _digest(call.__qualname__)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """What is not the same, for people."""
    told = []
    for key in sorted({*before.source, *now.source}):
        a, b = before.source.get(key), now.source.get(key)
        if a != b:
            told.append(f"source: {_WORDS.get(key, key)} was {a}, and is {b}")
    for name in [*before.nodes, *(n for n in now.nodes if n not in before.nodes)]:
        old, new = before.nodes.get(name), now.nodes.get(name)
        if old is None:
            told.append(f"{name}: is new")
        elif new is None:
            told.append(f"{name}: is gone")
        else:
            changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            told += [_difference(name, key, old.get(key), new.get(key)) for key in changed]
    if before.edges != now.edges and before.nodes.keys() == now.nodes.keys():
        told.append("rows go other ways from node to node")
    return told


_WORDS = {"size": "its size in bytes", "path": "its path", "digest": "the digest of its beginning and end"}


def _difference(name: str, key: str, old: Any, new: Any) -> str:
    if key in ("code", "key"):
        return f"{name}: the code of its function changed"
    return f"{name}: {key} was {old!r}, and is {new!r}"
