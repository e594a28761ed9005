"""`headrace run --journal`, `resume`, `runs`, `explain`, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

WORK = """
import time
from headrace.runtime import RateLimited

refused = set()

def ask(row):
    n = int(row["n"])
    time.sleep(0.002)
    if n == 7 and n not in refused:
        refused.add(n)
        raise RateLimited(retry_after=0.05)
    if n == 8 and n not in refused:
        refused.add(n)
        raise ConnectionError("reset by peer")
    if n == 9:
        raise ValueError("no such place")
    return {"n": n}

def split(row):
    return [{**row, "part": part} for part in range(2)]
"""
JOB = """
name = "ask"
[source]
type = "csv"
path = "in.csv"
[[stage]]
call = "work:ask"
workers = 4
[[stage]]
kind = "flat_map"
call = "work:split"
[sink]
type = "jsonl"
path = "out.jsonl"
[quarantine]
type = "jsonl"
path = "bad.jsonl"
"""
ROWS = 1500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "in.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(ROWS)))
    return tmp_path


def headrace(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.runtime.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, **options)


def killed_half_way(folder: Path) -> None:
    """The process is gone, without a word, when some rows are written, and the answers of the first are durable for long."""
    command = [sys.executable, "-m", "headrace.runtime.cli", "run", "job.toml", "--journal", "run.db", "--quiet"]
    with subprocess.Popen(command, cwd=folder) as process:
        part = folder / "out.jsonl.part"
        until = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size > 10_000):
            assert time.monotonic() < until
            assert process.poll() is None, "it was to be killed before its end"
            time.sleep(0.01)
        process.kill()


def test_killed_listed_resumed_and_explained_L36(folder: Path) -> None:
    killed_half_way(folder)
    (line,) = json.loads(headrace(folder, "runs", "run.db", "--json").stdout)
    assert (line["name"], line["lives"], line["state"]) == ("ask", 1, "killed")
    assert 0 < line["done"] < ROWS
    resumed = headrace(folder, "resume", "run.db", "--json", "--quiet")
    assert resumed.returncode == 3, resumed.stderr
    report = json.loads(resumed.stdout)
    assert (report["state"], report["rows"], report["quarantined"]) == ("completed", ROWS, 1)
    written = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert written == [{"n": n, "part": part} for n in range(ROWS) if n != 9 for part in range(2)]
    listed = headrace(folder, "runs", "run.db").stdout
    assert "2 lives, completed" in listed
    assert f"{ROWS:,} of {ROWS:,} rows done: 1,499 delivered, 1 quarantined" in listed

    def story(row: int) -> Any:
        return json.loads(headrace(folder, "explain", "run.db", "--row", str(row), "--json").stdout)

    refused = story(7)
    assert refused["outcome"] == "delivered"
    assert refused["source"] == f"{folder / 'in.csv'}:9"
    assert [(e["where"], e["what"]) for e in refused["events"]] == [
        ("ask", "refused"),
        ("ask", "answered"),
        ("split", "split"),
        ("sink", "delivered"),
        ("sink", "delivered"),
    ]
    assert refused["events"][0]["detail"]["retry_after_s"] == 0.05
    assert refused["events"][1]["waited_s"] >= 0.05
    # How much of the wait was the cooldown, and how much a busy machine, differs.
    assert 0.0 < refused["events"][1]["detail"]["cooldowns_s"] <= refused["events"][1]["waited_s"]
    assert [e["of"] for e in refused["events"][3:]] == ["7.0", "7.1"]
    assert [e["detail"]["record"] for e in refused["events"][3:]] == [15, 16]
    assert str(refused["events"][3]["detail"]["of"]).endswith("out.jsonl")
    retried = story(8)["events"]
    assert (retried[0]["what"], retried[0]["detail"]["error"]) == ("failed", "ConnectionError")
    assert retried[1]["detail"]["attempts"] == 2
    bad = story(9)
    assert bad["outcome"] == "quarantined"
    assert bad["events"][-1]["where"] == "quarantine"
    told = headrace(folder, "explain", "run.db", "--row", "9").stdout
    assert "quarantined after 1 call: ValueError: no such place" in told


def test_what_cannot_be_is_one_line_and_status_2(folder: Path) -> None:
    assert headrace(folder, "run", "job.toml", "--journal", "run.db", "--quiet").returncode == 3

    def wrong(what: str, *arguments: str) -> None:
        ended = headrace(folder, *arguments)
        assert (ended.returncode, ended.stdout) == (2, ""), ended
        assert what in ended.stderr
        assert "Traceback" not in ended.stderr

    wrong("other.db: no such journal", "runs", "other.db")
    wrong("other.db: no such journal", "resume", "other.db")
    wrong("whose rows are 0 to 1499", "explain", "run.db", "--row", "1500")
    wrong("has no run 'other'", "explain", "run.db", "--row", "1", "--run", "other")
    wrong("has no run 'other'", "resume", "run.db", "--run", "other")
    wrong("and the journal writes it too", "run", "job.toml", "--journal", "job.toml")
    (folder / "in.csv").write_text("n\n1\n")
    wrong("source: its size in bytes was", "resume", "run.db")
    assert headrace(folder, "resume", "run.db", "--accept-changes", "--quiet").returncode in (1, 3)


def test_a_row_in_quarantine_is_tried_again_when_its_cause_is_mended(folder: Path) -> None:
    assert headrace(folder, "run", "job.toml", "--journal", "run.db", "--quiet").returncode == 3
    (folder / "work.py").write_text(WORK.replace("raise ValueError", "pass  # "))
    refused = headrace(folder, "retry", "run.db", "--row", "10")
    assert (refused.returncode, "row 10 is not in quarantine" in refused.stderr) == (2, True)
    ended = headrace(folder, "retry", "run.db", "--error", "ValueError", "--accept-changes", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "1 row out of quarantine" in ended.stderr
    assert json.loads(ended.stdout)["delivered"] == ROWS
    written = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert written[-2:] == [{"n": 9, "part": 0}, {"n": 9, "part": 1}]
    assert len(written) == 2 * ROWS


def test_a_run_that_a_program_began_is_resumed_by_it(folder: Path) -> None:
    script = "from headrace.runtime import Pipeline; Pipeline('mine').source([1, 2]).run(journal='run.db')"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, timeout=50)
    ended = headrace(folder, "resume", "run.db")
    assert ended.returncode == 2
    assert "the run 'mine' was begun by a program, not by a file; run that program again" in ended.stderr
