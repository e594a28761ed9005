"""`make crash`: the demo's pipeline against the real service, killed with SIGKILL at random moments, resumed each time.

A round is one job, from nothing to its end: its outputs are compared byte by byte with those of a job that nobody killed,
and the service's own count of the calls that it answered with what the kills may have cost. The process is killed at any
time: while it starts, resumes, commits, closes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .killed import ran_to_its_end

IN_FLIGHT = 32
QUOTA_PER_S = 1000
COMMIT_S = 0.05
"""What is not durable after a kill is at most what came within this time."""


@contextmanager
def service() -> Iterator[str]:
    """The real one, on loopback, in a process of its own; its address."""
    options = ["--rate", str(QUOTA_PER_S), "--burst", "100", "--latency", "0.002", "0.01", "--outage", "0"]
    command = [sys.executable, "-m", "headrace.scenarios.examples.service", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        # Of clients that are killed it says that their connections are reset.
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def work(url: str, out: Path, rows: int) -> None:
    """The job, in the process that is killed."""
    from headrace.runtime import Pipeline, sinks, sources
    from headrace.scenarios.examples.demo import HERE, Locate

    given = out / "airports.csv"
    if not given.exists():
        lines = (HERE / "airports.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        (out / "new.csv").write_text("".join(lines[: rows + 1]), encoding="utf-8")
        (out / "new.csv").rename(given)
    report = (
        Pipeline("airports")
        .source(sources.csv(given))
        .map(Locate(url, IN_FLIGHT), name="locate", workers=IN_FLIGHT, limit=f"{QUOTA_PER_S}/s", timeout=10.0)
        .sink(sinks.jsonl(out / "airports.jsonl"))
        .quarantine(sinks.jsonl(out / "quarantine.jsonl"))
        .run(journal=out / "run.db")
    )
    assert report.rows == report.delivered + report.quarantined == rows, report


class Crashes:
    """What came of all of it."""

    def __init__(self) -> None:
        self.kills = self.rounds = self.twice = self.allowed = 0


def answered(url: str) -> int:
    """Calls that the service answered, well or not; refusals not counted."""
    with urllib.request.urlopen(f"{url}/counts", timeout=10) as response:
        counts: dict[str, int] = json.load(response)
    return sum(n for status, n in counts.items() if status in ("200", "400"))


def crash(folder: Path, kills: int, rows: int, seed: int) -> Crashes:
    """So many kills, in as many rounds as they need. Raises `AssertionError` where something is not as it must be."""
    chance, came = random.Random(seed), Crashes()
    with service() as url:
        whole = folder / "whole"
        whole.mkdir(parents=True)
        run(url, whole, rows, None)
        while came.kills < kills:
            out = folder / f"round-{came.rounds}"
            out.mkdir()
            before, in_round = answered(url), 0
            while came.kills < kills:
                after_s = chance.choice((chance.uniform(0.05, 0.5), chance.uniform(0.3, 1.0), chance.uniform(0.5, 3.0)))
                if run(url, out, rows, after_s):
                    break
                came.kills += 1
                in_round += 1
            else:
                run(url, out, rows, None)
            compare(whole, out)
            twice = answered(url) - before - rows
            allowed = in_round * (IN_FLIGHT + round(QUOTA_PER_S * COMMIT_S))
            assert 0 <= twice <= allowed, f"{twice} calls were made twice in {in_round} kills, {allowed} are allowed"
            came.twice += twice
            came.allowed += allowed
            came.rounds += 1
    return came


def run(url: str, out: Path, rows: int, kill_after_s: float | None) -> bool:
    """Once; whether it came to its end."""
    told = (url, str(out.absolute()), "--rows", str(rows))
    return ran_to_its_end("tests.system.crash", *told, kill_after_s=kill_after_s)


def compare(whole: Path, out: Path) -> None:
    """Byte by byte; rows in quarantine come in any order."""
    name = "airports.jsonl"
    assert (out / name).read_bytes() == (whole / name).read_bytes(), f"{out / name} is not that of a run without kills"
    assert bad(out) == bad(whole)
    assert not list(out.glob("*.part"))


def bad(folder: Path) -> list[Any]:
    """The rows in quarantine, in their order, less the text that names the address of the service."""
    records = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    return sorted(([r["seq"], r["stage"], r["error"], r["row"]] for r in records), key=lambda record: record[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=2, metavar=("URL", "FOLDER"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=3500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]), options.rows)
        return 0
    print(f"seed {options.seed}", flush=True)
    came = crash(options.folder, options.kills, options.rows, options.seed)
    print(
        f"{came.kills} kills in {came.rounds} rounds of {options.rows:,} rows: outputs as without; "
        f"{came.twice} calls made twice, {came.allowed:,} allowed"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
