"""How the actors of a run are put together: the same graph on every host.

This file is long: one method for each kind of node, in one place that knows who is told by whom.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol, assert_never

import msgspec

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.batch import Batch, BatchTerms
from headrace.actors.conductor import Conductor, Participants
from headrace.actors.edges.operators import Filter, Fork, Map, Operator, Split, Switch, Tap, Unbatch
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.errors import InternalError
from headrace.actors.governor import Governor
from headrace.actors.join import Join
from headrace.actors.joins.terms import LATE
from headrace.actors.journal import LEARNED_WITHIN_S, Journal
from headrace.actors.journaling.recovered import NEW
from headrace.actors.journaling.stage_record import StageRecord
from headrace.actors.ledger import Ledger
from headrace.actors.limits.gate import Terms
from headrace.actors.protocol import Counts, State
from headrace.actors.relay import Relay
from headrace.actors.reorder import Reorder
from headrace.actors.sink import Sink
from headrace.actors.source import Source
from headrace.actors.stage import Stage
from headrace.actors.stages.terms import AccountShut
from headrace.actors.worker import Worker

from ..calls.answers import answering
from ..calls.contexts import apart
from ..calls.coroutines import LoopCalls
from ..calls.loop_home import LoopHome
from ..calls.threads import ThreadCalls
from ..connectors.port import SinkConnector
from ..graph.plan import QUARANTINE, SOURCE, BatchPlan, ForkPlan, JoinPlan, Node, Plan, SinkPlan, StagePlan, UnbatchPlan
from ..graph.topology import Graph, join_terms
from ..hosts.port import Actors, Address
from ..journal.port import Journaling
from ..names import connector_name
from ..telemetry.observer import Announcer, Observers
from .io_actors import JournalWriter, Reader, Strategies, Writer
from .roster import Roster

UNBOUND = 1 << 30
"""Calls in flight where the governor need not count them."""


class RunHost(Protocol):
    """What differs from host to host. `id`: of the run, as its calls' keys begin. `context`: of whoever started it."""

    id: str
    context: Context
    monotonic: Callable[[], float]

    def caller(self) -> Any:
        """Who is told `RunEnded`, and `Died` of the conductor."""

    def shared_governor(self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None) -> Address:
        """The governor of a limit with a name, which others may use too. `lessons`: what earlier lives have found out."""

    def loop(self) -> LoopHome:
        """The loop of this run's coroutines, made when it is first asked for."""

    def journal(self) -> Journaling | None:
        """The run's journal; None where nothing need outlive it."""

    def observers(self) -> Observers:
        """Listens for the observers of the run."""


def assemble(plan: Plan, actors: Actors, around: RunHost) -> Roster:
    """Put the actors of a run together. They wait for the conductor's `Start`."""
    return _Assembly(plan, actors, around).roster


def end_of(told: protocol.RunEnded | protocol.Died, journaling: Journaling | None = None) -> protocol.RunEnded:
    """What the caller is told of a run's end, also where its conductor died and could not say so."""
    if isinstance(told, protocol.RunEnded):
        for error in told.errors:
            # Not `isinstance`, which asks an error for its class, and that can raise anything (L72).
            if issubclass(type(error), AccountShut):
                if not isinstance(error, AccountShut):
                    raise InternalError("whoever gives up an account says so by AccountShut")
                error.rows_left = told.counts.interrupted
                error.go_on = journaling.go_on if journaling is not None else None
        return told
    return protocol.RunEnded(State.FAILED, Counts(), [told.error], ["the conductor died; counts are missing"])


def _never_waits(node: Node) -> bool:
    """Its actor calls nobody's code: it only orders, gathers and counts."""
    if isinstance(node, BatchPlan):
        return node.key is None and node.size is None
    return not isinstance(node, StagePlan)


