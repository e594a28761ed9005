"""What a run has written to a table and may have to take back: the rows that its journal does not know of yet.

A trigger that only this connection has notes each row that is written (and, of one that is updated, what it was) in a table
beside the user's, in the transaction of the row itself. Rows are found again by their rowid or primary key and by what is in
them, so that nothing is assumed of how rowids grow, a `VACUUM` may give them anew, and no row of anybody else is deleted.
How far the notes go back is bounded: a journal is behind by the rows in flight at most, which are fewer.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from ..errors import ConfigError
from .sqlite_shape import OWN, Shape, listed, quoted

NOTES = """
CREATE TABLE IF NOT EXISTS headrace_outputs (sink TEXT PRIMARY KEY, pipeline TEXT NOT NULL, run TEXT NOT NULL,
    journal TEXT, target TEXT NOT NULL, rows INTEGER NOT NULL, own INTEGER NOT NULL, complete INTEGER NOT NULL,
    existed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headrace_places (sink TEXT NOT NULL, run TEXT NOT NULL, n INTEGER NOT NULL, note INTEGER NOT NULL,
    PRIMARY KEY (sink, run, n)) WITHOUT ROWID;
"""
_INSERTED, _UPDATED = 0, 1
_TRIGGERS = ("headrace_inserted", "headrace_updated")


def note_of(db: sqlite3.Connection, sink: str) -> dict[str, Any] | None:
    """What the last run on a table noted of itself."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'headrace_outputs'").fetchone() is None:
        return None
    names = ("pipeline", "run", "journal", "target", "rows", "own", "complete", "existed")
    found = db.execute(f"SELECT {', '.join(names)} FROM headrace_outputs WHERE sink = ?", (sink,)).fetchone()
    return dict(zip(names, found, strict=True)) if found is not None else None


def check_known_again(shape: Shape, what: str) -> None:
    """Raise `ConfigError` where the rows of a table cannot be told from each other, or not taken back."""
    if not shape.keys:
        raise ConfigError(
            f"{what}: its columns are called rowid, oid and _rowid_, so that its rows cannot be known again; give it a"
            " primary key, or write to it without a journal"
        )
    if shape.triggers:
        raise ConfigError(
            f"{what}: has the trigger {shape.triggers[0]!r}, and what it does could not be taken back when a run goes"
            " on; drop it, or write to the table without a journal"
        )


