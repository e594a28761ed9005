"""Plays many seeds of many scenarios, on several processes: so many of each, or as many as fit a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec

from headrace.runtime.hosts.simulation.clock import real_monotonic

from .play import Played, play
from .script import Script, read

UNIT_S = 0.5
"""Work handed to a process at once, about."""


class Job(msgspec.Struct):
    """One scenario, and how far it is."""

    path: Path
    next: int
    last: int | None
    each_s: float = UNIT_S

    def take(self) -> range:
        """The next seeds, as many as take about `UNIT_S`."""
        n = max(1, int(UNIT_S / self.each_s))
        stop = self.next + n if self.last is None else min(self.next + n, self.last)
        seeds = range(self.next, stop)
        self.next = stop
        return seeds

    @property
    def done(self) -> bool:
        return self.last is not None and self.next >= self.last


def explore(
    paths: list[Path], first_seed: int, seeds: int | None, jobs: int, for_s: float | None = None
) -> Iterator[Played]:
    """What came of each play, as they come. `seeds` None: as many as fit into `for_s`; scenarios take turns by time."""
    until = real_monotonic() + for_s if for_s is not None else None
    queue = [Job(path, first_seed, first_seed + seeds if seeds is not None else None) for path in paths]
    spent = dict.fromkeys(paths, 0.0)
    if jobs == 1:
        while (job := _next(queue, spent, until)) is not None:
            yield from _note(job, spent, _play(job.path, job.take()))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        running: dict[Future[list[Played]], Job] = {}
        try:
            while True:
                while len(running) < jobs + 1 and (job := _next(queue, spent, until)) is not None:
                    # Until it is known how long it takes, it has had its share.
                    spent[job.path] += UNIT_S
                    running[pool.submit(_play, job.path, job.take())] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    spent[job.path] -= UNIT_S
                    yield from _note(job, spent, future.result())
        finally:
            for future in running:
                future.cancel()


def _next(queue: list[Job], spent: dict[Path, float], until: float | None) -> Job | None:
    if until is not None and real_monotonic() > until:
        return None
    left = [job for job in queue if not job.done]
    return min(left, key=lambda job: spent[job.path], default=None)


def _note(job: Job, spent: dict[Path, float], played: list[Played]) -> list[Played]:
    took_s = sum(each.took_s for each in played)
    spent[job.path] += took_s
    if played:
        job.each_s = max(took_s / len(played), 1e-4)
    return played


_scripts: dict[Path, Script] = {}


def _play(path: Path, seeds: range) -> list[Played]:
    script = _scripts.get(path)
    if script is None:
        script = _scripts[path] = read(path)
    return [_bare(play(script, seed)) for seed in seeds]


def _bare(played: Played) -> Played:
    """What is worth sending from one process to another."""
    figures: Any = msgspec.structs.replace(played.figures, notes=tuple(str(note) for note in played.figures.notes))
    return msgspec.structs.replace(played, figures=figures)
