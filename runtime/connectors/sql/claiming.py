"""What is seen to before a table is written to: that it can be, that its rows are nobody else's, and that it is held."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from ...errors import ConfigError
from ..earlier_rows import check_none_is_interrupted, not_here, what_becomes
from ..part_file import IfExists
from ..port import RunInfo
from .notes import Notes
from .target import Target, check_journaled, check_key, count, has_rows, target_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, RowMapping

LOCK_S = 20
"""So long the lock of a table is waited for: a server takes a while to see that whoever held it was killed."""


class Wanted(msgspec.Struct, frozen=True):
    """What the user said of a sink. `name`: what it is called in messages."""

    name: str
    table: str
    key: tuple[str, ...]
    if_exists: IfExists | None


def settle(db: Connection) -> None:
    """What holds for this connection: times without a zone are UTC, what does not fit is refused, waits have an end."""
    if db.dialect.name == "postgresql":
        db.exec_driver_sql("SET TimeZone = 'UTC'")
        db.exec_driver_sql("SET lock_timeout = '55s'")
    else:
        db.exec_driver_sql("SET SESSION sql_mode = 'TRADITIONAL'")
        db.exec_driver_sql("SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 55")
    db.commit()


def take_lock(db: Connection, wanted: Wanted) -> None:
    """Hold the table for as long as the connection is there. Raises `ConfigError` where another run does."""
    import sqlalchemy as sa

    held = ConfigError(f"{wanted.name}: is being written by another run of Headrace; wait for its end, or stop it")
    name = f"headrace {wanted.table}".encode()
    if db.dialect.name == "postgresql":
        number = int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)
        db.exec_driver_sql(f"SET lock_timeout = '{LOCK_S}s'")
        try:
            db.execute(sa.text("SELECT pg_advisory_lock(:n)"), {"n": number})
        except sa.exc.OperationalError:
            db.rollback()
            raise held from None
        db.exec_driver_sql("SET lock_timeout = '55s'")
    else:
        told = {"name": blake2b(name, digest_size=16).hexdigest(), "s": LOCK_S}
        if not db.execute(sa.text("SELECT get_lock(concat(database(), '.', :name), :s)"), told).scalar():
            raise held
    db.commit()


def look_at_first(db: Connection, wanted: Wanted) -> None:
    """Whether the table can be written, as far as that is known before a run. Raises `ConfigError`."""
    shape = target_of(db, wanted.table, wanted.name)
    _check_rights(db, wanted.name, shape)
    if shape is not None and wanted.key:
        check_key(db, shape, wanted.key, wanted.name)


def look(db: Connection, notes: Notes, wanted: Wanted, run: RunInfo, place: object) -> None:
    """Whether the rows can be written; changes nothing. Raises `ConfigError`."""
    shape = target_of(db, wanted.table, wanted.name)
    before = notes.last() if notes.are_there() else None
    if place and (before is None or type(place) is not int or notes.find(place) is None or shape is None):
        raise ConfigError(not_here(wanted.name, place))
    _check_rights(db, wanted.name, shape)
    if run.journal is not None and db.dialect.name != "postgresql" and not wanted.key:
        raise ConfigError(
            f"{wanted.name}: in a run with a journal, say key=, by which its rows are known: {db.dialect.name} cannot tell"
            " otherwise which rows a run has written"
        )
    if shape is None:
        return
    if run.journal is not None:
        check_journaled(db, shape, wanted.name)
    if wanted.key:
        check_key(db, shape, wanted.key, wanted.name)
    if place or (before is not None and before["run"] == run.run and not before["complete"]):
        return
    check_none_is_interrupted(wanted.name, before, run)
    becomes(db, shape, wanted, run, before)


def _check_rights(db: Connection, name: str, shape: Target | None) -> None:
    import sqlalchemy as sa

    if db.dialect.name != "postgresql":
        return
    if db.execute(sa.text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'")).scalar():
        raise ConfigError(f"{name}: cannot be written: the database is read-only")
    if not db.execute(sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")).scalar():
        raise ConfigError(
            f"{name}: this user may not make tables in the schema, where Headrace notes what it has written: GRANT CREATE ON"
            " SCHEMA ... to it"
        )
    may = sa.text("SELECT has_table_privilege(:name, 'INSERT')")
    if shape is not None and not db.execute(may, {"name": shape.quoted}).scalar():
        raise ConfigError(f"{name}: cannot be written: this user has no right to INSERT into the table")


def becomes(db: Connection, shape: Target, wanted: Wanted, run: RunInfo, before: RowMapping | None) -> IfExists:
    """Of the rows that are there; "append" where there are none. Raises `ConfigError`."""
    if not has_rows(db, shape.quoted):
        return "append"
    ours = False
    if wanted.if_exists is None and before is not None and before["own"] and before["pipeline"] == run.pipeline:
        ours = before["n_rows"] == count(db, shape.quoted)
    return what_becomes(wanted.if_exists, wanted.name, run.pipeline, ours=ours)
