"""SIGINT and SIGTERM while a run goes on: the first drains, the second aborts (L34).

A handler in Python runs only when the main thread comes round to it, and one that is just about to wait for a lock may not
(a signal between its last look and the wait is seen after the wait). The interpreter's own handler, though, writes each
signal's number to the wake-up file descriptor at once; a thread reads them there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from loguru import logger

from .hosts.starting import started

if TYPE_CHECKING:
    from .run import Run

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """The numbers of the signals that came, in order, and the run that they are for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._run: Run | None = None
        # A handler on the main thread may interrupt `govern`, and then note a signal itself.
        self._mutex = threading.RLock()

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def govern(self, run: Run) -> None:
        """From now on, signals are for `run`; those that came before, too."""
        with self._mutex:
            self._run = run
            for count, number in enumerate(self.numbers, 1):
                _act(run, number, count)

    def note(self, number: int) -> None:
        """One has come."""
        with self._mutex:
            self.numbers.append(number)
            if self._run is not None:
                _act(self._run, number, len(self.numbers))


def _act(run: Run, number: int, count: int) -> None:
    name = signal.Signals(number).name
    if count == 1:
        logger.warning("{}: draining; once more to abort", name)
        run.drain()
    elif count == 2:
        run.abort(f"{name}, for the second time")


@contextmanager
def draining() -> Iterator[Signals]:
    """While in the block, the first signal drains the run that is named to `govern`, and the second aborts it.

    Only in the main thread, and only for signals that the application does not handle itself; elsewhere without effect.
    """
    signals = Signals()
    ours = [n for n in SIGNALS if signal.getsignal(n) in (signal.SIG_DFL, signal.default_int_handler)]
    if threading.current_thread() is not threading.main_thread() or not ours:
        yield signals
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        listener = started(_listen, "headrace signals", reader, ours, before, signals)
    except BaseException:
        signal.set_wakeup_fd(before)
        writer.close()
        reader.close()
        raise

    def handle(number: int, frame: FrameType | None) -> None:
        # The listener has heard of it already, unless something has ended its thread.
        if not listener.is_alive():
            signals.note(number)

    handlers: dict[int, Any] = {number: signal.signal(number, handle) for number in ours}
    try:
        yield signals
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        writer.close()
        listener.join()
        reader.close()


def _listen(reader: socket.socket, ours: list[signal.Signals], before: int, signals: Signals) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            if number in ours:
                signals.note(number)
            if before != -1:
                # Whoever had the descriptor before us, an event loop perhaps, hears of all.
                with contextlib.suppress(OSError):
                    # It may be closed, or full, by now.
                    os.write(before, bytes([number]))
