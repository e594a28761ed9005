"""A simulated process: runs and executors of Headrace with all their actors, in virtual time, watched by the checker."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, BinaryIO, cast

from headrace.actors import protocol
from headrace.actors.actor import Actor
from headrace.actors.dedupe import DedupeTerms
from headrace.actors.journaling.recovered import NEW, Recovered
from headrace.actors.protocol import Key, State
from headrace.runtime.executor.core import ExecutorCore
from headrace.runtime.executor.executor import Executor
from headrace.runtime.graph.nodes.batch import BatchPlan
from headrace.runtime.graph.nodes.dedupe import DedupePlan
from headrace.runtime.graph.nodes.join import JoinPlan
from headrace.runtime.graph.plan import SOURCE, Plan
from headrace.runtime.graph.topology import join_terms
from headrace.runtime.hosts.simulation.clock import virtual_time
from headrace.runtime.hosts.simulation.host import SimulationHost
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.hosts.simulation.system import Mailbox, Signal, Simulation, Stuck
from headrace.runtime.journal.port import Journaling
from headrace.runtime.run.core import RunCore, RunSpec
from headrace.runtime.run.report import RunReport
from headrace.runtime.run.roster import Roster
from headrace.runtime.run.wiring import budget_of
from headrace.runtime.telemetry.observer import Observer, Observers

from .history import Fault, History
from .invariants import Checker, RunTerms
from .report_sums import misfits
from .tokens import NodeTerms
from .verdict import Invariant

AFTERWARDS_S = 3.0
"""What comes after the end (a late answer, a late opening) has so long to come."""
STEPS_MAX = 20_000_000
"""A simulation that takes more is taken to go round in circles."""
GC_EVERY = 100_000
"""Objects between two collections of garbage: messages are many, short-lived and without cycles."""


class SimulatedRun:
    """One run of a pipeline, as on threads (`run/core.py`), with a caller who waits, and whose report is looked at."""

    def __init__(self, world: World, plan: Plan, first_id: int | None, journaling: Journaling | None = None) -> None:
        self.world = world
        self.plan = plan
        self.ended: protocol.RunEnded | None = None
        self.report: RunReport | None = None
        self.core = core = RunCore(
            RunSpec(
                plan,
                # The same in each run of the same seed, as all else is.
                plan.name,
                copy_context(),
                Observers(world.host.monotonic, world.observers),
                journaling,
                group="" if not world.runs else f"{plan.name}-{len(world.runs) + 1}",
                at_end=self._on_end,
            ),
            world.host,
        )
        self.parts = parts = core.parts
        self.began = core.began_s
        at: dict[str, Mailbox] = {name: cast(Mailbox, ref) for name, ref in parts.nodes.items()}
        world.checker.watch_run(
            RunTerms(
                conductor=cast(Mailbox, parts.conductor),
                ledger=cast(Mailbox, parts.ledger),
                source=cast(Mailbox, parts.source),
                nodes=tuple(_node_terms(plan, parts)),
                keyed={at[stage.name]: stage.limit.key is not None for stage in plan.stages},
                taker=cast("Mailbox | None", parts.taker),
                window=max(plan.rows_in_flight, plan.grows_to),
                life=plan.life,
                resources=2 + len(parts.writers),
                first_id=first_id,
                journal=cast("Mailbox | None", parts.journal),
                keeper=cast("Mailbox | None", parts.keeper),
                past=journaling.past if journaling is not None else NEW,
                closed=frozenset(_closed(plan, parts, journaling.past) if journaling is not None else ()),
            )
        )

    def begin(self) -> None:
        """Let it run."""
        self.core.start()

    def _on_end(self, ended: protocol.RunEnded) -> None:
        if self.ended is None:
            self.ended = ended
            self.report = self.core.report_now(ended.state, ended.counts, tuple(ended.notes))
            self._check_sums(self.report)
            if ended.state in (State.COMPLETED, State.DRAINED):
                self._check(self.report)
        self.world.one_has_ended()

    def _check_sums(self, report: RunReport) -> None:
        for misfit in misfits(report, self.plan):
            self.world.checker.fail(Invariant.ACCOUNTED, f"the report does not add up: {misfit}")

    def _check(self, report: RunReport) -> None:
        """Of a run that ended well, the outcomes add up at every node, and along every edge."""
        came = {node.name: node.traffic.came for node in report.nodes}
        went: dict[str, int] = dict.fromkeys(came, 0)
        for node in report.nodes:
            if not node.traffic.adds_up or node.traffic.here:
                self.world.checker.fail(Invariant.ACCOUNTED, f"{node.name} does not add up: {node.traffic}")
            for edge in self.plan.edges:
                if edge.before == node.name:
                    # Where a run is drained before it began, some nodes have not begun, and have nothing to tell.
                    went[edge.after] = went.get(edge.after, 0) + node.traffic.ways[edge.port]
        for name, n in went.items():
            if name != SOURCE and n != came.get(name, 0):
                told = f"{n} rows were sent to {name}, and {came.get(name, 0)} came"
                self.world.checker.fail(Invariant.ACCOUNTED, told)

    def stats(self) -> RunReport:
        """The report as of now."""
        return self.core.stats()


def _node_terms(plan: Plan, parts: Roster) -> Iterator[NodeTerms]:
    for node in plan.nodes:
        at = cast(Mailbox, parts.nodes[node.name])
        join = join_terms(parts.graph, node.name) if isinstance(node, JoinPlan) else None
        batch_max = node.count if isinstance(node, BatchPlan) else None
        dedupe = DedupeTerms(node.name, node.key, node.within) if isinstance(node, DedupePlan) else None
        yield NodeTerms(at, node.moves, join=join, batch_max=batch_max, dedupe=dedupe)
        if node.in_order:
            yield NodeTerms(cast(Mailbox, parts.reorders[node.name]), "reorder")
    if parts.quarantine is not None:
        yield NodeTerms(cast(Mailbox, parts.quarantine), "quarantine")


def _closed(plan: Plan, parts: Roster, past: Recovered) -> Iterator[tuple[Mailbox, Key]]:
    for stage in plan.stages:
        lessons = past.learned.get(budget_of(stage))
        for key, prior in lessons.priors.items() if lessons is not None else ():
            if prior.until_s is not None:
                yield cast(Mailbox, parts.governors[stage.name]), key


class SimulatedExecutor(Executor):
    """An executor of a world; the same code on another host."""

    def __init__(self, world: World, **options: Any) -> None:
        self._host = world.host
        super().__init__(thread_name_prefix="executor", **options)

    @property
    def core(self) -> ExecutorCore:
        return self._core


class _Person(Actor):
    """Somebody in the application, who may wait."""

    blocks = True

    def __init__(self, script: Callable[[], object], ended: Callable[[], None]) -> None:
        self._script = script
        self._ended = ended

    def start(self, context: Any) -> None:
        super().start(context)
        try:
            self._script()
        finally:
            self._ended()

    def receive(self, message: Any) -> None:
        self._unknown(message)


class World:
    """It does what the module says. It is what the simulation asks a watcher for, too."""

    def __init__(
        self,
        seed: int,
        schedule: Schedule | None = None,
        trace: BinaryIO | None = None,
        hashed: bool = True,
        checked: bool = True,
        observers: Sequence[Observer] = (),
    ) -> None:
        """`hashed`: the history has a digest; without, it is only kept for the story of a breach. `checked`: every message
        is held against the invariants. `observers`: of all its runs, called where things happen, in virtual time."""
        self.simulation = Simulation(seed, schedule)
        self.checker = Checker(self.simulation)
        self.history = History(self._name_of, trace, hashed)
        self.told = self.checker.told if checked else {}
        self.received = self.checker.received if checked else {}
        self.log = self.history.log
        self.spill = self.history.spill
        self.simulation.watch(self)
        self.host = SimulationHost(self.simulation, self.one_has_ended)
        self.observers = observers
        self.runs: list[SimulatedRun] = []
        self.executors: list[SimulatedExecutor] = []
        self.people = 0
        self.finishing = False
        self._names: list[str] = []
        self._noticed: dict[type, list[Callable[[Any], None]]] = {}

    # --- who takes part ---

    def start(self, plan: Plan, first_id: int | None = None, journaling: Journaling | None = None) -> SimulatedRun:
        """Start a run, as `Pipeline.start` does."""
        run = SimulatedRun(self, plan, first_id, journaling)
        self.runs.append(run)
        run.begin()
        return run

    def executor(self, **options: Any) -> SimulatedExecutor:
        """Open an executor, as `Executor(...)` does."""
        executor = SimulatedExecutor(self, **options)
        self.executors.append(executor)
        core = executor.core
        for stage in (core.threads_stage, core.loop_stage):
            keyed, spares = core.terms.limit.key is not None, core.terms.retry is not None
            self.checker.watch_stage(cast(Mailbox, stage), keyed, spares)
        return executor

    def person(self, name: str, script: Callable[[], object]) -> None:
        """Somebody who does this, and may wait in it."""
        self.people += 1
        self.simulation.host(self.simulation.address(name), _Person(script, self._person_ended), None)

    def event(self) -> Signal:
        """Something that callers can wait for until it has happened."""
        return Signal(self.simulation)

    def now(self) -> float:
        """Virtual seconds since the scenario began."""
        return self.simulation.now

    def _person_ended(self) -> None:
        self.people -= 1
        self.one_has_ended()

    # --- what happens ---

    def note(self, what: Any) -> None:
        """Something that is no message, for the history and for those who wait for it."""
        simulation = self.simulation
        carrier = simulation._current
        number = carrier.number if carrier is not None else 0
        self.history.log.append((simulation.now, number, number, what))
        for notice in self._noticed.get(type(what), ()):
            notice(what)

    def notice(self, kind: type, function: Callable[[Any], None]) -> None:
        """Call `function` whenever something of this kind is noted."""
        self._noticed.setdefault(kind, []).append(function)

    def watch(self, kind: type, function: Callable[[Mailbox, Any, Any], None]) -> None:
        """Call `function` with (sender, receiver, message) whenever a message of this kind is told."""
        before = self.told.get(kind)

        def both(now: float, sender: Mailbox, ref: Any, message: Any) -> None:
            if before is not None:
                before(now, sender, ref, message)
            function(sender, ref, message)

        self.told[kind] = both

    def one_has_ended(self) -> None:
        """A run, a person or an executor. After the last one, what comes late may yet come."""
        if self.finishing or self.people or any(run.ended is None for run in self.runs):
            return
        for executor in self.executors:
            # When nobody is left to call, it may end once all are answered.
            executor.shutdown(wait=False)
        if all(executor.core.ended.is_set() for executor in self.executors) and not self.finishing:
            self.finishing = True
            self.simulation.call_at(self.simulation.now + AFTERWARDS_S, self.simulation.finish)

    def run(self, until_s: float, steps_max: int = STEPS_MAX) -> None:
        """Until everything has ended, or something is wrong, or `until_s`."""
        simulation = self.simulation
        try:
            with virtual_time(simulation), _seldom_collected():
                simulation.run(until_s, steps_max)
        except Stuck as stuck:
            self.checker.fail(Invariant.ANSWERED, str(stuck))
        if self.checker.breach is None and not self.finishing:
            self.checker.check_stalled(simulation.now)
            if self.people and self.checker.breach is None:
                self.checker.fail(Invariant.ANSWERED, f"{self.people} callers still wait after {simulation.now:.3f} s")
        left = sum(len(executor.core.outstanding) for executor in self.executors)
        if left and self.checker.breach is None:
            self.checker.fail(Invariant.ANSWERED, f"{left} callers of an executor were never answered")

    def close(self) -> None:
        """Let go of everything that the scenario holds."""
        with virtual_time(self.simulation):
            self.simulation.close()

    def fault(self, what: str) -> None:
        """A scripted fault, for the history."""
        self.note(Fault(what))

    def _name_of(self, number: int) -> str:
        if number >= len(self._names):
            self._names = self.simulation.names()
        return self._names[number]


@contextmanager
def _seldom_collected() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(GC_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
