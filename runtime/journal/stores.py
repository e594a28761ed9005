"""Which store a journal is kept in, by its name: a path, `sqlite:PATH`, `memory:NAME`, or what a store of somebody else's
is called.

A store of one's own is a `StoreKind`, given to `register` or as an entry point of the group `headrace.stores`, whose name
is what the names of its journals begin with: `postgresql` for `postgresql://host/database`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

import msgspec

from headrace.runtime.errors import ConfigError
from headrace.runtime.text import told

from .mistakes import in_words
from .port import Reader, Store
from .records import HeldRecords, Records

GROUP = "headrace.stores"
"""Of entry points; each is a `StoreKind`."""


class StoreKind(msgspec.Struct, frozen=True):
    """How journals of one kind are opened. All are given the whole name.

    `hold`: for one owner, under its lock; it is told whether a journal may begin there. `look`: without a lock. Both
    raise `ConfigError`. `path`: of the file that it is kept in; None where it is kept in none. `shown`: the name as
    people are told it, and as it may stand in a file: without a password."""

    hold: Callable[[str, bool], Store]
    look: Callable[[str], Reader]
    path: Callable[[str], str | None] = lambda name: None
    shown: Callable[[str], str] = lambda name: name


def _sqlite(name: str, new: bool, write: bool = True) -> Store:  # noqa: FBT001, FBT002
    from .sqlite.store import SqliteStore

    return SqliteStore(_path(name), name=name, new=new, write=write)


def _path(name: str) -> str:
    return name.removeprefix("sqlite:")


def _memory(name: str, new: bool, write: bool = True) -> Store:  # noqa: FBT001, FBT002
    from .memory import MemoryStore, memory_named

    return MemoryStore(name, memory_named(name, new=new), write=write)


KINDS = {
    "sqlite": StoreKind(_sqlite, lambda name: _sqlite(name, new=False, write=False), _path),
    "memory": StoreKind(_memory, lambda name: _memory(name, new=False, write=False)),
}
"""By what names begin with, up to the colon."""


def register(scheme: str, kind: StoreKind) -> None:
    """Names that begin with `scheme` and a colon are those of this kind. Raises `ConfigError` where the scheme is taken, or
    is none: two or more letters, digits or `+`."""
    if not _SCHEME.fullmatch(f"{scheme}:"):
        raise ConfigError(f"register: {scheme!r} cannot begin the name of a journal; two or more small letters can")
    if KINDS.get(scheme, kind) is not kind:
        raise ConfigError(f"register: names of journals that begin with {scheme!r} are those of another store")
    KINDS[scheme] = kind


_SCHEME = re.compile(r"([a-z][a-z0-9+]+):")


def kind_of(name: str) -> StoreKind:
    """What a name is the name of. Where no store is called by what it begins with, it is a path. Raises `ConfigError`."""
    match = _SCHEME.match(name)
    if match is None:
        return KINDS["sqlite"]
    found = KINDS.get(match[1]) or _from_entry_points(match[1])
    if found is None and name.startswith("//", match.end()):
        known = ", ".join(sorted(KINDS))
        # The rest of the name may have a password in it.
        raise ConfigError(
            f"journal '{match[1]}://...': no store is called {match[1]!r}; there are {known}, and those that a package "
            f"brings in its entry points {GROUP!r}"
        )
    return found or KINDS["sqlite"]


@cache
def _from_entry_points(scheme: str) -> StoreKind | None:
    for each in entry_points(group=GROUP, name=scheme):
        try:
            kind = each.load()
        except Exception as error:
            raise ConfigError(f"the store {scheme!r} ({each.value}) cannot be loaded: {told(error)}") from error
        if not isinstance(kind, StoreKind):
            raise ConfigError(f"the store {scheme!r} ({each.value}) is no StoreKind")
        return kind
    return None


def name_of(journal: str | os.PathLike[str]) -> str:
    """Its name in full: of a file, the path from the root on, so that it is found from any folder."""
    name = os.fspath(journal)
    path = kind_of(name).path(name)
    return name if path is None else name.removesuffix(path) + os.path.abspath(path)


def shown_of(journal: str | os.PathLike[str]) -> str:
    """Its name as people may be told it: without a password."""
    name = os.fspath(journal)
    return kind_of(name).shown(name)


def file_of(journal: str | os.PathLike[str]) -> str | None:
    """The file that it is kept in, if any."""
    name = os.fspath(journal)
    return kind_of(name).path(name)


def hold(journal: str | os.PathLike[str], *, new: bool = True) -> HeldRecords:
    """Open a journal under its lock. `new`: it may begin here. Raises `ConfigError`."""
    name = os.fspath(journal)
    store = kind_of(name).hold(name, new)
    try:
        with in_words(store.name):
            return HeldRecords(store)
    except BaseException:
        store.close()
        raise


def look_into(journal: str | os.PathLike[str]) -> Records:
    """Look into a journal as it is now. Raises `ConfigError`."""
    name = os.fspath(journal)
    reader = kind_of(name).look(name)
    try:
        with in_words(reader.name):
            return Records(reader)
    except BaseException:
        reader.close()
        raise
