"""Runs with a journal, on threads and on a real disk: they go on where they were, and say so where they cannot."""

from __future__ import annotations

import enum
import json
import sqlite3
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.journal.conftest import versioned

from headrace.runtime import Pipeline, RunFailed, sinks, sources
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.requeue import try_again
from headrace.runtime.journal.stores import hold, look_into


class Score(msgspec.Struct):
    n: int
    risk: float


@dataclass
class Point:
    x: int
    y: tuple[int, int]


class Colour(enum.Enum):
    RED = "red"


def _colour(n: int) -> Any:
    return Colour.RED if n % 2 else None


class Breaks:
    """Calls that are counted; the one for `at` breaks the run until it is mended."""

    version = "1"

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.calls: list[Any] = []

    def __call__(self, row: int) -> dict[str, int]:
        self.calls.append(row)
        if row == self.at:
            raise ValueError("not yet")
        return {"n": row}


def rows_in(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_answered_is_kept_as_it_was_whatever_the_next_stage_does_to_it(tmp_path: Path) -> None:
    def one(row: dict[str, int]) -> dict[str, int]:
        row["one"] = 1
        return row

    def two(row: dict[str, int]) -> dict[str, int]:
        row["n"] += 1
        return row

    rows: list[Any] = []
    Pipeline().source([{"n": n} for n in range(9)]).map(one).map(two).sink(rows.append).run(journal=tmp_path / "run.db")
    db = sqlite3.connect(tmp_path / "run.db")
    select = "SELECT value FROM answer JOIN name ON name.id = node WHERE name = ? ORDER BY row"
    kept = {name: [msgspec.msgpack.decode(v) for (v,) in db.execute(select, (name,))] for name in ("one", "two")}
    db.close()
    assert kept["one"] == [{"n": n, "one": 1} for n in range(9)]
    assert kept["two"] == rows == [{"n": n + 1, "one": 1} for n in range(9)]


def test_a_failed_run_goes_on_and_calls_nobody_twice_L26(tmp_path: Path) -> None:
    breaks = Breaks(at=700)

    def run() -> Any:
        pipeline = Pipeline("job").source(range(1000)).map(breaks, workers=4, retry=1, on_error="fail")
        return pipeline.sink(sinks.jsonl(tmp_path / "out.jsonl")).run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed):
        run()
    first, breaks.at = len(breaks.calls), None
    report = run()
    assert (report.state, report.rows, report.delivered) == ("completed", 1000, 1000)
    assert rows_in(tmp_path / "out.jsonl") == [{"n": n} for n in range(1000)]
    # Only those whose answer had not come, and the one that broke.
    assert len(breaks.calls) - first < 1000
    assert len(breaks.calls) <= 1000 + 1 + 4 * 512
    once = len(breaks.calls)
    again = run()
    assert (again.delivered, len(breaks.calls)) == (1000, once), "what is complete is not done again"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_is_read_on_from_where_it_was(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"in.{kind}"
    if kind == "csv":
        path.write_bytes(b"\xef\xbb\xbfn,text\n" + b"".join(b'%d,"a ""quoted""\nline"\r\n' % n for n in range(500)))
    else:
        path.write_bytes(b"".join(b'{"n": "%d"}\n\n' % n for n in range(500)))
    stop = [True]
    seen: list[int] = []

    def take(row: dict[str, str]) -> int:
        n = int(row["n"])
        if n == 300 and stop[0]:
            raise ValueError("stop")
        seen.append(n)
        return n

    def run() -> Any:
        pipeline = (
            Pipeline("job", window=20)
            .source(getattr(sources, kind)(path))
            .map(versioned(take), workers=1, retry=1, on_error="fail")
        )
        return pipeline.run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed):
        run()
    stop[0] = False
    report = run()
    assert (report.rows, report.delivered) == (500, 500)
    assert sorted(set(seen)) == list(range(500))
    file = look_into(str(tmp_path / "run.db"))
    places = [(row, place) for _, row, place in file.read("read")]
    file.close()
    assert len(places) < 60, "old places are forgotten"
    # What is read is where the run goes on, and not the start.
    row, place = places[0]
    assert row > 400
    assert msgspec.msgpack.decode(place)[0] > path.stat().st_size // 2


def test_errors_keep_their_lines_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(50)) + "51,too much\n")
    stop = [True]

    def take(row: dict[str, str]) -> int:
        if row["n"] == "40" and stop[0]:
            raise ValueError("stop")
        return int(row["n"])

    def run() -> Any:
        pipeline = (
            Pipeline("job", window=4)
            .source(sources.csv(path))
            .map(versioned(take), workers=1, retry=1, on_error="fail")
        )
        return pipeline.quarantine(sinks.jsonl(tmp_path / "bad.jsonl")).run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed):
        run()
    stop[0] = False
    assert run().quarantined == 1
    (bad,) = rows_in(tmp_path / "bad.jsonl")
    assert f"{path}:52:" in bad["message"]


