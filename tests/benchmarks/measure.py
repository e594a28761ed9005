"""How things are measured here: each workload in a process of its own, in turns (A B C A B C ...), wall and CPU seconds.

What changes from minute to minute on a machine (its other work, its clock) touches all of a round alike: so a ratio is taken
within a round, and the median of the rounds is what counts. CPU seconds say what a busy machine cannot change.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

DEADLINE_S = 60.0
"""A workload that takes longer is ended, and has no figure."""


class Sample(NamedTuple):
    """One run of one workload: rows (or calls) done, seconds taken, CPU seconds of the process and its children, and the
    most memory that the process had."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a row."""
        return self.cpu_s / self.rows * 1e6


def timed(rows: int, run: Callable[[], object]) -> Sample:
    """Run it once."""
    cpu, began = _cpu_s(), time.perf_counter()
    run()
    wall_s, cpu_s = time.perf_counter() - began, _cpu_s() - cpu
    return Sample(rows, wall_s, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def apart(*arguments: str) -> Sample | None:
    """What `python -m tests.benchmarks.ARGUMENTS` measures in a process of its own; None where it says that it cannot be had
    here (status 3), or takes longer than `DEADLINE_S`."""
    command = [sys.executable, "-m", f"tests.benchmarks.{arguments[0]}", *arguments[1:]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 3:
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return Sample(*json.loads(done.stdout.splitlines()[-1]))


def in_turns(workloads: Sequence[tuple[str, ...]], rounds: int) -> list[list[Sample]]:
    """The samples of each workload, one a round; empty for one that cannot be had here."""
    samples: list[list[Sample]] = [[] for _ in workloads]
    for _ in range(rounds):
        for own, arguments in zip(samples, workloads, strict=True):
            sample = apart(*arguments)
            if sample is not None:
                own.append(sample)
    return samples


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least, most."""
    return statistics.median(values), min(values), max(values)
