"""A source is known by its contents: what was read and is edited since is told, wherever it stands (L88)."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sources
from headrace.runtime.errors import SourceChanged

N = 40_000
STOP_AT = 30_000


class Job:
    """A job that stops at one row until that is mended."""

    def __init__(self, folder: Path, kind: str, rows: Any = None) -> None:
        self.path = folder / f"in.{kind}"
        self.journal = folder / "run.db"
        self.kind = kind
        self.rows = rows
        self.broken = True
        self.got: list[str] = []
        with gzip.open(self.path, "wt") if kind == "csv.gz" else open(self.path, "w") as file:
            csv = kind.startswith("csv")
            file.write("id,n\n" if csv else "")
            file.writelines(f"{i:06d},x\n" if csv else f'{{"id":"{i:06d}","n":"x"}}\n' for i in range(N))

    def run(self, **options: Any) -> Any:
        def stops(row: Any) -> str:
            if self.broken and int(_id(row)) == STOP_AT:
                raise ValueError("stop here")
            return _id(row)

        stops.version = "1"  # type: ignore[attr-defined]
        source = sources.jsonl(self.path) if self.kind == "jsonl" else sources.csv(self.path)
        pipeline = (
            Pipeline("job").source(source, rows=self.rows).map(stops, name="f", workers=1, retry=1, on_error="fail")
        )
        return pipeline.sink(self.got.append).run(journal=self.journal, **options)

    def stopped(self) -> Job:
        with pytest.raises(RunFailed, match="stop here"):
            self.run()
        self.broken = False
        return self

    def edit(self, old: bytes, new: bytes) -> None:
        data = self.path.read_bytes()
        assert data.count(old) == 1
        self.path.write_bytes(data.replace(old, new))


class Row(msgspec.Struct):
    id: str
    n: str


def _id(row: Any) -> str:
    return str(row["id"] if isinstance(row, dict) else row.id)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("rows", [None, "infer", Row])
def test_a_row_that_was_edited_in_the_middle_is_told_before_anything_runs_L88(
    tmp_path: Path, kind: str, rows: Any
) -> None:
    job = Job(tmp_path, kind, rows).stopped()
    n = len(job.got)
    job.edit(b"010000", b"01000Z")
    with pytest.raises(ConfigError, match=r"was edited in its first [\d,]+ lines, which have been read already"):
        job.run()
    assert len(job.got) == n
    job.edit(b"01000Z", b"010000")
    assert job.run().state == "completed"
    assert set(job.got) == {f"{i:06d}" for i in range(N)}


def test_changes_that_are_accepted_are_gone_on_with_L88(tmp_path: Path) -> None:
    job = Job(tmp_path, "csv").stopped()
    job.edit(b"010000", b"01000Z")
    assert job.run(accept_changes=True).state == "completed"
    assert job.got[-1] == f"{N - 1:06d}"


def test_a_complete_run_knows_the_whole_file_L88(tmp_path: Path) -> None:
    job = Job(tmp_path, "csv")
    job.broken = False
    job.run()
    assert job.run().rows == N
    job.edit(b"020000,x", b"020000,y")
    with pytest.raises(ConfigError, match="40,001 lines"):
        job.run()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data + b"040000,x\n", "its size in bytes was"),
        (lambda data: data[:-9], "its size in bytes was"),
        (lambda data: b"di" + data[2:], "the digest of its beginning and end"),
    ],
)
def test_what_is_appended_or_cut_is_told_with_what_differs_L88(
    tmp_path: Path, change: Callable[[bytes], bytes], told: str
) -> None:
    job = Job(tmp_path, "csv").stopped()
    job.path.write_bytes(change(job.path.read_bytes()))
    with pytest.raises(ConfigError, match=told):
        job.run()


def test_a_packed_file_is_gone_on_with_where_it_was(tmp_path: Path) -> None:
    job = Job(tmp_path, "csv.gz").stopped()
    assert job.run().state == "completed"
    assert [n for n in job.got if n >= f"{STOP_AT:06d}"] == [f"{i:06d}" for i in range(STOP_AT, N)]


def test_a_resume_reads_on_from_its_place_and_only_its_prefix_again_L88(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a,b\n" + "".join(f'{n},"x\ny {n}"\n' for n in range(5000)))
    source = sources.csv(path)
    source.resume(None)
    first, _, _ = source.read(1)
    while len(first) < 2500:
        first += source.read(2500 - len(first))[0]
    place = source.tell()
    source.close()
    assert place is not None
    assert source.verify(place) is None
    source.resume(place)
    rest: list[Any] = []
    ended = False
    while not ended:
        values, ended, _ = source.read(1000)
        rest += values
    source.close()
    assert [row["a"] for row in rest] == [str(n) for n in range(2500, 5000)]
    assert rest[0]["b"] == "x\ny 2500"


def test_a_place_of_an_older_journal_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n2\n3\n")
    source = sources.jsonl(path)
    assert source.verify([2, 1]) is None
    source.resume([2, 1])
    assert source.read(1)[0] == [2]
    source.close()


class Shrinks:
    """A function that cuts the file short while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, row: Any) -> Any:
        if self.path.stat().st_size > 100_000:
            os.truncate(self.path, 100_000)
        return row


def test_a_file_that_is_cut_short_while_it_is_read_is_told_L88(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a\n" + "x" * 50 + "\n" + "123456789\n" * 200_000)
    with pytest.raises(RunFailed, match="it was cut short or overwritten while it was read") as failed:
        Pipeline(window=64).source(sources.csv(path)).map(Shrinks(path)).run()
    assert isinstance(failed.value.__cause__, SourceChanged)


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a\n1\n")
    source = sources.csv(path)
    source.open()
    with path.open("a") as file:
        file.write("2\n")
    rows = [*source.read(1)[0], *source.read(2)[0]]
    source.close()
    assert rows[-1] == {"a": "2"}


def test_a_gzip_file_that_is_cut_short_is_told_L89(tmp_path: Path) -> None:
    path, whole = tmp_path / "in.csv.gz", io.BytesIO()
    with gzip.GzipFile(fileobj=whole, mode="wb") as file:
        file.write(b"id,n\n" + os.urandom(200_000).hex().encode() + b",x\n1,y\n")
    path.write_bytes(whole.getvalue()[:-5000])
    with pytest.raises(RunFailed, match="the gzip file is damaged or cut short, after"):
        Pipeline().source(sources.csv(path)).run()
