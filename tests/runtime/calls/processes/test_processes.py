"""Calls in worker processes, as users meet them: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from headrace.runtime import ConfigError, Limit, Outcome, Pipeline, Retry, RunFailed, TransientError, current_call
from headrace.runtime.errors import Pending, RateLimited
from headrace.runtime.pipeline.flow import Flow

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="worker processes are POSIX's")
PATIENCE_S = 60.0
"""Seconds that a busy machine may take."""
QUICK = Retry(3, base=0.001)
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def outcomes(flow: Flow[Any]) -> list[Outcome[Any]]:
    return list(flow.stream())


def values(flow: Flow[Any]) -> list[Any]:
    return [outcome.value for outcome in outcomes(flow)]


def errors(flow: Flow[Any]) -> dict[int, BaseException]:
    return {outcome.seq: outcome.error for outcome in outcomes(flow) if outcome.error is not None}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A child that nobody has waited for is dead all the same.
    return ") Z " in Path(f"/proc/{pid}/stat").read_text() if Path(f"/proc/{pid}/stat").exists() else False


def wait_gone(pids: list[int]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not all(map(gone, pids)):
        assert time.monotonic() < until, "a worker process has outlived its run"
        time.sleep(0.01)


def test_rows_come_in_order_out_of_other_processes() -> None:
    here, factor = os.getpid(), 3
    came = values(Pipeline().source(range(200)).map(lambda n: (n * factor, os.getpid()), workers=3, on="processes"))
    assert [n for n, _ in came] == [n * 3 for n in range(200)]
    assert here not in {pid for _, pid in came}


def test_a_call_knows_what_it_knows_on_threads() -> None:
    def ask(n: int) -> Any:
        call = current_call()
        call.spent(tokens=2)
        call.headers({"RateLimit-Limit": "1000", "RateLimit-Remaining": "999", "RateLimit-Reset": "1"})
        if n == 1 and call.attempt == 1:
            raise TransientError("once more")
        if n == 2 and call.state is None:
            raise Pending(0.0, {"job": 7})
        return call.seq, call.key.endswith(f"ask:{n}"), call.attempt, call.state, tenant.get()

    tenant.set("here")
    told: list[Any] = []
    report = (
        Pipeline().source(range(4)).map(ask, name="ask", workers=2, on="processes", retry=QUICK).sink(told.append).run()
    )
    assert told == [
        (0, True, 1, None, "here"),
        (1, True, 2, None, "here"),
        (2, True, 1, {"job": 7}, "here"),
        (3, True, 1, None, "here"),
    ]
    assert report.spent["tokens"] >= 8


def test_refusals_are_the_limits_matter(tmp_path: Path) -> None:
    once = tmp_path / "refused"

    def ask(n: int) -> int:
        if n == 5 and not once.exists():
            once.touch()
            raise RateLimited(retry_after=0.01)
        return n

    told: list[int] = []
    report = (
        Pipeline().source(range(20)).map(ask, workers=2, on="processes", limit=Limit("5000/s")).sink(told.append).run()
    )
    assert (told, report.refusals) == (list(range(20)), 1)


def test_a_process_that_is_killed_costs_its_row_an_attempt_and_no_other_anything_L49(tmp_path: Path) -> None:
    once, calls = tmp_path / "killed", tmp_path / "calls"

    def ask(n: int) -> int:
        with calls.open("a") as file:
            file.write(f"{n}\n")
        time.sleep(0.001)
        if n == 40 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    told: list[int] = []
    report = Pipeline().source(range(100)).map(ask, workers=2, on="processes", retry=QUICK).sink(told.append).run()
    assert told == list(range(100))
    assert report.stages[0].calls.unknown == 1
    assert sorted(map(int, calls.read_text().split())) == sorted([*range(100), 40])


def test_a_row_that_kills_is_in_quarantine_alone() -> None:
    def ask(n: int) -> int:
        if n % 20 == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        return n

    found = errors(Pipeline().source(range(60)).map(ask, workers=2, on="processes", retry=QUICK))
    assert sorted(found) == [7, 27, 47]
    assert all("SIGSEGV" in str(error) for error in found.values())


def test_a_call_that_takes_too_long_is_ended_with_its_process(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def ask(n: int) -> int:
        if n == 3:
            pids.write_text(str(os.getpid()))
            time.sleep(3600)
        return n

    found = errors(Pipeline().source(range(10)).map(ask, workers=2, on="processes", timeout=0.5, retry=1))
    assert sorted(found) == [3]
    assert "no answer within 0.5 s" in str(found[3])
    wait_gone([int(pids.read_text())])


def iter_of_nothing() -> Iterator[int]:
    yield from ()


class Unloadable(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__("cannot be made again")


def test_what_cannot_be_sent_is_its_rows_fault() -> None:
    class Unreadable:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    def ask(row: Any) -> Any:
        if row == "answer":
            return iter_of_nothing()
        if row == "error":
            raise Unloadable(1, 2)
        return row

    rows = ["well", lambda: None, iter_of_nothing(), Unreadable(), "answer", "error", "well"]
    came = outcomes(Pipeline().source(rows).map(ask, workers=1, on="processes", retry=1))
    told = {outcome.seq: str(outcome.error) for outcome in came if outcome.error is not None}
    # A function can be sent, and its answer too.
    assert sorted(told) == [2, 3, 4, 5]
    assert "generator, cannot be sent to a worker process" in told[2]
    assert "cannot be read in a worker process: ValueError" in told[3]
    assert "generator, cannot be sent from a worker process" in told[4]
    assert told[5] == "cannot be made again"


class Strategy:
    def __init__(self, notes: Path, fails: str = "") -> None:
        self.notes = notes
        self.fails = fails

    def _note(self, what: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")
        if what == self.fails:
            raise ValueError(f"{what} does not work")

    def prepare(self) -> None:
        self._note("prepare")

    async def close(self) -> None:
        self._note("close")

    def __call__(self, row: int) -> int:
        return row


def test_each_process_prepares_and_closes_once(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert values(Pipeline().source(range(50)).map(Strategy(notes), workers=3, on="processes")) == list(range(50))
    told = notes.read_text().split("\n")[:-1]
    pids = {line.split()[1] for line in told}
    assert str(os.getpid()) not in pids
    assert sorted(told) == sorted(f"{what} {pid}" for what in ("prepare", "close") for pid in pids)
    wait_gone(list(map(int, pids)))


def test_a_prepare_that_fails_fails_the_run(tmp_path: Path) -> None:
    flow = Pipeline().source(range(3)).map(Strategy(tmp_path / "notes", "prepare"), workers=1, on="processes")
    with pytest.raises(RunFailed, match="prepare does not work"):
        flow.sink(lambda row: None).run()


def test_a_close_that_fails_is_in_the_report(tmp_path: Path) -> None:
    flow = Pipeline().source(range(3)).map(Strategy(tmp_path / "notes", "close"), workers=1, on="processes")
    report = flow.sink(lambda row: None).run()
    assert report.delivered == 3
    assert "close does not work" in report.notes[0]


def test_processes_that_are_never_ready_fail_the_run() -> None:
    class Deadly:
        def __reduce__(self) -> Any:
            return os._exit, (3,)

        def __call__(self, row: int) -> int:
            return row

    with pytest.raises(RunFailed, match="ended with the status 3 before it was ready"):
        Pipeline().source(range(3)).map(Deadly(), workers=2, on="processes").sink(lambda row: None).run()


def test_memory_is_bounded() -> None:
    def ask(n: int) -> int:
        return len(bytearray(n << 20))

    found = errors(Pipeline().source([1, 2000, 1]).map(ask, workers=1, on="processes", memory="1GB", retry=1))
    assert {seq: type(error) for seq, error in found.items()} == {1: MemoryError}


def test_what_is_logged_there_is_logged_here(caplog: pytest.LogCaptureFixture) -> None:
    def ask(n: int) -> int:
        import logging

        logger.warning("row {} is odd", n)
        logging.getLogger("client").error("of the client")
        return n

    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    try:
        values(Pipeline().source([1]).map(ask, workers=1, on="processes"))
    finally:
        logger.remove(sink)
    assert "row 1 is odd" in lines
    assert [(record.name, record.message) for record in caplog.records] == [("client", "of the client")]


def test_a_process_that_has_forked_is_found_dead_all_the_same(tmp_path: Path) -> None:
    once = tmp_path / "killed"

    def ask(n: int) -> int:
        if n == 2 and not once.exists():
            child = os.fork()
            if child == 0:
                time.sleep(3600)
            once.write_text(str(child))
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    try:
        assert values(Pipeline().source(range(5)).map(ask, workers=1, on="processes", retry=QUICK)) == list(range(5))
    finally:
        os.kill(int(once.read_text()), signal.SIGKILL)


def test_options_that_cannot_be_are_told() -> None:
    async def ask(row: int) -> int:
        return row

    flow = Pipeline().source([1])
    with pytest.raises(ConfigError, match="on='processes' is for plain functions"):
        flow.map(ask, on="processes")
    with pytest.raises(ConfigError, match="on='elsewhere': 'threads' or 'processes'"):
        flow.map(str, on="elsewhere")  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="memory= is what each process may take"):
        flow.map(str, memory="1GB")
    hostile: list[Any] = ["much", 0, -1, True, float("nan"), "1 KB"]
    for memory in hostile:
        with pytest.raises(ConfigError, match="memory="):
            flow.map(str, on="processes", memory=memory)
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot be sent to a process.*let prepare"):
        flow.map(lambda row: lock, name="lock", on="processes").sink(print).start()


SCRIPT = """
import os, signal, sys, time
from headrace import Pipeline

# Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

def ask(n):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.05 if sys.argv[2] == "short" else 3600)
    return n

Pipeline().source(range(1000)).map(ask, workers=2, on="processes").sink(print).run()
"""


def started(tmp_path: Path, length: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A run in a process group of its own, and its worker processes, once they have calls."""
    script, notes = tmp_path / "job.py", tmp_path / "pids"
    script.write_text(textwrap.dedent(SCRIPT))
    run = subprocess.Popen(
        [sys.executable, str(script), str(notes), length],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + PATIENCE_S
    pids: set[int] = set()
    while len(pids) < 2:
        assert time.monotonic() < until
        assert run.poll() is None
        pids = set(map(int, notes.read_text().split())) if notes.exists() else set()
        time.sleep(0.01)
    return run, list(pids)


def test_no_process_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    run, pids = started(tmp_path, "long")
    run.kill()
    run.communicate()
    wait_gone(pids)


def test_ctrl_c_drains(tmp_path: Path) -> None:
    run, pids = started(tmp_path, "short")
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=PATIENCE_S)
    assert out.split() == [str(n) for n in range(len(out.split()))]
    assert "KeyboardInterrupt" in err
    assert len(out.split()) == len((tmp_path / "pids").read_text().split()), "each row that was called is delivered"
    wait_gone(pids)
