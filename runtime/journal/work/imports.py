"""What a function imports while it runs: the user's own files, known by their text (L63).

Such a module may or may not have been imported when a run begins, so it is not looked into as others are: its whole source
text counts, without docstrings and comments, and not what it imports in turn. Nothing is imported for that.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

from .code import Import, outline

FILE_MAX = 4 << 20
"""Bytes of a module's source text that is read."""


def imported_by(
    imports: frozenset[Import], package: str | None, is_users: Callable[[str, str], bool]
) -> Iterator[tuple[str, bytes]]:
    """The names and digests of the modules that are imported, and of the submodules that are. `package`: that of the
    function's module. `is_users`: whether a module, by its name and its file, is the user's."""
    found: dict[str, bytes] = {}
    for each in sorted(imports):
        try:
            name = importlib.util.resolve_name("." * each.level + each.module, package)
        except ImportError:
            # It goes beyond the package: the import would fail, too.
            continue
        for full in (name, *(f"{name}.{part}" for part in each.names)):
            digest = _digest_of(full, is_users) if full not in found else None
            if digest is not None:
                found[full] = digest
    yield from found.items()


def _digest_of(name: str, is_users: Callable[[str, str], bool]) -> bytes | None:
    spec = _spec_of(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py") or not is_users(name, spec.origin):
        return None
    told = blake2b(digest_size=16)
    try:
        with Path(spec.origin).open("rb") as file:
            text = file.read(FILE_MAX)
        parts = list(outline(ast.parse(text)))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        # What cannot be read cannot be imported, either.
        return None
    for part in parts:
        told.update(part.encode("utf-8", "backslashreplace"))
    return told.digest()


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module would be found. Its packages are not imported, as `importlib.util.find_spec` would do."""
    path: list[str] | None = None
    spec = None
    for depth, _ in enumerate(parts := name.split("."), 1):
        try:
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:depth]), path or sys.path)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
        if not path and depth < len(parts):
            return None
    return spec
