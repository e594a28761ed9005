"""Sources of databases, and what is said of sinks, against SQLite; against real servers: tests/real/test_databases.py."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks, sources
from headrace.runtime.connectors.sql.address import Address, split
from headrace.runtime.connectors.sql.places import packed, unpacked
from headrace.runtime.connectors.sqlite import SqliteSink
from headrace.runtime.files.pipeline_file import read


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database with a table of 250 rows."""
    do(tmp_path / "in.db", "CREATE TABLE orders (id INTEGER PRIMARY KEY, city TEXT, at TIMESTAMP NOT NULL)")
    with contextlib.closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        rows = [(i, f"city {i}", f"2026-01-01 00:{i // 60:02}:{i % 60:02}") for i in range(250)]
        db.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    return f"sqlite:///{tmp_path}/in.db"


def do(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def ids(source: Any) -> list[int]:
    return [outcome.value["id"] for outcome in Pipeline().source(source).stream()]


@pytest.mark.parametrize("page", [1, 7, 250, 251, 1000])
def test_every_row_is_read_once_whatever_the_page(url: str, page: int) -> None:
    assert ids(sources.sql(url, table="orders", page=page)) == list(range(250))
    assert ids(sources.sql(url, query="SELECT * FROM orders WHERE id < 50", key="id", page=page)) == list(range(50))
    assert ids(sources.sql(url, query="SELECT * FROM orders;", page=page)) == list(range(250))


def test_what_the_url_says_is_as_the_arguments_say(url: str) -> None:
    assert ids(sources.sql(f"{url}?table=orders&page=10&cursor=at")) == list(range(250))
    assert split("postgresql://u@h/d?key=a,b&sslmode=require&table=t%20x", frozenset({"key", "table"})) == (
        "postgresql://u@h/d?sslmode=require",
        {"key": "a,b", "table": "t x"},
    )


def test_a_value_that_cannot_be_read_costs_its_row_alone_L62(url: str, tmp_path: Path) -> None:
    do(tmp_path / "in.db", "UPDATE orders SET at = 'nonsense' WHERE id IN (3, 77)")
    bad: list[dict[str, Any]] = []
    flow = Pipeline().source(sources.sql(url, table="orders", page=20)).quarantine(bad.append).sink(lambda row: None)
    assert flow.run().delivered == 248
    assert [each["row"] for each in bad] == [{"id": 3}, {"id": 77}]
    assert "a value of the row cannot be read: Invalid isoformat" in bad[0]["message"]
    with pytest.raises(RunFailed, match="a value of 'at' or 'id' cannot be read, so that nobody knows where to go on"):
        ids(sources.sql(url, table="orders", cursor="at"))


def test_types_are_those_of_the_table(url: str, tmp_path: Path) -> None:
    class Order(msgspec.Struct):
        id: int
        city: str

    flow = Pipeline().source(sources.sql(url, table="orders"), rows=Order)
    assert next(iter(flow.stream())).value == Order(0, "city 0")
    do(tmp_path / "in.db", "UPDATE orders SET city = NULL WHERE id = 5")
    outcomes = list(flow.stream())
    assert "row 5: not a Order: field 'city': expected `str`, got `null`".replace("`", "") in str(outcomes[5].error)
    inferred = list(Pipeline().source(sources.sql(url, table="orders"), rows="infer").stream())
    assert inferred[5].value["city"] is None
    assert sources.sql(url, table="orders").fields() == ["id", "city", "at"]


def test_a_run_goes_on_where_it_was_though_rows_were_changed_L27(url: str, tmp_path: Path) -> None:
    fails = True
    asked: list[int] = []

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["id"] == 120:
            raise ValueError("no")
        asked.append(row["id"])
        return row

    def run() -> Any:
        flow = Pipeline().source(sources.sql(url, table="orders", cursor="at", page=30))
        flow = flow.map(ask, on_error="fail", version="1").quarantine(bad.append)
        return flow.sink(sinks.sql(f"sqlite:///{tmp_path}/out.db", "result", key="id")).run(journal=tmp_path / "run.db")

    bad: list[dict[str, Any]] = []
    with pytest.raises(RunFailed):
        run()
    do(
        tmp_path / "in.db",
        "DELETE FROM orders WHERE id = 121",
        "UPDATE orders SET at = '2027-01-01 00:00:00', city = 'moved' WHERE id = 119",
    )
    fails = False
    run()
    assert [each["row"] for each in bad if "is gone" in each["message"]] in ([], [{"id": 121}])
    with contextlib.closing(sqlite3.connect(tmp_path / "out.db")) as db:
        found = dict(db.execute("SELECT id, city FROM result"))
    assert set(found) - {121} == set(range(250)) - {121}
    assert found[119] == "moved"


def test_places_read_back_as_they_were() -> None:
    import datetime
    import decimal
    import uuid

    values: tuple[object, ...] = (1, "a", 2.5, True, b"x", decimal.Decimal("1.10"), uuid.UUID(int=7), 2**63)
    values += (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.date(2026, 1, 1))
    values += (datetime.time(1, 2, 3), datetime.timedelta(seconds=1.5))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(packed(values, "t")))
    assert unpacked(kept) == values
    with pytest.raises(ConfigError, match="rows cannot be told apart by a value of the type list; name another key="):
        packed([[1]], "t")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:secret-word@db.example:5433/shop?sslpassword=secret-word&table=t",
        "postgresql+psycopg://ada:secret-word@db.example:5433/shop?options=secret-word",
    ],
)
def test_only_what_is_no_secret_is_shown(url: str) -> None:
    source = sources.sql(f"{url.partition('&')[0]}", table="t")
    sink = sinks.sql(url, "t")
    shown = f"{source.name} {source.fingerprint()} {sink.name} {Address(url).clean('the secret-word was wrong')}"
    assert "db.example:5433/shop" in shown
    for secret in ("ada", "secret-word"):
        assert secret not in shown.replace("the secret-word was wrong", "") or "options" in url
    assert "secret-word" not in source.name


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: sources.sql("nonsense", table="t"), "url: is no URL of a database; one is like"),
        (lambda: sources.sql("postgresql://ada:p@ss/word@db/x", table="t").check(), "cannot be connected|is no URL"),
        (lambda: sources.sql("sqlite:///nowhere.db", table="t").check(), "nowhere.db: no such file"),
        (lambda: sources.sql("sqlite:///x.db"), "say table= or query=; neither is"),
        (lambda: sources.sql("sqlite:///x.db", table=" "), "table=' ': is no table"),
        (lambda: sources.sql("sqlite:///x.db", table="t", page=0), "page=0: a number of rows from 1 to 100,000"),
        (lambda: sources.sql("firebird://h/d", table="t").check(), "no driver is installed for such a database"),
        (lambda: sinks.sql("sqlite://", "t"), "is in memory, and gone after the run"),
        (lambda: sinks.sql("sqlite:///x.db"), "say table=, the table that rows are written to"),
        (lambda: sinks.sql("oracle://h/d", "t"), "rows can be written to PostgreSQL, MySQL, MariaDB and SQLite"),
        (lambda: sinks.sql("postgresql://h/d", "headrace_x"), "names that begin with headrace_ are kept"),
        (lambda: sinks.sql("postgresql://h/d", "x" * 70), "its name is longer than databases have names"),
        (lambda: sinks.sql("postgresql://h/d", "a\x00"), "is no name of a table"),
        (lambda: sinks.sql("postgresql://h/d?if_exists=perhaps", "t"), "if_exists='perhaps'"),
    ],
)
def test_what_cannot_be_is_told(make: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        make()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ConfigError, match=r"databases need the extra 'sql': pip install 'headrace\[sql\]'"):
        sources.sql("sqlite:///x.db", table="t")


