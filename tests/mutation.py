"""A mutation run over the actors: which small faults, put into them one at a time, does no test notice?

`make mutation FOR=3600` samples faults of the kinds in `OPERATORS` (a comparison, a condition, a number, an arithmetic
operator, a missing statement, a missing answer), and for each of them runs the actors' own tests, and, where those pass, a
few scenarios in simulation, in a process of its own that is forked after the libraries have been imported. It prints the
score and each survivor. The same seed gives the same sample; `--again ID` tries single ones again.

Two tools are made for this. Mutmut needs the modules to lie where they are imported from, and puts a switch into each
function: these tests, which call small ones millions of times, ran for minutes without an end. Cosmic-ray starts a new
interpreter for each fault, and most of its operators would change annotations here, which are no code.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import resource
import signal
import sys
import time
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# Imported before the fork, so that no child needs to do it again.
import hypothesis  # noqa: F401
import msgspec  # noqa: F401
import pytest

ROOT = Path(__file__).parents[1]
ACTORS = ROOT / "actors"
TESTS = ROOT / "tests" / "actors"
CPU_S_MAX = 60
"""A child that needs more processor time goes round in circles, which counts as noticed; ..."""
BYTES_MAX = 1 << 30
"""... as does one that needs more memory."""
STAGE = ("stage", "stage_permits", "stage_faults")
TESTED_BY = {
    "bucket": ["bucket", "gate"],
    "pace": ["pace", "gate"],
    "vegas": ["vegas", "gate"],
    "gate": ["gate", "governor"],
    "governor": ["governor"],
    "order": ["reorder"],
    "reorder": ["reorder"],
    "frontier": ["identity", "batch", "ledger", "reorder"],
    "identity": ["identity", "reorder", "ledger", "batch", "join"],
    "exits": ["exits", "join"],
    "outlets": ["exits"],
    "relay": ["exits"],
    "retry": ["worker", *STAGE],
    "past": ["past"],
    "ledger": ["ledger"],
    "join": ["join"],
    "batch": ["batch"],
    "journal": ["journal"],
    "conductor": ["conductor"],
    "desk": ["desk"],
    "sink": ["sink"],
    "source": ["source"],
    "lane": ["lane", *STAGE],
    "launcher": ["lane", *STAGE],
}
"""Test files that are run first; of other modules, the one of the same name and those of the stage."""
SLOW = "tests/actors/test_pace.py"
LEARNS = ("pace", "gate", "bucket")
"""Modules for which the slow ones are run too: they learn a rate."""
SCENARIOS = (
    "worker_killed_in_every_state",
    "retried_and_routed",
    "joins_within_joins",
    "batches_by_key_in_a_small_window",
    "pieces_in_order",
    "keys_with_budgets_of_their_own",
    "outage_burns_no_row",
    "rows_with_weights",
    "twenty_batches_at_once",
    "drain_amid_a_graph",
)
"""What is played where the actors' own tests have passed."""


class Point(NamedTuple):
    """A place where a fault can be put: the number of the node in the walk over its module, and which of its faults."""

    module: str
    line: int
    node: int
    fault: str

    @property
    def id(self) -> str:
        return f"{self.module}:{self.line}:{self.node}:{self.fault}"


# --- faults -----------------------------------------------------------------------------------------------------------

_COMPARED: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}


