"""`make crash-parquet`: a job from a Parquet file into another, killed with SIGKILL at random moments and resumed each time.

A round is one job, from nothing to its end; then the output has the rows of the input, in their order, each once.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import decimal
import random
import sys
import time
from pathlib import Path
from typing import Any

from .killed import ran_to_its_end

ROWS = 4000
GROUP = 700


async def answered(row: dict[str, Any]) -> dict[str, Any]:
    """What a row becomes: itself, after a while."""
    await asyncio.sleep(0.002)
    return row


def work(folder: Path) -> None:
    """The job, in the process that is killed."""
    from headrace.runtime import Pipeline, sinks, sources

    report = (
        Pipeline("crash")
        .source(sources.parquet(folder / "in.parquet"))
        .map(answered, workers=16)
        .sink(sinks.parquet(folder / "out.parquet"))
        .run(journal=folder / "run.db")
    )
    assert report.rows == report.delivered == ROWS, report


def given() -> list[dict[str, Any]]:
    """The rows of the input."""
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return [
        {
            "id": i,
            "price": decimal.Decimal(i) / 100,
            "at": at + datetime.timedelta(seconds=i),
            "tags": [f"{i}"] * (i % 3),
        }
        for i in range(ROWS)
    ]


def crash(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """So many kills; (kills, rounds). Raises `AssertionError` where a row is not there, or twice."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    chance, came, rounds = random.Random(seed), 0, 0
    rows = given()
    table = arrow.Table.from_pylist(rows)
    while came < kills:
        own = folder / f"round-{rounds}"
        own.mkdir(parents=True)
        parquet.write_table(table, own / "in.parquet", row_group_size=GROUP)
        while came < kills and not run(own, chance.uniform(0.3, 1.8)):
            came += 1
        run(own, None)
        assert parquet.read_table(own / "out.parquet").to_pylist() == rows, own
        assert sorted(path.name for path in own.glob("out*")) == ["out.parquet"]
        rounds += 1
    return came, rounds


def run(folder: Path, kill_after_s: float | None) -> bool:
    """Once; whether it came to its end."""
    return ran_to_its_end("tests.system.parquet_crash", str(folder.absolute()), kill_after_s=kill_after_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    print(f"seed {options.seed}", flush=True)
    kills, rounds = crash(options.folder, options.kills, options.seed)
    print(f"{kills} kills in {rounds} rounds of {ROWS:,} rows: outputs as without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
