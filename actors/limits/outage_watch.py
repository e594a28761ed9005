"""Whether the other side is out: so many rows fail, one after another, that it is no fault of theirs (L40). State only."""

from __future__ import annotations

from ..rows.identity import Id
from .terms import Terms

NEVER_OUT = 1 << 62
"""So many answers are taken to have come since the last outage, where there has been none."""
MANY = 3
"""So many rows whose calls fail concern all rows: fewer may be at fault themselves."""


class OutageWatch:
    """It does what the module says; one object belongs to one gate."""

    def __init__(self) -> None:
        self._failing: set[Id] = set()
        self._failed_in_row = 0
        self._answered_since = NEVER_OUT
        self._probes = 0

    def on_answered(self, n: int) -> None:
        """The other side dealt with so many calls."""
        self._answered_since += n
        self.forget_failures()

    def on_failed(self, failed: tuple[Id, ...]) -> None:
        """It did not deal with the calls of these rows."""
        self._failing.update(failed)
        self._failed_in_row += len(failed)

    def forget_failures(self) -> None:
        """What failed until now is no part of an outage that begins."""
        self._failing.clear()
        self._failed_in_row = 0

    def is_out(self, outage_after: int) -> bool:
        """Whether enough rows have failed, for a limit of which `outage_after` says how many these are."""
        # Just reopened, few calls are under way: they would use up their rows' attempts before so many rows had failed.
        enough = min(outage_after, 2 + self._answered_since)
        # Where there are fewer rows than that, the same ones fail again and again.
        same = len(self._failing) >= MANY and self._failed_in_row >= outage_after
        return len(self._failing) >= enough or same

    def next_probe_s(self, terms: Terms) -> float:
        """Seconds until the next probe: 1.5 times as many as until the one before."""
        wait_s = min(terms.probe_s * 1.5**self._probes, terms.probe_max_s)
        self._probes = min(self._probes + 1, 50)
        return wait_s

    def on_reopened(self) -> None:
        """Note that a probe was answered."""
        self._answered_since = 0
        self._probes = 0
