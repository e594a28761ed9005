"""What a run has written and may have to take back: the rows that its journal does not know of yet.

What is noted is written in the transaction of the rows themselves. PostgreSQL keeps in each row which transaction wrote it
(`xmin`), so where rows are only added, it is enough to note the transaction and how many rows it added; nothing is looked
up, and rows may come by COPY. Where rows are found by a key, their keys are noted, with what was there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import ConfigError
from .selection import chunks
from .target import OWN, Target, quoted

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_AT_ONCE = 500
"""Keys that are looked for in one statement."""


class Undo(Protocol):
    """Notes of one run on one table. `note`: a number that grows."""

    def note(self, keys: Sequence[tuple[object, ...]], n: int) -> None:
        """These rows are about to be written, `n` of them, in this transaction."""

    def last(self) -> int:
        """The number of the latest note."""

    def take_back(self, note: int) -> int:
        """Whatever was written after this note; how many rows were. Raises `ConfigError` where somebody changed them."""

    def forget(self, note: int) -> None:
        """This note and what is before it."""

    def forget_all(self) -> None:
        """All notes on the table, of any run."""


class ByTransaction:
    """Rows are known by the transaction that wrote them (PostgreSQL)."""

    def __init__(self, connection: Connection, target: Target, sink: str, run: str) -> None:
        import sqlalchemy as sa

        self._connection = connection
        self._target = target
        self._sink, self._run = sink, run
        made = sa.MetaData()
        self._notes = sa.Table(
            f"{OWN}transactions",
            made,
            sa.Column("id", sa.BigInteger, primary_key=True),
            sa.Column("sink", sa.Text, nullable=False),
            sa.Column("run", sa.Text, nullable=False),
            sa.Column("xid", sa.BigInteger, nullable=False),
            sa.Column("n_rows", sa.BigInteger, nullable=False),
        )
        made.create_all(connection)
        select = sa.select(sa.func.coalesce(sa.func.max(self._notes.c.id), 0)).where(self._here())
        self._last = int(connection.execute(select).scalar_one())

    def note(self, keys: Sequence[tuple[object, ...]], n: int) -> None:
        import sqlalchemy as sa

        values = {"sink": self._sink, "run": self._run, "xid": sa.func.txid_current(), "n_rows": n}
        insert = self._notes.insert().values(**values).returning(self._notes.c.id)
        self._last = int(self._connection.execute(insert).scalar_one())

    def last(self) -> int:
        return self._last

    def take_back(self, note: int) -> int:
        import sqlalchemy as sa

        after = sa.and_(self._here(), self._notes.c.id > note)
        found = self._connection.execute(sa.select(self._notes.c.xid, self._notes.c.n_rows).where(after)).all()
        if not found:
            return 0
        # Rows bear the lower half of a transaction's number.
        numbers = [int(xid) & 0xFFFFFFFF for xid, _ in found]
        delete = sa.text(f"DELETE FROM {self._target.quoted} WHERE xmin::text::bigint = ANY(:numbers)")
        gone = self._connection.execute(delete, {"numbers": numbers}).rowcount
        wrote = sum(int(n) for _, n in found)
        if gone != wrote:
            raise ConfigError(
                f"{self._sink}: this run had written {wrote:,} rows that are to be written anew, and {gone:,} of them are as"
                " it wrote them: others were changed or removed by somebody. Remove the rows of this run, and run again with"
                " a new journal"
            )
        self._connection.execute(self._notes.delete().where(after))
        return gone

    def forget(self, note: int) -> None:
        self._connection.execute(self._notes.delete().where(self._here(), self._notes.c.id <= note))

    def forget_all(self) -> None:
        self._connection.execute(self._notes.delete().where(self._notes.c.sink == self._sink))

    def _here(self) -> Any:
        import sqlalchemy as sa

        return sa.and_(self._notes.c.sink == self._sink, self._notes.c.run == self._run)


class ByKey:
    """Rows are known by a key. A table beside the user's has, for each row that was written, its key (`existed` 0) and, if
    it was there before, what it was (`existed` 1). Notes of one statement have one number, `g`."""

    def __init__(self, connection: Connection, target: Target, key: Sequence[str], sink: str, run: str) -> None:
        import sqlalchemy as sa

        self._connection = connection
        self._target = target
        self._key = tuple(key)
        self._sink, self._run = sink, run
        self._columns = list(target.columns)
        name = f"{OWN}undo_" + blake2b(sink.encode(), digest_size=8).hexdigest()
        self._make(name)
        schema = target.schema
        self._notes = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection)
        for i, column in enumerate(self._columns):
            # Values are bound as they are for the table itself.
            self._notes.c[f"c{i}"].type = target.table.c[column].type
        select = sa.select(sa.func.coalesce(sa.func.max(self._notes.c.g), 0)).where(self._notes.c.run == run)
        self._g = int(connection.execute(select).scalar_one())

    def _make(self, name: str) -> None:
        """The table, where it is not there, or has the columns of another one."""
        import sqlalchemy as sa

        connection, target = self._connection, self._target
        dialect, schema = connection.dialect.name, target.schema
        at = quoted(name, schema, dialect)
        looked = sa.inspect(connection)
        if looked.has_table(name, schema):
            names = [each["name"] for each in looked.get_columns(name, schema)]
            if set(names) == {"id", "run", "g", "existed", *(f"c{i}" for i in range(len(self._columns)))}:
                return
            own = sa.text(f"SELECT count(*) FROM {at} WHERE run = :run")
            # MySQL commits each of the statements below, so that a kill may have left some of the columns.
            if "run" in names and connection.execute(own, {"run": self._run}).scalar():
                raise ConfigError(f"{self._sink}: has other columns than when this run began; it was changed")
            connection.execute(sa.text(f"DROP TABLE {at}"))
        columns = ", ".join(f"t.{quoted(column, None, dialect)} AS c{i}" for i, column in enumerate(self._columns))
        # Of an outer join, so that none of them refuses to be empty.
        none = f"(SELECT 1 AS one) AS d LEFT JOIN {target.quoted} AS t ON 1 = 0 LIMIT 0"
        connection.execute(sa.text(f"CREATE TABLE {at} AS SELECT {columns} FROM {none}"))
        number = "bigint auto_increment primary key"
        if dialect == "postgresql":
            number = "bigint generated by default as identity primary key"
        for column in (f"id {number}", "run varchar(64) NOT NULL", "g bigint NOT NULL", "existed int NOT NULL"):
            connection.execute(sa.text(f"ALTER TABLE {at} ADD COLUMN {column}"))
        index = quoted(f"{name}_by_run", None, dialect)
        connection.execute(sa.text(f"CREATE INDEX {index} ON {at} (run, g)"))

    def note(self, keys: Sequence[tuple[object, ...]], n: int) -> None:
        import sqlalchemy as sa

        self._g += 1
        table, notes = self._target.table, self._notes
        at = [self._columns.index(name) for name in self._key]
        names = ["run", "g", "existed", *(f"c{i}" for i in range(len(self._columns)))]
        columns = [table.c[name] for name in self._key]
        for some in chunks(list(dict.fromkeys(keys)), _AT_ONCE):
            if len(columns) == 1:
                where = columns[0].in_([key[0] for key in some])
            else:
                where = sa.tuple_(*columns).in_(some)
            before = sa.select(
                sa.literal(self._run), sa.literal(self._g), sa.literal(1), *(table.c[name] for name in self._columns)
            ).where(where)
            self._connection.execute(notes.insert().from_select(names, before.with_for_update()))
            told = {"run": self._run, "g": self._g, "existed": 0}
            rows = [told | {f"c{i}": value for i, value in zip(at, key, strict=True)} for key in some]
            insert = notes.insert()
            if self._connection.dialect.name == "postgresql":
                # Sent as one statement, and not as many in a pipeline.
                insert = insert.returning(notes.c.id)
            self._connection.execute(insert, rows)

    def last(self) -> int:
        return self._g

    def take_back(self, note: int) -> int:
        import sqlalchemy as sa

        table, notes = self._target.table, self._notes
        mine = notes.c.run == self._run
        groups = self._connection.execute(sa.select(notes.c.g).where(mine, notes.c.g > note).distinct()).scalars().all()
        gone = 0
        for g in sorted(groups, reverse=True):

            def of(existed: int, g: int = g) -> Any:
                same = [table.c[name] == notes.c[f"c{self._columns.index(name)}"] for name in self._key]
                return sa.and_(mine, notes.c.g == g, notes.c.existed == existed, *same)

            others = [name for name in self._columns if name not in self._key and name not in self._target.always]
            was = sa.exists(sa.select(sa.literal(1)).select_from(notes).where(of(1)).correlate(table))
            is_ours = sa.exists(sa.select(sa.literal(1)).select_from(notes).where(of(0)).correlate(table))
            if others:
                old = {
                    name: sa.select(notes.c[f"c{self._columns.index(name)}"])
                    .where(of(1))
                    .limit(1)
                    .correlate(table)
                    .scalar_subquery()
                    for name in others
                }
                self._connection.execute(table.update().where(was).values(old))
            gone += self._connection.execute(table.delete().where(is_ours, sa.not_(was))).rowcount
        self._connection.execute(notes.delete().where(mine, notes.c.g > note))
        return gone

    def forget(self, note: int) -> None:
        self._connection.execute(self._notes.delete().where(self._notes.c.run == self._run, self._notes.c.g <= note))

    def forget_all(self) -> None:
        self._connection.execute(self._notes.delete())
