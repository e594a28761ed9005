"""The outside: a remote service as a scenario describes it. The same model answers in simulation and behind a real
HTTP server.

It is told of each call when it arrives, and says what will come of it and when. Times are seconds since the scenario began.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from email.utils import formatdate
from random import Random
from typing import Any

import msgspec

from .script import ChangeTable, LatencyTable, QuotaTable, ServiceTable, TroubleTable

PARETO_CUT = 1000.0
"""A heavy tail ends at so many times its least value: answers that never come are said, not drawn."""


class Answer(msgspec.Struct, frozen=True):
    """What comes of a call `after_s` seconds after it arrived. None: nothing, ever.

    `status` 0: the connection breaks. `nonsense`: it is of another type.
    """

    after_s: float | None
    status: int = 200
    retry_after: str | None = None
    nonsense: bool = False


class Quota:
    """One budget of a service."""

    def __init__(self, table: QuotaTable) -> None:
        self._table = table
        self._per_s = table.per_s or 0.0
        self._calls = table.calls or 0
        self._changes = sorted(table.change, key=lambda change: change.at)
        self._tokens = table.burst
        self._at = 0.0
        self._window = -1
        self._taken = 0
        self._recent: deque[float] = deque()
        self._inside = 0

    def take(self, now: float) -> bool:
        """Whether a call may come in now; it then counts."""
        while self._changes and self._changes[0].at <= now:
            self._change(self._changes.pop(0))
        match self._table.kind:
            case "bucket":
                self._tokens = min(self._table.burst, self._tokens + (now - self._at) * self._per_s)
                self._at = now
                # Tokens are sums of floats: what is there but for rounding is there.
                if self._tokens < 1.0 - 1e-9:
                    return False
                self._tokens -= 1.0
                return True
            case "fixed":
                window = int(now / self._table.every)
                if window != self._window:
                    self._window, self._taken = window, 0
                self._taken += 1
                return self._taken <= self._calls
            case "sliding":
                while self._recent and self._recent[0] <= now - self._table.every:
                    self._recent.popleft()
                if len(self._recent) >= self._calls:
                    return False
                self._recent.append(now)
                return True
            case _:
                if self._inside >= self._calls:
                    return False
                self._inside += 1
                return True

    def _change(self, change: ChangeTable) -> None:
        if change.per_s is not None:
            self._per_s = change.per_s
        if change.calls is not None:
            self._calls = change.calls

    def left(self) -> None:
        """A call that had been let in has ended."""
        self._inside -= 1


class Service:
    """See the module. `counts`: answers by status; `inside_max`: calls at once, at most."""

    def __init__(self, table: ServiceTable, seed: int, wall_s: float = 0.0) -> None:
        """`wall_s`: the wall clock when the scenario began, for dates."""
        self.table = table
        self._wall_s = wall_s
        self.counts: Counter[int] = Counter()
        self.calls = 0
        self.inside = 0
        self.inside_max = 0
        self._random = Random(f"{seed}:{table.name}").random
        self._quotas: dict[tuple[int, int], Quota] = {}
        self._called: Counter[int] = Counter()

    def arrive(self, now: float, row: int, key: int) -> tuple[Answer, list[Quota]]:
        """A call has come in: the answer, and the quotas to tell when it has `left`."""
        self.calls += 1
        self.inside += 1
        self.inside_max = max(self.inside_max, self.inside)
        answer, quotas = self._decide(now, row, key)
        self.counts[answer.status if answer.after_s is not None else -1] += 1
        return answer, quotas

    def leave(self, quotas: list[Quota]) -> None:
        """A call has ended, however."""
        self.inside -= 1
        for quota in quotas:
            quota.left()

    def _decide(self, now: float, row: int, key: int) -> tuple[Answer, list[Quota]]:
        for outage in self.table.outage:
            if outage.at <= now < outage.at + outage.lasts:
                match outage.by:
                    case "silence":
                        return Answer(None), []
                    case "reset":
                        return Answer(self._latency(), 0), []
                    case "429":
                        return Answer(self._latency(), 429, self._hint(now)), []
                    case _:
                        return Answer(self._latency(), 503), []
        taken: list[Quota] = []
        for i, table in enumerate(self.table.quota):
            place = (i, key if table.per_key else 0)
            quota = self._quotas.get(place)
            if quota is None:
                quota = self._quotas[place] = Quota(table)
            if not quota.take(now):
                for other in taken:
                    other.left()
                return Answer(self._latency(), 429, self._hint(now)), []
            if table.kind == "concurrency":
                taken.append(quota)
        for trouble in self.table.trouble:
            if self._strikes(trouble, row):
                return self._troubled(trouble, now), taken
        return Answer(self._latency()), taken

    def _strikes(self, trouble: TroubleTable, row: int) -> bool:
        if trouble.first is not None:
            self._called[row] += 1
            if self._called[row] > trouble.first:
                return False
        if trouble.share is not None:
            return self._random() < trouble.share
        if trouble.every is not None:
            return self.calls % trouble.every == 0
        return row in trouble.rows if trouble.rows else trouble.first is not None

    def _troubled(self, trouble: TroubleTable, now: float) -> Answer:
        match trouble.answer:
            case int() as status:
                return Answer(self._latency(), status, self._hint_with(status, now))
            case "reset":
                return Answer(self._latency(), 0)
            case "silence":
                return Answer(None)
            case "late":
                return Answer(self._latency() + trouble.seconds)
            case "nonsense":
                return Answer(self._latency(), nonsense=True)
            case _:
                return Answer(self._latency(), 429, self._hint(now))

    def _hint_with(self, status: int, now: float) -> str | None:
        """Refusals bring hints; of services that say what cannot be, all errors of theirs do (L60)."""
        return self._hint(now) if status == 429 or self.table.retry_after in ("absurd", "huge", "nan") else None

    def _hint(self, now: float) -> str | None:
        hint, wall_s = self.table.hint, self._wall_s + now
        match self.table.retry_after:
            case "none":
                return None
            case "seconds":
                return f"{hint:g}"
            case "date":
                return formatdate(wall_s + hint + 1.0, usegmt=True)
            case "negative":
                return "-5"
            case "zero":
                return "0"
            case "absurd":
                return "31536000"
            case "huge":
                return "1e300"
            case "nan":
                return "nan"
            case _:
                return "in a while"

    def _latency(self) -> float:
        latency = self.table.latency
        if not isinstance(latency, LatencyTable):
            return latency
        u = self._random()
        if latency.uniform is not None:
            low, high = latency.uniform
            return low + u * (high - low)
        if latency.lognormal is not None:
            median, sigma = latency.lognormal
            # Box and Muller's transform, since the library's own has changed with versions.
            normal = math.sqrt(-2.0 * math.log(1.0 - u)) * math.cos(2.0 * math.pi * self._random())
            return float(median * math.exp(sigma * normal))
        assert latency.pareto is not None, "one of three was checked"
        least, alpha = latency.pareto
        return float(min(least * (1.0 - u) ** (-1.0 / alpha), least * PARETO_CUT))


class HttpStatus(Exception):
    """An answer that is none, as clients' libraries raise it."""

    def __init__(self, status_code: int, retry_after: str | None = None) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.headers = {"retry-after": retry_after} if retry_after is not None else {}


def mean_latency_s(table: ServiceTable) -> float:
    """Of an answer, in the mean; of a heavy tail with no mean, its median."""
    latency = table.latency
    if not isinstance(latency, LatencyTable):
        return latency
    if latency.uniform is not None:
        return sum(latency.uniform) / 2
    if latency.lognormal is not None:
        median, sigma = latency.lognormal
        return float(median * math.exp(sigma * sigma / 2))
    assert latency.pareto is not None, "one of three was checked"
    least, alpha = latency.pareto
    return float(least * alpha / (alpha - 1) if alpha > 1 else least * 2 ** (1 / alpha))


def value_of(answer: Answer, row: Any) -> Any:
    """What the client makes of an answer: the row again, or what it raises."""
    if answer.status == 0:
        raise ConnectionResetError("the connection broke")
    if answer.status >= 400:
        raise HttpStatus(answer.status, answer.retry_after)
    if answer.nonsense:
        raise TypeError("the service answered with something of another type")
    return row
