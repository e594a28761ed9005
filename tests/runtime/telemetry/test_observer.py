"""Observers are told what happens, on threads as in simulation, and can do nothing to the run."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from headrace.actors.protocol import Closure, Kind, State, Status
from headrace.runtime import ConfigError, Flow, Limit, Observer, Pipeline, RateLimited, RunReport, TransientError
from headrace.runtime.telemetry import events, observer
from headrace.scenarios.testing import simulate

Run = Callable[..., RunReport]
SECRET = "nobody shall read this"


def on_threads(flow: Flow[Any], *observers: Observer) -> RunReport:
    return flow.run(observers=observers)


def in_simulation(flow: Flow[Any], *observers: Observer) -> RunReport:
    return simulate(flow, observers=observers).report


both = pytest.mark.parametrize("run", [on_threads, in_simulation])


class Notes(Observer):
    """Notes every event."""

    def __init__(self) -> None:
        self.seen: list[events.Event] = []

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if type(event) is kind]


for _hook in observer.HOOKS.values():
    setattr(Notes, _hook, lambda self, event: self.seen.append(event))


def flaky(attempts: Counter[int]) -> Callable[[int], int]:
    """Row 3 fails once, row 5 is refused once, row 7 always fails."""

    def call(row: int) -> int:
        attempts[row] += 1
        if row == 7:
            raise ValueError(SECRET)
        if row == 3 and attempts[row] == 1:
            raise TransientError("again")
        if row == 5 and attempts[row] == 1:
            raise RateLimited("not now", retry_after=0.01)
        return row

    return call


def job(function: Callable[[int], int]) -> Flow[Any]:
    limit = Limit(cooldown=0.01)
    return Pipeline("job").source(range(20)).map(function, name="ask", workers=2, limit=limit).sink(lambda row: None)


@both
def test_what_is_told_adds_up_to_the_report(run: Run) -> None:
    notes = Notes()
    report = run(job(flaky(Counter())), notes)
    assert isinstance(notes.seen[0], events.RunBegan)
    assert isinstance(notes.seen[-1], events.RunEnded)
    assert notes.seen[-1].state is State.COMPLETED
    assert notes.seen[-1].counts.delivered == report.delivered == 19
    assert sum(event.rows for event in notes.of(events.RowsRead)) == report.rows == 20
    assert [event.ended for event in notes.of(events.RowsRead)][-1]
    ended = notes.of(events.CallsEnded)
    assert sum(event.answered + len(event.faults) for event in ended) == report.calls
    kinds = Counter((fault.row, fault.kind) for event in ended for fault in event.faults)
    assert kinds == {(3, Kind.TRANSIENT): 1, (5, Kind.REFUSED): 1, (7, Kind.PERMANENT): 1}
    (bad,) = notes.of(events.RowEnded)
    assert (bad.row, bad.name, bad.stage, bad.status, bad.attempts) == (7, "7", "ask", Status.QUARANTINED, 1)
    settled = Counter[Status]()
    for event in notes.of(events.RowsSettled):
        settled[event.status] += event.rows
    assert settled == {Status.DELIVERED: 19, Status.QUARANTINED: 1}
    assert {event.sink for event in notes.of(events.RowsSettled)} == {"sink", None}
    times = [event.at_s for event in notes.seen]
    assert min(times) == times[0]


@both
def test_a_refusal_is_told_with_its_end(run: Run) -> None:
    notes = Notes()
    run(job(flaky(Counter())), notes)
    began, ended = notes.of(events.CooldownBegan), notes.of(events.CooldownEnded)
    assert [(event.stage, event.closure) for event in began] == [("ask", Closure.REFUSED)]
    assert [(event.stage, event.epoch, event.probing) for event in ended] == [("ask", began[0].epoch, False)]


@both
def test_no_event_has_what_is_in_a_row(run: Run) -> None:
    notes = Notes()
    run(Pipeline().source([SECRET] * 5).map(lambda row: row + "!").sink(lambda row: None), notes)
    assert SECRET not in repr(notes.seen)


@both
def test_an_observer_that_raises_harms_neither_the_run_nor_the_others(run: Run) -> None:
    class Raises(Observer):
        def on_calls_ended(self, event: events.CallsEnded) -> None:
            raise KeyboardInterrupt

        def on_run_ended(self, event: events.RunEnded) -> None:
            raise SystemExit

    notes = Notes()
    report = run(job(flaky(Counter())), Raises(), notes)
    assert report.state is State.COMPLETED
    assert sum(event.answered for event in notes.of(events.CallsEnded)) == 19


def test_the_same_things_are_told_on_threads_as_in_simulation() -> None:
    told = []
    for run in (on_threads, in_simulation):
        notes = Notes()
        run(Pipeline("job").source(range(5)).map(str, name="ask", workers=1).sink(lambda row: None), notes)
        told.append({type(event) for event in notes.seen})
    assert told[0] == told[1]
    assert len(told[0]) == 6


def test_a_slow_observer_misses_events_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "BACKLOG_MAX", 5)
    go_on, missed, ended = threading.Event(), list[int](), list[State]()

    class Slow(Observer):
        def on_calls_ended(self, event: events.CallsEnded) -> None:
            go_on.wait(30)

        def on_events_missed(self, event: events.EventsMissed) -> None:
            missed.append(event.events)

        def on_run_ended(self, event: events.RunEnded) -> None:
            ended.append(event.state)

    delivered: list[int] = []

    def deliver(row: int) -> None:
        delivered.append(row)
        if len(delivered) == 2000:
            # All rows are through, though the observer is still at the first event.
            go_on.set()

    Pipeline().source(range(2000)).map(abs, workers=1).sink(deliver).run(observers=[Slow()])
    assert len(delivered) == 2000
    assert sum(missed) > 0
    assert ended == [State.COMPLETED]


def test_a_run_that_is_told_to_stop_tells_so() -> None:
    notes, begun = Notes(), threading.Event()

    async def wait(row: int) -> None:
        begun.set()
        await asyncio.sleep(60)

    run = Pipeline().source(range(3)).map(wait).sink(lambda row: None).start(observers=[notes])
    begun.wait(30)
    run.abort("it is enough")
    run.wait_ended(30)
    assert ("abort", "it is enough") in [(event.how, event.reason) for event in notes.of(events.RunStopping)]
    assert notes.seen[-1].state is State.ABORTED  # type: ignore[attr-defined]


def test_a_commit_is_told(tmp_path: Any) -> None:
    notes = Notes()
    Pipeline().source([1, 2]).map(abs).sink(lambda row: None).run(journal=tmp_path / "run.db", observers=[notes])
    assert notes.of(events.Committed)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([print], r"builtin_function_or_method is no Observer; derive it from headrace\.Observer"),
        ([Notes], r"Notes is no Observer; give Notes\(\)"),
        (3, "int is no Observer"),
    ],
)
def test_what_is_no_observer_is_told(wrong: Any, told: str) -> None:
    flow = Pipeline().source([1]).map(abs)
    for use in (flow.run, flow.stream, lambda **options: simulate(flow, **options)):
        with pytest.raises(ConfigError, match=told):
            use(observers=wrong)


def test_every_event_has_its_method_and_an_observer_that_overrides_nothing_costs_nothing() -> None:
    hooks = {name for name in vars(Observer) if name.startswith("on_")}
    assert set(observer.HOOKS.values()) == hooks
    nobody = observer.Observers(lambda: 0.0, [Observer()])
    assert not any(nobody._tables.values())
    assert nobody.address("node") is None


@pytest.mark.parametrize("runs", range(5))
def test_what_happened_just_before_the_end_is_told_before_the_report_is_there(runs: int) -> None:
    told: list[str] = []

    class Ends(Observer):
        """It does not ask for the run's end, which would have the others told at once."""

        def on_row_ended(self, event: events.RowEnded) -> None:
            told.append(event.name)

    Pipeline().source(["12", "twelve"]).map(int).run(observers=[Ends()])
    assert told == ["1"]
