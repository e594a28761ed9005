"""What a dedupe knows survives: a kill at any moment, a retry, a journal of a version before it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.conftest import versioned

from headrace.actors import protocol
from headrace.actors.journaling.recovered import Notes
from headrace.actors.protocol import Ended, Status
from headrace.runtime import ConfigError, Journal, Pipeline, sinks, sources
from headrace.runtime.journal.explain import explain
from headrace.runtime.journal.kept_run import KeptRun
from headrace.runtime.journal.records import RunRow
from headrace.runtime.journal.requeue import Again
from headrace.runtime.journal.stores import hold, look_into
from headrace.runtime.journal.story_text import story_text

KILLED = """
import os, signal, sys
from headrace import Journal, Pipeline, sinks, sources

at, folder = int(sys.argv[1]), sys.argv[2]
seen = 0


def tick():
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)


def ask(row):
    tick()
    return row


ask.version = "1"
flow = Pipeline("job").source(sources.jsonl(folder + "/in.jsonl")).map(ask, workers=8, name="before")
flow = flow.dedupe(key=lambda row: row["n"] % 50, within=120).map(ask, workers=3, name="after")
report = flow.sink(sinks.jsonl(folder + "/out.jsonl")).run(
    journal=Journal(folder + "/run.db", within=0.001)
)
print(report.delivered, report.dropped)
"""


@pytest.mark.parametrize("moments", [(300, 250, 200, 3), (50, 120, 350)])
def test_no_duplicate_and_no_first_row_is_lost_by_a_kill(tmp_path: Path, moments: tuple[int, ...]) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"n":{n}}}\n' for n in range(400)))
    (tmp_path / "job.py").write_text(KILLED)

    def run(at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "job.py"), str(at), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=50)

    killed = [run(at).returncode for at in moments]
    assert -signal.SIGKILL in killed
    done = run(0)
    assert done.stdout == "50 350\n", done.stderr
    rows = [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows == list(range(50))


class Job:
    """Rows by their letters; `bad` ones cannot be done."""

    def __init__(self, folder: Path, within: int = 100) -> None:
        self.journal, self.out, self.input = folder / "run.db", folder / "out.jsonl", folder / "in.jsonl"
        self.within = within

    def run(self, letters: str, bad: str = "", again: Again | None = None, **options: Any) -> Any:
        self.input.write_text("".join(json.dumps({"is": letter}) + "\n" for letter in letters))

        @versioned
        def check(row: Any) -> Any:
            if row["is"] in bad:
                raise ValueError("not yet")
            return row

        key = versioned(lambda row: row["is"].lower())
        flow = Pipeline("job").source(sources.jsonl(self.input)).map(check, name="before", retry=1)
        flow = flow.dedupe(key=key, within=self.within).map(check, name="after", retry=1)
        options.setdefault("journal", self.journal)
        return flow.sink(sinks.jsonl(self.out)).start(again=again, **options).wait()

    @property
    def written(self) -> str:
        return "".join(json.loads(line)["is"] for line in self.out.read_text().splitlines())

    def told(self, row: int) -> str:
        file = look_into(str(self.journal))
        try:
            return story_text(explain(file, row))
        finally:
            file.close()


def test_explain_says_of_which_row_it_is_a_duplicate(tmp_path: Path) -> None:
    job = Job(tmp_path)
    report = job.run("abcaB")
    assert (report.delivered, report.dropped) == (3, 2)
    assert "duplicate of row 0" in job.told(3)
    assert "duplicate of row 1" in job.told(4)
    assert "dropped" in job.told(3).splitlines()[0]


def test_a_run_that_is_done_has_nothing_left_to_do(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.run("abcaB")
    report = job.run("abcaB")
    assert (report.rows, report.delivered, report.calls) == (5, 3, 0)
    assert job.written == "abc"


def test_a_row_that_comes_back_from_quarantine_is_no_duplicate_of_itself(tmp_path: Path) -> None:
    def run(well: bool, again: Again | None = None) -> Any:
        def after(row: str) -> str:
            if row == "a" and not well:
                raise ValueError("not yet")
            return row

        # What it remembers ends long before the run does.
        letters = ["b", "a", "a", *map(str, range(500)), "a", "c"]
        flow = Pipeline("job").source(letters).dedupe(key=versioned(lambda row: row), within=3)
        flow = flow.map(versioned(after), retry=1)
        journal = Journal(tmp_path / "run.db", within=0.0)
        return flow.sink(sinks.jsonl(tmp_path / "out.jsonl")).start(journal=journal, again=again).wait()

    first = run(False)
    assert (first.delivered, first.dropped, first.quarantined) == (502, 1, 2)
    report = run(True, Again())
    assert (report.delivered, report.dropped, report.quarantined) == (504, 1, 0)


def test_a_row_that_comes_back_is_a_duplicate_of_one_that_went_on(tmp_path: Path) -> None:
    job = Job(tmp_path)
    first = job.run("abAb", bad="A")
    assert (first.delivered, first.dropped, first.quarantined) == (2, 1, 1)
    report = job.run("abAb", again=Again())
    assert (report.delivered, report.dropped, report.quarantined) == (2, 2, 0)
    assert job.written == "ab"
    assert "duplicate of row 0" in job.told(2)


def test_a_first_row_that_comes_back_is_dropped_for_the_one_that_went_on(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert job.run("Abab", bad="A").quarantined == 1
    assert job.written == "ba"
    report = job.run("Abab", again=Again())
    assert (report.delivered, report.dropped) == (2, 2)
    assert job.written == "ba"
    assert "duplicate of row 2" in job.told(0)


def test_a_row_that_comes_back_when_its_neighbours_are_forgotten_goes_on(tmp_path: Path) -> None:
    job = Job(tmp_path, within=2)
    assert job.run("Abcdefga", bad="A").quarantined == 1
    report = job.run("Abcdefga", again=Again())
    assert (report.delivered, report.dropped) == (8, 0)


def test_what_is_not_needed_any_more_is_forgotten(tmp_path: Path) -> None:
    held = hold(str(tmp_path / "run.db"))
    with held.store.transaction():
        held.save_run(RunRow(1, "k", "n", 0.0, "{}", None))
    run = KeptRun(held, 1, {})
    run.past()
    run.begin_life()

    def noted() -> list[int]:
        return [turn for _, _, turn, *_ in held.read("noted", 1)]

    def come(row: int, *others: Any) -> None:
        run.commit([protocol.Noted("dedupe", row, range(row, row + 1), [b"%d" % row], 3), *others])

    done = protocol.RowsSettled
    for row in range(10):
        come(row, done(Status.DELIVERED, range(row, row + 1)))
    assert noted() == [7, 8, 9]
    come(10)
    come(11, done(Status.DELIVERED, range(11, 12)))
    bad = Ended(12, Status.QUARANTINED, ValueError("bad"), 1, None, "after")
    come(12, protocol.Ends("after", [bad]), done(Status.QUARANTINED, range(12, 13)))
    for row in range(13, 20):
        come(row, done(Status.DELIVERED, range(row, row + 1)))
    # Row 10 is not done, so nothing after it is forgotten.
    assert noted() == list(range(9, 20)) or noted() == list(range(10, 20))
    come(20, done(Status.DELIVERED, range(20, 21)), done(Status.DELIVERED, range(10, 11)))
    assert noted() == [12, 18, 19, 20], "row 12 may be tried again"
    held.close()
    again = hold(str(tmp_path / "run.db"))
    past = KeptRun(again, 1, {}).past()
    again.close()
    assert past.noted["dedupe"] == Notes(21, tuple((n, n, b"%d" % n) for n in (18, 19, 20)), {})


def test_another_bound_or_another_key_is_another_work(tmp_path: Path) -> None:
    Job(tmp_path).run("abc")
    with pytest.raises(ConfigError, match="dedupe: within was 100, and is 7"):
        Job(tmp_path, within=7).run("abc")


@pytest.mark.parametrize("version", [2, 3])
def test_a_journal_of_a_version_before_goes_on_L64(tmp_path: Path, version: int) -> None:
    """It lacks tables that came later, and gets them when there is something to write in them."""

    def flow(sink: Any) -> Any:
        return Pipeline("job").source(range(10)).map(str, name="say").sink(sink)

    path = tmp_path / "run.db"
    flow(sinks.jsonl(tmp_path / "out.jsonl")).run(journal=path)
    with closing(sqlite3.connect(path)) as db, db:
        for table in ("noted", *(("learned", "spent") if version == 2 else ())):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
            db.execute(f"DROP TABLE {table}")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    assert flow(sinks.jsonl(tmp_path / "out.jsonl")).run(journal=path).delivered == 10
    two = Pipeline("two").source(["a", "a", "b"]).dedupe(key=versioned(lambda row: row), within=5)
    assert two.sink(sinks.jsonl(tmp_path / "two.jsonl")).run(journal=path).delivered == 2
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("SELECT count(*) FROM noted").fetchone()[0] >= 1
