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

from ..hosts.threads.starting import started

if TYPE_CHECKING:
    from .report import RunReport
    from .run import Run

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """The numbers of the signals that came, in order, and the run that they are for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.listening = False
        """They come here; else the application has them."""
        self._run: Run | None = None
        # A handler on the main thread may interrupt `govern`, and then note a signal itself.
        self._mutex = threading.RLock()

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def raise_for(self, report: RunReport) -> None:
        """Raise what the first signal that came means to a script: a `KeyboardInterrupt`, or for SIGTERM a `SystemExit` with
        the status 143. Its attribute `report` is the report.

        They are the built-in exceptions themselves, not subclasses: the interpreter ends by SIGINT, as a shell's loop
        expects it, for `KeyboardInterrupt` alone.
        """
        if not self.numbers:
            return
        ended: BaseException
        if self.numbers[0] == signal.SIGTERM:
            ended = SystemExit(128 + signal.SIGTERM)
        else:
            came = f"{report.state.value} after {report.delivered:,} of {report.rows:,} rows that were read"
            ended = KeyboardInterrupt(f"{report.name}: {came}")
        vars(ended)["report"] = report
        raise ended

    def govern(self, run: Run) -> None:
        """From now on, signals are for `run`; those that came before, too."""
        with self._mutex:
            self._run = run
            for count, number in enumerate(self.numbers, 1):
                _act(run, number, count)

    def note(self, number: int) -> None:
        """Note that a signal has come."""
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

    handlers: dict[int, object] = {number: signal.signal(number, handle) for number in ours}
    _replaced.append((handlers, before))
    signals.listening = True
    try:
        yield signals
    finally:
        if _replaced:
            # Not in a child that was forked in the block: it has had its own handlers back since.
            _replaced.pop()
            _restore(handlers, before)
        writer.close()
        listener.join()
        reader.close()


_replaced: list[tuple[dict[int, object], int]] = []
"""The handlers of the application, and its wake-up descriptor, while ours are in their place."""


def _restore(handlers: dict[int, Any], before: int) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(before)


# The listener is a thread of the parent's: with our handlers, a child that was forked could not be ended by SIGTERM (L70).
# A signal that comes to the child before it has the application's handlers back waits until it has them.

_masks = threading.local()


def _before_fork() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if _replaced else None


def _after_fork_in_child() -> None:
    while _replaced:
        _restore(*_replaced.pop())
    _after_fork()


def _after_fork() -> None:
    if _masks.before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


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
