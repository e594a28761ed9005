"""Parquet files: what is written reads back, a row that does not fit costs itself alone, and a run goes on where it was."""

from __future__ import annotations

import datetime
import decimal
import enum
import os
import subprocess
import sys
import uuid
import zoneinfo
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks, sources
from headrace.runtime.files.pipeline_file import read

STOCKHOLM = zoneinfo.ZoneInfo("Europe/Stockholm")
WHOLE: dict[str, Any] = {
    "text": "smörgås \U0001f600 \x00",
    "n": -(2**63),
    "x": 0.1,
    "yes": True,
    "raw": b"\x00\xff",
    "exact": decimal.Decimal("12345678901234567890.12"),
    "at": datetime.datetime(2026, 7, 1, 12, 30, 15, 123456),
    "zoned": datetime.datetime(2026, 7, 1, 12, tzinfo=STOCKHOLM),
    "day": datetime.date(2026, 7, 1),
    "hour": datetime.time(1, 2, 3, 4),
    "took": datetime.timedelta(days=1, microseconds=5),
    "list": [[1, 2], [], [3]],
    "deep": {"a": {"b": [{"c": decimal.Decimal("1.5"), "d": "x"}]}, "e": None},
    "none": None,
}


def back(path: Path | str, **options: Any) -> list[Any]:
    return [outcome.value for outcome in Pipeline().source(sources.parquet(path), **options).stream()]


def written(rows: list[Any], path: Path, **options: Any) -> list[dict[str, Any]]:
    """What of them is in quarantine."""
    bad: list[dict[str, Any]] = []
    Pipeline().source(rows).sink(sinks.parquet(path, **options)).quarantine(bad.append).run()
    return sorted(bad, key=lambda each: each["seq"])


def test_rows_read_back_as_they_were(tmp_path: Path) -> None:
    rows = [WHOLE, {**WHOLE, "text": None, "deep": {"a": None, "e": None}}, {"n": 1}]
    assert written(rows, tmp_path / "out.parquet") == []
    found = back(tmp_path / "out.parquet")
    assert found[0] == WHOLE
    assert found[0]["zoned"].utcoffset() == datetime.timedelta(hours=2)
    assert found[1] == rows[1]
    assert found[2] == dict.fromkeys(WHOLE) | {"n": 1}
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 3


def test_rows_that_are_objects_are_written_by_their_fields(tmp_path: Path) -> None:
    class Colour(enum.Enum):
        RED = "red"

    class Row(msgspec.Struct):
        id: uuid.UUID
        at: datetime.datetime
        colour: Colour
        path: Path

    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert written([Row(uuid.UUID(int=7), at, Colour.RED, Path("a/b"))], tmp_path / "out.parquet") == []
    [row] = back(tmp_path / "out.parquet")
    assert row == {"id": str(uuid.UUID(int=7)), "at": at, "colour": "red", "path": "a/b"}


HOSTILE: dict[str, list[Any]] = {
    "text": ["\ud83d", 5, b"x", ["a"]],
    "n": [2**63, 1.5, "7", True, None.__class__],
    "x": ["0.5", True, 2**2000],
    "yes": [1, "true"],
    "raw": ["text"],
    "exact": [decimal.Decimal("1.005"), decimal.Decimal("NaN"), decimal.Decimal(10) ** 60, "1.5"],
    "at": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "2026-01-01", datetime.date(2026, 1, 1)],
    "zoned": [datetime.datetime(2026, 1, 1)],
    "list": [[1], [["a"]], "text"],
    "deep": [{"other": 1}, {"a": {"b": [{"c": "x"}]}}, [1]],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_that_does_not_fit_costs_its_row_alone_L62(name: str, tmp_path: Path) -> None:
    rows = [WHOLE, *({**WHOLE, name: value} for value in HOSTILE[name]), WHOLE]
    bad = written(rows, tmp_path / "out.parquet", schema=None)
    assert [each["seq"] for each in bad] == list(range(1, len(rows) - 1))
    assert all(f"field '{name}'" in each["message"] for each in bad)
    assert back(tmp_path / "out.parquet") == [WHOLE, WHOLE]


