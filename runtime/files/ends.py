"""The ends of a job file: where its rows come from and go to, as tables, or as a text that is a path or a URL.

    source = "postgresql://${DB_USER}:${DB_PASSWORD}@db/shop?table=orders"
    sink = "out.jsonl"

`${NAME}` in a path or a URL stands for a variable of the environment, so that no secret need be in the file.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from .. import sinks, sources
from ..connectors import plugins
from ..connectors.file_identity import checked_path
from ..connectors.formats import text_encoding
from ..connectors.input_file import is_standard_input
from ..connectors.packed import unpacked_name
from ..connectors.plugins import Role
from ..connectors.port import SinkConnector, SourceConnector
from ..connectors.remote import is_url, shown
from .strict_toml import Reading
from .targets import made, named

Target = Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
"""`module:name`."""


class SourceTable(Struct, forbid_unknown_fields=True):
    """`[source]`. `type`: one of `_SOURCE_KEYS`, or the name of a plug-in, which gets the `options`. `rows`: the contract,
    `module:name` of a type, or "infer"."""

    type: str
    path: str | None = None
    url: str | None = None
    query: str | None = None
    table: str | None = None
    cursor: str | None = None
    key: str | list[str] | None = None
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    call: Target | None = None
    options: dict[str, Any] = {}
    rows: Annotated[str, Meta(pattern=r"^(infer|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$")] | None = None
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"


_SOURCE_KEYS = {
    "csv": ("path", "rows", "delimiter", "encoding"),
    "json": ("path", "rows", "encoding"),
    "jsonl": ("path", "rows", "encoding"),
    "parquet": ("path", "rows"),
    "sql": ("url", "query", "table", "cursor", "key", "page", "rows"),
    "python": ("call", "rows"),
}
"""What can be said of each type of source."""
_OF_PLUGINS: dict[Role, tuple[str, ...]] = {"source": ("url", "options", "rows"), "sink": ("url", "options")}
"""What can be said of those that packages bring."""


class QuarantineTable(Struct, forbid_unknown_fields=True):
    """`[quarantine]`. `if_exists`: what becomes of what is there; see `headrace.runtime.sinks`. `key`: the columns by which
    a row of a table is known."""

    type: str
    path: str | None = None
    url: str | None = None
    table: str | None = None
    call: Target | None = None
    options: dict[str, Any] = {}
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    columns: list[str] | None = None
    schema: Target | None = None
    compression: Literal["zstd", "snappy", "gzip", "brotli", "lz4", "none"] = "zstd"
    key: str | list[str] | None = None
    if_exists: Literal["error", "replace", "append"] | None = None


class SinkTable(QuarantineTable):
    """`[sink]`, or several `[[sink]]`; see `Pipeline.sink`."""

    name: str | None = None
    after: str | list[str] | None = None
    ordered: bool | None = None
    on_error: Literal["abort", "drain"] = "abort"


_SINK_KEYS: dict[str, tuple[str, ...]] = {
    "csv": ("path", "columns", "delimiter", "if_exists"),
    "jsonl": ("path", "if_exists"),
    "parquet": ("path", "schema", "compression", "if_exists"),
    "sqlite": ("path", "table", "key", "if_exists"),
    "sql": ("url", "table", "key", "if_exists"),
    "python": ("call",),
}
"""What can be said of each type of sink, besides `type` and what is said of the node."""
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""The type of a file, by its name."""
_DATABASES = re.compile(r"(postgres(ql)?|mysql|mariadb|sqlite|mssql|oracle|duckdb)(\+\w+)?://")
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")


def as_tables(reading: Reading) -> None:
    """An end that is a text becomes the table that it stands for."""
    for end in ("source", "sink", "quarantine"):
        said = reading.data.get(end)
        if isinstance(said, str):
            reading.data[end] = _table_of(reading, said, end)


