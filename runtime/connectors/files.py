"""Rows in files: CSV and JSON Lines, both ways; `-` is standard input and output.

A bad line is a row that goes to quarantine with its line number; a bad file is one clear message. An output file gets its
name only when it is complete; until then it is called `NAME.part`.
"""

from __future__ import annotations

import codecs
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from headrace.actors.protocol import BadRow
from headrace.runtime.errors import BadInput, ConfigError

from .memory import IteratorSource

FIELD_CHARS_MAX = 16 * 1024 * 1024
"""Characters in one CSV field at most; a longer one is most likely a quote that was never closed."""

StrPath = str | os.PathLike[str]


class _FileSource(IteratorSource):
    """Base: opens the file, names it in errors."""

    def __init__(self, path: StrPath, encoding: str) -> None:
        super().__init__()
        self.path = os.fspath(path)
        self.name = "standard input" if self.path == "-" else self.path
        self.quiet = self.path == "-"
        # A byte order mark is no part of the first field, where the encoding is UTF-8 anyway.
        self._encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        try:
            codecs.lookup(self._encoding)
        except LookupError:
            raise ConfigError(f"{self.name}: unknown encoding {encoding!r}") from None
        self._file: IO[Any] | None = None
        self._line = 0

    def place(self) -> str:
        return f"{self.name}:{self._line}"

    def open(self) -> None:
        self._file = self._open_file()
        try:
            super().open()
        except BaseException:
            self.close()
            raise

    def _open_file(self) -> IO[Any]:
        try:
            return self._open_path()
        except FileNotFoundError:
            raise ConfigError(f"{self.name}: no such file") from None
        except IsADirectoryError:
            raise ConfigError(f"{self.name}: is a folder, not a file") from None
        except OSError as error:
            raise ConfigError(f"{self.name}: cannot be read: {error.strerror}") from error

    def _open_path(self) -> IO[Any]:
        raise NotImplementedError

    def close(self) -> None:
        super().close()
        if self._file is not None and self.path != "-":
            self._file.close()

    def _bad(self, line: int, what: str, raw: Any) -> BadRow:
        self.bad += 1
        return BadRow(BadInput(f"{self.name}:{line}: {what}"), raw)


class CsvSource(_FileSource):
    """Rows as dicts, one string a column."""

    def __init__(self, path: StrPath, *, delimiter: str = ",", encoding: str = "utf-8") -> None:
        super().__init__(path, encoding)
        if len(delimiter) != 1:
            raise ConfigError(f"{self.name}: delimiter {delimiter!r} is not one character")
        self._delimiter = delimiter

    def _open_path(self) -> IO[str]:
        if self.path == "-":
            return open(sys.stdin.fileno(), encoding=self._encoding, errors="replace", newline="", closefd=False)
        # A byte that is no text spoils its row, not the file.
        return open(self.path, encoding=self._encoding, errors="surrogateescape", newline="")

    def iterate(self) -> Iterator[Any]:
        assert self._file is not None
        csv.field_size_limit(FIELD_CHARS_MAX)
        reader = csv.reader(self._file, delimiter=self._delimiter, strict=True)
        try:
            header = next(reader, None)
        except (csv.Error, UnicodeError) as error:
            raise ConfigError(f"{self.name}:1: the header cannot be read: {error}") from None
        if header is None:
            raise ConfigError(f"{self.name}: is empty; a CSV file begins with a line of column names")
        twice = sorted({column for column in header if header.count(column) > 1})
        if twice:
            raise ConfigError(f"{self.name}:1: column {twice[0]!r} stands there twice")
        return self._rows(reader, header)

    def _rows(self, reader: Any, header: list[str]) -> Iterator[Any]:
        n = len(header)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._bad(line, f"not CSV: {error}", None)
                continue
            except UnicodeError as error:
                raise BadInput(f"{self.name}:{line}: not {self._encoding}: {error}") from error
            self._line = line
            if len(fields) == n:
                if any(map(_has_surrogates, fields)):
                    yield self._bad(line, f"bytes that are not {self._encoding}", None)
                else:
                    yield dict(zip(header, fields, strict=True))
            elif fields:
                yield self._bad(line, f"{len(fields)} fields where the header has {n}", fields)

    def fields(self) -> list[str] | None:
        """The names of the columns, so that what refers to them can be checked before anything runs; None where the file
        cannot be looked into beforehand."""
        if not os.path.isfile(self.path):
            # What is read from a pipe is gone.
            return None
        try:
            with self._open_path() as file:
                return next(csv.reader(file, delimiter=self._delimiter, strict=True), None)
        except (OSError, csv.Error, UnicodeError):
            # What is wrong with it is told when it is read.
            return None


