"""Runs and executors are the same on every host: on threads, in simulation, and on the simplest one that there can be
(`plain.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Any

import pytest
from tests.runtime.hosts.plain import PlainHost

from headrace.actors import protocol
from headrace.actors.protocol import State
from headrace.runtime import Executor, Limit, Pipeline, Retry, RunFailed
from headrace.runtime.errors import ConfigError
from headrace.runtime.hosts.port import Host
from headrace.runtime.hosts.simulation.clock import virtual_time
from headrace.runtime.hosts.simulation.host import SimulationHost
from headrace.runtime.hosts.simulation.system import Simulation
from headrace.runtime.hosts.threads.host import THREADS
from headrace.runtime.journal.begin import begin
from headrace.runtime.journal.memory import forget
from headrace.runtime.journal.options import Journal
from headrace.runtime.run.run import Run, core_of

WAIT_S = 30.0


class Place:
    """A host, and how somebody outside of it lets it go on until something is so."""

    host: Host

    def go_on(self, done: Callable[[], bool]) -> None:
        raise NotImplementedError

    def inside(self) -> AbstractContextManager[object]:
        return nullcontext()

    def close(self) -> None:
        """Nothing is left."""


class OnThreads(Place):
    def __init__(self) -> None:
        self.host = THREADS

    def go_on(self, done: Callable[[], bool]) -> None:
        reached = THREADS.signal()
        for _ in range(int(WAIT_S * 100)):
            if done():
                return
            reached.wait(0.01)
        raise AssertionError("not so within its time")


class InSimulation(Place):
    def __init__(self) -> None:
        self.simulation = Simulation(7)
        self.host = SimulationHost(self.simulation)

    def go_on(self, done: Callable[[], bool]) -> None:
        self.simulation.run(1e6)
        assert done()

    def inside(self) -> AbstractContextManager[object]:
        return virtual_time(self.simulation)

    def close(self) -> None:
        self.simulation.close()


class OnPlain(Place):
    def __init__(self) -> None:
        self.host = self.plain = PlainHost()

    def go_on(self, done: Callable[[], bool]) -> None:
        self.plain.work(done)
        assert done()


@pytest.fixture(params=[OnThreads, InSimulation, OnPlain], ids=lambda place: place.__name__)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    place: Place = request.param()
    with place.inside():
        yield place
        place.close()


def started(place: Place, pipeline: Any, **options: Any) -> Run:
    return Run(pipeline.plan(), host=place.host, **options)


def report_of(place: Place, run: Run) -> Any:
    place.go_on(lambda: run.done)
    return run.wait(WAIT_S)


def test_rows_go_through_a_graph_in_order_and_are_accounted_for(place: Place) -> None:
    out: list[Any] = []
    failed = Counter[int]()

    def work(row: int) -> int:
        if row % 10 == 3 and failed[row] < 2:
            failed[row] += 1
            raise TimeoutError("later")
        if row % 10 == 7:
            raise ValueError("never")
        return row * 2

    pipeline = (
        Pipeline("same")
        .source(range(100))
        .map(work, workers=8, retry=Retry(4, base=0.001))
        .filter(lambda row: row % 4 == 0)
        .batch(4)
        .unbatch()
        .sink(out.append)
    )
    report = report_of(place, started(place, pipeline))
    assert report.state is State.COMPLETED
    assert out == [2 * row for row in range(100) if row % 10 != 7 and row % 2 == 0]
    assert (report.rows, report.delivered, report.quarantined, report.dropped) == (100, 50, 10, 40)
    assert sum(failed.values()) == 20


def test_a_limit_holds_by_the_clock_of_the_host(place: Place) -> None:
    pipeline = Pipeline("paced").source(range(20)).map(str, limit=Limit("200/s", burst=1))
    report = report_of(place, started(place, pipeline))
    assert report.delivered == 20
    assert 0.09 <= report.elapsed_s < WAIT_S


def test_who_is_outside_drains_aborts_and_changes_a_limit(place: Place) -> None:
    run = started(place, Pipeline("drained").source(iter(int, 1)).map(str, limit="50/s"))
    run.set_limit("1000/s")
    assert run.stats().name == "drained"
    run.drain()
    assert report_of(place, run).state is State.DRAINED
    run = started(place, Pipeline("aborted").source(iter(int, 1)).map(str, limit="1/s"))
    run.abort("enough")
    report = report_of(place, run)
    assert report.state is State.ABORTED
    with pytest.raises(ConfigError, match="no stage is named 'other'"):
        run.set_limit("1/s", stage="other")


class Poison(protocol.Control, frozen=True):
    pass


def test_an_actor_that_dies_is_told_and_the_run_ends_by_its_name(place: Place) -> None:
    run = started(place, Pipeline("poisoned").source(iter(int, 1)).map(str, name="work", limit="1/s"))
    core_of(run).tell("work", Poison())
    place.go_on(lambda: run.done)
    with pytest.raises(RunFailed, match="work died: AssertionError"):
        run.wait(WAIT_S)


def test_a_run_that_cannot_be_put_together_leaves_nothing_behind(place: Place) -> None:
    # It does not end by itself, so that its limit is in use.
    first = Pipeline("one").source(iter(int, 1)).map(str, limit=Limit("10/s", name="both"))
    other = Pipeline("two").source([1]).map(str, limit=Limit("20/s", name="both"))
    run = started(place, first)
    with pytest.raises(ConfigError, match="limit 'both' is in use with other terms"):
        started(place, other)
    run.abort()
    place.go_on(lambda: run.done)
    assert run.wait_ended(WAIT_S).state.value == "aborted"


def test_what_is_done_aside_is_done_once_and_not_for_nothing(place: Place) -> None:
    done: list[str] = []
    give, never = (place.host.aside(name, done.append) for name in ("aside", "never"))
    assert done == []
    never(None)
    give("it")
    place.go_on(lambda: bool(done))
    assert done == ["it"]


def test_a_run_with_a_journal_goes_on_in_another_life(place: Place) -> None:
    calls: list[int] = []

    def work(row: int) -> int:
        calls.append(row)
        return row

    work.version = "1"  # type: ignore[attr-defined]
    name = f"memory:hosts-{type(place).__name__}"
    plan = Pipeline("kept").source(range(50)).map(work).plan()
    for life in range(2):
        journaling, key = begin(plan, Journal(name))
        run = Run(plan, journaling, key, host=place.host)
        assert report_of(place, run).delivered == 50, f"life {life}"
    assert sorted(calls) == list(range(50))
    forget(name)


def test_an_executor_answers_and_ends(place: Place) -> None:
    class Here(Executor):
        _host = place.host

    executor = Here(max_workers=4, retry=Retry(3, base=0.001), limit="1000/s")
    failed = Counter[int]()

    def work(row: int) -> int:
        failed[row] += 1
        if row == 3 and failed[row] < 3:
            raise TimeoutError("later")
        if row == 5:
            raise ValueError("never")
        return row * 2

    futures = [executor.submit(work, row) for row in range(10)]
    place.go_on(lambda: all(future.done() for future in futures))
    assert [future.result() for future in futures if not future.exception()] == [0, 2, 4, 6, 8, 12, 14, 16, 18]
    assert isinstance(futures[5].exception(), ValueError)
    assert failed[3] == 3
    assert executor.stats().calls >= 12
    executor.shutdown(wait=False)
    place.go_on(executor._here().ended.is_set)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(work, 1)


def test_a_host_has_all_that_the_port_says(place: Place) -> None:
    asked = {name for name in vars(Host) if not name.startswith("_")}
    assert asked <= set(dir(place.host))
    group = place.host.actors("group", copy_context())
    assert {"address", "doorbell", "host", "park", "ask", "tell", "are_here", "stop"} <= set(dir(group))


def test_a_handle_shows_what_is_for_users() -> None:
    shown = {name for name in dir(Run) if not name.startswith("_")}
    assert shown == {
        "abort", "add_done_callback", "done", "drain", "ended", "error", "id", "leave", "name", "set_limit", "stages",
        "stats", "wait", "wait_ended",
    }  # fmt: skip
