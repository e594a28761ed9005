"""Where rows go: `sinks.jsonl("out.jsonl")`, `sinks.csv("out.csv")`, where `-` is standard output;
`sinks.sqlite("out.db", "rows")`.

Any callable is a sink as it is: it gets one row's value a call. A file gets its name only when it is complete; until then
it is called `NAME.part`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .connectors.files import CsvSink, JsonlSink, StrPath

if TYPE_CHECKING:
    from .connectors.tables import SqliteSink

__all__ = ["csv", "jsonl", "sqlite"]


def jsonl(path: StrPath) -> JsonlSink:
    """One JSON value a line."""
    return JsonlSink(path)


def csv(path: StrPath, *, columns: list[str] | None = None, delimiter: str = ",") -> CsvSink:
    """Rows as dicts or structs; the columns are those of the first row, unless they are named."""
    return CsvSink(path, columns=columns, delimiter=delimiter)


def sqlite(path: StrPath, table: str) -> SqliteSink:
    """Rows as dicts or structs into a table of an SQLite database, which is made of the first row's columns if need be."""
    # What is not used is not imported (L46).
    from .connectors.tables import SqliteSink

    return SqliteSink(path, table)
