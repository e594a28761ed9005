"""Rows to files: CSV and JSON Lines; `-` is standard output. What reads them is in `csv_source.py` and `jsonl_source.py`.

An output file gets its name only when it is complete; until then it is called `NAME.part`.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import IO, Any

import msgspec

from headrace.runtime.errors import BadInput, ConfigError

from .presence import Presence

StrPath = str | os.PathLike[str]


class _FileSink:
    """Base: writes to `NAME.part`, and renames it when it is complete."""

    def __init__(self, path: StrPath) -> None:
        self.path = os.fspath(path)
        self.name = "standard output" if self.path == "-" else self.path
        self._file: IO[bytes] | None = None
        self._presence: Presence | None = None
        self._named = False
        """It has its name already: an earlier life of the run was complete."""

    @property
    def durable(self) -> bool:
        """What went through a pipe cannot be taken back."""
        return self.path != "-"

    def tell(self) -> int:
        """Bytes written."""
        assert self._file is not None, "a sink is opened before it tells where it is"
        return self._file.tell()

    def sync(self) -> None:
        """Have it on the disk."""
        assert self._file is not None, "a sink is opened before it is synced"
        os.fsync(self._file.fileno())

    def resume(self, place: int | None) -> None:
        """Cut it back to this place, and go on there."""
        if place is None:
            self.open()
            return
        self._named = not os.path.exists(self._part)
        path = self.path if self._named else self._part
        try:
            file = open(path, "r+b")  # noqa: SIM115 - closed by `close`
            size = file.seek(0, os.SEEK_END)
        except OSError as error:
            raise ConfigError(
                f"{path}: the journal says that {place} bytes were written here, and it cannot be opened: {error.strerror}"
            ) from error
        if size < place:
            file.close()
            raise ConfigError(
                f"{path}: has {size} bytes, and the journal says that {place} were written: it was changed"
            )
        file.truncate(place)
        file.seek(place)
        self._file, self._presence = file, Presence(path)

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
            self._presence = Presence(self._part)
        except FileNotFoundError:
            raise ConfigError(f"{self.path}: the folder {str(Path(self.path).parent)!r} does not exist") from None
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "a sink is opened before it is written"
        self._file.write(data)
        # What is released is written, not kept for the end (L37).
        self._file.flush()
        if self._presence is not None:
            self._presence.check()

    def close(self, complete: bool) -> None:
        file, self._file, self._presence = self._file, None, None
        if file is None or self.path == "-":
            return
        if complete:
            file.flush()
            os.fsync(file.fileno())
        file.close()
        if complete and not self._named:
            os.replace(self._part, self.path)
            _sync_folder(self.path)


def _sync_folder(path: str) -> None:
    """So that a name outlives a loss of power."""
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except OSError:
        # Not every system lets one open a folder.
        return
    try:
        os.fsync(folder)
    except OSError:
        pass
    finally:
        os.close(folder)


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

    def resume(self, place: int | None) -> None:
        super().resume(place)
        self._begun = bool(place)
        if place and self._columns is None:
            assert self._file is not None
            self._file.seek(0)
            header = csv.reader(iter([self._file.readline().decode()]), delimiter=self._delimiter)
            self._columns = next(header)
            self._file.seek(place)

    def write(self, items: list[Any]) -> None:
        lines = _Lines()
        rows = as_records(items, f"{self.name}: a CSV row")
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


def as_records(items: list[Any], what: str) -> list[dict[str, Any]]:
    """Dicts and structs as dicts. Raises `BadInput`, which says of `what` they must be."""
    rows = [item if isinstance(item, dict) else msgspec.to_builtins(item) for item in items]
    for row in rows:
        if not isinstance(row, dict):
            raise BadInput(f"{what} is a dict or a struct, not {type(row).__name__}")
    return rows


class _Lines:
    """A file as far as `csv` needs one."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        self.texts.append(text)
