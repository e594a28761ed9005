"""Rows in quarantine are looked for, then marked, and marked only when all that the run works with is open (L65)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.conftest import versioned

from headrace.runtime import Pipeline, RunFailed, sinks, sources
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.requeue import Again, look, try_again
from headrace.runtime.journal.stores import hold, look_into


def broken(row: Any) -> Any:
    if row["n"] % 10 == 3:
        raise ValueError("not yet")
    if row["n"] == 44:
        raise KeyError("never")
    return row


def mended(row: Any) -> Any:
    return row


class Job:
    """A file of a hundred rows, eleven of which end in quarantine."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.out = folder / "run.db", folder / "out.jsonl"
        self.input = folder / "in.jsonl"
        self.input.write_text("".join(f'{{"n":{n}}}\n' for n in range(100)))

    def run(self, function: Callable[[Any], Any], sink: Any = None, again: Again | None = None, **options: Any) -> Any:
        pipeline = Pipeline("job").source(sources.jsonl(self.input)).map(function, name="work", retry=1)
        return pipeline.sink(sink or sinks.jsonl(self.out)).start(journal=self.journal, again=again, **options).wait()

    def candidates(self, again: Again = Again()) -> list[int]:
        file = look_into(str(self.journal))
        try:
            return look(file, 1, again).rows
        finally:
            file.close()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path)
    assert job.run(broken).quarantined == 11
    return job


BAD = [3, 13, 23, 33, 43, 44, 53, 63, 73, 83, 93]


def test_a_mended_function_is_the_expected_case_and_needs_no_word_L65(job: Job) -> None:
    with pytest.raises(ConfigError, match="the code of its function changed"):
        job.run(mended)
    marked: list[list[int]] = []
    report = job.run(mended, again=Again(frozenset({13, 44}), note=marked.append))
    assert (report.delivered, report.quarantined) == (91, 9)
    assert marked[-1] == [13, 44]
    assert job.run(mended, again=Again(error="ValueError")).delivered == 100
    assert sorted(json.loads(line)["n"] for line in job.out.read_text().splitlines()) == list(range(100))


def test_what_refuses_it_has_marked_nothing_and_the_rows_are_found_again_L65(job: Job) -> None:
    class Refuses:
        name = "refuses"

        def open(self) -> None:
            raise ConfigError("it was changed by its owner")

        def write(self, items: list[Any]) -> None:
            raise AssertionError

        def close(self, complete: bool) -> None:
            raise AssertionError

    refusing = Refuses()
    refusing.name = str(job.out)
    with pytest.raises(RunFailed, match="changed by its owner"):
        job.run(mended, refusing, again=Again())
    assert job.candidates() == BAD
    with pytest.raises(ConfigError, match="the code of its function changed"):
        job.run(mended)
    job.input.write_text(job.input.read_text() + '{"n":100}\n')
    with pytest.raises(ConfigError, match=r"(?s)source: .*nothing was marked; go on all the same"):
        job.run(mended, again=Again())
    job.input.write_text("".join(f'{{"n":{n}}}\n' for n in range(100)))
    assert job.candidates() == BAD
    job.out.unlink()
    with pytest.raises(ConfigError, match="cannot be opened"):
        job.run(mended, again=Again())
    assert job.candidates() == BAD


def test_it_says_why_a_row_cannot_be_tried_L65(job: Job) -> None:
    for again, what in (
        (Again(frozenset({5})), "row 5 is not in quarantine: it was delivered; nothing was marked"),
        (Again(frozenset({5, 100})), "row 100 is not in quarantine: there is no such row, the last one is row 99"),
        (Again(frozenset({44}), "ValueError"), "row 44 is not in quarantine by ValueError: another error ended it"),
        (Again(error="OSError"), "no row is in quarantine by OSError; there are 10 by ValueError, 1 by KeyError"),
    ):
        with pytest.raises(ConfigError, match=what):
            job.candidates(again)
        with pytest.raises(ConfigError, match=what):
            job.run(mended, again=again)
    assert job.candidates() == BAD
    file = hold(str(job.journal))
    try:
        assert try_again(file, rows=[13]) == [13]
        with pytest.raises(ConfigError, match="row 13 is not in quarantine: it is not done, and `headrace resume`"):
            look(file, 1, Again(frozenset({13})))
    finally:
        file.close()
    assert job.run(mended, again=Again(frozenset({23}))).delivered == 91


def test_a_run_that_goes_on_elsewhere_is_told_L65(job: Job) -> None:
    file = hold(str(job.journal))
    try:
        with pytest.raises(ConfigError, match="another process is running with this journal"):
            job.run(mended, again=Again())
    finally:
        file.close()
    assert job.candidates() == BAD


def test_a_renamed_stage_that_is_accepted_is_another_one_and_the_journal_stays_sound_L90(tmp_path: Path) -> None:
    out, stop = tmp_path / "out.jsonl", [True]

    def work(row: int) -> int:
        if row == 60 and stop:
            raise ValueError("stop")
        return row

    def run(name: str, kind: str = "map", **options: Any) -> Any:
        flow = getattr(Pipeline("job").source(range(100)), kind)
        flow = flow(versioned(work), name=name, workers=1, retry=1, on_error="fail")
        return flow.sink(sinks.jsonl(out)).run(journal=tmp_path / "run.db", **options)

    with pytest.raises(RunFailed):
        run("f")
    stop.clear()
    with pytest.raises(ConfigError, match=r"(?s)f: is gone.*g: is new"):
        run("g")
    assert run("g", accept_changes=True).delivered == 100
    assert [json.loads(line) for line in out.read_text().splitlines()] == list(range(100))
    assert run("g").delivered == 100


def test_answers_of_a_node_that_is_of_another_kind_now_are_not_taken_for_its_own_L90(tmp_path: Path) -> None:
    stop, got = [True], list[int]()

    def even(row: int) -> bool:
        return row % 2 == 0

    def last(row: Any) -> Any:
        if stop and int(row) == 0:
            raise ValueError("stop")
        got.append(row)

    def run(kind: str, **options: Any) -> Any:
        flow = getattr(Pipeline("job").source(range(30)), kind)(versioned(even), name="even")
        flow = flow.tap(versioned(last), workers=1, retry=1, on_error="fail")
        return flow.run(journal=tmp_path / "run.db", **options)

    with pytest.raises(RunFailed):
        run("map")
    stop.clear()
    got.clear()
    report = run("filter", accept_changes=True)
    assert report.rows == 30
    assert set(got) <= set(range(0, 30, 2))
    assert run("filter").rows == 30
