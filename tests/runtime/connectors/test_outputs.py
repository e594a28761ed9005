"""What becomes of an output, and of what was there: between runs, between lives of a run, and under another's hand."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks
from headrace.runtime.connectors.jsonl_sink import JsonlSink
from headrace.runtime.connectors.port import RunInfo


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Job:
    """A pipeline of 200 rows with a journal, that is stopped at the row `stops`."""

    def __init__(self, folder: Path, stops: int | None = 100, **options: Any) -> None:
        self.folder, self.stops, self.options = folder, stops, options
        self.out, self.part = folder / "out.jsonl", folder / "out.jsonl.part"

    def _work(self, n: int) -> dict[str, int]:
        if n == self.stops:
            raise ValueError("stopped")
        return {"n": n}

    def run(self, journal: str | None = "run.db", name: str = "job", on_error: Any = "fail") -> Any:
        work = self._work

        def call(n: int) -> dict[str, int]:
            return work(n)

        # The stop is mended between two lives, and the work counts as the same.
        call.version = "1"  # type: ignore[attr-defined]
        sink = sinks.jsonl(self.out, **self.options)
        pipeline = Pipeline(name, window=20).source(range(200)).map(call, workers=1, retry=1, on_error=on_error)
        return pipeline.sink(sink).run(journal=self.folder / journal if journal is not None else None)

    def stopped(self, **options: Any) -> Job:
        with pytest.raises(RunFailed):
            self.run(**options)
        self.stops = None
        return self


WHOLE = [{"n": n} for n in range(200)]


# --- run twice ---


def test_a_pipeline_that_is_run_again_replaces_what_it_wrote_and_says_so_L79(tmp_path: Path) -> None:
    job = Job(tmp_path, None)
    assert [(str(f.path), f.what) for f in job.run(None).files] == [(str(job.out), "created")]
    report = job.run(None)
    assert [f.what for f in report.files] == ["replaced"]
    assert f"{job.out}: replaced what was there before" in report.text(400)
    assert read(job.out) == WHOLE


def test_a_file_that_no_run_of_the_pipeline_wrote_is_not_overwritten_unasked_L79(tmp_path: Path) -> None:
    job = Job(tmp_path, None)
    job.out.write_text("mine\n")
    with pytest.raises(ConfigError, match=r'exists already.*say if_exists="replace" or "append"'):
        job.run(None)
    assert os.listdir(tmp_path) == ["out.jsonl"]
    job.out.unlink()
    job.run(None, name="another")
    with pytest.raises(ConfigError, match="is not what an earlier run of the pipeline 'job' wrote"):
        job.run(None)
    job.run(None, name="another")
    with job.out.open("a") as out:
        out.write("edited\n")
    with pytest.raises(ConfigError, match="exists already"):
        job.run(None, name="another")


@pytest.mark.parametrize("journal", [None, "run.db"])
def test_if_exists_says_what_becomes_of_a_file_L79(tmp_path: Path, journal: str | None) -> None:
    old, job = '{"old":1}\n{"old":2}', Job(tmp_path, None)
    job.out.write_text(old)
    job.out.chmod(0o640)
    job.options = {"if_exists": "error"}
    with pytest.raises(ConfigError, match='if_exists="error" was said'):
        job.run(journal)
    assert job.out.read_text() == old
    job.options = {"if_exists": "append"}
    report = job.run(journal)
    assert read(job.out) == [{"old": 1}, {"old": 2}, *WHOLE]
    assert [f.what for f in report.files] == ["appended"]
    assert job.out.stat().st_mode & 0o777 == 0o640
    job.options = {"if_exists": "replace"}
    assert [f.what for f in job.run("other.db").files] == ["replaced"]
    assert read(job.out) == WHOLE
    with pytest.raises(ConfigError, match="if_exists='maybe'"):
        sinks.jsonl(job.out, if_exists="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_nothing_of_the_old_file_is_lost_before_the_new_one_is_complete_L79(tmp_path: Path, mode: Any) -> None:
    job = Job(tmp_path, if_exists=mode)
    job.out.write_text('{"old":1}\n')
    job.stopped()
    assert job.out.read_text() == '{"old":1}\n'
    assert job.part.exists()
    job.run()
    assert read(job.out) == ([{"old": 1}, *WHOLE] if mode == "append" else WHOLE)
    assert sorted(os.listdir(tmp_path))[0] == "out.jsonl"
    assert not list(tmp_path.glob("*.part*"))


def test_a_file_that_appears_while_the_run_goes_on_is_not_overwritten_L61(tmp_path: Path) -> None:
    job = Job(tmp_path).stopped()
    job.out.write_text("mine\n")
    with pytest.raises(RunFailed, match="appeared while the run went on, and is left as it is; the rows are in"):
        job.run()
    assert job.out.read_text() == "mine\n"
    job.out.unlink()
    job.run()
    assert read(job.out) == WHOLE


def test_an_empty_file_is_nothing_that_could_be_lost(tmp_path: Path) -> None:
    job = Job(tmp_path, None, if_exists="error")
    job.out.touch()
    job.run(None)
    assert read(job.out) == WHOLE


# --- between lives ---


def test_what_a_run_wrote_is_known_again_by_its_contents_L88(tmp_path: Path) -> None:
    job = Job(tmp_path).stopped()
    whole = job.part.read_bytes()
    for edited in (whole.replace(b'{"n":5}', b'{"n":6}'), whole[:50], b"", b'{"n":9}\n' * 300):
        job.part.write_bytes(edited)
        with pytest.raises(ConfigError, match="the journal says that"):
            job.run()
        assert job.part.read_bytes() == edited, "nothing is touched"
    job.part.unlink()
    with pytest.raises(ConfigError, match=r"neither it nor .* is there; put it back, or begin with another journal"):
        job.run()
    job.out.write_bytes(whole.replace(b'{"n":5}', b'{"n":6}'))
    with pytest.raises(ConfigError, match="where this run was writing, is gone"):
        job.run()
    job.out.unlink()
    # More than the journal knows of may be there, and is cut.
    job.part.write_bytes(whole + b'{"n": "torn')
    job.run()
    assert read(job.out) == WHOLE


def test_a_stray_part_is_not_taken_for_what_a_complete_run_wrote_L61(tmp_path: Path) -> None:
    job = Job(tmp_path).stopped()
    job.run()
    stray = '{"n":9}\n' * 300
    job.part.write_text(stray)
    with pytest.raises(ConfigError, match="was not written by this run, whose output is complete; move it away"):
        job.run()
    assert (read(job.out), job.part.read_text()) == (WHOLE, stray)


def test_a_stray_part_is_not_cut_by_a_new_run_L61(tmp_path: Path) -> None:
    job = Job(tmp_path, None)
    job.part.write_text("mine")
    with pytest.raises(ConfigError, match="nothing beside it says which run wrote it; move it away"):
        job.run()
    assert job.part.read_text() == "mine"


def test_the_rows_of_an_interrupted_run_are_not_cut_by_another_L61(tmp_path: Path) -> None:
    job = Job(tmp_path).stopped()
    whole = job.part.read_bytes()
    for other in ({"journal": None}, {"journal": "other.db"}, {"name": "another"}):
        with pytest.raises(ConfigError, match=r"has the rows of a run of the pipeline 'job'.*go on with it"):
            job.run(**other)
    assert job.part.read_bytes() == whole
    job.run()
    assert read(job.out) == WHOLE


@pytest.mark.parametrize("again", ["run.db", None])
def test_leftovers_of_a_run_that_cannot_be_resumed_are_written_over(tmp_path: Path, again: str | None) -> None:
    job = Job(tmp_path).stopped()
    for file in tmp_path.glob("run.db*"):
        file.unlink()
    job.run(again)
    assert read(job.out) == WHOLE


def test_rows_tried_again_go_on_the_finished_output_if_it_is_what_was_written_L88(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    sink, run = JsonlSink(out), RunInfo("job", "1", str(tmp_path / "run.db"))

    def life(place: Any, *rows: Any) -> Any:
        claim = sink.claim(run, place)
        sink.resume(place)
        for row in rows:
            sink.write([row])
        told = sink.tell()
        sink.close(True)
        assert claim.error(1.0) is None
        return told

    place = life(None, 1, 2)
    inode = out.stat().st_ino
    assert life(place) == place
    assert out.stat().st_ino == inode, "nothing is written where nothing came"
    later = life(place, 3)
    assert (read(out), sink.written() is not None) == ([1, 2, 3], True)
    out.write_text(out.read_text().replace("2", "5"))
    with pytest.raises(ConfigError, match="is not what this run wrote"):
        sink.claim(run, later)
    out.write_text("1\n2\n3\nadded by its owner\n")
    with pytest.raises(ConfigError, match="is not what this run wrote"):
        sink.claim(run, later)
    assert os.listdir(tmp_path) == ["out.jsonl"]


# --- two runs at once ---


def test_a_second_run_is_told_who_writes_to_an_output_L61(tmp_path: Path) -> None:
    out, begun, go_on = tmp_path / "out.jsonl", threading.Event(), threading.Event()

    def wait(n: int) -> int:
        begun.set()
        go_on.wait(30)
        return n

    run = Pipeline("first").source([1]).map(wait).sink(sinks.jsonl(out)).start()
    assert begun.wait(10)
    try:
        with pytest.raises(
            ConfigError, match=f"is being written by the pipeline 'first' in process {os.getpid()} on .* since"
        ):
            Pipeline("second").source([2]).sink(sinks.jsonl(out)).run()
        other = _other_process(out)
        assert f"is being written by the pipeline 'first' in process {os.getpid()}" in other.stdout, other.stderr
    finally:
        go_on.set()
        run.wait(10)
    assert Pipeline("first").source([3]).sink(sinks.jsonl(out)).run().delivered == 1
    assert read(out) == [3]


def _other_process(out: Path) -> subprocess.CompletedProcess[str]:
    code = """import sys
