"""One worker process, as its run sees it: how it is started, spoken to, listened to and ended; on the thread of a loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Protocol

from headrace.actors.errors import InternalError

from .page import Page
from .wire import Frames, Word, frame

_BEGIN = (
    "import json, sys; fds = sys.argv[1:4]; sys.path[:], sys.argv[:] = json.loads(sys.argv[4]); "
    "from headrace.runtime.calls.processes.child import main; main(*map(int, fds))"
)
"""What Python runs in the process: it finds modules where the run finds them, and has its arguments."""
CHUNK = 1 << 18
"""Bytes that are read at once."""


class Owner(Protocol):
    """Who is told what a process says."""

    def heard(self, process: Process, word: Word, body: bytes) -> None:
        """The process has said this."""

    def died(self, process: Process, how: str) -> None:
        """The process has ended, and all that it had said was heard."""


class Process(asyncio.Protocol):
    """One process. `owner`: who has it now."""

    def __init__(self, owner: Owner) -> None:
        """Raises `OSError` where none can be started."""
        self.owner = owner
        self.over = False
        self.page = page = Page.new()
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._exit_fd: int | None = None
        self._ours, theirs = socket.socketpair()
        fds = (theirs.fileno(), page.fd)
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", _BEGIN, *map(str, (*fds, os.getpid())), json.dumps([sys.path, sys.argv])],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                # Signals for the group of the terminal are the run's, which drains.
                process_group=0,
            )
        except BaseException:
            self._ours.close()
            page.close()
            raise
        finally:
            theirs.close()

    async def connect(self) -> None:
        """Begin to listen; comes before anything else."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, sock=self._ours)
        if hasattr(os, "pidfd_open"):
            # A process of the function's own may have a copy of the socket: then its end is no sign of this one's.
            with contextlib.suppress(OSError):
                self._exit_fd = os.pidfd_open(self._popen.pid)
                loop.add_reader(self._exit_fd, self._on_exit)

    @property
    def pid(self) -> int:
        """The process id that the system gave it."""
        return self._popen.pid

    def send(self, word: Word, body: bytes = b"") -> None:
        """Say something to it; what it does not read yet is kept."""
        if self._transport is not None and not self.over:
            self._transport.write(frame(word, body))

    def kill(self) -> None:
        """End it now, whatever it is doing; `died` is told when it has ended."""
        if not self.over:
            self._popen.kill()

    # --- what comes ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise InternalError("a socket is read and written")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for word, body in self._frames.feed(data):
            self.owner.heard(self, word, body)

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _on_exit(self) -> None:
        """It has ended; what it had written before may not all be read."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            with contextlib.suppress(OSError):
                while data := os.read(self._ours.fileno(), CHUNK):
                    self.data_received(data)
        self._end()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        if self._exit_fd is not None:
            asyncio.get_running_loop().remove_reader(self._exit_fd)
            os.close(self._exit_fd)
        if self._transport is not None:
            self._transport.abort()
        # Its socket is closed, so that it ends by itself; but its code may hold it up.
        self._popen.kill()
        status = self._popen.wait()
        self.owner.died(self, ended_by(status))
        self.page.close()


def ended_by(status: int) -> str:
    """How a process ended, in words, of the status that `Popen` gives."""
    if status >= 0:
        return f"ended with the status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended by {name}" + (", perhaps since the system was out of memory" if name == "SIGKILL" else "")
