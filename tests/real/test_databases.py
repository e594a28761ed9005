"""Sources and sinks of databases, against a real PostgreSQL and a real MariaDB."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Journal, Pipeline, RunFailed, sinks, sources
from headrace.runtime.files.pipeline_file import read

from . import databases, sql_crash
from .conftest import missing

sa = pytest.importorskip("sqlalchemy")
KILLS = 8
"""The long form is `make crash-sql`."""


@pytest.fixture(scope="module", params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a database that is empty at first."""
    program = getattr(databases, f"{request.param}_program")()
    if program is None:
        package = {"postgres": "postgresql", "mariadb": "mariadb-server"}[request.param]
        missing(request.param, package, "its sources and sinks are")
        return
    with getattr(databases, request.param)(program) as found:
        yield found


@pytest.fixture
def connection(url: str) -> Iterator[Any]:
    """To look from outside; all tables are dropped first."""
    from headrace.runtime.connectors.sql.address import Address

    with Address(url).engine().connect() as found:
        for table in sa.inspect(found).get_table_names():
            found.execute(sa.text(f"DROP TABLE {table}"))
        found.commit()
        yield found


def rows_of(connection: Any, select: str) -> list[tuple[Any, ...]]:
    found = [tuple(row) for row in connection.execute(sa.text(select))]
    connection.rollback()
    return found


def do(connection: Any, *statements: str) -> None:
    for statement in statements:
        connection.execute(sa.text(statement))
    connection.commit()


