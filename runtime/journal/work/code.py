"""What a function does, as a digest of its code: of what it was compiled to, and of its source text.

The digest of the compiled code decides. It has every instruction with its constants, names and jumps, and the code of the
functions inside; line numbers, comments, file names and docstrings are not in it. It differs from one minor version of
Python to the next, so the digest of the source text, as a tree without docstrings, stands in for it there.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import linecache
import sys
import types
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

PYTHON = str(sys.implementation.cache_tag)
"""Whose instructions the digests of compiled code are made of, such as `cpython-312`."""
_KINDS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
_DOCUMENTED = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_BY_VALUE = frozenset([*dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hasjrel, *dis.hasjabs])


class Import(NamedTuple):
    """An import inside a function. `level`: how many dots stand before the module. `names`: what is taken from it."""

    level: int
    module: str
    names: tuple[str, ...]


class Code(NamedTuple):
    """Of a code object and of those in it. `names`: the globals that it loads; `attributes`: those of anything."""

    digest: bytes
    names: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[Import]


def compiled(code: types.CodeType) -> Code:
    """What a function was compiled to."""
    names, attributes, imports = set[str](), set[str](), set[Import]()
    told = blake2b(digest_size=16)

    def tell(*what: object) -> None:
        told.update(repr(what).encode("utf-8", "backslashreplace"))

    def const(value: object) -> object:
        """A constant as something whose `repr` is the same in every process."""
        if isinstance(value, types.CodeType):
            inner = compiled(value)
            names.update(inner.names)
            attributes.update(inner.attributes)
            imports.update(inner.imports)
            return inner.digest
        if isinstance(value, frozenset):
            return "frozenset", sorted(map(repr, map(const, value)))
        if isinstance(value, tuple):
            return "tuple", *map(const, value)
        return type(value).__name__, value

    tell(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KINDS)
    tell(code.co_varnames, code.co_freevars, code.co_cellvars, code.co_exceptiontable)
    instructions = list(dis.get_instructions(code))
    for n, each in enumerate(instructions):
        if each.opcode in dis.hasconst:
            tell(each.opname, const(each.argval))
        elif each.opcode in _BY_VALUE:
            tell(each.opname, each.argval)
        else:
            tell(each.opname, each.arg)
        if each.opname in _GLOBAL:
            names.add(str(each.argval))
        elif each.opname in _ATTRIBUTE:
            attributes.add(str(each.argval))
        elif each.opname == "IMPORT_NAME":
            # What `__import__` takes lies on the stack: the number of dots, and the names or None.
            level, taken = (before.argval for before in instructions[n - 2 : n])
            imports.add(Import(level or 0, str(each.argval), tuple(taken or ())))
    return Code(told.digest(), frozenset(names), frozenset(attributes), frozenset(imports))


def written(function: types.FunctionType) -> bytes | None:
    """What stands in the source text of a function; None where that cannot be had, or does not say which one it is."""
    if function.__name__ == "<lambda>":
        # There may be several in a line.
        return None
    code = function.__code__
    try:
        node = _functions_in("".join(linecache.getlines(code.co_filename, function.__globals__))).get(
            code.co_firstlineno
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if node is None or node.name != code.co_name:
        # The file has been changed since, or there is none.
        return None
    told = blake2b(digest_size=16)
    for part in outline(node):
        told.update(part.encode("utf-8", "backslashreplace"))
    return told.digest()


@functools.lru_cache(maxsize=32)
def _functions_in(text: str) -> dict[int, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions in a file, by the line in which each begins, with its decorators."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[min([node.lineno, *(each.lineno for each in node.decorator_list)])] = node
    return found


def outline(node: object) -> Iterator[str]:
    """A syntax tree as text, without docstrings and places, and without fields that are empty, which come and go with the
    versions of Python."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            if name == "body" and isinstance(node, _DOCUMENTED):
                value = value[1:] if ast.get_docstring(node, clean=False) is not None else value
            yield f" {name}="
            yield from outline(value)
        yield ")"
    elif isinstance(node, list):
        for each in node:
            yield from outline(each)
    else:
        yield f"{type(node).__name__}:{node!r}"
