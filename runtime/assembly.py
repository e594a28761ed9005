"""How the actors of a run are put together: the same line on every host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.conductor import Cast, Conductor
from headrace.actors.gate import Terms
from headrace.actors.governor import Governor
from headrace.actors.ledger import Ledger
from headrace.actors.protocol import Counts, State
from headrace.actors.reorder import Reorder
from headrace.actors.sink import Sink
from headrace.actors.source import Source
from headrace.actors.stage import Stage
from headrace.actors.worker import Worker

from .calls.aio import LoopCalls, LoopThread
from .calls.threads import ThreadCalls
from .hosts.port import Actors, Address
from .plan import Plan, StagePlan
from .resources import Reader, Strategies, Writer

UNBOUND = 1 << 30
"""Calls in flight where the governor need not count them."""


class Surroundings(Protocol):
    """What differs from host to host. `id`: of the run, as its calls' keys begin."""

    id: str
    monotonic: Callable[[], float]

    def caller(self) -> Any:
        """Who is told `RunEnded`, and `Died` of the conductor."""

    def shared_governor(self, name: str, terms: Terms, user: Address) -> Address:
        """The governor of a limit with a name, which others may use too."""

    def loop(self) -> LoopThread:
        """The loop of this run's coroutines, made when it is first asked for."""

    def tap(self, reorder: Address) -> Any:
        """Who is told the outcomes of rows that end badly: the reorder buffer, or somebody in front of it."""


class Parts(msgspec.Struct):
    """Who is who in a run."""

    conductor: Address
    ledger: Address
    source: Address
    reorder: Address
    sink: Address
    stages: dict[str, Address]
    governors: dict[str, Address]
    """By stage; stages may share one."""


def assemble(plan: Plan, actors: Actors, around: Surroundings) -> Parts:
    """Put the actors of a run together. They wait for the conductor's `Start`."""
    address = actors.address
    conductor, ledger = address("conductor"), address("ledger")
    stages = [address(stage.name) for stage in plan.stages]
    source, reader = address("source"), actors.doorbell("reader")
    reorder, sink, writer, strategies = (address(name) for name in ("reorder", "sink", "writer", "strategies"))
    quarantine = quarantine_writer = None
    if plan.quarantine is not None and not plan.whole:
        quarantine, quarantine_writer = address("quarantine"), address("quarantine-writer")

    own_governors: list[Address] = []
    governors: dict[str, Address] = {}
    for stage in plan.stages:
        governors[stage.name] = _governor(stage, actors, around, conductor, own_governors)
    # The loop is made before the strategies, which may need it.
    loop = around.loop() if any(stage.concurrent for stage in plan.stages) else None

    conductor_actor = Conductor(around.caller(), plan.life)
    conductor_actor.set_cast(
        Cast(
            resources=[ref for ref in (writer, quarantine_writer, strategies, reader) if ref is not None],
            source=source,
            line=[ref for ref in (*stages, reorder, sink, quarantine) if ref is not None],
            ledger=ledger,
            others=list(own_governors),
        )
    )
    actors.host(conductor, conductor_actor, around.caller())
    actors.host(ledger, Ledger(conductor, plan.max_quarantined), conductor)
    actors.host(strategies, Strategies([stage.function for stage in plan.stages], loop), conductor)
    connector = plan.source(around.loop)
    reader.ring = getattr(connector, "interrupt", None)
    actors.host(reader, Reader(connector, source), conductor)
    following = [*stages, reorder]
    outcomes = around.tap(reorder)
    backoff = plan.source_retry.backoff
    actors.host(
        source, Source(reader, following[0], outcomes, ledger, conductor, backoff, greedy=not stages), conductor
    )
    for i, (stage, at) in enumerate(zip(plan.stages, stages, strict=True)):
        actor = Stage(
            stage.terms,
            governors[stage.name],
            following[i + 1],
            outcomes,
            conductor,
            _worker_of(stage, around),
            before=stages[i - 1] if i else source,
            followed=i + 1 < len(stages),
        )
        actors.host(at, actor, conductor)
    buffer = Reorder(plan.rows_in_flight, source, sink, quarantine, ledger, conductor, plan.whole, plan.ordered)
    actors.host(reorder, buffer, conductor)
    actors.host(writer, Writer(plan.sink, sink, plan.whole), conductor)
    actors.host(sink, Sink(plan.sink.name, writer, reorder, ledger, conductor), conductor)
    if quarantine is not None and quarantine_writer is not None and plan.quarantine is not None:
        actors.host(quarantine_writer, Writer(plan.quarantine, quarantine), conductor)
        bad = Sink(plan.quarantine.name, quarantine_writer, reorder, ledger, conductor)
        actors.host(quarantine, bad, conductor)
    return Parts(
        conductor=conductor,
        ledger=ledger,
        source=source,
        reorder=reorder,
        sink=sink,
        stages={stage.name: at for stage, at in zip(plan.stages, stages, strict=True)},
        governors=governors,
    )


def _worker_of(stage: StagePlan, around: Surroundings) -> Callable[[Ref], Actor]:
    function, timeout, classify = stage.function, stage.timeout, stage.retry.classify
    prefix = f"{around.id}:{stage.name}"
    if stage.concurrent:
        return lambda ref: Worker(ref, LoopCalls(around.loop(), function, stage.workers, prefix, timeout, classify))
    monotonic = around.monotonic
    return lambda ref: Worker(ref, ThreadCalls(function, prefix, timeout, classify, monotonic=monotonic))


def end_of(told: protocol.RunEnded | protocol.Died) -> protocol.RunEnded:
    """What the caller is told of a run's end, also where its conductor died and could not say so."""
    if isinstance(told, protocol.RunEnded):
        return told
    return protocol.RunEnded(State.FAILED, Counts(), [told.error], ["the conductor died; counts are missing"])


def _governor(
    stage: StagePlan, actors: Actors, around: Surroundings, conductor: Address, own: list[Address]
) -> Address:
    terms = stage.limit.terms
    if stage.limit.name is not None:
        return around.shared_governor(stage.limit.name, terms, conductor)
    if isinstance(terms.concurrency, int) and terms.concurrency >= stage.workers and stage.limit.key is None:
        # The workers are the limit: none of them need wait for word that another one's call has ended.
        terms = msgspec.structs.replace(terms, concurrency=UNBOUND)
    address = actors.address(f"governor-{stage.name}")
    own.append(address)
    actors.host(address, Governor(terms), conductor)
    return address
