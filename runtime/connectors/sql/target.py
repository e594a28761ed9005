"""A table that rows are written to: its columns, how one of its rows is known, and how it is made where it is not there."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...text import visible
from .selection import reflected, table_parts

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

OWN = "headrace_"
"""What the tables begin with that Headrace keeps in a database, beside the user's."""


class Target:
    """A table. `columns`: those that can be written, by name; `table`: as SQLAlchemy has it."""

    def __init__(self, table: Any, dialect: str) -> None:
        self.table = table
        self.schema: str | None = table.schema
        self.columns: dict[str, Any] = {c.name: c for c in table.columns if c.computed is None}
        for column in self.columns.values():
            if hasattr(column.type, "none_as_null"):
                column.type.none_as_null = True
        self.always = [c.name for c in table.columns if c.identity is not None and c.identity.always]
        """Columns that PostgreSQL numbers itself, and takes no value for without being told to."""
        self._dialect = dialect

    @property
    def quoted(self) -> str:
        """The table, as it stands in a statement."""
        return quoted(self.table.name, self.schema, self._dialect)


def quoted(name: str, schema: str | None, dialect: str) -> str:
    """A name as it stands in a statement."""
    mark = "`" if dialect in ("mysql", "mariadb") else '"'
    parts = [schema, name] if schema else [name]
    return ".".join(mark + part.replace(mark, mark * 2) + mark for part in parts)


def check_name(table: str, what: str) -> None:
    """Raise `ConfigError` for a name that no table of a user can have."""
    _, name = table_parts(table, what)
    if name.lower().startswith(OWN):
        raise ConfigError(
            f"{what}: table {name!r}: names that begin with {OWN} are kept for what Headrace notes beside the rows; name"
            " another table"
        )
    if len(name.encode()) > 63:
        raise ConfigError(f"{what}: table {name[:20]!r}...: its name is longer than databases have names")


def target_of(connection: Connection, table: str, what: str) -> Target | None:
    """The table of this name; None where there is none. Raises `ConfigError` for what is no plain table."""
    import sqlalchemy as sa

    found = reflected(connection, table, what)
    if found is None:
        return None
    looked = sa.inspect(connection)
    if found.name in [*looked.get_view_names(found.schema), *_more_views(looked, found.schema)]:
        raise ConfigError(f"{what}: is a view; rows are written to plain tables")
    return Target(found, connection.dialect.name)


def _more_views(looked: Any, schema: str | None) -> list[str]:
    try:
        return list(looked.get_materialized_view_names(schema))
    except NotImplementedError:
        return []


def check_journaled(connection: Connection, target: Target, what: str) -> None:
    """Raise `ConfigError` where what is written to a table cannot be taken back."""
    import sqlalchemy as sa

    dialect = connection.dialect.name
    name, schema = target.table.name, target.schema
    if dialect == "postgresql":
        text = (
            "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(:name) AND NOT tgisinternal AND tgenabled <> 'D'"
            " ORDER BY tgname"
        )
        trigger = connection.execute(sa.text(text), {"name": target.quoted}).scalar()
    else:
        text = (
            "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = coalesce(:schema, database())"
            " AND event_object_table = :name ORDER BY 1"
        )
        trigger = connection.execute(sa.text(text), {"name": name, "schema": schema}).scalar()
        engine = connection.execute(
            sa.text(
                "SELECT engine FROM information_schema.tables WHERE table_schema = coalesce(:schema, database()) AND"
                " table_name = :name"
            ),
            {"name": name, "schema": schema},
        ).scalar()
        if str(engine).lower() != "innodb":
            raise ConfigError(
                f"{what}: is a table of the engine {engine}, which has no transactions, so that nothing could be taken back"
                " when a run goes on; make it InnoDB, or write to it without a journal"
            )
    if trigger is not None:
        raise ConfigError(
            f"{what}: has the trigger {visible(str(trigger))!r}, and what it does could not be taken back when a run goes"
            " on; drop it, or write to the table without a journal"
        )


def check_key(connection: Connection, target: Target, key: Sequence[str], what: str) -> None:
    """Raise `ConfigError` where a row of a table cannot be found by these columns, or might be found by others."""
    import sqlalchemy as sa

    missing = [name for name in key if name not in target.columns]
    if missing:
        raise ConfigError(f"{what}: key {visible(missing[0])!r}: is no column of the table")
    looked = sa.inspect(connection)
    name, schema = target.table.name, target.schema
    primary = looked.get_pk_constraint(name, schema)["constrained_columns"]
    unique: list[list[Any]] = [list(primary)] if primary else []
    unique += [each["column_names"] for each in looked.get_unique_constraints(name, schema)]
    unique += [
        each["column_names"]
        for each in looked.get_indexes(name, schema)
        if each["unique"] and not each.get("dialect_options", {}).get("postgresql_where")
    ]
    if not any(set(each) == set(key) for each in unique):
        raise ConfigError(
            f"{what}: key {', '.join(key)}: the table has no primary key and no unique index of just these columns, by which"
            " a row could be found"
        )
    if connection.dialect.name != "postgresql":
        other = next((each for each in unique if set(each) != set(key)), None)
        if other is not None:
            raise ConfigError(
                f"{what}: key {', '.join(key)}: the table has another unique index ({', '.join(map(str, other))}), and"
                f" {connection.dialect.name} would update the row that is found by that, too; leave one of them out"
            )


