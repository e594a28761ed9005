"""Rows into a table of PostgreSQL, MySQL or MariaDB: with a journal, each row is in it exactly once.

It works as the sink for SQLite does: rows, how many they are, and what it takes to take them back (see `undo`) are
committed in one transaction, in tables beside the user's whose names begin with `headrace_`. So whatever was lost between
the commit here and the one in the journal, a resume finds the place that the journal knows, and takes back what this run
wrote after it, and nothing that anybody else wrote.

Rows that are to replace others are written to a table of their own with the same constraints, and take the place of the
others in one transaction at the end. Rows that are appended are there as they come. The table is held by a lock of the
database for as long as the run writes to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from headrace.actors.errors import InternalError

from ...errors import BadInput, ConfigError, UnwritableRows
from ..claims import SinkClaim
from ..earlier_rows import not_here
from ..part_file import IfExists, check_if_exists
from ..port import RunInfo, Written
from .address import Address
from .claiming import Wanted, becomes, look, look_at_first, settle, take_lock
from .faults import database_errors, failure, told
from .notes import ABSENT, EMPTY, WITH_ROWS, Notes
from .target import (
    OWN,
    Target,
    check_name,
    count,
    has_rows,
    made,
    made_like,
    moved,
    quoted,
    target_of,
)
from .undo import ByKey, ByTransaction, Undo
from .values import fault_of_first, plain_rows
from .writer import CopyWriter, TableWriter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, RowMapping

KEPT_MIN = 20_000
"""Rows that can be taken back, at least: a journal is never so far behind."""
KNOWN = ("postgresql", "mysql", "mariadb")


class SqlSink:
    """Writes rows into a table; the module and `sinks.sql` say how."""

    durable = True

    def __init__(
        self, url: str, table: str, *, key: Sequence[str] | str | None = None, if_exists: IfExists | None = None
    ) -> None:
        """Raises `ConfigError`."""
        self._address = address = Address(url)
        self.name = f"{address.shown}:{table}"
        if address.dialect not in KNOWN:
            raise ConfigError(
                f"{address.shown}: rows can be written to PostgreSQL, MySQL, MariaDB and SQLite, not to {address.dialect}"
            )
        check_name(table, address.shown)
        self._table = table
        self._key = (key,) if isinstance(key, str) else tuple(key or ())
        said = check_if_exists(self.name, if_exists)
        self._wanted = Wanted(self.name, table, self._key, said or ("append" if self._key else None))
        self._run = RunInfo()
        self._claim: SinkClaim | None = None
        self._engine: Engine | None = None
        self._db: Connection | None = None
        self._notes: Notes | None = None
        self._undo: Undo | None = None
        self._writer: TableWriter | None = None
        self._shape: Target | None = None
        self._at = table
        """The table that is written to, which may be one that is to take the place of the other."""
        self._found = ABSENT
        self._mode: IfExists = "append"
        self._n = self._forgotten = self._noted = 0
        self._told: Written | None = None

    # --- before anything is written ---

    def check(self) -> None:
        """Raise `ConfigError` where a look shows that the table cannot be written. Changes nothing."""
        engine = self._address.engine()
        with self._address.connect(engine) as db:
            try:
                look_at_first(db, self._wanted)
            except database_errors() as error:
                raise ConfigError(f"{self.name}: cannot be written: {told(error, self._address)}") from None

    def claim(self, run: RunInfo, place: object) -> SinkClaim:
        """Hold the table for this run. Raises `ConfigError`."""
        if self._claim is not None:
            raise ConfigError(f"{self.name}: is being written by another run of this process, with this very sink")
        self._engine = self._address.engine()
        db = self._address.connect(self._engine)
        try:
            settle(db)
            take_lock(db, self._wanted)
            self._notes = Notes(db, self._table, run)
            look(db, self._notes, self._wanted, run, place)
            db.rollback()
        except database_errors() as error:
            self._let_go(db)
            raise ConfigError(f"{self.name}: cannot be written: {told(error, self._address)}") from None
        except BaseException:
            self._let_go(db)
            raise
        self._db, self._run = db, run
        self._claim = claim = SinkClaim(self.name, lambda: self._let_go(self._db))
        return claim

    # --- opening ---

    def open(self) -> None:
        """Begin for a run without a journal: each batch of rows is in a transaction."""
        self._begin(None, journaled=False)

    def resume(self, place: Any) -> None:
        """Take back what was written after `place` rows; None: everything that this run wrote."""
        self._begin(place, journaled=True)

    def _begin(self, place: int | None, *, journaled: bool) -> None:
        claim = self._claim or self.claim(RunInfo(), place)
        claim.opened()
        self._told = None
        self._journaled = journaled
        try:
            self._start(self._open, place or 0)
        except BaseException as error:
            self._let_go(self._db)
            claim.closed(error)
            if isinstance(error, database_errors()):
                raise ConfigError(f"{self.name}: cannot be written: {told(error, self._address)}") from None
            raise

    def _start(self, db: Connection, place: int) -> None:
        notes = self._open_notes
        self._n = self._forgotten = place
        notes.make()
        db.commit()
        shape, before = target_of(db, self._table, self.name), notes.last()
        if before is not None and before["run"] == self._run.run and (place or not before["complete"]):
            self._go_on(db, place, before)
        else:
            self._start_anew(db, shape, before)
        if self._undo is not None and not place:
            notes.place(0, self._undo.last())
        self._noted = 0
        db.commit()

    def _watch(self, db: Connection, shape: Target) -> None:
        """From here on, rows are written to this table."""
        self._shape = shape
        copies = db.dialect.name == "postgresql" and not self._key
        if self._journaled:
            run = self._run.run
            self._undo = (
                ByTransaction(db, shape, self._table, run) if copies else ByKey(db, shape, self._key, self._table, run)
            )
        writer = CopyWriter if copies else TableWriter
        self._writer = writer(db, self._address, shape, self._key, self._undo)

    def _go_on(self, db: Connection, place: int, before: RowMapping) -> None:
        """This run has written here; what its journal does not know is taken back."""
        notes = self._open_notes
        self._at, self._found = before["target"], before["existed"]
        self._mode = "replace" if self._at != self._table else "append"
        shape = target_of(db, self._at, self.name)
        if shape is None:
            return
        self._watch(db, shape)
        note = notes.find(place)
        if note is None and not place:
            # A kill came after the table was made, which MySQL commits by itself, and before that was noted.
            note = 0
        if self._undo is None or note is None:
            raise ConfigError(not_here(self.name, place))
        gone = self._undo.take_back(note)
        notes.forget_after(note)
        notes.update(complete=0, n_rows=before["n_rows"] - gone)
        if not place and self._found == ABSENT and not has_rows(db, shape.quoted):
            # It was made of rows that may come otherwise.
            self._undo.forget_all()
            db.commit()
            shape.table.drop(db)
            self._shape = self._undo = self._writer = None

    def _start_anew(self, db: Connection, shape: Target | None, before: RowMapping | None) -> None:
        notes = self._open_notes
        self._at, self._mode, rows, own = self._table, "append", 0, True
        self._shape = self._undo = self._writer = None
        if shape is not None:
            self._mode = becomes(db, shape, self._wanted, self._run, before)
            rows = count(db, shape.quoted)
            own = not rows or (before is not None and bool(before["own"]) and before["n_rows"] == rows)
        self._found = ABSENT if shape is None else WITH_ROWS if rows else EMPTY
        staged = f"{OWN}part_{blake2b(self._table.encode(), digest_size=8).hexdigest()}"
        schema = shape.schema if shape is not None else None
        db.exec_driver_sql(f"DROP TABLE IF EXISTS {quoted(staged, schema, db.dialect.name)}")
        if rows and self._mode == "replace" and shape is not None:
            shape = made_like(db, shape, staged, self.name)
            self._at, rows, own = f"{schema}.{staged}" if schema else staged, 0, True
        notes.forget_all()
        if shape is not None:
            self._watch(db, shape)
            if self._undo is not None:
                self._undo.forget_all()
        notes.begin(self._at, rows, own=own, existed=self._found)

    # --- writing ---

    def write(self, items: list[Any]) -> None:
        db = self._open
        if not items:
            return
        try:
            if self._writer is None and not self._make_table(db, items):
                raise UnwritableRows(
                    {i: BadInput(f"{self.name}: {fault_of_first(item)}") for i, item in enumerate(items)}
                )
            if self._writer is None:
                raise InternalError("a table was made")
            n, faults = self._writer.write(items)
            self._n += n
            self._noted += n
            if not self._journaled:
                self._commit(db)
        except database_errors() as error:
            raise failure(error, self.name, self._address) from None
        if faults:
            raise UnwritableRows({i: BadInput(f"{self.name}: {fault}") for i, fault in faults.items()})

    def _make_table(self, db: Connection, items: list[object]) -> bool:
        rows = plain_rows(items)
        if self._key:
            rows = [row for row in rows if all(row.get(name) is not None for name in self._key)]
        if not rows:
            return False
        self._watch(db, made(db, self._table, self.name, rows, self._key))
        if self._undo is not None:
            # Notes of a table that was there before under this name.
            self._undo.forget_all()
            self._open_notes.forget_all()
            self._open_notes.place(0, self._undo.last())
        db.commit()
        return True

    def tell(self) -> int:
        """Rows written, which is noted beside them."""
        try:
            self._open_notes.place(self._n, self._undo.last() if self._undo is not None else 0)
        except database_errors() as error:
            raise failure(error, self.name, self._address) from None
        return self._n

    def sync(self) -> None:
        """Commit, so that what was written is durable."""
        db, undo = self._open, self._undo
        try:
            kept = max(KEPT_MIN, 4 * self._run.window)
            if undo is not None and self._n - self._forgotten > 2 * kept:
                note = self._open_notes.forget_before(self._n - kept)
                if note is not None:
                    undo.forget(note)
                self._forgotten = self._n - kept
            self._commit(db)
        except database_errors() as error:
            raise failure(error, self.name, self._address) from None

    def _commit(self, db: Connection) -> None:
        if self._noted and not self._key:
            # Of rows that are updated, nobody knows how many are new; they are counted at the end.
            last = self._open_notes.last()
            self._open_notes.update(n_rows=(last["n_rows"] if last is not None else 0) + self._noted)
            self._noted = 0
        db.commit()

    # --- the end ---

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Let go of the database; rows that are to replace others do so, if they are complete. Raises `OSError`."""
        db, claim = self._db, self._claim
        if db is None or claim is None:
            self._let_go(db)
            return
        failed: BaseException | None = None
        try:
            self._finish(db, complete=complete)
        except BaseException as error:
            is_theirs = isinstance(error, database_errors())
            failed = failure(error, self.name, self._address) if is_theirs else error
            self._told = self._unfinished()
        finally:
            self._let_go(db)
            claim.closed(failed if complete else None)
        if failed is not None:
            raise failed

    def _finish(self, db: Connection, *, complete: bool) -> None:
        if not complete:
            if not db.closed and not db.invalidated:
                db.rollback()
            self._told = self._unfinished()
            return
        notes, staged = self._open_notes, self._shape if self._at != self._table else None
        if staged is not None:
            self._take_the_place(db, staged)
        values: dict[str, object] = {"complete": 1, "target": self._table}
        if self._key and self._shape is not None:
            values["n_rows"] = count(db, (self._open_shape if staged is None else self._old(db)).quoted)
        notes.update(**values)
        self._commit(db)
        if staged is not None:
            staged.table.drop(db)
            db.commit()
        if self._n:
            what: Literal["created", "updated", "replaced", "appended"] = "created"
            if self._found == WITH_ROWS:
                what = "updated" if self._key else "replaced" if self._mode == "replace" else "appended"
            self._told = Written(self.name, what, self._found == WITH_ROWS)

    def _old(self, db: Connection) -> Target:
        found = target_of(db, self._table, self.name)
        if found is None:
            raise OSError(f"{self.name}: was removed while the run went on; the rows are in the table {self._at!r}")
        return found

    def _take_the_place(self, db: Connection, staged: Target) -> None:
        """Of the rows that were there before, in this transaction."""
        old = self._old(db)
        if list(old.columns) != list(staged.columns):
            raise OSError(f"{self.name}: was changed while the run went on; the rows are in the table {self._at!r}")
        try:
            whole = moved(db, staged, old)
        except database_errors() as error:
            db.rollback()
            why = told(error, self._address)
            raise OSError(f"{self.name}: does not take all rows ({why}); they are in the table {self._at!r}") from None
        if not whole:
            db.rollback()
            raise OSError(f"{self.name}: does not take all rows; they are in the table {self._at!r}")
        if self._undo is not None:
            self._undo.forget_all()

    def _unfinished(self) -> Written | None:
        at = f"{self._address.shown}:{self._at}"
        return Written(self.name, "unfinished", self._found == WITH_ROWS, at) if self._n else None

    def _let_go(self, db: Connection | None) -> None:
        engine, self._engine = self._engine, None
        self._db = self._claim = self._notes = self._undo = self._writer = self._shape = None
        try:
            if db is not None:
                db.close()
        except Exception:
            # A connection that is lost cannot be rolled back.
            if db is not None:
                db.invalidate()
        finally:
            if engine is not None:
                engine.dispose()

    def written(self) -> Written | None:
        """What was done to the table."""
        return self._told

    @property
    def _open(self) -> Connection:
        if self._db is None:
            raise InternalError("a sink is opened before it is written")
        return self._db

    @property
    def _open_notes(self) -> Notes:
        if self._notes is None:
            raise InternalError("a sink is claimed before it is opened")
        return self._notes

    @property
    def _open_shape(self) -> Target:
        if self._shape is None:
            raise InternalError("there is a table")
        return self._shape
