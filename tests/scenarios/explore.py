"""`make explore`: all scenarios, random ones, random graphs and graphs that are killed and resumed, with fresh seeds, for as
long as it is told; prints the seeds it began with."""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from headrace.scenarios.lives import live
from headrace.scenarios.play import play
from headrace.scenarios.script import Script
from tests.scenarios.random_graphs import random_graph
from tests.scenarios.random_scripts import random_script
from tests.scenarios.test_lives import KILLS, graph_with_kills

CHUNK = 40


Counts = tuple[int, int]
"""How often a process was killed, and how often its disk was full or failed."""


def _played(make: Callable[[int], Script], seed: int) -> tuple[str | None, Counts]:
    breach = play(make(seed), seed).breach
    return (str(breach) if breach is not None else None), (0, 0)


def _lived(seed: int) -> tuple[str | None, Counts]:
    # Those of a process that was killed.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    lived = live(graph_with_kills(seed), seed, KILLS)
    return lived.breach, (lived.kills, lived.faults)


KINDS: dict[str, Callable[[int], tuple[str | None, Counts]]] = {
    "scenarios": partial(_played, random_script),
    "graphs": partial(_played, random_graph),
    "lives": _lived,
}
"""By seed: what broke, and what was done to it."""


def play_random(kind: str, first: int) -> tuple[list[tuple[int, str]], Counts]:
    """Those of `CHUNK` random scenarios that break something, and what was done to all."""
    broken, kills, faults = [], 0, 0
    for seed in range(first, first + CHUNK):
        breach, (killed, failed) = KINDS[kind](seed)
        kills += killed
        faults += failed
        if breach is not None:
            broken.append((seed, breach))
    return broken, (kills, faults)


def explore_random(kind: str, for_s: float, jobs: int, at_most: int = 1 << 62, first: int | None = None) -> bool:
    """Play random ones of a kind for so long, or so many; whether all held. `first`: the seed to begin with."""
    first = secrets.randbelow(1_000_000_000) if first is None else first
    until = time.monotonic() + for_s
    print(f"random {kind} for {for_s:g} s, from seed {first} on", flush=True)
    played, kills, faults, well, begin = 0, 0, 0, True, first
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while time.monotonic() < until and (kills if kind == "lives" else played) < at_most:
            firsts = [begin + i * CHUNK for i in range(jobs)]
            begin += jobs * CHUNK
            for broken, (killed, failed) in pool.map(play_random, [kind] * jobs, firsts):
                played += CHUNK
                kills += killed
                faults += failed
                for seed, breach in broken:
                    well = False
                    print(f"random {kind} {seed}: {breach}", flush=True)
    told = f", killed {kills:,} times, on disks that failed {faults:,} times" if kills else ""
    print(f"{played:,} random {kind}{told}, {'all held' if well else 'NOT all held'}", flush=True)
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="for_s", type=float, default=600.0, help="seconds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--graphs", type=int, help="play so many random graphs, and nothing else")
    parser.add_argument("--kills", type=int, help="kill and resume random graphs so often, and nothing else")
    parser.add_argument("--first", type=int, help="the seed to begin with; by default, a fresh one")
    options = parser.parse_args()
    if options.graphs is not None:
        return 0 if explore_random("graphs", 1e9, options.jobs, options.graphs) else 1
    if options.kills is not None:
        return 0 if explore_random("lives", 1e9, options.jobs, options.kills) else 1
    share, jobs = options.for_s / 4, str(options.jobs)
    command = [sys.executable, "-m", "headrace.runtime.cli", "scenario", "run", "--for", f"{share:g}s", "--jobs", jobs]
    command += ["--seed", str(options.first)] if options.first is not None else []
    well = [subprocess.run(command).returncode == 0]
    well += [explore_random(kind, share, options.jobs, first=options.first) for kind in KINDS]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
