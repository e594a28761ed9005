"""What a table of an SQLite database is: its columns, and by what one of its rows is known."""

from __future__ import annotations

import re
import sqlite3
import string
from collections.abc import Iterable, Sequence

import msgspec

from headrace.actors.errors import InternalError

from ..errors import ConfigError
from .json_values import surrogate_in

OWN = "headrace_"
"""What the tables begin with that Headrace keeps in a database, beside the user's."""
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_NAME = r"""(?:"(?:[^"]|"")*"|\[[^\]]*\]|`(?:[^`]|``)*`|'(?:[^']|'')*'|[^\s("'\[`]+)"""


class Shape(msgspec.Struct, frozen=True):
    """A table. `columns`: those that can be written, by their folded names. `keys`: what tells one of its rows from another,
    its rowid by a name that no column has, or its primary key; empty where nothing does. `row_id`: they are a rowid."""

    name: str
    sql: str
    columns: dict[str, str]
    keys: tuple[str, ...]
    row_id: bool
    triggers: tuple[str, ...]


def fold(name: str) -> str:
    """As SQLite compares names: without regard to the case of ASCII letters."""
    return name.translate(_LOWER)


def quoted(name: str) -> str:
    """A name as it stands in a statement."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Names as they stand in a statement."""
    return ", ".join(map(quoted, names))


def check_name(what: str, name: str) -> None:
    """Raise `ConfigError` for a name that no table of a user can have."""
    wrong = surrogate_in(name)
    if not name:
        wrong = "a table has a name"
    elif "\x00" in name:
        wrong = "a name with a NUL cannot be said to SQLite"
    elif fold(name).startswith("sqlite_"):
        wrong = "names that begin with sqlite_ are SQLite's own"
    elif fold(name).startswith(OWN):
        wrong = f"names that begin with {OWN} are kept for what Headrace notes beside the rows"
    if wrong is not None:
        raise ConfigError(f"{what}: table {name!a}: {wrong}; name another table")


def shape_of(db: sqlite3.Connection, table: str, what: str) -> Shape | None:
    """The table of this name, in whatever case; None where there is none. Raises `ConfigError` for what has rows of its own
    making: a view, a virtual table."""
    select = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"
    found = db.execute(select, (table,)).fetchone()
    if found is None:
        return None
    kind, name, sql = found
    if kind == "view" or re.match(r"\s*CREATE\s+VIRTUAL", sql, re.IGNORECASE):
        raise ConfigError(
            f"{what}: is a {'view' if kind == 'view' else 'virtual table'}; rows are written to plain tables"
        )
    info = db.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
    columns = {fold(column): column for _, column, *_, hidden in info if hidden == 0}
    every = {fold(column) for _, column, *_ in info}
    primary = [(pk, column, kind) for _, column, kind, _, _, pk, _ in info if pk]
    keys, row_id = _keys(db, name, every, primary)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY name"
    named = tuple(row[0] for row in db.execute(triggers, (name,)))
    return Shape(name, sql, columns, keys, row_id, named)


def _keys(
    db: sqlite3.Connection, table: str, columns: set[str], primary: list[tuple[int, str, str]]
) -> tuple[tuple[str, ...], bool]:
    for alias in ("rowid", "oid", "_rowid_"):
        if alias in columns:
            continue
        try:
            db.execute(f"SELECT {alias} FROM {quoted(table)} LIMIT 0")
        except sqlite3.OperationalError:
            # A table WITHOUT ROWID, whose primary key is never NULL.
            return tuple(column for _, column, _ in sorted(primary)), False
        return (alias,), True
    if len(primary) == 1 and fold(primary[0][2]) == "integer":
        return (primary[0][1],), True
    return (), False


def made_like(db: sqlite3.Connection, shape: Shape, name: str) -> None:
    """Make an empty table of another name, with the same columns, constraints and unique indexes."""
    body = re.match(rf"CREATE\s+TABLE\s+{_NAME}\s*(.*)$", shape.sql, re.IGNORECASE | re.DOTALL)
    if body is None:
        raise InternalError(f"SQLite keeps a table's statement from its name on: {shape.sql!r}")
    db.execute(f"CREATE TABLE {quoted(name)} {body.group(1)}")
    select = "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql LIKE 'CREATE UNIQUE%'"
    for i, (sql,) in enumerate(db.execute(select, (shape.name,)).fetchall()):
        index = re.match(rf"CREATE\s+UNIQUE\s+INDEX\s+{_NAME}\s+ON\s+{_NAME}\s*(.*)$", sql, re.IGNORECASE | re.DOTALL)
        if index is None:
            raise InternalError(f"SQLite keeps an index's statement from its name on: {sql!r}")
        db.execute(f"CREATE UNIQUE INDEX {quoted(f'{name} {i}')} ON {quoted(name)} {index.group(1)}")


def moved(db: sqlite3.Connection, new: Shape, old: Shape) -> bool:
    """Put the rows of one table in the place of another's, and take the one away; whether all have come. Rows keep their
    rowids, by which they may have to be taken back."""
    own_keys = [key for key in new.keys if fold(key) not in old.columns]
    names = listed([*own_keys, *old.columns.values()])
    db.execute(f"DELETE FROM {quoted(old.name)}")
    db.execute(f"INSERT INTO {quoted(old.name)} ({names}) SELECT {names} FROM {quoted(new.name)}")
    if count(db, old.name) != count(db, new.name):
        return False
    db.execute(f"DROP TABLE {quoted(new.name)}")
    return True


def count(db: sqlite3.Connection, table: str) -> int:
    """How many rows a table has."""
    return int(db.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])


def check_key(db: sqlite3.Connection, shape: Shape, key: Sequence[str], what: str) -> None:
    """Raise `ConfigError` where a row of a table cannot be found by these columns."""
    missing = [name for name in key if fold(name) not in shape.columns]
    if missing:
        raise ConfigError(f"{what}: key {missing[0]!r}: is no column of the table")
    marks = ", ".join("?" * len(key))
    insert = f"INSERT INTO {quoted(shape.name)} ({listed(key)}) VALUES ({marks}) ON CONFLICT ({listed(key)}) DO NOTHING"
    try:
        db.execute(f"EXPLAIN {insert}", [None] * len(key))
    except sqlite3.OperationalError:
        raise ConfigError(
            f"{what}: key {', '.join(key)}: the table has no primary key and no unique index of just these columns, by"
            " which a row could be found"
        ) from None
