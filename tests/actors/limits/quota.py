"""One gate against a server with a limit of some kind, event by event in virtual time: what the learner is judged by.

A server is asked when a call arrives whether it `admits` it, and is told when a call that it had admitted has `left`.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from typing import Any, NamedTuple, Protocol

from tests.actors.fake import Name

from headrace.actors.limits.gate import Gate
from headrace.actors.limits.terms import Terms
from headrace.scenarios.quotas import ChangeTable, QuotaTable, quota_of

STAGE = Name("stage")
LATE_S = 0.0003
"""A timer is late by so much at most."""

Span = tuple[float, float]
"""Between these, evenly distributed; seconds."""
Change = tuple[float, float]
"""From which second on how much is allowed."""


class Server(Protocol):
    """Another side. `hint_s`: what comes with the refusal that was just said, seconds; None if nothing."""

    hint_s: float | None

    def admits(self, now: float) -> bool: ...

    def left(self, now: float) -> None: ...

    def ideal(self, since: float, until: float, latency_s: float) -> float:
        """Calls that who knows all of it gets done between two times."""
        ...


class Counting:
    """A server that counts as those of the scenarios do."""

    def __init__(self, table: QuotaTable, hint_s: float | None = None) -> None:
        self.hint_s = hint_s
        self._quota = quota_of(table)

    def admits(self, now: float) -> bool:
        return self._quota.take(now)

    def left(self, now: float) -> None:
        self._quota.left()


def _in_all(changes: list[Change], since: float, until: float) -> float:
    """What of so much a second there is between two times. `changes`: from when on how much it is."""
    ends = [*(at for at, _ in changes[1:]), math.inf]
    spans = ((max(at, since), min(end, until), much) for (at, much), end in zip(changes, ends, strict=True))
    return sum(max(0.0, end - at) * much for at, end, much in spans)


class TokenBucket(Counting):
    """A token bucket: `per_s` calls, `burst` saved up. `changes`: (second, rate) pairs. `tick`: the steps of its clock."""

    def __init__(
        self,
        per_s: float = 200.0,
        burst: float = 20.0,
        hint_s: float | None = None,
        changes: tuple[Change, ...] = (),
        tick: float = 0.0,
    ) -> None:
        tables = [ChangeTable(at, per_s=rate) for at, rate in changes]
        super().__init__(QuotaTable("bucket", per_s=per_s, burst=burst, change=tables, tick=tick), hint_s)
        self._rates, self._burst = [(0.0, per_s), *changes], burst

    def ideal(self, since: float, until: float, latency_s: float) -> float:
        return _in_all(self._rates, since, until) + (self._burst if since == 0.0 else 0.0)


class Fixed(Counting):
    """`n` calls a window of `every_s`; the first one ends after `first_s`. `tells`: refusals bring the seconds left."""

    def __init__(self, n: int, every_s: float, first_s: float | None = None, tells: bool = False) -> None:
        offset = 0.0 if first_s is None else every_s - first_s
        super().__init__(QuotaTable("fixed", calls=n, every=every_s, offset=offset))
        self._per_s, self._tells = n / every_s, tells

    def admits(self, now: float) -> bool:
        well = super().admits(now)
        standing = self._quota.standing(now)
        if self._tells and not well and standing is not None:
            self.hint_s = standing.reset_s
        return well

    def ideal(self, since: float, until: float, latency_s: float) -> float:
        return self._per_s * (until - since)


class Sliding(Counting):
    """`n` calls in any `every_s` seconds."""

    def __init__(self, n: int, every_s: float) -> None:
        super().__init__(QuotaTable("sliding", calls=n, every=every_s))
        self._per_s = n / every_s

    def ideal(self, since: float, until: float, latency_s: float) -> float:
        return self._per_s * (until - since)


class InFlight(Counting):
    """`n` calls at once."""

    def __init__(self, n: int, changes: tuple[tuple[float, int], ...] = ()) -> None:
        tables = [ChangeTable(at, calls=calls) for at, calls in changes]
        super().__init__(QuotaTable("concurrency", calls=n, change=tables))
        self._calls: list[Change] = [(0.0, n), *changes]

    def ideal(self, since: float, until: float, latency_s: float) -> float:
        return _in_all(self._calls, since, until) / latency_s


class Chance:
    """No limit at all: so many calls of a hundred are refused."""

    def __init__(self, percent: float, hint_s: float | None = None, seed: int = 0) -> None:
        self.hint_s = hint_s
        self._percent = percent
        self._random = random.Random(seed)

    def admits(self, now: float) -> bool:
        return self._random.random() * 100.0 >= self._percent

    def left(self, now: float) -> None:
        pass

    def ideal(self, since: float, until: float, latency_s: float) -> float:
        return math.nan


class Latency(NamedTuple):
    """Of a call: each `way`, and between them the work for one that is admitted, or for one that is refused; seconds."""

    way: Span = (0.0005, 0.0015)
    answer: Span = (0.018, 0.018)
    refusal: Span = (0.0, 0.0)
    begin: Span = (0.0, 0.0)
    """From a call's permit on; what it takes is measured without that."""

    @property
    def mean_s(self) -> float:
        """Of an answer."""
        return sum(self.way) + sum(self.answer) / 2


