"""What is no regular file is a stream: read once, never looked at beforehand, not gone on with (L87)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Flow, Pipeline, RunFailed, sources
from headrace.runtime.files.pipeline_file import read

ROWS = "n,name\n" + "".join(f"{n},name {n}\n" for n in range(20_000))


def feed(pipe: Path, text: str) -> threading.Thread:
    """Write to a FIFO, from a thread: whoever opens it waits for its reader."""
    thread = threading.Thread(target=lambda: pipe.write_text(text), daemon=True, name="feeds")
    thread.start()
    return thread


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def job(pipe: Path, got: Callable[[Any], object], function: Any = dict) -> Flow[Any]:
    return Pipeline("job").source(sources.csv(pipe)).map(function, name="f", on_error="fail", retry=1).sink(got)


def test_a_journal_costs_a_stream_none_of_its_rows_L87(pipe: Path, tmp_path: Path) -> None:
    got: list[Any] = []
    writer = feed(pipe, ROWS)
    report = job(pipe, got.append).run(journal=tmp_path / "run.db")
    writer.join(10)
    assert (report.delivered, got[0], got[-1]["n"]) == (20_000, {"n": "0", "name": "name 0"}, "19999")


def test_new_rows_on_the_same_pipe_are_not_taken_for_the_old_ones_L87(pipe: Path, tmp_path: Path) -> None:
    got: list[Any] = []
    writer = feed(pipe, "n\n1\n2\n3\n")
    job(pipe, got.append).run(journal=tmp_path / "run.db")
    writer.join(10)
    with pytest.raises(ConfigError, match=r"complete, and nobody can tell whether .*/pipe, which is a stream"):
        job(pipe, got.append).run(journal=tmp_path / "run.db")
    assert len(got) == 3


def test_what_is_not_done_of_a_stream_is_not_gone_on_with_unless_that_is_said_L87(pipe: Path, tmp_path: Path) -> None:
    got: list[Any] = []
    broken = [True]

    def stops(row: dict[str, str]) -> dict[str, str]:
        if row["n"] == "3" and broken:
            raise ValueError("stop here")
        return row

    stops.version = "1"  # type: ignore[attr-defined]
    writer = feed(pipe, "n\n1\n2\n3\n4\n")
    with pytest.raises(RunFailed, match="stop here"):
        job(pipe, got.append, stops).run(journal=tmp_path / "run.db")
    writer.join(10)
    broken.clear()
    with pytest.raises(ConfigError, match=r"what was read is gone.*Write the rows to a file first"):
        job(pipe, got.append, stops).run(journal=tmp_path / "run.db")
    writer = feed(pipe, "n\n1\n2\n3\n4\n")
    report = job(pipe, got.append, stops).run(journal=tmp_path / "run.db", accept_changes=True)
    writer.join(10)
    assert report.rows == 4
    assert {row["n"] for row in got} == {"1", "2", "3", "4"}


def test_a_pipe_is_not_opened_to_be_looked_at_L87(pipe: Path) -> None:
    source = sources.csv(pipe)
    source.check()
    assert (source.fields(), source.placed) == (None, False)
    assert source.fingerprint()["stream"] is True


def test_a_drain_does_not_wait_for_a_writer_that_never_comes_L48(pipe: Path) -> None:
    run = Pipeline().source(sources.jsonl(pipe)).start()
    run.drain()
    report = run.wait(20)
    assert (report.state, report.rows) == ("drained", 0)
    # The thread that waits for the FIFO's writer is let go.
    for thread in threading.enumerate():
        if thread.name.startswith("headrace source"):
            thread.name += " hangs"
    os.close(os.open(pipe, os.O_RDWR))


def test_a_link_is_what_it_points_to_L87(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to("real.csv")
    got: list[Any] = []
    Pipeline().source(sources.csv(tmp_path / "link.csv")).sink(got.append).run(journal=tmp_path / "run.db")
    source = sources.csv(tmp_path / "link.csv")
    assert (got, source.placed, source.fingerprint()["size"]) == ([{"a": "1"}], True, 4)


def test_a_device_is_a_stream_and_an_endless_one_is_refused_by_its_first_bytes_L87() -> None:
    with pytest.raises(RunFailed, match="/dev/null: is empty"):
        Pipeline().source(sources.csv("/dev/null")).run()
    with pytest.raises(RunFailed, match="/dev/zero: line 1: byte 1 is NUL: it is no text"):
        Pipeline().source(sources.jsonl("/dev/zero")).run()


READS = """
import sys
from headrace.runtime import Pipeline, RunFailed, sources
source = getattr(sources, sys.argv[1])(sys.argv[2])
got = []
try:
    Pipeline().source(source).sink(got.append).run()
    print(len(got), source.placed)
except RunFailed as failed:
    print(failed)
"""


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_standard_input_that_is_closed_is_told_in_the_users_words_L87(kind: str, path: str) -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", READS, kind, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    assert "standard input is closed, so there is nothing to read: give it a file (< in.csv) or a pipe" in done.stdout


def test_standard_input_from_a_file_has_places_and_from_a_pipe_has_none_L87(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a\n1\n2\n")
    command = [sys.executable, "-c", READS, "csv", "-"]
    with path.open() as file:
        assert subprocess.run(command, stdin=file, capture_output=True, text=True, check=True).stdout == "2 True\n"
    piped = subprocess.run(command, input=path.read_text(), capture_output=True, text=True, check=True)
    assert piped.stdout == "2 False\n"


def test_a_job_file_may_name_a_pipe(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(f'[source]\ntype = "csv"\npath = "{pipe}"\n')
    read(tmp_path / "job.toml").plan()
