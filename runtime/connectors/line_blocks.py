"""Whole lines of a source in blocks, and where each of them stands: by byte, by line, and by a digest of all before it.

Places cost nothing until they are asked for. A block is one piece of bytes that ends with a line; lines are counted by
whoever reads them, and only `tell` looks for the byte at which one begins. The digest is taken block by block of what
was read, so that the next life of a run can tell whether that part of the file is still what it was (L88): SHA-256,
which costs about a fiftieth of reading the rows, and which a resume computes again of the part that was read (0.4 to 2
GB/s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.actors.errors import InternalError
from headrace.runtime.errors import BadInput

from .formats import Form
from .input_file import Input

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK_BYTES = 1 << 16
"""Bytes that are read at once; of larger pieces, each would be new memory from the system."""
LINE_BYTES_MAX = 1 << 28
"""Bytes in a line at most; what has a longer one is most likely not made of lines."""
DIGEST_CHARS = 32
"""Hexadecimal digits of a digest that are kept in a place."""


class LineBlocks:
    """Reads `source` from byte `offset` on, where line `line` begins (the first is 0). `digest`: of all before it;
    None: no digests are wanted."""

    def __init__(self, source: Input, form: Form, name: str, offset: int, line: int, digest: _Hash | None) -> None:
        self._source = source
        self._name = name
        self._end = form.line_end
        self._block = b""
        self._base = offset
        self._first = line
        # The cursor: line `_line` begins at `_block[_at]`.
        self._line = line
        self._at = 0
        self._rest = b""
        self._ended = False
        self._digest = digest
        self._digested = offset

    def advance(self, needed: int) -> bytes | None:
        """The next whole lines, or the last one without its end; None at the end of the source. Lines from `needed` on
        stay at hand for `raw` and `tell`, those before it do not."""
        at = self._find(needed)
        new = self._whole_lines()
        if not new:
            return None
        self._digest_to(at)
        kept = self._block[at:]
        self._base += at
        self._first = self._line = needed
        self._at = 0
        self._block = kept + new if kept else new
        return new

    def raw(self, line: int, until: int | None) -> bytes:
        """What stands on these lines, of those that are at hand; None: on all from `line` on."""
        begin = self._find(line)
        return self._block[begin : self._find(until) if until is not None else None]

    def tell(self, line: int) -> tuple[int, str]:
        """The byte at which a line begins, and the digest of all before it."""
        at = self._find(line)
        self._digest_to(at)
        if self._digest is None:
            raise InternalError("who asks for places has said so when the source was opened")
        return self._base + at, self._digest.hexdigest()[:DIGEST_CHARS]

    def share_before(self, line: int) -> float:
        """About which share of what was read stands before a line: it is reckoned with the mean length of lines."""
        end = self._base + len(self._block)
        if self._base and self._first:
            mean, lines = self._base / self._first, line - self._first
        else:
            mean, lines = len(self._block) / max(1, self._block.count(self._end)), line - self._first
        return min(1.0, (self._base + lines * mean) / end) if end else 1.0

    def _digest_to(self, at: int) -> None:
        offset = self._base + at
        if self._digest is not None and offset > self._digested:
            self._digest.update(memoryview(self._block)[self._digested - self._base : at])
            self._digested = offset

    def _whole_lines(self) -> bytes:
        if self._ended:
            return b""
        buffer = bytearray(self._rest)
        while True:
            # As much again as there is, so that a long line costs no more than its length.
            data = self._source.read(max(BLOCK_BYTES, len(buffer)))
            if not data:
                self._ended = True
                self._rest = b""
                return bytes(buffer)
            searched = len(buffer)
            if searched == len(self._rest) and len(self._end) == 1 and (cut := data.rfind(self._end) + 1):
                # The usual case, with as few copies as can be.
                whole, self._rest = self._rest + data[:cut], data[cut:]
                return whole
            buffer += data
            if cut := self._last_end(buffer, searched):
                self._rest = bytes(buffer[cut:])
                del buffer[cut:]
                return bytes(buffer)
            if len(buffer) > LINE_BYTES_MAX:
                raise BadInput(
                    f"{self._name}: a line of more than {LINE_BYTES_MAX:,} bytes (LINE_BYTES_MAX) begins at byte "
                    f"{self._base + len(self._block):,}; the source does not look as if it were made of lines"
                )

    def _last_end(self, buffer: bytearray, searched: int) -> int:
        """Where the last whole line ends; 0 where there is none."""
        end, unit = self._end, len(self._end)
        found = buffer.rfind(end, max(0, searched - unit + 1))
        while found % unit and found != -1:
            # The bytes of an end, but across two characters.
            found = buffer.rfind(end, 0, found + unit - 1)
        return found + unit if found != -1 else 0

    def _find(self, line: int) -> int:
        """Where a line begins, in the block."""
        if line < self._line:
            self._line, self._at = self._first, 0
        block, end, unit, at = self._block, self._end, len(self._end), self._at
        for _ in range(line - self._line):
            found = block.find(end, at)
            while found % unit and found != -1:
                found = block.find(end, found + 1)
            at = found + unit if found != -1 else len(block)
        self._line, self._at = line, at
        return at


def split_lines(data: bytes, end: bytes) -> list[bytes]:
    """Lines with their ends; the last one may have none.

    >>> split_lines(b"a\\nb", b"\\n")
    [b'a\\n', b'b']
    """
    lines, at, unit = [], 0, len(end)
    while at < len(data):
        found = data.find(end, at)
        while found % unit and found != -1:
            found = data.find(end, found + 1)
        until = found + unit if found != -1 else len(data)
        lines.append(data[at:until])
        at = until
    return lines


def count_lines(data: bytes, end: bytes) -> int:
    """How many lines `split_lines` would give.

    >>> count_lines(b"a\\nb", b"\\n")
    2
    """
    if len(end) > 1:
        return len(split_lines(data, end))
    return data.count(end) + (not data.endswith(end))
