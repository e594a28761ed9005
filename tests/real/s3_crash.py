"""`make crash-s3`: a job from an object into two others, killed with SIGKILL at random moments and resumed each time.

The server is moto's, which speaks S3. A round is one job, from nothing to its end; then the outputs have the rows of the
input, each once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.system.killed import ran_to_its_end

from .processes import ended, free_port, waited_for

ROWS = 3000
INPUT, LINES, COLUMNS = "bucket-c/in.csv", "bucket-c/out.jsonl", "bucket-c/out.parquet"


@contextlib.contextmanager
def server() -> Iterator[dict[str, str]]:
    """What the environment says of it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ended(subprocess.Popen(command, **quiet)) as process:  # type: ignore[call-overload]
        waited_for(port, process)
        keys = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a-secret-of-s3"}
        yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1", **keys}


async def answered(row: dict[str, Any]) -> dict[str, Any]:
    """What a row becomes: itself, after a while."""
    await asyncio.sleep(0.002)
    return row


def work(folder: Path) -> None:
    """The job, in the process that is killed."""
    from headrace.runtime import Pipeline, sinks, sources

    report = (
        Pipeline("crash")
        .source(sources.csv(f"s3://{INPUT}"))
        .map(answered, workers=16)
        .sink(sinks.jsonl(f"s3://{LINES}"), name="lines")
        .sink(sinks.parquet(f"s3://{COLUMNS}"), name="columns")
        .run(journal=folder / "run.db")
    )
    assert report.rows == ROWS, report


def crash(environment: dict[str, str], kills: int, seed: int) -> tuple[int, int]:
    """So many kills; (kills, rounds). Raises `AssertionError` where a row is not there, or twice."""
    import msgspec
    import pyarrow.parquet as parquet
    import s3fs

    chance, came, rounds = random.Random(seed), 0, 0
    options = {"key": environment["AWS_ACCESS_KEY_ID"], "secret": environment["AWS_SECRET_ACCESS_KEY"]}
    fs = s3fs.S3FileSystem(endpoint_url=environment["AWS_ENDPOINT_URL"], use_listings_cache=False, **options)
    fs.mkdir("bucket-c")
    fs.pipe(INPUT, ("id,v\n" + "".join(f"{i},row {i}\n" for i in range(ROWS))).encode())
    rows = [{"id": str(i), "v": f"row {i}"} for i in range(ROWS)]
    while came < kills:
        for name in (LINES, COLUMNS):
            with contextlib.suppress(FileNotFoundError):
                fs.rm(name)
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            while came < kills and not run(environment, Path(folder), chance.uniform(0.8, 4.0)):
                came += 1
            run(environment, Path(folder), None)
            assert sorted(path.name for path in Path(folder).iterdir()) == ["run.db", "run.db.lock"]
        assert msgspec.json.Decoder().decode_lines(fs.cat(LINES)) == rows
        with fs.open(COLUMNS, "rb") as file:
            assert parquet.read_table(file).to_pylist() == rows
        rounds += 1
    return came, rounds


def run(environment: dict[str, str], folder: Path, kill_after_s: float | None) -> bool:
    """Once; whether it came to its end."""
    return ran_to_its_end("tests.real.s3_crash", str(folder), kill_after_s=kill_after_s, environment=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    print(f"seed {options.seed}", flush=True)
    with server() as environment:
        kills, rounds = crash(environment, options.kills, options.seed)
    print(f"{kills} kills in {rounds} rounds of {ROWS:,} rows: both objects as without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