def test_values_come_back_as_what_they_were(tmp_path: Path) -> None:
    stop = [True]
    given: list[Any] = []

    def score(row: int) -> Score:
        return Score(row, row / 2)

    def point(row: Score) -> Point:
        return Point(row.n, (row.n, 1))

    def last(row: Point) -> int:
        given.append(row)
        if row.x == 30 and stop[0]:
            raise ValueError("stop")
        return row.x

    def run() -> Any:
        pipeline = (
            Pipeline("job")
            .source(range(40))
            .map(score)
            .map(point)
            .map(versioned(last), retry=1, workers=1, on_error="fail")
        )
        return pipeline.run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed):
        run()
    stop[0] = False
    given.clear()
    run()
    assert given
    assert all(row == Point(row.x, (row.x, 1)) for row in given)


def test_what_no_function_says_of_its_answers_comes_back_all_the_same_L62(tmp_path: Path) -> None:
    breaks, given = [True], list[Any]()

    def pair(row: int):  # type: ignore[no-untyped-def]
        return (row, {row})

    def last(row: Any) -> None:
        given.append(row)
        if row[0] == 30 and breaks:
            raise ValueError("stop")

    def run() -> Any:
        pipeline = Pipeline("job").source(range(40)).map(versioned(pair))
        return pipeline.tap(versioned(last), retry=1, workers=1, on_error="fail").run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed):
        run()
    breaks.clear()
    given.clear()
    run()
    assert given
    assert all(row == (row[0], {row[0]}) for row in given)


def test_what_a_route_and_a_filter_said_is_kept_whatever_it_was(tmp_path: Path) -> None:
    Pipeline("job").source(range(9)).filter(lambda n: [n] if n else []).route(
        _colour, red=lambda flow: flow.sink(lambda _: None)
    ).run(journal=tmp_path / "run.db")


def test_another_work_is_not_taken_for_the_same_L27(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n2\n")

    def once(row: int) -> int:
        return row

    def twice(row: int) -> int:
        return row * 2

    def run(function: Any, **options: Any) -> Any:
        pipeline = Pipeline("job").source(sources.jsonl(path)).map(function, name="work")
        return pipeline.run(journal=tmp_path / "run.db", **options)

    run(once)
    with pytest.raises(ConfigError, match="work: the code of its function changed") as told:
        run(twice)
    assert "accept_changes" in str(told.value)
    path.write_text("1\n2\n3\n")
    with pytest.raises(ConfigError, match="source: its size in bytes was 4, and is 6"):
        run(once)
    report = run(twice, accept_changes=True)
    assert report.delivered == 3, "what was answered stays, and what is new is called"
    assert run(twice).delivered == 3


def test_a_version_stands_for_the_code_L27(tmp_path: Path) -> None:
    class Ask:
        version = "2024-05"

        def __call__(self, row: int) -> int:
            return row

    Pipeline("job").source([1]).map(Ask(), name="ask").run(journal=tmp_path / "run.db")
    newer = Ask()
    newer.version = "2024-06"
    with pytest.raises(ConfigError, match="ask: version was '2024-05', and is '2024-06'"):
        Pipeline("job").source([1]).map(newer, name="ask").run(journal=tmp_path / "run.db")


def test_all_rows_in_quarantine_and_the_run_is_as_any_other_L25(tmp_path: Path) -> None:
    def never(row: int) -> int:
        raise ValueError("never")

    def run() -> Any:
        pipeline = Pipeline("job").source(range(20)).map(never, retry=1)
        return pipeline.quarantine(sinks.jsonl(tmp_path / "bad.jsonl")).run(journal=tmp_path / "run.db")

    assert run().quarantined == 20
    again = run()
    assert (again.state, again.quarantined, again.calls) == ("completed", 20, 0)
    assert len(rows_in(tmp_path / "bad.jsonl")) == 20


def test_two_runs_cannot_have_the_same_journal_at_once_L36(tmp_path: Path) -> None:
    file = hold(str(tmp_path / "run.db"))
    with pytest.raises(ConfigError, match="another process is running with this journal"):
        Pipeline("job").source([1]).run(journal=tmp_path / "run.db")
    file.close()
    Pipeline("job").source([1]).run(journal=tmp_path / "run.db")


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    Pipeline("job").source([1]).run(journal=tmp_path / "run.db")
    assert stat.S_IMODE((tmp_path / "run.db").stat().st_mode) == 0o600


def test_a_sink_that_cannot_take_back_gets_each_row_that_was_not_known_written(tmp_path: Path) -> None:
    got: list[int] = []
    stop = [True]

    def save(row: int) -> None:
        if row == 50 and stop[0]:
            raise OSError("gone")
        got.append(row)

    def run() -> Any:
        return Pipeline("job").source(range(100)).sink(save).run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed):
        run()
    stop[0] = False
    run()
    assert sorted(set(got)) == list(range(100)), "at least once"


