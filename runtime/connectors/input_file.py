"""What a source's bytes come from: a regular file, or a stream; opened once, read in pieces.

What something *is* decides, not how it is spelled (L87). A regular file (links are followed) can be gone back to and is
known by its contents. Everything else is a stream: a pipe, a FIFO, a device, `-`, `/dev/stdin`, a process substitution.
A stream is read once, from where it is, and is never opened to be looked at beforehand. Standard input is a regular
file where the shell has opened one for it (`< in.csv`).
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Protocol

from headrace.runtime.errors import ConfigError, SourceChanged

from .packed import Unpacked, packing_of

HEAD_BYTES = 1 << 16
"""Of the beginning of a file, so much is looked at to see what it is."""
_STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class Input(Protocol):
    """The bytes of an input, in their order."""

    def read(self, n: int) -> bytes:
        """The next bytes, `n` at most; none at the end. A stream gives what has come."""

    def close(self) -> None:
        """Close it; it is called once."""


class RegularFile:
    """A regular file, read without moving anybody's place in it. It is read to the end that it has when that is
    reached, so what is appended meanwhile is read, too; where it ends before the size that it was opened with, that is
    an error."""

    def __init__(self, name: str, fd: int, *, owned: bool) -> None:
        self._name = name
        self._fd = fd
        self._owned = owned
        self._at = 0
        self.size = os.fstat(fd).st_size

    def read(self, n: int) -> bytes:
        data = os.pread(self._fd, n, self._at)
        self._at += len(data)
        if not data and self._at < self.size:
            raise SourceChanged(
                f"{self._name}: ends after {self._at:,} bytes and had {self.size:,} when it was opened: "
                "it was cut short or overwritten while it was read"
            )
        return data

    def at(self, offset: int, n: int) -> bytes:
        """`n` bytes at a place of the file; fewer at its end."""
        return os.pread(self._fd, n, offset)

    @property
    def read_to(self) -> int:
        """Bytes before the place where it is read on."""
        return self._at

    def go_to(self, offset: int) -> None:
        """Read on from that place, which an earlier life has told."""
        self._at = offset

    def close(self) -> None:
        if self._owned:
            os.close(self._fd)


class StreamInput:
    """Anything else, read from where it is."""

    def __init__(self, fd: int, *, owned: bool) -> None:
        self._fd = fd
        self._owned = owned

    def read(self, n: int) -> bytes:
        while True:
            try:
                return os.read(self._fd, n)
            except BlockingIOError:
                # Another process that shares it has made it non-blocking.
                select.select([self._fd], [], [])

    def close(self) -> None:
        if self._owned:
            os.close(self._fd)


class Peeked:
    """An input whose beginning has been looked at, and is read again."""

    def __init__(self, head: bytes, rest: Input) -> None:
        self._head = head
        self._rest = rest

    def read(self, n: int) -> bytes:
        if not self._head:
            return self._rest.read(n)
        data, self._head = self._head[:n], self._head[n:]
        return data

    def close(self) -> None:
        self._rest.close()


def is_standard_input(path: str) -> bool:
    """Whether a path stands for standard input."""
    return path in _STANDARD_INPUT


def is_stream(path: str) -> bool:
    """Whether it can be read only once. What does not exist, or is a folder, is none."""
    try:
        if not is_standard_input(path):
            return not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode)
        # Of a file that somebody has begun to read, the rest is a stream.
        return sys.stdin is None or not stat.S_ISREG(os.fstat(0).st_mode) or os.lseek(0, 0, os.SEEK_CUR) != 0
    except (OSError, ValueError):
        return is_standard_input(path)


def open_input(path: str, name: str) -> RegularFile | StreamInput:
    """Open it for reading. Raises `ConfigError` where that cannot be."""
    owned = not is_standard_input(path)
    try:
        if not owned and sys.stdin is None:
            raise OSError(errno.EBADF, "closed")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if owned else 0
        mode = os.fstat(fd).st_mode
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file") from None
    except ValueError:
        raise ConfigError(f"{path!r}: is no name that a file can have") from None
    except OSError as error:
        if not owned:
            raise ConfigError(
                "standard input is closed, so there is nothing to read: give it a file (< in.csv) or a pipe, "
                "or name the file with path="
            ) from None
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        if owned:
            os.close(fd)
        raise ConfigError(f"{name}: is a folder, not a file")
    if stat.S_ISREG(mode) and (owned or not is_stream(path)):
        return RegularFile(name, fd, owned=owned)
    return StreamInput(fd, owned=owned)


def peek(source: Input) -> tuple[bytes, Input]:
    """The beginning of an input, to its first end of a line at least where that is near, and the whole input."""
    head = bytearray()
    while len(head) < HEAD_BYTES and not (b"\n" in head or b"\r" in head[:-4]):
        data = source.read(HEAD_BYTES - len(head))
        if not data:
            break
        head += data
    if isinstance(source, RegularFile):
        source.go_to(0)
        return bytes(head), source
    return bytes(head), Peeked(bytes(head), source)


def unpacked(source: Input, name: str) -> tuple[bytes, Input]:
    """The beginning of an input, and the input; where it is packed, and is called so, both of what that holds."""
    head, source = peek(source)
    packing = packing_of(head, name)
    if packing is not None:
        return peek(Unpacked(name, source, packing))
    return head, source


def read_past(source: Input, n: int, see: Callable[[bytes], object]) -> int:
    """Read the next `n` bytes, and show them to `see`, piece by piece; how many there were."""
    left = n
    while left:
        data = source.read(min(left, 1 << 20))
        if not data:
            break
        see(data)
        left -= len(data)
    return n - left
