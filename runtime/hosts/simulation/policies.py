"""Who goes next, in the simulation: how its scheduler chooses among the actors that have something to do.

    uniform       any of them, with the same chance
    pct           the one with the highest priority; priorities are random, and at `depth - 1` random steps the one that was
                  about to go gets the lowest. Finds a bug that needs `depth` ordered steps with a known probability: S.
                  Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees
                  of Finding Bugs", ASPLOS 2010.
    round-robin   each in turn: no chance at all

Besides, threads differ from a turn-taking scheduler in three ways that matter: a handler may be interrupted between two of
its messages (`preempt`), a thread that has something to do may not get a core for a while, or lose it in the middle of a
handler, between two looks at the clock (`lag_s`), and work takes time (`step_s`).
"""

from __future__ import annotations

from random import Random
from typing import Any, Literal, Protocol

import msgspec

Policy = Literal["uniform", "pct", "round-robin"]


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a simulation is scheduled.

    `depth`: of pct. `sticky`: the chance that the actor that went last goes on, where it can. `preempt`: the chance that
    a handler is interrupted before its messages are out. `lag`: the chance that an actor that is woken sleeps on, for
    up to `lag_s` seconds; with any, time may also pass between two of an actor's looks at the clock. `step_s`: seconds that
    each step takes.
    """

    policy: Policy = "uniform"
    depth: int = 3
    sticky: float = 0.0
    preempt: float = 0.0
    lag: float = 0.0
    lag_s: float = 0.0
    step_s: float = 0.0

    @staticmethod
    def of(seed: int) -> Schedule:
        """The schedule that a seed stands for: all kinds come in turn, so that a thousand seeds try them all."""
        random = Random(f"{seed}:schedule")
        kind = int(random.random() * 10)
        policy: Policy = "pct" if kind < 3 else "round-robin" if kind == 3 else "uniform"
        lagging = random.random() < 0.5
        return Schedule(
            policy=policy,
            depth=1 + int(random.random() * 5),
            sticky=0.0 if random.random() < 0.7 else 0.9,
            preempt=(0.0, 0.1, 0.5)[int(random.random() * 3)],
            lag=(0.02, 0.2)[int(random.random() * 2)] if lagging else 0.0,
            lag_s=(0.0005, 0.005)[int(random.random() * 2)] if lagging else 0.0,
            step_s=(0.0, 0.0, 2e-6, 1e-5)[int(random.random() * 4)],
        )


class Candidate(Protocol):
    """An actor that could go next."""

    number: int
    priority: float


class Picker(Protocol):
    """Chooses which inbox is looked into next."""

    def pick(self, ready: list[Any]) -> int:
        """The index of the one that goes next."""


class Uniform:
    """Chooses by chance, each with the same probability."""

    def __init__(self, random: Random, sticky: float) -> None:
        self._random = random.random
        self._sticky = sticky
        self._last: Candidate | None = None

    def pick(self, ready: list[Any]) -> int:
        if self._last is not None and self._last in ready and self._random() < self._sticky:
            return ready.index(self._last)
        i = int(self._random() * len(ready))
        self._last = ready[i]
        return i


class Pct:
    """It does what the module says. `steps`: how many there will be, about."""

    def __init__(self, random: Random, depth: int, steps: int) -> None:
        self._changes = sorted(int(random.random() * steps) for _ in range(depth - 1))
        self._lowest = 0.0
        self._step = 0

    def pick(self, ready: list[Any]) -> int:
        self._step += 1
        best = max(range(len(ready)), key=lambda i: ready[i].priority)
        while self._changes and self._changes[0] <= self._step:
            self._changes.pop(0)
            self._lowest -= 1.0
            ready[best].priority = self._lowest
            best = max(range(len(ready)), key=lambda i: ready[i].priority)
        return best


class RoundRobin:
    """Looks into each inbox in turn."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, ready: list[Any]) -> int:
        after = [i for i in range(len(ready)) if ready[i].number > self._last]
        i = min(after or range(len(ready)), key=lambda i: ready[i].number)
        self._last = ready[i].number
        return i


PCT_STEPS = 4000
"""Steps over which the change points of pct are spread."""


def picker_of(schedule: Schedule, random: Random) -> Picker | None:
    """The picker of a schedule; None for the plain uniform one, which a simulation does itself, being the fastest."""
    match schedule.policy:
        case "pct":
            return Pct(random, schedule.depth, PCT_STEPS)
        case "round-robin":
            return RoundRobin()
        case _:
            return Uniform(random, schedule.sticky) if schedule.sticky else None
