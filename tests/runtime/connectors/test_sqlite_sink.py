"""Tables of any shape that SQLite allows: each row exactly once, or told by name before anything is written (L90, L92)."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks
from headrace.runtime.connectors.port import RunInfo
from headrace.runtime.connectors.sqlite import SqliteSink


def sql(path: Path, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(text, values).fetchall()
        database.commit()
    return found


KILLED = """
import os, random, sys
from headrace.runtime import Pipeline, sinks
folder, seed, shape = sys.argv[1], int(sys.argv[2]), sys.argv[3]
keys = list(range(-300, 300))
random.Random(1).shuffle(keys)
rows = [{"id": key * 10**12, "rowid": str(n), "v": n} for n, key in enumerate(keys)]
if shape == "plain":
    rows = [{"v": row["v"]} for row in rows]
chance = random.Random(seed)
left = chance.randrange(60, 300)
def same(row):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), 9)
    return row
same.version = "1"
key = ["id"] if shape == "upsert" else None
sink = sinks.sqlite(folder + "/out.db", "t", key=key, if_exists="append")
print(Pipeline("job", window=100).source(rows).map(same, workers=4).sink(sink, ordered=shape == "plain").run(
    journal=folder + "/run.db").state.value)
"""
TABLES = {
    "plain": None,
    "rows bring their rowids": "CREATE TABLE t (id INTEGER PRIMARY KEY, rowid TEXT, v)",
    "without rowid": "CREATE TABLE t (id, rowid, v, PRIMARY KEY (id, v)) WITHOUT ROWID",
    "strict": "CREATE TABLE t (id INT UNIQUE, rowid TEXT, v ANY, twice ANY AS (v * 2)) STRICT",
    "upsert": "CREATE TABLE t (id PRIMARY KEY, rowid, v)",
}


@pytest.mark.parametrize("shape", TABLES)
def test_killed_at_any_moment_each_row_is_in_the_table_once_L90(tmp_path: Path, shape: str) -> None:
    """Rows of others, that come between the lives of the run, stay."""
    path = tmp_path / "out.db"
    if (table := TABLES[shape]) is not None:
        sql(path, table)
    kills = 0
    for life in range(40):
        command = [sys.executable, "-W", "error", "-c", KILLED, str(tmp_path), str(life), shape]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=50)
        if not ended.returncode:
            break
        assert ended.returncode == -9, ended.stderr
        kills += 1
        if table is not None:
            sql(path, "INSERT INTO t (id, rowid, v) VALUES (?, 'theirs', -1)", (kills,))
    assert ended.stdout == "completed\n"
    assert sorted(v for (v,) in sql(path, "SELECT v FROM t WHERE v >= 0")) == list(range(600))
    if table is not None:
        assert len(sql(path, "SELECT v FROM t WHERE rowid = 'theirs'")) == kills


@pytest.mark.parametrize("vacuum", [False, True])
def test_what_the_journal_does_not_know_is_taken_back_and_nothing_else_L90(tmp_path: Path, vacuum: bool) -> None:
    path, chance = tmp_path / "out.db", random.Random(5)
    sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)" if not vacuum else "CREATE TABLE t (id, v)")
    sink, run = SqliteSink(path, "t", if_exists="append"), RunInfo("job", "1", str(tmp_path / "run.db"))
    places: list[int | None] = [None]
    model: dict[int | None, list[int]] = {None: []}
    theirs: list[int] = []
    for _ in range(60):
        place = chance.choice(places)
        places = [known for known in places if known is None or (place is not None and known <= place)]
        have = list(model[place])
        sink.claim(run, place)
        sink.resume(place)
        for _ in range(chance.randrange(5)):
            new = [chance.randrange(-(10**9), 10**9) for _ in range(chance.randrange(4))]
            sink.write([{"id": n, "v": "ours"} for n in new])
            have += new
            place = sink.tell()
            places.append(place)
            model[place] = list(have)
            sink.sync()
        sink.close(False)
        theirs.append(chance.randrange(10**10, 10**11))
        sql(path, "INSERT INTO t VALUES (?, 'theirs')", (theirs[-1],))
        if vacuum:
            sql(path, "DELETE FROM t WHERE id = ?", (theirs.pop(chance.randrange(len(theirs))),))
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                database.execute("VACUUM")
        assert sorted(n for (n,) in sql(path, "SELECT id FROM t WHERE v = 'ours'")) == sorted(have)
        assert sorted(n for (n,) in sql(path, "SELECT id FROM t WHERE v = 'theirs'")) == sorted(theirs)


def test_a_row_that_was_updated_is_as_it_was_where_that_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    sql(path, "CREATE TABLE t (id TEXT PRIMARY KEY, v, w DEFAULT 7)")
    sql(path, "INSERT INTO t VALUES ('a', 'old', x'00ff')")
    sink, run = SqliteSink(path, "t", key=["id"]), RunInfo("job", "1", str(tmp_path / "run.db"))
    sink.claim(run, None)
    sink.resume(None)
    sink.write([{"id": "a", "v": "new"}, {"id": "b", "v": 1}])
    sink.write([{"id": "b", "v": 2}, {"id": "a", "v": "newer", "w": 1}])
    sink.tell()
    sink.sync()
    sink.close(False)
    assert sql(path, "SELECT * FROM t ORDER BY id") == [("a", "newer", 1), ("b", 2, 7)]
    sink.claim(run, None)
    sink.resume(None)
    sink.close(False)
    assert sql(path, "SELECT * FROM t") == [("a", "old", b"\x00\xff")]


def through(rows: list[Any], sink: Any, name: str = "job") -> tuple[Any, dict[int, str]]:
    bad: list[dict[str, Any]] = []
    report = Pipeline(name).source(rows).sink(sink).quarantine(bad.append).run()
    return report, {record["seq"]: record["message"] for record in bad}


def test_a_constraint_that_one_row_breaks_is_that_rows_fault_L90(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    sql(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT NOT NULL CHECK (n < 10), u UNIQUE ON CONFLICT REPLACE, s AS (n))",
    )
    rows = [
        {"id": 1, "n": 1, "u": "a"},
        {"id": 1, "n": 2},
        {"id": 2},
        {"id": 3, "n": 11},
        {"id": 4, "n": 4, "u": "a"},
        {"ID": 5, "N": 5},
        {"id": 6, "n": 6, "s": 1},
        {"id": 7, "n": 7, "more": 1},
        {"id": "x", "n": 8},
        {"id": 9, "n": 9, "u": 2**63},
        {"id": 10, "n": 0},
    ]
    report, bad = through(rows, sinks.sqlite(path, "T"))
    assert sql(path, "SELECT id FROM t ORDER BY id") == [(1,), (5,), (10,)]
    assert {n: text.partition(": ")[2] for n, text in bad.items()} == {
        1: "the table refuses it: UNIQUE constraint failed: t.id",
        2: "the table refuses it: NOT NULL constraint failed: t.n",
        3: "the table refuses it: CHECK constraint failed: n < 10",
        4: "the table refuses it: UNIQUE constraint failed: t.u",
        6: "key 's': is no column of the table that can be written; it has 'id', 'n', 'u'",
        7: "key 'more': is no column of the table that can be written; it has 'id', 'n', 'u'",
        8: "the table refuses it: datatype mismatch",
        9: "field 'u': an integer of more than 64 bits",
    }
    assert report.state.value == "completed"


@pytest.mark.parametrize("how", ["ABORT, 'no'", "ROLLBACK, 'no'", "IGNORE"])
def test_a_trigger_that_refuses_a_row_costs_that_row_alone_L90(tmp_path: Path, how: str) -> None:
    path = tmp_path / "out.db"
    sql(path, "CREATE TABLE t (n)")
    sql(path, f"CREATE TRIGGER refuses BEFORE INSERT ON t WHEN NEW.n % 10 = 3 BEGIN SELECT RAISE({how}); END")
    report, bad = through([{"n": n} for n in range(100)], sinks.sqlite(path, "t"))
    assert sorted(bad) == list(range(3, 100, 10))
    assert sorted(n for (n,) in sql(path, "SELECT n FROM t")) == [n for n in range(100) if n % 10 != 3]
    assert report.delivered == 90


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("CREATE VIEW t AS SELECT 1 AS n", "out.db:t: is a view; rows are written to plain tables"),
        ("CREATE VIRTUAL TABLE t USING fts5(n)", "out.db:t: is a virtual table"),
        ("CREATE TABLE t (rowid, oid, _rowid_)", "its columns are called rowid, oid and _rowid_"),
        ("CREATE TABLE t (n); CREATE TRIGGER log AFTER INSERT ON t BEGIN SELECT 1; END", "has the trigger 'log'"),
    ],
)
def test_a_table_in_which_rows_cannot_be_taken_back_is_told_by_name_L90(
    tmp_path: Path, make: str, message: str
) -> None:
    path = tmp_path / "out.db"
    for statement in make.split("; C"):
        sql(path, statement if statement.startswith("C") else f"C{statement}")
    with pytest.raises(ConfigError, match=message):
        Pipeline().source([{"n": 1}]).sink(sinks.sqlite(path, "t")).run(journal=tmp_path / "run.db")
    assert not (tmp_path / "run.db").exists()


@pytest.mark.parametrize("name", ["", "a\x00b", "sqlite_x", "SQLite_master", "headrace_written", "\ud800"])
def test_a_name_that_no_table_can_have_is_told_at_once_L90(name: str) -> None:
    with pytest.raises(ConfigError, match=r"table .*: .*name another table"):
        sinks.sqlite("out.db", name)


@pytest.mark.parametrize("name", ['a"b; DROP TABLE t;--', "select", "ä b", "[x]", "'"])
def test_a_table_may_have_any_other_name_L90(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out.db"
    for _ in range(2):
        sink = sinks.sqlite(path, name)
        Pipeline("job").source([{"n": 1}, {"n": 2}]).sink(sink).run()
    quoted = name.replace('"', '""')
    assert sql(path, f'SELECT * FROM "{quoted}"') == [(1,), (2,)]


# --- what is there ---


@pytest.mark.parametrize("journal", [None, "run.db"])
def test_if_exists_says_what_becomes_of_the_rows_of_a_table_L79(tmp_path: Path, journal: str | None) -> None:
    path = tmp_path / "out.db"
    sql(path, "CREATE TABLE t (n INTEGER PRIMARY KEY, m CHECK (m <> 3))")
    sql(path, "CREATE UNIQUE INDEX i ON t (m)")
    sql(path, "INSERT INTO t VALUES (1, 1), (2, 2)")

    def run(mode: Any, rows: list[Any], name: str = "job") -> list[str]:
        for old in tmp_path.glob("run.db*"):
            old.unlink()
        pipeline = (
            Pipeline(name).source(rows).sink(sinks.sqlite(path, "t", if_exists=mode)).quarantine(lambda row: None)
        )
        return [told.what for told in pipeline.run(journal=tmp_path / journal if journal else None).files]

    with pytest.raises(
        ConfigError, match="has rows already, and they are not what an earlier run of the pipeline 'job'"
    ):
        run(None, [])
    with pytest.raises(ConfigError, match='has rows already, and if_exists="error" was said'):
        run("error", [])
    assert run("append", [{"n": 3, "m": 5}]) == ["appended"]
    assert sql(path, "SELECT * FROM t") == [(1, 1), (2, 2), (3, 5)]
    rows = [{"n": 1, "m": 9}, {"n": 7, "m": 3}, {"n": 8, "m": 9}]
    assert run("replace", rows) == ["replaced"]
    assert sql(path, "SELECT * FROM t") == [(1, 9)], "the table's constraints hold while its rows are replaced"
    # What the pipeline itself wrote is replaced unasked, as long as nobody has added anything.
    assert run(None, [{"n": 2, "m": 2}]) == ["replaced"]
    assert sql(path, "SELECT * FROM t") == [(2, 2)]
    sql(path, "INSERT INTO t VALUES (9, 8)")
    with pytest.raises(ConfigError, match="has rows already"):
        run(None, [])
    assert len(sql(path, "SELECT name FROM sqlite_master WHERE name LIKE 'headrace_part%'")) == 0


def test_rows_are_replaced_when_all_new_ones_are_there_and_not_before_L79(tmp_path: Path) -> None:
    path, breaks = tmp_path / "out.db", [300]
    sql(path, "CREATE TABLE t (n)")
    sql(path, "INSERT INTO t VALUES ('old')")

    def work(n: int) -> dict[str, int]:
        if n in breaks:
            raise ValueError
        return {"n": n}

    work.version = "1"  # type: ignore[attr-defined]

    def run() -> Any:
        pipeline = Pipeline("job", window=50).source(range(600)).map(work, retry=1, on_error="fail")
        return pipeline.sink(sinks.sqlite(path, "t", if_exists="replace")).run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed) as caught:
        run()
    assert caught.value.report.files[0].what == "unfinished"
    assert sql(path, "SELECT * FROM t") == [("old",)]
    breaks.clear()
    assert [f.what for f in run().files] == ["replaced"]
    assert sql(path, "SELECT * FROM t") == [(n,) for n in range(600)]
    run()
    assert len(sql(path, "SELECT * FROM t")) == 600


def test_a_key_says_which_row_is_updated_L79(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    rows = [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"id": 1, "v": "c"}, {"v": "d"}, {"id": None, "v": "e"}]
    for _ in range(2):
        report, bad = through(rows, sinks.sqlite(path, "t", key=["id"]))
    assert sql(path, "SELECT * FROM t ORDER BY id") == [(1, "c"), (2, "b")]
    assert sorted(bad) == [3, 4]
    assert "field 'id': is missing, and is the key" in bad[3]
    assert [f.what for f in report.files] == ["updated"]
    with pytest.raises(ConfigError, match="no primary key and no unique index of just these"):
        through(rows, sinks.sqlite(path, "t", key=["v"]))
    with pytest.raises(ConfigError, match="key 'w': is no column of the table"):
        through(rows, sinks.sqlite(path, "t", key=["w"]))


def test_the_rows_of_an_interrupted_run_are_not_mixed_with_anothers_L61(tmp_path: Path) -> None:
    path = tmp_path / "out.db"

    def run(breaks: int | None, journal: str, name: str = "job") -> Any:
        def work(n: int) -> dict[str, int]:
            if n == breaks:
                raise ValueError
            return {"n": n}

        work.version = "1"  # type: ignore[attr-defined]
        pipeline = Pipeline(name, window=20).source(range(100)).map(work, retry=1, on_error="fail")
        return pipeline.sink(sinks.sqlite(path, "t")).run(journal=tmp_path / journal)

    with pytest.raises(RunFailed):
        run(50, "run.db")
    with pytest.raises(ConfigError, match="has the rows of a run of the pipeline 'job' that was interrupted"):
        run(None, "other.db")
    run(None, "run.db")
    assert sql(path, "SELECT * FROM t") == [(n,) for n in range(100)]


# --- a database that others use ---


def test_a_database_that_is_busy_is_waited_for_L92(tmp_path: Path) -> None:
    path, begun = tmp_path / "out.db", threading.Event()
    sql(path, "CREATE TABLE other (n)")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        run = (
            Pipeline()
            .source([{"n": 1}])
            .map(lambda row: (begun.wait(20), row)[1])
            .sink(sinks.sqlite(path, "t"))
            .start()
        )
        while not sql(path, "SELECT 1 FROM sqlite_master WHERE name = 'headrace_outputs'"):
            run.stats()
        holder.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, holder.execute, ["COMMIT"]).start()
        begun.set()
        assert run.wait(30).delivered == 1


def test_a_database_that_stays_busy_is_told_L92(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.runtime.connectors.sqlite.BUSY_S", 0.05)
    path = tmp_path / "out.db"
    sink = SqliteSink(path, "t")
    sink.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            TimeoutError, match=r"out.db:t: another program has been writing to the database for 0.05 s"
        ):
            sink.write([{"n": 1}])
    sink.close(False)


def test_a_second_run_is_told_who_writes_to_a_table_L61(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    sink = SqliteSink(path, "t")
    sink.open()
    with pytest.raises(ConfigError, match=r"out.db:T: is being written by the pipeline"):
        Pipeline().source([{"n": 1}]).sink(sinks.sqlite(path, "T")).run()
    sink.close(True)
    Pipeline().source([{"n": 1}]).sink(sinks.sqlite(path, "T")).run()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.db"]
