"""How the actors of a run are put together: the same graph on every host.

It knows who is told by whom; what actor a node has, its entry says (`graph/nodes`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.conductor import Conductor, Participants
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.governor import Governor
from headrace.actors.joins.terms import LATE, JoinTerms
from headrace.actors.journal import LEARNED_WITHIN_S, Journal
from headrace.actors.journaling.recovered import NEW
from headrace.actors.journaling.stage_record import StageRecord
from headrace.actors.ledger import Ledger
from headrace.actors.limits.terms import Terms
from headrace.actors.reorder import Reorder
from headrace.actors.sink import Sink
from headrace.actors.source import Source

from ..calls.contexts import apart
from ..connectors.port import SinkConnector
from ..graph.nodes.calls import StagePlan
from ..graph.nodes.fork import ForkPlan
from ..graph.nodes.join import JoinPlan
from ..graph.nodes.node import NodePlan, Surroundings
from ..graph.nodes.sink import SinkPlan
from ..graph.plan import QUARANTINE, SOURCE, Plan
from ..graph.topology import Graph, join_terms
from ..hosts.loop_home import LoopHome
from ..hosts.port import Actors, Address
from ..journal.port import Journaling
from ..names import connector_name
from ..telemetry.observer import Announcer, Observers
from .io_actors import JournalWriter, Reader, Strategies, Writer
from .pools import NewPool, pools_of
from .roster import Roster

if TYPE_CHECKING:
    from ..calls.processes.pool import Pool

UNBOUND = 1 << 30
"""Calls in flight where the governor need not count them."""


class Setting(msgspec.Struct):
    """What a run gives to its actors; to entries of nodes, it is the `Surroundings`. `id`: of the run, as its calls' keys
    begin. `context`: of whoever started it."""

    id: str
    context: Context
    monotonic: Callable[[], float]
    loop: Callable[[], LoopHome]
    """The loop of its coroutines, made when it is first asked for."""
    caller: Address
    """Who is told `RunEnded`, and `Died` of the conductor."""
    shared_governor: Callable[[str, Terms, Address, protocol.Lessons | None], Address]
    """The governor of a limit with a name, which others may use too; with what earlier lives have found out."""
    journaling: Journaling | None
    observers: Observers
    pool: NewPool
    """Makes the worker processes of a stage."""


def assemble(plan: Plan, actors: Actors, around: Setting) -> Roster:
    """Put the actors of a run together. They wait for the conductor's `Start`."""
    return _Assembly(plan, actors, around).roster


