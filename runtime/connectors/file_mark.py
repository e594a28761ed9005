"""By what an output that is complete is known again: the pipeline that wrote it marks it with an extended attribute."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgspec

from .port import RunInfo

MARK = "user.headrace"
"""The attribute: which pipeline wrote the file, and what it then was."""
Stamp = tuple[int, int, int, int]
"""Device, inode, size, time of change."""


def stamp_of(path: str) -> Stamp | None:
    """Of a file as it is now; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def set_mark(fd: int, run: RunInfo) -> None:
    """Not every file system has extended attributes; without one, the next run asks before it replaces the file."""
    found = os.fstat(fd)
    mark = {"pipeline": run.pipeline, "run": run.run, "size": found.st_size, "time": found.st_mtime_ns}
    if hasattr(os, "setxattr"):
        with contextlib.suppress(OSError):
            os.setxattr(fd, MARK, msgspec.json.encode(mark))


def mark_of(path: str) -> dict[str, object]:
    """Who wrote a file that nobody has changed since; empty where that is not known."""
    if not hasattr(os, "getxattr"):
        return {}
    try:
        mark = msgspec.json.decode(os.getxattr(path, MARK), type=dict[str, Any])
        found = os.stat(path)
    except (OSError, msgspec.DecodeError):
        return {}
    return mark if (mark.get("size"), mark.get("time")) == (found.st_size, found.st_mtime_ns) else {}