def given(connection: Any, n: int) -> None:
    """A table `given` of so many rows."""
    do(connection, "CREATE TABLE given (id int PRIMARY KEY, v varchar(40), at timestamp(6) NOT NULL)")
    at = datetime.datetime(2026, 1, 1)
    rows = [{"id": i, "v": f"row {i}", "at": at + datetime.timedelta(seconds=i // 10)} for i in range(n)]
    connection.execute(sa.text("INSERT INTO given VALUES (:id, :v, :at)"), rows)
    connection.commit()


def test_values_read_back_as_they_were_written(url: str, connection: Any, tmp_path: Path) -> None:
    row = {
        "id": 7,
        "text": "smörgås \\ ' \" \t\n \U0001f600",
        "n": -(2**63),
        "x": 0.1,
        "yes": True,
        "exact": decimal.Decimal("1.50"),
        "at": datetime.datetime(2026, 2, 3, 4, 5, 6, 789),
        "day": datetime.date(2026, 2, 3),
        "raw": bytes(range(256)),
        "key": uuid.UUID(int=5),
        "deep": {"a": [1, {"b": None}]},
        "none": None,
    }
    bad: list[Any] = []
    flow = Pipeline().source([row]).sink(sinks.sql(url, "result", key="id")).quarantine(bad.append)
    flow.run(journal=tmp_path / "run.db")
    assert bad == []
    [outcome] = Pipeline().source(sources.sql(url, table="result")).stream()
    assert outcome.value["exact"] == row["exact"]
    if not url.startswith("postgresql"):
        # What it calls JSON is text, and it has no UUIDs everywhere.
        outcome.value["deep"] = json.loads(outcome.value["deep"])
        outcome.value["key"] = uuid.UUID(outcome.value["key"])
    assert {name: outcome.value[name] for name in row} == row


def test_a_row_that_the_table_refuses_costs_itself_alone(url: str, connection: Any) -> None:
    do(
        connection,
        "CREATE TABLE result (id int PRIMARY KEY, name varchar(5) NOT NULL, n int, CHECK (n < 1000))",
        "INSERT INTO result VALUES (50, 'there', 1)",
    )
    rows: list[dict[str, Any]] = [{"id": i, "name": "ok", "n": 1} for i in range(100)]
    rows[3]["name"] = "private words"
    rows[4]["name"] = None
    rows[5]["n"] = 2**40
    rows[6]["n"] = 1.5
    rows[7]["n"] = "twelve"
    rows[8]["n"] = 5000
    rows[9]["other"] = 1
    rows[10]["name"] = "\x00"
    rows[11]["name"] = "\ud83d"
    rows[12] = {}
    bad: list[dict[str, Any]] = []
    sink = sinks.sql(url, "result", if_exists="append")
    report = Pipeline().source(rows).sink(sink).quarantine(bad.append).run()
    assert sorted(each["seq"] for each in bad) == [*range(3, 13), 50]
    assert report.delivered == 89
    assert rows_of(connection, "SELECT count(*) FROM result") == [(90,)]
    told = "".join(each["message"] for each in bad)
    for secret in ("private", "twelve", "5000", databases.PASSWORD, databases.QUOTED, "tester"):
        assert secret not in told


def test_rows_are_updated_by_their_key(url: str, connection: Any, tmp_path: Path) -> None:
    do(connection, "CREATE TABLE result (a int, b varchar(9), n int, m int DEFAULT 5, PRIMARY KEY (a, b))")
    do(connection, "INSERT INTO result VALUES (1, 'x', 1, 1), (9, 'z', 9, 9)")
    rows = [{"a": 1, "b": "x", "n": 2}, {"a": 2, "b": "y", "n": 3}, {"a": 1, "b": "x", "n": 4}]
    sink = sinks.sql(url, "result", key=["a", "b"])
    Pipeline().source(rows).sink(sink).run(journal=tmp_path / "run.db")
    assert rows_of(connection, "SELECT * FROM result ORDER BY a") == [(1, "x", 4, 1), (2, "y", 3, 5), (9, "z", 9, 9)]


def test_what_becomes_of_rows_that_are_there(url: str, connection: Any, tmp_path: Path) -> None:
    do(connection, "CREATE TABLE result (id int PRIMARY KEY)", "INSERT INTO result VALUES (77)")

    def run(name: str, if_exists: Any, rows: list[int]) -> list[tuple[Any, ...]]:
        sink = sinks.sql(url, "result", if_exists=if_exists)
        Pipeline(name).source([{"id": i} for i in rows]).sink(sink).run()
        return rows_of(connection, "SELECT id FROM result ORDER BY id")

    with pytest.raises(ConfigError, match="has rows already, and they are not what an earlier run of the pipeline 'a'"):
        run("a", None, [1])
    with pytest.raises(ConfigError, match='has rows already, and if_exists="error" was said'):
        run("a", "error", [1])
    assert run("a", "append", [1, 2]) == [(1,), (2,), (77,)]
    assert run("a", "replace", [3, 4]) == [(3,), (4,)]
    assert run("a", None, [5]) == [(5,)]
    with pytest.raises(ConfigError, match="they are not what an earlier run of the pipeline 'b'"):
        run("b", None, [6])
    assert [name for name in sa.inspect(connection).get_table_names() if "part" in name] == []


def test_a_table_that_is_replaced_is_as_it_was_until_the_run_is_complete(url: str, connection: Any) -> None:
    do(connection, "CREATE TABLE result (id int PRIMARY KEY)", "INSERT INTO result VALUES (77)")

    def fail(row: dict[str, int]) -> dict[str, int]:
        if row["id"] == 20:
            raise ValueError("no")
        return row

    flow = Pipeline().source([{"id": i} for i in range(40)]).map(fail, on_error="fail")
    with pytest.raises(RunFailed):
        flow.sink(sinks.sql(url, "result", if_exists="replace")).run()
    assert rows_of(connection, "SELECT id FROM result") == [(77,)]


def test_a_later_run_reads_what_is_new(url: str, connection: Any, tmp_path: Path) -> None:
    given(connection, 300)

    def run() -> int:
        asked.clear()
        source = sources.sql(url, table="given", cursor="at", page=50)
        sink = sinks.sql(url, "result", key="id")
        return Pipeline().source(source).tap(asked.append).sink(sink).run(journal=tmp_path / "run.db").delivered

    asked: list[Any] = []
    assert (run(), len(asked)) == (300, 300)
    assert (run(), len(asked)) == (300, 0)
    do(connection, "INSERT INTO given VALUES (900, 'new', '2027-01-01'), (901, 'new', '2027-01-02')")
    do(connection, "UPDATE given SET v = 'again', at = '2027-01-03' WHERE id = 7")
    assert run() == 303
    assert sorted(row["id"] for row in asked) == [7, 900, 901]
    assert rows_of(connection, "SELECT count(*) FROM result") == [(302,)]
    assert rows_of(connection, "SELECT v FROM result WHERE id = 7") == [("again",)]


def test_rows_that_were_changed_meanwhile_take_no_others_place_L27(url: str, connection: Any, tmp_path: Path) -> None:
    given(connection, 300)
    fails = True

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["id"] == 150:
            raise ValueError("no")
        return row

    def run() -> Any:
        source = sources.sql(url, table="given", cursor="at")
        flow = Pipeline().source(source).map(ask, on_error="fail", version="1").quarantine(bad.append)
        return flow.sink(sinks.sql(url, "result", key="id")).run(journal=tmp_path / "run.db")

    bad: list[dict[str, Any]] = []
    with pytest.raises(RunFailed):
        run()
    do(connection, "DELETE FROM given WHERE id IN (120, 151)")
    do(connection, "UPDATE given SET at = '2027-01-01', v = 'moved' WHERE id IN (149, 152)")
    fails = False
    run()
    missing_rows = rows_of(connection, "SELECT id FROM given WHERE id NOT IN (SELECT id FROM result)")
    assert missing_rows == []
    assert all("is gone" in each["message"] for each in bad)
    assert rows_of(connection, "SELECT v FROM result WHERE id = 152") == [("moved",)]


def test_rows_that_came_before_the_place_or_went_are_told(url: str, connection: Any, tmp_path: Path) -> None:
    given(connection, 30)
    flow = Pipeline().source(sources.sql(url, table="given")).sink(sinks.sql(url, "result", key="id"))
    flow.run(journal=tmp_path / "run.db")
    do(connection, "INSERT INTO given VALUES (-5, 'early', '2027-01-01')")
    with pytest.raises(ConfigError, match="has 31 rows up to the one that was read last, and 30 of them had been read"):
        flow.run(journal=tmp_path / "run.db")
    do(connection, "DELETE FROM given WHERE id < 3")
    with pytest.raises(
        ConfigError, match="has 27 rows up to the one that was read last, and 30 had been read: some are"
    ):
        flow.run(journal=tmp_path / "run.db")
    assert flow.run(journal=tmp_path / "run.db", accept_changes=True).delivered == 30


def test_queries(url: str, connection: Any) -> None:
    given(connection, 100)

    def read(**options: Any) -> list[Any]:
        return [outcome.value for outcome in Pipeline().source(sources.sql(url, **options)).stream()]

    query = "SELECT id * 2 AS twice, v FROM given WHERE v LIKE 'row %' AND v <> ':x' -- a comment;"
    assert [row["twice"] for row in read(query=query, key="twice", page=7)] == list(range(0, 200, 2))
    assert len(read(query="SELECT v FROM given;")) == 100
    assert read(query="SELECT 1 AS one WHERE 1 = 0") == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"table": "givn"}, "there is no table 'givn'; did you mean 'given'?"),
        ({"table": "given", "key": "nr"}, "key 'nr': is no column; it has 'id', 'v', 'at'"),
        ({"table": "given", "cursor": "nr"}, "cursor 'nr': is no column"),
        ({"table": "given", "cursor": "v"}, "a row has no 'v' \\(it is NULL\\), so that it would never be read"),
        ({"table": "loose"}, "the table has no primary key: say key="),
        ({"query": "SELEC 1"}, "the query cannot be run"),
        ({"query": "SELECT 1 AS a, 2 AS a"}, "the query has two columns 'a'|Duplicate column name 'a'"),
        ({"query": "SELECT 1 AS a", "cursor": "a"}, "cursor= is not enough: say key="),
        ({"query": "SELECT 1 AS a", "table": "given"}, "say table= or query=; both are said"),
        ({}, "say table= or query=; neither is"),
    ],
)
def test_what_cannot_be_read_is_told(url: str, connection: Any, options: dict[str, Any], told: str) -> None:
    given(connection, 3)
    do(connection, "INSERT INTO given VALUES (99, NULL, '2026-01-01')", "CREATE TABLE loose (id int)")
    with pytest.raises(ConfigError, match=told):
        list(Pipeline().source(sources.sql(url, **options)).stream())


