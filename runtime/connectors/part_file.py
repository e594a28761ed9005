"""An output file that gets its name only when it is complete; until then it is called `NAME.part`.

What stood under the name before is untouched until then, whatever is to become of it: a file that is appended to is copied
first, which costs one reading and one writing of it. A symbolic link stays, and the file behind it is the output.

Where the run has a journal, the place that the journal keeps is how many bytes were written and their digest (BLAKE2b). A
later life of the run reads so many bytes of the `.part` again, about a second for each gigabyte, and goes on only if they
are what was written; so no stray file is taken for its own, and none that its owner has edited is cut (L61, L88).

The lock beside the output (see `file_lock`) also says whose an unfinished `.part` is. Nobody else's run writes over it while
the journal is there with which its own run can go on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Literal, get_args

import msgspec

from headrace.actors.errors import InternalError

from ..errors import ConfigError
from .file_lock import FileLock, Holder, holder
from .file_mark import Stamp, mark_of, set_mark, stamp_of
from .file_presence import Presence, sync_folder
from .port import RunInfo, Written

IfExists = Literal["error", "replace", "append"]
"""What becomes of what stands under an output's name; see `headrace.runtime.sinks`."""
DIGEST_BYTES = 8
"""What is to be told apart are accidents, and a journal keeps one digest for each write."""
_CHUNK = 1 << 20


