"""Rows into tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime import Pipeline, RunFailed, sinks
from headrace.runtime.connectors.sqlite import SqliteSink
from headrace.runtime.errors import ConfigError, UnwritableRows


class Place(msgspec.Struct):
    name: str
    tags: list[str]


def rows_of(path: Path, table: str = "rows") -> list[tuple[Any, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
    finally:
        database.close()


def test_structs_and_dicts_become_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    Pipeline().source([Place("Lund", ["a", "b"]), {"name": "Oslo", "tags": None}]).sink(
        sinks.sqlite(path, "rows")
    ).run()
    assert rows_of(path) == [("Lund", '["a","b"]'), ("Oslo", None)]


def test_each_row_is_in_the_table_once_whatever_became_of_the_run(tmp_path: Path) -> None:
    path, broken = tmp_path / "out.db", [350, 720]

    def work(n: int) -> dict[str, int]:
        if n in broken:
            raise ValueError("not yet")
        return {"n": n}

    work.version = "1"  # type: ignore[attr-defined]

    def run() -> Any:
        pipeline = Pipeline("job", window=60).source(range(1000)).map(work, workers=2, retry=1, on_error="fail")
        return pipeline.sink(sinks.sqlite(path, "rows")).run(journal=tmp_path / "run.db")

    for _ in range(2):
        with pytest.raises(RunFailed):
            run()
        broken.pop(0)
    assert run().delivered == 1000
    assert rows_of(path) == [(n,) for n in range(1000)]
    assert run().delivered == 1000
    assert len(rows_of(path)) == 1000


def test_what_the_journal_does_not_know_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    sink = SqliteSink(path, "rows")
    sink.resume(None)
    sink.write([{"n": 1}, {"n": 2}])
    assert sink.tell() == 2
    sink.write([{"n": 3}])
    assert sink.tell() == 3
    sink.sync()
    sink.write([{"n": 4}])
    sink.close(False)
    assert rows_of(path) == [(1,), (2,), (3,)], "what was not synced is not there"
    again = SqliteSink(path, "rows")
    again.resume(2)
    again.write([{"n": 33}])
    again.tell()
    again.sync()
    again.close(True)
    assert rows_of(path) == [(1,), (2,), (33,)]
    with pytest.raises(ConfigError, match="the journal says that 7 rows were written here"):
        SqliteSink(path, "rows").resume(7)


def test_what_was_written_before_the_journal_knew_of_anything_is_taken_back_too(tmp_path: Path) -> None:
    path = tmp_path / "out.db"

    def life(place: int | None, *rows: int, complete: bool = False) -> None:
        sink = SqliteSink(path, "rows", if_exists="append")
        sink.resume(place)
        for n in rows:
            sink.write([{"n": n}])
            sink.tell()
        sink.sync()
        sink.close(complete)

    life(None, 1, 2)
    life(None, 1, 2, 3, complete=True)
    assert rows_of(path) == [(1,), (2,), (3,)]
    # Another run, with a journal of its own: what is complete stays.
    life(None, 4)
    life(None, 4, 5)
    life(2, 6, complete=True)
    assert rows_of(path) == [(n,) for n in range(1, 7)]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database, and long enough to be taken for one" * 30)
    with pytest.raises(ConfigError, match="cannot be written as a database"):
        Pipeline().source([{"n": 1}]).sink(sinks.sqlite(text, "rows")).run()
    sink = SqliteSink(tmp_path / "b.db", "rows")
    sink.open()
    with pytest.raises(UnwritableRows) as caught:
        sink.write([{"n": 1}, 2, {"m": 1}])
    sink.close(True)
    assert [str(error).partition(": ")[2] for error in caught.value.rows.values()] == [
        "a row of a table is a dict or a struct, not int",
        "key 'm': is no column of the table that can be written; it has 'n'",
    ]
    assert rows_of(tmp_path / "b.db") == [(1,)]
