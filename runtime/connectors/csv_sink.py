"""Writes rows into a CSV file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Literal

import msgspec

from ..errors import BadInput, ConfigError, UnwritableRows
from ..text import kind_of
from .file_identity import StrPath
from .file_sink import HEAD_BYTES, FileSink
from .formats import other_separator
from .json_values import encode, plain, surrogate_in
from .part_file import IfExists, PartFile
from .records import record_of
from .stream_output import StreamOutput

_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of cells that `csv` writes as they are to be written."""
_NO_HEADER = re.compile(rb"^\s*[\[{<]|[\x00-\x08\x0e-\x1f]")
"""Text that a table does not begin with, and what is no text."""


class CsvSink(FileSink):
    """Rows as dicts or structs; see the module."""

    kind = "CSV"

    def __init__(
        self,
        path: StrPath,
        *,
        columns: Sequence[str] | None = None,
        delimiter: str = ",",
        if_exists: IfExists | None = None,
    ) -> None:
        """Raises `ConfigError`."""
        super().__init__(path, if_exists)
        check_delimiter(self.name, delimiter)
        self._named = _checked_columns(self.name, columns)
        self._delimiter = delimiter
        self._columns: list[str] | None = None
        self._known: frozenset[str] = frozenset()
        self._headed = False

    def _begin_at(self, columns: list[str] | None, *, headed: bool) -> None:
        self._columns, self._headed = columns, headed
        self._known = frozenset(columns or ())

    def _check_head(self, head: str, *, whole: bool) -> None:
        lines = head.split("\n")
        lines = [line for line in (lines if whole else lines[:-1]) if line.strip()]
        other = other_separator(lines, self._delimiter)
        if other is not None:
            raise ConfigError(f"the columns of what is there are separated by {other!r}: say delimiter={other!r}")
        columns = next(csv.reader(io.StringIO(head, newline=""), delimiter=self._delimiter), [])
        twice = next((column for column in columns if columns.count(column) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"the column {_shown(twice)} stands twice in the header of what is there, so no row could be written under"
                " it: give each column a name of its own, or name another file"
            )

    def _on_claimed(self, output: PartFile | StreamOutput) -> None:
        before = output.goes_on_from if isinstance(output, PartFile) else None
        if before is None:
            self._begin_at(self._named, headed=False)
            return
        with open(before, encoding="utf-8-sig", errors="replace", newline="") as file:
            columns = next(csv.reader(file, delimiter=self._delimiter), [])
        if self._named is not None and self._named != columns:
            raise ConfigError(
                f"{self.name}: the rows that are there have the columns {_listed(columns)}, and columns= names"
                f" {_listed(self._named)}; name the same ones, or another file"
            )
        self._begin_at(columns, headed=True)

    def write(self, items: list[Any]) -> None:
        data = self._fast(items)
        if data is not None:
            self._write(data)
            return
        rows: list[Sequence[object]] = []
        faults: dict[int, BaseException] = {}
        for i, item in enumerate(items):
            cells = self._cells(item)
            if isinstance(cells, str):
                faults[i] = BadInput(f"{self.name}: {cells}")
            else:
                rows.append(cells)
        if rows:
            head = b"" if self._headed else self._header()
            self._write(head + self._lines(rows))
            self._headed = True
        if faults:
            raise UnwritableRows(faults)

    def _fast(self, items: list[Any]) -> bytes | None:
        """All rows at once; None where there is anything about one of them that is to be looked at."""
        columns, kinds = self._columns, set(map(type, items))
        if not columns or not self._headed or len(kinds) != 1:
            return None
        try:
            if kinds != {dict}:
                items = msgspec.to_builtins(items) if issubclass(kinds.pop(), msgspec.Struct) else []
            if set(map(len, items)) != {len(columns)}:
                return None
            rows = list(map(_getter(columns), items))
            if not _PLAIN.issuperset(map(type, chain.from_iterable(rows))):
                return None
            text = self._joined(rows)
            return None if "\r" in text else text.encode()
        except (KeyError, TypeError, ValueError, RecursionError):
            return None

    def _cells(self, item: object) -> list[object] | str:
        """The cells of a row, or what is wrong with it. The first row's keys are the columns."""
        row = record_of(item, "a row of a CSV file")
        if isinstance(row, str):
            return row
        columns = self._columns
        if columns is None:
            wrong = next((fault for key in row if (fault := _fault_of_column(key)) is not None), None)
            if wrong is not None or not row:
                return wrong or "a row without columns, and none are named with columns=[...]"
            columns = list(row)
        else:
            for key in row:
                if key not in self._known:
                    return (
                        f"key {_shown(key)}: is no column; they are those of the first row, unless all are named with"
                        " columns=[...]"
                    )
        cells: list[object] = []
        for column in columns:
            cell, fault = _cell(row.get(column))
            if fault is not None:
                return f"field {_shown(column)}: {fault}"
            cells.append(cell)
        if self._columns is None:
            self._begin_at(columns, headed=False)
        return cells

    def _lines(self, rows: Sequence[Sequence[object]]) -> bytes:
        text = self._joined(rows)
        if "\r" in text:
            # Before Python 3.11.9, a lone carriage return is left unquoted, and ends the line for whoever reads it.
            text = "".join(self._joined([row], quoted=any("\r" in str(cell) for cell in row)) for row in rows)
        return text.encode()

    def _header(self) -> bytes:
        columns = self._columns or []
        # What a file begins with may be taken for a byte order mark, or for word of its separator.
        odd = columns[0].startswith(("\ufeff", "sep=")) or any("\r" in column for column in columns)
        return self._joined([columns], quoted=odd).encode()

    def _joined(self, rows: Sequence[Sequence[object]], *, quoted: bool = False) -> str:
        texts = _Texts()
        quoting: Literal[0, 1] = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        csv.writer(texts, delimiter=self._delimiter, lineterminator="\n", quoting=quoting).writerows(rows)
        return "".join(texts)

    def _ending(self) -> bytes:
        """A file without rows has a header, so that it can be read again: where nothing says what the columns would have
        been, those of the source are the best guess."""
        if not self._headed and self._columns is None and self._run.columns:
            self._columns = list(self._run.columns)
        if self._headed or not self._columns:
            return b""
        self._headed = True
        return self._header()

    def _has_rows(self, path: str) -> bool:
        """A header is no row. A line of something else (a picture, JSON without line feeds) is none that could be lost
        without a word."""
        with open(path, "rb") as first:
            head = first.read(HEAD_BYTES)
        if len(head) == HEAD_BYTES or _NO_HEADER.search(head) is not None:
            return True
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            try:
                return next(reader, None) is not None and any(reader)
            except csv.Error:
                return True


class _Texts(list[str]):
    """A file as far as `csv` needs one."""

    write = list.append


def check_delimiter(name: str, delimiter: str) -> None:
    """Raise `ConfigError` for what cannot stand between two cells."""
    if len(delimiter) != 1 or delimiter in '"\r\n\x00' or surrogate_in(delimiter) is not None:
        raise ConfigError(
            f"{name}: delimiter {delimiter!r}: one character is needed that is no quote and no end of line"
        )


def _checked_columns(name: str, columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    named = list(columns) if not isinstance(columns, str) else []
    if not named:
        raise ConfigError(f"{name}: columns={columns!r}: a list of names is needed, of one column at least")
    for column in named:
        fault = _fault_of_column(column)
        if fault is None and named.count(column) > 1:
            fault = f"{column!r} stands there twice"
        if fault is not None:
            raise ConfigError(f"{name}: columns: {fault}")
    return named


def _fault_of_column(key: object) -> str | None:
    if type(key) is not str:
        return f"key {_shown(key)}: is no text"
    fault = surrogate_in(key)
    return f"key {_shown(key)}: {fault}" if fault is not None else None


def _cell(value: object) -> tuple[object, str | None]:
    """(what to write, None), or (None, what is wrong with it)."""
    if type(value) is str:
        return value, surrogate_in(value)
    if type(value) in _PLAIN:
        if type(value) is int and abs(value) >> 64:
            return _digits(value)
        return value, None
    data, fault = encode(value)
    if fault is not None:
        return None, fault
    try:
        built = msgspec.to_builtins(value, enc_hook=plain)
    except Exception as error:
        return None, f"it cannot be written as text ({kind_of(error)})"
    return built if isinstance(built, str | int | float | None) else data.decode(), None


def _digits(value: int) -> tuple[object, str | None]:
    try:
        return str(value), None
    except ValueError as error:
        return None, str(error).partition(";")[0]


def _getter(columns: list[str]) -> Callable[[dict[str, object]], Any]:
    if len(columns) == 1:
        column = columns[0]
        return lambda row: (row[column],)
    return itemgetter(*columns)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(_shown, columns))


def _shown(key: object) -> str:
    text = ascii(key)
    return text if len(text) <= 80 else f"{text[:77]}..."
