"""Scripted faults: what a `[[fault]]` table does to a simulated world, and when."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.worker import Worker
from headrace.runtime.hosts.simulation.system import Carrier, Mailbox
from headrace.runtime.limits import as_limit

from .history import KINDS, Call, Reply
from .script import FaultTable
from .verdict import Invariant
from .world import World

ANSWER_S = 2.0
"""A question about statistics is answered within this time by whoever is not in a call."""
BY_NAME = {kind.__name__: kind for kind in KINDS}


class Faults:
    """The faults of one play. `aborted_at`: when the first abort, or the second drain, was told."""

    def __init__(self, world: World, tables: list[FaultTable]) -> None:
        self._world = world
        self._drains = 0
        self.aborted_at: float | None = None
        for table in tables:
            self._arm(table)

    def _arm(self, table: FaultTable) -> None:
        world = self._world
        if table.at is not None:
            for i in range(table.times):
                world.simulation.call_at(table.at + i * table.every, self._strike, table, None, None)
            return
        kind = BY_NAME[table.when or ""]
        seen = 0

        def count(sender: Mailbox | None, ref: Any, message: Any) -> None:
            nonlocal seen
            seen += 1
            if table.nth <= seen < table.nth + table.times:
                near = ref if isinstance(message, protocol.Assign) else sender
                told = (sender, ref, message)
                world.simulation.call_at(world.simulation.now + table.after, self._strike, table, near, told)

        def note(what: Any) -> None:
            if table.stage is None or what.stage == table.stage:
                count(world.simulation.current.me, None, what)

        if kind in (Call, Reply):
            world.notice(kind, note)
        else:
            world.watch(kind, count)

    def _strike(self, table: FaultTable, near: Mailbox | None, told: tuple[Mailbox, Any, Any] | None) -> None:
        world, simulation = self._world, self._world.simulation
        match table.what:
            case "kill" | "hold":
                carrier = self._carrier(table.actor or "", near, table.stage)
                if carrier is None:
                    return
                world.fault(f"{table.what} {carrier.me.name}")
                if table.what == "kill":
                    simulation.kill(carrier, in_call=_is_worker(carrier))
                else:
                    simulation.hold(carrier, table.lasts)
            case "pause":
                world.fault(f"the process stands still for {table.lasts:g} s")
                simulation.jump(table.lasts)
            case "drain":
                self._drain()
            case "abort":
                self._abort()
            case "double":
                assert told is not None, "what comes twice has come once"
                world.fault("an answer comes twice")
                simulation.deliver([told])
            case "limit":
                world.fault(f"the limit is {table.limit}")
                terms = as_limit(table.limit).terms
                for run in world.runs:
                    for governor in run.parts.governors.values():
                        governor.put(protocol.SetLimit(terms))
                for executor in world.executors:
                    executor.set_limit(table.limit or "")
            case _:
                self._ask()

    def _carrier(self, actor: str, near: Mailbox | None, stage: str | None) -> Carrier | None:
        if actor == "worker":
            if near is not None and near.carrier is not None and _is_worker(near.carrier):
                return near.carrier
            workers = [c for c in self._world.simulation.carriers if _is_worker(c) and not c.ended]
            if stage is not None:
                workers = [c for c in workers if c.parent.name.rpartition(".")[2] == stage]
            return next((c for c in workers if c.busy), workers[0] if workers else None)
        named = [c for c in self._world.simulation.carriers if c.me.name.rpartition(".")[2] == actor]
        return named[0] if named else None

    def _drain(self) -> None:
        self._world.fault("drain")
        self._drains += 1
        for run in self._world.runs:
            # As the signals do: the first drains, the second aborts.
            message = protocol.Drain() if self._drains == 1 else protocol.Abort("drained twice")
            run.parts.conductor.put(message)
        if self._drains == 2 and self.aborted_at is None:
            self.aborted_at = self._world.simulation.now
        for executor in self._world.executors:
            executor.shutdown(wait=False)

    def _abort(self) -> None:
        self._world.fault("abort")
        if self.aborted_at is None:
            self.aborted_at = self._world.simulation.now
        for run in self._world.runs:
            run.parts.conductor.put(protocol.Abort("aborted by the scenario"))
        for executor in self._world.executors:
            executor.abort("aborted by the scenario")

    def _ask(self) -> None:
        """Everybody, how it stands; whoever lives and is in no call answers."""
        world = self._world
        world.fault("somebody asks how it stands")
        asked = [c for c in world.simulation.carriers if not c.ended]
        answered: set[Any] = set()
        reply = _Reply(answered)
        for carrier in asked:
            carrier.me.put(protocol.StatisticsWanted(reply))

        def check() -> None:
            for carrier in asked:
                # Whose question still waits, or whose answer, has had no turn: it was in a call, or the process stood still.
                waits = any(isinstance(message, protocol.StatisticsWanted) for _, message in carrier.me.control)
                if not (waits or carrier.pending or carrier.me in answered or carrier.ended):
                    world.checker.fail(Invariant.ANSWERED, f"{carrier.me.name} does not say how it stands")

        world.simulation.call_at(world.simulation.now + ANSWER_S, check)


class _Reply:
    name = "somebody"

    def __init__(self, answered: set[Any]) -> None:
        self._answered = answered

    def put(self, message: protocol.Statistics, /) -> None:
        self._answered.add(message.who)


def _is_worker(carrier: Carrier) -> bool:
    return isinstance(carrier.actor, Worker)