class _Assembly:
    """Puts one run together; to entries, it is the `Wiring`."""

    def __init__(self, plan: Plan, actors: Actors, around: Setting) -> None:
        self._plan = plan
        self._actors = actors
        self.around: Surroundings = around
        self._around = around
        self.suspends = plan.life.suspend_s is not None
        self._graph = graph = Graph(plan.nodes, plan.edges)
        address = actors.address
        self._conductor = address("conductor")
        self.conductor: Ref = self._conductor
        self._ledger, self._source = address("ledger", shared=True), address("source", shared=True)
        self._nodes = {name: address(name, shared=graph.nodes[name].never_waits) for name in graph.order}
        self._reorders = {
            node.name: address(_beside("reorder", node.name), shared=True) for node in plan.nodes if node.in_order
        }
        whole = next((sink.name for sink in plan.sinks if sink.whole), None)
        self._taker = self._keeper_of(whole) if whole is not None else None
        self._quarantine = address("quarantine", shared=True) if plan.quarantine is not None else None
        self._journaling = journaling = around.journaling
        self.past = journaling.past if journaling is not None else NEW
        self._journal = address("journal", shared=True) if journaling is not None else None
        self.journal: Ref | None = self._journal
        # Outcomes count when they are durable.
        self.account: Ref = self._journal or self._ledger
        self._observers = observers = around.observers
        self._told = observers.address("node")
        self._own_governors: list[Address] = []
        self._governors = {stage.name: self._host_governor(stage) for stage in plan.stages}
        self._writers: list[Address] = []
        self._writer_of: dict[str, Address] = {}
        if any(stage.concurrent for stage in plan.stages):
            # The loop is made before the strategies, which may need it; for others, when something is to be awaited.
            around.loop()
        conductor = Conductor(around.caller, plan.life)
        actors.host(self._conductor, observers.listen(conductor, "conductor", "conductor"), around.caller)
        if observers.others:
            announcer = Announcer(observers.others)
            at = address("observers")
            self._host(at, announcer)
            observers.announce_by(announcer, at)
        batches = tuple(self._nodes[n.name] for n in plan.nodes if n.holds)
        window, limit = plan.rows_in_flight, plan.max_quarantined
        ledger = Ledger(window, self._source, self._conductor, batches, limit, self._journal, self.past, plan.grows_to)
        self._host(self._ledger, observers.listen(ledger, "ledger", "ledger"))
        keeper = self._host_journal(journaling)
        strategies = address("strategies")
        self._pools, processes = pools_of(plan, actors, around.pool, self._conductor)
        here: list[object] = [stage.function for stage in plan.stages if stage.name not in self._pools]
        self._host(strategies, Strategies(here, around.loop))
        reader = self._host_source()
        for name in graph.order:
            self._host_node(graph.nodes[name])
        self._host_quarantine()
        conductor.set_participants(
            Participants(
                resources=[*self._writers, strategies, *processes, reader],
                source=self._source,
                line=self._line(),
                ledger=self.account,
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

    def _keeper_of(self, name: str) -> Address:
        """Where a node waits for rows by name: one whose rows come in order does so in its reorder buffer."""
        return self._reorders.get(name) or self._nodes[name]

    def outputs(self, name: str, *, late: bool = False) -> Outputs:
        """The ways out of a node; with `late`, those of the parts that come too late to a join."""
        graph = self._graph
        # Elsewhere, "late" is a branch like any other.
        joins = isinstance(graph.nodes.get(name), JoinPlan)
        ways = {port: after for port, after in graph.ways(name).items() if (joins and port == LATE) is late}
        ports = {
            port: Port(
                self._keeper_of(after),
                tuple(map(self._keeper_of, sorted(graph.missed(name, port)))),
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
            behind=tuple(map(self._keeper_of, sorted(behind))),
            taker=self._taker,
            quarantine=self._quarantine,
            ledger=self.account,
            also=tuple(also),
            observers=self._told,
            journal=self._journal,
        )

    def outputs_of_sink(self, name: str) -> Outputs:
        """How rows end in a sink that cannot hold them: nothing stands behind it that would wait for them."""
        return Outputs(
            name,
            {},
            quarantine=self._quarantine,
            ledger=self.account,
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

    def before(self, name: str) -> Ref | None:
        """Who is told how many rows the node can take; None where nobody is."""
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
        journal = Journal(*told, limits, self.past.learned, patience_s)
        self._host(self._journal, self._observers.listen(journal, "journal", "journal"))
        return keeper

    def _host_source(self) -> Address:
        plan, past = self._plan, self.past
        reader = self._actors.doorbell("reader")
        connector = plan.source(self.around.loop)
        reader.ring = getattr(connector, "interrupt", None)
        placed = self._journal is not None and getattr(connector, "placed", False) is True
        if not placed:
            # It is read from the start again.
            past = msgspec.structs.replace(past, row=0, place=None)
            if self._journaling is not None and self._journaling.remembering is not None:
                connector = self._journaling.remembering(connector)
        self._host(reader, Reader(connector, self._source, placed=placed, place=past.place, loop=self.around.loop))
        outputs, backoff = self.outputs(SOURCE), plan.source_retry.backoff
        suspends = plan.life.suspend_s is not None
        source = Source(reader, outputs, self._ledger, self._conductor, backoff, self._journal, past, suspends=suspends)
        self._host(self._source, self._observers.listen(source, "source", SOURCE))
        return reader

    def _host_node(self, node: NodePlan) -> None:
        name = node.name
        if isinstance(node, SinkPlan):
            self._host_writer(node)
        if name in self._reorders:
            whole = isinstance(node, SinkPlan) and node.whole
            reorder = Reorder(
                self._nodes[name], self._conductor, whole=whole, first=self.past.first, again=self._journal is not None
            )
            self._host(self._reorders[name], reorder)
        self._host(self._nodes[name], node.actor(self))

    def inputs(self, name: str) -> int:
        """How many tell the node that no more rows come."""
        if name in self._reorders:
            return 1
        inputs, node = len(self._graph.into(name)), self._graph.nodes[name]
        if isinstance(node, SinkPlan) and node.whole:
            # Each node in front of it tells it what ends there.
            inputs += self._tellers() - len(self._plan.sinks)
        return inputs

    def join_of(self, fork: str) -> Ref | None:
        """The join that closes a fork."""
        join = self._graph.join_of(fork)
        return self._nodes[join] if join is not None else None

    def join_terms(self, join: str) -> JoinTerms:
        """What a join must know of its fork."""
        return join_terms(self._graph, join)

    def governor(self, stage: str) -> Ref:
        """Who gives a stage its permits."""
        return self._governors[stage]

    def heard(self, actor: Actor, role: str, name: str) -> Actor:
        """The actor, listened to by the observers of the run."""
        return self._observers.listen(actor, role, name)

    def apart(self, function: Callable[[Any], object] | None) -> Callable[[object], Any] | None:
        """The function, in a context of its own at each call."""
        return apart(function, self.around.context) if function is not None else None

    def record(self, stage: str) -> StageRecord | None:
        """A stage's share of the journal, if there is one."""
        if self._journaling is None:
            return None
        past, keeps = self.past, self._journaling.store.keeps(stage)
        known, parked = past.answers.get(stage), past.parked.get(stage)
        return StageRecord(stage, self._journal, keeps, known, parked, holds=self._journaling.holds)

    def writer(self, sink: str) -> Ref:
        """Who writes for a sink."""
        return self._writer_of[sink]

    def processes(self, stage: str) -> Pool | None:
        """The processes that call a stage's function; None where it is called in this one."""
        return self._pools.get(stage)

    def _host_writer(self, sink: SinkPlan) -> None:
        name = sink.name
        writer = self._actors.address(_beside("writer", name))
        self._writers.append(writer)
        self._writer_of[name] = writer
        self._host(writer, self._writer(sink.connector, self._nodes[name], name, whole=sink.whole))

    def _host_quarantine(self) -> None:
        plan = self._plan
        if plan.quarantine is None or self._quarantine is None:
            return
        writer = self._actors.address("quarantine-writer")
        self._writers.append(writer)
        name, past = QUARANTINE, self.past
        self._host(writer, self._writer(plan.quarantine, self._quarantine, name))
        written, told_as = past.written.get(name, ()), connector_name(plan.quarantine)
        sink = Sink(
            name, writer, self.account, self._conductor, self._tellers(), drain=False, written=written, shown_as=told_as
        )
        self._host(self._quarantine, sink)

    def _writer(self, connector: SinkConnector, sink: Ref, name: str, *, whole: bool = False) -> Writer:
        place, durable = self.past.places.get(name), self._journal is not None
        return Writer(connector, sink, whole=whole, durable=durable, place=place, loop=self.around.loop, name=name)

    def _tellers(self) -> int:
        """Nodes where a row can end badly: the source, and all nodes of the graph."""
        return 1 + len(self._plan.nodes)

    def _host_governor(self, stage: StagePlan) -> Address:
        terms, lessons = stage.limit.terms, self.past.learned.get(budget_of(stage))
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


def _beside(role: str, node: str) -> str:
    """What the helpers of a node are called; those of the sink that nobody has named, plainly."""
    return role if node == "sink" else f"{role}-{node}"
