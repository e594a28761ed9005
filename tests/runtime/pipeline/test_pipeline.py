"""Pipelines on threads, from outside."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pykka
import pytest
from loguru import logger

from headrace.runtime import (
    ConfigError,
    Flow,
    Limit,
    Pipeline,
    RateLimited,
    Retry,
    RunFailed,
    RunReport,
    TransientError,
    current_call,
)


def accounted(report: RunReport) -> bool:
    ended = report.delivered + report.dropped + report.quarantined + report.failed + report.interrupted
    return ended == report.rows


def test_rows_come_out_in_order_whatever_takes_how_long() -> None:
    got: list[int] = []

    def jumble(x: int) -> int:
        time.sleep((x * 7 % 5) / 1000)
        return x

    report = Pipeline().source(range(200)).map(jumble).sink(got.append).run()
    assert got == list(range(200))
    assert (report.delivered, report.rows, report.state) == (200, 200, "completed")


def test_coroutine_functions_run_at_the_same_time_and_come_out_in_order() -> None:
    got: list[int] = []
    running = peak = 0

    async def jumble(x: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep((x * 7 % 5) / 1000)
        running -= 1
        return x

    Pipeline().source(range(1000)).map(jumble, workers=100).sink(got.append).run()
    assert got == list(range(1000))
    assert 50 < peak <= 100


def test_many_rows_through_several_stages() -> None:
    got: list[int] = []
    pipeline = Pipeline().source(range(50_000)).map(lambda x: x + 1).map(lambda x: x * 2, workers=3)
    report = pipeline.sink(got.append).run()
    assert got == [(x + 1) * 2 for x in range(50_000)]
    assert [s.calls.calls for s in report.stages] == [50_000, 50_000]


def test_an_empty_source_ends_well() -> None:
    assert Pipeline().source([]).map(str).run().rows == 0


def test_a_transient_error_is_tried_again_and_a_permanent_one_is_quarantined_in_place() -> None:
    got: list[int] = []
    bad: list[dict[str, Any]] = []
    tries: dict[int, int] = {}

    def flaky(x: int) -> int:
        tries[x] = tries.get(x, 0) + 1
        if x % 10 == 3 and tries[x] < 3:
            raise TransientError("again")
        if x % 10 == 7:
            raise ValueError(f"no {x}")
        return x

    pipeline = Pipeline().source(range(50)).map(flaky, retry=Retry(3, base=0.001), name="flaky")
    report = pipeline.sink(got.append).quarantine(bad.append).run()
    assert got == [x for x in range(50) if x % 10 != 7]
    assert sorted(b["row"] for b in bad) == [7, 17, 27, 37, 47]
    bad.sort(key=lambda b: b["seq"])
    assert bad[0] == {
        "seq": 7, "branch": "", "stage": "flaky", "error": "ValueError", "message": "no 7", "attempts": 1, "row": 7,
    }  # fmt: skip
    assert {x: n for x, n in tries.items() if n > 1} == dict.fromkeys([3, 13, 23, 33, 43], 3)
    assert (report.delivered, report.quarantined) == (45, 5)


def test_fifty_workers_refused_at_once_make_few_cooldowns_and_lose_no_row_L09_L11() -> None:
    got: list[int] = []
    lock = threading.Lock()
    open_at = time.monotonic() + 0.2
    refused = 0

    def call(x: int) -> int:
        nonlocal refused
        if time.monotonic() < open_at:
            with lock:
                refused += 1
            raise RateLimited(retry_after=max(0.0, open_at - time.monotonic()))
        return x

    report = (
        Pipeline().source(range(500)).map(call, workers=50, limit=Limit(concurrency=50), retry=1).sink(got.append).run()
    )
    assert got == list(range(500))
    assert report.refusals == refused
    assert report.cooldowns <= 2


def test_a_hung_thread_costs_one_attempt_of_its_row_and_is_replaced_L05() -> None:
    got: list[int] = []
    let_go = threading.Event()
    attempts: list[int] = []

    def call(x: int) -> int:
        if x == 5:
            attempts.append(current_call().attempt)
            if len(attempts) == 1:
                threading.current_thread().name = "hang"
                let_go.wait(30)
        return x

    try:
        report = Pipeline().source(range(20)).map(call, workers=2, timeout=0.2).sink(got.append).run()
    finally:
        let_go.set()
    assert got == list(range(20))
    assert attempts == [1, 2]
    assert report.stages[0].calls.unknown == 1
    assert report.stages[0].calls.workers_lost == 1


def test_a_coroutine_that_takes_too_long_is_cancelled_and_its_fate_is_unknown_L49() -> None:
    cancelled: list[int] = []
    bad: list[dict[str, Any]] = []

    async def call(x: int) -> int:
        if x == 3:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.append(x)
                raise
        return x

    pipeline = Pipeline().source(range(10)).map(call, timeout=0.1, on_unknown="quarantine")
    report = pipeline.quarantine(bad.append).run()
    assert cancelled == [3]
    assert [(b["row"], b["error"]) for b in bad] == [(3, "AttemptTimedOut")]
    assert (report.delivered, report.quarantined) == (9, 1)


def test_a_row_s_deadline_covers_its_waits_L06_L15() -> None:
    bad: list[dict[str, Any]] = []

    def refuse(x: int) -> int:
        raise RateLimited(retry_after=20.0)

    began = time.monotonic()
    Pipeline().source(range(3)).map(refuse, deadline=0.3).quarantine(bad.append).run()
    assert time.monotonic() - began < 10
    assert [b["error"] for b in bad] == ["DeadlineExceeded"] * 3


class Own(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError, Own, GeneratorExit])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_that_user_code_raises_reaches_the_application_s_actors_L31(
    error: type[BaseException], asynchronous: bool
) -> None:
    class Bystander(pykka.ThreadingActor):
        def on_receive(self, message: object) -> object:
            return message

    bystander = Bystander.start()

    def call(x: int) -> int:
        if x == 2:
            raise error
        return x

    async def acall(x: int) -> int:
        return call(x)

    try:
        report = Pipeline().source(range(5)).map(acall if asynchronous else call).run()
        assert (report.delivered, report.quarantined) == (4, 1)
        assert bystander.ask("alive?") == "alive?"
    finally:
        bystander.stop()


class Strategy:
    def __init__(self) -> None:
        self.events: list[str] = []

    def prepare(self) -> None:
        self.events.append("prepare")

    def __call__(self, x: int) -> int:
        assert self.events == ["prepare"]
        return x

    def close(self) -> None:
        self.events.append("close")


def test_a_strategy_is_prepared_once_and_closed_once_however_many_stages_share_it_L17() -> None:
    strategy = Strategy()
    Pipeline().source(range(100)).map(strategy).map(strategy).run()
    assert strategy.events == ["prepare", "close"]


def test_what_was_opened_before_a_later_open_failed_is_closed_L21() -> None:
    class Prepared(Strategy):
        pass

    class Broken(Strategy):
        def prepare(self) -> None:
            raise OSError("no such model")

    first = Prepared()
    with pytest.raises(RunFailed, match="no such model") as caught:
        Pipeline().source([1]).map(first).map(Broken()).run()
    assert first.events == ["prepare", "close"]
    assert isinstance(caught.value.__cause__, OSError)


def test_an_error_of_close_hides_nothing_and_fails_nothing_L17_L19() -> None:
    class Untidy(Strategy):
        def close(self) -> None:
            raise OSError("will not close")

    report = Pipeline().source([1]).map(Untidy()).run()
    assert report.state == "completed"
    assert any("will not close" in note for note in report.notes)


def test_a_source_that_fails_midway_fails_the_run_and_what_it_gave_is_accounted_for() -> None:
    def rows() -> Iterator[int]:
        yield from range(10)
        raise OSError("disk gone")

    with pytest.raises(RunFailed, match="disk gone") as caught:
        Pipeline().source(rows()).map(str).run()
    report = caught.value.report
    assert isinstance(report, RunReport)
    assert report.rows == 10
    assert accounted(report)


def test_a_sink_that_fails_ends_the_run_by_name() -> None:
    def sink(x: int) -> None:
        if x == 30:
            raise OSError("disk full")

    with pytest.raises(RunFailed, match="disk full") as caught:
        Pipeline().source(range(100_000)).map(int).sink(sink).run()
    report = caught.value.report
    assert isinstance(report, RunReport)
    assert accounted(report)
    assert report.interrupted > 0


def test_on_error_fail_ends_the_run_with_the_row_s_error() -> None:
    def call(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x

    with pytest.raises(RunFailed) as caught:
        Pipeline().source(range(10)).map(call, on_error="fail").run()
    assert isinstance(caught.value.__cause__, ValueError)


def test_on_error_drop_leaves_a_gap_that_is_counted() -> None:
    def call(x: int) -> int:
        if x % 2:
            raise ValueError("odd")
        return x

    got: list[int] = []
    report = Pipeline().source(range(100)).map(call, on_error="drop").sink(got.append).run()
    assert got == list(range(0, 100, 2))
    assert (report.dropped, report.delivered) == (50, 50)


def test_a_run_gone_wrong_is_ended_by_max_quarantined() -> None:
    def call(x: int) -> int:
        raise ValueError("all bad")

    with pytest.raises(RunFailed, match="max_quarantined"):
        Pipeline().source(range(100_000)).map(call).run(max_quarantined=0.1)


def test_drain_in_the_middle_delivers_what_is_under_way_L02() -> None:
    got: list[int] = []
    begun = threading.Event()

    def call(x: int) -> int:
        begun.set()
        time.sleep(0.001)
        return x

    def endless() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    run = Pipeline(window=100).source(endless()).map(call, workers=8).sink(got.append).start()
    assert begun.wait(10)
    run.drain()
    report = run.wait(10)
    assert report.state == "drained"
    assert got == list(range(report.rows))
    assert report.interrupted == 0


def test_a_drain_does_not_wait_for_a_quiet_source_L48() -> None:
    let_go = threading.Event()

    def quiet() -> Iterator[int]:
        yield 1
        threading.current_thread().name = "hang"
        let_go.wait(30)

    got: list[int] = []
    run = Pipeline().source(quiet()).map(int).sink(got.append).start()
    run.drain()
    # The rows are done with while the source still sleeps; only its close has to wait for it, and not for ever.
    timer = threading.Timer(1.5, let_go.set)
    timer.start()
    report = run.wait(10)
    timer.join()
    assert report.state == "drained"
    assert report.interrupted == 0


def test_abort_interrupts_the_rows_that_have_no_outcome_and_names_why_L03() -> None:
    begun = threading.Event()

    async def call(x: int) -> int:
        begun.set()
        await asyncio.sleep(30)
        return x

    run = Pipeline().source(range(1000)).map(call, workers=10).start()
    assert begun.wait(10)
    began = time.monotonic()
    run.abort("enough")
    report = run.wait(20)
    assert time.monotonic() - began < 20, "it does not wait for calls that take half a minute"
    assert report.state == "aborted"
    assert report.interrupted == report.rows > 0
    assert "enough" in report.notes


def test_a_window_bounds_the_rows_under_way_L30() -> None:
    taken = 0
    written = 0
    most = 0

    def rows() -> Iterator[int]:
        nonlocal taken, most
        for x in range(5000):
            taken += 1
            most = max(most, taken - written)
            yield x

    def sink(x: int) -> None:
        nonlocal written
        written += 1

    Pipeline(window=64).source(rows()).map(int).sink(sink).run()
    assert written == 5000
    assert most <= 64 + 1


def test_a_stated_rate_is_kept() -> None:
    began = time.monotonic()
    report = Pipeline().source(range(60)).map(int, limit="100/s").run()
    elapsed = time.monotonic() - began
    assert report.delivered == 60
    assert elapsed >= (60 - 2) / 100


def test_each_key_has_a_budget_of_its_own() -> None:
    seen: list[tuple[str, float]] = []

    def call(row: tuple[str, int]) -> None:
        seen.append((row[0], time.monotonic()))

    rows = [("slow", i) for i in range(10)] + [("other", 0)]
    limit = Limit("20/s", key=lambda row: row[0])
    Pipeline().source(rows).map(call, limit=limit, workers=2).run()
    order = [name for name, _ in seen]
    assert order.index("other") <= 2


def test_weights_draw_on_their_own_rate() -> None:
    began = time.monotonic()
    limit = Limit("1000/s", "100 tokens/s", cost=lambda x: 10)
    report = Pipeline().source(range(8)).map(int, limit=limit).run()
    assert report.delivered == 8
    assert time.monotonic() - began >= 0.6


def test_two_runs_that_name_a_limit_share_it_and_its_governor_ends_with_them() -> None:
    def limited() -> Flow[Any]:
        return Pipeline().source(range(30)).map(int, limit=Limit("100/s", name="shared"))

    began = time.monotonic()
    first, second = limited().start(), limited().start()
    assert first.wait(10).delivered == second.wait(10).delivered == 30
    assert time.monotonic() - began >= 58 / 100


def test_an_async_source_and_awaiting_a_run() -> None:
    async def rows() -> AsyncIterator[int]:
        for x in range(100):
            yield x

    got: list[int] = []

    async def main() -> RunReport:
        return await Pipeline().source(rows()).map(int).sink(got.append).start()

    assert asyncio.run(main()).delivered == 100
    assert got == list(range(100))


def test_a_row_s_key_is_the_same_in_each_attempt_and_no_other_row_s_L49() -> None:
    keys: dict[int, set[str]] = {}

    def call(x: int) -> int:
        info = current_call()
        keys.setdefault(x, set()).add(info.key)
        if info.attempt == 1:
            raise TransientError
        return x

    Pipeline().source(range(5)).map(call, retry=Retry(2, base=0.001)).run()
    assert all(len(of_one) == 1 for of_one in keys.values())
    assert len(set.union(*keys.values())) == 5


def test_an_outage_burns_no_attempts_and_rows_wait_it_out_L40() -> None:
    back_at = time.monotonic() + 1.0

    def call(x: int) -> int:
        if time.monotonic() < back_at:
            raise ConnectionError("refused")
        return x

    report = Pipeline().source(range(500)).map(call, workers=32, retry=Retry(3, base=0.01)).run()
    assert report.delivered == 500
    assert report.calls < 500 + 100


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pipeline().run(), "no source"),
        (lambda: Pipeline(window=0), "window=0"),
        (lambda: Pipeline().map(cast(Any, 3)), "not callable"),
        (lambda: Pipeline().map(str, workers=0), "workers=0"),
        (lambda: Pipeline().map(str, timeout=0), "timeout=0"),
        (lambda: Pipeline().map(str, name="a").map(str, name="a"), "two nodes"),
        (lambda: Limit("fast"), "reads like '200/s'"),
        (lambda: Limit("3/fortnight"), "unknown period"),
        (lambda: Limit("100 tokens/s"), "cost="),
        (lambda: Retry(0), "at least 1"),
    ],
)
def test_what_cannot_be_is_said_when_it_is_written(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_a_coroutine_that_does_not_let_itself_be_cancelled_is_left_behind() -> None:
    async def stubborn(x: int) -> int:
        if x == 0 and current_call().attempt == 1:
            while True:
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    if stop.is_set():
                        raise
        return x

    stop = threading.Event()
    got: list[int] = []
    run = Pipeline().source(range(5)).map(stubborn, workers=1, timeout=0.05).sink(got.append).start()
    while len(got) < 5:
        run.stats()
    stop.set()
    report = run.wait()
    assert got == list(range(5))
    assert report.stages[0].calls.unknown == 1


def test_logs_are_silent_unless_enabled_and_name_run_stage_and_row() -> None:
    def refuse_once(x: int) -> int:
        if x == 7:
            raise ValueError("the secret of row 7")
        if x == 3 and not refused:
            refused.append(x)
            raise RateLimited(retry_after=0.01)
        return x

    said: list[Any] = []
    handler = logger.add(said.append, level="DEBUG", format="{message}", backtrace=False, diagnose=False)
    try:
        refused = [0]
        Pipeline().source(range(10)).map(refuse_once, name="call").run()
        assert said == []
        logger.enable("headrace")
        refused = []
        report = Pipeline("logged").source(range(10)).map(refuse_once, name="call").run()
    finally:
        logger.disable("headrace")
        logger.remove(handler)
    assert report.refusals == 1
    records = [message.record for message in said]
    assert len({record["extra"]["run"] for record in records if "run" in record["extra"]}) == 1
    texts = [record["message"] for record in records]
    assert any(text.startswith("call: closed (refused)") for text in texts)
    (bad,) = [record for record in records if record["level"].name == "WARNING"]
    assert (bad["extra"]["stage"], bad["extra"]["row"]) == ("call", 7)
    assert not any("secret" in text for text in texts)


def test_calls_that_all_hang_end_the_run_by_name_and_do_not_pile_up_threads_L05() -> None:
    never = threading.Event()

    def hang(x: int) -> int:
        threading.current_thread().name += " hangs"
        never.wait(20)
        return x

    run = Pipeline().source(range(100)).map(hang, workers=2, timeout=0.02, retry=Retry(50, base=0.001)).start()
    report = run.wait_ended(20)
    never.set()
    assert report.state == "failed"
    with pytest.raises(RunFailed, match="has lost 9 workers to hung or crashed calls"):
        run.wait()


def test_a_limit_is_changed_while_the_run_goes_on() -> None:
    run = Pipeline().source(range(50)).map(abs, limit="1/h").start()
    with pytest.raises(TimeoutError):
        run.wait(0.1)
    run.set_limit("10000/s")
    assert run.wait(10).delivered == 50


def test_several_strategies_that_cannot_be_closed_are_all_named_L19() -> None:
    class Bad:
        def __init__(self, name: str) -> None:
            self._name = name

        def __call__(self, x: int) -> int:
            return x

        def close(self) -> None:
            raise OSError(self._name)

    report = Pipeline().source([1]).map(Bad("one"), name="a").map(Bad("two"), name="b").run()
    assert report.state == "completed"
    (note,) = report.notes
    assert "two" in note
    assert "one" in note
