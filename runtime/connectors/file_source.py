"""What sources of files have in common: how a file is opened, what it is, how it is known again.

A regular file has places: a run with a journal goes on where it was, and finds out whether the part that has been read
is still what it was. A stream has none and cannot be known again, which its fingerprint says (`"stream": True`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from hashlib import blake2b, sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow
from headrace.runtime.errors import BadInput, ConfigError
from headrace.runtime.rows.contracts import INFER, INFER_ROWS, Contract

from .file_identity import checked_path
from .formats import Form, form_of, refuse_other_formats, text_encoding
from .input_file import Input, RegularFile, is_standard_input, is_stream, open_input, read_past, unpacked
from .iterables import IteratorSource
from .line_blocks import DIGEST_CHARS, LineBlocks
from .port import Extent
from .remote import RemoteFile, is_url, shown

if TYPE_CHECKING:
    from hashlib import _Hash

LOOKED_AT = 1 << 16
"""Bytes at a file's beginning and end by which it is known again before anything was read."""

StrPath = str | os.PathLike[str]


def opened_input(path: str, name: str) -> Input:
    """A file of this system, or of elsewhere, opened. Raises `ConfigError` where it cannot be read."""
    return RemoteFile(path, name) if is_url(path) else open_input(path, name)


class FileSource(IteratorSource):
    """Base of sources that read the lines of one file. Subclasses implement `_begin` and say their `kind`."""

    kind = "text"
    counts = False

    def __init__(self, path: StrPath, encoding: str) -> None:
        super().__init__()
        self.path = checked_path(os.fsdecode(path))
        self.name = "standard input" if is_standard_input(self.path) else self.path
        if is_url(self.path):
            self.name = shown(self.path)
        try:
            self.encoding = text_encoding(encoding)
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None
        self.quiet = is_stream(self.path)
        self._input: Input | None = None
        self._file: RegularFile | None = None
        self._blocks: LineBlocks | None = None
        self._form = Form(self.encoding, b"\n", 0)
        self._placing = False
        """Places are wanted, and so are digests."""
        self._place: list[Any] | None = None
        """Where to begin."""
        self._began = 0
        """Lines before the row that was given last."""
        self._read = 0
        """Lines up to its end."""

    # --- places ---

    @property
    def placed(self) -> bool:
        """Whether it has places, to go on from: a stream has none."""
        return not is_stream(self.path)

    def tell(self) -> list[object] | None:
        """Where the next row begins: the byte, the lines before it, a digest of all bytes before it. For a gzip file,
        bytes are those of what it holds."""
        if self._blocks is None or not self._placing:
            return None
        line = self._lines_read()
        offset, digest = self._blocks.tell(line)
        return [offset, line, digest]

    def resume(self, place: list[object] | None) -> None:
        """Open it, and begin at a place that `tell` told; None: at the first row."""
        self._placing, self._place = True, place
        self.open()

    def verify(self, place: list[Any]) -> str | None:
        """What is not as it was in the part that has been read, up to a place that `tell` told, as a sentence; None
        where it is the same. It reads that part again. Raises `ConfigError` where the file cannot be read."""
        offset, line, *known = place
        if not known:
            return None
        source, _, _ = self._look()
        digest = sha256()
        try:
            n = read_past(source, offset, digest.update)
        finally:
            source.close()
        if n < offset:
            return f"{self.name} has {n:,} bytes, and {offset:,} had been read of it: it was cut short"
        if digest.hexdigest()[:DIGEST_CHARS] != known[0]:
            return f"{self.name} was edited in its first {line:,} lines, which have been read already"
        return None

    def fingerprint(self) -> dict[str, object]:
        """By what it is known again before anything of it was read: its size, and a digest of its beginning and its
        end. A stream cannot be known again."""
        if is_stream(self.path):
            return {"path": self.path, "stream": True}
        path = self.path if is_standard_input(self.path) else os.path.abspath(self.path)
        mark = None
        if is_url(self.path):
            path = self.name
        try:
            source = opened_input(self.path, self.name)
            mark = getattr(source, "mark", None)
            try:
                if not isinstance(source, RegularFile):
                    raise InternalError("what is no stream is a regular file")
                digest = blake2b(source.at(0, LOOKED_AT), digest_size=16)
                digest.update(source.at(max(0, source.size - LOOKED_AT), LOOKED_AT))
            finally:
                source.close()
        except (OSError, ConfigError):
            # What is wrong with it is told when it is opened.
            return {"path": path}
        known = {"path": path, "size": source.size, "digest": digest.hexdigest()}
        return {**known, "mark": mark} if mark is not None else known

    def _lines_read(self) -> int:
        """Lines up to the end of the row that was given last."""
        return self._read

    def place(self) -> str:
        """The file and the line of the row that was given last."""
        return f"{self.name}:{self._began + 1}"

    # --- opening ---

    def check(self) -> None:
        """Raises `ConfigError` where a look at its beginning shows that it cannot be read. A stream is not touched."""
        if not is_stream(self.path):
            other = self._other()
            try:
                other._begin()
            finally:
                other.close()

    def open(self) -> None:
        self._began = self._read = 0
        try:
            super().open()
        except BaseException:
            self.close()
            raise

    def iterate(self) -> Iterator[object]:
        # Whoever opens a FIFO waits for its writer, so that is done where rows are waited for.
        return self._lazily() if is_stream(self.path) else self._begin()

    def _lazily(self) -> Iterator[object]:
        yield from self._begin()

    def _begin(self) -> Iterator[object]:
        """Open it, look at its beginning, give its rows. Raises `ConfigError` where it cannot be read."""
        raise NotImplementedError

    def held_to(self) -> Contract | str | None:
        """Of a regular file, the rows that a contract is inferred from are read by themselves, so that the rows that
        are given are never behind the place that is told."""
        if self._contract != INFER or is_stream(self.path):
            return self._contract
        other = self._other()
        try:
            other.open()
            if other._iterator is None:
                raise InternalError("it was opened")
            first = list(islice(other._iterator, INFER_ROWS))
        finally:
            other.close()
        return Contract.infer([row for row in first if not isinstance(row, BadRow)])

    def _other(self) -> FileSource:
        """Another one that reads the same file, and wants nothing else."""
        other = copy.copy(self)
        other._contract = other._place = other._input = other._blocks = other._iterator = None
        other._placing = other.quiet = False
        return other

    def close(self) -> None:
        super().close()
        self._placing, self._place, self._blocks, self._file = False, None, None, None
        if self._input is not None:
            self._input.close()
            self._input = None

    def _look(self) -> tuple[Input, bytes, Form]:
        """The opened file, its beginning, and how it becomes text. Raises `ConfigError` where it is no text."""
        opened = opened_input(self.path, self.name)
        try:
            head, source = unpacked(opened, self.name)
            form = form_of(head, self.encoding)
            if self._ends_with_returns(head[form.mark :].decode(form.encoding, "replace")):
                form = form._replace(line_end="\r".encode(form.encoding))
            refuse_other_formats(head, form, self.kind)
        except ConfigError as error:
            opened.close()
            raise ConfigError(f"{self.name}: {error}") from None
        except OSError as error:
            opened.close()
            raise ConfigError(f"{self.name}: cannot be read: {error.strerror or error}") from error
        except BaseException:
            opened.close()
            raise
        self._file = opened if isinstance(opened, RegularFile) else None
        return source, head, form

    def extent(self) -> Extent | None:
        """How many bytes of a regular file have been read, up to about the row that was given last; of a gzip file, of the
        file itself."""
        if self._file is None:
            return None
        share = self._blocks.share_before(self._lines_read()) if self._blocks is not None else 1.0
        return Extent(self._file.read_to * share, self._file.size, "bytes")

    def _ends_with_returns(self, head: str) -> bool:
        """Whether lines end with carriage returns alone, as they did on old Macs."""
        return "\n" not in head and "\r" in head[:-1]

    def _lines_from(self, source: Input, form: Form, place: list[Any] | None) -> LineBlocks:
        """The lines of a source that was just opened, from a place on."""
        offset, line = (place[0], place[1]) if place else (form.mark, 0)
        digest: _Hash | None = sha256() if self._placing else None
        if digest is None and isinstance(source, RegularFile):
            source.go_to(offset)
        else:
            read_past(source, offset, digest.update if digest is not None else bool)
        return LineBlocks(source, form, self.name, offset, line, digest)

    # --- what cannot be read ---

    def _bad(self, line: int, what: str, raw: Any) -> BadRow:
        self.bad += 1
        return BadRow(BadInput(f"{self.name}:{line}: {what}"), raw)

    def _no_text(self, raw: bytes) -> str:
        """What is wrong with bytes that are no text."""
        try:
            raw.decode(self._form.encoding)
        except UnicodeDecodeError as error:
            return (
                f"bytes that are not {self.encoding} (byte {error.start + 1} of the line is 0x{raw[error.start]:02x}); "
                "in the row that is kept, they are written as \\xNN"
            )
        return f"bytes that are not {self.encoding}"

    def _kept(self, raw: bytes) -> str:
        """What stands on these lines, as text, whatever it is; bytes that are no text as `\\xNN`."""
        return raw.decode(self._form.encoding, "backslashreplace").rstrip("\r\n")
