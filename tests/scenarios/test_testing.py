"""`simulate` and the fixture, as a user's test suite would use them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import Limit, Pipeline, RateLimited, Retry, sinks, sources
from headrace.runtime.errors import ConfigError
from headrace.scenarios.testing import (
    InvariantBroken,
    Service,
    Simulated,
    abort,
    drain,
    hold,
    kill,
    kill_worker,
    pause,
    simulate,
)
from tests.scenarios.mutants import MUTANTS, mutated

pytest_plugins = ["pytester"]


def test_a_storm_in_virtual_time_loses_no_row() -> None:
    out: list[int] = []
    service = Service(latency=(0.02, 0.2), per_s=50, burst=5)

    def ask(x: int) -> int:
        time.sleep(0.01)
        answer: int = service(x)
        return answer

    pipeline = Pipeline().source(range(200)).map(ask, workers=20).sink(out.append)
    simulated = simulate(pipeline, seed=7, faults=[kill_worker("ask", call=30)])
    assert out == list(range(200))
    assert simulated.state == "completed"
    assert simulated.elapsed_s > 3.9
    # The one that was killed may not have come as far as the service.
    assert 0 <= simulated.report.calls - service.calls <= 1
    assert service.refused == simulated.report.refusals > 0


def test_coroutines_and_async_sources_run_in_virtual_time() -> None:
    out: list[int] = []
    service = Service(latency=0.05)

    async def ask(x: int) -> Any:
        async with asyncio.timeout(5):
            return await service.call(x)

    async def rows() -> AsyncIterator[int]:
        for n in range(100):
            await asyncio.sleep(60)
            yield n

    simulated = simulate(Pipeline().source(rows()).map(ask, workers=20).sink(out.append), seed=1)
    assert out == list(range(100))
    assert simulated.elapsed_s >= 6000


def test_a_generator_may_sleep_for_hours() -> None:
    def rows() -> Iterator[int]:
        for n in range(48):
            time.sleep(1800)
            yield n

    began = time.perf_counter()
    simulated = simulate(Pipeline().source(rows()).map(abs), seed=3)
    assert simulated.report.delivered == 48
    assert simulated.elapsed_s >= 86_400
    assert time.perf_counter() - began < 10


def test_real_files_are_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("n\n1\n2\n3\n")
    pipeline = Pipeline().source(sources.csv(tmp_path / "in.csv")).map(lambda row: {"n": int(row["n"]) * 2})
    simulate(pipeline.sink(sinks.jsonl(tmp_path / "out.jsonl")))
    assert (tmp_path / "out.jsonl").read_text().split() == ['{"n":2}', '{"n":4}', '{"n":6}']


def test_a_stage_gets_a_stand_in_by_its_name() -> None:
    def ask(x: int) -> int:
        raise AssertionError("the real one is not called")

    out: list[int] = []
    simulate(Pipeline().source(range(5)).map(ask).sink(out.append), functions={"ask": lambda x: -x})
    assert out == [0, -1, -2, -3, -4]
    with pytest.raises(ConfigError, match="no stage is named 'asks'; there are ask"):
        simulate(Pipeline().source(range(5)).map(ask), functions={"asks": abs})


def slow(x: int) -> int:
    time.sleep(1.0)
    return x


def test_a_drain_and_an_abort_at_any_time() -> None:
    pipeline = Pipeline().source(range(10**6)).map(slow, workers=4)
    drained = simulate(pipeline, faults=[drain(at=5.5)])
    assert (drained.state, drained.report.interrupted) == ("drained", 0)
    aborted = simulate(pipeline, faults=[abort(at=5.5)])
    assert aborted.state == "aborted"
    assert aborted.elapsed_s < 5.7


def test_an_actor_that_dies_fails_the_run_and_not_the_test() -> None:
    simulated = simulate(Pipeline().source(range(100)).map(slow), faults=[kill("governor-slow", at=2.0)])
    assert simulated.state == "failed"
    assert "governor-slow" in str(simulated.errors[0])


def test_delays_and_pauses_change_nothing_but_the_time() -> None:
    faults = [hold("reorder", at=1.0, lasts=5.0), pause(at=3.0, lasts=100.0)]
    simulated = simulate(Pipeline().source(range(100)).map(slow, workers=10), faults=faults)
    assert simulated.report.delivered == 100
    assert simulated.elapsed_s > 100


def test_refusals_outages_and_failures_of_a_stand_in() -> None:
    service = Service(latency=0.05, per_s=100, burst=10, outages=[(0.5, 2.0)], fails=0.05, retry_after=0.3)
    pipeline = Pipeline().source(range(300)).map(service, name="ask", workers=10, retry=Retry(6))
    simulated = simulate(pipeline, seed=4)
    assert simulated.report.delivered == 300
    assert simulated.report.stages[0].limit is not None
    assert simulated.report.stages[0].limit.outages >= 1


def test_what_a_user_s_function_raises_is_the_row_s() -> None:
    def ask(x: int) -> int:
        if x == 3:
            raise SystemExit
        if x == 5:
            raise RateLimited(retry_after=1.0) if time.monotonic() < 1.0 else ValueError("bad")
        return x

    simulated = simulate(Pipeline().source(range(10)).map(ask, limit=Limit(concurrency=4)))
    assert (simulated.report.delivered, simulated.report.quarantined, simulated.report.refusals) == (8, 2, 1)


def test_the_network_is_refused_with_advice() -> None:
    async def ask(x: int) -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    bad: list[Any] = []
    simulate(Pipeline().source(range(1)).map(ask).quarantine(bad.append))
    assert "give this stage a stand-in" in bad[0]["message"]


def test_a_broken_promise_is_told_with_its_seed_and_story() -> None:
    mutant = next(m for m in MUTANTS if m.name == "a stage that starts calls without permits")
    with mutated(mutant), pytest.raises(InvariantBroken) as caught:
        simulate(Pipeline().source(range(100)).map(slow, workers=4, limit=Limit(concurrency=4)), seed=11)
    assert caught.value.breach.invariant.name == "BOUNDED"
    assert "seed=11" in str(caught.value)
    assert "PermitsGranted" in str(caught.value)


def test_strategies_are_prepared_and_closed() -> None:
    seen: list[str] = []

    class Ask:
        def prepare(self) -> None:
            seen.append("prepare")

        def __call__(self, x: int) -> int:
            return x

        def close(self) -> None:
            seen.append("close")

    simulate(Pipeline().source(range(3)).map(Ask()))
    assert seen == ["prepare", "close"]


def test_the_fixture_plays_several_seeds(simulation: Callable[..., Simulated]) -> None:
    digests = set()

    def check(simulated: Simulated) -> None:
        digests.add(simulated.digest)
        assert simulated.report.delivered == 50

    simulation(lambda: Pipeline().source(range(50)).map(slow, workers=4), check, faults=[kill_worker("slow", call=5)])
    assert len(digests) == 10


def test_the_fixture_names_the_seed_that_failed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from headrace.runtime import Pipeline

        def test_mine(simulation):
            def check(simulated):
                assert simulated.seed < 3
            simulation(lambda: Pipeline().source(range(5)).map(abs), check)
        """
    )
    result = pytester.runpytest_subprocess("--simulation-seeds", "5", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*seed 3; alone: pytest --simulation-seed 3 *test_mine*"])
    again = pytester.runpytest_subprocess("--simulation-seed", "2", "-p", "no:cacheprovider")
    again.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "fault",
    [kill_worker("asq", call=3), kill_worker("asq", at=1.0), kill("sinc", at=1.0), hold("governor", at=1.0, lasts=1.0)],
)
def test_a_fault_that_strikes_nobody_is_told_L45(fault: Any) -> None:
    def ask(x: int) -> int:
        return x

    with pytest.raises(ConfigError, match=r"faults: no (stage|actor) is named '(asq|sinc|governor)'; there are .*ask"):
        simulate(Pipeline().source(range(5)).map(ask), faults=[fault])


