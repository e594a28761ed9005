"""The file that journals are in: one SQLite database, embedded, in WAL mode, synced at each commit.

Who holds the file is a lock that dies with its process (L36), never a word in a table. SQLite sees where its own
structures are damaged, and has no checksums of what is in them. So each row ends with its own, which begins with a salt
of the file, for a row of another journal's; and `progress` tells of each table how many rows a run has there and what
their checksums add up to, so that rows that are missing, or there twice, are told too (L64).
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from headrace.actors.errors import InternalError
from headrace.runtime.connectors.file_presence import Presence
from headrace.runtime.errors import ConfigError

from ..mistakes import Damaged, damaged, in_words
from .schema import ADDED, APPLICATION, BEFORE, KEYS, LATER, MARKS, ROW_KEY, SCHEMA, STATEMENTS, TALLIED, VERSION
from .wal import lost_commits

CHECKED_BYTES = 1 << 30
"""A file up to this size is looked through whole before a run goes on with it: a second for each million of answers. Of
a larger one, answers of rows that are done are not looked at again."""

_HALF = 1 << 31
"""Less than that, a checksum takes four bytes in SQLite."""
_pack = msgspec.msgpack.Encoder().encode
_KINDS = {
    stat.S_ISDIR: "is a folder",
    stat.S_ISFIFO: "is a named pipe",
    stat.S_ISCHR: "is a device",
    stat.S_ISBLK: "is a device",
    stat.S_ISSOCK: "is a socket",
}


class RunRow(msgspec.Struct, frozen=True):
    """A run, as its table has it. `key` begins the keys of its calls. `origin`: the file that describes it; `folder`:
    where it was run; `home`: the folder of the journal then, from which the others are found again when all have moved."""

    id: int
    key: str
    name: str
    began: float
    fingerprint: str
    origin: str | None
    folder: str | None = None
    home: str | None = None


class Progress(msgspec.Struct):
    """How far a run is: all rows before `mark` are done; the rows of a batch are less than `reach` apart; there are `total`
    rows, once the source has said its end. `tally`: of tables, the number of rows and the sum of their checksums."""

    run: int
    mark: int = 0
    reach: int = 0
    total: int | None = None
    tally: dict[str, tuple[int, int]] = {}


class JournalFile:
    """The file: opened, locked, and known to be a journal of this version. Raises `ConfigError` where it is not."""

    def __init__(self, path: str, *, new: bool = True, write: bool = True) -> None:
        """`new`: it may begin here. `write`: hold the lock; else only look."""
        self.path = path
        self._lock: int | None = None
        self._seeds: dict[str, int] = {}
        # Under one name, whatever links there are to it.
        self._real = os.path.realpath(path)
        fresh = self._is_fresh(new)
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
            raise ConfigError(f"{path}: the folder {str(Path(path).parent)!r} does not exist") from None
        except (OSError, sqlite3.Error) as error:
            self.close()
            what = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{path}: the journal cannot be opened: {what}; it and its folder must be readable and writable"
            ) from None
        except BaseException:
            self.close()
            raise
        try:
            with in_words(path):
                if lost:
                    raise Damaged(f"{lost} commits in its log {Path(self._real).name}-wal are not what was written")
                self._begin(write)
                self._names: dict[str, int] = {name: id_ for id_, name in self.read("name", "true")}
                self._presence = Presence(self._real)
        except BaseException:
            self.close()
            raise
        self._by_number = {number: name for name, number in self._names.items()}

    def _is_fresh(self, new: bool) -> bool:
        """Whether there is no file yet. Raises `ConfigError` where what is there can be no journal."""
        try:
            found = os.stat(self._real)
        except FileNotFoundError:
            if not new:
                raise ConfigError(f"{self.path}: no such journal") from None
            return True
        except OSError as error:
            raise ConfigError(f"{self.path}: the journal cannot be opened: {error.strerror}") from None
        for is_kind, what in _KINDS.items():
            if is_kind(found.st_mode):
                raise ConfigError(f"{self.path}: {what}, not a journal; name a file")
        if found.st_nlink > 1:
            raise ConfigError(
                f"{self.path}: has {found.st_nlink} names (hard links), and what is not yet in the file is kept "
                f"beside one of them; copy it, and name the copy"
            )
        if not found.st_size and not new:
            raise ConfigError(f"{self.path}: is empty; no run was begun in it")
        return False

    def _hold(self) -> None:
        """A lock that dies with the process; on a file of its own, for SQLite has its own locks on the journal."""
        self._lock = os.open(self._real + ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{self.path}: another process is running with this journal; wait for its end, or stop it"
            ) from None

    def _begin(self, write: bool) -> None:
        db = self.db
        db.create_function("seal_answer", -1, lambda *row: self._seal("answer", row), deterministic=True)
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
            raise ConfigError(f"{self.path}: is a database, but not a journal of Headrace; name another file")
        elif version not in (BEFORE, VERSION):
            use = "a newer one" if version > VERSION else "the one that began it, or begin a new journal"
            raise ConfigError(
                f"{self.path}: is a journal of version {version}, and this Headrace reads version {VERSION}: use {use}"
            )
        made_as = STATEMENTS if self._has_later else STATEMENTS - ADDED
        if {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")} != made_as:
            raise Damaged("its tables are not what they were made as")
        (salt,) = db.execute("SELECT salt FROM about WHERE id = 1").fetchone() or (None,)
        if not isinstance(salt, int):
            raise Damaged("it has no salt")
        self._seeds = {table: crc32(table.encode(), salt & 0xFFFFFFFF) for table in MARKS}
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
    def _has_later(self) -> bool:
        """It is of the version that has all tables. Asked each time, for another process may have made it so."""
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        return bool(version == VERSION)

    def add_later(self) -> None:
        """Have all tables of this version. Within a transaction."""
        if not self._has_later:
            for statement in ADDED:
                self.db.execute(statement)
            self.db.execute(f"PRAGMA user_version = {VERSION}")

    @property
    def is_small(self) -> bool:
        """It is looked through whole before anything is written to it."""
        return os.path.getsize(self._real) <= CHECKED_BYTES

    # --- rows of tables ---

    def _seal(self, table: str, row: tuple[object, ...]) -> int:
        return crc32(_pack(row), self._seeds[table]) - _HALF

    def sealed(self, table: str, row: tuple[object, ...]) -> tuple[Any, ...]:
        """A row of a table, with the checksum that it ends with. Numbers in columns of type REAL must be floats."""
        return (*row, crc32(_pack(row), self._seeds[table]) - _HALF)

    def all_sealed(self, table: str, rows: Iterable[tuple[object, ...]]) -> list[tuple[Any, ...]]:
        """Rows with their seals, as `sealed` gives one."""
        seed, pack, half = self._seeds[table], _pack, _HALF
        return [(*row, crc32(pack(row), seed) - half) for row in rows]

    def put(self, table: str, row: tuple[object, ...]) -> None:
        """A row of a table that is not tallied; one with the same key is replaced."""
        self.db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({MARKS[table]})", self.sealed(table, row))

    def read(
        self, table: str, where: str, values: Iterable[object] = (), order: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a table, whole but for their checksums. Raises `Damaged` where one is not what was written."""
        if table in LATER and not self._has_later:
            return
        select = f"SELECT * FROM {table} WHERE {where}" + (f" ORDER BY {order}" if order else "")
        seed = self._seeds[table]
        for row in self.db.execute(select, tuple(values)):
            if crc32(_pack(row[:-1]), seed) - _HALF != row[-1]:
                raise Damaged(f"a row of its table {table!r}, {row[:4]}, is not what was written")
            yield row[:-1]

    def read_all(
        self, table: str, run: int, where: str = "true", values: Iterable[Any] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a run, found by looking at every row of the table: no way within its structure that was damaged can
        hide one. As `read`, in the order in which the table has them."""
        yield from self.read(table, f"+run = ? AND {where}", (run, *values))

    def check_tally(self, run: int, tables: Iterable[str] = TALLIED) -> None:
        """Whether a run has as many rows in these tables as were written, and the same ones. Raises `Damaged`."""
        tally = self.progress_of(run).tally
        for table in tables:
            n, total = tally.get(table, (0, 0))
            if table in LATER and not n and not self._has_later:
                continue
            select = f"SELECT count(*), coalesce(sum(seal), 0) FROM {table} NOT INDEXED WHERE +run = ?"
            there, adds = self.db.execute(select, (run,)).fetchone()
            if there != n:
                raise Damaged(f"its table {table!r} has {there:,} rows of the run, and {n:,} were written")
            if adds != total:
                raise Damaged(f"a row of its table {table!r} is not what was written")

    def check_around(self, table: str, run: int, floor: int) -> None:
        """Whether what stands just before and just after the rows of a run from `floor` on is what was written: else it may
        have been one of them. Raises `Damaged`. The table is ordered by run and row."""
        for _ in self.read(
            table, "(run, row) < (?, ?)", (run, floor), "run DESC, row DESC, node DESC, path DESC LIMIT 1"
        ):
            pass
        for _ in self.read(table, "run > ?", (run,), "run, row, node, path LIMIT 1"):
            pass

    def remove(self, progress: Progress, table: str, key: tuple[object, ...]) -> bool:
        """Delete the row with this key (see `KEYS`) from a table that is tallied; whether there was one. Within a
        transaction; `progress` is to be saved after it."""
        where = " AND ".join(f"{column} = ?" for column in KEYS.get(table, ROW_KEY))
        found = self.db.execute(f"SELECT seal FROM {table} WHERE {where}", key).fetchone()
        if found is None:
            return False
        self.db.execute(f"DELETE FROM {table} WHERE {where}", key)
        n, adds = progress.tally[table]
        progress.tally[table] = n - 1, adds - found[0]
        return True

    def add(self, progress: Progress, table: str, row: tuple[object, ...]) -> None:
        """A row of a table that is tallied. Within a transaction; `progress` is to be saved after it."""
        sealed = self.sealed(table, row)
        self.db.execute(f"INSERT INTO {table} VALUES ({MARKS[table]})", sealed)
        n, adds = progress.tally.get(table, (0, 0))
        progress.tally[table] = n + 1, adds + sealed[-1]

    # --- runs ---

    def runs(self) -> list[RunRow]:
        """All of them, the oldest first."""
        return sorted((RunRow(*row) for row in self.read("run", "true")), key=lambda run: run.id)

    def run_named(self, name: str | None) -> RunRow | None:
        """The latest one, or the latest of that name; None where there is none."""
        return next((run for run in reversed(self.runs()) if name in (None, run.name)), None)

    def save_run(self, run: RunRow) -> None:
        """Write down a run that is new, or was changed."""
        self.put("run", msgspec.structs.astuple(run))

    def progress_of(self, run: int) -> Progress:
        """How far a run has come."""
        for id_, mark, reach, total, tally in self.read("progress", "+run = ?", (run,)):
            told = msgspec.msgpack.decode(tally, type=dict[str, tuple[int, int]])
            return Progress(id_, mark, reach, total, told)
        return Progress(run)

    def save_progress(self, progress: Progress) -> None:
        """Write down how far a run has come; within a transaction."""
        *rest, tally = msgspec.structs.astuple(progress)
        self.put("progress", (*rest, _pack(tally)))

    def lives_of(self, run: int) -> list[tuple[int, float, float | None, str | None]]:
        """(number, begun, ended, state) of each, the oldest first. Raises `Damaged` where one is missing."""
        lives = sorted((n, began, ended, state) for _, n, began, ended, state in self.read_all("life", run))
        if [n for n, *_ in lives] != list(range(1, len(lives) + 1)):
            raise Damaged("a row of its table 'life' is missing")
        return lives

    def spent_by_life(self, run: int) -> tuple[dict[str, float], ...]:
        """What the calls of each life say that they took, by unit, the oldest first."""
        found: list[dict[str, float]] = [{} for _ in self.lives_of(run)]
        for _, life, _, amounts in self.read_all("spent", run):
            spent = found[life - 1]
            for unit, amount in msgspec.msgpack.decode(amounts, type=dict[str, float]).items():
                spent[unit] = spent.get(unit, 0.0) + amount
        return tuple(found)

    def save_life(self, run: int, n: int, began: float, ended: float | None = None, state: str | None = None) -> None:
        """A new one, or its end."""
        self.put("life", (run, n, began, ended, state))

    def drop_life(self, run: int, n: int) -> None:
        """Of the last one, in which nothing was done."""
        self.db.execute("DELETE FROM life WHERE run = ? AND n = ?", (run, n))

    def check_presence(self) -> None:
        """Raises `Gone` where the file is not under its name any more."""
        self._presence.check()

    def forget_answers(
        self, progress: Progress, first: int, last: int, before: float = math.inf, node: int = -1
    ) -> int:
        """Drop what calls answered of these rows, if it is older, and if `node` is given, only there; that they
        answered stays. How many there were. Within a transaction; `progress` is to be saved after it."""
        where = "run = ? AND row BETWEEN ? AND ? AND at < ? AND value NOT NULL AND ? IN (-1, node)"
        which = (progress.run, first, last, before, node)
        empty = "seal_answer(run, row, node, path, attempts, at, took, NULL, 0)"
        n, change = self.db.execute(f"SELECT count(*), sum({empty} - seal) FROM answer WHERE {where}", which).fetchone()
        if n:
            self.db.execute(f"UPDATE answer SET value = NULL, whole = 0, seal = {empty} WHERE {where}", which)
            there, total = progress.tally.get("answer", (0, 0))
            progress.tally["answer"] = there, total + change
        return int(n)

    def forget_given(self, progress: Progress) -> None:
        """Rows that are read are not compared with those of earlier lives any more. Within a transaction; `progress` is
        to be saved after it."""
        self.db.execute("DELETE FROM given WHERE run = ?", (progress.run,))
        progress.tally.pop("given", None)

    # --- names ---

    @property
    def numbers(self) -> Mapping[str, int]:
        """Of all nodes and sinks that it knows."""
        return self._names

    def number_of(self, name: str) -> int:
        """Of a node or a sink; a new one within a transaction."""
        number = self._names.get(name)
        if number is None:
            (number,) = self.db.execute("SELECT coalesce(max(id), 0) + 1 FROM name").fetchone()
            if not isinstance(number, int):
                raise InternalError("a number of rows is a number")
            self.put("name", (number, name))
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
        """Close the file."""
        if hasattr(self, "db"):
            self.db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


__all__ = ["CHECKED_BYTES", "Damaged", "JournalFile", "Progress", "RunRow", "damaged", "in_words"]