def test_keys_that_are_alike_are_told(url: str, connection: Any) -> None:
    given(connection, 30)
    with pytest.raises(RunFailed, match="two rows have the same key"):
        list(Pipeline().source(sources.sql(url, table="given", key="at")).stream())


def test_what_cannot_be_written_is_told(url: str, connection: Any, tmp_path: Path) -> None:
    do(connection, "CREATE TABLE given (id int PRIMARY KEY, v varchar(9))", "CREATE VIEW seen AS SELECT * FROM given")

    def wrong(table: str, **options: Any) -> str:
        with pytest.raises(ConfigError) as told:
            Pipeline().source([{"id": 1}]).sink(sinks.sql(url, table, **options)).run(journal=tmp_path / "run.db")
        return str(told.value)

    try:
        assert "is a view; rows are written to plain tables" in wrong("seen", key="id")
        assert "key 'nr': is no column of the table" in wrong("given", key="nr")
        assert "the table has no primary key and no unique index of just these columns" in wrong("given", key="v")
        assert "names that begin with headrace_ are kept" in wrong("headrace_x", key="id")
        if not url.startswith("postgresql"):
            assert "say key=, by which its rows are known" in wrong("other")
    finally:
        do(connection, "DROP VIEW seen")


def test_a_job_file_is_checked_against_the_database(url: str, connection: Any, tmp_path: Path) -> None:
    given(connection, 3)
    job = tmp_path / "job.toml"
    head, _, tail = url.rpartition("@")
    job.write_text(
        f'[source]\ntype = "sql"\nurl = "{url}"\ntable = "given"\n'
        f'[sink]\ntype = "sql"\nurl = "{head}@{tail}"\ntable = "given"\nkey = "v"\n'
    )
    with pytest.raises(ConfigError) as told:
        read(job)
    assert "job.toml:5: sink: " in str(told.value)
    assert "no primary key and no unique index of just these columns" in str(told.value)
    job.write_text(f'source = "{url}?table=given"\nsink = "{url}?table=result&key=id"\n')
    read(job).pipeline.run(journal=tmp_path / "run.db")
    assert rows_of(connection, "SELECT count(*) FROM result") == [(3,)]
    job.write_text(f'source = "{url}?table=givn"\nsink = "{head}@127.0.0.1:1/x?table=result"\n')
    with pytest.raises(ConfigError) as told:
        read(job)
    assert "job.toml:1: source: " in str(told.value)
    assert databases.PASSWORD not in str(told.value)
    assert databases.QUOTED not in str(told.value)