class PartFile:
    """One output of a run, from `claim` to `close`. Calls come one at a time."""

    def __init__(self, path: str, if_exists: IfExists | None, has_rows: Callable[[str], bool]) -> None:
        """`has_rows`: whether there is anything in a file that could be lost."""
        self.path = path
        self._if_exists = if_exists
        self._has_rows = has_rows
        self._target = self._part = ""
        self._lock: FileLock | None = None
        self._run = RunInfo()
        self._state: Literal["new", "part", "finished"] = "new"
        self._found: Stamp | None = None
        self._existed = False
        self._mode: str = "replace"
        self._file: IO[bytes] | None = None
        self._presence: Presence | None = None
        self._size = 0
        self._digest: Any = None
        self._written: Written | None = None

    # --- before anything is written ---

    def claim(self, run: RunInfo, place: object) -> None:
        """Hold the output for this run. Raises `ConfigError`, and has changed nothing then."""
        target = self._target_of()
        self._look(target)
        who = holder(run.pipeline, run.run, run.journal)
        try:
            lock = FileLock.take(f"{target}.part.lock", self.path, who)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            self._target, self._part, self._run = target, f"{target}.part", run
            self._written = None
            self._prepare(_place_of(self.path, place), lock.before)
        except BaseException as error:
            lock.release(keep=lock.before is not None)
            if isinstance(error, OSError):
                raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error
            raise
        lock.write(msgspec.structs.replace(who, found=self._found, mode=self._mode))
        self._lock = lock

    def _target_of(self) -> str:
        return os.path.realpath(self.path)

    def unclaim(self) -> None:
        """Let go of what was claimed and not begun."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        if lock.before is not None:
            lock.write(lock.before)
        lock.release(keep=lock.before is not None)

    def _look(self, target: str) -> None:
        if os.path.isdir(target):
            raise ConfigError(f"{self.path}: is a folder, not a file")
        if os.path.islink(target):
            raise ConfigError(f"{self.path}: is a link that leads back to itself")
        if not os.path.isdir(os.path.dirname(target)):
            raise ConfigError(f"{self.path}: the folder {str(Path(self.path).parent)!r} does not exist")
        if os.path.exists(target) and not os.access(target, os.W_OK):
            raise ConfigError(f"{self.path}: cannot be written: Permission denied")

    def _prepare(self, place: tuple[int, bytes] | None, before: Holder | None) -> None:
        """See what is there, and what is to be done about it."""
        ours = before is not None and before.run == self._run.run
        if place is not None and place[0]:
            self._find_again(place, before if ours else None)
            return
        self._check_part(before, ours=ours)
        self._state, self._size = "new", 0
        self._found = stamp_of(self._target)
        self._existed = self._found is not None and self._has_rows(self._target)
        self._mode = self._what_becomes() if self._existed else (self._if_exists or "error")

    def _check_part(self, before: Holder | None, *, ours: bool) -> None:
        """Nothing that might be missed is written over."""
        if ours or not os.path.lexists(self._part):
            return
        if before is None:
            raise ConfigError(
                f"{self._shown}: is there, and nothing beside it says which run wrote it; move it away, or remove it"
            )
        if can_go_on(before.journal, before.pipeline, self._run):
            raise ConfigError(
                f"{self._shown}: has the rows of a run of the pipeline {before.pipeline!r} that was interrupted; go on with"
                f" it (its journal is {before.journal}), or remove the file"
            )

    def _what_becomes(self) -> IfExists:
        """Of a file that has rows in it."""
        if self._if_exists == "error":
            raise ConfigError(
                f'{self.path}: exists already, and if_exists="error" was said; name another file, remove this one, or say'
                ' "replace" or "append"'
            )
        if self._if_exists is not None:
            return self._if_exists
        if mark_of(self._target).get("pipeline") != self._run.pipeline:
            raise ConfigError(
                f"{self.path}: exists already, and is not what an earlier run of the pipeline {self._run.pipeline!r} wrote;"
                ' say if_exists="replace" or "append", or name another file'
            )
        return "error"

    def _find_again(self, place: tuple[int, bytes], before: Holder | None) -> None:
        """An earlier life of the run has written; where are its rows? Raises `ConfigError` where they are not."""
        size, digest = place
        part, whole = _digest_of(self._part, size), _digest_of(self._target, size)
        if part is not None and _same(part, digest):
            self._state, self._digest = "part", part
            self._found = before.found if before is not None else stamp_of(self._target)
            self._existed = self._found is not None
            self._mode = before.mode if before is not None else (self._if_exists or "error")
        elif whole is not None and _same(whole, digest) and os.path.getsize(self._target) == size:
            if os.path.lexists(self._part):
                raise ConfigError(f"{self._shown}: was not written by this run, whose output is complete; move it away")
            self._state, self._digest = "finished", whole
            self._found, self._existed, self._mode = stamp_of(self._target), True, "append"
        else:
            raise ConfigError(self._not_found(size))
        self._size = size

    def _not_found(self, size: int) -> str:
        """What is wrong with the rows of an earlier life."""
        part = os.path.lexists(self._part)
        there, name = (self._part, self._shown) if part else (self._target, self.path)
        stamp = stamp_of(there)
        said = f"the journal says that {size}"
        if stamp is None:
            missing = f"it cannot be opened: neither it nor {self.path} is there"
            mend = "put it back, or begin with another journal; what was answered is in this one (headrace export)"
            return f"{self._shown}: {said} bytes were written here, and {missing}; {mend}"
        if stamp[2] < size:
            return f"{name}: has {stamp[2]} bytes, and {said} were written: it was changed"
        gone = "" if part else f"{self._shown}, where this run was writing, is gone, and "
        return (
            f"{gone}{name}: is not what this run wrote, {said} bytes: it was changed, or another program wrote it; it is"
            " left as it is"
        )

    # --- writing ---

    def begin(self, *, resumable: bool) -> None:
        """Open it. `resumable`: `tell` is going to be asked."""
        if self._lock is None:
            raise InternalError("an output is claimed before it is begun")
        try:
            match self._state:
                case "new":
                    self._digest = blake2b(digest_size=DIGEST_BYTES) if resumable else None
                    self._begin_new(copy=self._mode == "append" and self._existed)
                case "part":
                    self._file = open(self._part, "r+b")  # noqa: SIM115 - closed by `close`
                    self._file.truncate(self._size)
                    self._file.seek(self._size)
                    self._presence = Presence(self._part)
                case "finished":
                    # It is opened when a row comes.
                    pass
        except OSError as error:
            self.close(False)
            raise ConfigError(f"{self._shown}: cannot be written: {error.strerror}") from error

    def _begin_new(self, *, copy: bool) -> None:
        # Whatever is called so is a leftover, or a link to somewhere else: it is not written into.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)
        self._file = file = open(self._part, "xb")  # noqa: SIM115 - closed by `close`
        self._presence = Presence(self._part)
        self._size = 0
        if self._found is not None:
            with contextlib.suppress(OSError):
                shutil.copymode(self._target, self._part)
        if copy:
            self._copy_old(file)
            file.flush()

    def _copy_old(self, file: IO[bytes]) -> None:
        """Copy the rows that the new ones come after."""
        with open(self._target, "rb") as old:
            last = b"\n"
            while data := old.read(_CHUNK):
                self._count(data)
                file.write(data)
                last = data[-1:]
        if last != b"\n":
            self._count(b"\n")
            file.write(b"\n")

    def write(self, data: bytes) -> None:
        """Append these bytes. Raises `OSError` where the disk does not take them."""
        if self._file is None:
            self._begin_again()
        if self._file is None:
            raise InternalError("the output is open")
        if self._presence is None:
            raise InternalError("the output is open")
        self._file.write(data)
        # What is released is written, not kept for the end (L37).
        self._file.flush()
        self._count(data)
        self._presence.check()

    def _begin_again(self) -> None:
        """Rows come after a file that is complete: rows that were in quarantine, tried again."""
        known = self._digest.digest()
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._begin_new(copy=True)
        if self._digest.digest() != known:
            raise OSError(f"{self.path}: was changed while the run went on; it is left as it is")

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        if self._digest is not None:
            self._digest.update(data)

    @property
    def size(self) -> int:
        """Bytes written, and those that stood there."""
        return self._size

    def tell(self) -> list[object]:
        """How much was written, and its digest."""
        return [self._size, self._digest.digest()]

    def sync(self) -> None:
        """Have what was written on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    @property
    def goes_on_from(self) -> str | None:
        """Once it is claimed: the file whose rows the run's rows come after; None where there are none."""
        match self._state:
            case "part":
                return self._part
            case "finished":
                return self._target
            case "new":
                return self._target if self._existed and self._mode == "append" else None

    @property
    def appends_to(self) -> str | None:
        """Once it is claimed: the file that somebody else wrote, and that the run's rows come after; None otherwise."""
        return self._target if self._state == "new" and self._existed and self._mode == "append" else None

    # --- the end ---

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Give it its name, if it is complete. Raises `OSError` where it cannot have it; the rows are in the `.part`."""
        lock, self._lock = self._lock, None
        file, self._file, self._presence = self._file, None, None
        if lock is None:
            return
        done = file is None and self._state == "finished"
        try:
            if file is not None:
                done = self._finish(file, complete=complete)
        finally:
            if file is not None:
                file.close()
            lock.release(keep=not done and os.path.lexists(self._part))

    def _finish(self, file: IO[bytes], *, complete: bool) -> bool:
        self._written = Written(self.path, "unfinished", self._existed, self._shown)
        if not complete:
            return False
        file.flush()
        os.fsync(file.fileno())
        now = stamp_of(self._target)
        if os.path.isdir(self._target):
            raise IsADirectoryError(
                f"{self.path}: became a folder while the run went on; the rows are in {self._shown}"
            )
        if now != self._found and self._mode != "replace":
            became = "appeared" if self._found is None else "was changed"
            raise FileExistsError(
                f"{self.path}: {became} while the run went on, and is left as it is; the rows are in {self._shown}"
            )
        try:
            self._take_name(file)
        except OSError as error:
            raise OSError(f"{self.path}: {error.strerror or error}; the rows are in {self._shown}") from error
        sync_folder(self._target)
        what: Literal["created", "replaced", "appended"] = "appended" if self._mode == "append" else "replaced"
        self._written = Written(self.path, what if self._existed else "created", self._existed)
        return True

    def _take_name(self, file: IO[bytes]) -> None:
        """Make the output what it is to be, under its name. Raises `OSError`."""
        set_mark(file.fileno(), self._run)
        os.replace(self._part, self._target)

    @property
    def written(self) -> Written | None:
        return self._written

    @property
    def _shown(self) -> str:
        """The name of the `.part`, as the user would look for it."""
        return self._part if os.path.islink(self.path) else f"{self.path}.part"


def check_if_exists(name: str, said: IfExists | None) -> IfExists | None:
    """Raise `ConfigError` where this is none of the things that can be said."""
    if said not in (None, *get_args(IfExists)):
        raise ConfigError(f"{name}: if_exists={said!r}: 'error', 'replace' or 'append'")
    return said


def can_go_on(journal: str | None, pipeline: str, run: RunInfo) -> bool:
    """Whether another run than this one, which was interrupted, can be resumed."""
    if journal is None or not os.path.exists(journal):
        return False
    # A journal has one run of each pipeline: where that is this one, the journal of the other is gone.
    return (journal, pipeline) != (run.journal, run.pipeline)


def _place_of(path: str, place: object) -> tuple[int, bytes] | None:
    """(size, digest); journals of older versions have no digest."""
    if place is None:
        return None
    if type(place) is int:
        return place, b""
    if isinstance(place, list | tuple) and len(place) == 2 and type(place[0]) is int:
        return place[0], bytes(place[1])
    raise ConfigError(f"{path}: the journal knows of rows that another kind of sink wrote; name another journal")


def _digest_of(path: str, size: int) -> object:
    """The digest of a file's beginning, which can be added to; None where the file is shorter, or is not there."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    try:
        with open(path, "rb") as file:
            while size:
                data = file.read(min(size, _CHUNK))
                if not data:
                    return None
                digest.update(data)
                size -= len(data)
    except OSError:
        return None
    return digest


def _same(digest: Any, known: bytes) -> bool:
    return not known or digest.digest() == known
