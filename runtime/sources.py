"""Where rows come from: `sources.csv("in.csv")`, `sources.jsonl("in.jsonl")`, where `-` is standard input;
`sources.parquet("in.parquet")`, `sources.sql("postgresql://host/shop", table="orders")`.

Any iterable or async iterable is a source as it is.

What a file *is* decides how it is read. A regular file (links are followed) is known by its contents, and a run with a
journal goes on where it was in it. Anything else (a pipe, a FIFO, a device, standard input) is a stream: it is read once,
and a run with a journal that is not done cannot go on with it. A file that is packed, and called so (`.gz`, `.bz2`, `.xz`,
`.zst`), is unpacked while it is read. A byte order mark says which encoding a file is in. What is neither text nor that is
refused with what it looks like.

A folder stands for the files in it whose names say that they are of that kind, a pattern such as `in/*.csv` for those that
match: they are read one after another, by their names. A URL, such as `s3://bucket/in.csv` or `https://example.org/in.csv`,
names a file elsewhere, by fsspec (extra `remote`, for S3 `s3`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .connectors.csv_source import CsvSource
from .connectors.file_source import StrPath
from .connectors.jsonl_source import JsonlSource
from .connectors.many_files import ManyFiles, one_or_many

if TYPE_CHECKING:
    from .connectors.json_source import JsonSource
    from .connectors.parquet.source import ParquetSource
    from .connectors.sql.source import SqlSource

__all__ = ["csv", "json", "jsonl", "parquet", "sql"]


def csv(path: StrPath, *, delimiter: str = ",", encoding: str = "utf-8") -> CsvSource | ManyFiles:
    """Rows of a CSV file as dicts of text, with the names of the columns from its first line.

    A line with too many or too few fields, with bytes that are no text, or with a quote that is never closed goes to
    quarantine with its number and what stands there. Trailing columns without a name are left out. A first line `sep=;`
    says the separator.

    Args:
        path: A file, `-` for standard input, a folder, a pattern such as `in/*.csv`, or a URL; see the top of this module.
        delimiter: One character between two fields.
        encoding: How bytes become text, where no byte order mark says so.

    Raises:
        ConfigError: An option cannot be. What is wrong with the file is told when it is opened.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("in.csv").write_text("city;country\\nLund;SE\\n")
        >>> [outcome.value for outcome in Pipeline().source(sources.csv("in.csv", delimiter=";")).stream()]
        [{'city': 'Lund', 'country': 'SE'}]
    """
    return one_or_many(path, lambda each: CsvSource(each, delimiter=delimiter, encoding=encoding), (".csv", ".tsv"))


def jsonl(path: StrPath, *, encoding: str = "utf-8") -> JsonlSource | ManyFiles:
    """Rows of a JSON Lines file: the JSON value of each line. Empty lines are no rows.

    A line that is no JSON goes to quarantine with its number and what stands there.

    Args:
        path: A file, `-` for standard input, a folder, a pattern such as `in/*.csv`, or a URL; see the top of this module.
        encoding: How bytes become text, where no byte order mark says so.

    Raises:
        ConfigError: An option cannot be. What is wrong with the file is told when it is opened.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("in.jsonl").write_text('{"city": "Lund"}\\n{"city": "Oslo"}\\n')
        >>> [outcome.value for outcome in Pipeline().source(sources.jsonl("in.jsonl")).stream()]
        [{'city': 'Lund'}, {'city': 'Oslo'}]
    """
    return one_or_many(path, lambda each: JsonlSource(each, encoding=encoding), (".jsonl", ".ndjson"))


def json(path: StrPath, *, encoding: str = "utf-8") -> JsonSource | ManyFiles:
    """Rows of a file that is one JSON array: its values, one by one.

    It is read as it comes, so it may be larger than the memory. A run that is resumed reads it from its start, and skips
    what is done.

    Args:
        path: As for `csv`; in a folder, files called `.json`.
        encoding: How bytes become text, where no byte order mark says so.

    Raises:
        ConfigError: An option cannot be. What is wrong with the file is told when it is opened.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("in.json").write_text('[{"city": "Lund"}, {"city": "Oslo"}]')
        >>> [outcome.value for outcome in Pipeline().source(sources.json("in.json")).stream()]
        [{'city': 'Lund'}, {'city': 'Oslo'}]
    """
    # What is not used is not imported (L46).
    from .connectors.json_source import JsonSource

    return one_or_many(path, lambda each: JsonSource(each, encoding=encoding), (".json",))


def parquet(path: StrPath) -> ParquetSource | ManyFiles:
    """Rows of a Parquet file as dicts, with the values that Python has for its types.

    Decimals stay decimals, timestamps keep their zone, lists and structs are lists and dicts. A value that Python does not
    have (nanoseconds, a year after 9999) sends its row to quarantine. A run that is resumed goes on within the row group
    where it was.

    Args:
        path: A file.

    Raises:
        ConfigError: The path cannot be one, or the extra `parquet` is not installed. What is wrong with the file is told
            when it is opened.

    Examples:
        >>> rows = [{"city": "Lund", "lat": 55.7}]
        >>> report = Pipeline().source(rows).sink(sinks.parquet("in.parquet")).run()
        >>> [outcome.value for outcome in Pipeline().source(sources.parquet("in.parquet")).stream()]
        [{'city': 'Lund', 'lat': 55.7}]
    """
    # What is not used is not imported (L46).
    from .connectors.parquet.source import ParquetSource

    return one_or_many(path, ParquetSource, (".parquet",))


def sql(
    url: str,
    *,
    query: str | None = None,
    table: str | None = None,
    cursor: str | None = None,
    key: Sequence[str] | str | None = None,
    page: int = 1000,
) -> SqlSource:
    """Rows of a table or a query of a database, as dicts with the values that the driver gives.

    Rows come a page at a time, in the order of `cursor` and `key`, each page after the last row of the one before it. A run
    with a journal knows which rows were read: resumed, it reads those that are not done again by their keys (one that is
    gone goes to quarantine), then what comes after them. So with a `cursor` whose values grow, such as `updated_at`, a later
    run with the same journal reads what is new. A row that is committed late, with a cursor before the last one that was
    read, is not seen; let the query leave out what is too young to be sure of.

    A value that cannot be read costs its row alone. A connection that is lost is made anew, as `retry=` of
    `Pipeline.source` says.

    Args:
        url: As SQLAlchemy has it: `postgresql://user:password@host/database`, `mysql://...`, `sqlite:///file.db`. It is
            shown nowhere with its user, password or options. What is said by the other arguments may stand there as options,
            too: `postgresql://host/shop?table=orders`.
        query: A SELECT; or
        table: a table or view, as `orders` or `sales.orders`.
        cursor: A column whose values grow as rows are added or changed.
        key: The columns in which no two rows are alike; of a table, by default its primary key. A query without a key is
            read in one go, and a run that is resumed reads it from its start.
        page: Rows of a page.

    Raises:
        ConfigError: An option cannot be, or the extra `sql` or the driver (`postgres`, `mysql`) is not installed. What is
            wrong with the database is told before rows are read.

    Examples:
        >>> import contextlib, sqlite3
        >>> with contextlib.closing(sqlite3.connect("shop.db")) as db, db:
        ...     _ = db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, city TEXT)")
        ...     _ = db.execute("INSERT INTO orders VALUES (1, 'Lund'), (2, 'Oslo')")
        >>> rows = sources.sql("sqlite:///shop.db", table="orders")
        >>> [outcome.value for outcome in Pipeline().source(rows).stream()]
        [{'id': 1, 'city': 'Lund'}, {'id': 2, 'city': 'Oslo'}]
    """
    # What is not used is not imported (L46).
    from .connectors.sql.said import sql_source

    return sql_source(url, query=query, table=table, cursor=cursor, key=key, page=page)
