"""Rows of a Parquet file: its row groups, one after another, each a piece at a time.

The source has places: which group, how many rows of it, and a digest of the bytes of all groups before it. The file is known
again by its size and by its footer, which has the numbers of every group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, TypedDict

from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow

from ...errors import BadInput, ConfigError, SourceChanged
from ...rows.contracts import INFER, Contract
from ...text import kind_of, message_of
from ..file_identity import StrPath, checked_path
from ..iterables import IteratorSource
from ..remote import is_url, open_remote, shown
from .arrow import pyarrow

BATCH = 2048
"""Rows that are decoded at once."""
_CHUNK = 1 << 20
_DIGEST_CHARS = 32


class ParquetSource(IteratorSource):
    """Rows of one file; `sources.parquet` says how."""

    counts = False
    placed = True

    def __init__(self, path: StrPath) -> None:
        """Raises `ConfigError`."""
        super().__init__()
        self.path = checked_path(path)
        self.name = shown(self.path) if is_url(self.path) else self.path
        self._file: Any = None
        self._names: list[str] | None = None
        self._group = self._in_group = 0
        self._place: list[Any] | None = None
        self._digest = sha256()
        self._digested = 0

    # --- what it is ---

    def fields(self) -> list[str]:
        """The names of its columns. Raises `ConfigError` where they cannot be read."""
        self.check()
        return self._names or []

    def check(self) -> None:
        """Raise `ConfigError` where it cannot be read."""
        if self._names is None:
            file = self._opened()
            try:
                self._names = list(file.schema_arrow.names)
            finally:
                file.close(force=True)

    def fingerprint(self) -> dict[str, Any]:
        """By what it is known again: its size, and a digest of its footer."""
        path = self.name if is_url(self.path) else os.path.abspath(self.path)
        try:
            with self._bytes() as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 8))
                length = int.from_bytes(file.read(8)[:4], "little")
                file.seek(max(0, size - 8 - length))
                return {"path": path, "size": size, "digest": sha256(file.read()).hexdigest()[:_DIGEST_CHARS]}
        except (OSError, ConfigError):
            # What is wrong with it is told when it is opened.
            return {"path": path}

    def verify(self, place: list[Any]) -> str | None:
        """What is not as it was before a place, as a sentence; None where it is the same."""
        group, _, known = place
        file = self._opened()
        try:
            end = _end_of(file, group)
        finally:
            file.close(force=True)
        if self._digest_to(sha256(), 0, end) != known:
            return f"{self.name} was edited in the row groups that have been read already"
        return None

    def _digest_to(self, digest: Any, begin: int, end: int) -> str:
        with self._bytes() as file:
            file.seek(begin)
            left = end - begin
            while left > 0 and (data := file.read(min(left, _CHUNK))):
                digest.update(data)
                left -= len(data)
        return str(digest.hexdigest()[:_DIGEST_CHARS])

    # --- places ---

    def tell(self) -> list[Any]:
        """Which group, rows of it, and a digest of what is before it."""
        end = _end_of(self._open_file, self._group)
        if end > self._digested:
            self._digest_to(self._digest, self._digested, end)
            self._digested = end
        return [self._group, self._in_group, self._digest.hexdigest()[:_DIGEST_CHARS]]

    def resume(self, place: list[object] | None) -> None:
        """Begin at a place that `tell` told; None: at the first row."""
        self._place = place
        self.open()

    def place(self) -> str:
        """The file, the group and the row of it that was given last."""
        return f"{self.name}: row group {self._group}, row {self._in_group - 1}"

    # --- reading ---

    def open(self) -> None:
        self._group, self._in_group = (self._place[0], self._place[1]) if self._place is not None else (0, 0)
        self._digest, self._digested = sha256(), 0
        super().open()

    def held_to(self) -> Contract | str | None:
        if self._contract != INFER:
            return self._contract
        file = self._opened()
        try:
            # The file says it.
            return Contract(TypedDict("Row", {each.name: _kind(each.type) for each in file.schema_arrow}))  # type: ignore[operator]
        finally:
            file.close(force=True)

    def iterate(self) -> Iterator[object]:
        self._file = self._opened()
        return self._rows(self._file)

    def _opened(self) -> Any:
        _, parquet = pyarrow()
        if not is_url(self.path) and not os.path.exists(self.path):
            raise ConfigError(f"{self.name}: no such file")
        source = self._bytes()
        try:
            file = parquet.ParquetFile(source)
        except Exception as error:
            source.close()
            why = message_of(error).splitlines()[0] if message_of(error) else kind_of(error)
            raise ConfigError(f"{self.name}: cannot be read as Parquet: {why}") from None
        names = list(file.schema_arrow.names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            file.close(force=True)
            raise ConfigError(f"{self.name}: has two columns {twice!r}, of which a row could hold one")
        return file

    def _bytes(self) -> Any:
        """The file that is read, opened."""
        return open_remote(self.path) if is_url(self.path) else open(self.path, "rb")

    def _rows(self, file: Any) -> Iterator[object]:
        names = list(file.schema_arrow.names)
        skip = self._in_group
        for group in range(self._group, file.num_row_groups):
            if group != self._group:
                self._group, self._in_group = group, 0
            for batch in self._batches(file, group):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                for row in self._of_batch(batch.slice(skip), names):
                    self._in_group += 1
                    yield row
                skip = 0

    def _batches(self, file: Any, group: int) -> Iterator[Any]:
        try:
            yield from file.iter_batches(BATCH, row_groups=[group])
        except GeneratorExit:
            raise
        except Exception as error:
            raise SourceChanged(
                f"{self.name}: row group {group} is damaged, or was changed while it was read: {message_of(error)}"
            ) from None

    def _of_batch(self, batch: Any, names: list[str]) -> Iterator[object]:
        try:
            columns = [_values(column) for column in batch.columns]
        except Exception:
            # One of them cannot be read, and all others can.
            for i in range(batch.num_rows):
                yield self._one(batch.slice(i, 1), names)
            return
        if not columns:
            yield from ({} for _ in range(batch.num_rows))
            return
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))

    def _one(self, batch: Any, names: list[str]) -> object:
        row: dict[str, object] = {}
        fault = None
        for name, column in zip(names, batch.columns, strict=True):
            try:
                [row[name]] = _values(column)
            except Exception as error:
                fault = (
                    fault or f"field {name!r}: cannot be read as a value of Python ({kind_of(error)}: {column.type})"
                )
        if fault is None:
            return row
        self.bad += 1
        return BadRow(BadInput(f"{self.name}: row group {self._group}, row {self._in_group}: {fault}"), row)

    def close(self) -> None:
        try:
            super().close()
        finally:
            file, self._file = self._file, None
            if file is not None:
                file.close(force=True)

    @property
    def _open_file(self) -> Any:
        if self._file is None:
            raise InternalError("a source is opened before it is read")
        return self._file


def _values(column: Any) -> list[object]:
    """Of a column, as Python has them. Raises what pyarrow raises where it has none."""
    kind = _in_micros(column.type)
    if kind != column.type:
        # Of nanoseconds, Python has the microseconds; where more is there, this fails.
        column = column.cast(kind)
    values: list[Any] = column.to_pylist()
    if pyarrow()[0].types.is_float16(kind):
        # They come as numbers of numpy, in older versions.
        return [float(value) if value is not None else None for value in values]
    return values


def _in_micros(kind: Any) -> object:
    arrow, _ = pyarrow()
    types = arrow.types
    if types.is_timestamp(kind) and kind.unit == "ns":
        return arrow.timestamp("us", kind.tz)
    if types.is_time64(kind) and kind.unit == "ns":
        return arrow.time64("us")
    if types.is_duration(kind) and kind.unit == "ns":
        return arrow.duration("us")
    if types.is_dictionary(kind):
        return _in_micros(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return arrow.list_(_in_micros(kind.value_type)) if _in_micros(kind.value_type) != kind.value_type else kind
    if types.is_struct(kind):
        fields = [arrow.field(each.name, _in_micros(each.type), each.nullable) for each in kind]
        return arrow.struct(fields) if any(f.type != each.type for f, each in zip(fields, kind, strict=True)) else kind
    return kind


def _kind(kind: object) -> object:
    """The type of Python that values of a column have."""
    import datetime
    import decimal

    arrow, _ = pyarrow()
    types = arrow.types
    table: list[tuple[Any, Any]] = [
        (types.is_boolean, bool),
        (types.is_integer, int),
        (types.is_floating, float),
        (types.is_string, str),
        (types.is_large_string, str),
        (types.is_binary, bytes),
        (types.is_timestamp, datetime.datetime),
        (types.is_date, datetime.date),
        (types.is_decimal, decimal.Decimal),
    ]
    found = next((python for is_kind, python in table if is_kind(kind)), None)
    return found | None if found is not None else Any


def _end_of(file: Any, group: int) -> int:
    """The byte at which the groups before this one end."""
    end = 4
    for i in range(min(group, file.metadata.num_row_groups)):
        rows = file.metadata.row_group(i)
        for j in range(rows.num_columns):
            column = rows.column(j)
            begin = column.data_page_offset
            if column.dictionary_page_offset:
                begin = min(begin, column.dictionary_page_offset)
            end = max(end, begin + column.total_compressed_size)
    return end