@pytest.mark.parametrize(
    "options",
    [
        {"latency": float("nan")},
        {"latency": -1},
        {"latency": (2.0, 1.0)},
        {"latency": (1.0,)},
        {"latency": 1e300},
        {"per_s": 0},
        {"per_s": float("inf")},
        {"burst": 0},
        {"fails": 2},
        {"retry_after": "5"},
        {"outages": [5]},
        {"outages": [(1, float("nan"))]},
    ],
)
def test_numbers_of_a_stand_in_are_told_L60(options: Any) -> None:
    with pytest.raises(ConfigError, match=f"Service: {next(iter(options))}"):
        Service(**options)


@pytest.mark.parametrize("until_s", [float("nan"), float("inf"), -1, 0])
def test_how_long_a_simulation_may_last_is_told_L60(until_s: float) -> None:
    with pytest.raises(ConfigError, match="simulate: until_s"):
        simulate(Pipeline().source(range(5)).map(lambda x: x), until_s=until_s)


@pytest.mark.parametrize(
    "make",
    [
        lambda at: kill_worker("ask", at=at),
        lambda at: kill("sink", at=at),
        lambda at: hold("sink", at=1.0, lasts=at),
        lambda at: drain(at=at),
        lambda at: abort(at=at),
        lambda at: pause(at=1.0, lasts=at),
    ],
)
def test_when_a_fault_strikes_is_told_L60(make: Callable[[float], Any]) -> None:
    for at in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ConfigError, match="seconds of at least 0"):
            make(at)


def test_a_dedupe_is_simulated_also_where_keys_are_none() -> None:
    def slowly(row: object) -> object:
        time.sleep(0.01)
        return row

    def keyed(row: object) -> Any:
        return row

    out: list[object] = []
    rows: list[object] = [1, [2], 1, float("nan"), 1.0, object(), 2, 1]
    pipeline = Pipeline().source(rows).map(slowly, workers=4).dedupe(key=keyed, within=3).sink(out.append)
    report = simulate(pipeline, seed=3).report
    assert out == [1, 2]
    assert (report.delivered, report.dropped, report.quarantined) == (2, 3, 3)
