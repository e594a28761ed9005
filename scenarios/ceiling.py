"""Whether a stated limit is kept where it counts: at the server.

Who states a rate of R a second with a burst of B may have B + R × t calls arrive in any t seconds, whatever becomes of them,
and R × J more where the way to the server takes up to J seconds more for one call than for another. So a server that
has that limit, too, with room for as much at once, refuses no call; one that counts in windows refuses at most what a window
holds less than that.

What is held up between a permit and its call arrives bunched up: by a schedule that keeps actors waiting, for which some
time is allowed; by permits that a stage asked for ahead, before it had heard that they are scarce, which is why its first
calls are not looked at; by scripted faults, and then nothing is checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from headrace.actors.limits.pace import small_burst
from headrace.runtime.graph.nodes.kinds import IN_FILES
from headrace.runtime.hosts.simulation.policies import Schedule

from .latency import spread_s
from .outside import Service
from .quotas import ROUNDING, QuotaTable
from .script import LimitTable, QuirkTable, Script, StageTable, limit_of
from .verdict import Invariant

BETWEEN_S = 2e-3
"""Between a permit and its call there may be so much: chunks of calls that take less are started as one."""

HELD_UP_S = 0.03
"""The same where the schedule interrupts actors, or lets them sleep on."""

Fail = Callable[[Invariant, str], None]


class Ceiling:
    """One stated rate, and the calls that arrive of it."""

    def __init__(self, name: str, per_s: float, burst: float, ahead: int, quotas: list[QuotaTable], fail: Fail) -> None:
        """`burst`: with what the way adds to it. `ahead`: so many calls are not looked at."""
        self._ahead = ahead
        self._name = name
        self._per_s = per_s
        self._stated = burst
        self._burst = self._tokens = burst + per_s * BETWEEN_S
        self._at = 0.0
        self._fail = fail
        self._roomy = all(map(self._has_room, quotas))

    def _has_room(self, quota: QuotaTable) -> bool:
        """Whether a quota takes whatever keeps to this rate, with what is allowed for between a permit and its call: a
        server with no room for that refuses a call that comes a microsecond early."""
        if quota.unit != "calls":
            return False
        match quota.kind:
            case "bucket" | "queue":
                # Within a step of its clock as much may come too early.
                burst = quota.burst - quota.tick * self._per_s
                per_s = [quota.per_s or 0.0, *(change.per_s for change in quota.change if change.per_s is not None)]
                return min(per_s) >= self._per_s - ROUNDING and burst >= self._burst - ROUNDING
            case "fixed" | "sliding":
                calls = [quota.calls or 0, *(change.calls for change in quota.change if change.calls is not None)]
                return min(calls) >= self._per_s * quota.every + self._burst - ROUNDING
            case _:
                return False

    def arrived(self, now: float, row: int, refused: bool) -> None:
        """A call has come to the server."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s) - 1.0
        self._at = now
        if self._ahead:
            self._ahead -= 1
            # Its permit may be much older than the call, so the next one may come at once.
            self._tokens = self._burst
            return
        if self._tokens < -1e-6:
            self._fail(
                Invariant.CEILING,
                f"row {row} arrives at {self._name} {-self._tokens / self._per_s:.6f} s too early: {self._per_s:g} a second "
                f"are stated, {self._stated:g} at once",
            )
        if refused and self._roomy:
            self._fail(Invariant.CEILING, f"{self._name} refuses row {row}, and it takes more than what is stated")


def watch_ceilings(script: Script, services: dict[str, Service], schedule: Schedule, fail: Fail) -> None:
    """Have the services of a scenario tell what arrives of the limits that are stated for them."""
    if any(fault.what in ("hold", "pause", "limit") for fault in script.fault):
        return
    stages = script.stage
    if script.executor is not None:
        table = script.executor
        stages = [StageTable(service=table.service, workers=table.workers, limit=table.limit, quirk=table.quirk)]
    for name, service in services.items():
        mine = [stage for stage in stages if stage.service == name and IN_FILES[stage.kind].calls is not None]
        named = isinstance(mine[0].limit, LimitTable) and mine[0].limit.name is not None if mine else False
        alone = len(mine) == 1 and (named or script.pipeline.runs == 1)
        if not alone or any(map(_is_late, mine[0].quirk)):
            continue
        limit = mine[0].limit
        if limit is None or (isinstance(limit, LimitTable) and limit.keys is not None):
            continue
        spread = spread_s(service.table.travel) + (HELD_UP_S if schedule.lag or schedule.preempt else 0.0)
        # A set of workers ahead, in each of the runs; and what is held up by them holds up others.
        ahead = 4 * mine[0].workers * script.pipeline.runs
        ceilings = []
        for rate in limit_of(limit).terms.rates:
            if rate.unit == "calls" and math.isfinite(spread):
                burst = (rate.burst or small_burst(rate.per_s)) + rate.per_s * spread
                ceilings.append(Ceiling(name, rate.per_s, burst, ahead, service.table.quota, fail))
        if ceilings:
            service.watcher = partial(_all_told, ceilings)


def _is_late(quirk: QuirkTable) -> bool:
    """Whether the stage's own code holds its calls up."""
    return quirk.does in ("slow", "block")


def _all_told(ceilings: list[Ceiling], now: float, row: int, refused: bool) -> None:
    for ceiling in ceilings:
        ceiling.arrived(now, row, refused)
