"""A simulated process: runs and executors of Headrace with all their actors, in virtual time, watched by the checker."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, BinaryIO, cast

from headrace.actors import protocol
from headrace.actors.actor import Actor
from headrace.actors.governor import Governor
from headrace.actors.journaling.recovered import NEW, Recovered
from headrace.actors.limits.gate import Terms
from headrace.actors.protocol import Counts, Key, State
from headrace.runtime.calls.loop_home import LoopHome
from headrace.runtime.executor.core import ExecutorCore
from headrace.runtime.executor.executor import Executor
from headrace.runtime.executor.host import ExecutorTerms
from headrace.runtime.graph.nodes.batch import BatchPlan
from headrace.runtime.graph.nodes.join import JoinPlan
from headrace.runtime.graph.plan import SOURCE, Plan
from headrace.runtime.graph.topology import join_terms
from headrace.runtime.hosts.port import Address
from headrace.runtime.hosts.simulation.clock import virtual_time
from headrace.runtime.hosts.simulation.event_loop import VirtualLoopThread
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.hosts.simulation.system import Mailbox, Signal, Simulation, Stuck, System
from headrace.runtime.journal.port import Journaling
from headrace.runtime.run.report import RunReport, report_of
from headrace.runtime.run.roster import Roster
from headrace.runtime.run.wiring import assemble, budget_of, end_of
from headrace.runtime.telemetry.events import RunBegan
from headrace.runtime.telemetry.observer import Observer, Observers

from .history import Fault, History
from .invariants import Checker, RunTerms
from .tokens import NodeTerms
from .verdict import Invariant

AFTERWARDS_S = 3.0
"""What comes after the end (a late answer, a late opening) has so long to come."""
CLEAN_UP_S = 0.01
"""Between the end of a run and the end of its actors."""
STEPS_MAX = 20_000_000
"""A simulation that takes more is taken to go round in circles."""
GC_EVERY = 100_000
"""Objects between two collections of garbage: messages are many, short-lived and without cycles."""


class SimulatedRun:
    """One run of a pipeline. Its face is that of a caller who waits, and of what the assembly asks for."""

    name = "caller"

    def __init__(self, world: World, plan: Plan, first_id: int | None, journaling: Journaling | None = None) -> None:
        self._journaling = journaling
        self.world = world
        self.plan = plan
        # The same in each run of the same seed, as all else is.
        self.id = plan.name
        self.context = copy_context()
        self.monotonic = world.simulation.clock
        self.ended: protocol.RunEnded | None = None
        self.report: RunReport | None = None
        self._system = System(world.simulation, "" if not world.runs else f"{plan.name}-{len(world.runs) + 1}")
        self._loop: VirtualLoopThread | None = None
        self._observers = Observers(world.simulation.clock, world.observers)
        self.parts = parts = assemble(plan, self._system, self)
        self.began = world.simulation.now
        at: dict[str, Mailbox] = {name: cast(Mailbox, ref) for name, ref in parts.nodes.items()}
        world.checker.watch_run(
            RunTerms(
                conductor=cast(Mailbox, parts.conductor),
                ledger=cast(Mailbox, parts.ledger),
                source=cast(Mailbox, parts.source),
                nodes=tuple(_node_terms(plan, parts)),
                keyed={at[stage.name]: stage.limit.key is not None for stage in plan.stages},
                taker=cast("Mailbox | None", parts.taker),
                window=plan.rows_in_flight,
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
        """Start the run of the scenario."""
        self._observers.tell(RunBegan(self.monotonic(), self.id, self.plan.name))
        self.parts.conductor.put(protocol.Start())

    def put(self, message: Any, /) -> None:
        """Told by the conductor, or by the host about it."""
        if self.ended is None:
            self.ended = ended = end_of(message, self._journaling)
            self._observers.hear("caller", ended)
            self.report = self.stats(ended.state, ended.counts, tuple(ended.notes))
            if ended.state in (State.COMPLETED, State.DRAINED):
                self._check(self.report)
        # On threads it is another thread that ends the actors, a little later.
        simulation = self.world.simulation
        simulation.call_at(simulation.now + CLEAN_UP_S, self._system.stop, 0.0)
        self.world.one_has_ended()

    def _check(self, report: RunReport) -> None:
        """Of a run that ended well, the outcomes add up at every node, and along every edge."""
        came = {node.name: node.traffic.came for node in report.nodes}
        went: dict[str, int] = dict.fromkeys(came, 0)
        for node in report.nodes:
            if not node.traffic.adds_up or node.traffic.here:
                self.world.checker.fail(Invariant.ACCOUNTED, f"{node.name} does not add up: {node.traffic}")
            for edge in self.plan.edges:
                if edge.before == node.name:
                    went[edge.after] += node.traffic.ways[edge.port]
        for name, n in went.items():
            if name != SOURCE and n != came[name]:
                self.world.checker.fail(Invariant.ACCOUNTED, f"{n} rows were sent to {name}, and {came[name]} came")

    def stats(self, state: State, counts: Counts, notes: tuple[str, ...] = ()) -> RunReport:
        """The report of the run as of now."""
        elapsed_s = self.world.simulation.now - self.began
        return report_of(self.plan, self.parts, self._system.ask, state, counts, elapsed_s, notes)

    # --- what the assembly asks for ---

    def caller(self) -> SimulatedRun:
        return self

    def shared_governor(self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None) -> Address:
        return self.world.shared_governor(name, terms, lessons)

    def loop(self) -> LoopHome:
        if self._loop is None:
            self._loop = VirtualLoopThread(self.world.simulation, f"{self._system.name}.loop".lstrip("."))
        return cast(LoopHome, self._loop)

    def journal(self) -> Journaling | None:
        return self._journaling

    def observers(self) -> Observers:
        return self._observers


def _node_terms(plan: Plan, parts: Roster) -> Iterator[NodeTerms]:
    for node in plan.nodes:
        at = cast(Mailbox, parts.nodes[node.name])
        join = join_terms(parts.graph, node.name) if isinstance(node, JoinPlan) else None
        yield NodeTerms(at, node.moves, join=join, batch_max=node.count if isinstance(node, BatchPlan) else None)
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


class ExecutorHost:
    """What a simulated executor stands on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.monotonic = world.simulation.clock

    def actors(self, name: str) -> System:
        return System(self._world.simulation, name)

    def loop(self, name: str, failed: Any, context: Any) -> LoopHome:
        return cast(LoopHome, VirtualLoopThread(self._world.simulation, name))

    def shared_governor(self, name: str, terms: Terms, user: Address) -> Address:
        return self._world.shared_governor(name, terms)

    def release_governor(self, name: str, user: Address) -> None:
        """The world keeps it to the end."""

    def event(self) -> Signal:
        return Signal(self._world.simulation)

    def named(self, name: str) -> Any:
        return name

    def opened(self, core: ExecutorCore) -> None:
        """The world keeps its executors itself."""

    def left(self, core: ExecutorCore) -> None:
        """An executor has ended."""
        self._world.one_has_ended()


class SimulatedExecutor(Executor):
    """An executor of a world; the same code on another host."""

    def __init__(self, world: World, **options: Any) -> None:
        self._world = world
        super().__init__(thread_name_prefix="executor", **options)

    def _open(self, terms: ExecutorTerms) -> ExecutorCore:
        return ExecutorCore(terms, cast(Any, ExecutorHost(self._world)))

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
        self.observers = observers
        self.runs: list[SimulatedRun] = []
        self.executors: list[SimulatedExecutor] = []
        self.people = 0
        self.finishing = False
        self._shared: dict[str, Address] = {}
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

    def shared_governor(self, name: str, terms: Terms, lessons: protocol.Lessons | None = None) -> Address:
        """The governor of a limit with a name. `lessons`: what was learned of it before this world began."""
        if name not in self._shared:
            address = self.simulation.address(f"governor-{name}")
            self.simulation.host(address, Governor(terms, lessons), None)
            self._shared[name] = address
        return self._shared[name]

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
