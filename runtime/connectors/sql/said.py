"""Sources and sinks of databases as they are said: by arguments, or by options of the URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ConfigError
from ..part_file import IfExists
from ..sqlite import SqliteSink
from .address import Address, split
from .sink import SqlSink
from .source import SqlSource

_OF_SOURCE = frozenset({"table", "query", "cursor", "key", "page"})
_OF_SINK = frozenset({"table", "key", "if_exists"})
"""Options of a URL that are not the driver's."""


def sql_source(
    url: str,
    *,
    query: str | None,
    table: str | None,
    cursor: str | None,
    key: Sequence[str] | str | None,
    page: int,
) -> SqlSource:
    """The source that is said by these, or by the options of the URL. Raises `ConfigError`."""
    plain, said = split(url, _OF_SOURCE)
    number = said.get("page", "")
    return SqlSource(
        plain,
        query=query or said.get("query"),
        table=table or said.get("table"),
        cursor=cursor or said.get("cursor"),
        key=key or (said["key"].split(",") if "key" in said else None),
        page=int(number) if number.isdecimal() else page,
    )


def sql_sink(
    url: str, table: str | None, *, key: Sequence[str] | str | None, if_exists: IfExists | None
) -> SqlSink | SqliteSink:
    """The sink that is said by these, or by the options of the URL. Raises `ConfigError`."""
    plain, said = split(url, _OF_SINK)
    address = Address(plain)
    table = table or said.get("table")
    if table is None:
        raise ConfigError(f"{address.shown}: say table=, the table that rows are written to")
    key = key or (said["key"].split(",") if "key" in said else None)
    becomes: Any = if_exists or said.get("if_exists")
    if address.dialect == "sqlite":
        if address.path is None:
            raise ConfigError(f"{address.shown}: is in memory, and gone after the run; name a file: sqlite:///out.db")
        return SqliteSink(address.path, table, key=key, if_exists=becomes)
    return SqlSink(plain, table, key=key, if_exists=becomes)
