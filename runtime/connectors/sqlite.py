"""Rows into a table of an SQLite database: with a journal, each row is in it exactly once.

Rows, how many they are, and what it takes to take them back (see `sqlite_undo`) are committed in one transaction, in
tables beside the user's whose names begin with `headrace_`. So whatever was lost between the commit here and the one in the
journal, a resume finds the place that the journal knows, and takes back what this run wrote after it, and nothing that
anybody else wrote.

Rows that are to replace others are written to a table of their own with the same constraints, which costs writing them
twice, and take the place of the others in one transaction at the end. Rows that are appended are there as they come.

A row that the table refuses is that row's fault. A database that others write to is waited for.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from headrace.actors.errors import InternalError
from headrace.runtime.errors import BadInput, ConfigError, UnwritableRows

from .claims import SinkClaim
from .earlier_rows import check_none_is_interrupted, not_here, what_becomes
from .file_identity import FileUse, StrPath, checked_path
from .file_lock import FileLock, holder
from .file_presence import Presence
from .part_file import IfExists, check_if_exists
from .port import RunInfo, Written
from .sqlite_shape import OWN, Shape, check_key, check_name, count, fold, made_like, moved, quoted, shape_of
from .sqlite_undo import NOTES, Undo, check_known_again, note_of
from .sqlite_writer import TableWriter, failure

BUSY_S = 55.0
"""So long another program is waited for that writes to the database; opening a sink may take a minute."""
KEPT_MIN = 20_000
"""Rows that can be taken back, at least: a journal is never so far behind."""
_ABSENT, _EMPTY, _WITH_ROWS = range(3)
"""What a table was when the run began."""


class SqliteSink:
    """Writes rows into a table; the module and `sinks.sqlite` say how."""

    durable = True

    def __init__(
        self, path: StrPath, table: str, *, key: Sequence[str] | None = None, if_exists: IfExists | None = None
    ) -> None:
        """Raises `ConfigError`."""
        self.path = checked_path(path)
        self.name = f"{self.path}:{table}"
        check_name(self.path, table)
        self._table = table
        self._sink = fold(table)
        self._key = (key,) if isinstance(key, str) else tuple(key or ())
        said = check_if_exists(self.name, if_exists)
        self._if_exists: IfExists | None = said or ("append" if self._key else None)
        self._run = RunInfo()
        self._claim: SinkClaim | None = None
        self._lock: FileLock | None = None
        self._db: sqlite3.Connection | None = None
        self._presence: Presence | None = None
        self._undo: Undo | None = None
        self._shape: Shape | None = None
        self._target = table
        self._found = _ABSENT
        self._mode: IfExists = "append"
        self._n = self._forgotten = 0
        self._noted = 0
        self._writer: TableWriter | None = None
        self._told: Written | None = None

    # --- before anything is written ---

    def files(self) -> list[FileUse]:
        """The database, of which it writes a table."""
        if not self._in_a_file:
            return []
        real = os.path.realpath(self.path)
        beside = [FileUse(f"{real}{end}", "write", self._sink) for end in ("-wal", "-shm", "-journal")]
        return [FileUse(self.path, "write", self._sink), *beside, FileUse(self._lock_path, "write", self._sink)]

    @property
    def _in_a_file(self) -> bool:
        return self.path not in (":memory:", "")

    @property
    def _lock_path(self) -> str:
        name = re.sub(r"[^a-z0-9_-]", "_", self._sink)[:40]
        if name != self._sink:
            name += "-" + blake2b(self._sink.encode(), digest_size=4).hexdigest()
        return f"{os.path.realpath(self.path)}.{name}.lock"

    def claim(self, run: RunInfo, place: object) -> SinkClaim:
        """Hold the table for this run. Raises `ConfigError`."""
        if self._claim is not None:
            raise ConfigError(f"{self.name}: is being written by another run of this process, with this very sink")
        lock = self._take_lock(run)
        try:
            if self._in_a_file and os.path.exists(self.path):
                with contextlib.closing(self._connected()) as db:
                    self._look(db, run, place)
            elif place:
                raise ConfigError(not_here(self.name, place))
        except sqlite3.Error as error:
            self._release(lock)
            raise ConfigError(f"{self.path}: cannot be written as a database: {error}") from None
        except BaseException:
            self._release(lock)
            raise
        self._lock, self._run = lock, run
        self._claim = claim = SinkClaim(self.name, self._unclaim)
        return claim

    def _take_lock(self, run: RunInfo) -> FileLock | None:
        if not self._in_a_file:
            return None
        if os.path.isdir(self.path):
            raise ConfigError(f"{self.path}: is a folder, not a database")
        if not os.path.isdir(os.path.dirname(os.path.realpath(self.path))):
            raise ConfigError(f"{self.path}: the folder {str(Path(self.path).parent)!r} does not exist")
        if os.path.exists(self.path) and not os.access(self.path, os.W_OK):
            raise ConfigError(f"{self.path}: cannot be written: Permission denied")
        who = holder(run.pipeline, run.run, run.journal)
        try:
            lock = FileLock.take(self._lock_path, self.name, who)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error
        lock.write(who)
        return lock

    def _release(self, lock: FileLock | None) -> None:
        if lock is not None:
            lock.release(keep=False)

    def _unclaim(self) -> None:
        lock, self._lock, self._claim = self._lock, None, None
        self._release(lock)

    def _look(self, db: sqlite3.Connection, run: RunInfo, place: object) -> None:
        """Whether the rows can be written; changes nothing. Raises `ConfigError`."""
        shape = shape_of(db, self._table, self.name)
        before = note_of(db, self._sink)
        if place and (
            type(place) is not int or Undo(db, self._sink, run.run).find_place(place) is None or shape is None
        ):
            raise ConfigError(not_here(self.name, place))
        if shape is None:
            return
        if run.journal is not None:
            check_known_again(shape, self.name)
        if self._key:
            check_key(db, shape, self._key, self.name)
        if place or (before is not None and before["run"] == run.run and not before["complete"]):
            return
        check_none_is_interrupted(self.name, before, run)
        self._what_becomes(db, shape, run, before)

    def _what_becomes(
        self, db: sqlite3.Connection, shape: Shape, run: RunInfo, before: dict[str, object] | None
    ) -> IfExists:
        """Of what is in the table; "append" where there is nothing. Raises `ConfigError`."""
        if db.execute(f"SELECT 1 FROM {quoted(shape.name)} LIMIT 1").fetchone() is None:
            return "append"
        ours = False
        if self._if_exists is None and before is not None and before["own"] and before["pipeline"] == run.pipeline:
            ours = before["rows"] == count(db, shape.name)
        return what_becomes(self._if_exists, self.name, run.pipeline, ours=ours)

    # --- opening ---

    def open(self) -> None:
        """Begin for a run without a journal: all rows are in one transaction."""
        self._begin(None, journaled=False)

    def resume(self, place: Any) -> None:
        """Take back what was written after `place` rows; None: everything that this run wrote."""
        self._begin(place, journaled=True)

    def _begin(self, place: int | None, *, journaled: bool) -> None:
        claim = self._claim or self.claim(RunInfo(), place)
        claim.opened()
        self._told = None
        try:
            self._db = db = self._connected()
            self._undo = Undo(db, self._sink, self._run.run) if journaled else None
            self._start(db, place or 0)
            # A database in memory has no file.
            self._presence = Presence(self.path) if self._in_a_file else None
        except BaseException as error:
            self._let_go()
            claim.closed(error)
            if isinstance(error, sqlite3.Error):
                raise ConfigError(f"{self.path}: cannot be written as a database: {error}") from None
            raise

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)

    def _start(self, db: sqlite3.Connection, place: int) -> None:
        self._n = self._forgotten = place
        db.execute("BEGIN IMMEDIATE")
        for statement in NOTES.split(";")[:-1]:
            db.execute(statement)
        shape, before = shape_of(db, self._table, self.name), note_of(db, self._sink)
        ours = before is not None and before["run"] == self._run.run and (place or not before["complete"])
        if ours and before is not None:
            self._go_on(db, place, before)
        else:
            self._start_anew(db, shape)
        if self._undo is not None:
            if self._shape is not None:
                self._undo.watch(self._shape, self._target)
            if not place:
                self._undo.note_place(0)
        self._noted = 0
        db.execute("COMMIT")
        self._writer = TableWriter(db, self.name, self._target, self._shape, self._key, self._undo)

    def _go_on(self, db: sqlite3.Connection, place: int, before: dict[str, Any]) -> None:
        """This run has written here; what its journal does not know is taken back."""
        self._target, self._found = before["target"], before["existed"]
        self._mode = "replace" if self._target != self._table else "append"
        self._shape = shape_of(db, self._target, self.name)
        note = self._undo.find_place(place) if self._undo is not None else None
        if self._shape is None:
            return
        if self._undo is None or note is None:
            raise ConfigError(not_here(self.name, place))
        had = count(db, self._target)
        self._undo.take_back(self._shape, self._target, note)
        now = count(db, self._target)
        if not place and not now and self._found == _ABSENT:
            # It was made of a row that may come otherwise.
            db.execute(f"DROP TABLE {quoted(self._shape.name)}")
            self._shape = None
        db.execute("UPDATE headrace_outputs SET complete = 0, rows = rows - ? WHERE sink = ?", (had - now, self._sink))

    def _start_anew(self, db: sqlite3.Connection, shape: Shape | None) -> None:
        before = note_of(db, self._sink)
        self._target, self._shape, self._mode = self._table, shape, "append"
        rows, own = 0, 1
        if shape is not None:
            self._target = shape.name
            self._mode = self._what_becomes(db, shape, self._run, before)
            rows = count(db, shape.name)
            own = int(not rows or (before is not None and bool(before["own"]) and before["rows"] == rows))
        self._found = _ABSENT if shape is None else _WITH_ROWS if rows else _EMPTY
        staged = f"{OWN}part {self._sink}"
        db.execute(f"DROP TABLE IF EXISTS {quoted(staged)}")
        if self._undo is not None:
            self._undo.forget_others(places=False)
            self._undo.forget_own()
        if rows and self._mode == "replace" and shape is not None:
            made_like(db, shape, staged)
            self._target, self._shape = staged, shape_of(db, staged, self.name)
            rows, own = 0, 1
        run = self._run
        db.execute(
            "INSERT OR REPLACE INTO headrace_outputs VALUES (?,?,?,?,?,?,?,0,?)",
            (self._sink, run.pipeline, run.run, run.journal, self._target, rows, own, self._found),
        )

    # --- writing ---

    def write(self, items: list[Any]) -> None:
        db, writer = self._open, self._writer
        if not items:
            return
        if writer is None:
            raise InternalError("the sink is open")
        try:
            n, faults = writer.write(items)
            self._n += n
            self._noted += n
            if self._undo is None:
                self._commit(db)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if faults:
            raise UnwritableRows({i: BadInput(f"{self.name}: {fault}") for i, fault in faults.items()})

    def _failed(self, error: sqlite3.Error) -> Exception:
        return failure(error, self.name, BUSY_S)

    def tell(self) -> int:
        """Rows written, which is noted beside them."""
        db, undo = self._open, self._undo
        if undo is None:
            raise InternalError("a sink tells its place in a run with a journal")
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        undo.note_place(self._n)
        return self._n

    def sync(self) -> None:
        """Commit the transaction, so that what was written is durable."""
        db, undo = self._open, self._undo
        try:
            kept = max(KEPT_MIN, 4 * self._run.window)
            if undo is not None and self._n - self._forgotten > 2 * kept and db.in_transaction:
                undo.forget(self._n - kept)
                self._forgotten = self._n - kept
            self._commit(db)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _commit(self, db: sqlite3.Connection) -> None:
        if not db.in_transaction:
            return
        if self._noted:
            # Of rows that are updated, nobody knows how many are new.
            rows = str(count(db, self._target)) if self._key else f"rows + {self._noted}"
            db.execute(f"UPDATE headrace_outputs SET rows = {rows} WHERE sink = ?", (self._sink,))
            self._noted = 0
        db.execute("COMMIT")
        if self._presence is not None:
            self._presence.check()

    # --- the end ---

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Let go of the database; rows that are to replace others do so, if they are complete. Raises `OSError`."""
        db, claim = self._db, self._claim
        if db is None or claim is None:
            self._let_go()
            return
        failed: BaseException | None = None
        try:
            self._finish(db, complete=complete)
        except BaseException as error:
            failed = self._failed(error) if isinstance(error, sqlite3.Error) else error
            self._told = self._unfinished()
        finally:
            self._let_go()
            claim.closed(failed if complete else None)
        if failed is not None:
            raise failed

    def _finish(self, db: sqlite3.Connection, *, complete: bool) -> None:
        if not complete:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._told = self._unfinished()
            return
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        if self._target.startswith(OWN):
            self._take_the_place(db)
        db.execute("UPDATE headrace_outputs SET complete = 1 WHERE sink = ?", (self._sink,))
        self._commit(db)
        if self._n:
            what: Literal["created", "updated", "replaced", "appended"] = "created"
            if self._found == _WITH_ROWS:
                what = "updated" if self._key else "replaced" if self._mode == "replace" else "appended"
            self._told = Written(self.name, what, self._found == _WITH_ROWS)

    def _take_the_place(self, db: sqlite3.Connection) -> None:
        """Of the rows that were there before, in this transaction."""
        new, shape = self._shape, shape_of(db, self._table, self.name)
        if shape is None or new is None or shape.columns != new.columns:
            raise OSError(f"{self.name}: was changed while the run went on; the rows are in the table {self._target!r}")
        if self._undo is not None:
            self._undo.watch_no_more()
        if not moved(db, new, shape):
            raise OSError(f"{self.name}: does not take all rows; they are in the table {self._target!r}")
        db.execute("UPDATE headrace_outputs SET target = ? WHERE sink = ?", (shape.name, self._sink))
        if self._undo is not None:
            self._undo.forget_others(places=True)

    def _unfinished(self) -> Written | None:
        at = f"{self.path}:{self._target}"
        return Written(self.name, "unfinished", self._found == _WITH_ROWS, at) if self._n else None

    def _let_go(self) -> None:
        db, lock = self._db, self._lock
        self._db = self._presence = self._lock = self._claim = self._undo = self._writer = None
        try:
            if db is not None:
                db.close()
        finally:
            self._release(lock)

    def written(self) -> Written | None:
        """What was done to the table."""
        return self._told

    @property
    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise InternalError("a sink is opened before it is written")
        return self._db