class _Assembly:
    def __init__(self, plan: Plan, actors: Actors, around: RunHost) -> None:
        self._plan = plan
        self._actors = actors
        self._around = around
        self._graph = graph = Graph(plan.nodes, plan.edges)
        address = actors.address
        self._conductor = address("conductor")
        self._ledger, self._source = address("ledger", shared=True), address("source", shared=True)
        self._nodes = {name: address(name, shared=_never_waits(graph.nodes[name])) for name in graph.order}
        self._reorders = {
            sink.name: address(_beside("reorder", sink.name), shared=True) for sink in plan.sinks if sink.ordered
        }
        whole = next((sink.name for sink in plan.sinks if sink.whole), None)
        self._taker = self._keeper(whole) if whole is not None else None
        self._quarantine = address("quarantine", shared=True) if plan.quarantine is not None else None
        self._journaling = journaling = around.journal()
        self._past = journaling.past if journaling is not None else NEW
        self._journal = address("journal", shared=True) if journaling is not None else None
        # Outcomes count when they are durable.
        self._account: Ref = self._journal or self._ledger
        self._observers = observers = around.observers()
        self._told = observers.address("node")
        self._own_governors: list[Address] = []
        self._governors = {stage.name: self._governor(stage) for stage in plan.stages}
        self._writers: list[Address] = []
        if any(stage.concurrent for stage in plan.stages):
            # The loop is made before the strategies, which may need it; for others, when something is to be awaited.
            around.loop()
        conductor = Conductor(around.caller(), plan.life)
        actors.host(self._conductor, observers.listen(conductor, "conductor", "conductor"), around.caller())
        if observers.others:
            announcer = Announcer(observers.others)
            at = address("observers")
            self._host(at, announcer)
            observers.announce_by(announcer, at)
        batches = tuple(self._nodes[n.name] for n in plan.nodes if isinstance(n, BatchPlan))
        window, limit = plan.rows_in_flight, plan.max_quarantined
        ledger = Ledger(window, self._source, self._conductor, batches, limit, self._journal, self._past)
        self._host(self._ledger, observers.listen(ledger, "ledger", "ledger"))
        keeper = self._host_journal(journaling)
        strategies = address("strategies")
        self._host(strategies, Strategies([stage.function for stage in plan.stages], around.loop))
        reader = self._host_source()
        for name in graph.order:
            self._host_node(graph.nodes[name])
        self._host_quarantine()
        conductor.set_participants(
            Participants(
                resources=[*self._writers, strategies, reader],
                source=self._source,
                line=self._line(),
                ledger=self._account,
                others=[*self._own_governors, *([self._ledger] if self._journal is not None else [])],
                stages={self._nodes[name]: governor for name, governor in self._governors.items()},
                keeper=keeper,
            )
        )
        self.roster = Roster(
            graph=graph,
            conductor=self._conductor,
            ledger=self._ledger,
            source=self._source,
            nodes=self._nodes,
            stages={stage.name: self._nodes[stage.name] for stage in plan.stages},
            reorders=self._reorders,
            governors=self._governors,
            taker=self._taker,
            quarantine=self._quarantine,
            writers=self._writers,
            journal=self._journal,
            keeper=keeper,
        )

    def _host(self, address: Address, actor: Actor) -> None:
        self._actors.host(address, actor, self._conductor)

    def _line(self) -> list[Ref]:
        line: list[Ref] = []
        for name in self._graph.order:
            if name in self._reorders:
                line.append(self._reorders[name])
            line.append(self._nodes[name])
        if self._quarantine is not None:
            line.append(self._quarantine)
        return line

    # --- the edges ---

    def _keeper(self, name: str) -> Address:
        """Where a node waits for rows by name: a sink does so in its reorder buffer."""
        return self._reorders.get(name) or self._nodes[name]

    def _outputs(self, name: str, *, late: bool = False) -> Outputs:
        """The ways out of a node; with `late`, those of the parts that come too late to a join."""
        graph = self._graph
        # Elsewhere, "late" is a branch like any other.
        joins = isinstance(graph.nodes.get(name), JoinPlan)
        ways = {port: after for port, after in graph.ways(name).items() if (joins and port == LATE) is late}
        ports = {
            port: Port(
                self._keeper(after),
                tuple(map(self._keeper, sorted(graph.missed(name, port)))),
                self._is_paced(after),
                after in self._reorders,
            )
            for port, after in ways.items()
        }
        behind = graph.along(name, LATE) if late else graph.behind(name)
        also: list[Ref] = []
        if not late:
            if self._quarantine is not None:
                also.append(self._quarantine)
            if self._taker is not None and self._taker not in self._reorders.values():
                also.append(self._taker)
            join = graph.join_of(name)
            if join is not None:
                also.append(self._nodes[join])
        return Outputs(
            name,
            ports,
            behind=tuple(map(self._keeper, sorted(behind))),
            taker=self._taker,
            quarantine=self._quarantine,
            ledger=self._account,
            also=tuple(also),
            observers=self._told,
            journal=self._journal,
        )

    def _outputs_of_sink(self, name: str) -> Outputs:
        """How rows end in a sink that cannot hold them: nothing stands behind it that would wait for them."""
        return Outputs(
            name,
            {},
            quarantine=self._quarantine,
            ledger=self._account,
            also=(self._quarantine,) if self._quarantine is not None else (),
            observers=self._told,
            journal=self._journal,
        )

    def _is_paced(self, name: str) -> bool:
        """Whether a node tells how many rows it can take: stages do, and forks in front of them; where several ways meet,
        nobody could tell whose turn it is."""
        node = self._graph.nodes[name]
        if len(self._graph.into(name)) != 1:
            return False
        if isinstance(node, ForkPlan):
            return any(map(self._is_paced, self._graph.ways(name).values()))
        return isinstance(node, StagePlan)

    def _before(self, name: str) -> Ref | None:
        if not self._is_paced(name):
            return None
        before = self._graph.into(name)[0].before
        return self._source if before == SOURCE else self._nodes[before]

    # --- the nodes ---

    def _host_journal(self, journaling: Journaling | None) -> Address | None:
        if journaling is None or self._journal is None:
            return None
        keeper = self._actors.address("keeper")
        self._host(keeper, JournalWriter(journaling.store, self._journal))
        # A governor that several stages share is asked once.
        limits: dict[Ref, protocol.Budget] = {self._governors[s.name]: budget_of(s) for s in self._plan.stages}
        # The conductor waits no longer than that for the account.
        patience_s = min(LEARNED_WITHIN_S, self._plan.life.abort_s / 2.0)
        told = (keeper, self._ledger, self._conductor, journaling.within_s)
        journal = Journal(*told, limits, self._past.learned, patience_s)
        self._host(self._journal, self._observers.listen(journal, "journal", "journal"))
        return keeper

    def _host_source(self) -> Address:
        plan, past = self._plan, self._past
        reader = self._actors.doorbell("reader")
        connector = plan.source(self._around.loop)
        reader.ring = getattr(connector, "interrupt", None)
        placed = self._journal is not None and getattr(connector, "placed", False) is True
        if not placed:
            # It is read from the start again.
            past = msgspec.structs.replace(past, row=0, place=None)
            if self._journaling is not None and self._journaling.remembering is not None:
                connector = self._journaling.remembering(connector)
        self._host(reader, Reader(connector, self._source, placed, past.place, self._around.loop))
        outputs, backoff = self._outputs(SOURCE), plan.source_retry.backoff
        suspends = plan.life.suspend_s is not None
        source = Source(reader, outputs, self._ledger, self._conductor, backoff, self._journal, past, suspends)
        self._host(self._source, self._observers.listen(source, "source", SOURCE))
        return reader

    def _host_node(self, node: Node) -> None:
        name, inputs = node.name, len(self._graph.into(node.name))
        conductor = self._conductor
        match node:
            case StagePlan():
                self._host(self._nodes[name], self._observers.listen(self._stage(node, inputs), "stage", name))
            case ForkPlan():
                join = self._graph.join_of(name)
                operator = Fork(node.branches, self._nodes[join] if join is not None else None)
                self._host(
                    self._nodes[name], Relay(self._outputs(name), operator, conductor, inputs, self._before(name))
                )
            case UnbatchPlan():
                self._host(self._nodes[name], Relay(self._outputs(name), Unbatch(), conductor, inputs))
            case JoinPlan():
                terms = join_terms(self._graph, node)
                outputs, late, words = self._outputs(name), self._outputs(name, late=True), self._past.joins.get(name)
                join_ = Join(terms, outputs, late, conductor, inputs + 1, self._journal, words)
                self._host(self._nodes[name], join_)
            case BatchPlan():
                key, size = self._apart(node.key), self._apart(node.size)
                gathering = BatchTerms(name, node.count, node.bytes_max, node.within, key, size)
                outputs, batches = self._outputs(name), self._past.batches.get(name, ())
                batch = Batch(gathering, outputs, conductor, inputs, self._journal, batches)
                self._host(self._nodes[name], batch)
            case SinkPlan():
                self._host_sink(node, inputs)
            case _:
                assert_never(node)

    def _stage(self, stage: StagePlan, inputs: int) -> Stage:
        operators: dict[str, Callable[[], Operator]] = {
            "filter": Filter,
            "route": Switch,
            "flat_map": Split,
            "tap": Tap,
        }
        terms = stage.terms
        terms = msgspec.structs.replace(terms, key=self._apart(terms.key), weigh=self._apart(terms.weigh))
        return Stage(
            terms,
            self._governors[stage.name],
            self._outputs(stage.name),
            self._conductor,
            self._heard(_worker_of(stage, self._around), stage.name),
            operators.get(stage.kind, Map)(),
            inputs,
            self._before(stage.name),
            self._record(stage.name),
            suspends=self._plan.life.suspend_s is not None,
        )

    def _heard(self, worker: Callable[[Ref], Actor], name: str) -> Callable[[Ref], Actor]:
        observers = self._observers
        return lambda ref: observers.listen(worker(ref), "worker", name)

    def _apart(self, function: Callable[[Any], object] | None) -> Callable[[object], Any] | None:
        return apart(function, self._around.context) if function is not None else None

    def _record(self, stage: str) -> StageRecord | None:
        if self._journaling is None:
            return None
        past, keeps = self._past, self._journaling.store.keeps(stage)
        known, parked = past.answers.get(stage), past.parked.get(stage)
        return StageRecord(stage, self._journal, keeps, known, parked, self._journaling.holds)

    def _host_sink(self, sink: SinkPlan, inputs: int) -> None:
        at = self._nodes[sink.name]
        writer = self._actors.address(_beside("writer", sink.name))
        self._writers.append(writer)
        name, past = sink.name, self._past
        self._host(writer, self._writer(sink.connector, at, name, sink.whole))
        if sink.ordered:
            self._host(
                self._reorders[sink.name],
                Reorder(at, self._conductor, sink.whole, past.first, self._journal is not None),
            )
            inputs = 1
        elif sink.whole:
            # Each node in front of it tells it what ends there.
            inputs += self._tellers() - len(self._plan.sinks)
        drain = sink.on_error == "drain"
        written = past.written.get(name, ())
        ends = {seq: answer.ended for seq, answer in past.answers.get(name, {}).items() if answer.ended is not None}
        shown_as, outputs = connector_name(sink.connector), self._outputs_of_sink(name)
        told = Sink(name, writer, self._account, self._conductor, inputs, drain, written, shown_as, outputs, ends)
        self._host(at, told)

    def _host_quarantine(self) -> None:
        plan = self._plan
        if plan.quarantine is None or self._quarantine is None:
            return
        writer = self._actors.address("quarantine-writer")
        self._writers.append(writer)
        name, past = QUARANTINE, self._past
        self._host(writer, self._writer(plan.quarantine, self._quarantine, name))
        written, told_as = past.written.get(name, ()), connector_name(plan.quarantine)
        sink = Sink(name, writer, self._account, self._conductor, self._tellers(), False, written, told_as)
        self._host(self._quarantine, sink)

    def _writer(self, connector: SinkConnector, sink: Ref, name: str, whole: bool = False) -> Writer:
        place, durable = self._past.places.get(name), self._journal is not None
        return Writer(connector, sink, whole, durable, place, self._around.loop, name)

    def _tellers(self) -> int:
        """Nodes where a row can end badly: the source, and all nodes of the graph."""
        return 1 + len(self._plan.nodes)

    def _governor(self, stage: StagePlan) -> Address:
        terms, lessons = stage.limit.terms, self._past.learned.get(budget_of(stage))
        if stage.limit.name is not None:
            return self._around.shared_governor(stage.limit.name, terms, self._conductor, lessons)
        if isinstance(terms.concurrency, int) and terms.concurrency >= stage.workers and stage.limit.key is None:
            # The workers are the limit: none of them need wait for word that another one's call has ended.
            terms = msgspec.structs.replace(terms, concurrency=UNBOUND)
        address = self._actors.address(f"governor-{stage.name}", shared=True)
        self._own_governors.append(address)
        self._host(address, Governor(terms, lessons))
        return address


def budget_of(stage: StagePlan) -> protocol.Budget:
    """What its limit is known by from one life to the next."""
    name = stage.limit.name
    return protocol.Budget(stage.name) if name is None else protocol.Budget(name, shared=True)


def _beside(role: str, sink: str) -> str:
    """What the helpers of a sink are called; those of the one that nobody has named, plainly."""
    return role if sink == "sink" else f"{role}-{sink}"


def _worker_of(stage: StagePlan, around: RunHost) -> Callable[[Ref], Actor]:
    function, timeout, classify = answering(stage.kind, stage.function), stage.timeout, stage.retry.classify
    prefix, reader = f"{around.id}:{stage.name}", stage.limit.headers
    if stage.concurrent:
        return lambda ref: Worker(
            ref,
            LoopCalls(around.loop(), function, stage.workers, prefix, timeout, classify, around.context, reader=reader),
        )
    monotonic = around.monotonic
    return lambda ref: Worker(
        ref,
        ThreadCalls(
            function,
            prefix,
            timeout,
            classify,
            monotonic=monotonic,
            loop=around.loop,
            context=around.context,
            reader=reader,
        ),
    )
