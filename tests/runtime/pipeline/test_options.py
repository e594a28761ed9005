"""Every option has an effect that is seen from outside (L45)."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from headrace.runtime import Limit, Pipeline, RateLimited, Retry, TransientError, current_call
from headrace.runtime.run.progress import progress_of
from headrace.scenarios.testing import simulate


class Meter:
    """Counts the calls in flight."""

    def __init__(self, hold_s: float = 0.005) -> None:
        self.now = self.peak = self.calls = 0
        self._hold_s = hold_s
        self._mutex = threading.Lock()

    def __call__(self, x: Any) -> Any:
        with self._mutex:
            self.calls += 1
            self.now += 1
            self.peak = max(self.peak, self.now)
        time.sleep(self._hold_s)
        with self._mutex:
            self.now -= 1
        return x


@pytest.mark.parametrize("workers", [1, 7, 40])
def test_workers_is_the_peak_in_flight_L45(workers: int) -> None:
    meter = Meter(0.03)
    report = Pipeline().source(range(workers * 8)).map(meter, workers=workers).run()
    assert meter.peak == workers
    assert report.stages[0].calls.in_flight_max == workers


def test_workers_of_coroutines_is_the_peak_in_flight_L45() -> None:
    now = peak = 0

    async def call(x: int) -> int:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.005)
        now -= 1
        return x

    report = Pipeline().source(range(200)).map(call, workers=25).run()
    assert peak == 25
    assert report.stages[0].calls.in_flight_max == 25, "rows that wait in a worker's hand are no calls"


def test_many_rows_in_a_workers_hand_are_one_call_in_flight_L45() -> None:
    report = Pipeline().source(range(50_000)).map(lambda x: x, workers=3).run()
    assert report.stages[0].calls.in_flight_max <= 3


def test_concurrency_is_below_workers_L45() -> None:
    meter = Meter()
    Pipeline().source(range(60)).map(meter, workers=20, limit=Limit(concurrency=3)).run()
    assert meter.peak == 3


def test_more_are_in_flight_with_each_round_that_is_answered_or_old_enough_to_have_been_let_in() -> None:
    rounds: list[float] = []

    def call(x: int) -> int:
        rounds.append(round(time.monotonic(), 1))
        time.sleep(1.0)
        return x

    # In virtual time, in which calls begin together whatever the machine does meanwhile.
    simulate(Pipeline().source(range(70)).map(call, workers=100))
    # After half a second the first ten have been let in: half as many on top; then their answers, and the five's age.
    assert [rounds.count(at) for at in sorted(set(rounds))] == [10, 15, 32, 13]


def test_concurrency_auto_follows_the_latency() -> None:
    sizes: list[int] = []

    def crowded(x: int) -> int:
        with lock:
            crowd[0] += 1
            n = crowd[0]
            sizes.append(n)
        # Ten at a time go through; more than that only wait for each other.
        time.sleep(0.004 * max(1.0, n / 10.0) ** 2)
        with lock:
            crowd[0] -= 1
        return x

    lock, crowd = threading.Lock(), [0]
    Pipeline().source(range(1500)).map(crowded, workers=100, limit=Limit(concurrency="auto")).run()
    assert sum(sizes[-500:]) / 500 < 30


def flaky(times: int, error: Callable[[], BaseException]) -> Callable[[int], int]:
    def call(x: int) -> int:
        seen[x] = seen.get(x, 0) + 1
        if seen[x] <= times:
            raise error()
        return x

    seen: dict[int, int] = {}
    return call


def test_retry_attempts_L45() -> None:
    for attempts, delivered in ((1, 0), (2, 0), (3, 1)):
        pipeline = Pipeline().source([1]).map(flaky(2, TransientError), retry=Retry(attempts, base=0.001))
        assert pipeline.run().delivered == delivered


def test_retry_refusals_L45() -> None:
    for refusals, delivered in ((1, 0), (5, 1)):
        call = flaky(3, lambda: RateLimited(retry_after=0.001))
        report = Pipeline().source([1]).map(call, retry=Retry(refusals=refusals)).run()
        assert (report.delivered, report.quarantined) == (delivered, 1 - delivered)


def test_retry_classify_L45() -> None:
    retry = Retry(3, base=0.001, classify=lambda error: "transient" if isinstance(error, KeyError) else None)
    assert Pipeline().source([1]).map(flaky(2, KeyError), retry=retry).run().delivered == 1
    assert Pipeline().source([1]).map(flaky(2, ValueError), retry=retry).run().quarantined == 1


def test_retry_base_and_cap_L45() -> None:
    began = time.monotonic()
    Pipeline().source(range(20)).map(flaky(1, TransientError), retry=Retry(2, base=0.2)).run()
    # Twenty draws of full jitter up to 0.2 s: the largest is small with a chance of 10^-12 only.
    assert time.monotonic() - began > 0.05
    began = time.monotonic()
    Pipeline().source(range(20)).map(flaky(1, TransientError), retry=Retry(2, base=100.0, cap=0.001)).run()
    # Without the cap the largest of twenty draws up to 100 s would be above 25 s, but for a chance of 10^-12.
    assert time.monotonic() - began < 25.0


def test_retries_need_permits_like_first_tries_L14() -> None:
    began = time.monotonic()
    limit = Limit("100/s", burst=1)
    Pipeline().source(range(10)).map(flaky(1, TransientError), limit=limit, retry=Retry(2, base=0.001)).run()
    assert time.monotonic() - began >= 0.18


def test_cooldown_L45() -> None:
    began = time.monotonic()
    Pipeline().source([1]).map(flaky(1, RateLimited), limit=Limit(cooldown=0.3)).run()
    assert time.monotonic() - began >= 0.3


def test_max_hint_L45() -> None:
    began = time.monotonic()
    call = flaky(1, lambda: RateLimited(retry_after=3600.0))
    assert Pipeline().source([1]).map(call, limit=Limit(max_hint=0.05)).run().delivered == 1
    assert time.monotonic() - began < 5.0


def test_outage_after_and_outage_deadline_L45() -> None:
    def out(x: int) -> int:
        raise ConnectionError

    limit = Limit(outage_after=3, outage_deadline=0.2)
    run = Pipeline().source(range(20)).map(out, limit=limit, retry=Retry(100, base=0.001)).start()
    report = run.wait_ended(20)
    assert report.state == "failed"
    assert report.stages[0].limit is not None
    assert report.stages[0].limit.outages >= 1
    assert report.interrupted == 20


def test_on_unknown_L45() -> None:
    async def slow_once(x: int) -> int:
        if current_call().attempt == 1:
            await asyncio.sleep(30)
        return x

    for on_unknown, delivered in (("retry", 1), ("quarantine", 0)):
        options: Any = {"timeout": 0.05, "on_unknown": on_unknown, "retry": Retry(2, base=0.001)}
        assert Pipeline().source([1]).map(slow_once, **options).run().delivered == delivered


def test_window_L45() -> None:
    first = threading.Event()
    begun = []

    def call(x: int) -> int:
        begun.append(x)
        if x == 0:
            first.wait(10)
        return x

    run = Pipeline(window=10).source(range(100)).map(call, workers=4).start()
    deadline = time.monotonic() + 5
    while len(begun) < 10 and time.monotonic() < deadline:
        run.stats()
    assert len(begun) == 10
    first.set()
    assert run.wait().delivered == 100


def test_unordered_does_not_wait_for_the_slowest_L45() -> None:
    first = threading.Event()
    got: list[int] = []

    def call(x: int) -> int:
        if x == 0:
            first.wait(10)
        return x

    def sink(x: int) -> None:
        got.append(x)
        if len(got) == 49:
            first.set()

    Pipeline(ordered=False).source(range(50)).map(call, workers=4).sink(sink).run()
    assert got[-1] == 0
    assert sorted(got) == list(range(50))


def test_each_call_has_its_own_row_to_ask_about_L22() -> None:
    def call(x: int) -> bool:
        time.sleep(0.001)
        return current_call().seq == x

    async def call_async(x: bool) -> int:
        seq = current_call().seq
        await asyncio.sleep(0.001)
        return seq if current_call().seq == seq and x else -1

    got: list[int] = []
    Pipeline().source(range(200)).map(call).map(call_async).sink(got.append).run()
    assert got == list(range(200))


def test_ordered_concurrent_and_retried_at_once_L50() -> None:
    meter = Meter(0.002)

    def call(x: int) -> int:
        meter(x)
        if x % 3 == 0 and current_call().attempt < 3:
            raise TransientError
        return x

    got: list[int] = []
    report = Pipeline().source(range(150)).map(call, workers=10, retry=Retry(3, base=0.01)).sink(got.append).run()
    assert got == list(range(150))
    assert meter.peak == 10
    assert report.calls == 150 + 2 * 50


def test_a_hidden_retry_shows_as_calls_a_row_L56() -> None:
    report = Pipeline().source(range(10)).map(flaky(1, TransientError), retry=Retry(2, base=0.001)).run()
    assert "2.00 a row" in str(report)


def test_progress_is_told_by_time_and_exact_at_the_end_L28() -> None:
    said = io.StringIO()
    shown = progress_of(stream=said, every=0.05)
    report = Pipeline("job").source(range(100)).map(Meter(0.01), workers=4).run(progress=shown)
    lines = said.getvalue().splitlines()
    assert 2 <= len(lines) <= 20
    assert "100 of 100 rows" in lines[-1]
    assert report.delivered == 100