class Undo:
    """The notes of one run on one table."""

    def __init__(self, db: sqlite3.Connection, sink: str, run: str) -> None:
        self._db = db
        self._sink = sink
        self._run = run
        self._table = f"{OWN}undo {sink}"

    def watch(self, shape: Shape, target: str) -> None:
        """From now on, note what is written to `target`, a table of this shape.

        Raises `ConfigError` where its rows cannot be told from each other.
        """
        check_known_again(shape, target)
        db, columns = self._db, list(shape.columns.values())
        keys, values = [f"k{i}" for i in range(len(shape.keys))], [f"c{i}" for i in range(len(columns))]
        names = ["run", "what", *keys, *values]
        known = [row[1] for row in db.execute(f"PRAGMA table_info({quoted(self._table)})")]
        if known and known[1:] != names:
            (left,) = db.execute(f"SELECT count(*) FROM {quoted(self._table)} WHERE run = ?", (self._run,)).fetchone()
            if left:
                raise ConfigError(f"{target}: has other columns than when this run began; it was changed")
            db.execute(f"DROP TABLE {quoted(self._table)}")
            known = []
        if not known:
            db.execute(f"CREATE TABLE {quoted(self._table)} (n INTEGER PRIMARY KEY AUTOINCREMENT, {listed(names)})")
        run = "'" + self._run.replace("'", "''") + "'"
        self.watch_no_more()
        for name, when, which, what in (
            (_TRIGGERS[0], "AFTER INSERT", "NEW", _INSERTED),
            (_TRIGGERS[1], "BEFORE UPDATE", "OLD", _UPDATED),
        ):
            old = ", ".join(f"{which}.{quoted(column)}" for column in (*shape.keys, *columns))
            db.execute(
                f"CREATE TEMP TRIGGER {name} {when} ON main.{quoted(target)} BEGIN"
                f" INSERT INTO {quoted(self._table)} ({listed(names)}) VALUES ({run}, {what}, {old}); END"
            )

    def watch_no_more(self) -> None:
        """What is written from now on is not noted."""
        for name in _TRIGGERS:
            self._db.execute(f"DROP TRIGGER IF EXISTS temp.{name}")

    def last(self) -> int:
        """The number of the latest note."""
        select = f"SELECT coalesce(max(n), 0) FROM {quoted(self._table)}"
        return int(self._db.execute(select).fetchone()[0]) if self._is_there() else 0

    def note_place(self, n: int) -> None:
        """So many rows were written by now."""
        insert = "INSERT OR REPLACE INTO headrace_places VALUES (?, ?, ?, ?)"
        self._db.execute(insert, (self._sink, self._run, n, self.last()))

    def find_place(self, n: int) -> int | None:
        """The latest note when so many rows were written; None where that is not known."""
        select = "SELECT note FROM headrace_places WHERE sink = ? AND run = ? AND n = ?"
        found = self._db.execute(select, (self._sink, self._run, n)).fetchone()
        return int(found[0]) if found is not None else None

    def take_back(self, shape: Shape, target: str, note: int) -> None:
        """What was written after this note. Raises `ConfigError` where somebody has changed it since."""
        if not self._is_there():
            return
        db, columns = self._db, list(shape.columns.values())
        keys = [f"{quoted(key)} IS ?" for key in shape.keys]
        same = [f"{quoted(column)} IS ?" for column in columns]
        cut = len(keys)
        select = f"SELECT * FROM {quoted(self._table)} WHERE run = ? AND n > ? ORDER BY n DESC"
        for _, _, what, *noted in db.execute(select, (self._run, note)).fetchall():
            if len(noted) != cut + len(columns):
                raise ConfigError(f"{target}: has other columns than when this run wrote to it; it was changed")
            if what == _UPDATED:
                told = ", ".join(f"{quoted(column)} = ?" for column in columns)
                where = " AND ".join(keys)
                db.execute(f"UPDATE {quoted(target)} SET {told} WHERE {where}", [*noted[cut:], *noted[:cut]])
            elif not self._delete(target, [*keys, *same], noted):
                self._delete_elsewhere(shape, target, same, noted[cut:], keys, noted[:cut])
        db.execute(f"DELETE FROM {quoted(self._table)} WHERE run = ? AND n > ?", (self._run, note))
        db.execute("DELETE FROM headrace_places WHERE sink = ? AND run = ? AND note > ?", (self._sink, self._run, note))

    def _delete(self, target: str, where: list[str], values: list[Any]) -> bool:
        return bool(self._db.execute(f"DELETE FROM {quoted(target)} WHERE {' AND '.join(where)}", values).rowcount)

    def _delete_elsewhere(
        self, shape: Shape, target: str, same: list[str], values: list[object], keys: list[str], key: list[object]
    ) -> None:
        """A row that has another rowid now, or is not as it was written."""
        db = self._db
        if shape.row_id:
            one = f"SELECT {quoted(shape.keys[0])} FROM {quoted(target)} WHERE {' AND '.join(same)} LIMIT 1"
            found = db.execute(one, values).fetchone()
            if found is not None:
                self._delete(target, keys, list(found))
                return
        if db.execute(f"SELECT 1 FROM {quoted(target)} WHERE {' AND '.join(keys)}", key).fetchone() is not None:
            raise ConfigError(
                f"{target}: a row that is to be written anew was changed by somebody since this run wrote it; remove it, and"
                " run again"
            )

    def forget(self, before: int) -> None:
        """Keep the notes after those of the latest place before so many rows."""
        db, sink, run = self._db, self._sink, self._run
        select = "SELECT max(n) FROM headrace_places WHERE sink = ? AND run = ? AND n <= ?"
        (n,) = db.execute(select, (sink, run, before)).fetchone()
        note = self.find_place(n) if n is not None else None
        if note is None:
            return
        db.execute(f"DELETE FROM {quoted(self._table)} WHERE run = ? AND n <= ?", (run, note))
        db.execute("DELETE FROM headrace_places WHERE sink = ? AND run = ? AND n < ?", (sink, run, n))

    def forget_others(self, *, places: bool) -> None:
        """What other runs may have had to take back is not theirs any more. `places`: what they wrote is gone, too."""
        if self._is_there():
            self._db.execute(f"DELETE FROM {quoted(self._table)} WHERE run <> ?", (self._run,))
        if places:
            self._db.execute("DELETE FROM headrace_places WHERE sink = ? AND run <> ?", (self._sink, self._run))

    def forget_own(self) -> None:
        """What an earlier run of the same name has noted."""
        if self._is_there():
            self._db.execute(f"DELETE FROM {quoted(self._table)} WHERE run = ?", (self._run,))
        self._db.execute("DELETE FROM headrace_places WHERE sink = ? AND run = ?", (self._sink, self._run))

    def _is_there(self) -> bool:
        select = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE"
        return self._db.execute(select, (self._table,)).fetchone() is not None
