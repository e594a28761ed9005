"""Rows that a sink cannot hold, and answers that a journal cannot keep, are the fault of their row, not of the run (L62)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import Pipeline, sinks
from headrace.runtime.errors import BadInput, RunFailed, UnwritableRows


class EvenSink:
    """A connector that can hold even numbers only, or records of the quarantine whose row is text."""

    name = "even numbers"

    def __init__(self, takes: Any = lambda row: row % 2 == 0) -> None:
        self.rows: list[Any] = []
        self._takes = takes

    def open(self) -> None:
        """There is nothing to open."""

    def write(self, items: list[Any]) -> None:
        self.rows += [item for item in items if self._takes(item)]
        bad = {index: BadInput(f"{item!r} is odd") for index, item in enumerate(items) if not self._takes(item)}
        if bad:
            raise UnwritableRows(bad)

    def close(self, complete: bool) -> None:
        """There is nothing to close."""


def test_rows_that_a_connector_cannot_hold_go_to_quarantine_and_name_the_sink_L62(tmp_path: Path) -> None:
    sink, bad = EvenSink(), tmp_path / "bad.jsonl"
    pipeline = Pipeline().source(range(100)).map(lambda row: row).sink(sink, name="evens")
    report = pipeline.quarantine(sinks.jsonl(bad)).run()
    assert (report.state, report.delivered, report.quarantined) == ("completed", 50, 50)
    assert sink.rows == list(range(0, 100, 2)), "the others are written, in order"
    records = [json.loads(line) for line in bad.read_text().splitlines()]
    assert [record["row"] for record in records] == list(range(1, 100, 2))
    assert {(r["stage"], r["error"]) for r in records} == {("evens", "BadInput")}
    assert records[0]["message"] == "1 is odd"
    assert all(node.traffic.adds_up for node in report.nodes)


def test_a_row_that_one_of_two_sinks_cannot_hold_is_in_the_other_and_in_quarantine_L62() -> None:
    evens = EvenSink()
    everything: list[int] = []
    bad: list[Any] = []
    pipeline = Pipeline().source(range(10)).sink(evens).sink(everything.append).quarantine(bad.append)
    report = pipeline.run()
    assert sorted(everything) == list(range(10))
    assert (report.rows, report.delivered, report.quarantined) == (10, 5, 5)
    assert sorted(record["row"] for record in bad) == [1, 3, 5, 7, 9]


def test_without_a_quarantine_such_rows_are_counted_and_the_run_goes_on_L62() -> None:
    report = Pipeline().source(range(10)).sink(EvenSink()).run()
    assert (report.state, report.delivered, report.quarantined) == ("completed", 5, 5)


def test_what_the_quarantine_itself_cannot_hold_is_written_there_as_marked_text_L62() -> None:
    def fails(row: Any) -> Any:
        raise ValueError("no")

    plain = EvenSink(lambda record: isinstance(record["row"], str))
    rows = [{"t": "\ud83d"}, {"n": 2**70}, {"x": float("nan")}]
    assert Pipeline().source(rows).map(fails, workers=1).sink(print).quarantine(plain).run().quarantined == 3
    assert [(record["row"], record["escaped"]) for record in plain.rows] == [
        ('{"t": "\\ud83d"}', True),
        ('{"n": 1180591620717411303424}', True),
        ('{"x": NaN}', True),
    ]
    cells = EvenSink(lambda record: isinstance(record["row"], str) and "escaped" not in record)
    assert Pipeline().source(rows).map(fails, workers=1).sink(print).quarantine(cells).run().quarantined == 3
    assert cells.rows[0]["row"] == 'escaped: {"t": "\\ud83d"}', "a table has no column for the mark"


def test_a_quarantine_that_can_hold_nothing_fails_the_run_by_name_L62() -> None:
    def fails(row: Any) -> Any:
        raise ValueError("no")

    nothing = EvenSink(lambda record: False)
    with pytest.raises(RunFailed, match="UnwritableRows"):
        Pipeline().source(range(3)).map(fails).sink(print).quarantine(nothing).run()


def test_a_connector_that_blames_a_row_that_is_not_there_is_told_L62() -> None:
    class Confused(EvenSink):
        def write(self, items: list[Any]) -> None:
            raise UnwritableRows({len(items): BadInput("one too far")})

    with pytest.raises(RunFailed, match=r"even numbers: UnwritableRows names row (\d+) of a batch of \1 rows"):
        Pipeline().source(range(3)).sink(Confused()).run()


def test_an_answer_that_a_journal_cannot_keep_costs_its_row_alone_in_every_life_L62(tmp_path: Path) -> None:
    calls: list[int] = []

    def ask(row: int) -> Any:
        calls.append(row)
        return {"answer": object()} if row == 50 else {"answer": row}

    # What it has noted so far is no part of what it is.
    ask.version = "1"  # type: ignore[attr-defined]

    def run() -> Any:
        out = sinks.jsonl(tmp_path / "out.jsonl")
        return Pipeline("job").source(range(100)).map(ask, workers=4).sink(out).run(journal=tmp_path / "run.db")

    report = run()
    assert (report.delivered, report.quarantined) == (99, 1)
    again = run()
    assert (again.state, again.delivered, again.quarantined) == ("completed", 99, 1)
    assert sorted(calls) == list(range(100)), "nothing is called again"


def test_a_function_none_of_whose_answers_can_be_kept_fails_the_run_after_few_calls_L62(tmp_path: Path) -> None:
    calls: list[int] = []

    def ask(row: int) -> Any:
        calls.append(row)
        return object()

    pipeline = Pipeline("job").source(range(10_000)).map(ask, workers=1).sink(print)
    with pytest.raises(RunFailed, match="none of its first"):
        pipeline.run(journal=tmp_path / "run.db")
    assert len(calls) < 10_000