def _table_of(reading: Reading, said: str, key: str) -> dict[str, Any]:
    if _DATABASES.match(said):
        return {"type": "sql", "url": said}
    scheme = said.partition("://")[0]
    if "://" in said and scheme in plugins.names("source" if key == "source" else "sink"):
        return {"type": scheme, "url": said}
    kind = _type_of(said)
    if kind is None:
        known = ", ".join(sorted(_SUFFIXES))
        # What looks like a URL may have a password in it.
        said = shown(said) if is_url(said) else said
        reading.note(
            key,
            f"{said!r} is neither the URL of a database nor a file whose name says what it is ({known}); write a table"
            f" [{key}] with a type",
        )
        return {"type": "jsonl", "path": "-"}
    table = {"type": kind, "path": said}
    return {**table, "delimiter": "\t"} if ".tsv" in said.lower() else table


def _type_of(path: str) -> str | None:
    return _SUFFIXES.get(os.path.splitext(unpacked_name(path).lower())[1])


def filled_in(reading: Reading, text: str | None, key: str) -> str | None:
    """A text with the variables of the environment that it names; None where one is missing, which is noted."""
    if text is None:
        return None
    missing = [name for name in _VARIABLE.findall(text) if name not in os.environ]
    for name in dict.fromkeys(missing):
        reading.note(key, f"the variable {name} of the environment is not set")
    return None if missing else _VARIABLE.sub(lambda found: os.environ[found[1]], text)


# --- sources ---


def source_of(reading: Reading, table: SourceTable) -> SourceConnector | Any:
    """The source that a table describes; None where there are mistakes, which are noted."""
    if table.type is None or not _is_known(reading, "source", table.type, "source.type", _SOURCE_KEYS):
        return None
    known = _SOURCE_KEYS.get(table.type, _OF_PLUGINS["source"])
    for name in reading.data["source"]:
        if name in SourceTable.__struct_fields__ and name not in (*known, "type"):
            reading.note(f"source.{name}", f"says nothing of a {table.type} source; known are {', '.join(known)}")
    source = _MAKERS.get(table.type, _source_of_plugin)(reading, table)
    check = getattr(source, "check", None) if table.type != "python" else None
    if check is not None and not reading.mistakes:
        reading.attempt("source", check)
    return source


