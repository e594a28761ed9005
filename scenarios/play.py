"""Plays a scenario in simulation: one seed, one history, one verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, cast

import msgspec

from headrace.runtime.graph.nodes.kinds import IN_FILES
from headrace.runtime.graph.plan import Plan
from headrace.runtime.hosts.simulation.clock import EPOCH_S, real_monotonic
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.pipeline.flow import Flow
from headrace.runtime.pipeline.pipeline import Pipeline

from .callers import Callers
from .ceiling import watch_ceilings
from .faults import Faults
from .figures import Figures, figures_of, misses
from .outside import Answer, Service, Told, told_of
from .quotas import Quota
from .script import ExecutorTable, LimitTable, Script, StageTable, id_of, limit_of, retry_of
from .stand_ins import FOREVER_S, AsyncFunction, Diary, Event, Function, ScriptedSink, ScriptedSource, Transport
from .verdict import Breach, Invariant
from .world import World

RUN_IDS = 1_000_000_000
"""Rows of different runs are told apart by so much."""


class Played(msgspec.Struct):
    """What came of one seed. `entries`: messages, timers, calls and faults of its history.

    `breach`: an invariant that did not hold; `missed`: expectations that were not met."""

    scenario: str
    seed: int
    schedule: Schedule
    figures: Figures
    breach: Breach | None
    missed: list[str]
    digest: str
    steps: int
    entries: int
    switches: int
    took_s: float
    story: list[str] = []

    @property
    def well(self) -> bool:
        return self.breach is None and not self.missed


AFTER_S = 0.001
"""After it has answered, a service forgets a caller who was not there any more."""


class SimulatedTransport:
    """The way to a simulated service."""

    def __init__(self, service: Service, world: World) -> None:
        self._service = service
        self._simulation = world.simulation

    async def close_async(self) -> None:
        """Nothing is to be closed: a stand-in has no connection."""

    def _arrive(self, row: int, key: int) -> tuple[Answer, list[Quota]]:
        return self._service.arrive(self._simulation.now, row, key)

    def call(self, row: int, key: int) -> Told:
        travel_s = self._service.travel_s()
        if travel_s:
            self._simulation.sleep(travel_s)
        answer, quotas = self._arrive(row, key)
        leave = self._leave_once(quotas, answer)
        try:
            self._simulation.sleep(answer.after_s if answer.after_s is not None else FOREVER_S)
        finally:
            leave()
        return told_of(answer, row)

    def _leave_once(self, quotas: list[Quota], answer: Answer) -> Callable[[], None]:
        """Tells the service that a call has ended, now, or when it answers one whose caller was killed meanwhile."""
        if not quotas or answer.after_s is None:
            return partial(self._service.leave, quotas)
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._service.leave(quotas)

        self._simulation.call_at(self._simulation.now + answer.after_s + AFTER_S, leave)
        return leave

    async def call_async(self, row: int, key: int) -> Told:
        travel_s = self._service.travel_s()
        if travel_s:
            await asyncio.sleep(travel_s)
        answer, quotas = self._arrive(row, key)
        try:
            await asyncio.sleep(answer.after_s if answer.after_s is not None else FOREVER_S)
        finally:
            self._service.leave(quotas)
        return told_of(answer, row)


class SimulatedOutside:
    """All that a scenario's parts need of the world around them."""

    def __init__(self, script: Script, seed: int, world: World) -> None:
        self._world = world
        self.services = {table.name: Service(table, seed, EPOCH_S) for table in script.service}

    def event(self) -> Event:
        """An event that a connector can wait for."""
        return cast(Event, self._world.event())

    def transport(self, name: str) -> Transport | None:
        """The way to the service of that name."""
        return SimulatedTransport(self.services[name], self._world) if name != "none" else None


def play(
    script: Script,
    seed: int,
    *,
    schedule: Schedule | None = None,
    trace: BinaryIO | None = None,
    prepare: Callable[[World], object] | None = None,
    story: int = 60,
) -> Played:
    """Play a scenario with a seed. `prepare` sees the world before it begins; `story`: last steps told of a breach."""
    began = real_monotonic()
    world = World(seed, schedule or script.schedule, trace)
    diary = Diary(world.note)
    outside = SimulatedOutside(script, seed, world)
    callers = None
    if script.executor is not None:
        callers = Callers(world, script.executor, executor_function(script.executor, outside.transport, diary))
    else:
        for i in range(script.pipeline.runs):
            world.start(plan_of(script, i, diary, outside.event, outside.transport), i * RUN_IDS)
    diary.replies = any(fault.when == "Reply" for fault in script.fault)
    watch_ceilings(script, outside.services, world.simulation.schedule, world.checker.fail)
    faults = Faults(world, script.fault)
    if prepare is not None:
        prepare(world)
    world.run(script.until)
    figures = _figures(script, world, outside.services, faults, callers)
    if world.checker.breach is None:
        if callers is None:
            diary.check()
        complaints = [(Invariant[name], what) for name, what in diary.complaints]
        for invariant, what in [*complaints, *(callers.complaints if callers is not None else ())]:
            world.checker.fail(invariant, what)
    breach = world.checker.breach
    world.history.seal(figures)
    played = Played(
        scenario=script.name,
        seed=seed,
        schedule=world.simulation.schedule,
        figures=figures,
        breach=breach,
        missed=misses(script.expect, figures) if breach is None else [],
        digest=world.history.digest,
        steps=world.simulation.steps,
        entries=world.history.entries,
        switches=world.simulation.switches,
        took_s=real_monotonic() - began,
    )
    if not played.well:
        played.story = world.history.last(story)
    world.close()
    return played


