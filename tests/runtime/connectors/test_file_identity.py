"""No two parts of a pipeline use one file, however its name is spelled (L61)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Pipeline, sinks, sources
from headrace.runtime.connectors.file_identity import FileUse, check_uses, identity_of

SPELLINGS: dict[str, Callable[[Path], Any]] = {
    "itself": lambda path: path,
    "relative": lambda path: os.path.relpath(path),
    "through a folder": lambda path: path.parent / ".." / path.parent.name / path.name,
    "symbolic link": lambda path: _linked(path, os.symlink),
    "hard link": lambda path: _linked(path, os.link),
    "link to its folder": lambda path: _folder_linked(path),
}


def _linked(path: Path, link: Callable[..., None]) -> Path:
    other = path.parent / "other name"
    link(path, other)
    return other


def _folder_linked(path: Path) -> Path:
    other = path.parent / "other folder"
    other.symlink_to(path.parent)
    return other / path.name


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("role", ["a second sink", "the quarantine", "the source", "the journal"])
def test_one_file_for_two_is_told_before_anything_runs_L61(tmp_path: Path, spelling: str, role: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1\n2\n")
    sink = sinks.jsonl(SPELLINGS[spelling](path), if_exists="replace")
    calls: list[int] = []
    given: Any = sources.jsonl(path) if role == "the source" else [1, 2]
    pipeline = Pipeline().source(given).map(calls.append).sink(sink)
    if role == "a second sink":
        pipeline = pipeline.sink(sinks.jsonl(path, if_exists="replace"))
    if role == "the quarantine":
        pipeline = pipeline.quarantine(sinks.jsonl(path, if_exists="replace"))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ConfigError, match=r"the sink .* writes it.*give each of them a file of its own"):
        pipeline.run(journal=path if role == "the journal" else None)
    assert calls == []
    assert path.read_text() == "1\n2\n"
    assert sorted(os.listdir(tmp_path)) == before


def test_files_that_do_not_exist_yet_are_one_by_their_folder_and_name_L61(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    names: list[Any] = [tmp_path / "new", tmp_path / "link" / "new", tmp_path / "dangling", f"{tmp_path}/./new"]
    assert len({identity_of(name) for name in names}) == 1
    assert identity_of(tmp_path / "new") != identity_of(tmp_path / "newer")
    if os.path.exists(tmp_path / "LINK"):
        assert identity_of(tmp_path / "NEW") == identity_of(tmp_path / "new")


@pytest.mark.parametrize("end", [".part", ".part.lock"])
def test_what_stands_beside_an_output_is_the_outputs_too_L61(tmp_path: Path, end: str) -> None:
    pipeline = Pipeline().source([1]).sink(sinks.jsonl(tmp_path / "a")).sink(sinks.jsonl(tmp_path / f"a{end}"))
    with pytest.raises(ConfigError, match="give each of them a file of its own"):
        pipeline.run()


def test_two_sinks_on_standard_output_are_told_L61() -> None:
    with pytest.raises(ConfigError, match="standard output: the sink 'sink' writes it, and the sink"):
        Pipeline().source([1]).sink(sinks.jsonl("-")).sink(sinks.csv("-")).run()


def test_any_number_may_write_to_a_device() -> None:
    sink = sinks.jsonl(os.devnull)
    assert Pipeline().source([1]).sink(sink).sink(sinks.jsonl(os.devnull)).run().delivered == 1


def test_two_tables_of_one_database_are_written_at_once_and_one_table_twice_is_told_L61(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    rows = [{"n": n} for n in range(3000)]
    pipeline = Pipeline(window=200).source(rows).sink(sinks.sqlite(path, "a")).sink(sinks.sqlite(path, "b"))
    assert pipeline.run(journal=tmp_path / "run.db").delivered == 3000
    database = sqlite3.connect(path)
    for table in "ab":
        assert database.execute(f"SELECT count(*), sum(n) FROM {table}").fetchone() == (3000, sum(range(3000)))
    database.close()
    twice = Pipeline().source(rows).sink(sinks.sqlite(path, "a")).sink(sinks.sqlite(path, "A"))
    with pytest.raises(ConfigError, match="table 'a': the sink"):
        twice.run()


def test_a_database_is_no_journal_L61(tmp_path: Path) -> None:
    pipeline = Pipeline().source([{"n": 1}]).sink(sinks.sqlite(tmp_path / "a.db", "t"))
    with pytest.raises(ConfigError, match="the journal writes it too"):
        pipeline.run(journal=tmp_path / "a.db")
    assert os.listdir(tmp_path) == []


def test_a_connector_of_the_users_takes_part_by_saying_its_files_L61(tmp_path: Path) -> None:
    class Own:
        name = "own"

        def files(self) -> list[FileUse]:
            return [FileUse(str(tmp_path / "a"), "write")]

        def open(self) -> None:
            raise AssertionError("nothing is opened")

        def write(self, items: list[Any]) -> None: ...

        def close(self, complete: bool) -> None: ...

    with pytest.raises(ConfigError, match="the sink 'sink' writes it, and the quarantine writes it too"):
        Pipeline().source([1]).sink(Own()).quarantine(sinks.jsonl(tmp_path / "a")).run()


def test_readers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    check_uses([FileUse(str(tmp_path), "read"), FileUse(str(tmp_path), "read")])
