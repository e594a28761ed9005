"""The store that is one file: an SQLite database, embedded, in WAL mode, synced at each commit.

Who holds the file is a lock that dies with its process (L36), never a word in a table. SQLite sees where its own
structures are damaged, and has no checksums of what is in them. So what is asked for is looked for among all rows of a table
where that is said (`+run = ?` uses no index): no way within its structure that was damaged can hide one (L64).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from headrace.runtime.connectors.file_presence import Gone, Presence
from headrace.runtime.errors import ConfigError

from ..mistakes import Damaged, StoreFailed, StoreLost, in_words
from ..port import Bound, Change
from ..tables import TABLES, TALLIED, Record
from .schema import APPLICATION, FIRST, LATER, MARKS, SCHEMA, STATEMENTS, VERSION, added_since
from .wal import lost_commits

CHECKED_BYTES = 1 << 30
"""A file up to this size is looked through whole before a run goes on with it: a second for each million of answers. Of
a larger one, answers of rows that are done are not looked at again."""

_KINDS = {
    stat.S_ISDIR: "is a folder",
    stat.S_ISFIFO: "is a named pipe",
    stat.S_ISCHR: "is a device",
    stat.S_ISBLK: "is a device",
    stat.S_ISSOCK: "is a socket",
}


class SqliteStore:
    """The file: opened, locked, and known to be a journal of this version. Raises `ConfigError` where it is not."""

    def __init__(self, path: str, *, name: str | None = None, new: bool = True, write: bool = True) -> None:
        """`name`: what its user calls it, where that is not the path. `new`: it may begin here. `write`: hold the lock; else
        only look."""
        self.name = name or path
        self.path: str | None = path
        self.salt = 0
        self._lock: int | None = None
        self._seals = False
        """SQLite knows how to make a seal."""
        # Under one name, whatever links there are to it.
        self._real = os.path.realpath(path)
        fresh = self._is_fresh(new=new)
        try:
            if fresh:
                # Nobody else may read what a run is about.
                os.close(os.open(self._real, os.O_CREAT | os.O_WRONLY, 0o600))
            if write:
                self._hold()
            lost = 0 if fresh else lost_commits(self._real)
            uri = Path(self._real).as_uri() + ("" if write else "?mode=ro")
            self.db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        except FileNotFoundError:
            self.close()
            raise ConfigError(f"{self.name}: the folder {str(Path(path).parent)!r} does not exist") from None
        except (OSError, sqlite3.Error) as error:
            self.close()
            what = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{self.name}: the journal cannot be opened: {what}; it and its folder must be readable and writable"
            ) from None
        except BaseException:
            self.close()
            raise
        try:
            with in_words(self.name):
                if lost:
                    raise Damaged(f"{lost} commits in its log {Path(self._real).name}-wal are not what was written")
                with _in_our_words():
                    self._begin(write=write)
                self._presence = Presence(self._real)
        except BaseException:
            self.close()
            raise

    def _is_fresh(self, *, new: bool) -> bool:
        """Whether there is no file yet. Raises `ConfigError` where what is there can be no journal."""
        try:
            found = os.stat(self._real)
        except FileNotFoundError:
            if not new:
                raise ConfigError(f"{self.name}: no such journal") from None
            return True
        except OSError as error:
            raise ConfigError(f"{self.name}: the journal cannot be opened: {error.strerror}") from None
        for is_kind, what in _KINDS.items():
            if is_kind(found.st_mode):
                raise ConfigError(f"{self.name}: {what}, not a journal; name a file")
        if found.st_nlink > 1:
            raise ConfigError(
                f"{self.name}: has {found.st_nlink} names (hard links), and what is not yet in the file is kept "
                f"beside one of them; copy it, and name the copy"
            )
        if not found.st_size and not new:
            raise ConfigError(f"{self.name}: is empty; no run was begun in it")
        return False

    def _hold(self) -> None:
        """A lock that dies with the process; on a file of its own, for SQLite has its own locks on the journal."""
        self._lock = os.open(self._real + ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{self.name}: another process is running with this journal; wait for its end, or stop it"
            ) from None

    def _begin(self, *, write: bool) -> None:
        db = self.db
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and not tables and write:
            db.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {SCHEMA}"
                f"INSERT INTO about VALUES (1, {int.from_bytes(os.urandom(4))});"
                f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != APPLICATION:
            raise ConfigError(f"{self.name}: is a database, but not a journal of Headrace; name another file")
        elif not FIRST <= version <= VERSION:
            use = "a newer one" if version > VERSION else "the one that began it, or begin a new journal"
            raise ConfigError(
                f"{self.name}: is a journal of version {version}, and this Headrace reads version {VERSION}: use {use}"
            )
        made_as = STATEMENTS - added_since(self._version)
        if {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")} != made_as:
            raise Damaged("its tables are not what they were made as")
        (salt,) = db.execute("SELECT salt FROM about WHERE id = 1").fetchone() or (None,)
        if not isinstance(salt, int):
            raise Damaged("it has no salt")
        self.salt = salt
        if not write:
            # All that is read is of one moment, although a run may go on.
            db.execute("BEGIN")
        if write:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            # What was dropped shall be gone from the file, too.
            db.execute("PRAGMA secure_delete = ON")
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone() if self.is_small else ("ok",)
            if sound != "ok":
                raise Damaged(sound)

    @property
    def _version(self) -> int:
        """It says which tables there are. Asked each time, for another process may have added some."""
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _lacks(self, table: str) -> bool:
        return table in LATER and self._version < LATER[table]

    def _add_later(self) -> None:
        """Have all tables of this version. Within a transaction."""
        version = self._version
        if version < VERSION:
            for statement in added_since(version):
                self.db.execute(statement)
            self.db.execute(f"PRAGMA user_version = {VERSION}")

    @property
    def is_small(self) -> bool:
        return os.path.getsize(self._real) <= CHECKED_BYTES

    # --- what is read ---

    def read(self, table: str, run: int | None = None, *bounds: Bound, limit: int | None = None) -> Iterator[Record]:
        where, values = _where(run, bounds)
        return self._select(table, f"{where} LIMIT ?", (*values, limit if limit is not None else -1))

    def read_on(self, table: str, run: int, row: int) -> Iterator[Record]:
        return self._select(table, "run = ? AND row >= ?", (run, row))

    def beside(self, table: str, run: int, row: int) -> Iterator[Record]:
        before = "(run, row) < (?, ?) ORDER BY run DESC, row DESC, node DESC, path DESC LIMIT 1"
        yield from self._select(table, before, (run, row))
        yield from self._select(table, "run > ? ORDER BY run, row, node, path LIMIT 1", (run,))

    def _select(self, table: str, where: str, values: tuple[Any, ...]) -> Iterator[Record]:
        with _in_our_words():
            if not self._lacks(table):
                # By way of `chain`, or the cursor would be closed with the generator, when the file is closed already.
                yield from chain(self.db.execute(f"SELECT * FROM {table} WHERE {where}", values))

    def sums(self, table: str, run: int) -> Change:
        with _in_our_words():
            if self._lacks(table):
                return Change()
            select = f"SELECT count(*), coalesce(sum(seal), 0) FROM {table} NOT INDEXED WHERE +run = ?"
            return Change(*self.db.execute(select, (run,)).fetchone())

    def now(self) -> float:
        return time.time()

    # --- what is changed ---

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        with _in_our_words():
            self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            if keep:
                with _in_our_words():
                    self.db.execute("COMMIT")
        finally:
            if self.db.in_transaction:
                # Where that fails, too, SQLite does it when the file is opened next.
                with suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
        if keep:
            try:
                self._presence.check()
            except Gone as gone:
                raise StoreLost(str(gone)) from None

    def write(self, table: str, records: list[Record]) -> Change:
        db, insert = self.db, f"INTO {table} VALUES ({MARKS[table]})"
        with _in_our_words():
            if self._lacks(table):
                self._add_later()
            if table not in TALLIED:
                db.executemany(f"INSERT OR REPLACE {insert}", records)
                return Change()
            if not TABLES[table].key:
                db.executemany(f"INSERT {insert}", records)
                return _sum_of(records)
            db.execute("SAVEPOINT records")
            try:
                db.executemany(f"INSERT {insert}", records)
            except sqlite3.IntegrityError:
                db.execute("ROLLBACK TO records")
                change = self._replace(table, records)
            else:
                change = _sum_of(records)
            db.execute("RELEASE records")
            return change

    def _replace(self, table: str, records: list[Record]) -> Change:
        key = TABLES[table].key
        n, seals = _sum_of(records)
        for record in records:
            bounds = [Bound(column, "=", value) for column, value in zip(key[1:], record[1:], strict=False)]  # type: ignore[arg-type]
            before = self.remove(table, record[0], *bounds)  # type: ignore[arg-type]
            self.db.execute(f"INSERT INTO {table} VALUES ({MARKS[table]})", record)
            n, seals = n + before.records, seals + before.seals
        return Change(n, seals)

    def remove(self, table: str, run: int, *bounds: Bound) -> Change:
        # By the key, where there is one.
        where, values = _where(run, bounds, "")
        with _in_our_words():
            n, seals = self.db.execute(
                f"SELECT count(*), coalesce(sum(seal), 0) FROM {table} WHERE {where}", values
            ).fetchone()
            if n:
                self.db.execute(f"DELETE FROM {table} WHERE {where}", values)
            return Change(-n, -seals)

    def drop_values(
        self, run: int, first: int, last: int, before: float, node: int | None, seal: Callable[[Record], int]
    ) -> tuple[int, Change]:
        where = "run = ? AND row BETWEEN ? AND ? AND at < ? AND value NOT NULL AND ? IN (-1, node)"
        which = (run, first, last, before, node if node is not None else -1)
        empty = "seal_answer(run, row, node, path, attempts, at, took, NULL, 0)"
        with _in_our_words():
            if not self._seals:
                self.db.create_function("seal_answer", -1, lambda *record: seal(record), deterministic=True)
                self._seals = True
            select = f"SELECT count(*), sum({empty} - seal) FROM answer WHERE {where}"
            n, change = self.db.execute(select, which).fetchone()
            if n:
                self.db.execute(f"UPDATE answer SET value = NULL, whole = 0, seal = {empty} WHERE {where}", which)
            return n, Change(0, change or 0)

    def compact(self) -> None:
        with _in_our_words():
            self.db.execute("VACUUM")

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "db"):
            self.db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _where(run: int | None, bounds: tuple[Bound, ...], scan: str = "+") -> tuple[str, tuple[Any, ...]]:
    """A condition, and the values in it. `scan`: what keeps SQLite from looking in an index."""
    parts = [Bound("run", "=", run), *bounds] if run is not None else list(bounds)
    text = " AND ".join(f"{scan}{part.column} {part.relation} ?" for part in parts)
    return text or "true", tuple(part.value for part in parts)


def _sum_of(records: list[Record]) -> Change:
    return Change(len(records), sum([record[-1] for record in records]))  # type: ignore[misc]


@contextmanager
def _in_our_words() -> Iterator[None]:
    """No error of SQLite's leaves this room."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFailed(_wrong(error)) from error


def _wrong(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_NOTADB":
            return "is not a journal; name another file"
        case "SQLITE_CORRUPT":
            return f"is damaged ({error}); nothing was changed. Restore it from a copy"
        case "SQLITE_READONLY" | "SQLITE_CANTOPEN" | "SQLITE_READONLY_DIRECTORY":
            return "cannot be written; a journal and its folder must be"
        case "SQLITE_FULL":
            return "the disk is full"
        case "SQLITE_IOERR_WRITE":
            return "cannot be written; is there room?"
        case name:
            return f"{error} ({name})"
