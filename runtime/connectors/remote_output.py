"""An output that a URL names: it is written here, and put there when it is complete.

What is elsewhere can only be put there as a whole, which is what object stores do: whoever reads sees the old file or the
new one. Until then it is a file of this system, in a folder beside the journal (without one, in that of temporary files),
with all that a file here has: a run that is resumed goes on where it was. What comes after rows that are there already is
fetched first.

A file elsewhere bears no mark of who wrote it, so that one that is there is replaced only where `if_exists` says so.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from hashlib import blake2b, sha256
from typing import Any

import msgspec

from headrace.runtime.errors import ConfigError

from .file_mark import Stamp, stamp_of
from .part_file import PartFile
from .port import RunInfo, Written
from .remote import found, shown, why

_CHUNK = 1 << 20


class RemoteOutput(PartFile):
    """To be mixed into a `PartFile`, in front of it."""

    url = ""
    _fetched: Stamp | None = None
    """What was fetched, as it was then: put there again only where it is another one by then."""
    _was: tuple[object, ...] | None = None
    """What was there when the output was claimed."""

    def claim(self, run: RunInfo, place: object) -> None:
        self._run = run
        self._has_place = bool(place)
        super().claim(run, place)
        if not self._has_place:
            with open(f"{self._target}.was", "wb") as file:
                file.write(msgspec.json.encode(self._was))

    def _target_of(self) -> str:
        name = os.path.basename(shown(self.url).rstrip("/")) or "output"
        digest = blake2b(self.url.encode(), digest_size=6).hexdigest()
        journal = self._run.journal
        folder = (
            f"{journal}.outputs" if journal is not None else os.path.join(tempfile.gettempdir(), "headrace-outputs")
        )
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.path.join(os.path.realpath(folder), f"{digest}-{name}")

    def _look(self, target: str) -> None:
        fs, path = found(self.url)
        self._fetched = None
        self._was = was = self._stamp_there(fs, path)
        begun = os.path.lexists(f"{target}.part") or os.path.lexists(target)
        if self._has_place and begun:
            # What matters is what was there when the run began.
            self._was = _noted(target, was)
            return
        if was is None:
            return
        if not self._has_place and self._if_exists in (None, "error"):
            begin = self._if_exists or "nothing"
            raise ConfigError(
                f'{self.path}: exists already, and if_exists says {begin}; say "replace" or "append", or name another file'
            )
        if self._has_place or self._if_exists == "append":
            try:
                fs.get_file(path, target)
            except Exception as error:
                raise ConfigError(f"{self.path}: {why(error, self.url)}") from None
            self._fetched = stamp_of(target)

    def _what_becomes(self) -> Any:
        # What is here was fetched, or is of a life of this run: `_look` has seen to the rest.
        return self._if_exists or "replace"

    def _stamp_there(self, fs: Any, path: str) -> tuple[object, ...] | None:
        """What is there now; None where nothing is."""
        try:
            fs.invalidate_cache()
            info = fs.info(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise ConfigError(f"{self.path}: {why(error, self.url)}") from None
        if info.get("type") == "directory":
            raise ConfigError(f"{self.path}: is a folder, not a file")
        return tuple(
            info.get(name) and str(info[name]) for name in ("size", "ETag", "mtime", "created", "LastModified")
        )

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Put it where it is to be, if it is complete. Raises `OSError`; it is here then."""
        target = self._target
        super().close(complete)
        if not complete or not target:
            return
        if os.path.lexists(target) and stamp_of(target) != self._fetched:
            existed = self._was is not None
            self._written = Written(self.path, "unfinished", existed, target)
            self._put(target)
            what = "created" if not existed else "appended" if self._if_exists == "append" else "replaced"
            self._written = Written(self.path, what, existed)  # type: ignore[arg-type]
        for name in (target, f"{target}.was"):
            with contextlib.suppress(OSError):
                os.unlink(name)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(target))

    def _put(self, target: str) -> None:
        try:
            fs, path = found(self.url)
            now = self._stamp_there(fs, path)
            if now != self._was and self._if_exists != "replace" and not (now and _same(fs, path, target)):
                raise OSError("appeared or was changed since the run began, and is left as it is")
            fs.put_file(target, path)
        except Exception as error:
            told = str(error) if type(error) is OSError else why(error, self.url)
            raise OSError(f"{self.path}: {told}; the rows are in {target}") from error


def _noted(target: str, now: tuple[object, ...] | None) -> tuple[object, ...] | None:
    """What was there when the run began; what is there now, where nobody knows."""
    try:
        with open(f"{target}.was", "rb") as file:
            return msgspec.json.decode(file.read(), type=tuple[object, ...] | None)
    except (OSError, msgspec.DecodeError):
        return now


def _same(fs: Any, path: str, target: str) -> bool:
    """Whether what is there is what an earlier life of the run has put there."""
    digests = []
    for file in (fs.open(path, "rb"), open(target, "rb")):  # noqa: SIM115 - closed below
        digest = sha256()
        with file:
            while data := file.read(_CHUNK):
                digest.update(data)
        digests.append(digest.digest())
    return digests[0] == digests[1]


class RemotePart(RemoteOutput, PartFile):
    """The part file of an output of lines, which is put elsewhere when it is complete."""
