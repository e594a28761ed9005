"""Several files as one source: a folder, or a pattern such as `in/*.csv`, one file after another by their names.

Which files they are is looked up once, before anything is read; the journal knows each of them as it knows one file. A place
is which file, and the place in it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from headrace.actors.errors import InternalError

from ..errors import ConfigError
from ..rows.contracts import INFER, Contract
from .file_identity import FileUse, StrPath
from .iterables import IteratorSource
from .packed import unpacked_name
from .remote import is_url, listed, shown

Make = Callable[[str], Any]
"""Makes the source of one file."""
One = TypeVar("One")


def one_or_many(path: StrPath, make: Callable[[str], One], endings: Sequence[str]) -> One | ManyFiles:
    """The source of a file, or of those that a pattern matches or that are in a folder. `endings`: of the names of files
    there; others are left alone."""
    text = os.fspath(path)
    if isinstance(text, str) and (_is_pattern(text) or (not is_url(text) and os.path.isdir(text))):
        return ManyFiles(text, make, endings)
    return make(os.fsdecode(text))


def _is_pattern(path: str) -> bool:
    """Whether it stands for several: a file that is called so is that file."""
    plain = path.partition("?")[0] if is_url(path) else path
    return glob.has_magic(plain) and (is_url(path) or not os.path.exists(path))


class ManyFiles(IteratorSource):
    """Rows of several files, one after another."""

    counts = False

    def __init__(self, path: str, make: Make, endings: Sequence[str]) -> None:
        super().__init__()
        self.path = path
        self.name = shown(path) if is_url(path) else path
        self._make = make
        self._endings = tuple(endings)
        self._files: list[object] | None = None
        self._i = 0
        self._opened = False
        self._placing = False

    @property
    def placed(self) -> bool:
        """Whether all of them have places."""
        return all(getattr(each, "placed", False) for each in self._all())

    def _all(self) -> list[Any]:
        if self._files is None:
            self._files = [self._make(path) for path in self._names()]
        return self._files

    def _names(self) -> list[str]:
        if is_url(self.path):
            names = listed(self.path)
        elif os.path.isdir(self.path):
            with os.scandir(self.path) as entries:
                there = sorted(entry.path for entry in entries if entry.is_file())
            names = [name for name in there if self._is_one(name)]
        else:
            found = sorted(glob.glob(self.path, recursive=True))
            names = [name for name in found if not os.path.isdir(name)]
        if not names:
            kinds = f" that is called {' or '.join(self._endings)}" if os.path.isdir(self.path) else ""
            raise ConfigError(f"{self.name}: there is no file{kinds}")
        return names

    def _is_one(self, path: str) -> bool:
        name = os.path.basename(path)
        return not name.startswith((".", "_")) and unpacked_name(name).lower().endswith(self._endings)

    def files(self) -> list[FileUse]:
        """Which files the source reads."""
        return [FileUse(each.path, "read") for each in self._all()]

    def check(self) -> None:
        """Raise `ConfigError` where one of them cannot be read."""
        for each in self._all():
            each.check()

    def fields(self) -> list[str] | None:
        """The names of the columns of the first file, where it has some."""
        ask = getattr(self._all()[0], "fields", None)
        return ask() if ask is not None else None

    def fingerprint(self) -> dict[str, object]:
        """By what each of them is known again."""
        return {"path": self.name, "files": [each.fingerprint() for each in self._all()]}

    def verify(self, place: list[Any]) -> str | None:
        """What is not as it was before a place. Files before that one are known by their fingerprints."""
        i, inner = place
        if i >= len(self._all()):
            return f"{self.name} has {len(self._all())} files, and {i + 1} had been read"
        ask = getattr(self._all()[i], "verify", None)
        return ask(inner) if ask is not None and inner is not None else None

    def open(self) -> None:
        self._placing = False
        self._begin(0, None)

    def resume(self, place: list[Any] | None) -> None:
        """Begin at a place that `tell` told."""
        self._placing = True
        i, inner = place if place is not None else (0, None)
        self._begin(i, inner)

    def tell(self) -> list[object]:
        """Which file, and the place in it."""
        return [self._i, self._all()[self._i].tell()]

    def _begin(self, i: int, inner: object) -> None:
        contract = self._contract
        if contract == INFER:
            # All of them have the types of the first.
            first = self._make(self._all()[0].path)
            first.hold_to(INFER)
            contract = first.held_to()
        self._inner: Contract | str | None = contract
        self._open_file(i, inner)

    def _open_file(self, i: int, inner: object = None) -> None:
        self._i = i
        file = self._all()[i]
        if self._inner is not None:
            file.hold_to(self._inner)
        if self._placing and getattr(file, "placed", False):
            file.resume(inner)
        else:
            file.open()
        self._opened = True

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        if not self._opened:
            raise InternalError("a source is opened before it is read")
        values, ended, bad = self._all()[self._i].read(n)
        if not ended or self._i + 1 == len(self._all()):
            return values, ended, bad
        if values:
            # The place that is told now is in this file.
            return values, False, bad
        self._close_file()
        self._open_file(self._i + 1)
        return [], False, bad

    def place(self) -> str:
        return str(self._all()[self._i].place())

    def interrupt(self) -> None:
        """From any thread: a `read` that waits for its next row shall not."""
        self._all()[self._i].interrupt()

    def _close_file(self) -> None:
        if self._opened:
            self._opened = False
            self._all()[self._i].close()

    def close(self) -> None:
        self._close_file()

    def iterate(self) -> Any:
        raise InternalError("it is read file by file")
