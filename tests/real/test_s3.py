"""Files of a server that speaks S3: moto's, on the loopback."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks, sources

from . import s3_crash

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto")
LINES = "id,v\n" + "".join(f"{i},row {i}\n" for i in range(20_000))
SECRET = "a-secret-of-s3"


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Of the server."""
    with s3_crash.server() as found:
        yield found


@pytest.fixture
def bucket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system with a bucket `bucket-b`, by what the environment says."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    found = s3fs.S3FileSystem()
    found.mkdir("bucket-b")
    yield found
    found.rm("bucket-b", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_run_goes_on_within_an_object(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("bucket-b/in.csv", LINES.encode())
    fails = True

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["id"] == "15000":
            raise ValueError("no")
        return row

    flow = Pipeline(window=500).source(sources.csv("s3://bucket-b/in.csv")).map(ask, on_error="fail", version="1")
    flow = flow.sink(sinks.jsonl(tmp_path / "out.jsonl"))
    with pytest.raises(RunFailed):
        flow.run(journal=tmp_path / "run.db")
    fails = False
    assert flow.run(journal=tmp_path / "run.db").delivered == 20_000
    ids = [outcome.value["id"] for outcome in Pipeline().source(sources.jsonl(tmp_path / "out.jsonl")).stream()]
    assert ids == [str(i) for i in range(20_000)]
    # In the middle, where neither the beginning nor the end of it shows that.
    bucket.pipe("bucket-b/in.csv", LINES.replace("row 9999", "ROW 9999").encode())
    with pytest.raises(ConfigError, match="was another work"):
        flow.run(journal=tmp_path / "run.db")
    assert SECRET not in (tmp_path / "run.db").read_bytes().decode("latin-1")


def test_many_objects_are_one_source(bucket: Any) -> None:
    bucket.pipe("bucket-b/in/1.csv", b"id\n1\n")
    bucket.pipe("bucket-b/in/2.csv.gz", gzip.compress(b"id\n2\n"))
    read = Pipeline().source(sources.csv("s3://bucket-b/in/*")).stream()
    assert [outcome.value for outcome in read] == [{"id": "1"}, {"id": "2"}]


def test_what_is_not_there_is_told(bucket: Any) -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket-b/nowhere\.csv: no such file"):
        sources.csv("s3://bucket-b/nowhere.csv").check()
    with pytest.raises(ConfigError, match=r"s3://nowhere/\*\.csv: "):
        sources.csv("s3://nowhere/*.csv").check()


@pytest.mark.timeout(240)
def test_a_job_that_is_killed_leaves_each_row_once(environment: dict[str, str]) -> None:
    kills, rounds = s3_crash.crash(environment, kills=5, seed=1)
    assert (kills, rounds >= 1) == (5, True)
