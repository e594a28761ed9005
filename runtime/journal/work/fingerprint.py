"""What a run works on and with, so that another work is not taken for the same (L27, L63)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal, get_args, get_origin

import msgspec

from headrace.runtime.connectors.calling import asked
from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.graph.nodes.calls import StagePlan
from headrace.runtime.graph.nodes.node import NodePlan
from headrace.runtime.graph.plan import Plan
from headrace.runtime.names import connector_name
from headrace.runtime.rows.contracts import fields_of, is_record

from .code import PYTHON
from .contents import Contents, version_of

CONTRACT = "contract"
"""Of the source: what its rows are held to."""
SINK = "sink"
"""The kind of a node where rows leave."""
NEW_SINK = "; rows that have ended do not come to it, so it will lack them"
GONE_SINK = "; what was written there stays, and is not completed: a file is named .part"
ROWS_LOOKED_AT = 1_000
"""Rows at the beginning and at the end of a list, by which it is known again before it is read. All of them are compared as
they are read; see `memory.py`."""


class Function(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a function is. `version`: what its owner says that it is, which then stands for the rest. `parts`: the
    digest of each thing that it is made of, as Python `python` compiles it; `source`: of those that are other by its
    source text, where that can be had. `opaque`: what it holds that cannot be read."""

    version: str | None = None
    parts: dict[str, str] = {}
    python: str | None = None
    source: dict[str, str] | None = None
    opaque: list[str] = []


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node does. `said`: what was said of it, in plain words. `functions`: those that it calls, by what they are
    for."""

    kind: str
    said: dict[str, object] = {}
    functions: dict[str, Function] = {}


class Fingerprint(msgspec.Struct, frozen=True):
    """`source`: by what it is known again. `nodes`: of each, what it does. `edges`: where rows go."""

    source: dict[str, object]
    nodes: dict[str, Node]
    edges: list[str]

    @property
    def opaque(self) -> list[str]:
        """What cannot be read, each with the node that holds it."""
        return [
            f"{name}: {what}" for name, node in self.nodes.items() for f in node.functions.values() for what in f.opaque
        ]


class Difference(msgspec.Struct, frozen=True):
    """Something that is not the same. `mended`: it is a function or a contract, which somebody may have mended; else the
    source, the graph or a sink. `text`: for people."""

    text: str
    mended: bool = False


def fingerprint_of(plan: Plan, source: SourceConnector) -> Fingerprint:
    """Of a pipeline, and of what it reads."""
    packages = {_package_of(node.function) for node in plan.stages}
    held_to = {} if plan.rows is None else {CONTRACT: contract_of(plan.rows)}
    return Fingerprint(
        source={"kind": type(source).__name__, "name": connector_name(source), **_source(source), **held_to},
        nodes={node.name: _node(node, packages) for node in plan.nodes},
        edges=[f"{edge.before}.{edge.port} > {edge.after}" for edge in plan.edges],
    )


def _source(source: SourceConnector) -> dict[str, object]:
    known = asked("source", source, "fingerprint")
    if known is not None:
        return dict(known)
    rows = getattr(source, "in_memory", None)
    return {"rows": len(rows), "contents": contents_of(rows)} if isinstance(rows, Sequence) else {}


def contents_of(rows: Sequence[object]) -> str:
    """A digest of a list's rows, of the first and the last where it is long."""
    looked_at = [rows] if len(rows) <= 2 * ROWS_LOOKED_AT else [rows[:ROWS_LOOKED_AT], rows[-ROWS_LOOKED_AT:]]
    told = blake2b(digest_size=12)
    contents = Contents()
    for part in looked_at:
        if isinstance(part, range):
            told.update(repr(part).encode())
            continue
        for row in part:
            told.update(contents.digest(row, "row"))
    return told.hexdigest()


def contract_of(rows: Any) -> str:
    """What rows are held to: "infer", or a type's name with a digest of the types of its fields, of their defaults, and of
    what it does besides."""
    if isinstance(rows, str):
        return rows
    told = blake2b(Contents().digest(rows, "rows"), digest_size=12)
    told.update(_type_text(rows, ()).encode())
    return f"{rows.__name__} {told.hexdigest()}"


def _type_text(kind: Any, within: tuple[Any, ...]) -> str:
    """A type as it is written, a record with its fields. `within`: the records around it, one of which it may be."""
    if is_record(kind) and kind not in within:
        optional = getattr(kind, "__optional_keys__", ())
        fields = fields_of(kind).items()
        told = [f"{name}{'?' * (name in optional)}: {_type_text(each, (*within, kind))}" for name, each in fields]
        return f"{kind.__name__}({', '.join(told)})"
    if get_origin(kind) is not None and get_origin(kind) is not Literal:
        return f"{get_origin(kind)}[{', '.join(_type_text(each, within) for each in get_args(kind))}]"
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