def _is_known(reading: Reading, role: Role, kind: str, key: str, own: Mapping[str, object]) -> bool:
    """Whether there is such a type of source or sink; noted where there is not."""
    if kind in own or kind in plugins.names(role):
        return True
    known = [*own, *plugins.names(role)]
    near = difflib.get_close_matches(kind, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    reading.note(key, f"there is no {role} of the type {kind!r}; {hint}")
    return False


def _of_plugin(reading: Reading, role: Role, table: SourceTable | QuarantineTable, key: str) -> Any:
    url = filled_in(reading, table.url, f"{key}.url")
    options = {name: _filled(reading, value, f"{key}.options") for name, value in table.options.items()}
    if url is not None:
        options["url"] = url
    return reading.attempt(key, lambda: plugins.made(role, table.type, options)) if not reading.mistakes else None


def _filled(reading: Reading, value: Any, key: str) -> Any:
    return filled_in(reading, value, key) if isinstance(value, str) else value


def _source_of_plugin(reading: Reading, table: SourceTable) -> Any:
    return _of_plugin(reading, "source", table, "source")


def _python_source(reading: Reading, table: SourceTable) -> Any:
    given = named(reading, needed(reading, table.call, "source.call"), "source.call")
    return made(reading, given, "source.call") if callable(given) else given


def _sql_source(reading: Reading, table: SourceTable) -> Any:
    url = filled_in(reading, needed(reading, table.url, "source.url"), "source.url")
    if url is None:
        return None
    said = {"query": table.query, "table": table.table, "cursor": table.cursor, "key": table.key, "page": table.page}
    return reading.attempt("source", lambda: sources.sql(url, **said))  # type: ignore[arg-type]


def _file_source(reading: Reading, table: SourceTable) -> Any:
    path = filled_in(reading, needed(reading, table.path, "source.path"), "source.path")
    if path is None:
        return None
    if not (is_standard_input(path) or is_url(path) or has_magic(path)) and not Path(path).exists():
        reading.note("source.path", f"no such file: {path}")
        return None
    if table.type == "parquet":
        return reading.attempt("source", lambda: sources.parquet(path))
    if table.encoding is None or reading.attempt("source.encoding", lambda: text_encoding(table.encoding)) is None:
        return None
    if table.type in ("json", "jsonl"):
        return getattr(sources, table.type)(path, encoding=table.encoding)
    key = "source.delimiter"
    return reading.attempt(key, lambda: sources.csv(path, delimiter=table.delimiter, encoding=table.encoding))


_MAKERS: dict[str, Callable[[Reading, SourceTable], Any]] = {
    "csv": _file_source,
    "json": _file_source,
    "jsonl": _file_source,
    "parquet": _file_source,
    "sql": _sql_source,
    "python": _python_source,
}

# --- sinks ---


def sink_of(reading: Reading, table: QuarantineTable, key: str) -> SinkConnector | Any:
    """The sink that a table describes; None where there are mistakes, which are noted."""
    if table.type is None or not _is_known(reading, "sink", table.type, f"{key}.type", _SINK_KEYS):
        return None
    known = _SINK_KEYS.get(table.type, _OF_PLUGINS["sink"])
    for said in _said_of_sink(reading, key):
        if said not in known:
            reading.note(
                f"{key}.{said}", f"says nothing of a sink of the type {table.type}; known are {', '.join(known)}"
            )
    if table.type not in _SINK_KEYS:
        return _of_plugin(reading, "sink", table, key)
    if table.type == "python":
        given = named(reading, needed(reading, table.call, f"{key}.call"), f"{key}.call")
        return made(reading, given, f"{key}.call") if isinstance(given, type) else given
    if table.type == "sql":
        return _sql_sink(reading, table, key)
    return _file_sink(reading, table, key)


def _sql_sink(reading: Reading, table: QuarantineTable, key: str) -> Any:
    url = filled_in(reading, needed(reading, table.url, f"{key}.url"), f"{key}.url")
    if url is None:
        return None
    sink = reading.attempt(key, lambda: sinks.sql(url, table.table, key=table.key, if_exists=table.if_exists))
    check = getattr(sink, "check", None)
    if check is not None and not reading.mistakes:
        reading.attempt(key, check)
    return sink


def _file_sink(reading: Reading, table: QuarantineTable, key: str) -> Any:
    path = filled_in(reading, needed(reading, table.path, f"{key}.path"), f"{key}.path")
    if path is None:
        return None
    if reading.attempt(f"{key}.path", lambda: checked_path(path)) is None:
        return None
    if path != "-" and not is_url(path) and not Path(folder := os.path.dirname(os.path.realpath(path))).is_dir():
        # Of a link, the folder that it leads to is the one that is missing.
        reading.note(f"{key}.path", f"no such folder: {folder if os.path.islink(path) else Path(path).parent}")
        return None
    exists = table.if_exists
    if table.type == "jsonl":
        return sinks.jsonl(path, if_exists=exists)
    if table.type == "parquet":
        schema = named(reading, table.schema, f"{key}.schema")
        make_parquet = partial(sinks.parquet, path, schema=schema, compression=table.compression, if_exists=exists)
        return reading.attempt(key, make_parquet)
    if table.type == "sqlite":
        name = needed(reading, table.table, f"{key}.table")
        columns = [table.key] if isinstance(table.key, str) else table.key
        make = partial(sinks.sqlite, path, name or "", key=columns, if_exists=exists)
        return reading.attempt(f"{key}.table", make) if name is not None else None
    make_csv = partial(sinks.csv, path, columns=table.columns, delimiter=table.delimiter, if_exists=exists)
    return reading.attempt(key, make_csv)


def _said_of_sink(reading: Reading, key: str) -> list[str]:
    """What the file says of this sink, less what it says of its node."""
    head, _, index = key.partition("[")
    tables = reading.data[head]
    table = tables[int(index[:-1])] if index else tables
    return [name for name in table if name in QuarantineTable.__struct_fields__ and name != "type"]


def needed(reading: Reading, value: str | None, key: str) -> str | None:
    """A value, which is noted where it is missing."""
    if value is None:
        reading.note(key, "is missing")
    return value
