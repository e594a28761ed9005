"""Rows out of files: CSV and JSON Lines; `-` is standard input.

A bad line is a row that goes to quarantine with its line number; a bad file is one clear message.
"""

from __future__ import annotations

import codecs
import csv
import os
import sys
from collections.abc import Iterator
from hashlib import blake2b
from io import TextIOWrapper
from typing import IO, Any, cast

import msgspec

from headrace.actors.protocol import BadRow
from headrace.runtime.errors import BadInput, ConfigError

from ..contracts import INFER
from .memory import IteratorSource

LOOKED_AT = 1 << 16
"""Bytes at a file's beginning and end by which it is known again."""
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
        self._offset: int | None = None
        """Where the next row begins, in bytes; None: nobody wants to know."""
        self._read = 0
        """Lines before it."""

    @property
    def placed(self) -> bool:
        """A pipe has no places, and who looks at the first rows to infer what they are has read ahead."""
        return self.path != "-" and self._contract != INFER

    def tell(self) -> list[int] | None:
        """(bytes, lines) before the next row."""
        return [self._offset, self._read] if self._offset is not None else None

    def resume(self, place: list[int] | None) -> None:
        """As `open`, at a place that `tell` told."""
        self._offset, self._read = place or (0, 0)
        self.open()

    def fingerprint(self) -> dict[str, Any]:
        """By what it is known again: its size, and a digest of its beginning and its end."""
        if self.path == "-":
            return {"path": "-"}
        try:
            size = os.path.getsize(self.path)
            with open(self.path, "rb") as file:
                digest = blake2b(file.read(LOOKED_AT), digest_size=16)
                file.seek(max(0, size - LOOKED_AT))
                digest.update(file.read(LOOKED_AT))
        except OSError:
            # What is wrong with it is told when it is opened.
            return {"path": os.path.abspath(self.path)}
        return {"path": os.path.abspath(self.path), "size": size, "digest": digest.hexdigest()}

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
        self._offset, self._read = None, 0
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
        begin = self._begin_at()
        reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        try:
            header = next(reader, None)
        except (csv.Error, UnicodeError) as error:
            raise ConfigError(f"{self.name}:1: the header cannot be read: {error}") from None
        if header is None:
            raise ConfigError(f"{self.name}: is empty; a CSV file begins with a line of column names")
        twice = sorted({column for column in header if header.count(column) > 1})
        if twice:
            raise ConfigError(f"{self.name}:1: column {twice[0]!r} stands there twice")
        if begin is not None:
            self._offset, self._read = begin
            self._bytes.seek(begin[0])
            reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        return self._rows(reader, header, begin[1] if begin is not None else 0)

    def _begin_at(self) -> tuple[int, int] | None:
        """Where to go on, once the header has been read."""
        if not self._offset:
            return None
        begin, self._offset = (self._offset, self._read), 0
        return begin

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), "delimiter": self._delimiter, "encoding": self._encoding}

    @property
    def placed(self) -> bool:
        """In some encodings, a line does not end with the byte of a new line."""
        return super().placed and "\n".encode(self._encoding.removesuffix("-sig")) == b"\n"

    @property
    def _bytes(self) -> IO[bytes]:
        return cast("IO[bytes]", cast(TextIOWrapper, self._file).buffer)

    def _lines(self) -> Iterator[str]:
        """The file's lines; where places are wanted, counted in bytes."""
        assert self._file is not None
        if self._offset is None:
            yield from self._file
            return
        encoding = self._encoding
        for raw in self._bytes:
            # As text, a file is cut at a lone carriage return, too.
            for line in raw.splitlines(keepends=True):
                self._offset += len(line)
                yield line.decode(encoding, "surrogateescape")
                encoding = self._encoding.removesuffix("-sig")

    def _rows(self, reader: Any, header: list[str], before: int) -> Iterator[Any]:
        n = len(header)
        while True:
            line = before + reader.line_num + 1
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
            self._read = before + reader.line_num
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
        if self._offset:
            self._file.seek(self._offset)
        for line, raw in enumerate(self._file, self._read + 1):
            self._line = self._read = line
            if self._offset is not None:
                self._offset += len(raw)
            text = raw.removeprefix(codecs.BOM_UTF8) if line == 1 else raw
            if not text.strip():
                continue
            try:
                value = decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield self._bad(line, f"not JSON: {error}", raw.decode(errors="replace").rstrip("\r\n"))
            else:
                yield value
