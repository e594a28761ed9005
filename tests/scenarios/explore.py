"""`make explore`: all scenarios and random ones, with fresh seeds, for as long as it is told; prints the seeds it
began with."""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from headrace.scenarios.play import play
from tests.scenarios.random_scripts import random_script

CHUNK = 40


def play_random(first: int) -> list[tuple[int, str]]:
    """Those of `CHUNK` random scenarios that break something."""
    broken = []
    for seed in range(first, first + CHUNK):
        breach = play(random_script(seed), seed).breach
        if breach is not None:
            broken.append((seed, str(breach)))
    return broken


def explore_random(for_s: float, jobs: int) -> bool:
    """Play random scenarios for so long; whether all held."""
    first = secrets.randbelow(1_000_000_000)
    until = time.monotonic() + for_s
    print(f"random scenarios for {for_s:g} s, from seed {first} on", flush=True)
    played, well, begin = 0, True, first
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while time.monotonic() < until:
            firsts = [begin + i * CHUNK for i in range(jobs)]
            begin += jobs * CHUNK
            for broken in pool.map(play_random, firsts):
                played += CHUNK
                for seed, breach in broken:
                    well = False
                    print(f"random scenario {seed}: {breach}", flush=True)
    print(f"{played:,} random scenarios, {'all held' if well else 'NOT all held'}", flush=True)
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="for_s", type=float, default=600.0, help="seconds")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    half, jobs = options.for_s / 2, str(options.jobs)
    command = [sys.executable, "-m", "headrace.runtime.cli", "scenario", "run", "--for", f"{half:g}s", "--jobs", jobs]
    scripted = subprocess.run(command).returncode == 0
    return 0 if explore_random(half, options.jobs) and scripted else 1


if __name__ == "__main__":
    sys.exit(main())
