"""A page of memory that a run and one worker process share: which call is under way.

The process writes, the run reads; so the run knows it also of a process that was killed, or that is busy for ever. The
place of a row is written before its call begins. Nothing else is in the page, so that neither waits for the other.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import NamedTuple

_NOTE = struct.Struct("<qqd")
SIZE = mmap.PAGESIZE


class Begun(NamedTuple):
    """The call that has begun last. `id`: of its assignment, -1 before the first. `row`: the index of its row in there.
    `at_s`: when, by the clock that all processes of a machine share (`time.monotonic()`)."""

    id: int
    row: int
    at_s: float


class Page:
    """One page; `fd` is what the other process maps it by."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, SIZE)

    @classmethod
    def new(cls) -> Page:
        """A page that no process has yet. Raises `OSError`."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("headrace")
        else:
            file, path = tempfile.mkstemp()
            os.unlink(path)
            fd = file
        os.ftruncate(fd, SIZE)
        page = cls(fd)
        page.note(-1, 0, 0.0)
        return page

    def note(self, id_: int, row: int, at_s: float) -> None:
        """Note that a call begins."""
        _NOTE.pack_into(self._memory, 0, id_, row, at_s)

    def read(self) -> Begun:
        """Read which call has begun last."""
        return Begun(*_NOTE.unpack_from(self._memory, 0))

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.fd)
