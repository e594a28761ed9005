"""What is wrong with a journal, in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from headrace.runtime.errors import ConfigError, HeadraceError
from headrace.runtime.text import kind_of


class Damaged(HeadraceError):
    """Something in the journal is not what was written."""


def damaged(path: str, error: object) -> ConfigError:
    """What a person is told of it."""
    return ConfigError(f"{path}: is damaged ({error}); nothing was changed. Restore it from a copy")


@contextmanager
def in_words(path: str) -> Iterator[None]:
    """What is wrong with a journal becomes a `ConfigError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: {wrong(error)}") from error
    except HeadraceError as error:
        if isinstance(error, Damaged):
            raise damaged(path, error) from error
        raise
    except (msgspec.MsgspecError, ValueError, LookupError, OverflowError, AssertionError) as error:
        # What was read is not what was written.
        raise damaged(path, f"{kind_of(error)}: {error}") from error


def wrong(error: sqlite3.Error) -> str:
    """What is wrong with a journal, for people."""
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_NOTADB":
            return "is not a journal; name another file"
        case "SQLITE_CORRUPT":
            return f"is damaged ({error}); nothing was changed. Restore it from a copy"
        case "SQLITE_READONLY" | "SQLITE_CANTOPEN" | "SQLITE_READONLY_DIRECTORY":
            return "cannot be written; a journal and its folder must be"
        case "SQLITE_FULL":
            return "the disk is full"
        case "SQLITE_IOERR_WRITE":
            return "cannot be written; is there room?"
        case name:
            return f"{error} ({name})"