def _package_of(function: object) -> str:
    module = getattr(function, "__module__", None) or type(function).__module__
    return str(module).partition(".")[0]


def _node(node: NodePlan, packages: set[str]) -> Node:
    told = {what: function_of(each, packages) for what, each in node.functions().items() if each is not None}
    if isinstance(node, StagePlan) and node.version is not None:
        told["function"] = Function(node.version)
    return Node(node.kind, node.said(), told)


def function_of(function: object, packages: set[str] | frozenset[str] = frozenset()) -> Function:
    """What a function is, as far as can be told."""
    version = version_of(function)
    if version is not None:
        return Function(version)
    contents, texts = Contents(packages), Contents(packages, source=True)
    parts = {name: digest.hex() for name, digest in contents.parts_of(function).items()}
    source = {name: digest.hex() for name, digest in texts.parts_of(function).items()}
    other = None if texts.sourceless else {name: each for name, each in source.items() if parts.get(name) != each}
    return Function(None, parts, PYTHON, other, list(contents.opaque))


def differences(before: Fingerprint, now: Fingerprint) -> list[Difference]:
    """What is not the same, for people."""
    told = [Difference(text, key == CONTRACT) for key, text in _source_differences(before.source, now.source)]
    for name in [*before.nodes, *(n for n in now.nodes if n not in before.nodes)]:
        old, new = before.nodes.get(name), now.nodes.get(name)
        if old is None:
            told.append(Difference(f"{name}: is new{NEW_SINK if now.nodes[name].kind == SINK else ''}"))
        elif new is None:
            told.append(Difference(f"{name}: is gone{GONE_SINK if old.kind == SINK else ''}"))
        else:
            told += _node_differences(name, old, new)
    if before.edges != now.edges and before.nodes.keys() == now.nodes.keys():
        told.append(Difference("rows go other ways from node to node"))
    return told


def _source_differences(before: dict[str, object], now: dict[str, object]) -> list[tuple[str, str]]:
    """What is not the same, and how. A file that was moved is what it was: it is known by its contents."""
    by_contents = any(before.get(key) is not None and before.get(key) == now.get(key) for key in ("digest", "contents"))
    where = {"path", "name"} if by_contents else {"name"} if "path" in before and "path" in now else set()
    return [
        (key, f"source: {_WORDS.get(key, key)} was {before.get(key)}, and is {now.get(key)}")
        for key in sorted({*before, *now} - where)
        if before.get(key) != now.get(key)
    ]


_WORDS = {
    "size": "its size in bytes",
    "path": "its path",
    "digest": "the digest of its contents",
    "contents": "the digest of its rows",
    "rows": "the number of its rows",
    CONTRACT: "what its rows are held to (rows=)",
}


def _node_differences(name: str, old: Node, new: Node) -> list[Difference]:
    told = []
    if old.kind != new.kind:
        told.append(Difference(f"{name}: was a {old.kind}, and is a {new.kind}"))
    for key in {**old.said, **new.said}:
        if old.said.get(key) != new.said.get(key):
            told.append(Difference(f"{name}: {key} was {old.said.get(key)!r}, and is {new.said.get(key)!r}"))
    for what in {**old.functions, **new.functions}:
        one, two = old.functions.get(what), new.functions.get(what)
        its = "its function" if what == "function" else f"its {what}="
        if one is None or two is None:
            told.append(Difference(f"{name}: {its} is {'new' if one is None else 'gone'}", True))
        else:
            told += [Difference(f"{name}: {text}", True) for text in _function_differences(its, one, two)]
    return told


def _function_differences(its: str, old: Function, new: Function) -> list[str]:
    if old.version is not None or new.version is not None:
        if old.version == new.version:
            return []
        return [f"version was {old.version!r}, and is {new.version!r}"]
    before, now = old.parts, new.parts
    if old.python != new.python:
        if old.source is None or new.source is None:
            return [
                f"{its} was compiled by {old.python}, and is by {new.python}, and has no source text to be compared by; "
                f"go on under the former, or give it a `version`"
            ]
        before, now = {**old.parts, **old.source}, {**new.parts, **new.source}
    changed = [part for part in {**before, **now} if before.get(part) != now.get(part)]
    return [_part_difference(its, part, before.get(part), now.get(part)) for part in changed]


def _part_difference(its: str, part: str, old: str | None, new: str | None) -> str:
    if part == "its code":
        return f"the code of {its} changed (it was {old}, and is {new})"
    if old is None or new is None:
        return f"{its}: {part} is {'new' if old is None else 'gone'}"
    return f"{its}: {part} changed (its digest was {old[:12]}, and is {new[:12]})"