def test_notes_that_a_kill_left_half_made_are_made_anew(url: str, connection: Any, tmp_path: Path) -> None:
    do(connection, "CREATE TABLE result (id int PRIMARY KEY)")
    name = "headrace_undo_" + hashlib.blake2b(b"result", digest_size=8).hexdigest()
    for columns in ("c0 int", "c0 int, run varchar(64)"):
        do(connection, f"CREATE TABLE {name} ({columns})")
        flow = Pipeline(columns).source([{"id": 1}]).sink(sinks.sql(url, "result", key="id"))
        assert flow.run(journal=tmp_path / "run.db").delivered == 1
        do(connection, f"DROP TABLE {name}")


def test_a_trigger_cannot_be_taken_back(url: str, connection: Any, tmp_path: Path) -> None:
    do(connection, "CREATE TABLE given (id int PRIMARY KEY)")
    if url.startswith("postgresql"):
        body = "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        do(connection, body, "CREATE TRIGGER t BEFORE INSERT ON given FOR EACH ROW EXECUTE FUNCTION f()")
    else:
        do(connection, "CREATE TRIGGER t BEFORE INSERT ON given FOR EACH ROW SET NEW.id = NEW.id + 0")
    flow = Pipeline().source([{"id": 1}]).sink(sinks.sql(url, "given", key="id"))
    with pytest.raises(ConfigError, match="has the trigger 't', and what it does could not be taken back"):
        flow.run(journal=tmp_path / "run.db")
    assert flow.run().delivered == 1


