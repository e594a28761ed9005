"""For tests of your own pipelines: run them in simulation, in virtual time, with faults, inside your own test suite.

    from headrace import Pipeline, RateLimited
    from headrace.scenarios.testing import kill_worker, simulate

    def test_a_storm_loses_no_row():
        out = []
        pipeline = Pipeline().source(range(200)).map(ask, workers=20).sink(out.append)
        report = simulate(pipeline, seed=7, faults=[kill_worker("ask", call=30)]).report
        assert report.delivered == 200 and out == list(range(200))

Your functions run as they are: `time.sleep`, `asyncio.sleep`, `time.monotonic` and `time.time` are virtual meanwhile, so
an hour takes milliseconds. What is remote needs a stand-in (`functions=`), for instance a `Service` with a latency and a
quota. The same seed gives the same run, to the byte; with pytest, the fixture `simulation` plays several seeds and names
the one that failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from headrace.actors.protocol import State
from headrace.runtime.calls.coroutines import runs_on_a_loop
from headrace.runtime.connectors.iterables import IteratorSource
from headrace.runtime.errors import ConfigError
from headrace.runtime.graph.nodes.calls import StagePlan
from headrace.runtime.graph.plan import Plan
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.pipeline.flow import Flow
from headrace.runtime.quantities import BURST, RATE_MAX, RATE_MIN, ROWS, SECONDS, SECONDS_OR_ZERO, Range, option
from headrace.runtime.run.report import RunReport
from headrace.runtime.telemetry.observer import Observer, check_observers

from .faults import Faults
from .latency import LatencyTable
from .outside import Answer, value_of
from .outside import Service as _Model
from .quotas import QuotaTable
from .script import FaultTable, OutageTable, ServiceTable, TroubleTable
from .verdict import Breach
from .world import World

RATE = Range(RATE_MIN, RATE_MAX, f"calls a second, from {RATE_MIN:.0e} to {RATE_MAX:.0e}")
SHARE = Range(0.0, 1.0, "a share of the calls, from 0 to 1")
UNTIL_S = 7 * 86_400.0
"""A simulated run that has not ended after a week has failed."""

Fault = FaultTable


def kill_worker(stage: str, *, call: int | None = None, at: float | None = None) -> Fault:
    """A worker of `stage` dies: in the n-th call of that stage, or at `at` seconds."""
    if at is not None:
        return Fault(what="kill", actor="worker", stage=stage, at=_seconds("kill_worker", "at", at))
    nth = option("kill_worker", "call", 1 if call is None else call, ROWS)
    return Fault(what="kill", actor="worker", stage=stage, when="Call", nth=nth)


def kill(actor: str, *, at: float) -> Fault:
    """An actor dies: `source`, `reorder`, `sink`, `ledger`, `governor-NAME` or a stage's name."""
    return Fault(what="kill", actor=actor, at=_seconds("kill", "at", at))


def hold(actor: str, *, at: float, lasts: float) -> Fault:
    """An actor gets no turn for so long: what it is told is delayed."""
    return Fault(what="hold", actor=actor, at=_seconds("hold", "at", at), lasts=_seconds("hold", "lasts", lasts))


def drain(*, at: float) -> Fault:
    """Drain the run, as somebody outside would."""
    return Fault(what="drain", at=_seconds("drain", "at", at))


def abort(*, at: float) -> Fault:
    """Abort the run, as somebody outside would."""
    return Fault(what="abort", at=_seconds("abort", "at", at))


def pause(*, at: float, lasts: float) -> Fault:
    """The whole process stands still for so long."""
    return Fault(what="pause", at=_seconds("pause", "at", at), lasts=_seconds("pause", "lasts", lasts))


def _seconds(where: str, name: str, value: Any) -> float:
    return float(option(where, name, value, SECONDS_OR_ZERO))


class InvariantBroken(AssertionError):
    """Headrace did not keep what it promises: a bug of its own. `breach` says which, `seed` replays it."""

    def __init__(self, breach: Breach, seed: int, story: Sequence[str]) -> None:
        self.breach = breach
        self.seed = seed
        lines = "\n".join(f"  {line}" for line in story)
        super().__init__(f"{breach}\nthe last steps:\n{lines}\nreplay: simulate(..., seed={seed})")


