"""`make explore`: all scenarios, random ones and random graphs, with fresh seeds, for as long as it is told; prints the
seeds it began with."""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from headrace.scenarios.play import play
from headrace.scenarios.script import Script
from tests.scenarios.random_graphs import random_graph
from tests.scenarios.random_scripts import random_script

CHUNK = 40


KINDS: dict[str, Callable[[int], Script]] = {"scenarios": random_script, "graphs": random_graph}


def play_random(kind: str, first: int) -> list[tuple[int, str]]:
    """Those of `CHUNK` random scenarios that break something."""
    broken = []
    for seed in range(first, first + CHUNK):
        breach = play(KINDS[kind](seed), seed).breach
        if breach is not None:
            broken.append((seed, str(breach)))
    return broken


def explore_random(kind: str, for_s: float, jobs: int, at_most: int = 1 << 62) -> bool:
    """Play random ones of a kind for so long, or so many; whether all held."""
    first = secrets.randbelow(1_000_000_000)
    until = time.monotonic() + for_s
    print(f"random {kind} for {for_s:g} s, from seed {first} on", flush=True)
    played, well, begin = 0, True, first
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while time.monotonic() < until and played < at_most:
            firsts = [begin + i * CHUNK for i in range(jobs)]
            begin += jobs * CHUNK
            for broken in pool.map(play_random, [kind] * jobs, firsts):
                played += CHUNK
                for seed, breach in broken:
                    well = False
                    print(f"random {kind} {seed}: {breach}", flush=True)
    print(f"{played:,} random {kind}, {'all held' if well else 'NOT all held'}", flush=True)
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="for_s", type=float, default=600.0, help="seconds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--graphs", type=int, help="play so many random graphs, and nothing else")
    options = parser.parse_args()
    if options.graphs is not None:
        return 0 if explore_random("graphs", 1e9, options.jobs, options.graphs) else 1
    third, jobs = options.for_s / 3, str(options.jobs)
    command = [sys.executable, "-m", "headrace.runtime.cli", "scenario", "run", "--for", f"{third:g}s", "--jobs", jobs]
    well = [subprocess.run(command).returncode == 0]
    well += [explore_random(kind, third, options.jobs) for kind in KINDS]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
