"""Where rows go: `sinks.jsonl("out.jsonl")`, `sinks.csv("out.csv")`, where `-` is standard output;
`sinks.parquet("out.parquet")`, `sinks.sqlite("out.db", "rows")`, `sinks.sql("postgresql://host/shop", "rows")`.

Any callable is a sink as it is: it gets one row's value a call. A file gets its name only when it is complete; until then
it is called `NAME.part`. A link is followed; a named pipe, a device or a socket is written in place. A URL, such as
`s3://bucket/out.jsonl`, names a file elsewhere, by fsspec (extra `remote`, for S3 `s3`): it is written beside the journal,
and put there as a whole when it is complete. It bears no mark of who wrote it, so that `if_exists` says whether one that is
there is replaced.

`if_exists` says what becomes of rows that are there before the run, for files and tables alike:

- "error": the run does not begin.
- "replace": they are replaced when the run is complete, and are as they were until then.
- "append": they stay, and the run's rows come after them. A file is copied for this, so that it is as it was, too, until
  the run is complete.
- not said: rows that an earlier run of the same pipeline (by its name) wrote there are replaced, as by "replace"; anything
  else is told, as by "error". So a job can be run again after a mistake, or each night, and is neither refused nor doubled;
  and a file of yours that a path leads to by mistake is not lost. Whether rows are a pipeline's own is known by an extended
  attribute of the file (where a file system has none, the run is refused, and says so) and by a table in the database.

The report of the run says what was done to what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .connectors.csv_sink import CsvSink
from .connectors.file_identity import StrPath
from .connectors.jsonl_sink import JsonlSink
from .connectors.part_file import IfExists

if TYPE_CHECKING:
    from .connectors.parquet.sink import ParquetSink
    from .connectors.sql.sink import SqlSink
    from .connectors.sqlite import SqliteSink

__all__ = ["IfExists", "csv", "jsonl", "parquet", "sql", "sqlite"]


def jsonl(path: StrPath, *, if_exists: IfExists | None = None) -> JsonlSink:
    """Write one JSON value a line, so that it reads back as it was.

    Dates, UUIDs, decimals and bytes are written as text, as msgspec does. A row with a value that JSON cannot hold (NaN, a
    lone surrogate, an object of another type, a key that is no text) goes to quarantine, which says where it is.

    Args:
        path: A file, `-` for standard output, or a file called `.gz`, which is packed.
        if_exists: What becomes of rows that are there already: "error", "replace", "append", or None for what is said at
            the top of this module.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> from pathlib import Path
        >>> report = Pipeline().source([{"city": "Lund"}]).sink(sinks.jsonl("out.jsonl", if_exists="replace")).run()
        >>> Path("out.jsonl").read_text()
        '{"city":"Lund"}\\n'
    """
    return JsonlSink(path, if_exists=if_exists)


def csv(
    path: StrPath,
    *,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    if_exists: IfExists | None = None,
) -> CsvSink:
    """Write rows, which are dicts or structs, as lines of a CSV file.

    A row that lacks a column, or has None there, has an empty cell. One with another key goes to quarantine, which names
    the key. Lists and dicts are written as JSON. A file of no rows has a header all the same, where the columns are named
    or the source has some.

    Args:
        path: A file, `-` for standard output, or a file called `.gz`, which is packed.
        columns: The names of the columns, in their order; by default those of the first row.
        delimiter: One character between two fields.
        if_exists: What becomes of rows that are there already: "error", "replace", "append", or None for what is said at
            the top of this module.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> from pathlib import Path
        >>> rows = [{"city": "Lund", "lat": 55.7}, {"city": "Oslo"}]
        >>> report = Pipeline().source(rows).sink(sinks.csv("out.csv", columns=["city", "lat"])).run()
        >>> print(Path("out.csv").read_text(), end="")
        city,lat
        Lund,55.7
        Oslo,
    """
    return CsvSink(path, columns=columns, delimiter=delimiter, if_exists=if_exists)


def parquet(
    path: StrPath, *, schema: Any = None, compression: str = "zstd", if_exists: IfExists | None = None
) -> ParquetSink:
    """Write rows, which are dicts or structs, to a Parquet file.

    The columns and their types are those of `schema`, or of the first rows that come. A row with another column, or with a
    value that would not read back as it is (a fraction among whole numbers, a time without a zone among those with one),
    goes to quarantine, which says where it is. UUIDs and paths are written as text.

    Until all rows have come, they are in `NAME.part`, as a stream of Arrow; then they are put together, in row groups of
    131,072 rows. With a journal, each row is in the file exactly once.

    Args:
        path: A file.
        schema: A `pyarrow.Schema`, or the type of a row: a msgspec Struct, a dataclass or a TypedDict.
        compression: "zstd", "snappy", "gzip", "brotli", "lz4" or "none".
        if_exists: What becomes of rows that are there already: "error", "replace", "append", or None for what is said at
            the top of this module.

    Raises:
        ConfigError: An option cannot be, or the extra `parquet` is not installed.

    Examples:
        >>> import datetime, decimal
        >>> row = {"id": 1, "price": decimal.Decimal("1.50"), "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}
        >>> report = Pipeline().source([row]).sink(sinks.parquet("out.parquet")).run()
        >>> next(Pipeline().source(sources.parquet("out.parquet")).stream()).value == row
        True
    """
    # What is not used is not imported (L46).
    from .connectors.parquet.sink import ParquetSink

    return ParquetSink(path, schema=schema, compression=compression, if_exists=if_exists)


def sqlite(
    path: StrPath, table: str, *, key: Sequence[str] | None = None, if_exists: IfExists | None = None
) -> SqliteSink:
    """Write rows, which are dicts or structs, into a table of an SQLite database.

    A table that is not there is made of the first row's columns. Lists and dicts within a row are written as JSON. A row
    that the table refuses (a column that it does not have, a constraint) goes to quarantine.

    Args:
        path: The file of the database.
        table: The name of the table.
        key: Columns by which a row is known: one that is there already is updated, and `if_exists` is "append" unless it is
            said.
        if_exists: What becomes of rows that are there already: "error", "replace", "append", or None for what is said at
            the top of this module.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> rows = [{"city": "Lund", "lat": 55.7}, {"city": "Lund", "lat": 55.8}]
        >>> report = Pipeline().source(rows).sink(sinks.sqlite("out.db", "places", key=["city"])).run()
        >>> import contextlib, sqlite3
        >>> with contextlib.closing(sqlite3.connect("out.db")) as db:
        ...     db.execute("select * from places").fetchall()
        [('Lund', 55.8)]
    """
    # What is not used is not imported (L46).
    from .connectors.sqlite import SqliteSink

    return SqliteSink(path, table, key=key, if_exists=if_exists)


def sql(
    url: str,
    table: str | None = None,
    *,
    key: Sequence[str] | str | None = None,
    if_exists: IfExists | None = None,
) -> SqlSink | SqliteSink:
    """Write rows, which are dicts or structs, into a table of PostgreSQL, MySQL, MariaDB or SQLite.

    A table that is not there is made of the first row's columns. In a run with a journal, each row is in the table exactly
    once: what it takes to take rows back is committed with them, in tables whose names begin with `headrace_`, which the
    user must be allowed to make. Without a key, PostgreSQL gets its rows by COPY; MySQL and MariaDB need a key, in a run
    with a journal. A row that the table refuses (a column that it does not have, a constraint, a value that would be cut or
    changed) goes to quarantine, and all others are written.

    Args:
        url: As for `sources.sql`; `sqlite:///out.db` is the same as `sinks.sqlite("out.db", ...)`.
        table: Its name, as `orders` or `sales.orders`; or it stands in the URL, as `?table=orders`.
        key: Columns by which a row is known, of a primary key or a unique index: a row that is there already is updated, and
            `if_exists` is "append" unless it is said.
        if_exists: What becomes of rows that are there already: "error", "replace", "append", or None for what is said at
            the top of this module.

    Raises:
        ConfigError: An option cannot be, or the extra `sql` or the driver (`postgres`, `mysql`) is not installed.

    Examples:
        >>> rows = [{"city": "Lund", "lat": 55.7}, {"city": "Oslo", "lat": 59.9}]
        >>> report = Pipeline().source(rows).sink(sinks.sql("sqlite:///places.db", "places", key="city")).run()
        >>> [outcome.value for outcome in Pipeline().source(sources.sql("sqlite:///places.db", table="places")).stream()]
        [{'city': 'Lund', 'lat': 55.7}, {'city': 'Oslo', 'lat': 59.9}]
    """
    # What is not used is not imported (L46).
    from .connectors.sql.said import sql_sink

    return sql_sink(url, table, key=key, if_exists=if_exists)
