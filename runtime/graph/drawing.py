"""A pipeline's graph for people: as a tree of text, for Mermaid, for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ConfigError
from .plan import SOURCE, Plan
from .topology import Graph


def line(plan: Plan) -> str | None:
    """In one line, where it is one."""
    graph = Graph(plan.nodes, plan.edges)
    if any(len(graph.ways(name)) > 1 for name in graph.nodes):
        return None
    return " → ".join(["source", *(graph.nodes[name].label for name in graph.order)])


def tree(plan: Plan) -> str:
    """Line by line: branches are indented, and what they come back to stands below them."""
    return "\n".join([plan.name, *_Tree(Graph(plan.nodes, plan.edges)).lines(SOURCE, "", None)])


class _Tree:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._told: set[str] = set()

    def lines(self, name: str, indent: str, until: str | None) -> Iterator[str]:
        """What stands after a node, up to where its branch meets the others."""
        at: str | None = name
        while at is not None:
            ways = self._graph.ways(at)
            onward = ways.get("") or self._meeting(at)
            branches = [(port, after) for port, after in ways.items() if port]
            for i, (port, after) in enumerate(branches):
                last = i == len(branches) - 1
                head, body = ("└─ ", "   ") if last else ("├─ ", "│  ")
                if after in (onward, until):
                    yield f"{indent}{head}{port}: goes on"
                else:
                    stop = onward if onward is not None else until
                    yield from self._entry(after, f"{indent}{head}{port}: ", indent + body, stop)
            if onward is None or onward == until:
                return
            at = onward if onward not in self._told else None
            yield self._say(onward, indent)

    def _entry(self, name: str, first: str, indent: str, until: str | None) -> Iterator[str]:
        known = name in self._told
        yield self._say(name, first)
        if not known:
            yield from self.lines(name, indent, until)

    def _say(self, name: str, before: str) -> str:
        if name in self._told:
            return f"{before}to {name}"
        self._told.add(name)
        return before + self._graph.nodes[name].label

    def _meeting(self, name: str) -> str | None:
        """The first node that several of its branches lead to."""
        reached = [self._reach(after) for after in self._graph.ways(name).values()]
        return next((n for n in self._graph.order if sum(n in each for each in reached) > 1), None)

    def _reach(self, name: str) -> set[str]:
        found = {name}
        for after in self._graph.ways(name).values():
            found |= self._reach(after)
        return found


def mermaid(plan: Plan) -> str:
    """The graph as a flowchart for Mermaid."""
    graph = Graph(plan.nodes, plan.edges)
    ids = {name: f"n{i}" for i, name in enumerate([SOURCE, *graph.order])}
    lines = ["flowchart TD", f"    {ids[SOURCE]}([{_quoted('source')}])"]
    for name in graph.order:
        begin, end = graph.nodes[name].picture.mermaid
        lines.append(f"    {ids[name]}{begin}{_quoted(graph.nodes[name].label)}{end}")
    for edge in plan.edges:
        way = f"|{_quoted(edge.port)}|" if edge.port else ""
        lines.append(f"    {ids[edge.before]} -->{way} {ids[edge.after]}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'


def dot(plan: Plan) -> str:
    """The graph in the language of Graphviz."""
    graph = Graph(plan.nodes, plan.edges)
    ids = {name: f"n{i}" for i, name in enumerate([SOURCE, *graph.order])}
    lines = [f"digraph {_escaped(plan.name)} {{", "    node [shape=box, fontname=sans];"]
    lines.append(f'    {ids[SOURCE]} [label="source", shape=oval];')
    for name in graph.order:
        node = graph.nodes[name]
        lines.append(f"    {ids[name]} [label={_escaped(node.label)}, shape={node.picture.dot}];")
    for edge in plan.edges:
        way = f" [label={_escaped(edge.port)}]" if edge.port else ""
        lines.append(f"    {ids[edge.before]} -> {ids[edge.after]}{way};")
    return "\n".join([*lines, "}"])


def _escaped(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def svg(plan: Plan) -> str:
    """A picture, laid out by Graphviz. Needs the extra `graph`; raises `ConfigError` without it."""
    try:
        import pygraphviz
    except ImportError:
        raise ConfigError("a picture needs the extra 'graph': pip install 'headrace[graph]'") from None
    drawn: bytes = pygraphviz.AGraph(string=dot(plan)).draw(format="svg", prog="dot")
    return drawn.decode().rstrip()
