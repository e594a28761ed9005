"""What the threads host promises its actors, the simulation keeps, and the other way round: the same tests on both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from headrace.actors import protocol
from headrace.actors.actor import Actor, Context
from headrace.runtime.hosts.simulation import system as simulation
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.hosts.threads import system as threads


class Row(protocol.Message, frozen=True):
    n: int


class Order(protocol.Control, frozen=True):
    n: int


class Go(protocol.Message, frozen=True):
    pass


class Bang(protocol.Message, frozen=True):
    pass


class Spawn(protocol.Message, frozen=True):
    actor: Any


class GiveUp(protocol.Control, frozen=True):
    pass


class Recorder(Actor):
    """Notes what it is told; `react` may do more."""

    def __init__(self, react: Callable[[Context, Any], None] = lambda *_: None, salvage: Any = None) -> None:
        self.told: list[Any] = []
        self._react = react
        self._salvage = salvage
        self.ends = 0

    def receive(self, message: Any) -> None:
        self.told.append(message)
        if isinstance(message, Bang):
            raise ValueError("bang")
        if not isinstance(message, Row | Order | Go | Spawn | GiveUp | protocol.Died | protocol.Statistics):
            self._unknown(message)
        self._react(self.context, message)

    def salvage(self) -> Any:
        return self._salvage

    def statistics(self) -> int:
        return len(self.told)

    def ended(self) -> None:
        self.ends += 1


class Threads:
    """Actors on threads, or all on one; `settle` waits until nobody has anything to do."""

    def __init__(self, shared: bool) -> None:
        self.system = threads.System("two-hosts")
        self._shared = shared
        self._hosts: list[threads.Host] = []

    def host(self, name: str, actor: Actor, parent: Any = None) -> Any:
        host = self.system.host(self.system.address(name, shared=self._shared), actor, parent)
        self._hosts.append(host)
        return host.me

    def settle(self, done: Callable[[], bool]) -> None:
        reached = threading.Event()
        for _ in range(500):
            if done():
                return
            reached.wait(0.01)
        raise AssertionError("not settled within 5 s")

    def close(self) -> None:
        assert self.system.stop(2.0) == []


class Simulated:
    """Actors in simulation."""

    def __init__(self, seed: int) -> None:
        self.simulation = simulation.Simulation(seed)
        self.system = simulation.System(self.simulation, "two-hosts")

    def host(self, name: str, actor: Actor, parent: Any = None) -> Any:
        return self.system.host(self.system.address(name), actor, parent).me

    def settle(self, done: Callable[[], bool]) -> None:
        self.simulation.run()
        assert done()

    def close(self) -> None:
        self.simulation.close()


@pytest.fixture(params=["threads", "shared", *(f"simulation-{seed}" for seed in range(12))])
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    kind, _, seed = request.param.partition("-")
    made: Any = Simulated(int(seed)) if seed else Threads(shared=kind == "shared")
    yield made
    made.close()


def test_messages_of_one_lane_between_two_actors_stay_in_order(world: Any) -> None:
    to = Recorder()
    address = world.host("to", to)

    def send(context: Context, message: Any) -> None:
        for n in range(200):
            context.tell(address, Row(n))
            context.tell(address, Order(n))

    senders = [world.host(f"from-{i}", Recorder(send)) for i in range(3)]
    for sender in senders:
        sender.put(Go())
    world.settle(lambda: len(to.told) == 1200)
    for kind in (Row, Order):
        # Each sender's numbers ascend: 3 of each number, and none before all smaller ones of its sender.
        numbers = [m.n for m in to.told if isinstance(m, kind)]
        seen = [0] * 200
        for n in numbers:
            seen[n] += 1
            assert n == 0 or seen[n] <= seen[n - 1]
        assert seen == [3] * 200


def test_control_overtakes_rows_L48(world: Any) -> None:
    to = Recorder()

    def send(context: Context, message: Any) -> None:
        for n in range(50):
            me.put(Row(n))
        me.put(Order(0))

    # The actor tells itself, so that all of it is there before the next message is taken.
    actor = Recorder(
        lambda context, message: send(context, message) if isinstance(message, Go) else to.told.append(message)
    )
    me = world.host("me", actor)
    me.put(Go())
    world.settle(lambda: len(to.told) == 51)
    assert isinstance(to.told[0], Order)
    assert [m.n for m in to.told[1:]] == list(range(50))


def test_timers_come_in_order_and_a_cancelled_one_never(world: Any) -> None:
    actor = Recorder(lambda context, message: arm(context) if isinstance(message, Go) else None)

    def arm(context: Context) -> None:
        context.after(0.03, Row(3))
        context.after(0.01, Row(1))
        cancelled = context.after(0.015, Row(99))
        context.after(0.02, Row(2))
        cancelled.cancel()

    world.host("me", actor).put(Go())
    world.settle(lambda: len(actor.told) == 4)
    assert [m.n for m in actor.told[1:]] == [1, 2, 3]


def test_a_timer_that_is_due_comes_before_what_waits(world: Any) -> None:
    actor = Recorder(lambda context, message: react(context, message))

    def react(context: Context, message: Any) -> None:
        if isinstance(message, Go):
            for n in range(5):
                me.put(Row(n))
            context.after(0.0, Order(7))

    me = world.host("me", actor)
    me.put(Go())
    world.settle(lambda: len(actor.told) == 7)
    assert isinstance(actor.told[1], Order)


def test_a_death_reaches_the_parent_with_the_salvage_and_what_comes_later_is_lost_L32(world: Any) -> None:
    parent = Recorder()
    child = Recorder(salvage="all it had")
    to_parent = world.host("parent", parent)
    to_child = world.host("child", child, to_parent)
    to_child.put(Row(1))
    to_child.put(Bang())
    to_child.put(Row(2))
    world.settle(lambda: len(parent.told) == 1 and child.ends == 1)
    died = parent.told[0]
    assert (died.who, died.salvage, str(died.error)) == (to_child, "all it had", "bang")
    to_child.put(Row(3))
    assert child.told == [Row(1), Bang()]


def test_an_unknown_message_is_a_death(world: Any) -> None:
    parent, child = Recorder(), Recorder()
    to_parent = world.host("parent", parent)
    world.host("child", child, to_parent).put(protocol.Demand(1))
    world.settle(lambda: len(parent.told) == 1)
    assert "does not know" in str(parent.told[0].error)


def test_a_child_that_is_abandoned_is_reported_once_and_its_late_words_arrive(world: Any) -> None:
    child = Recorder(salvage="half of it")
    children: list[Any] = []

    def react(context: Context, message: Any) -> None:
        if isinstance(message, Go):
            children.append(context.spawn("child", child))
            context.abandon(children[0], TimeoutError("too long"))
            context.abandon(children[0], TimeoutError("again"))

    parent = Recorder(react)
    world.host("parent", parent).put(Go())
    world.settle(lambda: len(parent.told) == 2 and child.ends == 1)
    died = parent.told[1]
    assert (died.who, died.salvage, str(died.error)) == (children[0], "half of it", "too long")


def test_children_end_with_a_parent_that_dies(world: Any) -> None:
    children = [Recorder(), Recorder(), Recorder()]

    def react(context: Context, message: Any) -> None:
        if isinstance(message, Go):
            for i, child in enumerate(children):
                context.spawn(f"child-{i}", child)

    parent = Recorder(react)
    me = world.host("parent", parent)
    me.put(Go())
    me.put(Bang())
    world.settle(lambda: [child.ends for child in children] == [1, 1, 1] and parent.ends == 1)


def test_an_actor_that_stops_handles_nothing_more(world: Any) -> None:
    actor = Recorder(lambda context, message: context.stop())
    me = world.host("me", actor)
    me.put(Row(1))
    me.put(Row(2))
    world.settle(lambda: actor.ends == 1)
    assert actor.told == [Row(1)]


def test_everybody_says_how_it_stands(world: Any) -> None:
    actor, asker = Recorder(), Recorder()
    me, reply_to = world.host("me", actor), world.host("asker", asker)
    me.put(Row(1))
    me.put(protocol.StatisticsWanted(reply_to))
    world.settle(lambda: len(asker.told) == 1)
    assert asker.told[0].who is me
    assert asker.told[0].statistics in (0, 1)
    world.settle(lambda: len(actor.told) == 1)
    assert world.system.ask([me]) == [1]


def test_one_who_has_ended_is_not_waited_for(world: Any) -> None:
    actor = Recorder(lambda context, message: context.stop())
    me = world.host("me", actor)
    me.put(Row(1))
    world.settle(lambda: actor.ends == 1)
    told = world.system.ask([me], 0.0 if isinstance(world, Simulated) else 60.0)
    assert len(told) == 1


class Doorbell(msgspec.Struct):
    rings: int = 0

    def ring(self) -> None:
        self.rings += 1


def test_close_rings(world: Any) -> None:
    bell = Doorbell()
    address = world.system.doorbell("bell")
    address.ring = bell.ring
    address.put(Row(1))
    assert bell.rings == 0
    address.put(protocol.Close(address, complete=True))
    assert bell.rings == 1


def test_a_schedule_is_its_seed_s() -> None:
    assert Schedule.of(5) == Schedule.of(5)
    assert len({Schedule.of(seed) for seed in range(200)}) > 20
    assert {Schedule.of(seed).policy for seed in range(50)} == {"uniform", "pct", "round-robin"}