def faults_of(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The faults that can be put in the place of this node, by name."""
    match node:
        case ast.Compare(ops=[op]):
            for other in _COMPARED.get(type(op), ()):
                changed = copy.deepcopy(node)
                changed.ops = [other()]
                yield f"compare-{other.__name__}", changed
        case ast.BoolOp():
            changed_bool = copy.deepcopy(node)
            changed_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and-or", changed_bool
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "no-not", operand
        case ast.BinOp() if type(node.op) in _ARITHMETIC and not _is_text(node):
            changed_bin = copy.deepcopy(node)
            changed_bin.op = _ARITHMETIC[type(node.op)]()
            yield "arithmetic", changed_bin
        case ast.AugAssign() if type(node.op) in _ARITHMETIC:
            changed_aug = copy.deepcopy(node)
            changed_aug.op = _ARITHMETIC[type(node.op)]()
            yield "arithmetic", changed_aug
            yield "no-statement", ast.Pass()
        case ast.Constant(value=bool(value)):
            yield "other-bool", ast.Constant(not value)
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            yield "plus-one", ast.Constant(value + 1)
            yield "minus-one", ast.Constant(value - 1)
        case ast.Call(func=ast.Name(id=name)) if name in _SWAPPED:
            changed_call = copy.deepcopy(node)
            changed_call.func = ast.Name(_SWAPPED[name], ast.Load())
            yield _SWAPPED[name], changed_call
        case ast.If() | ast.While() | ast.IfExp():
            for name, test in (("always", True), ("never", False)):
                changed_if = copy.deepcopy(node)
                changed_if.test = ast.Constant(test)
                yield name, changed_if
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
            yield "no-statement", ast.Pass()
        case ast.Continue() | ast.Break():
            yield "no-statement", ast.Pass()
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "no-answer", ast.Return(ast.Constant(None))
        case ast.Return(value=None):
            yield "no-return", ast.Pass()
        case _:
            pass


OPERATORS = (
    "compare-*, and-or, no-not, arithmetic, other-bool, plus-one, minus-one, min, max, any, all, always, never, "
)
OPERATORS += "no-statement, no-answer, no-return"


def _is_text(node: ast.BinOp) -> bool:
    return any(isinstance(side, ast.JoinedStr) or _is_str(side) for side in (node.left, node.right))


def _is_str(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


class _Walk(ast.NodeTransformer):
    """Over what runs in a module, in a fixed order. Notes the faults, or puts one of them in its place."""

    def __init__(self, module: str, put: Point | None = None) -> None:
        self.points: list[Point] = []
        self._module = module
        self._put = put
        self._n = 0
        self._inside = 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.ClassDef):
            self._inside += 1
            node.body = [self.visit(each) for each in node.body]  # type: ignore[misc]
            self._inside -= 1
            return node
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            self._inside += 1
            if isinstance(node, ast.FunctionDef):
                # What it is said to return is no code.
                returns, node.returns = node.returns, None
                self.generic_visit(node)
                node.returns = returns
            else:
                self.generic_visit(node)
            self._inside -= 1
            return node
        # Checks of our own, texts, and what is never called for its effect are no promises.
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return node
        if isinstance(node, ast.Assert | ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom) or _is_str(node):
            return node
        if isinstance(node, ast.AnnAssign):
            # An annotation is no code.
            if node.value is not None:
                node.value = self.visit(node.value)  # type: ignore[assignment]
            return node
        if isinstance(node, ast.arguments):
            node.defaults = [self.visit(each) for each in node.defaults]  # type: ignore[misc]
            node.kw_defaults = [self.visit(each) if each else None for each in node.kw_defaults]  # type: ignore[misc]
            return node
        if isinstance(node, ast.Expr) and _calls(node, "_unknown", "assert_never"):
            return node
        self._n += 1
        number = self._n
        if self._inside:
            for fault, changed in faults_of(node):
                point = Point(self._module, getattr(node, "lineno", 0), number, fault)
                self.points.append(point)
                if self._put == point:
                    return ast.copy_location(changed, node)
        self.generic_visit(node)
        return node


def _calls(node: ast.Expr, *names: str) -> bool:
    return any(name in ast.dump(node.value) for name in names)


def points_of(module: str) -> list[Point]:
    """All faults that can be put into one of the actors' modules."""
    walk = _Walk(module)
    walk.visit(ast.parse((ACTORS / f"{module}.py").read_text()))
    return walk.points


def mutated(point: Point) -> ast.Module:
    """The module with that fault."""
    tree = ast.parse((ACTORS / f"{point.module}.py").read_text())
    _Walk(point.module, point).visit(tree)
    return ast.fix_missing_locations(tree)


# --- a child --------------------------------------------------------------------------------------------------------------


class _Loader(importlib.abc.Loader):
    def __init__(self, path: Path, tree: ast.Module) -> None:
        self._path = path
        self._tree = tree

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), vars(module))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module that has a fault."""

    def __init__(self, point: Point) -> None:
        self._name = f"headrace.actors.{point.module}"
        self._loader = _Loader(ACTORS / f"{point.module}.py", mutated(point))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self._loader, origin=str(self._loader._path))


def tests_for(module: str) -> list[list[str]]:
    """Test files: those that are most likely to notice, and the others."""
    own = [f"tests/actors/test_{name}.py" for name in TESTED_BY.get(module, [module, *STAGE])]
    first = [name for name in own if (ROOT / name).exists()]
    others = sorted({str(path.relative_to(ROOT)) for path in TESTS.glob("test_*.py")} - {*first, SLOW})
    return [first, [*others, SLOW] if module in LEARNS else others]


def _child(module: str, point: Point | None) -> int:
    """0: nothing was noticed. Without a point, the code is as it is."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX + 5))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if point is not None:
        sys.meta_path.insert(0, _Finder(point))
    os.environ["HEADRACE_EXAMPLES"] = "few"
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:headrace", "-o", "timeout=0", "-W", "ignore"]
    for files in tests_for(module):
        if files and pytest.main([*options, *files]) != pytest.ExitCode.OK:
            return 1
    from headrace.scenarios.play import play
    from headrace.scenarios.script import find, read

    return 0 if all(play(read(find(name)), 0).well for name in SCENARIOS) else 1


