"""The file that journals are in: one SQLite database, embedded, in WAL mode, synced at each commit.

A row of a table is one thing that happened; rows of the source are numbers, and what they became in a graph is named by
`path` (`codec.py`; empty for a plain row). Who holds the file is a lock that dies with its process (L36), never a word in a
table. SQLite sees where its own structures are damaged, and has no checksums of what is in them: so each row ends with its
own, and what does not fit it is told, never gone on with.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from headrace.runtime.connectors.presence import Presence
from headrace.runtime.errors import ConfigError, HeadraceError

APPLICATION = 0x48647263
"""What the file says that it is ("Hdrc"); see `PRAGMA application_id`."""
VERSION = 1
CHECKED_BYTES = 256 << 20
"""A file up to this size is looked through when it is opened, which takes a second; what is wrong with a larger one is told
when it is come upon."""

SCHEMA = """
CREATE TABLE run (id INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, began REAL NOT NULL,
    fingerprint TEXT NOT NULL, origin TEXT, seal INTEGER NOT NULL);
CREATE TABLE progress (run INTEGER PRIMARY KEY, mark INTEGER NOT NULL, reach INTEGER NOT NULL, total INTEGER,
    seal INTEGER NOT NULL);
CREATE TABLE life (run INTEGER NOT NULL, n INTEGER NOT NULL, began REAL NOT NULL, ended REAL, state TEXT,
    PRIMARY KEY (run, n)) WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seal INTEGER NOT NULL);