from headrace.runtime import ConfigError, Pipeline, sinks
try:
    Pipeline("other").source([2]).sink(sinks.jsonl(sys.argv[1])).run()
except ConfigError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, timeout=30)


def test_a_lock_ends_with_its_process_L61(tmp_path: Path) -> None:
    code = "import os, sys\nfrom headrace.runtime import Pipeline, sinks\n"
    code += "Pipeline('job').source([1]).map(lambda n: os.kill(os.getpid(), 9)).sink(sinks.jsonl(sys.argv[1])).run()"
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out.jsonl")], timeout=30)
    assert killed.returncode == -9
    assert (tmp_path / "out.jsonl.part.lock").exists()
    job = Job(tmp_path, None)
    job.run(None)
    assert os.listdir(tmp_path) == ["out.jsonl"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_neither_holds_nor_ends_its_parents_lock_L61(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "out.jsonl")
    claim = sink.claim(RunInfo(), None)
    child = os.fork()
    if not child:
        try:
            JsonlSink(tmp_path / "out.jsonl").claim(RunInfo(), None)
        except ConfigError:
            os._exit(3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    with pytest.raises(ConfigError, match="is being written"):
        JsonlSink(tmp_path / "out.jsonl").claim(RunInfo(), None)
    claim.release()
    assert os.listdir(tmp_path) == []


def test_a_run_that_does_not_begin_lets_go_of_what_it_held(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").mkdir()
    pipeline = Pipeline().source([1]).sink(sinks.jsonl(tmp_path / "a.jsonl")).sink(sinks.jsonl(tmp_path / "b.jsonl"))
    with pytest.raises(ConfigError, match=r"b.jsonl: is a folder, not a file"):
        pipeline.run()
    assert os.listdir(tmp_path) == ["b.jsonl"]
    Pipeline().source([1]).sink(sinks.jsonl(tmp_path / "a.jsonl")).run()


# --- what is no plain file ---


def test_a_link_stays_and_the_file_behind_it_is_the_output_L87(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    real, link = tmp_path / "data" / "real.jsonl", tmp_path / "out.jsonl"
    link.symlink_to(real)
    job = Job(tmp_path).stopped()
    assert (tmp_path / "data" / "real.jsonl.part").exists()
    job.run()
    assert link.is_symlink()
    assert read(real) == WHOLE


def test_a_named_pipe_is_written_in_place_L87(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    os.mkfifo(out)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(out.read_text()), daemon=True)
    reader.start()
    Job(tmp_path, None).run()
    reader.join(10)
    assert [json.loads(line) for line in got[0].splitlines()] == WHOLE
    assert out.is_fifo()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_written_in_place_L87() -> None:
    with pytest.raises(RunFailed, match="No space left on device"):
        Pipeline().source([1]).sink(sinks.jsonl("/dev/full")).run()
    assert Pipeline().source([1]).sink(sinks.csv(os.devnull)).sink(sinks.csv("/dev/null")).run().quarantined == 1


def test_an_output_that_becomes_a_folder_has_not_ended_well_L87(tmp_path: Path) -> None:
    job = Job(tmp_path, None)

    def work(n: int) -> dict[str, int]:
        job.out.mkdir(exist_ok=True)
        return {"n": n}

    job._work = work  # type: ignore[method-assign]
    with pytest.raises(
        RunFailed, match=r"became a folder while the run went on; the rows are in .*out.jsonl.part"
    ) as caught:
        job.run()
    assert caught.value.report.state == "failed"
    assert [(f.what, f.at) for f in caught.value.report.files] == [("unfinished", str(job.part))]
    assert read(job.part) == WHOLE
    job.out.rmdir()
    job.run()
    assert read(job.out) == WHOLE


def test_standard_output_that_is_closed_is_told_L91(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match="standard output: is closed"):
        Pipeline().source([1]).sink(sinks.jsonl("-")).run()


# --- CSV: appended to, and columns ---


def test_rows_appended_to_a_csv_file_have_its_columns_L90(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text('b,"a"\n1,2\n')
    bad: list[Any] = []
    sink = sinks.csv(out, if_exists="append")
    Pipeline().source([{"a": 3, "b": 4}, {"c": 5}]).sink(sink).quarantine(bad.append).run()
    assert list(csv.reader(out.read_text().splitlines())) == [["b", "a"], ["1", "2"], ["4", "3"]]
    assert "key 'c': is no column" in bad[0]["message"]
    with pytest.raises(ConfigError, match=r"have the columns 'b', 'a', and columns= names 'a'"):
        Pipeline().source([{"a": 1}]).sink(sinks.csv(out, columns=["a"], if_exists="append")).run()