def begin(module: str, point: Point | None = None) -> int:
    """Try a fault of a module in a process of its own; its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _child(module, point)
    finally:
        os._exit(code)


# --- the run --------------------------------------------------------------------------------------------------------------


def shown(point: Point) -> str:
    """A fault for people: where it is, and what its line becomes."""
    before = (ACTORS / f"{point.module}.py").read_text().splitlines()[point.line - 1].strip()
    return f"{point.id:<44} {before}"


def run(points: Sequence[Point], jobs: int, seconds: float) -> tuple[int, list[Point]]:
    """How many were tried, and the survivors."""
    until = time.monotonic() + seconds
    waiting = list(reversed(points))
    under_way: dict[int, Point] = {}
    tried: Counter[str] = Counter()
    survivors: list[Point] = []
    while under_way or (waiting and time.monotonic() < until):
        while waiting and len(under_way) < jobs and time.monotonic() < until:
            point = waiting.pop()
            under_way[begin(point.module, point)] = point
        pid, status = os.wait()
        point = under_way.pop(pid)
        tried[point.module] += 1
        if status == 0:
            survivors.append(point)
            print("survived ", shown(point), flush=True)
    for module in sorted(tried):
        left = sum(point.module == module for point in survivors)
        print(f"{module:<14} {tried[module]:>4} tried {tried[module] - left:>4} noticed")
    return sum(tried.values()), survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="seconds", type=float, default=3600.0, help="seconds in which new ones are begun")
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("--sample", type=int, default=100_000, help="faults at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=[], metavar="MODULE")
    parser.add_argument("--again", nargs="*", default=[], metavar="ID")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    modules = chosen.only or sorted(path.stem for path in ACTORS.glob("*.py") if path.stem != "__init__")
    points = [point for module in modules for point in points_of(module)]
    print(f"{len(points)} faults can be put into {len(modules)} modules ({OPERATORS})", flush=True)
    random.Random(chosen.seed).shuffle(points)
    if chosen.again:
        points = [point for point in points if point.id in chosen.again]
    if os.waitstatus_to_exitcode(os.waitpid(begin("stage"), 0)[1]) != 0:
        sys.exit("the tests fail on the code as it is: mend that first")
    tried, survivors = run(points[: chosen.sample], chosen.jobs, chosen.seconds)
    noticed = tried - len(survivors)
    print(
        f"{noticed} of {tried} were noticed ({noticed / max(tried, 1):.1%}); {len(survivors)} survived (seed {chosen.seed})"
    )


if __name__ == "__main__":
    main()
