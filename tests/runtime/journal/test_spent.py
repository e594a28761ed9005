"""What calls say that they took, over the lives of a run."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.conftest import versioned

from headrace.runtime import Journal, Pending, Pipeline, RunFailed, TransientError, current_call
from headrace.runtime.journal.audit import examine, export
from headrace.runtime.journal.mistakes import Damaged
from headrace.runtime.journal.stores import look_into

KILLED = '''
"""Kills itself in the call of row 50, when the answers of the thirty before are durable."""
import os, signal, sqlite3, sys, time
from headrace.runtime import Pipeline, current_call

def ask(row):
    if row == 50:
        while True:
            with sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True) as db:
                if db.execute("SELECT count(*) FROM answer").fetchone()[0] >= 30:
                    os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)
    # So long that calls go one by one, and each answer is told at once.
    time.sleep(0.005)
    current_call().spent(tokens=2)
    return row

ask.version = "1"
Pipeline("job").source(range(100)).map(ask, name="ask", workers=1).run(journal=sys.argv[1])
'''


def records(path: Path) -> list[dict[str, Any]]:
    """Those of an export, which is what it says that it is."""
    file = look_into(str(path))
    try:
        lines = list(export(file))
    finally:
        file.close()
    assert examine(lines).records == len(lines)
    return [json.loads(line)["record"] for line in lines]


def spent_in(path: Path) -> list[tuple[int, str, dict[str, float]]]:
    return [(r["life"], r["stage"], r["amounts"]) for r in records(path) if r["type"] == "spent"]


@pytest.mark.parametrize("sync", ["group", "row"])
def test_the_report_of_a_run_that_goes_on_has_it_for_each_life_and_in_all(tmp_path: Path, sync: Any) -> None:
    breaks = [True]

    def ask(row: int) -> int:
        current_call().spent(tokens=10, images=0.5)
        if row == 20 and breaks:
            raise ValueError("stop")
        return row

    def look(row: int) -> None:
        current_call().spent(tokens=1)

    def run() -> Any:
        pipeline = (
            Pipeline("job").source(range(40)).map(versioned(ask), name="ask", workers=1, retry=1, on_error="fail")
        )
        return pipeline.tap(versioned(look), name="look", workers=1).run(
            journal=Journal(tmp_path / "run.db", sync=sync)
        )

    with pytest.raises(RunFailed) as failed:
        run()
    first = failed.value.report
    assert (first.spent_by_life, first.spent_in_all) == ((), {}), "it had no life before"
    assert first.spent["tokens"] >= 10
    breaks.clear()
    second = run()
    assert second.spent_by_life == (first.spent, second.spent)
    assert second.spent["tokens"] + first.spent["tokens"] == second.spent_in_all["tokens"]
    assert second.spent_in_all["tokens"] >= 40 * 11 + 10, "the call that failed took something, too"
    assert f"{second.spent['tokens']:,} tokens   ({second.spent_in_all['tokens']:,} in 2 lives)" in str(second)
    assert second.to_dict()["spent_in_all"] == second.spent_in_all
    third = run()
    assert third.spent == {}
    assert third.spent_by_life == (first.spent, second.spent, {})
    assert third.spent_in_all == second.spent_in_all
    assert f" 0 tokens   ({third.spent_in_all['tokens']:,} in 3 lives)" in str(third)
    told = spent_in(tmp_path / "run.db")
    assert sum(amounts["tokens"] for _, _, amounts in told) == third.spent_in_all["tokens"]
    assert {(life, stage) for life, stage, _ in told} >= {(1, "ask"), (2, "ask"), (2, "look")}


def test_a_life_that_was_killed_counts_with_what_its_durable_answers_took(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    (tmp_path / "job.py").write_text(KILLED)
    ran = subprocess.run([sys.executable, str(tmp_path / "job.py"), str(path)], capture_output=True, timeout=40)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    answers = sum(record["type"] == "answer" for record in records(path))

    def ask(row: int) -> int:
        current_call().spent(tokens=2)
        return row

    report = Pipeline("job").source(range(100)).map(versioned(ask), name="ask", workers=1).run(journal=path)
    killed, last = report.spent_by_life
    assert killed["tokens"] >= 2 * answers >= 60, "no answer is kept without what it took"
    assert killed["tokens"] <= 2 * 50
    assert last["tokens"] == 2 * (100 - answers)


def test_calls_that_fail_are_pending_or_are_aborted_count(tmp_path: Path) -> None:
    begun = threading.Event()

    async def ask(row: int) -> int:
        call = current_call()
        call.spent(tokens=1)
        if row == 0 and call.attempt < 3:
            raise TransientError("again")
        if row == 1:
            raise Pending(3600.0, "state")
        if row == 2:
            begun.set()
            await asyncio.sleep(0.3)
            call.spent(tokens=1)
        return row

    run = Pipeline("job").source(range(3)).map(versioned(ask), name="ask").start(journal=tmp_path / "run.db")
    begun.wait(30.0)
    run.abort("enough")
    report = run.wait()
    assert sum(amounts["tokens"] for _, _, amounts in spent_in(tmp_path / "run.db")) == report.spent["tokens"]


def test_where_no_call_says_what_it_took_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    for _ in range(2):
        report = Pipeline("job").source(range(10)).map(versioned(lambda row: row), name="ask").run(journal=path)
    assert report.spent_by_life == ({}, {})
    assert "spent" not in str(report)
    assert spent_in(path) == []


def test_a_record_that_is_missing_is_told_L64(tmp_path: Path) -> None:
    path = tmp_path / "run.db"

    def ask(row: int) -> int:
        current_call().spent(tokens=1)
        return row

    Pipeline("job").source(range(3)).map(versioned(ask), name="ask").run(journal=path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DELETE FROM spent")
    db.close()
    with pytest.raises(Damaged, match="its table 'spent' has 0 rows of the run, and 1 were written"):
        records(path)
