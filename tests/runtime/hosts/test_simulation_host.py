"""The simulation's own: virtual time, handlers that block, coroutines, faults, endings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from loguru import logger

from headrace.actors import protocol
from headrace.actors.actor import Actor
from headrace.runtime.hosts.simulation.clock import virtual_time
from headrace.runtime.hosts.simulation.event_loop import VirtualLoopThread
from headrace.runtime.hosts.simulation.policies import Pct, RoundRobin, Schedule
from headrace.runtime.hosts.simulation.system import Killed, Signal, Simulation, Stuck


class Do(protocol.Message, frozen=True):
    what: Any


class Blocking(Actor):
    """Does what it is told, which may take long."""

    blocks = True

    def __init__(self) -> None:
        self.ended_at: float | None = None

    def receive(self, message: Do) -> None:
        message.what()

    def ended(self) -> None:
        self.ended_at = self.context.now()


class Quick(Blocking):
    blocks = False


def doze(simulation: Simulation, seconds: float, note: Callable[[], object]) -> Callable[[], None]:
    """What sleeps and then notes it."""

    def doing() -> None:
        simulation.sleep(seconds)
        note()

    return doing


def start(simulation: Simulation, *what: Any, actor: Blocking | None = None) -> Any:
    carrier = simulation.host(simulation.address("actor"), actor or Blocking(), None)
    for each in what:
        carrier.me.put(Do(each))
    return carrier


def test_a_day_passes_in_no_time() -> None:
    simulation = Simulation(0, Schedule())
    seen: list[float] = []

    def sleep() -> None:
        time.sleep(43_200)
        seen.append(time.monotonic())

    start(simulation, sleep, sleep)
    began = time.perf_counter()
    with virtual_time(simulation):
        simulation.run()
    assert seen == [43_200.0, 86_400.0]
    assert time.perf_counter() - began < 5.0
    simulation.close()


def test_time_is_virtual_in_the_simulation_s_thread_alone() -> None:
    import threading

    simulation = Simulation(0, Schedule())
    seen: list[float] = []
    with virtual_time(simulation):
        thread = threading.Thread(target=lambda: seen.append(time.monotonic()))
        thread.start()
        thread.join()
        assert time.monotonic() == 0.0
    assert seen[0] > 0.0
    assert time.monotonic() > 0.0


def test_while_one_is_in_a_call_others_go_on() -> None:
    simulation = Simulation(0, Schedule())
    seen: list[str] = []

    def long() -> None:
        simulation.sleep(10)
        seen.append("long")

    start(simulation, long)
    start(simulation, doze(simulation, 1, lambda: seen.append("short")))
    simulation.run()
    assert seen == ["short", "long"]
    assert simulation.now == 10.0


def test_who_must_not_block_is_told_so() -> None:
    simulation = Simulation(0, Schedule())
    deaths: list[Any] = []

    class Parent:
        name = "parent"

        def put(self, message: Any, /) -> None:
            deaths.append(message)

    carrier = simulation.host(simulation.address("actor"), Quick(), Parent())
    carrier.me.put(Do(lambda: simulation.sleep(1)))
    simulation.run()
    assert "must not block" in str(deaths[0].error)


def test_a_signal_wakes_who_waits_and_a_wait_ends_in_time() -> None:
    simulation = Simulation(0, Schedule())
    signal, never = Signal(simulation), Signal(simulation)
    seen: list[Any] = []
    start(simulation, lambda: seen.append((signal.wait(60), simulation.now)))
    start(simulation, lambda: seen.append((never.wait(5), simulation.now)))
    simulation.call_at(2.0, signal.set)
    simulation.run()
    assert seen == [(True, 2.0), (False, 5.0)]


def test_one_killed_in_its_call_never_comes_back() -> None:
    simulation = Simulation(0, Schedule())
    seen: list[str] = []
    actor = Blocking()
    carrier = start(simulation, doze(simulation, 10, lambda: seen.append("came back")), actor=actor)
    simulation.call_at(3.0, lambda: simulation.kill(carrier, Killed("now"), in_call=True))
    simulation.run()
    assert seen == []
    assert actor.ended_at == 3.0
    simulation.close()


def test_one_killed_otherwise_ends_its_handler_first() -> None:
    simulation = Simulation(0, Schedule())
    seen: list[str] = []
    actor = Blocking()
    carrier = start(simulation, doze(simulation, 10, lambda: seen.append("came back")), actor=actor)
    simulation.call_at(3.0, lambda: simulation.kill(carrier))
    simulation.run()
    assert seen == ["came back"]
    assert actor.ended_at == 10.0


def test_one_that_is_held_gets_no_turn() -> None:
    simulation = Simulation(0, Schedule())
    seen: list[float] = []
    carrier = start(simulation, actor=Quick())
    simulation.run()
    simulation.hold(carrier, 4.0)
    carrier.me.put(Do(lambda: seen.append(simulation.now)))
    simulation.run()
    assert seen == [4.0]


def test_endless_talk_is_noticed() -> None:
    simulation = Simulation(0, Schedule())
    carrier = start(simulation, actor=Quick())

    def talk() -> None:
        carrier.me.put(Do(talk))

    carrier.me.put(Do(talk))
    with pytest.raises(Stuck, match="actor have something to do at 0"):
        simulation.run(steps_max=10_000)


def test_closing_ends_what_is_suspended() -> None:
    simulation = Simulation(0, Schedule())
    ends: list[str] = []

    def wait() -> None:
        try:
            simulation.sleep(1000)
        finally:
            ends.append("sync")

    async def wait_async() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ends.append("async")

    start(simulation, wait)
    thread = VirtualLoopThread(simulation, "loop")
    thread.call_soon(lambda: thread.loop.create_task(wait_async()))
    simulation.run(until_s=1.0)
    simulation.close()
    assert sorted(ends) == ["async", "sync"]


def test_asyncio_runs_in_virtual_time() -> None:
    simulation = Simulation(0, Schedule())
    thread = VirtualLoopThread(simulation, "loop")
    seen: list[Any] = []

    async def one(n: int) -> int:
        await asyncio.sleep(n)
        return n

    async def main() -> None:
        seen.append(await asyncio.gather(one(3), one(1), one(2)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(100)
        lock = asyncio.Lock()
        async with lock:
            seen.append(asyncio.get_running_loop().time())
        async with asyncio.TaskGroup() as group:
            group.create_task(one(1))
        with pytest.raises(RuntimeError, match="no network"):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)

    start(simulation, lambda: thread.run(main()))
    simulation.run()
    assert seen == [[3, 1, 2], 8.0]
    assert simulation.now == 11.0
    simulation.close()


def test_what_a_callback_on_a_virtual_loop_raises_is_logged() -> None:
    simulation = Simulation(0, Schedule())
    thread = VirtualLoopThread(simulation, "loop")
    lines: list[str] = []
    logger.enable("headrace")
    handler = logger.add(lines.append, level="ERROR")
    try:
        start(simulation, lambda: thread.call_soon(int, "seven"))
        simulation.run()
        simulation.close()
    finally:
        logger.remove(handler)
        logger.disable("headrace")
    assert len(lines) == 1
    assert "a callback on the simulated event loop loop raised" in lines[0]
    assert "ValueError" in lines[0]


class _Ready:
    def __init__(self, number: int, priority: float) -> None:
        self.number = number
        self.priority = priority


def test_pct_follows_priorities_and_lowers_one_at_a_change() -> None:
    from random import Random

    ready = [_Ready(1, 0.2), _Ready(2, 0.9), _Ready(3, 0.5)]
    picker = Pct(Random(0), depth=1, steps=100)
    assert [picker.pick(ready) for _ in range(5)] == [1] * 5
    changing = Pct(Random(0), depth=2, steps=1)
    assert changing.pick(ready) == 2, "the change point is the first step: the highest goes to the end"
    assert ready[1].priority < 0


def test_round_robin_takes_turns() -> None:
    ready = [_Ready(4, 0), _Ready(1, 0), _Ready(9, 0)]
    picker = RoundRobin()
    assert [ready[picker.pick(ready)].number for _ in range(6)] == [1, 4, 9, 1, 4, 9]


@pytest.mark.parametrize("lag_s", [0.0, 0.005])
def test_time_may_pass_between_two_looks_at_the_clock_where_there_is_lag_L48(lag_s: float) -> None:
    """A thread can lose its core in the middle of a handler: what it read off the clock before may be old by then."""
    simulation = Simulation(0, Schedule(lag=0.02 if lag_s else 0.0, lag_s=lag_s))
    actor = Quick()
    passed: list[float] = []

    def look_twice() -> None:
        began = actor.context.now()
        passed.append(actor.context.now() - began)

    start(simulation, *[look_twice] * 200, actor=actor)
    simulation.run(100.0)
    assert len(passed) == 200
    assert any(passed) == bool(lag_s)
    assert max(passed) <= lag_s