def _has_surrogates(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


class JsonlSource(_FileSource):
    """Rows as whatever JSON value stands on a line; empty lines are no rows."""

    def __init__(self, path: StrPath) -> None:
        super().__init__(path, "utf-8")

    def _open_path(self) -> IO[bytes]:
        return sys.stdin.buffer if self.path == "-" else open(self.path, "rb")

    def iterate(self) -> Iterator[Any]:
        assert self._file is not None
        decode = msgspec.json.Decoder().decode
        for line, raw in enumerate(self._file, 1):
            self._line = line
            text = raw.removeprefix(codecs.BOM_UTF8) if line == 1 else raw
            if not text.strip():
                continue
            try:
                value = decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield self._bad(line, f"not JSON: {error}", raw.decode(errors="replace").rstrip("\r\n"))
            else:
                yield value


class _FileSink:
    """Base: writes to `NAME.part`, and renames it when it is complete."""

    def __init__(self, path: StrPath) -> None:
        self.path = os.fspath(path)
        self.name = "standard output" if self.path == "-" else self.path
        self._file: IO[bytes] | None = None

    @property
    def _part(self) -> str:
        return self.path + ".part"

    def open(self) -> None:
        if self.path == "-":
            self._file = sys.stdout.buffer
            return
        try:
            if os.path.isdir(self.path):
                raise IsADirectoryError(21, "is a folder, not a file")
            self._file = open(self._part, "wb")  # noqa: SIM115 - closed by `close`
        except FileNotFoundError:
            raise ConfigError(f"{self.path}: the folder {str(Path(self.path).parent)!r} does not exist") from None
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "a sink is opened before it is written"
        self._file.write(data)
        # What is released is written, not kept for the end (L37).
        self._file.flush()

    def close(self, complete: bool) -> None:
        file, self._file = self._file, None
        if file is None or self.path == "-":
            return
        if complete:
            file.flush()
            os.fsync(file.fileno())
        file.close()
        if complete:
            os.replace(self._part, self.path)


class JsonlSink(_FileSink):
    """One JSON value a line; dataclasses, msgspec Structs, dates, decimals and the like are written as msgspec does."""

    def __init__(self, path: StrPath) -> None:
        super().__init__(path)
        self._encoder = msgspec.json.Encoder(enc_hook=str)

    def write(self, items: list[Any]) -> None:
        self._write(self._encoder.encode_lines(items))


class CsvSink(_FileSink):
    """Rows as dicts; the columns are those of the first row, unless they are named."""

    def __init__(self, path: StrPath, *, columns: list[str] | None = None, delimiter: str = ",") -> None:
        super().__init__(path)
        self._columns = columns
        self._delimiter = delimiter
        self._begun = False

    def open(self) -> None:
        super().open()
        self._begun = False

    def write(self, items: list[Any]) -> None:
        lines = _Lines()
        rows = [item if isinstance(item, dict) else msgspec.to_builtins(item) for item in items]
        for row in rows:
            if not isinstance(row, dict):
                raise BadInput(f"{self.name}: a CSV row is a dict or a struct, not {type(row).__name__}")
        if not rows:
            return
        columns = self._columns = self._columns or list(rows[0])
        writer = csv.DictWriter(lines, columns, delimiter=self._delimiter, lineterminator="\n")
        if not self._begun:
            writer.writeheader()
            self._begun = True
        try:
            writer.writerows(rows)
        except ValueError as error:
            raise BadInput(f"{self.name}: {error}; name all columns with columns=[...]") from None
        self._write("".join(lines.texts).encode())


class _Lines:
    """A file as far as `csv` needs one."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        self.texts.append(text)
