"""No thread of ours ends untold: each kind of thread, each kind of end, and whoever waits is answered (L43, L47, L60, L69).

A table of the threads that a run, a stream and an executor have. Each of them is ended at its outermost frame, or is not
started at all, and the run must end within its bound and say why.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.actors.protocol import State
from headrace.runtime import Executor, Flow, Pipeline, Retry
from headrace.runtime.errors import CannotStartThread, HeadraceError, LoopDied, RunFailed
from headrace.runtime.hosts.threads.dispatcher import Lanes
from headrace.runtime.run.run import Run, core_of

END_S = 30.0
"""A bound on what must end by itself: only a hang takes so long."""
ERRORS = [MemoryError("no memory"), OverflowError("timestamp too large"), SystemExit(3), RecursionError("too deep")]
RUN_THREADS = ["conductor", "shared", "strategies", "reader", "writer", "keeper", "call", "call_0", "count", "count_0"]
"""Of a run with a journal and two stages, one on threads (`count`) and one on the loop (`call`)."""
EXECUTOR_THREADS = ["desk", "threads", "loop", "governor", "replier_0", "threads_0"]


async def call(row: int) -> int:
    await asyncio.sleep(0)
    return row


def count(row: int) -> int:
    return row + 1


def rows() -> Iterator[int]:
    yield from range(50)


def pipeline() -> Flow[Any]:
    return Pipeline().source(rows()).map(call, workers=4).map(count, workers=2, retry=Retry(3, base=0.001))


def started(folder: Path) -> Run:
    return pipeline().sink(lambda row: None).start(journal=folder / "run.db")


def why(error: BaseException | None) -> str:
    """What is said of an error, and of what it came of."""
    said = []
    while error is not None:
        said.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "; ".join(said)


class Ender:
    """Ends the first thread whose name ends so, at its outermost frame, when it waits for its n-th message."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, nth: int) -> None:
        self.fired = False
        seen = 0
        get = Lanes.get

        def ending(lanes: Lanes, timeout: float | None = None) -> Any:
            nonlocal seen
            if not self.fired and threading.current_thread().name.endswith(f".{name}"):
                seen += 1
                if seen == nth:
                    self.fired = True
                    raise error
            return get(lanes, timeout)

        monkeypatch.setattr(Lanes, "get", ending)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", RUN_THREADS)