@pytest.mark.parametrize(("driver", "extra"), [("psycopg", "postgres"), ("pymysql", "mysql")])
def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch, driver: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    scheme = "postgresql" if driver == "psycopg" else "mysql"
    with pytest.raises(ConfigError, match=rf"needs the driver '{driver}', .*headrace\[{extra}\]"):
        sources.sql(f"{scheme}://h/d", table="t").check()


def test_sqlite_is_written_by_its_own_sink(tmp_path: Path) -> None:
    assert isinstance(sinks.sql(f"sqlite:///{tmp_path}/x.db?table=t&key=id"), SqliteSink)


def test_an_end_of_a_job_file_is_a_text(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHERE", str(tmp_path))
    job = tmp_path / "job.toml"
    job.write_text('source = "sqlite:///${WHERE}/in.db?table=orders"\nsink = "out.jsonl"\nquarantine = "bad.tsv"\n')
    read(job).pipeline.run()
    assert len(Path("out.jsonl").read_text().splitlines()) == 250
    job.write_text('source = "sqlite:///${NOWHERE}/in.db?table=orders"\nsink = "out.xlsx"\n')
    with pytest.raises(ConfigError) as told:
        read(job)
    assert "job.toml:1: source.url: the variable NOWHERE of the environment is not set" in str(told.value)
    assert "job.toml:2: sink: 'out.xlsx' is neither the URL of a database nor a file whose name says" in str(told.value)


def test_what_is_no_end_is_told_without_secrets(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('source = "postgrsql://ada:very-secret@db/shop?table=t"\nsink = "out.jsonl"\n')
    with pytest.raises(ConfigError, match="'postgrsql://db/shop' is neither the URL of a database nor") as told:
        read(job)
    assert "very-secret" not in str(told.value)


def test_what_is_wrong_with_a_table_is_told_with_its_line(url: str, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f'sink = "-.jsonl"\n[source]\ntype = "sql"\nurl = "{url}"\ntable = "order"\npath = "x"\n')
    with pytest.raises(ConfigError) as told:
        read(job)
    assert "job.toml:6: source.path: says nothing of a sql source; known are url, query, table" in str(told.value)
    job.write_text(f'sink = "-.jsonl"\n[source]\ntype = "sql"\nurl = "{url}"\ntable = "order"\n')
    with pytest.raises(ConfigError, match=r"job.toml:2: source: .*there is no table 'order'; did you mean 'orders'"):
        read(job)