def test_rows_that_are_none_are_told(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    rows: list[Any] = [{"a": 1}, 7, {"a": 1, "b": 2}, {3: 1}, {"a": loop}, [1], None]
    bad = written(rows, tmp_path / "out.parquet")
    assert [each["seq"] for each in bad] == [1, 2, 3, 4, 5, 6]
    assert "key 'b': is no column; there are a" in bad[1]["message"]


def test_a_schema_says_what_rows_are(tmp_path: Path) -> None:
    class Row(msgspec.Struct):
        id: int
        name: str | None
        tags: list[str]
        price: decimal.Decimal

    rows: list[Any] = [{"id": 1, "name": None, "tags": [], "price": decimal.Decimal("1.5")}]
    assert written(rows, tmp_path / "a.parquet", schema=Row) == []
    assert back(tmp_path / "a.parquet") == rows
    coded = arrow.dictionary(arrow.int8(), arrow.string())
    said = arrow.schema([arrow.field("id", arrow.int16(), nullable=False), arrow.field("x", coded)])
    bad = written([{"id": 1, "x": "a"}, {"x": "b"}, {"id": 40_000}], tmp_path / "b.parquet", schema=said)
    assert [each["seq"] for each in bad] == [1, 2]
    assert "field 'id': is missing, and may not be" in bad[0]["message"]
    assert back(tmp_path / "b.parquet") == [{"id": 1, "x": "a"}]
    assert written([], tmp_path / "c.parquet", schema=Row) == []
    assert sources.parquet(tmp_path / "c.parquet").fields() == ["id", "name", "tags", "price"]
    assert written([], tmp_path / "d.parquet") == []
    assert back(tmp_path / "d.parquet") == []


def test_values_that_python_has_not_cost_their_row_alone(tmp_path: Path) -> None:
    ns = arrow.array([1_000, 1_001, None], arrow.timestamp("ns", "UTC"))
    far = arrow.array([0, 0, 2**50], arrow.timestamp("s"))
    # A half of 1.5 has the bits 0x3e00.
    small = arrow.Array.from_buffers(arrow.float16(), 3, [None, arrow.py_buffer(b"\x00\x3e" * 3)])
    coded = arrow.array(["a", "b", "a"]).dictionary_encode()
    parquet.write_table(arrow.table({"ns": ns, "far": far, "small": small, "coded": coded}), tmp_path / "in.parquet")
    outcomes = list(Pipeline().source(sources.parquet(tmp_path / "in.parquet")).stream())
    assert [outcome.status.value for outcome in outcomes] == ["delivered", "quarantined", "quarantined"]
    assert outcomes[0].value["ns"] == datetime.datetime(1970, 1, 1, microsecond=1, tzinfo=datetime.UTC)
    assert (outcomes[0].value["small"], outcomes[0].value["coded"]) == (1.5, "a")
    assert "row group 0, row 1: field 'ns': cannot be read as a value of Python" in str(outcomes[1].error)


def test_types_are_those_of_the_file(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"id": [1, 2], "v": ["a", None]}), tmp_path / "in.parquet")
    assert back(tmp_path / "in.parquet", rows="infer") == [{"id": 1, "v": "a"}, {"id": 2, "v": None}]
    assert sources.parquet(tmp_path / "in.parquet").fields() == ["id", "v"]


@pytest.mark.parametrize("stop", [0, 1, 700, 2048, 2999, 3000, 6500, 8999])
def test_a_run_goes_on_within_a_row_group(stop: int, tmp_path: Path) -> None:
    table = arrow.table({"id": list(range(9000)), "v": [f"row {i}" for i in range(9000)]})
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=3000)
    fails = True
    asked: list[int] = []

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["id"] == stop:
            raise ValueError("no")
        asked.append(row["id"])
        return row

    flow = Pipeline().source(sources.parquet(tmp_path / "in.parquet")).map(ask, on_error="fail", version="1")
    flow = flow.sink(sinks.parquet(tmp_path / "out.parquet"))
    with pytest.raises(RunFailed):
        flow.run(journal=tmp_path / "run.db")
    assert not (tmp_path / "out.parquet").exists()
    fails = False
    assert flow.run(journal=tmp_path / "run.db").delivered == 9000
    assert back(tmp_path / "out.parquet") == table.to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet", "run.db", "run.db.lock"]


def test_a_file_that_was_edited_is_told_L88(tmp_path: Path) -> None:
    def make(second: str) -> None:
        rows = arrow.table({"v": ["aaaa", second, "cccc"]})
        parquet.write_table(rows, tmp_path / "in.parquet", row_group_size=1, compression="none", write_statistics=False)

    make("bbbb")
    fails = True

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["v"] == "cccc":
            raise ValueError("no")
        return row

    flow = Pipeline(window=1).source(sources.parquet(tmp_path / "in.parquet")).map(ask, on_error="fail", version="1")
    flow = flow.sink(sinks.parquet(tmp_path / "out.parquet"))
    with pytest.raises(RunFailed):
        flow.run(journal=tmp_path / "run.db")
    fails = False
    make("BBBB")
    with pytest.raises(ConfigError, match="was edited in the row groups that have been read already"):
        flow.run(journal=tmp_path / "run.db")
    make("bbbb")
    assert flow.run(journal=tmp_path / "run.db").delivered == 3