class Simulated(msgspec.Struct, frozen=True):
    """What came of a simulated run. `digest` is that of its history: equal digests are equal runs."""

    report: RunReport
    errors: tuple[BaseException, ...]
    seed: int
    digest: str
    steps: int
    history: tuple[str, ...]
    """The last steps, to be read."""

    @property
    def state(self) -> State:
        return self.report.state

    @property
    def elapsed_s(self) -> float:
        """How long the run took, in virtual seconds."""
        return self.report.elapsed_s


def simulate(
    pipeline: Flow[Any],
    *,
    seed: int = 0,
    faults: Sequence[Fault] = (),
    functions: Mapping[str, Callable[[Any], Any]] | None = None,
    schedule: Schedule | None = None,
    max_quarantined: float | None = None,
    drain_timeout: float | None = None,
    until_s: float = UNTIL_S,
    history: int = 60,
    observers: Sequence[Observer] = (),
) -> Simulated:
    """Run a pipeline in simulation, with every invariant checked on every message.

    `functions`: stand-ins by the name of their stage. `faults`: see `kill_worker`, `kill`, `hold`, `drain`, `abort`,
    `pause`, or any `Fault`. `schedule`: None lets the seed choose. `observers`: see `headrace.Observer`. A run that fails is
    no error here: its report says so. Raises `InvariantBroken` where Headrace breaks a promise, `ConfigError` for a
    pipeline that cannot be simulated.
    """
    option("simulate", "until_s", until_s, SECONDS)
    plan = _with_stand_ins(pipeline.plan(max_quarantined=max_quarantined, drain_timeout=drain_timeout), functions or {})
    world = World(seed, schedule, observers=check_observers(observers))
    plan = _noted(plan, world)
    run = world.start(plan)
    try:
        _check_faults(faults, world, {stage.name for stage in plan.stages})
    except ConfigError:
        world.close()
        raise
    Faults(world, list(faults))
    world.run(until_s)
    breach, last = world.checker.breach, world.history.last(history)
    world.close()
    if breach is not None:
        raise InvariantBroken(breach, seed, last)
    assert run.ended is not None, "a world without a breach has ended"
    assert run.report is not None, "what has ended has a report"
    return Simulated(
        run.report, tuple(run.ended.errors), seed, world.history.digest, world.simulation.steps, tuple(last)
    )


def _check_faults(faults: Sequence[Fault], world: World, stages: set[str]) -> None:
    """A fault that strikes nobody would prove nothing (L45)."""
    actors = {carrier.me.name.rpartition(".")[2] for carrier in world.simulation.carriers} | {"worker"}
    for fault in faults:
        if fault.stage is not None and fault.stage not in stages:
            raise ConfigError(f"faults: no stage is named {fault.stage!r}; there are {', '.join(sorted(stages))}")
        if fault.actor is not None and fault.actor not in actors:
            raise ConfigError(f"faults: no actor is named {fault.actor!r}; there are {', '.join(sorted(actors))}")


def _with_stand_ins(plan: Plan, functions: Mapping[str, Callable[[Any], Any]]) -> Plan:
    names = {stage.name for stage in plan.stages}
    for name in functions:
        if name not in names:
            raise ConfigError(f"functions: no stage is named {name!r}; there are {', '.join(sorted(names))}")
        if not callable(functions[name]):
            raise ConfigError(f"functions: {name!r} is a {type(functions[name]).__name__}; a function is expected")
    nodes = tuple(
        msgspec.structs.replace(node, function=functions[node.name]) if node.name in functions else node
        for node in plan.nodes
    )
    source = plan.source

    def calm(loop: Any) -> Any:
        connector = source(loop)
        if isinstance(connector, IteratorSource):
            # Pulled ahead on a thread elsewhere; here it may sleep where it is.
            connector.quiet = False
        return connector

    return msgspec.structs.replace(plan, nodes=nodes, source=calm)


def _noted(plan: Plan, world: World) -> Plan:
    """The same, with calls that are noted in the history, so that faults can refer to them."""
    nodes = tuple(
        msgspec.structs.replace(node, function=_note_calls(node, world)) if isinstance(node, StagePlan) else node
        for node in plan.nodes
    )
    return msgspec.structs.replace(plan, nodes=nodes)


def _note_calls(stage: StagePlan, world: World) -> Any:
    name, function = stage.name, stage.function
    from headrace.runtime.calls.current import current_call

    from .history import Call

    def begin() -> None:
        info = current_call()
        world.note(Call(name, info.seq, info.attempt))

    kind = _NotedAsync if runs_on_a_loop(function) else _Noted
    return kind(name, function, begin)


