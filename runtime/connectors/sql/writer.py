"""Writes rows to a table: all of a batch at once, and where one of them is refused, in halves, until it is found.

In PostgreSQL, rows that are only added come by COPY, each batch in a transaction of its own. All of these but the last one
that `commit` waits for are durable with that, since the log of PostgreSQL is written in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .address import Address
from .faults import is_rows_fault, told_of_row
from .target import Target, quoted
from .undo import Undo
from .values import Columns, Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class TableWriter:
    """Writes to one table. `undo`: notes what is written, in a run with a journal."""

    copies = False

    def __init__(
        self, connection: Connection, address: Address, target: Target, key: Sequence[str], undo: Undo | None
    ) -> None:
        self._connection = connection
        self._address = address
        self._target = target
        self._key = tuple(key)
        self._undo = undo
        self._dialect: str = connection.dialect.name
        self._columns = Columns(target.columns, key, wraps=self.copies)

    def write(self, items: Sequence[object]) -> tuple[int, dict[int, str]]:
        """(how many were written, what is wrong with the others by index)."""
        rows, faults = self._columns.prepared(items)
        n = 0
        for names, group in groupby(rows, key=lambda row: row.names):
            n += self._write(names, list(group), faults)
        return n, faults

    def _write(self, names: tuple[str, ...], rows: list[Prepared], faults: dict[int, str]) -> int:
        try:
            return self._all(names, rows)
        except Exception as error:
            if not is_rows_fault(error):
                raise
            if len(rows) == 1:
                faults[rows[0].at] = f"the table refuses it: {told_of_row(error, self._address)}"
                return 0
        middle = len(rows) // 2
        return self._write(names, rows[:middle], faults) + self._write(names, rows[middle:], faults)

    def _all(self, names: tuple[str, ...], rows: list[Prepared]) -> int:
        statement = self._statement(names)
        with self._connection.begin_nested():
            if self._undo is not None:
                at = [names.index(name) for name in self._key]
                self._undo.note([tuple(row.values[i] for i in at) for row in rows], len(rows))
            told = [dict(zip(names, row.values, strict=True)) for row in rows]
            self._connection.execute(statement, told)
        return len(rows)

    def _statement(self, names: tuple[str, ...]) -> Any:
        from sqlalchemy.dialects import mysql, postgresql

        table = self._target.table
        others = [name for name in names if name not in self._key]
        if self._dialect == "postgresql":
            insert, key = postgresql.insert(table), list(self._key)
            if others:
                new = {name: insert.excluded[name] for name in others}
                insert = insert.on_conflict_do_update(index_elements=key, set_=new)
            else:
                insert = insert.on_conflict_do_nothing(index_elements=key)
            # What returns something is sent as one statement, and not as many in a pipeline.
            return insert.returning(table.c[key[0]])
        if not self._key:
            return table.insert()
        upsert = mysql.insert(table)
        again = others or [self._key[0]]
        return upsert.on_duplicate_key_update({name: upsert.inserted[name] for name in again})


_SOON = "SET LOCAL synchronous_commit = off"


class CopyWriter(TableWriter):
    """By COPY: rows are only added, to a table of PostgreSQL."""

    copies = True

    def _all(self, names: tuple[str, ...], rows: list[Prepared]) -> int:
        connection = self._connection
        if connection.in_transaction():
            # A place that was told; the commit that makes it durable comes.
            connection.exec_driver_sql(_SOON)
            connection.commit()
        listed = ", ".join(quoted(name, None, self._dialect) for name in names)
        try:
            connection.exec_driver_sql(_SOON)
            connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
            if self._undo is not None:
                self._undo.note([], len(rows))
            driver: Any = connection.connection.driver_connection
            with driver.cursor() as cursor:
                with cursor.copy(f"COPY {self._target.quoted} ({listed}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row.values)
                if cursor.rowcount != len(rows):
                    raise _Ignored("the table ignores it (a trigger or a rule of it does)")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        return len(rows)


class _Ignored(ValueError):
    """A row that a table takes without a word, and does not have then."""
