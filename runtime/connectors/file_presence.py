"""Whether what is written to can still be found by its name: to a file whose folder was removed, a system writes on."""

from __future__ import annotations

import os

from ..errors import HeadraceError


class Gone(HeadraceError, OSError):
    """A file was removed, or replaced, while it was written."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: was removed or replaced while it was written; what was written since is lost")


class Presence:
    """Of the file that has this name now."""

    def __init__(self, path: str) -> None:
        """Raises `OSError`."""
        self._path = path
        self._known = _identity(os.stat(path))

    def check(self) -> None:
        """Raise `Gone` if the file was removed or replaced."""
        try:
            same = _identity(os.stat(self._path)) == self._known
        except FileNotFoundError:
            same = False
        if not same:
            raise Gone(self._path)


def _identity(of: os.stat_result) -> tuple[int, int]:
    return of.st_dev, of.st_ino


def sync_folder(path: str) -> None:
    """So that a name outlives a loss of power."""
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except OSError:
        # Not every system lets one open a folder.
        return
    try:
        os.fsync(folder)
    except OSError:
        pass
    finally:
        os.close(folder)