def test_a_server_that_cannot_be_reached_is_told_without_secrets(url: str) -> None:
    head = url.rpartition("@")[0]
    wrong = url.replace(databases.QUOTED, "very-wrong")
    nobody = f"{head}@127.0.0.1:1/work"
    no_database = url.rpartition("/")[0] + "/nowhere"
    for each, told in ((wrong, "password|denied"), (nobody, "refused"), (no_database, "does not exist|denied|Unknown")):
        read = Pipeline().source(sources.sql(each, table="t")).sink(print)
        written = Pipeline().source([1]).sink(sinks.sql(each, "t"))
        for flow in (read, written):
            with pytest.raises(ConfigError, match=f"cannot be connected to: .*({told})") as error:
                flow.run()
            for secret in ("very-wrong", databases.PASSWORD, databases.QUOTED):
                assert secret not in str(error.value)


def test_a_connection_that_is_lost_is_made_anew_L38(url: str, connection: Any) -> None:
    given(connection, 400)
    seen: list[int] = []

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        if row["id"] == 100 and not seen:
            seen.append(1)
            if url.startswith("postgresql"):
                kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND"
                kill += " backend_type = 'client backend'"
                do(connection, kill)
            else:
                mine = rows_of(connection, "SELECT connection_id()")[0][0]
                for (number,) in rows_of(connection, "SELECT id FROM information_schema.processlist"):
                    if number != mine:
                        do(connection, f"KILL {number}")
        return row

    source = sources.sql(url, table="given", page=20)
    read = Pipeline(window=10).source(source, retry=3).map(cut, workers=1).stream()
    assert [outcome.value["id"] for outcome in read] == list(range(400))


def test_two_runs_do_not_write_one_table(url: str, connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.runtime.connectors.port import RunInfo
    from headrace.runtime.connectors.sql import claiming

    monkeypatch.setattr(claiming, "LOCK_S", 1)
    first: Any = sinks.sql(url, "result", key="id")
    claim = first.claim(RunInfo(), None)
    try:
        with pytest.raises(ConfigError, match="is being written by another run of Headrace"):
            Pipeline().source([{"id": 1}]).sink(sinks.sql(url, "result", key="id")).run()
    finally:
        claim.release()
    assert Pipeline().source([{"id": 1}]).sink(sinks.sql(url, "result", key="id")).run().delivered == 1


def test_secrets_are_in_no_journal(url: str, connection: Any, tmp_path: Path) -> None:
    given(connection, 10)
    flow = Pipeline().source(sources.sql(url, table="given")).sink(sinks.sql(url, "result", key="id"))
    report = flow.run(journal=Journal(tmp_path / "run.db"))
    assert report.delivered == 10
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + str(report).encode() + repr(flow).encode()
    for secret in (databases.PASSWORD, databases.QUOTED, "tester"):
        assert secret.encode() not in kept


@pytest.mark.timeout(240)
def test_a_job_that_is_killed_leaves_each_row_once(url: str, connection: Any) -> None:
    with contextlib.closing(connection):
        connection.close()
    kills, rounds = sql_crash.crash(url, KILLS, seed=1)
    assert (kills, rounds >= 1) == (KILLS, True)
