"""Executors whose calls run in worker processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Executor, Retry, current_call

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def test_calls_run_in_other_processes() -> None:
    factor = 3
    with Executor(2, on="processes") as executor:
        assert list(executor.map(lambda n: n * factor, range(20))) == [n * 3 for n in range(20)]
        assert executor.submit(os.getpid).result() != os.getpid()
        outcomes = executor.execute_batch(int, ["1", "two", "3"])
        assert [outcome.value if outcome.error is None else type(outcome.error) for outcome in outcomes] == [
            1,
            ValueError,
            3,
        ]
        assert executor.submit(pow, 2, exp=5).result() == 32


def test_a_call_has_the_context_of_its_submitter() -> None:
    tenant.set("here")
    with Executor(1, on="processes") as executor:
        assert executor.submit(lambda: (tenant.get(), current_call().attempt)).result() == ("here", 1)


def test_coroutine_functions_stay_here() -> None:
    async def where() -> int:
        await asyncio.sleep(0)
        return os.getpid()

    with Executor(1, on="processes") as executor:
        assert executor.submit(where).result() == os.getpid()


def test_a_function_is_sent_as_it_is_now() -> None:
    seen: list[int] = []
    with Executor(1, on="processes") as executor:
        first = executor.submit(lambda: len(seen)).result()
        seen.append(1)
        assert (first, executor.submit(lambda: len(seen)).result()) == (0, 1)


def test_a_crash_is_its_callers_and_no_other_ones(tmp_path: Path) -> None:
    def ask(n: int) -> int:
        if n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    with Executor(2, on="processes") as executor:
        futures = [executor.submit(ask, n) for n in range(8)]
        with pytest.raises(RuntimeError, match="was ended by SIGKILL"):
            futures[3].result()
        assert [future.result() for n, future in enumerate(futures) if n != 3] == [0, 1, 2, 4, 5, 6, 7]


def test_a_crash_is_tried_again(tmp_path: Path) -> None:
    once = tmp_path / "killed"

    def ask() -> str:
        if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "well"

    with Executor(1, on="processes", retry=Retry(3, base=0.001)) as executor:
        assert executor.submit(ask).result() == "well"


def test_a_time_out_ends_the_call() -> None:
    with Executor(1, on="processes", timeout=0.5) as executor, pytest.raises(TimeoutError):
        executor.submit(time.sleep, 3600).result()


def test_each_process_is_initialized(tmp_path: Path) -> None:
    def initialize(name: str) -> None:
        (tmp_path / f"{name} {os.getpid()}").touch()

    with Executor(2, initializer=initialize, initargs=("Lund",), on="processes") as executor:
        pids = {executor.submit(os.getpid).result() for _ in range(4)}
    assert {f"Lund {pid}" for pid in pids} <= {path.name for path in tmp_path.iterdir()}


def test_an_initializer_that_fails_breaks_the_executor() -> None:
    executor = Executor(1, initializer=lambda: 1 / 0, on="processes")
    with pytest.raises(concurrent.futures.BrokenExecutor):
        executor.submit(abs, 1).result()
    executor.shutdown()


def test_what_cannot_be_sent_is_its_callers_fault() -> None:
    lock = threading.Lock()
    with Executor(1, on="processes") as executor:
        with pytest.raises(ValueError, match="cannot be sent to a worker process"):
            executor.submit(id, lock).result()
        assert executor.submit(abs, -1).result() == 1


def test_what_was_cancelled_before_it_began_does_not_begin(tmp_path: Path) -> None:
    def touch(n: int) -> None:
        time.sleep(0.2)
        (tmp_path / str(n)).touch()

    with Executor(1, on="processes") as executor:
        futures = [executor.submit(touch, n) for n in range(4)]
        cancelled = futures[3].cancel()
    assert cancelled
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_options_that_cannot_be_are_told() -> None:
    wrong: list[dict[str, Any]] = [{"on": "ray"}, {"memory": "1GB"}, {"on": "processes", "memory": "little"}]
    for options in wrong:
        with pytest.raises(ConfigError, match="Executor: "):
            Executor(1, **options)