CREATE TABLE answer (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, took REAL NOT NULL, value BLOB, whole INTEGER NOT NULL,
    seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE ended (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, status TEXT NOT NULL, error TEXT, message TEXT,
    seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE fault (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    at REAL NOT NULL, took REAL NOT NULL, kind TEXT NOT NULL, error TEXT NOT NULL, message TEXT, retry_after REAL,
    seal INTEGER NOT NULL);
CREATE TABLE parked (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    due REAL NOT NULL, state BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE cooldown (run INTEGER NOT NULL, node INTEGER NOT NULL, at REAL NOT NULL, until REAL NOT NULL,
    closure TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE batch (run INTEGER NOT NULL, node INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    members BLOB NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE word (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    parts BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE written (run INTEGER NOT NULL, sink INTEGER NOT NULL, status TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, ids BLOB, place BLOB, at REAL NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE settled (run INTEGER NOT NULL, status TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    n INTEGER NOT NULL, bits BLOB, seal INTEGER NOT NULL);
CREATE TABLE read (run INTEGER NOT NULL, row INTEGER NOT NULL, place BLOB, seal INTEGER NOT NULL);
CREATE INDEX fault_row ON fault (run, row);
CREATE INDEX batch_last ON batch (run, last);
CREATE INDEX written_last ON written (run, last);
CREATE INDEX settled_last ON settled (run, last);
CREATE INDEX read_row ON read (run, row);
"""

_HALF = 1 << 31
"""Less than that, a checksum takes four bytes in SQLite."""
_pack = msgspec.msgpack.Encoder().encode


class RunRow(msgspec.Struct, frozen=True):
    """A run, as its table has it. `key` begins the keys of its calls; `origin`: the file that describes it."""

    id: int
    key: str
    name: str
    began: float
    fingerprint: str
    origin: str | None


class Progress(msgspec.Struct):
    """How far a run is: all rows before `mark` are done; the rows of a batch are less than `reach` apart; there are `total`
    rows, once the source has said its end."""

    run: int
    mark: int = 0
    reach: int = 0
    total: int | None = None


class Damaged(HeadraceError):
    """A row of the journal is not what was written."""


def sealed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of a table, with the checksum that it ends with. Numbers in columns of type REAL must be floats."""
    return (*row, crc32(_pack(row)) - _HALF)


def _seal(*row: Any) -> int:
    return crc32(_pack(row)) - _HALF


class JournalFile:
    """The file: opened, locked, and known to be a journal of this version. Raises `ConfigError` where it is not."""

    def __init__(self, path: str, *, new: bool = True, write: bool = True) -> None:
        """`new`: it may begin here. `write`: hold the lock; else only look."""
        self.path = path
        self._lock: int | None = None
        fresh = not os.path.exists(path)
        if fresh and not new:
            raise ConfigError(f"{path}: no such journal")
        if os.path.isdir(path):
            raise ConfigError(f"{path}: is a folder, not a journal")
        try:
            if fresh:
                # Nobody else may read what a run is about.
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            if write:
                self._hold()
            uri = Path(path).absolute().as_uri() + ("" if write else "?mode=ro")
            self.db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        except FileNotFoundError:
            raise ConfigError(f"{path}: the folder {str(Path(path).parent)!r} does not exist") from None
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{path}: the journal cannot be opened: {getattr(error, 'strerror', None) or error}"
            ) from None
        try:
            with in_words(path):
                self._begin(write)
                self._names: dict[str, int] = {name: id_ for id_, name in self.read("name", "true")}
        except ConfigError:
            self.close()
            raise
        self._presence = Presence(path)
        self._by_number = {number: name for name, number in self._names.items()}

    def _hold(self) -> None:
        """A lock that dies with the process; on a file of its own, for SQLite has its own locks on the journal."""
        self._lock = os.open(self.path + ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise ConfigError(f"{self.path}: another process is running with this journal") from None

    def _begin(self, write: bool) -> None:
        self.db.create_function("seal", -1, _seal, deterministic=True)
        (application,) = self.db.execute("PRAGMA application_id").fetchone()
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        (tables,) = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and not tables and write:
            self.db.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {SCHEMA}"
                f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != APPLICATION:
            raise ConfigError(f"{self.path}: is a database, but not a journal of Headrace; name another file")
        elif version > VERSION:
            raise ConfigError(
                f"{self.path}: is a journal of version {version}, and this Headrace reads up to {VERSION}: use a newer one"
            )
        if write:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = FULL")
            # What was dropped shall be gone from the file, too.
            self.db.execute("PRAGMA secure_delete = ON")
            small = os.path.getsize(self.path) <= CHECKED_BYTES
            (sound,) = self.db.execute("PRAGMA integrity_check(1)").fetchone() if small else ("ok",)
            if sound != "ok":
                raise Damaged(sound)

    def read(
        self, table: str, where: str, values: Iterable[Any] = (), order: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a table, whole but for their checksums. Raises `Damaged` where one is not what was written."""
        select = f"SELECT * FROM {table} WHERE {where}" + (f" ORDER BY {order}" if order else "")
        for row in self.db.execute(select, tuple(values)):
            if _seal(*row[:-1]) != row[-1]:
                raise Damaged(f"a row of its table {table!r}, {row[:4]}, is not what was written")
            yield row[:-1]

    def check_around(self, table: str, run: int, floor: int) -> None:
        """Whether what stands just before and just after the rows of a run from `floor` on is what was written: else it may
        have been one of them. Raises `Damaged`. The table is ordered by run and row."""
        for _ in self.read(
            table, "(run, row) < (?, ?)", (run, floor), "run DESC, row DESC, node DESC, path DESC LIMIT 1"
        ):
            pass
        for _ in self.read(table, "run > ?", (run,), "run, row, node, path LIMIT 1"):
            pass

    def runs(self) -> list[RunRow]:
        """All of them, the oldest first."""
        return [RunRow(*row) for row in self.read("run", "true", order="id")]

    def run_named(self, name: str | None) -> RunRow | None:
        """The latest one, or the latest of that name; None where there is none."""
        return next((run for run in reversed(self.runs()) if name in (None, run.name)), None)

    def save_run(self, run: RunRow) -> None:
        """A new one, or changed."""
        self.db.execute("INSERT OR REPLACE INTO run VALUES (?,?,?,?,?,?,?)", sealed(msgspec.structs.astuple(run)))

    def progress_of(self, run: int) -> Progress:
        """How far it is."""
        return next((Progress(*row) for row in self.read("progress", "run = ?", (run,))), Progress(run))

    def save_progress(self, progress: Progress) -> None:
        """Within a transaction."""
        row = sealed(msgspec.structs.astuple(progress))
        self.db.execute("INSERT OR REPLACE INTO progress VALUES (?,?,?,?,?)", row)

    def check_presence(self) -> None:
        """Raises `Gone` where the file is not under its name any more."""
        self._presence.check()

    def forget_answers(self, run: int, first: int, last: int, before: float = math.inf) -> int:
        """Drop what calls answered of these rows, if it is older; that they answered stays. How many there were."""
        forget = (
            "UPDATE answer SET value = NULL, whole = 0, seal = seal(run, row, node, path, attempts, at, took, NULL, 0) "
            "WHERE run = ? AND row BETWEEN ? AND ? AND at < ? AND value NOT NULL"
        )
        return self.db.execute(forget, (run, first, last, before)).rowcount

    def number_of(self, name: str) -> int:
        """Of a node or a sink; a new one within a transaction."""
        number = self._names.get(name)
        if number is None:
            (number,) = self.db.execute("SELECT coalesce(max(id), 0) + 1 FROM name").fetchone()
            assert isinstance(number, int)
            self.db.execute("INSERT INTO name VALUES (?,?,?)", sealed((number, name)))
            self._names[name] = number
            self._by_number[number] = name
        return number

    def name_of(self, number: int) -> str:
        """Of a node or a sink."""
        name = self._by_number.get(number)
        if name is None:
            raise Damaged(f"it has no node {number}")
        return name

    def close(self) -> None:
        """Let go of it."""
        if hasattr(self, "db"):
            self.db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def damaged(path: str, error: object) -> ConfigError:
    """What a person is told of it."""
    return ConfigError(f"{path}: is damaged ({error}); nothing was changed. Restore it from a copy")


@contextmanager
def in_words(path: str) -> Iterator[None]:
    """What is wrong with a journal becomes a `ConfigError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: {wrong(error)}") from error
    except (Damaged, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def wrong(error: sqlite3.Error) -> str:
    """What is wrong with a journal, for people."""
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
