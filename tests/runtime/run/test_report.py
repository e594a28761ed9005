"""The report says why, where, and what to do next (L78), to people at any width, and to programs."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import CancelledError
from html.parser import HTMLParser
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from headrace.runtime import (
    Executor,
    Limit,
    Pipeline,
    RateLimited,
    Retry,
    Run,
    RunReport,
    TransientError,
    sinks,
    sources,
)
from headrace.runtime.run.layout import Line, as_text
from headrace.runtime.text import seconds

HOSTILE = "\x1b[2J\u202e<script>alert(1)</script>\nforged: line"


def lines_of(rows: int) -> str:
    return "id,name\n" + "".join(f"{n},row {n}\n" for n in range(rows))


def ask(row: dict[str, str]) -> dict[str, str]:
    if int(row["id"]) % 10 == 4:
        raise ValueError(f"no such city: {row['name']}")
    if int(row["id"]) == 7:
        raise TransientError("reset by peer")
    return row


def job(folder: Path, function: Any = ask, rows: int = 40) -> RunReport:
    (folder / "in.csv").write_text(lines_of(rows))
    return (
        Pipeline("job")
        .source(sources.csv(folder / "in.csv"))
        .map(function, workers=4, retry=Retry(3, base=0.001), version="1")
        .sink(sinks.jsonl(folder / "out.jsonl"))
        .quarantine(sinks.jsonl(folder / "bad.jsonl"))
        .run()
    )


def test_errors_are_grouped_by_type_and_place_with_an_example_its_line_and_its_record_L78(tmp_path: Path) -> None:
    report = job(tmp_path)
    by_type = {(error.error, error.what): error for error in report.errors}
    city = by_type["ValueError", "quarantined"]
    assert (city.place, city.count, city.in_all, city.row, city.attempts) == ("ask", 4, 4, 4, 1)
    # The header is the first line.
    assert city.line == f"{tmp_path / 'in.csv'}:6"
    records = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    number = next(n for n, record in enumerate(records, 1) if record["seq"] == 4)
    assert city.record == f"record {number} of {tmp_path / 'bad.jsonl'}"
    assert city.message == "no such city: row 4"
    reset = by_type["TransientError", "quarantined"]
    assert (reset.count, reset.attempts, reset.row) == (1, 3, 7)
    assert by_type["TransientError", "transient"].count == 3
    assert f"4 × ValueError in ask: quarantined\n      first row 4, {city.line}" in report.text(400)


def test_a_line_that_could_not_be_read_and_a_row_that_a_sink_cannot_hold_have_their_place(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,name\n1,a\n2\n3,c\n")
    report = (
        Pipeline()
        .source(sources.csv(tmp_path / "in.csv"))
        .map(lambda row: {"n": float("nan") if row["id"] == "3" else 1.0})
        .sink(sinks.jsonl(tmp_path / "out.jsonl"))
        .run()
    )
    assert {(error.place, error.row) for error in report.errors if error.of_rows} == {("source", 1), ("sink", 2)}
    assert f"{tmp_path / 'in.csv'}:3" in report.text(200)


def test_errors_add_up_to_the_rows_that_ended_badly(tmp_path: Path) -> None:
    report = job(tmp_path)
    assert sum(error.count for error in report.errors if error.of_rows) == report.quarantined + report.failed == 5


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_was_asked_for(width: int) -> None:
    def odd(n: int) -> int:
        if n % 2:
            raise ValueError("word " * 100)
        return n

    report = Pipeline("a pipeline with a name of some length").source(range(400)).map(odd, workers=4).run()
    text = report.text(width)
    assert max(map(len, text.splitlines())) <= width
    assert "quarantined" in text
    assert "200" in text


def test_a_path_and_a_command_stay_whole_however_narrow_it_is() -> None:
    command = "headrace retry '/a path/that is long/run.db' --error TimeoutError"
    assert as_text([Line(2, command, whole=True)], 40) == f"    {command}"
    assert "/a/" + "long/" * 20 in as_text([Line(1, f"note: written to /a/{'long/' * 20} at last")], 40)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def test_nothing_in_a_report_is_obeyed_by_a_terminal_or_a_browser_L81() -> None:
    def hostile(n: int) -> int:
        raise ValueError(HOSTILE)

    report = Pipeline("<i>job</i>").source(range(3)).map(hostile).run()
    for width in (60, 120):
        text = report.text(width)
        assert all(line.isprintable() for line in text.splitlines())
        assert "\nforged" not in text
    page = report._repr_html_()
    found = _Tags()
    found.feed(page)
    assert found.tags <= {"table", "caption", "b", "tbody", "tr", "td", "code"}
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert not re.search(r"https?:|src=|href=", page)


def test_a_row_of_ten_megabytes_is_not_in_the_report() -> None:
    def large(row: str) -> str:
        raise ValueError(f"cannot take {row}")

    report = Pipeline().source(["x" * 10_000_000] * 3).map(large).run()
    assert len(report.text(120)) < 3000
    assert len(json.dumps(report.to_dict())) < 20_000


def test_secrets_in_errors_are_not_in_the_report() -> None:
    def call(n: int) -> int:
        raise ConnectionError("GET https://me:hunter2@api.example/v1?api_key=abc123xyz: 401")

    report = Pipeline().source([1]).map(call, retry=1).run()
    told = report.text(200) + json.dumps(report.to_dict()) + report._repr_html_()
    assert "hunter2" not in told
    assert "abc123xyz" not in told


def test_calls_in_flight_are_never_more_than_workers(tmp_path: Path) -> None:
    most = []

    def look(n: int) -> int:
        most.append(1)
        return n

    report = Pipeline().source(range(20_000)).map(look, workers=3).run()
    assert 1 <= report.stages[0].calls.in_flight_max <= 3
    assert report.stages[0].calls.latency.calls == report.calls == len(most)


def test_the_slowest_rows_are_named_and_percentiles_given(tmp_path: Path) -> None:
    entered = threading.Event()

    def slow(n: int) -> int:
        if n == 17:
            entered.wait(0.05)
        return n

    latency = Pipeline().source(range(100)).map(slow, workers=2).run().stages[0].calls.latency
    assert latency.slowest[0].row == 17
    assert latency.max_s > 0.03 > latency.p99_s


def test_what_was_waited_for_is_told_by_cause() -> None:
    refused: list[int] = []

    def ask(n: int) -> int:
        if n == 3 and not refused:
            refused.append(n)
            raise RateLimited("slow down", retry_after=0.2)
        return n

    report = Pipeline().source(range(50)).map(ask, workers=2, limit=Limit("200/s", burst=1)).run()
    waits = {wait.cause: wait for wait in report.waits}
    assert waits["cooldown"].waited_s >= 0.2
    assert waits["permit"].waited_s > 0.05
    assert waits["cooldown"].place == waits["permit"].place == "ask"
    assert all(wait.waited_s <= report.elapsed_s for wait in report.waits)
    assert "for the cooldown after refusals of ask" in report.text()


def test_calls_that_callers_cancel_are_not_failed_L78() -> None:
    begun, done = threading.Event(), threading.Event()

    def hold(n: int) -> int:
        begun.set()
        done.wait(30)
        if n == 2:
            raise KeyError
        return n

    with Executor(max_workers=1) as executor:
        first, *others = [executor.submit(hold, n) for n in range(3)]
        begun.wait(30)
        assert others[0].cancel()
        with pytest.raises(CancelledError):
            others[0].result()
        done.set()
        assert first.result() == 0
        assert isinstance(others[1].exception(), KeyError)
        report = executor.stats()
    assert (report.rows, report.delivered, report.failed, report.dropped) == (3, 1, 1, 1)


def test_with_a_journal_it_says_what_is_of_this_life_and_what_of_all(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(lines_of(4000))
    started: Queue[Run] = Queue()

    def build(drains: bool) -> Any:
        def geo(row: dict[str, str]) -> dict[str, str]:
            if drains and int(row["id"]) == 20:
                started.get().drain()
            return ask(row)

        flow = Pipeline("job", window=16).source(sources.csv(tmp_path / "in.csv")).map(geo, retry=1, version="1")
        return flow.sink(sinks.jsonl(tmp_path / "out.jsonl")).quarantine(sinks.jsonl(tmp_path / "bad.jsonl"))

    run = build(True).start(journal=tmp_path / "run.db")
    started.put(run)
    first = run.wait()
    assert (first.life, first.this_life) == (1, None)
    second = build(False).run(journal=tmp_path / "run.db")
    assert second.rows == second.delivered + second.quarantined == 4000
    assert second.life == 2
    assert second.this_life is not None
    assert second.this_life.rows == 4000 - (first.delivered + first.quarantined)
    (city,) = (error for error in second.errors if error.error == "ValueError" and error.of_rows)
    assert city.in_all == 400
    (before,) = (error for error in first.errors if error.error == "ValueError" and error.of_rows)
    assert 0 < city.count == 400 - before.count < 400
    assert city.record is None, "nobody here knows how many records were there before"
    assert sum(error.in_all for error in second.errors if error.of_rows) == second.quarantined
    assert "in this life, which is number 2" in second.text(200)


def test_it_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(lines_of(10))
    (tmp_path / "job.toml").write_text("")
    path = tmp_path / "run.db"
    flow = Pipeline("job").source(sources.csv(tmp_path / "in.csv")).map(ask, retry=1, version="1")
    # It has a job file, so there are commands.
    with flow.sink(sinks.jsonl(tmp_path / "out.jsonl")).start(journal=path, origin=tmp_path / "job.toml") as run:
        report = run.wait()
    # One row each.
    assert set(report.next_steps) == {
        f"headrace retry {path} --error ValueError",
        f"headrace retry {path} --error TransientError",
        f"headrace explain {path} --row {report.errors[0].row}",
    }
    assert f"  next\n    {report.next_steps[0]}\n" in report.text(60)


def test_a_run_that_was_stopped_says_how_to_resume_or_that_it_cannot() -> None:
    held = threading.Event()

    def hold(n: int) -> int:
        held.wait(30)
        return n

    run = Pipeline().source(range(100)).map(hold, workers=1).start()
    run.abort()
    held.set()
    report = run.wait()
    if report.interrupted:
        assert "without a journal" in report.next_steps[0]


@pytest.mark.parametrize(
    ("took_s", "said"),
    [
        (0.0, "0 s"),
        (3e-6, "3 µs"),
        (0.00204, "2.04 ms"),
        (0.3, "300 ms"),
        (0.9999, "1.00 s"),
        (59.96, "1 min 0 s"),
        (3661.0, "1 h 1 min"),
        (200_000.0, "2 d 7 h"),
    ],
)
def test_durations_are_told_as_people_say_them(took_s: float, said: str) -> None:
    assert seconds(took_s) == said
