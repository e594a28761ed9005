"""Rows that are not done yet: parked, asked about again, in another life of the run if need be."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import Pending, Pipeline, current_call, sinks
from headrace.runtime.errors import ConfigError


class Provider:
    """Somebody who does jobs in a batch: begun by one call, done for a later one."""

    version = "1"

    def __init__(self, looks: int = 1, check_after_s: float = 0.01) -> None:
        self.looks = looks
        self.check_after_s = check_after_s
        self.begun: list[int] = []
        self.looked: list[tuple[int, Any]] = []
        self.attempts: set[int] = set()

    def __call__(self, row: int) -> str:
        call = current_call()
        self.attempts.add(call.attempt)
        if call.state is None:
            self.begun.append(row)
            raise Pending(self.check_after_s, {"job": row, "looks": 0})
        self.looked.append((row, call.state))
        assert call.state["job"] == row
        if call.state["looks"] + 1 < self.looks:
            raise Pending(self.check_after_s, {**call.state, "looks": call.state["looks"] + 1})
        return f"done {row}"


@pytest.mark.parametrize("looks", [1, 3])
def test_a_pending_row_is_asked_about_again_with_its_state_and_costs_no_attempt(looks: int) -> None:
    provider, got = Provider(looks), list[str]()
    report = Pipeline().source(range(30)).map(provider, workers=2, retry=1).sink(got.append).run()
    assert got == [f"done {row}" for row in range(30)]
    assert sorted(provider.begun) == list(range(30))
    assert len(provider.looked) == 30 * looks
    assert provider.attempts == {1}
    assert (report.quarantined, report.refusals) == (0, 0)


def test_it_is_so_for_coroutines_too() -> None:
    provider, got = Provider(2), list[str]()

    async def ask(row: int) -> str:
        await asyncio.sleep(0)
        return provider(row)

    Pipeline().source(range(30)).map(ask, workers=4, retry=1).sink(got.append).run()
    assert got == [f"done {row}" for row in range(30)]


def test_it_holds_no_worker_and_no_permit() -> None:
    others = threading.Event()
    done: list[int] = []

    def work(row: int) -> int:
        if row == 0 and current_call().state is None:
            raise Pending(0.2)
        if row == 0:
            assert others.is_set(), "with one worker and one permit, all others were done meanwhile"
        done.append(row)
        if len(done) == 9:
            others.set()
        return row

    Pipeline().source(range(10)).map(work, workers=1, limit="1000/s").run()
    assert done[-1] == 0


def test_a_run_of_pending_rows_is_suspended_and_resumed(tmp_path: Path) -> None:
    provider, out = Provider(check_after_s=1.0), tmp_path / "out.jsonl"

    def run() -> Any:
        pipeline = Pipeline("job").source(range(8)).map(provider, workers=2)
        return pipeline.sink(sinks.jsonl(out)).run(journal=tmp_path / "run.db", suspend_after=0.05)

    began = time.monotonic()
    report = run()
    assert (report.state, report.interrupted, report.quarantined) == ("suspended", 8, 0)
    assert time.monotonic() - began < 0.9
    assert "8 rows are pending" in str(report)
    again = run()
    assert again.state == "suspended", "it is not their time yet"
    assert len(provider.begun) == 8
    assert not provider.looked
    threading.Event().wait(max(0.0, 1.5 - (time.monotonic() - began)))
    last = run()
    assert (last.state, last.delivered) == ("completed", 8)
    assert out.read_text() == "".join(f'"done {row}"\n' for row in range(8))
    assert sorted(provider.begun) == list(range(8)), "each job was begun once"


def test_a_window_that_is_full_of_pending_rows_is_nothing_left_to_do(tmp_path: Path) -> None:
    """The source has not ended, and cannot go on."""
    begun: list[int] = []

    def ask(row: int) -> int:
        if current_call().state is None:
            begun.append(row)
            raise Pending(0.5, ["job", row])
        return row

    ask.version = "1"  # type: ignore[attr-defined]
    states: list[str] = []
    while "completed" not in states and len(states) < 200:
        pipeline = Pipeline("job", window=10).source(range(35)).map(ask, workers=2)
        states.append(
            pipeline.sink(sinks.jsonl(tmp_path / "out.jsonl"))
            .run(journal=tmp_path / "run.db", suspend_after=0.05)
            .state
        )
    assert states[0] == "suspended"
    assert states[-1] == "completed"
    assert sorted(begun) == list(range(35)), "each is begun once, ten at a time"
    assert (tmp_path / "out.jsonl").read_text().split() == [str(n) for n in range(35)]


def test_no_error_of_cleaning_up_makes_a_suspended_run_a_failed_one_L19(tmp_path: Path) -> None:
    class Untidy(Provider):
        def close(self) -> None:
            raise OSError("cannot close")

    pipeline = Pipeline("job").source([1]).map(Untidy(check_after_s=60.0))
    report = pipeline.run(journal=tmp_path / "run.db", suspend_after=0.02)
    assert report.state == "suspended"
    assert "cannot close" in str(report)


def test_what_is_suspended_needs_a_journal() -> None:
    with pytest.raises(ConfigError, match="suspend_after needs a journal"):
        Pipeline().source([1]).run(suspend_after=1.0)
