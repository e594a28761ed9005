"""`headrace resume` and `retry` find the job of a journal, and run it where it is plainly the caller's own; nobody need be
told of it on standard error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.cli.origin import doubts_about

WORK = """
from pathlib import Path

def ask(row):
    if row["n"] == "5" and not Path("mended").exists():
        raise ValueError("no such place")
    return row
"""
JOB = """
name = "ask"
[source]
type = "csv"
path = "in.csv"
[[stage]]
call = "work:ask"
retry = 1
on_error = "%s"
workers = 1
[sink]
type = "jsonl"
path = "out.jsonl"
"""


def a_job(folder: Path, on_error: str = "fail") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "work.py").write_text(WORK)
    (folder / "job.toml").write_text(JOB % on_error)
    (folder / "in.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(10)))


def headrace(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.runtime.cli", *arguments]
    return subprocess.run(command, cwd=folder, text=True, timeout=50, **{"capture_output": True, **options})


def rows_in(path: Path) -> list[str]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_a_job_that_moved_with_its_journal_goes_on_from_anywhere_L89(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    a_job(one)
    assert headrace(one, "run", "-q", "job.toml", "--journal", "run.db").returncode == 1
    (one / "mended").touch()
    one.rename(two)
    ended = headrace(tmp_path, "resume", "two/run.db")
    assert ended.returncode == 0, ended.stderr
    assert f"in {two}:" in ended.stderr
    assert rows_in(two / "out.jsonl") == [str(n) for n in range(10)]
    shutil.copytree(two, one)
    assert headrace(one, "run", "-q", "job.toml", "--journal", "run.db").returncode == 0


def test_a_job_that_is_elsewhere_is_run_only_when_it_is_trusted_L64(tmp_path: Path) -> None:
    job, other = tmp_path / "job", tmp_path / "other"
    a_job(job)
    other.mkdir()
    assert headrace(job, "run", "-q", "job.toml", "--journal", "../other/run.db").returncode == 1
    (job / "mended").touch()
    # Both are below the folder where the command runs, or they are not.
    for command in ("resume", "retry"):
        refused = headrace(other, command, "run.db")
        assert refused.returncode == 2
        if command == "resume":
            told = f"going on runs the code that {job}/job.toml names (work:ask), which is in another place than the journal"
            assert told in refused.stderr
            assert "nothing was run. If you trust it, say --trust" in refused.stderr
    assert headrace(other, "resume", "-q", "run.db", "--trust").returncode == 0
    assert headrace(tmp_path, "resume", "-q", "other/run.db").returncode == 0
    (job / "job.toml").unlink()
    gone = headrace(tmp_path, "resume", "-q", "other/run.db")
    assert (gone.returncode, "which is not there; go on with `headrace run JOB.toml" in gone.stderr) == (2, True)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners there")
def test_what_is_plainly_the_callers_own_raises_no_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    job, journal = tmp_path / "jobs" / "job.toml", tmp_path / "run.db"
    job.parent.mkdir()
    for path in (job, journal, tmp_path / "jobs" / "below.db"):
        path.touch()
    monkeypatch.chdir(tmp_path.parent.parent)
    assert doubts_about(job, str(journal)) == []
    assert doubts_about(job, str(tmp_path / "jobs" / "below.db")) == []
    job.chmod(0o666)
    assert doubts_about(job, str(journal)) == ["which anybody may write to"]
    job.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: journal.stat().st_uid + 1)
    told = doubts_about(job, str(journal))
    assert len(told) == 2
    assert "not to you" in told[0]


def test_a_job_that_has_another_name_now_is_not_begun_anew(tmp_path: Path) -> None:
    a_job(tmp_path)
    assert headrace(tmp_path, "run", "-q", "job.toml", "--journal", "run.db").returncode == 1
    (tmp_path / "job.toml").write_text((JOB % "fail").replace('"ask"', '"other"', 1))
    ended = headrace(tmp_path, "resume", "-q", "run.db")
    assert ended.returncode == 2
    assert "describes 'other' now, and the run in" in ended.stderr


def test_a_retry_needs_no_flag_for_a_mended_function_and_says_what_it_leaves_L65(tmp_path: Path) -> None:
    a_job(tmp_path, "quarantine")
    assert headrace(tmp_path, "run", "-q", "job.toml", "--journal", "run.db").returncode == 3
    (tmp_path / "job.toml").write_text("[source")
    broken = headrace(tmp_path, "retry", "run.db", "-q")
    assert broken.returncode == 2
    (tmp_path / "job.toml").write_text(JOB % "quarantine")
    (tmp_path / "work.py").write_text("def ask(row):\n    return row\n")
    refused = headrace(tmp_path, "resume", "run.db", "-q")
    assert (refused.returncode, "the code of its function changed" in refused.stderr) == (2, True)
    ended = headrace(tmp_path, "retry", "run.db")
    assert ended.returncode == 0, ended.stderr
    assert "1 row out of quarantine to be tried again" in ended.stderr
    assert "ask was mended:\n  ask: the code of its function changed" in ended.stderr
    assert rows_in(tmp_path / "out.jsonl") == [*(str(n) for n in range(10) if n != 5), "5"]
    nothing = headrace(tmp_path, "retry", "run.db")
    assert (nothing.returncode, "no row is in quarantine; nothing was marked" in nothing.stderr) == (2, True)


def test_changes_that_are_accepted_are_shown_L63(tmp_path: Path) -> None:
    a_job(tmp_path)
    assert headrace(tmp_path, "run", "-q", "job.toml", "--journal", "run.db").returncode == 1
    (tmp_path / "work.py").write_text("def ask(row):\n    return row\n")
    ended = headrace(tmp_path, "resume", "run.db", "--accept-changes")
    assert ended.returncode == 0, ended.stderr
    assert (
        "headrace: ask is accepted as another work:\n  ask: the code of its function changed (it was " in ended.stderr
    )


@pytest.mark.parametrize("ends", ["2>&-", "2>/dev/full", "2>/dev/full --log debug", "--traceback 2>&-"])
def test_nobody_reads_standard_error_and_the_run_ends_as_it_would_L91(tmp_path: Path, ends: str) -> None:
    for on_error, status in (("fail", 1), ("quarantine", 3)):
        folder = tmp_path / on_error
        a_job(folder, on_error)
        line = f"exec {sys.executable} -m headrace.runtime.cli run job.toml --journal run.db {ends}"
        ended = subprocess.run(["sh", "-c", line], cwd=folder, stdout=subprocess.PIPE, timeout=50)
        assert (ended.returncode, ended.stdout) == (status, b"")
        part = folder / ("out.jsonl.part" if on_error == "fail" else "out.jsonl")
        assert b"{" in part.read_bytes() or on_error == "fail"
        assert all(line.startswith(b"{") for line in part.read_bytes().splitlines()), "nothing else was written into it"


def test_a_retry_that_cannot_begin_leaves_what_is_told_of_the_run_as_it_was_L65(tmp_path: Path) -> None:
    a_job(tmp_path, "quarantine")
    assert headrace(tmp_path, "run", "-q", "job.toml", "--journal", "run.db").returncode == 3
    before = headrace(tmp_path, "runs", "run.db").stdout
    assert "1 life, completed" in before
    rows = (tmp_path / "out.jsonl").read_text()
    (tmp_path / "out.jsonl").write_text(rows.upper())
    (tmp_path / "mended").touch()
    for command in (["retry", "-q", "run.db"], ["resume", "-q", "run.db"]):
        assert headrace(tmp_path, *command).returncode == 2
        assert headrace(tmp_path, "runs", "run.db").stdout == before
    (tmp_path / "out.jsonl").write_text(rows)
    assert headrace(tmp_path, "retry", "-q", "run.db").returncode == 0
    assert "2 lives, completed" in headrace(tmp_path, "runs", "run.db").stdout
