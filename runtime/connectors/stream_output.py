"""An output that is no plain file: standard output, a named pipe, a device, a socket. It is written in place, as rows come.

Nothing that was written there can be taken back, so a resumed run writes again what the journal had not heard of: each row
is there at least once (L87).
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import IO

from headrace.actors.errors import InternalError

from ..errors import ConfigError
from .file_identity import STANDARD
from .port import RunInfo, Written

_LINKS_MAX = 40


class ReaderGone(BrokenPipeError):
    """Whoever read standard output has gone away, such as `head` after its first lines."""


def is_stream(path: str) -> bool:
    """Whether a path leads to anything that is written in place. `/dev/stdout` does, also where a file is behind it."""
    if path == STANDARD:
        return True
    at = os.path.abspath(path)
    for _ in range(_LINKS_MAX):
        if at.startswith(("/dev/fd/", "/proc/")) or at in ("/dev/stdout", "/dev/stderr"):
            return True
        if not os.path.islink(at):
            break
        at = os.path.join(os.path.dirname(at), os.readlink(at))
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class StreamOutput:
    """One output of a run, with the methods of a `PartFile`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._name = "standard output" if path == STANDARD else path
        self._file: IO[bytes] | None = None
        self._socket: socket.socket | None = None
        self._written: Written | None = None

    def claim(self, run: RunInfo, place: object) -> None:
        """See whether it can be written. Raises `ConfigError`."""
        if self.path == STANDARD:
            if sys.stdout is None or sys.stdout.closed:
                raise ConfigError("standard output: is closed, and a sink of the pipeline writes to it")
        elif not os.access(self.path, os.W_OK):
            raise ConfigError(f"{self.path}: cannot be written: Permission denied")

    def unclaim(self) -> None:
        """Do nothing: no file is held."""

    def begin(self, *, resumable: bool) -> None:
        """Open it; a named pipe is open when somebody reads it. Raises `ConfigError`."""
        self.size = 0
        self._written = None
        try:
            if self.path == STANDARD:
                self._file = getattr(sys.stdout, "buffer", None) or open(1, "wb", closefd=False)  # noqa: SIM115
            elif stat.S_ISSOCK(os.stat(self.path).st_mode):
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.connect(self.path)
                self._file = self._socket.makefile("wb")
            else:
                # Not "w": a file behind /dev/stdout is not to be cut.
                self._file = open(os.open(self.path, os.O_WRONLY | os.O_APPEND), "wb")  # noqa: SIM115
        except OSError as error:
            self.close(False)
            raise ConfigError(f"{self._name}: cannot be written: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        """Write these bytes. Raises `OSError`; `ReaderGone` where nobody reads standard output any more."""
        if self._file is None:
            raise InternalError("an output is begun before it is written")
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError as error:
            if self.path == STANDARD:
                raise ReaderGone(error.errno, "nobody reads standard output any more") from error
            raise OSError(f"{self._name}: whoever read it has gone away") from error
        self.size += len(data)

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Let go of it. Standard output stays open."""
        file, self._file = self._file, None
        other, self._socket = self._socket, None
        try:
            if file is not None and self.path != STANDARD:
                file.close()
        finally:
            if other is not None:
                other.close()

    @property
    def written(self) -> Written | None:
        return self._written