def made(
    connection: Connection, table: str, what: str, rows: Iterable[Mapping[str, object]], key: Sequence[str]
) -> Target:
    """Make a table of the columns of the first of these rows; their types are those of the first values that are there."""
    import sqlalchemy as sa

    schema, name = table_parts(table, what)
    all_rows = list(rows)
    columns: list[sa.Column[object]] = []
    for column in all_rows[0]:
        values = [row[column] for row in all_rows if row.get(column) is not None]
        columns.append(
            sa.Column(
                column,
                _type_of(values, connection.dialect.name, is_key=column in key),
                primary_key=column in key,
                autoincrement=False,
                nullable=column not in key,
            )
        )
    options: dict[str, Any] = {
        f"{each}_{name}": value for each in ("mysql", "mariadb") for name, value in _OF_MYSQL.items()
    }
    plan = sa.Table(name, sa.MetaData(), *columns, schema=schema, **options)
    plan.create(connection)
    found = target_of(connection, table, what)
    if found is None:
        raise ConfigError(f"{what}: was made, and is not there")
    return found


_OF_MYSQL = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
"""So that texts are alike only where they are the same."""


def _type_of(values: list[object], dialect: str, *, is_key: bool) -> Any:
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql, postgresql

    my = dialect in ("mysql", "mariadb")
    kinds = set(map(type, values))
    first = values[0] if values else None
    text = (sa.String(255) if is_key else mysql.LONGTEXT()) if my else sa.Text()
    if kinds == {int, float}:
        return sa.Double()
    if len(kinds) > 1 and not kinds <= {dict, list}:
        return text
    if isinstance(first, datetime.datetime):
        if my:
            return mysql.DATETIME(fsp=6)
        return sa.DateTime(timezone=first.tzinfo is not None)
    if isinstance(first, dict | list):
        return sa.JSON() if my else postgresql.JSONB()
    table: dict[type, Any] = {
        bool: sa.Boolean(),
        int: sa.BigInteger(),
        float: sa.Double(),
        bytes: (mysql.VARBINARY(255) if is_key else mysql.LONGBLOB()) if my else sa.LargeBinary(),
        decimal.Decimal: sa.Numeric(65, 30) if my else sa.Numeric(),
        datetime.date: sa.Date(),
        datetime.time: mysql.TIME(fsp=6) if my else sa.Time(),
        uuid.UUID: sa.String(36) if my else sa.Uuid(),
    }
    return table.get(type(first), text)


def count(connection: Connection, target: str) -> int:
    """How many rows a table has. `target`: quoted."""
    import sqlalchemy as sa

    return int(connection.execute(sa.text(f"SELECT count(*) FROM {target}")).scalar_one())


def has_rows(connection: Connection, target: str) -> bool:
    """Whether a table has any. `target`: quoted."""
    import sqlalchemy as sa

    return connection.execute(sa.text(f"SELECT 1 FROM {target} LIMIT 1")).first() is not None


def made_like(connection: Connection, target: Target, name: str, what: str) -> Target:
    """Make an empty table of another name beside one, with the same columns, constraints and indexes."""
    import sqlalchemy as sa

    new = quoted(name, target.schema, connection.dialect.name)
    like = (
        f"(LIKE {target.quoted} INCLUDING ALL)" if connection.dialect.name == "postgresql" else f"LIKE {target.quoted}"
    )
    connection.execute(sa.text(f"CREATE TABLE {new} {like}"))
    found = target_of(connection, f"{target.schema}.{name}" if target.schema else name, what)
    if found is None:
        raise ConfigError(f"{what}: {name} was made, and is not there")
    return found


def moved(connection: Connection, new: Target, old: Target) -> bool:
    """Put the rows of one table in the place of another's; whether all have come."""
    import sqlalchemy as sa

    dialect = connection.dialect.name
    names = ", ".join(quoted(name, None, dialect) for name in old.columns)
    overriding = " OVERRIDING SYSTEM VALUE" if old.always else ""
    connection.execute(sa.text(f"DELETE FROM {old.quoted}"))
    connection.execute(sa.text(f"INSERT INTO {old.quoted} ({names}){overriding} SELECT {names} FROM {new.quoted}"))
    return count(connection, old.quoted) == count(connection, new.quoted)
