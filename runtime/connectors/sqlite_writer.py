"""Writes rows to a table: a whole batch at once where nothing is odd about it, else row by row, so that a row that cannot be
written is found and costs itself alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from .sqlite_rows import alike, values_of
from .sqlite_shape import Shape, fold, listed, quoted, shape_of
from .sqlite_undo import Undo

_ROWS_FAULT = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
"""What SQLite says of a statement that is wrong in itself; all else (a full disk, a lock, damage) fails the run."""


class TableWriter:
    """Writes to `target`, which is made of the first row's columns where it has no `shape` yet.

    `key`: columns by which a row is known, so that it is updated where it is there. `undo`: notes what is written. `name`:
    of the sink, for messages.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        name: str,
        target: str,
        shape: Shape | None,
        key: Sequence[str],
        undo: Undo | None,
    ) -> None:
        self.shape = shape
        self._db = db
        self._name = name
        self._target = target
        self._key = key
        self._undo = undo

    def write(self, items: list[Any]) -> tuple[int, dict[int, str]]:
        """(how many were written, what is wrong with the others by index).

        A trigger of the user may roll the transaction back: then the other rows are written again, without the one to blame.
        """
        db = self._db
        faults: dict[int, str] = {}
        while True:
            if not db.in_transaction:
                db.execute("BEGIN IMMEDIATE")
            again = len(faults)
            n = self._all_at_once(db, items) if not faults else None
            if n is None:
                if not db.in_transaction:
                    db.execute("BEGIN IMMEDIATE")
                n = self._one_by_one(db, items, faults)
            if db.in_transaction or len(faults) == again:
                return n, faults

    def _all_at_once(self, db: sqlite3.Connection, items: list[object]) -> int | None:
        """How many were written; None: something is wrong with one of them, and none was."""
        shape, found = self.shape, alike(items)
        if found is None or shape is None:
            return None
        names, rows = found
        folded = list(map(fold, names))
        if not shape.columns.keys() >= set(folded) or len(set(folded)) < len(folded) or self._lacks_key(folded, rows):
            return None
        db.execute("SAVEPOINT headrace")
        try:
            cursor = db.executemany(self._insert(names), rows)
            if self._key or cursor.rowcount == len(rows):
                db.execute("RELEASE headrace")
                return len(rows)
        except (sqlite3.Error, OverflowError, ValueError) as error:
            if isinstance(error, sqlite3.Error) and not _is_rows_fault(error):
                raise
            if not db.in_transaction:
                return None
        db.execute("ROLLBACK TO headrace")
        db.execute("RELEASE headrace")
        return None

    def _lacks_key(self, folded: list[str], rows: list[tuple[object, ...]]) -> bool:
        if not self._key:
            return False
        if not set(folded).issuperset(map(fold, self._key)):
            return True
        at = [folded.index(fold(name)) for name in self._key]
        return any(row[i] is None for row in rows for i in at)

    def _one_by_one(self, db: sqlite3.Connection, items: list[object], faults: dict[int, str]) -> int:
        n = 0
        for i, item in enumerate(items):
            if i in faults:
                continue
            values = values_of(item, self.shape.columns if self.shape is not None else None, self._key)
            if isinstance(values, str):
                faults[i] = values
                continue
            try:
                if self.shape is None:
                    self._make_table(db, list(values))
                written = db.execute(self._insert(tuple(values)), list(values.values())).rowcount
            except sqlite3.Error as error:
                if not _is_rows_fault(error):
                    raise
                faults[i] = f"the table refuses it: {error}"
                if not db.in_transaction:
                    return 0
                continue
            if written or self._key:
                n += 1
            else:
                faults[i] = "the table ignores it (a trigger of it does)"
        return n

    def _make_table(self, db: sqlite3.Connection, columns: list[str]) -> None:
        key = f", PRIMARY KEY ({listed(self._key)})" if self._key else ""
        db.execute(f"CREATE TABLE {quoted(self._target)} ({listed(columns)}{key})")
        self.shape = shape_of(db, self._target, self._name)
        if self._undo is not None and self.shape is not None:
            self._undo.watch(self.shape, self._target)

    def _insert(self, names: Sequence[str]) -> str:
        # What the user's table says of conflicts (IGNORE, REPLACE) would take rows away without a word.
        insert = f"INSERT OR ABORT INTO {quoted(self._target)} ({listed(names)}) VALUES ({_marks(names)})"
        if not self._key:
            return insert
        keys = set(map(fold, self._key))
        others = [f"{quoted(name)} = excluded.{quoted(name)}" for name in names if fold(name) not in keys]
        then = f"UPDATE SET {', '.join(others)}" if others else "NOTHING"
        return f"{insert} ON CONFLICT ({listed(self._key)}) DO {then}"


def failure(error: sqlite3.Error, name: str, waited_s: float) -> Exception:
    """An error of the database, as it is told."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return TimeoutError(f"{name}: another program has been writing to the database for {waited_s:g} s")
    return OSError(f"{name}: {error}")


def _marks(names: Sequence[str]) -> str:
    return ", ".join("?" * len(names))


def _is_rows_fault(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    # The interface itself refuses what cannot be bound.
    return code is None or (code & 0xFF) in _ROWS_FAULT
