"""The caller's own event loop (L80): calls run where the application's clients are, and whoever goes away is heard of."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from loguru import logger
from tests.actors.fake import Name

from headrace.actors.protocol import Answered, Assign, State
from headrace.runtime import ConfigError, Executor, Pipeline, Retry, RunFailed
from headrace.runtime.calls.coroutines import LoopCalls
from headrace.runtime.errors import DeadlineExceeded, LoopDied
from headrace.runtime.hosts.threads.caller_loop import CallerLoop

WAIT_S = 30.0


class Client:
    """What belongs to the loop that it was made on, as clients and connection pools do."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._connections = asyncio.Semaphore(2)

    async def ask(self, row: int) -> int:
        assert asyncio.get_running_loop() is self._loop, "a client of another loop"
        async with self._connections:
            await asyncio.sleep(0.001)
        return row * 2


def test_a_run_calls_on_the_loop_of_whoever_awaits_it_L80() -> None:
    async def main() -> list[int]:
        client = Client()
        got: list[int] = []
        report = await Pipeline().source(range(40)).map(client.ask, workers=8).sink(got.append).run_async()
        assert (report.state, report.delivered) == (State.COMPLETED, 40)
        return got

    assert asyncio.run(main()) == [row * 2 for row in range(40)]


def test_so_does_a_stream_and_a_run_that_is_started_L80() -> None:
    async def main() -> None:
        client = Client()
        pipeline = Pipeline().source(range(40)).map(client.ask, workers=8)
        assert [outcome.value async for outcome in pipeline.stream(loop="caller")] == [row * 2 for row in range(40)]
        async with pipeline.sink(lambda row: None).start(loop="caller") as run:
            assert (await run).delivered == 40

    asyncio.run(main())


def test_all_that_is_asynchronous_runs_there_L80() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        where: dict[str, Any] = {}

        def note(what: str) -> None:
            where[what] = asyncio.get_running_loop()

        async def rows() -> AsyncIterator[int]:
            note("source")
            yield 1

        class Strategy:
            async def prepare(self) -> None:
                note("prepare")

            async def close(self) -> None:
                note("close")

            async def __call__(self, row: int) -> int:
                note("call")
                return row

        async def hidden(row: int) -> int:
            note("hidden")
            return row

        async def save(row: int) -> None:
            note("sink")

        await Pipeline().source(rows()).map(Strategy()).map(lambda row: hidden(row)).sink(save).run_async()
        assert where == dict.fromkeys(["source", "prepare", "call", "hidden", "sink", "close"], loop)

    asyncio.run(main())


def test_an_executor_calls_on_the_loop_that_it_was_opened_on_L80() -> None:
    async def main() -> None:
        client = Client()
        async with Executor(4, loop="caller") as executor:
            assert await asyncio.gather(*(executor.call(client.ask, row) for row in range(20))) == [*range(0, 40, 2)]
            assert await asyncio.wrap_future(executor.submit(client.ask, 21)) == 42
            outcomes = await asyncio.to_thread(executor.execute_batch, client.ask, range(5), WAIT_S)
            assert [outcome.value for outcome in outcomes] == [0, 2, 4, 6, 8]
            # A function that is none of a coroutine goes on a thread, and what it gives is awaited here.
            assert await executor.call(lambda row: client.ask(row), 4) == 8
            assert await executor.call(time.strftime, "%%") == "%"
        with pytest.raises(RuntimeError, match="after shutdown"):
            await executor.call(client.ask, 1)

    asyncio.run(main())


async def _ask(row: int) -> int:
    return row


