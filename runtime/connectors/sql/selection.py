"""What is selected from a database: a table or a query, in the order of its cursor and key, a page at a time.

A page is what comes after the last row of the page before it, by the values of that row (keyset paging), so that each page
costs the same, whatever is written meanwhile. Rows are told apart by their `key`; two that are alike there would be lost
between two pages, so they are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...text import visible

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.engine import Connection

    from .address import Address

_ROW_VALUES = ("postgresql", "sqlite")
"""Databases that find rows after (a, b) by an index, where it is said so."""
_PARAMETER = re.compile(r"(?<![:\\]):(?=[A-Za-z_])")


class Selection:
    """`columns`: the names that rows have. `key`: what tells rows apart. `order`: how they come, the cursor first; empty
    where there is no key, so that they come as they like."""

    def __init__(
        self,
        connection: Connection,
        address: Address,
        name: str,
        table: str | None,
        query: str | None,
        cursor: str | None,
        key: Sequence[str],
    ) -> None:
        """Look the table or query up. Raises `ConfigError`."""
        self._address = address
        self.name = name
        self._from: Any = (
            _table(connection, table, name, address)
            if table is not None
            else _query(connection, query or "", name, address)
        )
        self.columns: list[str] = [str(column.name) for column in self._from.columns]
        own = [str(column.name) for column in getattr(self._from, "primary_key", ())]
        self.key = tuple(key or own)
        for what, each in (("cursor", cursor), *(("key", each) for each in self.key)):
            if each is not None and each not in self.columns:
                raise ConfigError(
                    f"{name}: {what} {visible(each)!r}: is no column; it has {', '.join(map(repr, self.columns[:20]))}"
                )
        if not self.key and (cursor is not None or table is not None):
            raise ConfigError(
                f"{name}: {'the table has no primary key' if table else 'cursor= is not enough'}: say key=, the columns in"
                " which no two rows are alike"
                + (f'; or query="SELECT * FROM {table}", whose rows are read in one go' if table and not cursor else "")
            )
        self.order = tuple(dict.fromkeys([cursor, *self.key] if cursor else self.key))
        self._key_at = [self.order.index(each) for each in self.key]
        self._check_no_nulls(connection)

    def key_at(self, position: Sequence[object]) -> tuple[object, ...]:
        """The key of the row at a position, which has the values of `order`."""
        return tuple(position[i] for i in self._key_at)

    def _check_no_nulls(self, connection: Connection) -> None:
        """A row without a value there would never be read."""
        import sqlalchemy as sa

        for each in self.order:
            column = self._from.c[each]
            if not getattr(column, "nullable", True):
                continue
            where = sa.select(sa.literal(1)).select_from(self._from).where(column.is_(None)).limit(1)
            if connection.execute(where).first() is not None:
                raise ConfigError(
                    f"{self.name}: a row has no {visible(each)!r} (it is NULL), so that it would never be read; say query="
                    f" with coalesce({each}, ...) AS {each}, or leave such rows out there"
                )

    def kinds(self) -> dict[str, object]:
        """The type of each column, as Python has it; None in it where a column may be empty."""
        found: dict[str, object] = {}
        for column in self._from.columns:
            try:
                kind: Any = column.type.python_type
            except Exception:
                kind = object
            if kind in (dict, list, object):
                kind = Any
            found[str(column.name)] = kind | None if kind is not Any and getattr(column, "nullable", True) else kind
        return found

    def page(self, after: Sequence[object] | None, n: int) -> Select[object]:
        """The next `n` rows after one with these values of `order`."""
        import sqlalchemy as sa

        select = sa.select(self._from)
        if after is not None:
            select = select.where(self._after(after))
        return select.order_by(*(self._from.c[each] for each in self.order)).limit(n)

    def whole(self) -> Select[object]:
        """All rows, as they come."""
        import sqlalchemy as sa

        return sa.select(self._from)

    def positions(self, page: Select[object]) -> Select[object]:
        """Of a page, the values of `order` alone."""
        return page.with_only_columns(*(self._from.c[each] for each in self.order))

    def with_keys(self, keys: Sequence[Sequence[object]]) -> Select[object]:
        """The rows that have these keys."""
        import sqlalchemy as sa

        columns = [self._from.c[each] for each in self.key]
        if len(columns) == 1:
            return sa.select(self._from).where(columns[0].in_([each[0] for each in keys]))
        alike = (sa.and_(*(c == value for c, value in zip(columns, each, strict=True))) for each in keys)
        return sa.select(self._from).where(sa.or_(*alike))

    def count_to(self, place: Sequence[object]) -> Select[Any]:
        """How many rows there are up to this place."""
        import sqlalchemy as sa

        return sa.select(sa.func.count()).select_from(self._from).where(sa.not_(self._after(place)))

    def _after(self, place: Sequence[object]) -> ColumnElement[bool]:
        import sqlalchemy as sa

        columns: list[Any] = [self._from.c[each] for each in self.order]
        pairs = list(zip(columns, place, strict=True))
        if len(pairs) == 1:
            found: ColumnElement[bool] = columns[0] > sa.bindparam(None, place[0], columns[0].type)
            return found
        if self._address.dialect in _ROW_VALUES:
            values = (sa.bindparam(None, value, column.type) for column, value in pairs)
            later: ColumnElement[bool] = sa.tuple_(*columns) > sa.tuple_(*values)
            return later
        # In this form, other databases find the first of them by an index.
        column, value = pairs[-1]
        found = column > value
        for column, value in reversed(pairs[:-1]):
            found = sa.and_(column >= value, sa.or_(column > value, found))
        return found


def table_parts(table: str, what: str) -> tuple[str | None, str]:
    """(schema, name) of a table that is named as `table` or `schema.table`. Raises `ConfigError`."""
    if not isinstance(table, str) or not table.strip() or "\x00" in table or not table.isprintable():
        raise ConfigError(f"{what}: table {table!a}: is no name of a table")
    schema, dot, name = table.rpartition(".")
    if dot and not (schema and name):
        raise ConfigError(f"{what}: table {table!r}: is no name of a table; one is like 'orders' or 'sales.orders'")
    return schema or None, name


def reflected(connection: Connection, table: str, what: str) -> Any:
    """A table, as the database has it; None where there is none."""
    import warnings

    import sqlalchemy as sa

    schema, name = table_parts(table, what)
    with warnings.catch_warnings():
        # Of types that it does not know, which are passed on as the driver gives them.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        try:
            found = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
        except sa.exc.NoSuchTableError:
            return None
    for column in found.columns:
        if isinstance(column.type, sa.Float):
            # Of MySQL, they would come as decimals, rounded.
            column.type.asdecimal = False
    return found


def _table(connection: Connection, table: str, name: str, address: Address) -> Any:
    import difflib

    import sqlalchemy as sa

    found = reflected(connection, table, name)
    if found is not None:
        return found
    schema, plain = table_parts(table, name)
    looked = sa.inspect(connection)
    try:
        there = [*looked.get_table_names(schema), *looked.get_view_names(schema)]
    except Exception:
        there = []
    near = difflib.get_close_matches(plain, there, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{name}: there is no table {visible(table)!r}{hint}")


def _query(connection: Connection, query: str, name: str, address: Address) -> Any:
    import sqlalchemy as sa

    from .faults import told

    plain = query.strip().rstrip(";").rstrip()
    # A colon begins a parameter for SQLAlchemy, and there are none here.
    text = sa.text(_PARAMETER.sub(r"\\:", plain) + "\n")
    try:
        probe: Select[object] = sa.select(sa.literal_column("*")).select_from(text.columns().subquery("q")).limit(0)
        names = list(connection.execute(probe).keys())
    except sa.exc.SQLAlchemyError as error:
        raise ConfigError(f"{name}: the query cannot be run: {told(error, address)}") from None
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise ConfigError(f"{name}: the query has two columns {visible(twice)!r}: name them apart with AS")
    return text.columns(*(sa.column(each) for each in names)).subquery("q")


def chunks(items: Sequence[object], n: int) -> Iterator[Sequence[Any]]:
    """So many at a time."""
    for i in range(0, len(items), n):
        yield items[i : i + n]