def test_a_thread_of_a_run_that_ends_is_told_and_the_run_ends_L60(
    name: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ERRORS[(RUN_THREADS.index(name) + nth // 2) % len(ERRORS)]
    ender = Ender(monkeypatch, name, error, nth)
    run = started(tmp_path)
    report = run.wait_ended(END_S)
    if name in ("call_0", "count_0") or not ender.fired:
        # A worker: one attempt is of unknown fate, and made again.
        assert (report.state, report.delivered) == (State.COMPLETED, 50)
    elif report.state is not State.COMPLETED or report.delivered != 50:
        assert report.state is State.FAILED
        assert type(error).__name__ in why(run.error)


@pytest.mark.parametrize("name", ["conductor", "shared", "writer", "reader", "count"])
def test_a_thread_that_ends_under_a_stream_is_told_to_its_reader_L60(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ender = Ender(monkeypatch, name, MemoryError("no memory"), 2)
    got: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def read() -> None:
        try:
            got.set_result(list(pipeline().stream()))
        except BaseException as error:
            got.set_exception(error)

    threading.Thread(target=read, daemon=True).start()
    error = got.exception(END_S)
    assert ender.fired
    assert isinstance(error, RunFailed)
    assert "MemoryError" in why(error)


@pytest.mark.parametrize("name", EXECUTOR_THREADS)
def test_a_thread_of_an_executor_that_ends_answers_every_caller_L60(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for nth in (1, 2, 3):
        with monkeypatch.context() as patch:
            ender = Ender(patch, name, MemoryError("no memory"), nth)
            executor = Executor(2, retry=Retry(3, base=0.001))
            futures: list[concurrent.futures.Future[int]] = []
            try:
                for row in range(20):
                    futures.append(executor.submit(count, row))
                    futures.append(executor.submit(call, row))
            except RuntimeError:
                assert ender.fired
            for future in futures:
                error = future.exception(END_S)
                assert error is None or "MemoryError" in why(error)
            executor.shutdown()


# --- threads that cannot start ---


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on, the system starts no thread whose name has this in it."""
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if name in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails)


@pytest.mark.parametrize("name", [*RUN_THREADS, "clean-up", "headrace source", "headrace signals", ".loop"])
def test_a_thread_of_a_run_that_cannot_start_is_told_by_name_L60(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, name if " " in name or name == "clean-up" else f".{name.lstrip('.')}")
    with pytest.raises((HeadraceError, OSError, RuntimeError)) as caught:
        pipeline().sink(lambda row: None).run(journal=tmp_path / "run.db")
    assert isinstance(caught.value, CannotStartThread | RunFailed)
    assert name in why(caught.value)
    assert "can't start new thread" in why(caught.value)
    # Nothing is held: the same journal can be used at once.
    monkeypatch.undo()
    assert pipeline().sink(lambda row: None).run(journal=tmp_path / "run.db").state is State.COMPLETED


def test_a_second_worker_that_cannot_start_is_told_by_name_L60(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "slow_1")

    def slow(row: int) -> int:
        time.sleep(0.005)
        return row

    run = Pipeline().source(range(100)).map(slow, workers=4).start()
    assert run.wait_ended(END_S).state is State.FAILED
    assert "slow_1" in why(run.error)


@pytest.mark.parametrize("name", [*EXECUTOR_THREADS, "parked", ".loop"])
def test_a_thread_of_an_executor_that_cannot_start_is_told_L60(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, f".{name.lstrip('.')}")
    executor: Executor | None = None
    try:
        executor = Executor(2)
        answered = [executor.submit(count, 1).exception(END_S), executor.submit(call, 1).exception(END_S)]
    except CannotStartThread as error:
        answered = [error]
    finally:
        if executor is not None:
            executor.shutdown()
    # Workers and repliers take threads that stand by.
    if name not in ("replier_0", "threads_0"):
        assert any("can't start new thread" in why(error) for error in answered)


def test_a_report_is_set_whatever_cleaning_up_runs_into_L60(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def info(self, *_: object) -> None:
            raise MemoryError("no memory")

    run = Pipeline().source(range(5)).map(count).start()
    core_of(run)._log = Broken()  # type: ignore[assignment]
    report = run.wait_ended(END_S)
    assert report.state is State.FAILED
    assert any("cleaning up failed: MemoryError" in note for note in report.notes)


# --- the loop ---


def quit_in_child(kind: type[BaseException]) -> Any:
    async def child(row: int) -> int:
        await asyncio.sleep(0.001)
        if row == 5:
            raise kind
        return row

    async def ask(row: int) -> int:
        first, _ = await asyncio.gather(child(row), child(-row))
        return first

    async def ask_in_group(row: int) -> int:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(child(row))
        return task.result()

    return ask, ask_in_group


@pytest.mark.parametrize("timeout", [None, 10.0])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_child_task_that_quits_costs_its_own_row_only_L69(kind: type[BaseException], timeout: float | None) -> None:
    for ask in quit_in_child(kind):
        run = Pipeline().source(range(20)).map(ask, workers=4, timeout=timeout).start()
        report = run.wait_ended(END_S)
        assert (report.state, report.delivered, report.quarantined) == (State.COMPLETED, 19, 1)
        with Executor(4, timeout=timeout) as executor:
            futures = [executor.submit(ask, row) for row in range(20)]
            assert [type(f.exception(END_S)) for f in futures] == [kind if i == 5 else type(None) for i in range(20)]


async def stops(row: int) -> int:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.001)
    return row


async def quits_in_callback(row: int) -> int:
    asyncio.get_running_loop().call_soon(sys.exit, 1)
    await asyncio.sleep(0.001)
    return row


async def closes(row: int) -> int:
    asyncio.get_running_loop().close()
    return row


def test_a_loop_that_is_stopped_goes_on_L69() -> None:
    for function, delivered in ((stops, 20), (quits_in_callback, 20), (closes, 0)):
        report = Pipeline().source(range(20)).map(function, workers=4).start().wait_ended(END_S)
        assert (report.state, report.delivered, report.quarantined) == (State.COMPLETED, delivered, 20 - delivered)
        with Executor(4) as executor:
            outcomes = executor.execute_batch(function, range(20), timeout=END_S)
            assert sum(outcome.status == "delivered" for outcome in outcomes) == delivered


class Breaker:
    """Breaks the loop that it is called on, for some rows, as often as it is told to."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def __call__(self, row: int) -> int:
        if row % 10 == 5 and self.times > 0:
            self.times -= 1
            loop: Any = asyncio.get_running_loop()
            loop._selector.close()
            await asyncio.sleep(30)
        await asyncio.sleep(0.001)
        return row


def test_a_loop_that_breaks_is_replaced_and_its_calls_are_unknown_L69() -> None:
    run = Pipeline().source(range(50)).map(Breaker(2), workers=4, retry=Retry(5, base=0.001)).start()
    report = run.wait_ended(END_S)
    assert (report.state, report.delivered) == (State.COMPLETED, 50)
    assert report.stages[0].calls.unknown >= 2
    report = Pipeline().source(range(50)).map(Breaker(1), workers=4, on_unknown="quarantine").start().wait_ended(END_S)
    assert report.state is State.COMPLETED
    assert 1 <= report.quarantined <= 4
    with Executor(4, retry=Retry(5, base=0.001)) as executor:
        outcomes = executor.execute_batch(Breaker(2), range(50), timeout=END_S)
        assert [outcome.value for outcome in outcomes] == list(range(50))


def test_loops_that_always_break_fail_the_run_by_name_L69() -> None:
    run = Pipeline().source(range(50)).map(Breaker(1000), workers=4, retry=Retry(1000, base=0.001)).start()
    assert run.wait_ended(END_S).state is State.FAILED
    assert isinstance(run.error, LoopDied)
    executor = Executor(4, retry=Retry(1000, base=0.001))
    futures = [executor.submit(Breaker(1000), row) for row in range(50)]
    broken = {type(future.exception(END_S)) for future in futures}
    assert concurrent.futures.BrokenExecutor in broken
    executor.shutdown()


class Preparing:
    """A strategy whose `prepare` or `close` breaks its loop."""

    def __init__(self, breaks: str) -> None:
        self.breaks = breaks

    async def prepare(self) -> None:
        if self.breaks == "prepare":
            await Breaker(1)(5)

    async def __call__(self, row: int) -> int:
        return row

    async def close(self) -> None:
        if self.breaks == "close":
            await Breaker(1)(5)


@pytest.mark.parametrize("breaks", ["prepare", "close"])
def test_a_strategy_that_waits_on_a_loop_that_breaks_is_told_L69(breaks: str) -> None:
    run = Pipeline().source(range(5)).map(Preparing(breaks)).start()
    report = run.wait_ended(END_S)
    if breaks == "prepare":
        assert report.state is State.FAILED
        assert isinstance(run.error, LoopDied)
    else:
        assert report.delivered == 5
        assert any("LoopDied" in note for note in report.notes)


def test_an_async_source_on_a_loop_that_breaks_is_told_L69() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        await Breaker(1)(5)
        yield 2

    run = Pipeline().source(source()).map(count).start()
    assert run.wait_ended(END_S).state is State.FAILED
    assert "LoopDied" in why(run.error)


def test_the_interpreter_ends_while_a_run_is_under_way_or_cleaned_up_L34() -> None:
    for wait in ("time.sleep(0.1)", "run.drain()", "run.abort()", "run.wait()"):
        code = (
            "from headrace.runtime import Pipeline\nimport time\n"
            "run = Pipeline().source(range(60)).map(lambda x: (time.sleep(0.005), x)[1], workers=4).start()\n" + wait
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        # Of one that goes on, and that nobody has bidden to end or waited for, it is said that it was drained.
        said = [
            line for line in ended.stderr.splitlines() if wait != "time.sleep(0.1)" or "nobody has waited" not in line
        ]
        assert (ended.returncode, said) == (0, [])
