"""Rows into a Parquet file: with a journal, each row is in it exactly once.

A Parquet file can be read only when it is whole, and what was appended to it cannot be taken back. So rows are first written
as a stream of Arrow record batches to `NAME.part`, which can be cut back to any place, as the other sinks of files do it.
When all rows have come, the stream is put together into one file of large row groups, and that gets the name. One file, and
not a folder of parts, since rows are made durable every few milliseconds: parts would be many and small. It costs writing
the rows twice.

The footer of the file says which run wrote it, and how far that was, so that a run that goes on finds its rows again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from typing import IO, Any

import msgspec

from headrace.actors.errors import InternalError

from ...errors import BadInput, ConfigError, UnwritableRows
from ...text import kind_of, message_of
from ..file_identity import STANDARD, FileUse, StrPath
from ..file_lock import Holder
from ..file_mark import set_mark, stamp_of
from ..file_sink import FileSink
from ..part_file import DIGEST_BYTES, IfExists, PartFile
from ..remote import is_url
from ..stream_output import StreamOutput, is_stream
from .arrow import as_schema, batch_of, pyarrow, record, schema_of, streamable

GROUP_ROWS = 131_072
GROUP_BYTES = 1 << 27
"""A row group has so many rows, or so much of them in memory, at most."""
_KEY = b"headrace"
_CODECS = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")


class ParquetSink(FileSink):
    """Writes rows to one file; `sinks.parquet` says how."""

    kind = "Parquet"

    def __init__(
        self, path: StrPath, *, schema: object = None, compression: str = "zstd", if_exists: IfExists | None = None
    ) -> None:
        """Raises `ConfigError`."""
        pyarrow()
        super().__init__(path, if_exists)
        if self.path == STANDARD or is_stream(self.path):
            raise ConfigError(
                f"{self.name}: a Parquet file is put together at the end, so it is no stream; name a file"
            )
        if compression not in _CODECS:
            raise ConfigError(f"{self.name}: compression={compression!r}: {', '.join(map(repr, _CODECS))} are known")
        self._compression = compression
        self._said = as_schema(schema, self.name) if schema is not None else None
        self._schema: Any = None
        self._has_head = False

    def files(self) -> list[FileUse]:
        if is_url(self.path):
            return list(super().files())
        whole = f"{os.path.realpath(self.path)}.part.whole"
        return [*super().files(), FileUse(whole, "write")]

    def _new_output(self) -> PartFile | StreamOutput:
        if is_url(self.path):
            return self._remote()
        return _ArrowPart(self.path, self._if_exists, self._has_rows, self._compression, self._said)

    def _remote(self) -> PartFile:
        from ..remote_output import RemoteOutput

        class Remote(RemoteOutput, _ArrowPart):
            """The same for an output of Parquet."""

        output = Remote(self.name, self._if_exists, self._has_rows, self._compression, self._said)
        output.url = self.path
        return output

    def _has_rows(self, path: str) -> bool:
        return os.path.getsize(path) > 0

    def _check_old(self, path: str) -> None:
        self._schema_in(path)

    def _on_claimed(self, output: PartFile | StreamOutput) -> None:
        self._schema, self._has_head = streamable(self._said) if self._said is not None else None, False
        if isinstance(output, PartFile) and (before := output.goes_on_from) is not None:
            there = self._schema_in(before)
            if there is not None:
                self._schema, self._has_head = there, True

    def _schema_in(self, path: str) -> object:
        """The schema of a stream, or of a file, that rows come after; None of one that has none yet."""
        arrow, parquet = pyarrow()
        try:
            if _is_parquet(path):
                with parquet.ParquetFile(path) as file:
                    found = streamable(file.schema_arrow)
            elif os.path.getsize(path) == 0:
                return None
            else:
                with open(path, "rb") as stream:
                    found = arrow.ipc.open_stream(stream).schema
        except Exception as error:
            raise ConfigError(f"{self.name}: what is there cannot be read as Parquet: {message_of(error)}") from None
        if self._said is not None and not found.equals(streamable(self._said)):
            raise ConfigError(
                f"{self.name}: what is there has other columns or types than schema= says; name another file"
            )
        return found

    def write(self, items: list[Any]) -> None:
        faults: dict[int, str] = {}
        rows: list[tuple[int, dict[str, object]]] = []
        for i, item in enumerate(items):
            row = record(item)
            if isinstance(row, str):
                faults[i] = row
            else:
                rows.append((i, row))
        if rows:
            if self._schema is None:
                self._schema = schema_of([row for _, row in rows])
            batch, more = batch_of(rows, self._schema)
            faults |= more
            if batch.num_rows:
                self._write(self._head() + batch.serialize().to_pybytes())
        if faults:
            raise UnwritableRows({i: BadInput(f"{self.name}: {fault}") for i, fault in faults.items()})

    def _head(self) -> bytes:
        """What a stream begins with, where it has not begun."""
        if self._has_head:
            return b""
        self._has_head = True
        return bytes(self._schema.serialize().to_pybytes())

    def _ending(self) -> bytes:
        arrow, _ = pyarrow()
        if self._schema is None:
            # No row has come, and nobody has said what they would be.
            self._schema = arrow.schema([arrow.field(name, arrow.string()) for name in self._run.columns or ()])
        return self._head()


class _ArrowPart(PartFile):
    """An output whose `.part` is a stream of Arrow, and which is put together at the end."""

    def __init__(self, path: str, if_exists: IfExists | None, has_rows: Any, compression: str, said: Any) -> None:
        """`said`: the schema of the file, where the user gave one."""
        super().__init__(path, if_exists, has_rows)
        self._compression = compression
        self._said = said

    def _find_again(self, place: tuple[int, bytes], before: Holder | None) -> None:
        size, digest = place
        noted = _note_of(self._target)
        if noted is None or noted != [self._run.run, size, digest.hex()]:
            super()._find_again(place, before)
            return
        if before is not None:
            # A kill came after the file had its name, or it was being added to.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._part)
        self._state, self._size, self._digest = "finished", size, _Known(digest)
        self._found, self._existed, self._mode = stamp_of(self._target), True, "append"

    def _begin_again(self) -> None:
        if stamp_of(self._target) != self._found:
            raise OSError(f"{self.path}: was changed while the run went on; it is left as it is")
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._begin_new(copy=True)

    def _copy_old(self, file: IO[bytes]) -> None:
        """What rows come after, as a stream."""
        arrow, parquet = pyarrow()
        with parquet.ParquetFile(self._target) as old:
            schema = streamable(old.schema_arrow)
            tables = (arrow.Table.from_batches([batch]).cast(schema) for batch in old.iter_batches())
            pieces = (batch.serialize() for table in tables for batch in table.to_batches())
            for data in chain([schema.serialize()], pieces):
                taken = data.to_pybytes()
                self._count(taken)
                file.write(taken)

    def _take_name(self, file: IO[bytes]) -> None:
        whole = f"{self._part}.whole"
        place = [self._run.run, self._size, self._digest.digest().hex() if self._digest is not None else ""]
        try:
            _put_together(self._part, whole, place, self._compression, self._said)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"cannot be put together: {message_of(error) or kind_of(error)}") from error
        with open(whole, "r+b") as done:
            os.fsync(done.fileno())
            set_mark(done.fileno(), self._run)
        os.replace(whole, self._target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)


class _Known:
    """A digest that is not added to."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def digest(self) -> bytes:
        return self._digest

    def update(self, data: bytes) -> None:
        raise InternalError("a file that is complete is begun anew")


def _put_together(part: str, whole: str, place: list[object], compression: str, said: Any) -> None:
    arrow, parquet = pyarrow()
    with open(part, "rb") as stream:
        batches = arrow.ipc.open_stream(stream)
        schema = batches.schema if said is None else said
        schema = schema.with_metadata({**(schema.metadata or {}), _KEY: msgspec.json.encode(place)})
        with parquet.ParquetWriter(whole, schema, compression=compression) as writer:
            for group in _groups(batches):
                writer.write_table(arrow.Table.from_batches(group, batches.schema).cast(schema), GROUP_ROWS)


def _groups(batches: Any) -> Iterator[list[object]]:
    group: list[object] = []
    rows = size = 0
    for batch in batches:
        if group and (rows + batch.num_rows > GROUP_ROWS or size + batch.nbytes > GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if group:
        yield group


def _note_of(path: str) -> list[object] | None:
    """Which run put a file together, and how far that was; None of any other file."""
    _, parquet = pyarrow()
    try:
        found = (parquet.read_metadata(path).metadata or {}).get(_KEY)
        return list(msgspec.json.decode(found)) if found is not None else None
    except Exception:
        return None


def _is_parquet(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"
