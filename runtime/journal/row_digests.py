"""What was read of a source that cannot tell where its rows are: a list, a generator, a queue, a pipe (L63).

Such a source is read from its beginning again when a run is resumed, and rows that are done are left out. Whether they
are the rows that they were is seen by a digest of four bytes for each, which the journal keeps: at 250 ns and 4 bytes a
row. A row that cannot be read as data has none and is not compared; that is logged once.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from zlib import crc32

import msgspec
from loguru import logger

from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow
from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.errors import ConfigError
from headrace.runtime.names import connector_name

from .mistakes import in_words
from .port import Bound
from .stores import look_into
from .values.typed import is_plain
from .work.contents import Contents

UNKNOWN = 0
"""The digest of a row that cannot be compared."""
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class RowDigests:
    """Of one run in the journal of that name: the digests of the rows that earlier lives have read. `anew`: they are
    forgotten, for somebody said that the rows may be others."""

    def __init__(self, name: str, run: int, *, anew: bool = False) -> None:
        self._anew = anew
        self._name = name
        self._run = run
        self._fresh: deque[tuple[int, bytes]] = deque()

    def remembering(self, connector: SourceConnector) -> SourceConnector:
        """The same source, its rows compared with what is known of them."""
        return _Remembering(connector, self)

    def known(self) -> Iterator[int]:
        """The digests, row by row from the first, a piece of them in memory at a time."""
        first = 0
        while not self._anew:
            piece = self._piece(first)
            if not piece:
                return
            yield from piece
            first += len(piece)

    def _piece(self, first: int) -> array[int]:
        piece: array[int] = array("I")
        journal = look_into(self._name)
        try:
            with in_words(journal.name):
                for _, at, digests in journal.read("given", self._run, Bound("first", ">=", first), limit=4096):
                    if at != first + len(piece):
                        raise InternalError("digests follow each other without a gap")
                    piece.frombytes(digests)
        finally:
            journal.close()
        return piece

    def note(self, first: int, digests: array[int]) -> None:
        """Rows that were read for the first time."""
        self._fresh.append((first, digests.tobytes()))

    def taken(self) -> list[tuple[int, bytes]]:
        """What was noted since this was asked last, as one piece, for rows follow each other."""
        pieces = [self._fresh.popleft() for _ in range(len(self._fresh))]
        return [(pieces[0][0], b"".join(digests for _, digests in pieces))] if pieces else []


class _Remembering:
    """It does what the module says. It is read as its source is."""

    def __init__(self, connector: SourceConnector, digests: RowDigests) -> None:
        self.name = connector_name(connector)
        self.resumable = bool(getattr(connector, "resumable", False))
        self._connector = connector
        self._kept = digests
        self._known: Iterator[int] | None = None
        self._row = 0
        self._unread = False

    def open(self) -> None:
        self._known = self._kept.known()
        self._connector.open()

    def read(self, n: int) -> tuple[list[object], bool, int]:
        values, ended, bad = self._connector.read(n)
        first, digests = self._row, self._digests(values)
        fresh = digests if self._known is None else self._compared(digests)
        self._row = first + len(values)
        if ended and self._known is not None and next(self._known, None) is not None:
            raise self._is_other(f"it ends after {self._row} rows, and more of them were read")
        if fresh:
            self._kept.note(first + len(values) - len(fresh), fresh)
        return values, ended, bad

    def _compared(self, digests: array[int]) -> array[int]:
        """Those of rows that no earlier life has read. Raises `ConfigError` where one is another than it was."""
        if self._known is None:
            raise InternalError("what was read before is known")
        for index, digest in enumerate(digests):
            known = next(self._known, None)
            if known is None:
                self._known = None
                return digests[index:]
            if known != digest and UNKNOWN not in (known, digest):
                raise self._is_other(f"row {self._row + index} is another one than it was")
        return array("I")

    def _is_other(self, what: str) -> ConfigError:
        # That is no error that passes.
        self.resumable = False
        return ConfigError(
            f"source {self.name!r}: {what} in an earlier life of this run, whose answers were for the former; "
            f"go on all the same with --accept-changes (accept_changes=True), or name another journal"
        )

    def _digests(self, values: list[object]) -> array[int]:
        encode = _encode
        try:
            if is_plain(values):
                return array("I", [crc32(encode(value)) or 1 for value in values])
        except (ValueError, OverflowError):
            # A lone surrogate, or an integer of more than 64 bits.
            pass
        return array("I", map(self._digest, values))

    def _digest(self, value: object) -> int:
        if is_plain(value):
            try:
                return crc32(_encode(value)) or 1
            except (ValueError, OverflowError):
                pass
        contents = Contents()
        row = value.raw if isinstance(value, BadRow) else value
        digest = crc32(contents.digest(row, "row")) or 1
        if not contents.opaque:
            return digest
        if not self._unread:
            self._unread = True
            logger.warning(
                "source {!r}: a row from {} on cannot be compared with what it was in an earlier life of the run: {}",
                self.name,
                self._row,
                ", ".join(contents.opaque),
            )
        return UNKNOWN

    def interrupt(self) -> None:
        """Interrupt the source that is read."""
        interrupt = getattr(self._connector, "interrupt", None)
        if interrupt is not None:
            interrupt()

    def close(self) -> None:
        self._known = None
        self._connector.close()
