"""One gate against a server with a quota, event by event in virtual time: what the learner is judged by."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import Any, NamedTuple

from headrace.actors.gate import Gate, Terms
from tests.actors.fake import Name

STAGE = Name("stage")


class Came(NamedTuple):
    """`seconds` taken, calls `answered` and `refused`, `cooldowns`."""

    seconds: float
    answered: int
    refused: int
    cooldowns: int

    @property
    def refused_share(self) -> float:
        return self.refused / (self.refused + self.answered)


class Service:
    """A token bucket: `per_s` calls, `burst` saved up. `changes`: (second, rate) pairs."""

    def __init__(
        self, per_s: float = 200.0, burst: float = 20.0, changes: tuple[tuple[float, float], ...] = ()
    ) -> None:
        self.per_s, self.burst, self.changes = per_s, burst, list(changes)
        self._tokens, self._at = burst, 0.0

    def allows(self, now: float) -> bool:
        while self.changes and self.changes[0][0] <= now:
            self.per_s = self.changes.pop(0)[1]
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Play:
    """`rows` through `workers`, each call between `latency_s` long, half of it on the way there."""

    def __init__(
        self,
        service: Service,
        rows: int,
        workers: int,
        latency_s: tuple[float, float] = (0.02, 0.02),
        hint_s: float | None = None,
        seed: int = 0,
        terms: Terms | None = None,
    ) -> None:
        self._service, self._latency, self._hint_s = service, latency_s, hint_s
        self._random = random.Random(seed)
        self._gate = Gate(terms or Terms(), 0.0)
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
        return Came(self._now, self.answered, self.refused, self.cooldowns)

    def _at(self, when: float, kind: str, what: Any = None) -> None:
        heapq.heappush(self._events, (when, next(self._number), kind, what))

    def _half(self) -> float:
        return self._random.uniform(*self._latency) / 2

    def _on_pump(self, _: Any) -> None:
        while self._held and self._idle and self._backlog and not self._cooling:
            self._held, self._idle, self._backlog = self._held - 1, self._idle - 1, self._backlog - 1
            self._at(self._now + self._half(), "arrive", self._gate.epoch)
        room = self._idle if self._gate.scarce else self._idle + self._workers
        wanted = min(self._backlog, room) - self._held - self._asked
        if wanted > 0 and not self._cooling:
            self._asked += wanted
            self._gate.want(STAGE, wanted, ())
            self._grant()

    def _grant(self) -> None:
        for grant in self._gate.grant(self._now):
            self._asked -= grant.n
            self._held += grant.n
            self._at(self._now, "pump")
        self._sleep()

    def _sleep(self) -> None:
        at = self._gate.wake_at(self._now)
        if at is not None and (self._wake is None or self._wake <= self._now or at < self._wake - 2e-4):
            self._wake = at
            # A timer is late by a little.
            self._at(at + self._random.uniform(0.0, 0.0005), "wake", at)

    def _on_wake(self, at: float) -> None:
        if at != self._wake:
            return
        self._wake = None
        if self._gate.end_cooldown(self._now):
            self._cooling = False
        self._grant()
        self._on_pump(None)

    def _on_arrive(self, epoch: Any) -> None:
        self._at(self._now + self._half(), "answer", (self._service.allows(self._now), epoch))

    def _on_answer(self, what: tuple[bool, Any]) -> None:
        well, epoch = what
        self._idle += 1
        if well:
            self.answered += 1
        else:
            self.refused += 1
            self._backlog += 1
            if self._gate.hit(epoch, self._hint_s, self._now):
                self.cooldowns += 1
                self._cooling = True
                self._gate.returned(STAGE, self._held, 0.0, self._now)
                self._held = 0
                self._sleep()
        self._gate.ended(STAGE, 1, int(well), (), sum(self._latency) / 2)
        self._grant()
        self._on_pump(None)
