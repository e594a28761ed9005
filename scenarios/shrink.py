"""Makes a breach smaller: fewer rows, workers, faults, kinds of trouble and context switches, as long as the same invariant
does not hold. Each step is tried with the seed that broke it and with a few others, since a smaller world is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headrace.runtime.errors import ConfigError
from headrace.runtime.hosts.simulation.clock import real_monotonic
from headrace.runtime.hosts.simulation.policies import Schedule

from .play import Played, play
from .script import Script, StageTable
from .verdict import Invariant

OTHER_SEEDS = 6
"""Besides the one at hand."""
BUDGET_S = 30.0


class Shrunk(msgspec.Struct):
    """The smallest that was found. `tried`: plays that it took."""

    script: Script
    played: Played
    tried: int


def shrink(
    script: Script, played: Played, budget_s: float = BUDGET_S, player: Callable[[Script, int], Played] = play
) -> Shrunk:
    """The smallest scenario, seed and schedule that still break what `played` broke."""
    assert played.breach is not None, "what did not break cannot be shrunk"
    invariant = played.breach.invariant
    until = real_monotonic() + budget_s
    smallest = Shrunk(msgspec.structs.replace(script, schedule=played.schedule), played, 0)
    progress = True
    while progress and real_monotonic() < until:
        progress = False
        for candidate in _smaller(smallest.script):
            if real_monotonic() > until:
                break
            found = _break(candidate, smallest.played, invariant, smallest, player)
            if found is not None:
                smallest.script, smallest.played = candidate, found
                progress = True
                break
    return smallest


def _break(
    script: Script, before: Played, invariant: Invariant, count: Shrunk, player: Callable[[Script, int], Played]
) -> Played | None:
    for seed in (before.seed, *range(OTHER_SEEDS)):
        count.tried += 1
        try:
            played = player(script, seed)
        except ConfigError:
            # Not a graph that can be.
            return None
        if played.breach is not None and played.breach.invariant is invariant:
            return played
    return None


def _smaller(script: Script) -> Iterator[Script]:
    """Scripts that are smaller than this one, those that leave out most first."""
    yield from _with_less_in_lists(script)
    for path, number, least in _numbers(script):
        for less in _less(number, least):
            yield _replaced(script, path, less)
    schedule = script.schedule or Schedule()
    for change in (
        {"lag": 0.0, "lag_s": 0.0},
        {"preempt": 0.0},
        {"step_s": 0.0},
        {"policy": "round-robin"},
        {"sticky": 0.9},
        {"sticky": 0.99},
    ):
        calmer = msgspec.structs.replace(schedule, **change)
        if calmer != schedule and _switching(calmer) < _switching(schedule):
            yield msgspec.structs.replace(script, schedule=calmer)
    if schedule.policy == "pct" and schedule.depth > 1:
        yield msgspec.structs.replace(script, schedule=msgspec.structs.replace(schedule, depth=schedule.depth - 1))


def _switching(schedule: Schedule) -> float:
    """How much a schedule switches, for comparison."""
    policy = {"round-robin": 0.0, "pct": 1.0, "uniform": 2.0}[schedule.policy]
    return policy - schedule.sticky + schedule.preempt + schedule.lag + (schedule.step_s > 0)


def _less(number: int, least: int) -> Iterator[int]:
    yield from dict.fromkeys(n for n in (number // 4, number // 2, number * 3 // 4, number - 1) if least <= n < number)


def _numbers(script: Script) -> Iterator[tuple[tuple[Any, ...], int, int]]:
    """(path, value, least) of what can be counted."""
    if script.executor is None:
        yield ("source", "rows"), script.source.rows, 1
        for i, stage in enumerate(script.stage):
            yield ("stage", i, "workers"), stage.workers, 1
        yield ("pipeline", "runs"), script.pipeline.runs, 1
    else:
        yield ("executor", "workers"), script.executor.workers, 1
        for i, batch in enumerate(script.executor.batch):
            yield ("executor", "batch", i, "callers"), batch.callers, 1
            yield ("executor", "batch", i, "rows"), batch.rows, 1
    for i, fault in enumerate(script.fault):
        yield ("fault", i, "times"), fault.times, 1


def _with_less_in_lists(script: Script) -> Iterator[Script]:
    for i in range(len(script.fault)):
        yield _replaced(script, ("fault",), _without(script.fault, i))
    if len(script.stage) > 1 and script.executor is None:
        for i in range(len(script.stage)):
            yield _without_stage(script, i)
    for i, service in enumerate(script.service):
        for name in ("trouble", "outage", "quota"):
            for j in range(len(getattr(service, name))):
                yield _replaced(script, ("service", i, name), _without(getattr(service, name), j))
        if not isinstance(service.latency, float):
            yield _replaced(script, ("service", i, "latency"), 0.02)
    stages: list[tuple[tuple[Any, ...], Any]] = [(("stage", i), stage) for i, stage in enumerate(script.stage)]
    if script.executor is not None:
        stages = [(("executor",), script.executor)]
        for i in range(len(script.executor.batch) if len(script.executor.batch) > 1 else 0):
            yield _replaced(script, ("executor", "batch"), _without(script.executor.batch, i))
    for path, stage in stages:
        for j in range(len(stage.quirk)):
            yield _replaced(script, (*path, "quirk"), _without(stage.quirk, j))
        plain = StageTable()
        for name in ("timeout", "deadline", "limit", "retry"):
            if getattr(stage, name) != getattr(plain, name):
                yield _replaced(script, (*path, name), getattr(plain, name))
    for name in ("bad", "fails_at", "pauses"):
        if getattr(script.source, name):
            yield _replaced(script, ("source", name), [])


def _without_stage(script: Script, i: int) -> Script:
    """What stood after it stands after what it stood after. It need not be a graph that can be."""
    gone = script.stage[i]
    before = gone.after or ([script.stage[i - 1].name] if i else ["source"])

    def after(names: list[str]) -> list[str]:
        return list(dict.fromkeys(b for n in names for b in (before if n.split(".")[0] == gone.name else [n])))

    stages = [msgspec.structs.replace(stage, after=after(stage.after)) for stage in _without(script.stage, i)]
    sinks = [msgspec.structs.replace(sink, after=after(sink.after)) for sink in script.sink]
    return msgspec.structs.replace(script, stage=stages, sink=sinks)


def _without(items: list[Any], i: int) -> list[Any]:
    return items[:i] + items[i + 1 :]


def _replaced(holder: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at that place."""
    head, *rest = path
    if isinstance(holder, list):
        copy = list(holder)
        copy[head] = _replaced(holder[head], tuple(rest), value) if rest else value
        return copy
    inner = _replaced(getattr(holder, head), tuple(rest), value) if rest else value
    return msgspec.structs.replace(holder, **{head: inner})
