"""What a sink holds reads back as it was; what it cannot hold goes to quarantine with sink, field and reason (L62)."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.runtime import Pipeline, sinks, sources
from headrace.runtime.connectors.json_values import encode_lines
from headrace.runtime.errors import BadInput, UnwritableRows


class Color(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: Any
    y: Any = 0


@dataclasses.dataclass
class Pair:
    a: Any


class Text(str):
    __slots__ = ()


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


def deep(n: int) -> Any:
    value: Any = 1
    for _ in range(n):
        value = [value]
    return value


HOSTILE = {
    "a lone surrogate": ("\ud83d", "a lone surrogate, \\ud83d"),
    "NaN": (math.nan, "nan is no number of JSON"),
    "infinity": (math.inf, "inf is no number of JSON"),
    "an object": (object(), "an object of the type object has no form in JSON"),
    "a number as key": ({1: 2}, "a key of the type int; the keys of JSON are text"),
    "None as key": ({None: 2}, "a key of the type NoneType"),
    "a surrogate in a key": ({"\udc00": 2}, "a lone surrogate"),
    "itself": (CYCLE, "lists and objects within each other"),
    "depth": (deep(100_000), "lists and objects within each other"),
    "too many digits": (10**5000, "limit"),
}
PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "alone": (lambda value: value, ""),
    "in a dict": (lambda value: {"a": "x", "b": value}, "field 'b"),
    "deep in it": (lambda value: {"a": [1, {"b c": [value]}]}, "a[1]['b c'][0]"),
    "in a struct": (lambda value: Point(1, value), "field 'y"),
    "in a dataclass": (lambda value: Pair((value,)), "field 'a[0]"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("where", PLACES)
def test_what_json_cannot_hold_is_refused_by_name_and_its_neighbours_are_written_L62(
    tmp_path: Path, what: str, where: str
) -> None:
    (value, reason), (put, path) = HOSTILE[what], PLACES[where]
    sink = sinks.jsonl(tmp_path / "out.jsonl")
    sink.open()
    with pytest.raises(UnwritableRows) as caught:
        sink.write([{"n": 0}, put(value), None, put(value), {"n": 4}])
    sink.close(True)
    assert sorted(caught.value.rows) == [1, 3]
    error = caught.value.rows[1]
    assert isinstance(error, BadInput)
    assert str(error).startswith(f"{tmp_path / 'out.jsonl'}: ")
    assert reason in str(error)
    if what not in ("itself", "depth"):
        assert path in str(error)
    assert (tmp_path / "out.jsonl").read_text() == '{"n":0}\nnull\n{"n":4}\n'


def test_what_is_written_as_text_is_documented_and_stays() -> None:
    row = {
        "when": datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC),
        "price": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=5),
        "color": Color.RED,
        "raw": b"\x00\xff",
        "tags": ("a", {1}),
        "path": Path("a/b"),
        "text": Text("x"),
        "big": 2**200,
        "point": Point(1.5),
    }
    data, faults = encode_lines([row])
    assert not faults
    assert json.loads(data) == {
        "when": "2024-05-01T12:00:00Z",
        "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000005",
        "color": "red",
        "raw": "AP8=",
        "tags": ["a", [1]],
        "path": "a/b",
        "text": "x",
        "big": 2**200,
        "point": {"x": 1.5, "y": 0},
    }


texts = st.text(st.characters() | st.sampled_from("\ud800\udfff\x00\r\n\"',;{}[]\ufeff null"), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | texts
    | st.sampled_from(["", "null", "{", "NaN", "\r", "a\rb", "nan", math.nan, object(), 2**64, -(2**63), -(2**63) - 1])
)
keys = texts | st.sampled_from(["a", "b", "c"]) | st.sampled_from([1, None, True])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
records = st.dictionaries(st.sampled_from(["a", "b", "c", "rowid"]) | texts, values, max_size=4)
fast = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def run(rows: list[Any], sink: Any) -> tuple[list[int], dict[int, dict[str, Any]]]:
    """The numbers of the rows that were delivered, and the records of the others."""
    bad: list[dict[str, Any]] = []
    report = Pipeline().source(rows).sink(sink).quarantine(bad.append).run()
    assert (report.state.value, report.delivered + report.quarantined) == ("completed", len(rows))
    told = {record["seq"]: record for record in bad}
    assert all(record["message"] for record in bad)
    return [n for n in range(len(rows)) if n not in told], told


def written(path: Path, sink: Any, rows: list[Any]) -> list[int]:
    """The numbers of the rows that the sink took; it says what is wrong with all others."""
    path.unlink(missing_ok=True)
    told: dict[int, BaseException] = {}
    sink.open()
    try:
        sink.write(rows)
    except UnwritableRows as unwritable:
        told = unwritable.rows
    sink.close(True)
    assert all(str(error).startswith(sink.name) for error in told.values())
    return [n for n in range(len(rows)) if n not in told]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what would be left of a power cut."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.mark.usefixtures("_quick")
@fast
@given(rows=st.lists(values | records, max_size=6))
def test_any_row_reads_back_from_json_lines_or_is_in_quarantine_L62(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "out.jsonl"
    good = written(path, sinks.jsonl(path), rows)
    source = sources.jsonl(path)
    source.open()
    back = [row for row in iter(lambda: source.read(1)[0], []) for row in row]
    source.close()
    assert repr(back) == repr([rows[n] for n in good])


def plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


@pytest.mark.usefixtures("_quick")
@fast
@given(rows=st.lists(values | records, max_size=6))
def test_any_row_reads_back_from_csv_or_is_in_quarantine_L62(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "out.csv"
    good = written(path, sinks.csv(path), rows)
    if not good:
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *lines = csv.reader(file, strict=True)
    assert header == list(rows[good[0]])
    assert len(lines) == len(good)
    for n, cells in zip(good, lines, strict=True):
        assert rows[n].keys() <= set(header)
        for column, cell in zip(header, cells, strict=True):
            value = rows[n].get(column)
            expected = "" if value is None else str(value)
            assert cell == expected if plain(value) else repr(msgspec.json.decode(cell)) == repr(value)
    for n in set(range(len(rows))).difference(good):
        hostile = not isinstance(rows[n], dict) or not rows[n] or encode_lines([rows[n]])[1]
        assert hostile or not rows[n].keys() <= set(header)


@pytest.mark.usefixtures("_quick")
@fast
@given(rows=st.lists(values | records, max_size=6))
def test_any_row_reads_back_from_sqlite_or_is_in_quarantine_L62(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "out.db"
    good = written(path, sinks.sqlite(path, "t"), rows)
    if not good:
        return
    database = sqlite3.connect(path)
    try:
        cursor = database.execute("SELECT * FROM t ORDER BY _rowid_")
        names = [described[0] for described in cursor.description]
        back = [dict(zip(names, row, strict=True)) for row in cursor]
    finally:
        database.close()
    assert len(back) == len(good)
    for n, row in zip(good, back, strict=True):
        known = {key.lower(): value for key, value in rows[n].items()}
        for name, stored in row.items():
            value = known.get(name.lower())
            assert (
                repr(stored) == repr(int(value) if isinstance(value, bool) else value)
                if plain(value)
                else (repr(msgspec.json.decode(stored)) == repr(value))
            )


def test_a_quarantine_that_is_a_file_takes_any_row_L62(tmp_path: Path) -> None:
    rows = [{"n": 1}, {"t": "\ud83d"}, math.nan, object(), {1: 2}, CYCLE]
    good = Pipeline().source(rows).sink(sinks.csv(tmp_path / "out.csv")).quarantine(sinks.jsonl(tmp_path / "q.jsonl"))
    report = good.run()
    assert (report.delivered, report.quarantined) == (1, 5)
    assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 5


# --- CSV ---


def test_what_the_csv_sink_writes_the_csv_source_reads_back_L62(tmp_path: Path) -> None:
    rows = [
        {"\ufeffa": "", "b": "a\rb"},
        {"\ufeffa": "tail\r", "b": "\n"},
        {"\ufeffa": '"', "b": "x\x00y"},
        {"\ufeffa": "'", "b": "é\u2028"},
    ]
    path, back = tmp_path / "out.csv", list[Any]()
    Pipeline().source(rows).sink(sinks.csv(path)).run()
    Pipeline().source(sources.csv(path)).sink(back.append).run()
    assert back == rows


def test_a_row_with_another_key_goes_to_quarantine_and_one_that_lacks_a_key_has_an_empty_cell_L90(
    tmp_path: Path,
) -> None:
    rows: list[Any] = [{"a": 1, "b": None}, {"a": 2, "c": 3}, {"b": [1, "x"]}, 5, {"a": {"k": 1.5}, "b": True}]
    good, bad = run(rows, sinks.csv(tmp_path / "out.csv"))
    assert good == [0, 2, 4]
    assert (tmp_path / "out.csv").read_text() == 'a,b\n1,\n,"[1,""x""]"\n"{""k"":1.5}",True\n'
    assert "key 'c': is no column" in bad[1]["message"]
    assert "columns=[...]" in bad[1]["message"]
    assert "a row of a CSV file is a dict or a struct, not int" in bad[3]["message"]


def test_named_columns_are_the_columns_L90(tmp_path: Path) -> None:
    good, _ = run([{"b": 1}, {"a": 2}], sinks.csv(tmp_path / "out.csv", columns=["a", "b", "c"]))
    assert good == [0, 1]
    assert (tmp_path / "out.csv").read_text() == "a,b,c\n,1,\n2,,\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": []}, "a list of names is needed"),
        ({"columns": "abc"}, "a list of names is needed"),
        ({"columns": ["a", "a"]}, "'a' stands there twice"),
        ({"columns": ["a", 1]}, "key 1: is no text"),
        ({"delimiter": "ab"}, "one character is needed"),
        ({"delimiter": "\n"}, "one character is needed"),
        ({"delimiter": '"'}, "one character is needed"),
    ],
)
def test_what_cannot_be_said_of_a_csv_file_is_told_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sinks.csv("out.csv", **options)


def test_a_csv_file_of_no_rows_can_be_read_again_L90(tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,name\n")
    Pipeline().source(sources.csv(source)).map(dict).sink(sinks.csv(out)).run()
    assert out.read_text() == "id,name\n"
    assert Pipeline().source(sources.csv(out)).sink(lambda row: None).run().rows == 0
    Pipeline().source([]).sink(sinks.csv(out, columns=["x"])).run()
    assert out.read_text() == "x\n"


def test_structs_and_dicts_are_written_alike(tmp_path: Path) -> None:
    structs, dicts = tmp_path / "structs.csv", tmp_path / "dicts.csv"
    run([Point(n, decimal.Decimal("1.10")) for n in range(5000)], sinks.csv(structs))
    run([{"x": n, "y": decimal.Decimal("1.10")} for n in range(5000)], sinks.csv(dicts))
    assert structs.read_text() == dicts.read_text()
    assert structs.read_text().startswith("x,y\n0,1.10\n1,1.10\n")
