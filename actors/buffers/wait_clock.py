"""How long somebody waited for one thing: seconds in which at least one row did.

State only; its actor says when. It looks at the clock only where something changes.
"""

from __future__ import annotations

from ..actor import Context


class WaitClock:
    """It does what the module says; one object belongs to one actor."""

    __slots__ = ("_since_s", "_total_s")

    def __init__(self) -> None:
        self._total_s = 0.0
        self._since_s: float | None = None

    def begin(self, context: Context) -> None:
        """Somebody waits from now on, if nobody did before."""
        if self._since_s is None:
            self._since_s = context.now()

    def end(self, context: Context) -> None:
        """Note that nobody waits any more."""
        if self._since_s is not None:
            self._total_s += context.now() - self._since_s
            self._since_s = None

    def seconds(self, context: Context) -> float:
        """How long it was so far, until now where somebody still waits."""
        return self._total_s + (context.now() - self._since_s if self._since_s is not None else 0.0)
