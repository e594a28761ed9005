"""Rows into a table of an SQLite database: with a journal, each row is in it exactly once.

Rows, and how many they are by now, are committed in one transaction (`headrace_written`, a table beside the user's). So
whatever was lost between the commit here and the one in the journal, a resume finds the place that the journal knows, and
takes back what comes after. Nobody else may add rows to the table while a run is not done.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import msgspec

from headrace.runtime.errors import BadInput, ConfigError

from .files import as_records
from .presence import Presence

KEPT = 10_000
"""Places that are remembered; the journal is never so far behind."""
MARKS = """CREATE TABLE IF NOT EXISTS headrace_written (sink TEXT NOT NULL, n INTEGER NOT NULL, last INTEGER NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (sink, n)) WITHOUT ROWID"""


class SqliteSink:
    """See the module. Rows are dicts or structs; lists and dicts within them are written as JSON. The table is made of the
    first row's columns if it is not there."""

    durable = True

    def __init__(self, path: str | os.PathLike[str], table: str) -> None:
        self.path = os.fspath(path)
        self.name = f"{self.path}:{table}"
        self._table = table
        self._quoted = _quoted(table)
        self._db: sqlite3.Connection | None = None
        self._presence: Presence | None = None
        self._n = 0
        self._journaled = False

    def open(self) -> None:
        self._journaled = False
        self._connect()
        self._n = 0

    def resume(self, place: int | None) -> None:
        """Take back what was written after `place` rows."""
        db = self._connect()
        self._journaled = True
        self._n = place or 0
        if place is not None:
            mark = "SELECT last FROM headrace_written WHERE sink = ? AND n = ?"
            found = db.execute(mark, (self._table, place)).fetchone()
            if found is None or found[0] > self._last():
                self.close(False)
                raise ConfigError(
                    f"{self.name}: the journal says that {place} rows were written here, and they are not: it was changed"
                )
        with db:
            db.execute("BEGIN IMMEDIATE")
            if place is None:
                # What another run has written stays, if it came to its end; this one's rows come after it.
                begun = "SELECT last FROM headrace_written WHERE sink = ? AND n = 0 AND NOT complete"
                found = db.execute(begun, (self._table,)).fetchone()
                if found is not None and self._is_there():
                    db.execute(f"DELETE FROM {self._quoted} WHERE rowid > ?", found)
                db.execute("DELETE FROM headrace_written WHERE sink = ?", (self._table,))
                db.execute("INSERT INTO headrace_written VALUES (?,?,?,0)", (self._table, 0, self._last()))
                return
            if self._is_there():
                db.execute(f"DELETE FROM {self._quoted} WHERE rowid > ?", found)
            db.execute("DELETE FROM headrace_written WHERE sink = ? AND n > ?", (self._table, place))
            db.execute("UPDATE headrace_written SET complete = 0 WHERE sink = ?", (self._table,))

    def write(self, items: list[Any]) -> None:
        db = self._open
        rows = as_records(items, f"{self.name}: a row of a table")
        if not rows:
            return
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        if not self._is_there():
            columns = ", ".join(map(_quoted, rows[0]))
            db.execute(f"CREATE TABLE {self._quoted} ({columns})")
        try:
            for row in rows:
                names, marks = ", ".join(map(_quoted, row)), ", ".join("?" * len(row))
                insert = f"INSERT INTO {self._quoted} ({names}) VALUES ({marks})"
                db.execute(insert, list(map(_column, row.values())))
        except sqlite3.Error as error:
            raise BadInput(f"{self.name}: {error}") from error
        self._n += len(rows)
        if not self._journaled:
            self._commit(db)

    def tell(self) -> int:
        """Rows written, which is noted beside them."""
        db = self._open
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR REPLACE INTO headrace_written VALUES (?,?,?,0)", (self._table, self._n, self._last()))
        return self._n

    def sync(self) -> None:
        """Commit."""
        db = self._open
        # The place from which a resume begins is among the latest ones.
        latest = "SELECT n FROM headrace_written WHERE sink = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2"
        old = f"DELETE FROM headrace_written WHERE sink = ?1 AND n > 0 AND n < ({latest})"
        db.execute(old, (self._table, KEPT))
        if db.in_transaction:
            self._commit(db)

    def _commit(self, db: sqlite3.Connection) -> None:
        db.execute("COMMIT")
        if self._presence is not None:
            self._presence.check()

    def close(self, complete: bool) -> None:
        db, self._db = self._db, None
        if db is None:
            return
        try:
            if complete and self._journaled:
                db.execute("UPDATE headrace_written SET complete = 1 WHERE sink = ?", (self._table,))
            if db.in_transaction:
                db.execute("COMMIT" if complete else "ROLLBACK")
        finally:
            db.close()

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._db is not None, "a sink is opened before it is written"
        return self._db

    def _connect(self) -> sqlite3.Connection:
        try:
            self._db = db = sqlite3.connect(self.path, isolation_level=None, timeout=5.0)
            db.execute(MARKS)
            # A database in memory has no file.
            self._presence = Presence(self.path) if os.path.exists(self.path) else None
        except sqlite3.Error as error:
            self.close(False)
            raise ConfigError(f"{self.path}: cannot be written as a database: {error}") from None
        return db

    def _is_there(self) -> bool:
        select = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self._open.execute(select, (self._table,)).fetchone() is not None

    def _last(self) -> int:
        if not self._is_there():
            return 0
        (last,) = self._open.execute(f"SELECT coalesce(max(rowid), 0) FROM {self._quoted}").fetchone()
        return int(last)


def _quoted(name: str) -> str:
    return '"' + str(name).replace('"', '""') + '"'


def _column(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    built = msgspec.to_builtins(value, enc_hook=str)
    return built if isinstance(built, str) else msgspec.json.encode(built).decode()
