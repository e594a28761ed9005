"""What keeps the house tidy, and what no linter looks at."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from headrace.scenarios.verdict import Invariant

ROOT = Path(__file__).parents[1]
ROOMS = ("actors", "runtime", "scenarios")
LINES_MAX = 400
FUNCTION_LINES_MAX = 50
LONG_FUNCTIONS = {
    "actors/journaling/recovered.py:past_of": "what each kind of entry leaves, in the order of a life",
    "actors/stage.py:receive": "one arm a message",
    "runtime/hosts/simulation/system.py:run": "the loop of every simulation: a call in it costs a tenth of it",
    "runtime/run/wiring.py:__init__": "one line an actor, in the order in which they must be made",
    "runtime/journal/kept_run.py:_write": "one arm a kind of entry",
    "scenarios/invariants.py:__init__": "the table from messages to checks",
    "scenarios/play.py:play": "to be split",
}
"""Functions that are longer, and why. One that is not any more must go from here."""
ENTRIES = {
    "runtime/cli/__main__.py", "runtime/verdicts/table.py", "runtime/public/__init__.py",
    "scenarios/pytest_plugin.py", "scenarios/schema.py", "scenarios/examples/demo.py", "scenarios/examples/graph.py",
    "scenarios/examples/service.py", "scenarios/explore.py",
    # What tests and `make lives` play.
    "scenarios/lives.py",
    # A process of its own.
    "scenarios/server.py",
}  # fmt: skip
"""What is run by its name, and need not be imported by anything here."""
OLD_NAMES = (
    "exits", "outlet", "crew", "launcher", "clerk", "estate", "office", "narrator", "appetite", "sieve", "frontier",
)  # fmt: skip
"""Names that a field's term has replaced."""


@cache
def sources() -> dict[str, str]:
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


@cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(text) for name, text in sources().items()}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports() -> dict[str, set[str]]:
    """Which files of ours each file imports, wherever in it."""
    paths = {_module(path): path for path in sources()}
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees().items():
        package = _module(path).split(".") if path.endswith("__init__.py") else _module(path).split(".")[:-1]
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            else:
                base = (node.module or "").removeprefix("headrace.").split(".")
            whole = ".".join(filter(None, base))
            for name in node.names:
                target = paths.get(f"{whole}.{name.name}") or paths.get(whole)
                if target is not None and target != path:
                    found[path].add(target)
    return found


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Groups of files each of which leads to all others (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[list[str]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        for after in sorted(graph.get(node, ())):
            if after not in index:
                yield from visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], index[after])
        if low[node] == index[node]:
            at = stack.index(node)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                yield group

    for node in sorted(graph):
        if node not in index:
            yield from visit(node)


def test_no_two_files_import_each_other() -> None:
    assert list(circles(imports())) == []


def test_a_circle_would_be_found() -> None:
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == [["a", "b", "c"]]


def test_a_long_file_says_why() -> None:
    for name, text in sources().items():
        if text.count("\n") > LINES_MAX:
            said = ast.get_docstring(trees()[name]) or ""
            assert "This file is long" in said, f"{name} has {text.count(chr(10))} lines: split it, or say in it why"


def test_functions_are_short() -> None:
    long: set[str] = set()
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                said = ast.get_docstring(node, clean=False)
                lines = (node.end_lineno or 0) - node.lineno + 1 - (said.count("\n") + 1 if said is not None else 0)
                if lines > FUNCTION_LINES_MAX:
                    long.add(f"{name}:{node.name}")
    assert long == LONG_FUNCTIONS.keys()


def test_nothing_is_dead() -> None:
    imported = {target for targets in imports().values() for target in targets}
    text = (ROOT / "runtime/__init__.py").read_text()
    for name in sources():
        by_name = f'"{_module(name).removeprefix("runtime.")}"' in text
        assert name in imported or name in ENTRIES or by_name or name.endswith("__init__.py"), f"nobody imports {name}"


@pytest.mark.parametrize("room", ["actors", "runtime"])
def test_nothing_is_guarded_by_a_bare_assert(room: str) -> None:
    """`python -O` takes them away; `InternalError` says the same, and stays."""
    for name, tree in trees().items():
        if name.startswith(room):
            lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
            assert not lines, f"{name}: assert in lines {lines}"


@pytest.mark.parametrize("old", OLD_NAMES)
def test_names_that_were_replaced_do_not_come_back(old: str) -> None:
    pattern = re.compile(rf"\b_*{old}s?\b|\b{old.capitalize()}s?\b")
    for name, tree in trees().items():
        for node in ast.walk(tree):
            said = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
            said = node.name if isinstance(node, ast.ClassDef | ast.FunctionDef) else said
            assert not (isinstance(said, str) and pattern.fullmatch(said)), f"{name}: {said}"


def test_each_invariant_has_its_row_with_the_actor_the_checker_and_the_test() -> None:
    rows = re.findall(
        r"^\| ([A-Z_]+) \| `(.+?)` \| `(.+?)` \| `(.+?)` \|$", (ROOT / "actors/README.md").read_text(), re.M
    )
    assert [row[0] for row in rows] == [invariant.name for invariant in Invariant]
    for name, *paths in rows:
        for path in paths:
            assert (ROOT / path).is_file(), f"{name}: {path} is not there"
        assert f"Invariant.{name}" in (ROOT / paths[1]).read_text(), f"{paths[1]} does not check {name}"


def test_readmes_name_files_that_are_there() -> None:
    for readme in (*ROOT.glob("*.md"), *(ROOT / room / "README.md" for room in (*ROOMS, "tests"))):
        if readme.name == "CHANGELOG.md" or not readme.exists():
            continue
        for path in re.findall(r"`((?:actors|runtime|scenarios|tests)/[\w./]+)`", readme.read_text()):
            assert (ROOT / path).exists(), f"{readme.relative_to(ROOT)}: {path} is not there"
