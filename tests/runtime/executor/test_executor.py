"""Executors, from outside: what `concurrent.futures` promises, and what Headrace adds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from headrace.runtime import Executor, Limit, RateLimited, Retry, RunAborted, TransientError, current_call
from headrace.runtime.executor.futures import CallFuture


def twice(x: int) -> int:
    return 2 * x


async def thrice(x: int) -> int:
    await asyncio.sleep(0)
    return 3 * x


def test_functions_and_coroutine_functions_are_called() -> None:
    with Executor(4) as executor:
        assert executor.submit(twice, 2).result(5) == 4
        assert executor.submit(thrice, 2).result(5) == 6
        assert list(executor.map(twice, range(100), chunksize=7)) == [2 * x for x in range(100)]


def test_an_error_is_the_callers_own() -> None:
    def fail() -> None:
        raise KeyError("mine")

    with Executor(2) as executor:
        error = executor.submit(fail).exception(5)
        assert isinstance(error, KeyError)
        assert executor.submit(twice, 1).result(5) == 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_nothing_that_a_call_raises_ends_the_executor_L31(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind

    with Executor(2) as executor:
        assert isinstance(executor.submit(fail).exception(5), kind)
        assert executor.submit(twice, 1).result(5) == 2


def test_no_retry_unless_asked_for() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise ConnectionError

    with Executor(1) as executor:
        assert isinstance(executor.submit(fail).exception(5), ConnectionError)
    assert len(calls) == 1


def test_retry_tries_again_with_the_same_key_L49() -> None:
    seen = []

    def flaky() -> str:
        seen.append((current_call().key, current_call().attempt))
        if len(seen) < 3:
            raise TransientError
        return "well"

    with Executor(1, retry=Retry(5, base=0.001)) as executor:
        assert executor.submit(flaky).result(5) == "well"
    assert [attempt for _, attempt in seen] == [1, 2, 3]
    assert len({key for key, _ in seen}) == 1


def test_a_refused_call_waits_and_goes_again_L11() -> None:
    refused: list[int] = []

    def call(x: int) -> int:
        if not refused:
            refused.append(x)
            raise RateLimited(retry_after=0.05)
        return x

    with Executor(4) as executor:
        outcomes = executor.execute_batch(call, range(20))
        assert [o.value for o in outcomes] == list(range(20))
        assert executor.stats().refusals == 1


def test_a_stated_rate_is_kept() -> None:
    with Executor(8, limit=Limit("100/s", burst=1)) as executor:
        began = time.monotonic()
        executor.execute_batch(twice, range(21))
        assert time.monotonic() - began >= 0.19


def test_execute_batch_raises_for_no_rows_error() -> None:
    def invert(x: int) -> float:
        return 1 / x

    with Executor(4) as executor:
        outcomes = executor.execute_batch(invert, [1, 0, 4])
    assert [o.status for o in outcomes] == ["delivered", "quarantined", "delivered"]
    assert [o.value for o in outcomes] == [1.0, 0, 0.25]
    assert isinstance(outcomes[1].error, ZeroDivisionError)


def test_twenty_batches_at_once_get_their_own_rows_and_run_together_L07() -> None:
    meet = threading.Barrier(20, timeout=10)

    def call(x: tuple[int, int]) -> tuple[int, int]:
        time.sleep((x[0] * 7 + x[1] * 3) % 5 / 1000)
        if x[1] == 10:
            # Passed only if every batch has this row under way at the same time.
            meet.wait()
        return x

    results: dict[int, list[Any]] = {}

    def caller(n: int) -> None:
        outcomes = executor.execute_batch(call, [(n, i) for i in range(20)])
        results[n] = [o.value for o in outcomes]

    with Executor(20) as executor:
        callers = [threading.Thread(target=caller, args=(n,)) for n in range(20)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
    assert results == {n: [(n, i) for i in range(20)] for n in range(20)}


def test_a_small_batch_does_not_wait_for_a_large_one_L08() -> None:
    gate = threading.Event()

    def call(x: int) -> int:
        gate.wait(10)
        time.sleep(0.001)
        return x

    with Executor(2) as executor:
        large = [executor.submit(executor.execute_batch, call, range(0))]  # an empty one ends at once
        assert large[0].result(5) == []
        first = threading.Thread(target=executor.execute_batch, args=(call, range(2000)))
        first.start()
        while not executor.stats().rows:
            pass
        small = threading.Thread(target=executor.execute_batch, args=(call, range(5)))
        small.start()
        while executor.stats().rows < 2005:
            pass
        gate.set()
        small.join(5)
        assert not small.is_alive()
        assert first.is_alive()
        first.join()


def test_a_batch_that_times_out_frees_its_share_L08() -> None:
    gate = threading.Event()
    begun = []

    def hold(x: int) -> int:
        begun.append(x)
        gate.wait(10)
        return x

    with Executor(2) as executor:
        with pytest.raises(TimeoutError):
            executor.execute_batch(hold, range(100), timeout=0.05)
        gate.set()
        assert [o.value for o in executor.execute_batch(twice, range(10))] == [2 * x for x in range(10)]
    # Two were under way; the other 98 never began.
    assert len(begun) <= 4


def test_a_cancelled_call_does_not_begin() -> None:
    gate = threading.Event()
    began: list[int] = []
    with Executor(1) as executor:
        first = executor.submit(gate.wait, 10)
        second = executor.submit(began.append, 1)
        assert second.cancel()
        assert second.cancelled()
        done, _ = concurrent.futures.wait([second], timeout=5)
        assert done == {second}
        gate.set()
        assert first.result(5)
    assert not began


def test_abort_answers_every_waiter_with_the_reason_L03() -> None:
    gate = threading.Event()
    executor = Executor(2)
    futures = [executor.submit(gate.wait, 30) for _ in range(1000)]
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.extend(executor.execute_batch(twice, range(10))))
    waiting.start()
    while executor.stats().rows < 1010:
        pass
    began = time.monotonic()
    executor.abort("the house is on fire")
    errors = [future.exception(20) for future in futures if not future.cancelled()]
    waiting.join(20)
    assert time.monotonic() - began < 20, "it does not wait for calls that take half a minute"
    assert {str(error) for error in errors} == {"the house is on fire"}
    assert all(isinstance(error, RunAborted) for error in errors)
    assert {str(o.status) for o in answers} <= {"interrupted", "delivered"}
    gate.set()


def test_a_late_answer_reaches_nobody_L05() -> None:
    release = threading.Event()

    def slow_at_first() -> int:
        attempt = current_call().attempt
        if attempt == 1:
            threading.current_thread().name = "hangs"
            release.wait(10)
        return attempt

    with Executor(2, retry=Retry(100, base=0.001), timeout=0.1) as executor:
        future = executor.submit(slow_at_first)
        # On a busy machine, the second attempt may be overdue as well.
        answered = future.result(30)
        assert answered > 1
        release.set()
        assert future.result() == answered


def test_a_failing_initializer_breaks_the_executor() -> None:
    def fail() -> None:
        raise ValueError("no connection")

    executor = Executor(2, initializer=fail)
    with pytest.raises(concurrent.futures.BrokenExecutor, match="initializer"):
        executor.submit(twice, 1).result(5)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        executor.submit(twice, 1)
    executor.shutdown()


def test_an_initializer_runs_once_on_each_thread() -> None:
    ready = threading.local()
    count = []

    def set_up(value: int) -> None:
        ready.value = value
        count.append(1)

    with Executor(3, initializer=set_up, initargs=(7,)) as executor:
        assert set(executor.map(lambda _: ready.value, range(50))) == {7}
    assert 1 <= len(count) <= 3


def test_a_callback_that_blocks_stops_no_other_answer() -> None:
    release = threading.Event()
    with Executor(4) as executor:
        first = executor.submit(twice, 1)
        first.add_done_callback(lambda _: release.wait(10) and None)
        assert [executor.submit(twice, x).result(5) for x in range(20)] == [2 * x for x in range(20)]
        release.set()


def test_a_callback_that_raises_harms_nobody_L43() -> None:
    def fail(_: object) -> None:
        raise SystemExit

    with Executor(1) as executor:
        executor.submit(twice, 1).add_done_callback(fail)
        assert executor.submit(twice, 2).result(5) == 4


def test_awaiting_a_future_blocks_no_loop_L47() -> None:
    async def main() -> list[int]:
        with Executor(4) as executor:
            loop = asyncio.get_running_loop()
            one = await asyncio.wrap_future(executor.submit(twice, 1))
            two = await loop.run_in_executor(executor, twice, 2)
            return [one, two]

    assert asyncio.run(main()) == [2, 4]


def test_calls_that_wait_for_each_other_all_run() -> None:
    barrier = threading.Barrier(24, timeout=10)
    with Executor(24) as executor:
        assert sorted(executor.map(lambda _: barrier.wait(), range(24))) == list(range(24))


def test_nothing_outlives_its_call_L44() -> None:
    class Thing:
        def method(self) -> int:
            return 1

    with Executor(2) as executor:
        thing = Thing()
        gone = weakref.ref(thing)
        future = executor.submit(thing.method)
        assert future.result(5) == 1
        del thing
        deadline = time.monotonic() + 5
        while gone() is not None and time.monotonic() < deadline:
            gc.collect()
        assert gone() is None
        assert all(o.error for o in executor.execute_batch(lambda x: 1 / 0, range(5)))
        assert [o.value for o in executor.execute_batch(twice, range(5))] == [0, 2, 4, 6, 8]


def test_an_executor_that_nobody_holds_ends_after_its_calls() -> None:
    future = Executor(2).submit(twice, 4)
    gc.collect()
    assert future.result(5) == 8


def test_shutdown_from_a_call_of_its_own_does_not_wait_for_itself() -> None:
    executor = Executor(2)
    executor.submit(executor.shutdown).result(5)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(twice, 1)
    executor.shutdown()


def test_a_limit_is_shared_by_name_and_changed_while_in_use() -> None:
    with Executor(4, limit=Limit("1/h", name="shared")) as one, Executor(4, limit=Limit("1/h", name="shared")) as two:
        assert one.submit(twice, 1).result(5) == 2
        waiting = two.submit(twice, 2)
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        one.set_limit("1000/s")
        assert waiting.result(5) == 4


def test_a_key_has_a_budget_of_its_own() -> None:
    with Executor(4, limit=Limit("1/h", key=lambda tenant, _: tenant)) as executor:
        assert executor.submit(lambda tenant, x: x, "a", 1).result(5) == 1
        waiting = executor.submit(lambda tenant, x: x, "a", 2)
        assert executor.submit(lambda tenant, x: x, "b", 3).result(5) == 3
        assert not waiting.done()
        assert waiting.cancel()


def test_a_deadline_covers_the_waits_L06() -> None:
    with Executor(1, limit="1/h", deadline=0.05) as executor:
        executor.submit(twice, 1).result(5)
        assert isinstance(executor.submit(twice, 2).exception(5), TimeoutError)


def test_bad_options_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        Executor(0)
    with pytest.raises(TypeError, match="initializer"):
        Executor(1, initializer=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        Executor(1, timeout=-1.0)


def test_the_interpreter_ends_after_what_was_submitted() -> None:
    script = (
        "import time\nfrom headrace.runtime import Executor\nex = Executor(2)\n"
        "f = ex.submit(lambda: (time.sleep(0.2), print('called', flush=True)))\n"
        "f.add_done_callback(lambda _: print('told', flush=True))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr, done.returncode) == ("called\ntold\n", "", 0)


def test_an_abort_that_races_a_result_leaves_one_of_the_two_L04() -> None:
    for _ in range(60):
        executor = Executor(4)
        futures = [executor.submit(twice, x) for x in range(20)]
        racing = threading.Thread(target=executor.abort, args=("race",))
        racing.start()
        for x, future in enumerate(futures):
            error = future.exception(5)
            assert isinstance(error, RunAborted) if error else future.result() == 2 * x
        racing.join()
        executor.shutdown()


def test_a_future_that_was_cancelled_does_not_let_its_call_begin() -> None:
    with Executor(1) as executor:
        future = CallFuture(executor._core)
        assert future.cancel()
        assert not future.begin()
        racing = CallFuture(executor._core)
        # A cancel of which only the first half has happened.
        assert concurrent.futures.Future.cancel(racing)
        assert not racing.begin()
        other = CallFuture(executor._core)
        assert other.begin()
        assert not other.cancel()
        # Again, for a retry.
        assert other.begin()
