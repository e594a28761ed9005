"""Small faults that can be put into a module of the actors, one at a time. `mutation.py` says which no test notices."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ACTORS = ROOT / "actors"


class Point(NamedTuple):
    """A place where a fault can be put: the number of the node in the walk over its module, and which of its faults."""

    module: str
    line: int
    node: int
    fault: str

    @property
    def id(self) -> str:
        return f"{self.module}:{self.line}:{self.node}:{self.fault}"


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
    walk.visit(ast.parse((ACTORS / f"{module.replace('.', '/')}.py").read_text()))
    return walk.points


def mutated(point: Point) -> ast.Module:
    """The module with that fault."""
    tree = ast.parse((ACTORS / f"{point.module.replace('.', '/')}.py").read_text())
    _Walk(point.module, point).visit(tree)
    return ast.fix_missing_locations(tree)