def test_what_becomes_of_a_file_that_is_there(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    parquet.write_table(arrow.table({"id": [1]}), out)
    with pytest.raises(ConfigError, match="exists already, and is not what an earlier run"):
        written([{"id": 2}], out)
    assert written([{"id": 2}, {"id": "x"}], out, if_exists="append")[0]["seq"] == 1
    assert back(out) == [{"id": 1}, {"id": 2}]
    written([{"id": 3}], out, if_exists="replace")
    assert back(out) == [{"id": 3}]
    written([{"other": "a"}], out)
    assert back(out) == [{"other": "a"}]
    out.write_text("no Parquet")
    with pytest.raises(ConfigError, match="what is there cannot be read as Parquet"):
        written([{"id": 2}], out, if_exists="append")


def test_rows_that_were_mended_come_after_the_others(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    (tmp_path / "mended.py").write_text("def ask(row):\n    return {'id': 10 // row['id']}\n")
    rows = [{"id": i} for i in (1, 0, 2)]
    written(rows, tmp_path / "in.parquet")
    here = {"folder": tmp_path}
    job.write_text(
        'source = "{folder}/in.parquet"\n[[stage]]\ncall = "mended:ask"\n[sink]\ntype = "parquet"\n'
        'path = "{folder}/out.parquet"\n[quarantine]\ntype = "jsonl"\npath = "{folder}/bad.jsonl"\n'.format(**here)
    )
    assert headrace("run", str(job), "--journal", str(tmp_path / "run.db")) == 3
    assert back(tmp_path / "out.parquet") == [{"id": 10}, {"id": 5}]
    (tmp_path / "mended.py").write_text("def ask(row):\n    return {'id': 10 // (row['id'] or -1)}\n")
    assert headrace("retry", str(tmp_path / "run.db")) == 0
    assert back(tmp_path / "out.parquet") == [{"id": 10}, {"id": 5}, {"id": -10}]
    assert headrace("run", str(job), "--journal", str(tmp_path / "run.db")) == 0
    assert back(tmp_path / "out.parquet") == [{"id": 10}, {"id": 5}, {"id": -10}]


def headrace(*words: str) -> int:
    """The exit status of the command."""
    return subprocess.run([sys.executable, "-m", "headrace.runtime.cli", *words, "--quiet"], timeout=50).returncode


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: sources.parquet("nowhere.parquet").check(), "no such file"),
        (lambda: sources.parquet("folder").check(), r"folder: there is no file that is called \.parquet"),
        (lambda: sources.parquet("text.parquet").check(), "cannot be read as Parquet"),
        (lambda: sources.csv("in.parquet").check(), "looks like a Parquet file, not CSV; read it as Parquet"),
        (lambda: sinks.parquet("-"), "so it is no stream"),
        (lambda: sinks.parquet("x.parquet", compression="zip"), "compression='zip'"),
        (lambda: sinks.parquet("x.parquet", schema=7), "schema=7: a pyarrow.Schema, a msgspec Struct"),
    ],
)
def test_what_cannot_be_is_told(make: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    Path("text.parquet").write_text("id,n\n1,2\n")
    parquet.write_table(arrow.table({"id": [1]}), "in.parquet")
    with pytest.raises(ConfigError, match=told):
        make()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    for make in (lambda: sources.parquet(tmp_path / "in.parquet").check(), lambda: sinks.parquet(tmp_path / "out")):
        with pytest.raises(ConfigError, match=r"Parquet needs the extra 'parquet': pip install 'headrace\[parquet\]'"):
            make()


def test_ends_of_a_job_file(tmp_path: Path) -> None:
    (tmp_path / "their_types.py").write_text("import msgspec\nclass Row(msgspec.Struct):\n    id: int\n")
    written([{"id": 1}, {"id": 2}], tmp_path / "in.parquet")
    job = tmp_path / "job.toml"
    job.write_text(
        f'source = "{tmp_path}/in.parquet"\n[sink]\ntype = "parquet"\npath = "{tmp_path}/out.parquet"\n'
        'schema = "their_types:Row"\ncompression = "snappy"\n'
    )
    read(job).pipeline.run()
    assert parquet.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(0).compression == "SNAPPY"
