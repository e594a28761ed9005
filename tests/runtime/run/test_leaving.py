"""Leaving early: whichever way one leaves a stream or a run, it takes no longer than the drain time-out, although a call
hangs; and calls that end in time are finished."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.actors.protocol import State
from headrace.runtime import Pipeline, RunFailed
from headrace.runtime.run.stream import Stream
from headrace.scenarios.testing import drain, simulate

HANGS_S = 120.0
BOUND_S = 30.0
"""Only one who waits for the call takes so long."""


class Calls:
    """Row 3 hangs until it is let go; the others answer at once. `cancelled`: the coroutine was."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.let_go = threading.Event()
        self.cancelled = threading.Event()

    def sync(self, row: int) -> int:
        if row == 3:
            threading.current_thread().name += ", which hangs"
            self.hangs.set()
            self.let_go.wait(HANGS_S)
        return row

    async def coroutine(self, row: int) -> int:
        if row == 3:
            self.hangs.set()
            try:
                await asyncio.sleep(HANGS_S)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return row


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls()
    yield made
    made.let_go.set()


def stream_of(calls: Calls, kind: str, **options: Any) -> Stream[Any]:
    function = getattr(calls, kind)
    return Pipeline(window=16).source(range(100_000)).map(function, workers=4).stream(drain_timeout=0.05, **options)


def by_break(calls: Calls, kind: str) -> None:
    for outcome in stream_of(calls, kind):
        if outcome.seq == 2:
            calls.hangs.wait(BOUND_S)
            break


def by_an_error(calls: Calls, kind: str) -> None:
    def read() -> None:
        with stream_of(calls, kind) as stream:
            for _ in stream:
                calls.hangs.wait(BOUND_S)
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        read()


def by_dropping_it(calls: Calls, kind: str) -> None:
    stream = stream_of(calls, kind)
    next(stream)
    calls.hangs.wait(BOUND_S)
    del stream
    gc.collect()


async def _read(calls: Calls, kind: str, began: asyncio.Event, loop: Any = "own") -> None:
    async with stream_of(calls, kind, loop=loop) as stream:
        async for outcome in stream:
            if outcome.seq == 2:
                began.set()