def test_where_no_loop_runs_there_is_no_caller_s_loop_L80() -> None:
    pipeline = Pipeline().source([1]).map(_ask)
    for begin in (
        lambda: Executor(1, loop="caller"),
        lambda: pipeline.start(loop="caller"),
        lambda: next(pipeline.stream(loop="caller")),
        lambda: pipeline.run(loop="caller"),
        lambda: Executor(1, loop="mine"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=r"'caller'"):
            begin()


def test_what_would_block_the_loop_of_its_own_calls_says_so_L80() -> None:
    async def main() -> None:
        pipeline = Pipeline().source([1]).map(_ask)
        with pytest.raises(ConfigError, match=r"run\(\) would block the event loop .* await run_async"):
            pipeline.run(loop="caller")
        with pytest.raises(ConfigError, match="use `async for`"):
            next(pipeline.stream(loop="caller"))
        run = pipeline.start(loop="caller")
        blocking: list[Callable[[], Any]] = [run.wait, run.wait_ended, run.__enter__]
        for block in blocking:
            with pytest.raises(ConfigError, match=r"would block the event loop .*(await the run|async with)"):
                block()
        await run
        assert run.wait().delivered == 1, "what has ended blocks nobody"
        async with Executor(1, loop="caller") as executor:
            never = executor.submit(asyncio.Event().wait)
            blocking = [
                executor.shutdown,
                executor.__enter__,
                never.result,
                never.exception,
                lambda: executor.execute_batch(_ask, [1]),
            ]
            for block in blocking:
                with pytest.raises(ConfigError, match=r"would block the event loop .*(await|async with)"):
                    block()
            executor.abort("enough")

    asyncio.run(main())


@pytest.mark.parametrize("loop", ["own", "caller"])
def test_whoever_is_cancelled_cancels_the_call_that_he_awaits_and_no_other_L80(loop: Any) -> None:
    async def main() -> None:
        began, cancelled, others = asyncio.Event(), threading.Event(), 0
        mine = asyncio.get_running_loop()

        async def hang() -> None:
            mine.call_soon_threadsafe(began.set)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        # One worker: what comes next takes the same place.
        async with Executor(1, retry=Retry(3, base=0.001), loop=loop) as executor:
            for _ in range(20):
                began.clear()
                cancelled.clear()
                waiting = asyncio.create_task(executor.call(hang))
                await began.wait()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                others += await executor.call(_ask, 1)
                assert cancelled.is_set()
            assert others == 20
            assert executor.stats().calls == 40, "what was cancelled is not tried again"

    asyncio.run(main())


@pytest.mark.parametrize("loop", ["own", "caller"])
def test_the_deadline_of_a_call_covers_its_waits_and_ends_it_L06_L80(loop: Any) -> None:
    async def main() -> None:
        async with Executor(1, loop=loop) as executor:
            hanging = asyncio.create_task(executor.call(asyncio.sleep, 3600.0))
            # It has its turn, and is the first to submit.
            await asyncio.sleep(0)
            began: list[int] = []

            async def begin() -> None:
                began.append(1)

            try:
                with pytest.raises(DeadlineExceeded, match=r"no answer of begin within 0.05 s"):
                    await executor.call(begin, deadline=0.05)
            finally:
                hanging.cancel()
            with pytest.raises(DeadlineExceeded, match="no answer of sleep"):
                await executor.call(asyncio.sleep, 3600.0, deadline=0.05)
            assert await executor.call(_ask, 5, deadline=WAIT_S) == 5
            assert began == [], "it waited for its turn, and nobody wants it any more"
            with pytest.raises(ConfigError, match="deadline"):
                await executor.call(_ask, 1, deadline=-1.0)

            async def late() -> None:
                raise TimeoutError("its own")

            with pytest.raises(TimeoutError, match="its own"):
                await executor.call(late, deadline=WAIT_S)

    asyncio.run(main())


def test_the_answer_of_a_thread_that_nobody_awaits_is_dropped_and_that_is_said_L80() -> None:
    said: list[str] = []
    logger.enable("headrace")
    sink = logger.add(lambda message: said.append(message.record["message"]), level="INFO")

    async def main() -> None:
        began, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slow() -> str:
            loop.call_soon_threadsafe(began.set)
            go_on.wait(WAIT_S)
            return "too late"

        async with Executor(1) as executor:
            waiting = asyncio.create_task(executor.call(slow))
            await began.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            behind = asyncio.create_task(executor.call(_ask, 1))
            go_on.set()
            assert await behind == 1

    try:
        asyncio.run(main())
    finally:
        logger.remove(sink)
        logger.disable("headrace")
    assert [line for line in said if "slow" in line] == [
        "slow is under way on a thread and nobody waits for it any more: its answer will be dropped"
    ]


def _ended_by_itself(thread_s: float, body: Callable[[], Any]) -> Any:
    """What `body` gives on a thread of its own; a hang is an error."""
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(body())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(thread_s)


ENDS = ["asyncio.run", "closed", "closed, and all tasks cancelled"]


def _leave_behind(end: str, begin: Callable[[], Any]) -> Any:
    """Run `begin()` on a loop, and end that loop in this way."""

    async def main() -> Any:
        begun = asyncio.Event()
        left = begin_on(begun)
        await begun.wait()
        return left

    def begin_on(begun: asyncio.Event) -> Any:
        async def hang(row: int) -> None:
            begun.set()
            await asyncio.sleep(3600)

        return begin()(hang)

    if end == "asyncio.run":
        return asyncio.run(main())
    loop = asyncio.new_event_loop()
    try:
        left = loop.run_until_complete(main())
        if "cancelled" in end:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    finally:
        loop.close()
    return left


@pytest.mark.parametrize("end", ENDS)
def test_the_death_of_the_caller_s_loop_is_told_to_a_run_L69_L80(end: str) -> None:
    def body() -> None:
        source = Pipeline().source(range(3))
        run = _leave_behind(end, lambda: lambda hang: source.map(hang).sink(lambda row: None).start(loop="caller"))
        if end == "closed":
            # Nobody hears of that, until something is asked of the loop.
            run.abort("it is enough")
            assert run.wait_ended(WAIT_S).state in (State.ABORTED, State.FAILED)
            return
        with pytest.raises(RunFailed, match="caller's event loop") as failed:
            run.wait(WAIT_S)
        assert isinstance(failed.value.__cause__, LoopDied)
        assert failed.value.report.delivered == 0

    _ended_by_itself(WAIT_S, body)


@pytest.mark.parametrize("end", ENDS)
def test_the_death_of_the_caller_s_loop_is_told_to_who_waits_for_an_executor_L69_L80(end: str) -> None:
    def body() -> None:
        executor: list[Executor] = []

        def begin() -> Callable[[Any], Any]:
            executor.append(Executor(2, loop="caller"))
            return lambda hang: executor[0].submit(hang, 1)

        future = _leave_behind(end, begin)
        if end == "closed":
            # The next one who asks finds out, and all are told.
            other = executor[0].submit(_ask, 1)
            assert isinstance(other.exception(WAIT_S), concurrent.futures.BrokenExecutor)
        error = future.exception(WAIT_S)
        assert isinstance(error, concurrent.futures.BrokenExecutor | LoopDied)
        assert "caller's event loop" in str(error)
        with pytest.raises(concurrent.futures.BrokenExecutor, match="caller's event loop"):
            executor[0].submit(_ask, 1)
        executor[0].shutdown()

    _ended_by_itself(WAIT_S, body)


def test_what_was_asked_of_a_loop_before_its_end_begins_no_more_after_it_L69_L80() -> None:
    made: list[int] = []

    async def call(row: int) -> None:
        made.append(row)

    async def main() -> tuple[list[Answered], BaseException | None]:
        home = CallerLoop("calls")
        answers: list[Answered] = []
        calls = LoopCalls(home, call, 2, "test")
        before = asyncio.all_tasks()
        calls.begin(Assign(1, [0, 1], [0, 1]), Name("worker"), answers.append)
        waiting = concurrent.futures.ThreadPoolExecutor(1).submit(lambda: home.run(call(2)))
        # The coroutine is with the loop, which has not had a turn since.
        while not (home._awaited and not home._mutex.locked()):
            time.sleep(0)
        home.perish()
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
        home.stop(1.0)
        return answers, waiting.exception(WAIT_S)

    answers, error = asyncio.run(main())
    assert isinstance(error, LoopDied)
    assert [answer.unstarted for answer in answers] == [[0, 1]]
    assert made == []


def test_nothing_of_ours_is_left_on_the_caller_s_loop_L80() -> None:
    async def main() -> None:
        client = Client()
        before = asyncio.all_tasks()
        await Pipeline().source(range(5)).map(client.ask).run_async()
        async with Executor(2, loop="caller") as executor:
            await executor.call(client.ask, 1)
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_loop_whose_tasks_begin_at_once_changes_nothing_L80() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
        async with Executor(4, loop="caller") as executor:
            # Each call has another context, so another slot; none of them ever waits.
            assert await asyncio.gather(*(executor.call(_ask, row) for row in range(500))) == [*range(500)]
        report = await Pipeline().source(range(500)).map(_ask, workers=4).run_async()
        assert report.delivered == 500

    asyncio.run(main())
