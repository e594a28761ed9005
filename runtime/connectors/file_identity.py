"""Which file a name means: two names are one file if they lead to the same inode, however they are spelled (L61).

A file that exists is known by its device and inode, so that links, relative paths and `./a` make no difference. A file that
does not exist yet is known by the folder that it would be made in and by its name there.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Hashable, Iterable
from typing import Literal

import msgspec

from ..errors import ConfigError

StrPath = str | os.PathLike[str]
STANDARD = "-"
"""The path that stands for standard input where rows are read, and for standard output where they are written."""


class FileUse(msgspec.Struct, frozen=True):
    """A connector reads or writes this file; a connector's `files()` returns a list of these.

    `use`: "read" or "write". `section`: the part of the file that is used, such as a table of a database; writers of
    different sections do not disturb each other. `user`: who uses it, in words for messages, such as "the quarantine"; the
    pipeline fills it in.
    """

    path: str
    use: Literal["read", "write"]
    section: str = ""
    user: str = ""


def checked_path(path: StrPath) -> str:
    """The path as text. Raises `ConfigError` for what can be the path of no file."""
    path = os.fspath(path)
    if not path:
        raise ConfigError("the path of a file is empty")
    if "\x00" in path:
        raise ConfigError(f"{path!a}: the path of a file has no NUL in it")
    if path.endswith(os.sep):
        raise ConfigError(f"{path}: is the path of a folder, not of a file")
    return path


def identity_of(path: StrPath, use: Literal["read", "write"] = "write") -> Hashable | None:
    """What the file is; equal for two names of one file. None: it is a device, which any number may share."""
    path = os.fspath(path)
    if path == STANDARD:
        return _identity_of_stream(use)
    if "://" in path:
        return path
    try:
        found = os.stat(path)
    except OSError:
        return _identity_of_new(os.path.realpath(path))
    return None if stat.S_ISCHR(found.st_mode) else (found.st_dev, found.st_ino)


def check_uses(uses: Iterable[FileUse]) -> None:
    """Raise `ConfigError`, naming both users, where one of them writes what another one reads or writes."""
    known: dict[Hashable, list[FileUse]] = {}
    for use in uses:
        identity = identity_of(use.path, use.use)
        if identity is None:
            continue
        others = known.setdefault(identity, [])
        for other in others:
            if _disturb(other, use):
                raise ConfigError(_sentence(other, use))
        others.append(use)


def _identity_of_stream(use: Literal["read", "write"]) -> Hashable:
    stream = 0 if use == "read" else 1
    try:
        found = os.fstat(stream)
    except OSError:
        return (STANDARD, stream)
    # A terminal is a device, and still only one sink may write to standard output.
    return (STANDARD, stream) if stat.S_ISCHR(found.st_mode) else (found.st_dev, found.st_ino)


def _identity_of_new(path: str) -> Hashable:
    folder, name = os.path.split(path)
    try:
        found = os.stat(folder)
    except OSError:
        return os.path.normcase(path)
    return (found.st_dev, found.st_ino, name.casefold() if _folds_case(folder) else name)


def _folds_case(folder: str) -> bool:
    """Whether `A` and `a` are one name in this folder's file system, as far as the folder's own name shows."""
    if sys.platform == "linux":
        return False
    other = os.path.join(os.path.dirname(folder), os.path.basename(folder).swapcase())
    try:
        return other != folder and os.path.samefile(folder, other)
    except OSError:
        return False


def _disturb(one: FileUse, other: FileUse) -> bool:
    if one.use == "read" and other.use == "read":
        return False
    return not (one.section and other.section) or one.section == other.section


def _sentence(one: FileUse, other: FileUse) -> str:
    what = "standard output" if other.path == STANDARD else other.path
    if other.section and one.section:
        what += f", table {other.section!r}"
    alias = f" (which is the same file as {one.path})" if one.path not in (other.path, STANDARD) else ""
    first, second = (f"{u.user} {'writes' if u.use == 'write' else 'reads'}" for u in (one, other))
    return f"{what}{alias}: {first} it, and {second} it too; give each of them a file of its own"