async def _cancelled(work: Any, calls: Calls, began: asyncio.Event) -> None:
    task = asyncio.create_task(work)
    await began.wait()
    await asyncio.to_thread(calls.hangs.wait, BOUND_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def by_cancelling_its_task(calls: Calls, kind: str) -> None:
    async def main() -> None:
        began = asyncio.Event()
        await _cancelled(_read(calls, kind, began), calls, began)

    asyncio.run(main())


def by_cancelling_on_the_loop_of_the_calls(calls: Calls, kind: str) -> None:
    async def main() -> None:
        began = asyncio.Event()
        await _cancelled(_read(calls, kind, began, "caller"), calls, began)

    asyncio.run(main())


def by_the_end_of_the_loop(calls: Calls, kind: str) -> None:
    async def main() -> None:
        async for outcome in stream_of(calls, kind):
            if outcome.seq == 2:
                break
        await asyncio.to_thread(calls.hangs.wait, BOUND_S)

    asyncio.run(main())


def by_cancelling_a_run(calls: Calls, kind: str) -> None:
    async def main() -> None:
        began = asyncio.Event()
        began.set()
        pipeline = Pipeline().source(range(100)).map(getattr(calls, kind), workers=4).sink(lambda row: None)
        await _cancelled(pipeline.run_async(drain_timeout=0.05), calls, began)

    asyncio.run(main())


def by_a_time_limit(calls: Calls, kind: str) -> None:
    async def main() -> None:
        pipeline = Pipeline().source(range(100)).map(getattr(calls, kind), workers=4).sink(lambda row: None)

        async def run(scope: asyncio.Timeout) -> None:
            async with scope:
                await pipeline.run_async(drain_timeout=0.05)

        scope = asyncio.timeout(None)
        running = asyncio.create_task(run(scope))
        await asyncio.to_thread(calls.hangs.wait, BOUND_S)
        scope.reschedule(asyncio.get_running_loop().time())
        with pytest.raises(TimeoutError):
            await running

    asyncio.run(main())


WAYS: list[Callable[[Calls, str], None]] = [
    by_break,
    by_an_error,
    by_dropping_it,
    by_cancelling_its_task,
    by_cancelling_on_the_loop_of_the_calls,
    by_the_end_of_the_loop,
    by_cancelling_a_run,
    by_a_time_limit,
]


@pytest.mark.parametrize("kind", ["sync", "coroutine"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_leaving_while_a_call_hangs_takes_no_longer_than_the_drain_timeout_L30_L34(
    way: Callable[[Calls, str], None], kind: str, calls: Calls
) -> None:
    began = time.monotonic()
    way(calls, kind)
    assert time.monotonic() - began < BOUND_S
    assert calls.hangs.is_set(), "nothing hung, so nothing was tried"
    assert not calls.let_go.is_set()
    assert kind == "sync" or calls.cancelled.wait(BOUND_S)


def test_who_is_cancelled_once_more_does_not_wait_at_all(calls: Calls) -> None:
    async def main() -> None:
        pipeline = Pipeline().source(range(100)).map(calls.coroutine, workers=4).sink(lambda row: None)
        task = asyncio.create_task(pipeline.run_async(drain_timeout=HANGS_S))
        await asyncio.to_thread(calls.hangs.wait, BOUND_S)
        task.cancel()
        # Its turn, in which it begins to drain.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The run was aborted, though nobody waits for it.
        await asyncio.to_thread(calls.cancelled.wait, BOUND_S)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < BOUND_S
    assert calls.cancelled.is_set()


def test_calls_that_end_in_time_are_finished_and_none_begins_anew() -> None:
    begun: list[int] = []
    ended: list[int] = []
    leaving = threading.Event()

    async def call(row: int) -> int:
        begun.append(row)
        if row > 2:
            await asyncio.to_thread(leaving.wait, BOUND_S)
        ended.append(row)
        return row

    for outcome in Pipeline(window=8).source(range(1000)).map(call, workers=2).stream(drain_timeout=BOUND_S):
        if outcome.seq == 2:
            leaving.set()
            break
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 2 + 3 * 8


def test_cancelling_who_awaits_a_run_does_not_touch_it() -> None:
    go_on = threading.Event()

    def call(row: int) -> int:
        go_on.wait(BOUND_S)
        return row

    async def main() -> None:
        run = Pipeline().source(range(5)).map(call).sink(lambda row: None).start()
        waiting = asyncio.create_task(_await(run))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        assert (await run).delivered == 5

    async def _await(run: Any) -> Any:
        return await run

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_a_drain_that_takes_too_long_becomes_an_abort_in_virtual_time_L34(seed: int) -> None:
    async def hang(row: int) -> int:
        await asyncio.sleep(3600 if row == 3 else 0.1)
        return row

    pipeline = Pipeline().source(range(10_000)).map(hang, workers=4).sink(lambda row: None)
    simulated = simulate(pipeline, seed=seed, faults=[drain(at=10.0)], drain_timeout=7.0)
    assert 17.0 <= simulated.elapsed_s < 18.0
    assert simulated.state is State.FAILED
    assert "not drained within 7 s" in str(simulated.errors[0])


def test_leaving_an_async_with_block_by_an_error_aborts_the_run(calls: Calls) -> None:
    async def main() -> Any:
        pipeline = Pipeline().source(range(100)).map(calls.coroutine, workers=4).sink(lambda row: None)
        run = pipeline.start(loop="caller")

        async def hold() -> None:
            async with run:
                await asyncio.to_thread(calls.hangs.wait, BOUND_S)
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await hold()
        return run.wait_ended()

    assert asyncio.run(main()).state is State.ABORTED
    assert calls.cancelled.is_set()


def test_a_run_that_fails_under_run_async_raises_as_run_does() -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(RunFailed, match="the disk is gone"):
        asyncio.run(Pipeline().source(rows()).sink(lambda row: None).run_async())
