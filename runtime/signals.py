"""SIGINT and SIGTERM while a run goes on: the first drains, the second aborts (L34)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from .run import Run

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Received:
    """Which signals came, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.numbers)


@contextmanager
def draining(run: Run) -> Iterator[Received]:
    """While in the block, the first signal drains `run`, the second aborts it, the third does what it did before.

    Only in the main thread, and only for signals that the application does not handle itself; elsewhere without effect.
    """
    received = Received()
    previous: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        received.numbers.append(number)
        name = signal.Signals(number).name
        match len(received.numbers):
            case 1:
                logger.warning("{}: draining; once more to abort", name)
                run.drain()
            case 2:
                run.abort(f"{name}, for the second time")
            case _:
                _restore(previous)
                signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                previous[number] = signal.signal(number, handle)
    try:
        yield received
    finally:
        _restore(previous)


def _restore(previous: dict[int, Any]) -> None:
    while previous:
        number, handler = previous.popitem()
        signal.signal(number, handler)