def constant(seconds: float) -> Latency:
    """Answers and refusals both take so long, half of it on the way there."""
    return Latency((seconds / 2, seconds / 2), (0.0, 0.0), (0.0, 0.0))


def between(low_s: float, high_s: float) -> Latency:
    """The same, of any length between."""
    return Latency((low_s / 2, high_s / 2), (0.0, 0.0), (0.0, 0.0))


def slow(seconds: float, jitter: float = 0.1) -> Latency:
    """Answers take so long, give or take; refusals come at once."""
    return Latency(answer=(seconds * (1 - jitter), seconds * (1 + jitter)))


class Came(NamedTuple):
    """`seconds` taken, calls `answered` and `refused`, `cooldowns`; `admitted_at` and `refused_at`: when, by the server."""

    seconds: float
    answered: int
    refused: int
    cooldowns: int
    admitted_at: list[float]
    refused_at: list[float]

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.refused + self.answered)

    def admitted(self, since: float, until: float) -> int:
        """Calls that were admitted between two times."""
        return sum(since <= at < until for at in self.admitted_at)

    def refused_in(self, since: float, until: float) -> float:
        """Which share of the calls between two times was refused."""
        n = sum(since <= at < until for at in self.refused_at)
        return n / max(1, n + self.admitted(since, until))


class Play:
    """`rows` through `workers`, with permits of a gate as a stage has them."""

    def __init__(
        self,
        server: Server,
        rows: int,
        workers: int,
        latency: Latency | None = None,
        seed: int = 0,
        terms: Terms | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._server = server
        self._latency = latency or constant(0.02)
        self._random = random.Random(seed)
        self.gate = gate or Gate(terms or Terms(), 0.0)
        self._events: list[tuple[float, int, str, Any]] = []
        self._number = itertools.count()
        self._now = 0.0
        self._backlog, self._idle = rows, workers
        self._workers = workers
        self._held = self._asked = 0
        self._wake: float | None = None
        self._cooling = False
        self._rows = rows
        self.answered = self.refused = self.cooldowns = 0
        self._admitted_at: list[float] = []
        self._refused_at: list[float] = []

    def run(self, seconds: float = 1000.0) -> Came:
        """Until all rows are answered, or so long."""
        self._at(0.0, "pump")
        while self._events and self.answered < self._rows:
            now, _, kind, what = heapq.heappop(self._events)
            if now > seconds:
                self._now = seconds
                break
            self._now = now
            getattr(self, f"_on_{kind}")(what)
        return Came(self._now, self.answered, self.refused, self.cooldowns, self._admitted_at, self._refused_at)

    def _at(self, when: float, kind: str, what: Any = None) -> None:
        heapq.heappush(self._events, (when, next(self._number), kind, what))

    def _within(self, span: Span) -> float:
        low, high = span
        return low if low == high else self._random.uniform(low, high)

    def _on_pump(self, _: Any) -> None:
        while self._held and self._idle and self._backlog and not self._cooling:
            self._held, self._idle, self._backlog = self._held - 1, self._idle - 1, self._backlog - 1
            sent = self._now + self._within(self._latency.begin)
            self._at(sent + self._within(self._latency.way), "arrive", (self.gate.epoch, sent))
        room = self._idle if self.gate.scarce else self._idle + self._workers
        wanted = min(self._backlog, room) - self._held - self._asked
        if wanted > 0 and not self._cooling:
            self._asked += wanted
            self.gate.want(STAGE, wanted, ())
            self._grant()

    def _grant(self) -> None:
        for grant in self.gate.grant(self._now):
            self._asked -= grant.n
            self._held += grant.n
            self._at(self._now, "pump")
        self._sleep()

    def _sleep(self) -> None:
        at = self.gate.wake_at(self._now)
        if at is not None and (self._wake is None or self._wake <= self._now or at < self._wake - 2e-4):
            self._wake = at
            self._at(max(at, self._now) + self._random.uniform(0.0, LATE_S), "wake", at)

    def _on_wake(self, at: float) -> None:
        if at != self._wake:
            return
        self._wake = None
        if self.gate.end_cooldown(self._now):
            self._cooling = False
        self._grant()
        self._on_pump(None)

    def _on_arrive(self, call: tuple[Any, float]) -> None:
        well = self._server.admits(self._now)
        (self._admitted_at if well else self._refused_at).append(self._now)
        done = self._now + self._within(self._latency.answer if well else self._latency.refusal)
        if well:
            self._at(done, "leave")
        hint_s = None if well else self._server.hint_s
        self._at(done + self._within(self._latency.way), "answer", (well, hint_s, *call))

    def _on_leave(self, _: Any) -> None:
        self._server.left(self._now)

    def _on_answer(self, what: tuple[bool, float | None, Any, float]) -> None:
        well, hint_s, epoch, sent = what
        self._idle += 1
        if well:
            self.answered += 1
        else:
            self.refused += 1
            self._backlog += 1
            if self.gate.hit(epoch, hint_s, self._now, self._now - sent):
                self.cooldowns += 1
                self._cooling = True
                self.gate.returned(STAGE, self._held, 0.0, self._now)
                self._held = 0
            self._sleep()
        self.gate.ended(STAGE, 1, int(well), (), self._now - sent, self._now, epoch)
        self._grant()
        self._on_pump(None)
