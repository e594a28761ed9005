"""An actor without a host: what it tells is kept, and time passes when the test says so."""

from __future__ import annotations

import heapq
import itertools
from typing import Any, TypeVar

import msgspec

from headrace.actors.actor import Actor, Ref

M = TypeVar("M")


class Name(msgspec.Struct, frozen=True):
    """A ref."""

    name: str


class FakeTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Fake:
    """The context of one actor. `told` is what it told since `take` was last called; `timers_set`, how many timers it has
    set so far."""

    def __init__(self, actor: Actor, name: str = "me") -> None:
        self.actor = actor
        self.me: Ref = Name(name)
        self.told: list[tuple[Ref, Any]] = []
        self.children: dict[Ref, Actor] = {}
        self.abandoned: list[Ref] = []
        self.stopped = False
        self.timers_set = 0
        self._now = 0.0
        self._timers: list[tuple[float, int, FakeTimer, Any]] = []
        self._number = itertools.count()
        actor.start(self)

    # --- the context ---

    def tell(self, ref: Ref, message: Any) -> None:
        self.told.append((ref, message))

    def after(self, delay_s: float, message: Any) -> FakeTimer:
        timer = FakeTimer()
        self.timers_set += 1
        heapq.heappush(self._timers, (self._now + delay_s, next(self._number), timer, message))
        return timer

    def now(self) -> float:
        return self._now

    def random(self) -> float:
        return 0.5

    def spawn(self, name: str, actor: Actor) -> Ref:
        ref = Name(name)
        self.children[ref] = actor
        return ref

    def abandon(self, ref: Ref, error: BaseException) -> None:
        self.abandoned.append(ref)

    def stop(self) -> None:
        self.stopped = True

    # --- the test ---

    def receive(self, *messages: Any) -> None:
        for message in messages:
            self.actor.receive(message)

    def take(self, kind: type[M]) -> list[M]:
        """What of this kind was told since; everything told is forgotten."""
        found = [message for _, message in self.told if isinstance(message, kind)]
        self.told = []
        return found

    def take_for(self, ref: Ref) -> list[Any]:
        """What this ref was told since; everything told is forgotten."""
        found = [message for whom, message in self.told if whom == ref]
        self.told = []
        return found

    def told_to(self, ref: Ref, kind: type[M]) -> list[M]:
        """What of this kind this ref was told since; nothing is forgotten."""
        return [message for whom, message in self.told if whom == ref and isinstance(message, kind)]

    def pass_time(self, seconds: float) -> None:
        """Timers that are due on the way fire in their order."""
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            at, _, timer, message = heapq.heappop(self._timers)
            self._now = max(self._now, at)
            if not timer.cancelled:
                self.actor.receive(message)
        self._now = until
