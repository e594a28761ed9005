"""Files in, files out: what a user's files are really like."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks, sources


def through(path: Path, source: Any, **options: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    got: list[Any] = []
    bad: list[dict[str, Any]] = []
    Pipeline().source(source(path, **options)).sink(got.append).quarantine(bad.append).run()
    return got, bad


def test_csv_rows_are_dicts_and_a_byte_order_mark_is_no_part_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfname,city\r\nAda,"Lon\r\ndon"\r\n\xc3\x85sa,Lund\r\n')
    assert through(path, sources.csv) == ([{"name": "Ada", "city": "Lon\r\ndon"}, {"name": "Åsa", "city": "Lund"}], [])


def test_ragged_lines_go_to_quarantine_with_their_line_number_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n3\n"x\ny",5\n6,7,8\n\n9,10\n')
    got, bad = through(path, sources.csv)
    assert got == [{"a": "1", "b": "2"}, {"a": "x\ny", "b": "5"}, {"a": "9", "b": "10"}]
    assert [(b["message"], b["row"]) for b in bad] == [
        (f"{path}:3: 1 fields where the header has 2", ["3"]),
        (f"{path}:6: 3 fields where the header has 2", ["6", "7", "8"]),
    ]


def test_bytes_that_are_no_text_spoil_their_row_only(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\nfine\n\xff\xfe\nfine too\n")
    got, bad = through(path, sources.csv)
    assert [row["a"] for row in got] == ["fine", "fine too"]
    assert [(b["message"].partition(";")[0], b["row"]) for b in bad] == [
        (f"{path}:3: bytes that are not utf-8 (byte 1 of the line is 0xff)", "\\xff\\xfe")
    ]


def test_other_encodings_and_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("a;b\nä;ö\n".encode("latin-1"))
    assert through(path, sources.csv, delimiter=";", encoding="latin-1") == ([{"a": "ä", "b": "ö"}], [])


def test_bad_json_goes_to_quarantine_with_its_line_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": \n"\xff"\n[2]')
    got, bad = through(path, sources.jsonl)
    assert got == [{"a": 1}, [2]]
    assert [b["message"].split(": ")[0] for b in bad] == [f"{path}:3", f"{path}:4"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: sources.csv(d / "none.csv"), "no such file"),
        (lambda d: sources.jsonl(d / "none.jsonl"), "no such file"),
        (lambda d: sources.csv(d / "empty.csv"), "is empty; a CSV file begins with a line of column names"),
        (lambda d: sources.csv(d / "twice.csv"), "column 'a' stands there twice"),
    ],
)
def test_a_bad_file_is_one_clear_message(tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(RunFailed, match=message) as caught:
        Pipeline().source(make(tmp_path)).run()
    assert isinstance(caught.value.__cause__, ConfigError)


def test_an_unknown_encoding_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match="unknown encoding 'klingon'"):
        sources.csv("a.csv", encoding="klingon")


def test_jsonl_and_csv_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"a": str(i), "b": 'q"u,o\nte'} for i in range(500)]
    Pipeline().source(rows).sink(sinks.csv(tmp_path / "out.csv")).run()
    assert through(tmp_path / "out.csv", sources.csv)[0] == rows
    Pipeline().source(rows).sink(sinks.jsonl(tmp_path / "out.jsonl")).run()
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows


def test_a_file_gets_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    def fail(x: int) -> int:
        if x == 50:
            raise ValueError
        return x

    with pytest.raises(RunFailed):
        Pipeline().source(range(100)).map(fail, on_error="fail").sink(sinks.jsonl(out)).run()
    assert not out.exists()
    assert (tmp_path / "out.jsonl.part").exists()
    Pipeline().source(range(100)).sink(sinks.jsonl(out)).run()
    assert out.read_text().split() == [str(i) for i in range(100)]
    assert not (tmp_path / "out.jsonl.part").exists()


def test_an_output_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the folder '.*/no' does not exist"):
        Pipeline().source([1]).sink(sinks.jsonl(tmp_path / "no" / "out.jsonl")).run()


def test_the_same_pipeline_runs_twice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n2\n")
    got: list[Any] = []
    pipeline = Pipeline().source(sources.csv(tmp_path / "a.csv")).sink(got.append)
    pipeline.run()
    pipeline.run()
    assert len(got) == 4


def test_what_is_released_is_written_before_the_end_L37(tmp_path: Path) -> None:
    release = threading.Event()

    def rows() -> Iterator[dict[str, int]]:
        for n in range(20):
            yield {"n": n}
        release.wait(20)

    out = tmp_path / "out.jsonl"
    run = Pipeline().source(rows()).map(dict).sink(sinks.jsonl(out)).start()
    part = tmp_path / "out.jsonl.part"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not (part.exists() and part.read_text().count("\n") == 20):
        run.stats()
    assert part.read_text().count("\n") == 20
    assert not out.exists()
    release.set()
    assert run.wait(10).delivered == 20
    assert out.exists()
