"""Rows of a table or a query of any database that SQLAlchemy knows.

With a key, rows are read a page at a time and the source has places: which row was read last, and of each read, the keys of
its rows. So a run that is resumed reads the rows that are not done again by their keys, whatever was changed meanwhile: no
row takes the place of another (L27), a row that is gone is told as gone, and no page is read twice (L38). After them, it
reads what comes after the last one, so that with a `cursor` that grows, such as `updated_at`, a later run with the same
journal reads what is new since then.

Without a key, the rows of a query are read in one go; a run that is resumed reads them from the first on, and sees by
digests whether they are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypedDict

from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow

from ...errors import BadInput, ConfigError
from ...rows.contracts import INFER, Contract, hold
from ...text import told as in_words
from ..file_identity import FileUse
from ..iterables import IteratorSource
from .address import Address
from .faults import database_errors, is_gone, told
from .places import packed, unpacked
from .selection import Selection, chunks

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

PAGE = 1000
"""Rows of one page, by default."""
_AT_ONCE = 200
"""Rows that are asked for by their keys in one statement."""


class SqlSource(IteratorSource):
    """Rows of a database; `sources.sql` says how."""

    def __init__(
        self,
        url: str,
        *,
        query: str | None = None,
        table: str | None = None,
        cursor: str | None = None,
        key: Sequence[str] | str | None = None,
        page: int = PAGE,
    ) -> None:
        """Raises `ConfigError`."""
        super().__init__()
        self._address = Address(url)
        if (query is None) == (table is None):
            both = "both are said" if query is not None else "neither is"
            raise ConfigError(f"{self._address.shown}: say table= or query=; {both}")
        for what, text in (("query", query), ("table", table), ("cursor", cursor)):
            if text is not None and (not isinstance(text, str) or not text.strip()):
                raise ConfigError(f"{self._address.shown}: {what}={text!r}: is no {what}")
        if type(page) is not int or not 1 <= page <= 100_000:
            raise ConfigError(f"{self._address.shown}: page={page!r}: a number of rows from 1 to 100,000 is expected")
        self.name = f"{self._address.shown}:{table}" if table is not None else self._address.shown
        self._query, self._table, self._cursor = query, table, cursor
        self._key = (key,) if isinstance(key, str) else tuple(key or ())
        self._page = page
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._selection: Selection | None = None
        self._columns: list[str] | None = None
        self._rows: deque[object] = deque()
        self._stream: Iterator[Any] | None = None
        self._at: tuple[Any, ...] | None = None
        self._n = 0
        self._positions: deque[list[object]] = deque()
        """Of the rows that were fetched, and not given yet."""
        self._given: list[list[object]] = []
        """Of those that were given by the last read."""
        self._again: deque[list[object]] = deque()
        self._recalled: dict[int, list[object]] = {}
        self.resumable = False
        """Whether the error that was raised last is one of the connection."""
        self._stopped = False

    @property
    def placed(self) -> bool:
        """Whether its rows have a key."""
        return bool(self._key or self._cursor or self._table)

    # --- before it is read ---

    def files(self) -> list[FileUse]:
        """The file of an SQLite database."""
        path = self._address.path
        return [FileUse(path, "read", self._table or "(a query)")] if path is not None else []

    def fingerprint(self) -> dict[str, object]:
        """By what it is known again. Nothing in it is secret."""
        known = {"url": self._address.identity, "table": self._table, "query": self._query, "cursor": self._cursor}
        return {**known, "key": list(self._key)}

    def fields(self) -> list[str] | None:
        """The names of its columns. Raises `ConfigError` where they cannot be looked up."""
        return self._look()

    def check(self) -> None:
        """Raise `ConfigError` where it cannot be read."""
        self._look()

    def _look(self) -> list[str]:
        if self._columns is None:
            self._address.check_file()
            engine = self._address.engine()
            with self._address.connect(engine) as connection:
                self._columns = self._selected(connection).columns
        return self._columns

    def _selected(self, connection: Connection) -> Selection:
        try:
            return Selection(connection, self._address, self.name, self._table, self._query, self._cursor, self._key)
        except database_errors() as error:
            raise ConfigError(f"{self.name}: cannot be read: {told(error, self._address)}") from None

    def verify(self, place: list[Any]) -> str | None:
        """What is not as it was up to a place, in one sentence; None where it is the same."""
        n, at = place[0], unpacked(place[1])
        self._address.check_file()
        engine = self._address.engine()
        with self._address.connect(engine) as connection:
            selection = self._selected(connection)
            try:
                now = int(connection.execute(selection.count_to(at)).scalar_one())
            except database_errors() as error:
                raise ConfigError(f"{self.name}: cannot be read: {told(error, self._address)}") from None
        if now > n:
            return (
                f"{self.name} has {now:,} rows up to the one that was read last, and {n:,} of them had been read: others"
                " have come before it, which would not be read"
            )
        # Rows that were changed stand after it now, where a cursor moves them.
        if now < n and self._cursor is None:
            return (
                f"{self.name} has {now:,} rows up to the one that was read last, and {n:,} had been read: some are gone"
            )
        return None

    def recall(self, places: list[list[Any]]) -> None:
        """What earlier lives of the run have told of their reads: rows that are read again are those."""
        for n, _, positions in places:
            self._recalled.update(enumerate(positions, n - len(positions)))

    # --- opening ---

    def open(self) -> None:
        self.resume(None)

    def resume(self, place: list[Any] | None) -> None:
        """Begin after a place that `tell` told."""
        self._address.check_file()
        self._stopped = self.resumable = False
        self._rows.clear()
        self._positions.clear()
        self._given = []
        self._n, self._at = (place[0], unpacked(place[1])) if place is not None else (0, None)
        last, row = max(self._recalled, default=-1), self._n
        self._again = deque(self._recalled[i] for i in range(row, last + 1) if i in self._recalled)
        self._row = row - 1
        self._connect()
        if self._contract == INFER:
            # The database says it, and no row need be read for it.
            self._contract = Contract(TypedDict("Row", self._open_selection.kinds()))  # type: ignore[operator]

    def _connect(self) -> None:
        self._disconnect()
        self._engine = self._address.engine()
        # A page holds no lock and no snapshot when it has come.
        options = (
            {"isolation_level": "AUTOCOMMIT"} if self.placed else {"stream_results": True, "yield_per": self._page}
        )
        connection = self._connection = self._address.connect(self._engine)
        if self._address.dialect == "postgresql":
            connection.exec_driver_sql("SET TimeZone = 'UTC'")
        self._selection = self._selected(connection)
        connection.commit()
        self._connection = connection.execution_options(**options)

    def _disconnect(self) -> None:
        connection, self._connection, self._stream = self._connection, None, None
        if connection is not None:
            try:
                connection.close()
            except Exception:
                connection.invalidate()

    # --- reading ---

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        ended = False
        if not self._rows:
            try:
                if self._connection is None:
                    self._connect()
                ended = self._fetch()
            except Exception as error:
                if self._stopped:
                    return [], True, 0
                raise self._failed(error) from None
            self.resumable = False
        n = min(n, len(self._rows))
        values = [self._rows.popleft() for _ in range(n)]
        self._given = [self._positions.popleft() for _ in range(n)] if self.placed else []
        self._n += n
        return values, ended and not self._rows, self._count_bad(values)

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, ConfigError):
            # Of a server that is away for a moment.
            self.resumable = self.placed and self._connection is None
            return error
        self.resumable = self.placed and is_gone(error)
        if self.resumable:
            self._disconnect()
        if isinstance(error, database_errors()):
            return OSError(f"{self.name}: {told(error, self._address)}")
        return error

    def _fetch(self) -> bool:
        """Fill `_rows`; whether these are the last."""
        connection, selection = self._open_connection, self._open_selection
        if not self.placed:
            if self._stream is None:
                self._stream = iter(connection.execute(selection.whole()).partitions(self._page))
            rows = next(self._stream, None)
            self._hand_over([self._row_of(row) for row in rows or ()])
            return rows is None
        if self._again:
            self._read_again(connection, selection)
            return False
        rows, positions = self._next_page(connection, selection)
        whole = len(positions) <= self._page
        self._check_apart(positions)
        self._keep(rows[: self._page], positions[: self._page])
        return whole

    def _next_page(self, connection: Connection, selection: Selection) -> tuple[list[object], list[tuple[object, ...]]]:
        page = selection.page(self._at, self._page + 1)
        try:
            rows: list[Any] = [self._row_of(row) for row in connection.execute(page)]
        except Exception as error:
            if not _blames_a_row(error):
                raise
        else:
            return rows, [tuple(row[each] for each in selection.order) for row in rows]
        # One of them cannot be read, and all others can.
        try:
            positions = [tuple(row) for row in connection.execute(selection.positions(page))]
        except Exception as error:
            if not _blames_a_row(error):
                raise
            where = " or ".join(map(repr, selection.order))
            why = told(error, self._address)
            raise OSError(
                f"{self.name}: a value of {where} cannot be read, so that nobody knows where to go on: {why}"
            ) from None
        return [self._one(connection, selection, selection.key_at(position)) for position in positions], positions

    def _one(self, connection: Connection, selection: Selection, key: Sequence[object]) -> object:
        at = dict(zip(selection.key, key, strict=True))
        try:
            row = connection.execute(selection.with_keys([key])).first()
        except Exception as error:
            if not _blames_a_row(error):
                raise
            self.bad += 1
            return BadRow(BadInput(f"{self.name}: a value of the row cannot be read: {told(error, self._address)}"), at)
        return self._row_of(row) if row is not None else self._gone(at)

    def _row_of(self, values: Iterable[object]) -> dict[str, object]:
        return dict(zip(self._open_selection.columns, values, strict=True))

    def _gone(self, at: dict[str, object]) -> BadRow:
        self.bad += 1
        return BadRow(BadInput(f"{self.name}: the row was there when it was read first, and is gone"), at)

    def _read_again(self, connection: Connection, selection: Selection) -> None:
        """The rows that an earlier life has read, by their keys."""
        again = [self._again.popleft() for _ in range(min(self._page, len(self._again)))]
        positions = [unpacked(each) for each in again]
        try:
            rows: list[object] = []
            for some in chunks(list(map(selection.key_at, positions)), _AT_ONCE):
                try:
                    come = map(self._row_of, connection.execute(selection.with_keys(some)))
                    found = {tuple(row[each] for each in selection.key): row for row in come}
                except Exception as error:
                    if not _blames_a_row(error):
                        raise
                    rows += [self._one(connection, selection, key) for key in some]
                else:
                    at = (dict(zip(selection.key, key, strict=True)) for key in some)
                    rows += [found.get(key) or self._gone(where) for key, where in zip(some, at, strict=True)]
        except BaseException:
            self._again.extendleft(reversed(again))
            raise
        self._keep(rows, positions)

    def _check_apart(self, positions: list[tuple[object, ...]]) -> None:
        for one, other in pairwise(positions):
            if one == other:
                key = ", ".join(map(repr, self._open_selection.key))
                raise ConfigError(
                    f"{self.name}: two rows have the same key ({key}), so that one may be lost; say another key="
                )

    def _keep(self, rows: list[object], positions: list[tuple[object, ...]]) -> None:
        self._positions.extend(packed(position, self.name) for position in positions)
        if positions:
            self._at = positions[-1]
        self._hand_over(rows)

    def _hand_over(self, rows: list[object]) -> None:
        if isinstance(self._contract, Contract):
            rows = list(hold(self._numbered(rows), self._contract, self.place, self._unfit))
        self._rows.extend(rows)

    def _numbered(self, rows: list[object]) -> Iterator[object]:
        for row in rows:
            self._row += 1
            yield row

    def tell(self) -> list[object] | None:
        """How many rows were read, where the last of them stands, and where each of the last read does."""
        if not self._given:
            return None
        return [self._n, self._given[-1], self._given]

    def iterate(self) -> Iterator[object]:
        raise InternalError("it is read a page at a time")

    # --- the end ---

    def interrupt(self) -> None:
        """From any thread: a statement that is under way is cancelled."""
        self._stopped = True
        connection = self._connection
        try:
            driver: object = connection.connection.driver_connection if connection is not None else None
            for name in ("cancel_safe", "cancel", "interrupt"):
                if (cancel := getattr(driver, name, None)) is not None:
                    cancel()
                    return
        except Exception as error:
            # Then the statement ends by itself.
            in_words(error)

    def close(self) -> None:
        self._disconnect()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    @property
    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise InternalError("a source is opened before it is read")
        return self._connection

    @property
    def _open_selection(self) -> Selection:
        if self._selection is None:
            raise InternalError("a source is opened before it is read")
        return self._selection


def _blames_a_row(error: BaseException) -> bool:
    """Whether a value of one row cannot be made a value of Python."""
    import sqlalchemy as sa

    if isinstance(error, sa.exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return isinstance(error, sa.exc.DataError) and (state is None or str(state).startswith("22"))
    return isinstance(error, ValueError | TypeError | OverflowError | ArithmeticError) and not isinstance(
        error, ConfigError
    )
