"""The word that a sink's output is held for a run; see `Claim` in `port`."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SinkClaim:
    """Held until the sink is closed, or released where the run did not come to open it."""

    def __init__(self, name: str, unclaim: Callable[[], None]) -> None:
        """`unclaim`: lets go of what is held, once."""
        self._name = name
        self._unclaim = unclaim
        self._opened = False
        self._released = False
        self._closed = threading.Event()
        self._error: BaseException | None = None

    def release(self) -> None:
        if not self._opened and not self._released:
            self._released = True
            self._unclaim()

    def opened(self) -> None:
        """From here on, the sink's `close` lets go."""
        self._opened = True

    def closed(self, error: BaseException | None) -> None:
        """The sink was closed; `error`: why its output is not what it was to become."""
        self._error = error
        self._closed.set()

    def error(self, within_s: float) -> BaseException | None:
        if self._opened and not self._closed.wait(within_s):
            return TimeoutError(f"{self._name}: is still being closed")
        return self._error
