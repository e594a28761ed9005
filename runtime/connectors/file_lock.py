"""A lock on an output, beside it: who has it is told, and it ends with its process.

The lock is a file (`NAME.part.lock`) on which the process holds a POSIX record lock. Such a lock ends with the process
however that ends, is not inherited by a fork, and is seen by other processes, but not by other threads of this one: so there
is a registry of what this process holds, too. The file says who holds the lock, or who held it last: a run that was
interrupted leaves the file, so that another run does not take its rows for leftovers.

Where there are no record locks (Windows, some network file systems), only runs of the same process are kept apart.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time

import msgspec

from ..errors import ConfigError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_READ_MAX = 65536


class Holder(msgspec.Struct, frozen=True):
    """Who holds an output: process, pipeline, run, the journal with which the run can be resumed, seconds since the epoch.

    `found`: what stood under the output's name when the run began (device, inode, size, time of change), None: nothing.
    `mode`: what becomes of that.
    """

    pid: int
    host: str
    pipeline: str
    run: str
    journal: str | None
    since: float
    found: tuple[int, int, int, int] | None = None
    mode: str = "replace"

    @property
    def in_words(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"the pipeline {self.pipeline!r} in process {self.pid} on {self.host} since {since}"


def holder(pipeline: str, run: str, journal: str | None) -> Holder:
    """What is written into the lock: this process, and since when it holds it."""
    return Holder(os.getpid(), socket.gethostname(), pipeline, run, journal, time.time())


class FileLock:
    """A lock on a file, which is held from `take` to `release`."""

    def __init__(self, path: str, fd: int, before: Holder | None) -> None:
        self._path = path
        self._fd = fd
        self.before = before
        """Who held it last and did not take the file away: it was interrupted, or killed."""

    @classmethod
    def take(cls, path: str, output: str, who: Holder) -> FileLock:
        """Take the lock `path` on `output`, at once. Raises `ConfigError`, naming the holder, where another has it, and
        `OSError` where the file cannot be made."""
        with _guard:
            held = _held.get(path)
            if held is not None and held.pid == os.getpid():
                raise _busy(output, held)
            _held[path] = who
        try:
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
                try:
                    if _lock(fd):
                        before = _read(fd)
                        if _is_at(fd, path):
                            return cls(path, fd, before)
                    else:
                        raise _busy(output, _read(fd))
                except BaseException:
                    os.close(fd)
                    raise
                # Its last holder took the file away between our opening and our locking it.
                os.close(fd)
        except BaseException:
            with _guard:
                _held.pop(path, None)
            raise

    def write(self, who: Holder) -> None:
        """Note who holds it, for others to read."""
        with contextlib.suppress(OSError):
            data = msgspec.json.encode(who)
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))

    def release(self, *, keep: bool) -> None:
        """Let go. `keep`: the file stays and says whose the unfinished output is."""
        if not keep:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        with _guard:
            # Closing any descriptor of the file would end a lock that another thread had taken meanwhile.
            os.close(self._fd)
            _held.pop(self._path, None)


def _lock(fd: int) -> bool:
    if fcntl is None:  # pragma: no cover - Windows
        return True
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _read(fd: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(fd, _READ_MAX, 0), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def _busy(output: str, who: Holder | None) -> ConfigError:
    by = who.in_words if who is not None else "another run"
    return ConfigError(f"{output}: is being written by {by}; wait for its end, or name another file")


_guard = threading.Lock()
_held: dict[str, Holder] = {}


def _after_fork() -> None:
    """The child holds none of its parent's locks, and may not wait for a thread that it does not have."""
    global _guard
    _guard = threading.Lock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