def _figures(
    script: Script, world: World, services: dict[str, Service], faults: Faults, callers: Callers | None
) -> Figures:
    reports = [run.report for run in world.runs if run.report is not None]
    if callers is not None:
        reports = [callers.executor.stats()]
    figures = figures_of(reports, script)
    figures.in_flight = max((service.inside_max for service in services.values()), default=0)
    figures.inbox = world.simulation.depth_max
    rows = figures.rows or 1
    figures.messages_per_row = world.history.entries / rows
    errors = [run.ended.errors[0] for run in world.runs if run.ended is not None and run.ended.errors]
    figures.error = type(errors[0]).__name__ if errors else None
    if callers is not None:
        figures.answered = callers.answered
        figures.elapsed = callers.ended_at
        figures.state = None
    if faults.aborted_at is not None:
        ends = [run.began + run.report.elapsed_s for run in world.runs if run.report is not None]
        last = callers.ended_at if callers is not None else max(ends, default=0.0)
        figures.abort_s = last - faults.aborted_at
    return figures


Transports = Callable[[str], Transport | None]


def plan_of(script: Script, number: int, diary: Diary, event: Callable[[], Event], transport: Transports) -> Plan:
    """The plan of one of the scenario's runs, made by way of the face to users."""
    table = script.pipeline
    mutable = any(quirk.does in ("mutate", "writes") for stage in script.stage for quirk in stage.quirk)
    name = script.name or "scenario"
    source = ScriptedSource(script.source, diary, event(), number * RUN_IDS, mutable)
    flow = Pipeline(name, window=table.window, ordered=table.ordered).source(source, retry=script.source.retry)
    shared: dict[str, Any] = {}

    def function_of(stage: StageTable) -> Any:
        function = shared.get(stage.service) if stage.shared else None
        if function is None:
            function = shared[stage.service] = stage_function(stage, f"{stage.name} {number}", transport, diary)
        return function

    for stage in script.stage:
        flow = _add_node(flow, stage, function_of)
    suffix = f" {number}" if number else ""
    # Those at the end of the main line first.
    for sink in sorted(script.sink, key=lambda sink: bool(sink.after)):
        if sink.after:
            flow = flow.after(*sink.after)
        ordered = table.ordered if sink.ordered is None else sink.ordered
        connector = ScriptedSink(f"{sink.name}{suffix}", sink, diary, event(), ordered)
        flow = flow.sink(connector, name=sink.name, ordered=ordered, on_error=sink.on_error)
    flow = flow.quarantine(ScriptedSink(f"quarantine{suffix}", script.quarantine, diary, event(), False))
    return flow.plan(max_quarantined=table.max_quarantined, drain_timeout=table.drain_timeout)


def check_graph(script: Script) -> None:
    """Whether its nodes are a graph that can be run. Raises `ConfigError`."""
    if script.executor is None:
        world = World(0)
        outside = SimulatedOutside(script, 0, world)
        try:
            plan_of(script, 0, Diary(world.note), outside.event, outside.transport)
        finally:
            world.close()


def _add_node(flow: Flow[Any], stage: StageTable, function_of: Callable[[StageTable], Any]) -> Flow[Any]:
    if stage.after:
        flow = flow.after(*stage.after)
    said, keys, function = IN_FILES[stage.kind], stage.keys, None
    if said.calls is not None:
        function = function_of(stage)
    elif said.function is not None and (keys is not None or said.needed):
        # A key: rows have so many, or each its own.
        function = (lambda row: id_of(row) % keys) if keys is not None else id_of
    return stage.add(flow, stage.name, function, limit_of(stage.limit), retry_of(stage.retry))


def stage_function(stage: StageTable, name: str, transport: Transports, diary: Diary, managed: bool = True) -> Any:
    """The function that a stage of a scenario calls."""
    keys = stage.limit.keys if isinstance(stage.limit, LimitTable) else None
    kind = AsyncFunction if stage.on == "loop" else Function
    return kind(name, stage, transport(stage.service), diary, keys, managed)


def executor_function(table: ExecutorTable, transport: Transports, diary: Diary) -> Any:
    """What the callers of an executor call."""
    stage = StageTable(name="call", service=table.service, on=table.on, limit=table.limit, quirk=table.quirk)
    return stage_function(stage, "call", transport, diary, managed=False)
