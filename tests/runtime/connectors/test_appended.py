"""What an output cannot be: a path of no file, a packed one, and one whose rows could not be read with those before them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.runtime import ConfigError, Pipeline, sinks, sources
from headrace.runtime.cli.commands import headrace


def run(sink: Any) -> Any:
    return Pipeline("job").source([{"n": "1", "t": "a"}]).map(lambda row: row).sink(sink).run()


@pytest.mark.parametrize(
    ("name", "before", "says"),
    [
        ("out.csv", b"n,n\n1,2\n", "the column 'n' stands twice"),
        ("out.csv", b"n;t\n9;z\n", "say delimiter=';'"),
        ("out.csv", b"n\tt\n9\tz\n8\ty", r"say delimiter='\\t'"),
        ("out.csv", "n,t\n9,z\n".encode("utf-16"), "is in utf-16-le"),
        ("out.csv", gzip.compress(b"n,t\n9,z\n", mtime=0), "looks like a gzip file"),
        ("out.jsonl", '{"n":9}\n'.encode("utf-16"), "is in utf-16-le"),
        ("out.jsonl", gzip.compress(b'{"n":9}\n', mtime=0), "looks like a gzip file"),
        ("out.jsonl", b"n,t\n9,z\n", "first line of what is there is no JSON"),
        ("out.jsonl", b'[\n  {"n": 9}\n]\n', "first line of what is there is no JSON"),
    ],
)
def test_rows_are_not_appended_where_nobody_could_read_them_L89(
    tmp_path: Path, name: str, before: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(before)
    make: Any = sinks.csv if name.endswith("csv") else sinks.jsonl
    with pytest.raises(ConfigError, match=says):
        run(make(path, if_exists="append"))
    assert path.read_bytes() == before
    assert run(make(path, if_exists="replace")).delivered == 1


@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbfn,t\n9,z\n", b"t,n\r\nz,9", b'n,t\n"a;b","c;d"\n'])
def test_rows_are_appended_to_any_other_table(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(before)
    run(sinks.csv(path, if_exists="append"))
    rows: list[Any] = []
    Pipeline().source(sources.csv(path)).map(lambda row: row).sink(rows.append).run()
    assert rows[-1] == {"n": "1", "t": "a"}


@pytest.mark.parametrize("before", [b'{"key": [1, 2]}', b"[1,2]\n", b"\x89PNG\r\x1a\x00", b"a,b," * 20_000])
def test_a_file_of_one_line_that_is_no_header_is_not_overwritten_unasked_L79(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(before)
    with pytest.raises(ConfigError, match="exists already"):
        run(sinks.csv(path))
    assert path.read_bytes() == before


def test_an_output_that_is_called_packed_is_told_L89(tmp_path: Path) -> None:
    for make in (sinks.csv, sinks.jsonl):
        with pytest.raises(ConfigError, match="not packed while they are written"):
            make(tmp_path / "out.gz")


@pytest.mark.parametrize(
    ("path", "says"),
    [("a\0b", "has no NUL"), ("", "is empty"), ("folder/", "is the path of a folder")],
)
def test_what_is_the_path_of_no_file_is_told_L87(path: str, says: str) -> None:
    for make in (
        sinks.csv,
        sinks.jsonl,
        lambda path: sinks.sqlite(path, "t"),
        sources.csv,
        sources.jsonl,
    ):
        with pytest.raises(ConfigError, match=says):
            make(path)


def test_a_link_that_leads_back_to_itself_is_told_L87(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match="leads back to itself"):
        run(sinks.jsonl(tmp_path / "a"))
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (r"a\u0000b", "has no NUL"),
        ("loop", "leads back to itself"),
        ("dangling.jsonl", "no such folder: .*gone"),
        ("folder/", "is the path of a folder"),
        ("out.jsonl.gz", "not packed"),
    ],
)
def test_a_job_file_that_names_no_output_is_told_in_one_line_L87(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("n\n1\n")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling.jsonl").symlink_to("gone/out.jsonl")
    (tmp_path / "job.toml").write_text(
        f'[source]\ntype = "csv"\npath = "in.csv"\n[[stage]]\ncall = "copy:copy"\n'
        f'[sink]\ntype = "jsonl"\npath = "{path}"\n'
    )
    done = CliRunner().invoke(headrace, ["run", "-q", "job.toml"])
    assert done.exit_code == 2, done.output
    assert len(done.output.strip().splitlines()) == 1
    assert re.search(says, done.output)


def test_what_a_command_writes_replaces_nothing_unasked_L79(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("n\n1\n")
    (tmp_path / "job.toml").write_text(
        '[source]\ntype = "csv"\npath = "in.csv"\n[[stage]]\ncall = "copy:copy"\n'
        '[sink]\ntype = "jsonl"\npath = "out.jsonl"\n'
    )

    def command(*arguments: str) -> int:
        return CliRunner().invoke(headrace, arguments).exit_code

    assert command("run", "-q", "job.toml", "--journal", "run.db") == 0
    for made in (["export", "run.db"], ["export", "run.db", "--format", "parquet"], ["graph", "job.toml"]):
        for name in ("in.csv", "out.jsonl", "job.toml"):
            before = (tmp_path / name).read_bytes()
            assert command(*made, "-o", name) == 2, (made, name)
            assert (tmp_path / name).read_bytes() == before
        mine = tmp_path / "mine"
        mine.write_text("notes")
        assert command(*made, "-o", "mine", "--replace") == 0
        assert command(*made, "-o", "mine") == 0, "an earlier one of the same command is replaced"
        mine.write_text("notes")
        assert command(*made, "-o", "mine") == 2
        assert mine.read_text() == "notes"