def test_rows_in_quarantine_are_tried_again_and_the_account_stays_true(tmp_path: Path) -> None:
    path, out = tmp_path / "run.db", tmp_path / "out.jsonl"
    mended: list[bool] = []
    calls: list[int] = []

    def first(row: int) -> int:
        calls.append(row)
        return row

    def work(row: int) -> int:
        if row % 10 == 3 and not mended:
            raise ValueError("not yet")
        if row == 44:
            raise KeyError("never")
        return row

    def run() -> Any:
        pipeline = Pipeline("job").source(range(100)).map(versioned(first)).map(versioned(work), retry=1)
        return pipeline.quarantine(sinks.jsonl(tmp_path / "bad.jsonl")).sink(sinks.jsonl(out)).run(journal=path)

    def again(**which: Any) -> list[int]:
        file = hold(str(path))
        try:
            return try_again(file, **which)
        finally:
            file.close()

    assert run().quarantined == 11
    mended.append(True)
    assert again(rows=[13, 53]) == [13, 53]
    report = run()
    assert (report.rows, report.delivered, report.quarantined) == (100, 91, 9)
    assert rows_in(out)[-2:] == [13, 53]
    assert again(error="ValueError") == [3, 23, 33, 43, 63, 73, 83, 93]
    assert (run().delivered, run().quarantined) == (99, 1)
    assert sorted(rows_in(out)) == [n for n in range(100) if n != 44]
    assert again() == [44]
    assert run().quarantined == 1, "it fails again"
    assert len(rows_in(tmp_path / "bad.jsonl")) == 11, "and is told once"
    assert sorted(calls) == list(range(100)), "what was answered is not called again"
    for which, what in (
        ({"rows": [5, 44]}, "row 5 is not in quarantine"),
        ({"error": "OSError"}, "no row is in quarantine by OSError"),
        ({"name": "other"}, "has no run 'other'"),
    ):
        with pytest.raises(ConfigError, match=what):
            again(**which)
    assert again(rows=[44]) == [44], "what was refused has changed nothing"


def test_a_row_that_failed_keeps_its_place(tmp_path: Path) -> None:
    """What stands behind it in an ordered output is not written before it, however far it had come."""
    for at in (0, 5, 60, 99):
        path, out = tmp_path / f"{at}.db", tmp_path / f"{at}.jsonl"
        breaks = Breaks(at=at)

        def run(breaks: Breaks = breaks, path: Path = path, out: Path = out) -> Any:
            pipeline = Pipeline("job").source(range(100)).map(breaks, workers=8, retry=1, on_error="fail")
            return pipeline.sink(sinks.jsonl(out)).run(journal=path)

        with pytest.raises(RunFailed):
            run()
        breaks.at = None
        assert run().delivered == 100
        assert rows_in(out) == [{"n": n} for n in range(100)]


def test_what_a_journal_calls_by_that_name_is_no_node(tmp_path: Path) -> None:
    pipeline = Pipeline("job").source([1]).sink(lambda _: None, name="quarantine")
    with pytest.raises(ConfigError, match="name the node otherwise"):
        pipeline.run(journal=tmp_path / "run.db")


def test_a_drained_run_goes_on_where_it_was(tmp_path: Path) -> None:
    out, calls = tmp_path / "out.jsonl", Breaks()
    reached, drained = threading.Event(), threading.Event()

    def call(row: int) -> Any:
        if len(calls.calls) >= 30:
            reached.set()
            assert drained.wait(10)
        return calls(row)

    def start() -> Any:
        pipeline = Pipeline("job", window=20).source(range(300)).map(versioned(call), workers=2)
        return pipeline.sink(sinks.jsonl(out)).start(journal=tmp_path / "run.db")

    run = start()
    assert reached.wait(10)
    run.drain()
    drained.set()
    first = run.wait()
    assert first.state == "drained"
    assert 30 <= first.delivered < 300
    assert first.interrupted == 0
    last = start().wait()
    assert (last.state, last.delivered) == ("completed", 300)
    assert rows_in(out) == [{"n": n} for n in range(300)]
    assert sorted(calls.calls) == list(range(300)), "nothing that was finished is done again"