class _Noted:
    """A function, noted whenever it is called; its `prepare` and `close` are the function's own."""

    def __init__(self, name: str, function: Any, begin: Callable[[], None]) -> None:
        self.__name__ = name
        self._function = function
        self._begin = begin
        for method in ("prepare", "close"):
            own = getattr(function, method, None)
            if own is not None:
                setattr(self, method, own)

    def __call__(self, *values: Any) -> Any:
        self._begin()
        return self._function(*values)


class _NotedAsync(_Noted):
    async def __call__(self, *values: Any) -> Any:
        self._begin()
        return await self._function(*values)


class Service:
    """A stand-in for something remote: it takes time, keeps a quota, fails. Call it in your function, or give it for one.

        service = Service(latency=0.05, per_s=20, burst=5)
        simulate(pipeline, functions={"ask": service})

    `latency`: seconds, or (from, to). `per_s`, `burst`: of its token bucket. `outages`: (at, seconds) pairs, in
    which it answers 503. `fails`: the share of calls answered 500. `answer`: what a row becomes; None: the row itself.
    `calls`, `refused`: what it counted.
    """

    def __init__(
        self,
        *,
        latency: float | tuple[float, float] = 0.02,
        per_s: float | None = None,
        burst: float = 1.0,
        outages: Sequence[tuple[float, float]] = (),
        fails: float = 0.0,
        answer: Callable[[Any], Any] | None = None,
        retry_after: float | None = None,
        seed: int = 0,
    ) -> None:
        span = [_seconds("Service", "latency", each) for each in _pair("latency", latency)]
        if span[0] > span[1]:
            raise ConfigError(f"Service: latency={latency!r}: seconds, or the least and the most of them")
        if per_s is not None:
            option("Service", "per_s", per_s, RATE)
        option("Service", "burst", burst, BURST)
        option("Service", "fails", fails, SHARE)
        if retry_after is not None:
            _seconds("Service", "retry_after", retry_after)
        outages = [(at, lasts) for at, lasts in (_pair("outages", outage, two=True) for outage in outages)]
        for at_and_lasts in outages:
            for each in at_and_lasts:
                _seconds("Service", "outages", each)
        table = ServiceTable(
            latency=span[0] if span[0] == span[1] else LatencyTable(uniform=span),
            quota=[QuotaTable(per_s=per_s, burst=burst)] if per_s is not None else [],
            outage=[OutageTable(at=at, lasts=lasts) for at, lasts in outages],
            trouble=[TroubleTable(answer=500, share=fails)] if fails else [],
            retry_after="seconds" if retry_after is not None else "none",
            hint=retry_after or 1.0,
        )
        self._model = _Model(table, seed)
        self._answer = answer
        self._began: float | None = None
        self.__name__ = "service"

    @property
    def calls(self) -> int:
        return self._model.calls

    @property
    def refused(self) -> int:
        return self._model.counts[429]

    def __call__(self, row: Any) -> Any:
        """A call of a function on a thread; raises as an HTTP client would."""
        with self._visit() as answer:
            time.sleep(answer.after_s or 0.0)
        return self._made_of(answer, row)

    async def call(self, row: Any) -> Any:
        """The same of a coroutine function."""
        with self._visit() as answer:
            await asyncio.sleep(answer.after_s or 0.0)
        return self._made_of(answer, row)

    @contextmanager
    def _visit(self) -> Iterator[Answer]:
        if self._began is None:
            self._began = time.monotonic()
        answer, quotas = self._model.arrive(time.monotonic() - self._began, 0, 0)
        try:
            yield answer
        finally:
            self._model.leave(quotas)

    def _made_of(self, answer: Answer, row: Any) -> Any:
        value_of(answer, row)
        return self._answer(row) if self._answer is not None else row


def _pair(name: str, value: Any, *, two: bool = False) -> tuple[Any, Any]:
    """Two numbers, or (unless `two`) one number twice. Raises `ConfigError`."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return value[0], value[1]
    if two or isinstance(value, list | tuple):
        raise ConfigError(f"Service: {name}: {value!r} is no pair of numbers of seconds")
    return value, value


__all__ = [
    "Fault",
    "InvariantBroken",
    "Schedule",
    "Service",
    "Simulated",
    "abort",
    "drain",
    "hold",
    "kill",
    "kill_worker",
    "pause",
    "simulate",
]
