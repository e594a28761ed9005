"""Exports as Parquet: each record as it is in the JSON Lines, with its chain, and what most people ask for as columns.

The chain is over the column `record`; the others are copies of what it says, and are compared with it when an export is
verified. Needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from headrace.runtime.errors import ConfigError

MAGIC = b"PAR1"
"""How a file of that format begins."""
GROUP = 20_000
"""Records in one row group."""

_COLUMNS = {
    "type": "string",
    "row": "int64",
    "of": "string",
    "where": "string",
    "at": "float64",
    "took_s": "float64",
    "attempts": "int64",
    "status": "string",
    "kind": "string",
    "error": "string",
    "message": "string",
    "value": "string",
    "record": "string",
    "chain": "string",
}


class _Record(msgspec.Struct):
    """What columns show of a record. `of`: a list where there are several."""

    type: str
    row: int | None = None
    of: str | list[str] | None = None
    stage: str | None = None
    node: str | None = None
    sink: str | None = None
    at: float | None = None
    took_s: float | None = None
    attempts: int | None = None
    status: str | None = None
    kind: str | None = None
    error: str | None = None
    message: str | None = None
    value: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct):
    record: msgspec.Raw
    chain: str


_line = msgspec.json.Decoder(_Line).decode
_record = msgspec.json.Decoder(_Record).decode


def write(path: Path | IO[bytes], lines: Iterable[bytes]) -> None:
    """The lines of an export, as a file of that format. Raises `ConfigError` without the extra, `OSError`."""
    arrow, parquet = _pyarrow()
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in _COLUMNS.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(map(_row, lines)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))


def read(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The lines again, each with whether its columns say what it says. Raises `ConfigError`, also where it is no export."""
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            if file.schema_arrow.names != list(_COLUMNS):
                raise ConfigError("is no export of a journal")
            for batch in file.iter_batches(GROUP):
                for row in batch.to_pylist():
                    line = b'{"record":' + row["record"].encode() + b',"chain":"' + row["chain"].encode() + b'"}\n'
                    yield line, _says_the_same(line, row)
    except (arrow.ArrowInvalid, OSError) as error:
        raise ConfigError(f"cannot be read: {error}") from None


def _says_the_same(line: bytes, row: dict[str, object]) -> bool:
    try:
        return _row(line) == row
    except msgspec.MsgspecError:
        return False


def _row(line: bytes) -> dict[str, object]:
    told = _line(line)
    record = _record(told.record)
    several = isinstance(record.of, list)
    return {
        "type": record.type,
        "row": record.row,
        "of": msgspec.json.encode(record.of).decode() if several else record.of,
        "where": record.stage or record.node or record.sink,
        "at": record.at,
        "took_s": record.took_s,
        "attempts": record.attempts,
        "status": record.status,
        "kind": record.kind,
        "error": record.error,
        "message": record.message,
        "value": bytes(record.value).decode() or None,
        "record": bytes(told.record).decode(),
        "chain": told.chain,
    }


def _groups(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    group: list[dict[str, object]] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ConfigError("Parquet needs the extra 'parquet': pip install 'headrace[parquet]'") from None
    return pyarrow, parquet
