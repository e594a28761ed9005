"""What a server counts: the quotas of a service, each as the servers of this world keep theirs.

A quota is asked whether a call may come in, counts it, and says how it stands, for the headers of answers. Its clock is
the seconds since the scenario began; its windows need not begin when the scenario does.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from .units import Count, Seconds

ROUNDING = 1e-9
"""Tokens are sums of floats: what is there but for so much is there."""


class ChangeTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """From `at` seconds on, the quota is another one."""

    at: Seconds
    per_s: Annotated[float, Meta(gt=0)] | None = None
    calls: Count | None = None


class QuotaTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How many calls the service takes.

    `bucket`: `per_s`, with `burst` saved up. `queue`: the same, but what comes faster than `per_s` waits for its turn, as
    nginx has it without `nodelay`. `fixed`: `calls` in each window of `every` seconds, the first of which began
    `offset` seconds before the scenario. `sliding`: `calls` in any `every` seconds. `concurrency`: `calls` at once.
    `unit`: what is counted, calls or the tokens that each of them takes (see `ServiceTable`). `per_key`: each key has its
    own. `tick`: its clock has steps of so many seconds (nginx: 0.001), so that a call which comes within one counts as if at
    its beginning.
    """

    kind: Literal["bucket", "queue", "fixed", "sliding", "concurrency"] = "bucket"
    per_s: Annotated[float, Meta(gt=0)] | None = None
    burst: Annotated[float, Meta(ge=1)] = 20.0
    calls: Count | None = None
    every: Annotated[float, Meta(gt=0)] = 1.0
    offset: Seconds = 0.0
    unit: Literal["calls", "tokens"] = "calls"
    change: list[ChangeTable] = []
    per_key: bool = False
    tick: Seconds = 0.0


class Standing(NamedTuple):
    """How a quota stands: `limit` in all, `remaining`, `reset_s` until something changes for the better, in a window of
    `window_s`. Of a bucket, the reset is when it is full again; of a sliding window, when the oldest call leaves it."""

    limit: float
    remaining: float
    reset_s: float
    window_s: float


class Quota:
    """One budget of a service. `wait_s`: so long the call that was taken last waits for its turn."""

    wait_s = 0.0

    def __init__(self, table: QuotaTable) -> None:
        self._tick = table.tick
        self._per_s = table.per_s or 1.0
        self._calls = table.calls or 0
        self._every = table.every
        self._changes = sorted(table.change, key=lambda change: change.at)

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Whether a call that takes so much may come in now; it then counts."""
        if self._tick:
            now = math.floor(now / self._tick + ROUNDING) * self._tick
        while self._changes and self._changes[0].at <= now:
            self._change(self._changes.pop(0), now)
        return self._take(now, amount)

    def left(self) -> None:
        """A call that had been let in has ended."""

    def standing(self, now: float) -> Standing | None:
        """How it stands after a `take` at the same time; None: nobody is told."""
        return None

    def _take(self, now: float, amount: float) -> bool:
        raise NotImplementedError

    def _change(self, change: ChangeTable, now: float) -> None:
        if change.per_s is not None:
            self._per_s = change.per_s
        if change.calls is not None:
            self._calls = change.calls


class TokenBucket(Quota):
    """So much a second, and a burst saved up."""

    def __init__(self, table: QuotaTable) -> None:
        super().__init__(table)
        self._burst = table.burst
        self._tokens = table.burst
        self._at = 0.0

    def _take(self, now: float, amount: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < amount - ROUNDING:
            return False
        self._tokens -= amount
        return True

    def standing(self, now: float) -> Standing:
        missing = max(0.0, self._burst - self._tokens)
        return Standing(self._burst, max(0.0, self._tokens), missing / self._per_s, self._burst / self._per_s)


class Queue(TokenBucket):
    """The same, and what comes faster waits: of `burst` calls at once the first goes on at once, the others by turns."""

    def _take(self, now: float, amount: float) -> bool:
        well = super()._take(now, amount)
        self.wait_s = max(0.0, self._burst - 1.0 - self._tokens) / self._per_s if well else 0.0
        return well


class FixedWindow(Quota):
    """So much in each window; the next one begins with nothing taken."""

    def __init__(self, table: QuotaTable) -> None:
        super().__init__(table)
        self._offset = table.offset
        self._window = -1
        self._taken = 0.0

    def _take(self, now: float, amount: float) -> bool:
        window = int((now + self._offset) / self._every)
        if window != self._window:
            self._window, self._taken = window, 0.0
        if self._taken + amount > self._calls + ROUNDING:
            return False
        self._taken += amount
        return True

    def standing(self, now: float) -> Standing:
        ends = (self._window + 1) * self._every - self._offset
        return Standing(self._calls, max(0.0, self._calls - self._taken), ends - now, self._every)


class SlidingWindow(Quota):
    """So much in any span of the window's length."""

    def __init__(self, table: QuotaTable) -> None:
        super().__init__(table)
        self._recent: deque[tuple[float, float]] = deque()
        self._taken = 0.0

    def _take(self, now: float, amount: float) -> bool:
        while self._recent and self._recent[0][0] <= now - self._every:
            self._taken -= self._recent.popleft()[1]
        if self._taken + amount > self._calls + ROUNDING:
            return False
        self._recent.append((now, amount))
        self._taken += amount
        return True

    def standing(self, now: float) -> Standing:
        leaves = self._recent[0][0] + self._every if self._recent else now
        return Standing(self._calls, max(0.0, self._calls - self._taken), leaves - now, self._every)


class CallsInFlight(Quota):
    """So many calls at once. No header says how it stands."""

    def __init__(self, table: QuotaTable) -> None:
        super().__init__(table)
        self._inside = 0

    def _take(self, now: float, amount: float) -> bool:
        if self._inside >= self._calls:
            return False
        self._inside += 1
        return True

    def left(self) -> None:
        self._inside -= 1


_KINDS = {
    "bucket": TokenBucket,
    "queue": Queue,
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
    "concurrency": CallsInFlight,
}


def quota_of(table: QuotaTable) -> Quota:
    """The quota that a table says."""
    return _KINDS[table.kind](table)
