"""A soak: one scenario for hours or days, in virtual time or for real, sampled all along; does anything leak or decay?

What is looked at, in each of `SAMPLES` intervals: rows a second, how long rows take from the source to the sink
(percentiles),
refusals, cooldowns, permits that are out, and what a leak would show in: memory, threads (actors, in virtual time), file
descriptors, rows under way.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import psutil

from headrace.actors.protocol import State
from headrace.runtime.hosts.simulation.clock import real_monotonic
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.run.report import RunReport
from headrace.runtime.run.run import Run

from .faults import Faults
from .play import SimulatedOutside, plan_of
from .real import RealFaults, Ways, service_of, start_service
from .script import FaultTable, Script
from .stand_ins import Diary
from .world import World

SAMPLES = 240
DECAY = 0.9
"""Rows a second in the last quarter, as a share of those in the second, at least."""
SLOWER = 1.5
"""The 99th percentile in the last quarter, as a multiple of that in the second, at most; below `SLOWER_S` it is noise."""
SLOWER_S = 0.05
MEMORY_MB = 10.0
"""Resident memory may grow by so much from the second quarter to the last, or by `MEMORY_SHARE` of it."""
MEMORY_SHARE = 0.1
CREEP_MB = 2.0
CREEP_STRAIGHT = 0.95
"""Growth by more than that, with so high a correlation with time, is a leak, however slow."""
COUNT = 2.0
"""Threads, descriptors and permits may differ by so much, or by a tenth."""


class Sample(msgspec.Struct, frozen=True):
    """One interval. Times in seconds; `balanced`: permits granted = used + returned + out."""

    at_s: float
    rows_per_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    calls: int
    refusals: int
    cooldowns: int
    permits_out: int
    balanced: bool
    rows_open: int
    memory_mb: float
    threads: int
    descriptors: int


class Finding(msgspec.Struct, frozen=True):
    """One question that a soak answers."""

    what: str
    well: bool
    figures: str


class Soak(msgspec.Struct):
    """What came of it. `took_s`: real seconds."""

    scenario: str
    shows: str
    real: bool
    seed: int
    for_s: float
    took_s: float
    samples: list[Sample]
    findings: list[Finding]
    report: RunReport

    @property
    def well(self) -> bool:
        return all(finding.well for finding in self.findings)


class Meter:
    """How long rows take, and how many there are."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._given: dict[int, float] = {}
        self._took: list[float] = []
        self.done = 0

    def watch(self, diary: Diary) -> None:
        """Listen to what the stand-ins write into the diary."""
        diary.on_given = self._on_given
        diary.on_written = self._on_written

    def _on_given(self, rows: range) -> None:
        now = self._clock()
        for row in rows:
            self._given[row] = now

    def _on_written(self, rows: list[int]) -> None:
        now = self._clock()
        self.done += len(rows)
        for row in rows:
            began = self._given.pop(row, None)
            if began is not None:
                self._took.append(now - began)

    def take(self) -> tuple[float, float, float]:
        """The 50th, 95th and 99th percentile since the last time; zeros where no row came."""
        took, self._took = sorted(self._took), []
        if not took:
            return 0.0, 0.0, 0.0
        return took[len(took) // 2], took[int(len(took) * 0.95)], took[int(len(took) * 0.99)]

    @property
    def rows_open(self) -> int:
        return len(self._given)


class _Sampler:
    """Makes samples out of the reports of a run."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._process = psutil.Process()
        self._before = (0.0, 0, 0, 0, 0)
        self.samples: list[Sample] = []

    def take(self, now: float, report: RunReport, threads: int | None) -> None:
        """Take one more sample now."""
        at, done, calls, refusals, cooldowns = self._before
        p50, p95, p99 = self._meter.take()
        limits = [stage.limit for stage in report.stages if stage.limit is not None]
        self._before = (now, self._meter.done, report.calls, report.refusals, report.cooldowns)
        self.samples.append(
            Sample(
                at_s=now,
                rows_per_s=(self._meter.done - done) / max(now - at, 1e-9),
                p50_s=p50,
                p95_s=p95,
                p99_s=p99,
                calls=report.calls - calls,
                refusals=report.refusals - refusals,
                cooldowns=report.cooldowns - cooldowns,
                permits_out=sum(limit.out for limit in limits),
                balanced=all(limit.granted == limit.used + limit.returned + limit.out for limit in limits),
                rows_open=self._meter.rows_open,
                memory_mb=self._process.memory_info().rss / 1e6,
                threads=threads if threads is not None else self._process.num_threads(),
                descriptors=self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
            )
        )


def soak(
    script: Script, for_s: float, *, seed: int = 0, progress: Callable[[float, Sample], None] | None = None
) -> Soak:
    """In virtual time. `progress` is told of each sample, and which share of the time has passed."""
    began = real_monotonic()
    script = _endless(script, for_s)
    # Plainly scheduled: what a soak looks for takes time, not luck.
    world = World(seed, script.schedule or Schedule(), hashed=False)
    diary = Diary(lambda _: None)
    outside = SimulatedOutside(script, seed, world)
    meter = Meter(world.simulation.clock)
    meter.watch(diary)
    sampler = _Sampler(meter)
    run = world.start(plan_of(script, 0, diary, outside.event, outside.transport), 0)
    Faults(world, script.fault)

    def sample(i: int) -> None:
        if run.ended is not None:
            return
        sampler.take(world.simulation.now, run.stats(), world.simulation.living)
        if progress is not None:
            progress(i / SAMPLES, sampler.samples[-1])

    for i in range(1, SAMPLES + 1):
        world.simulation.call_at(for_s * i / SAMPLES, sample, i)
    world.run(script.until, steps_max=sys.maxsize)
    breach = world.checker.breach
    findings = judge(sampler.samples)
    held = Finding(
        "every invariant held", breach is None, str(breach) if breach else f"{world.simulation.steps:,} steps"
    )
    report = run.report if run.report is not None else run.stats()
    world.close()
    took_s = real_monotonic() - began
    return Soak(script.name, script.shows, False, seed, for_s, took_s, sampler.samples, [held, *findings], report)


def soak_real(script: Script, for_s: float, *, progress: Callable[[float, Sample], None] | None = None) -> Soak:
    """On threads, against a real service."""
    began = time.monotonic()
    script = _endless(script, for_s)
    diary = Diary(lambda _: None)
    meter = Meter(time.monotonic)
    meter.watch(diary)
    sampler = _Sampler(meter)
    with service_of(script) as url:
        ways = Ways(url, script)
        start_service(url)
        run = Run(plan_of(script, 0, diary, threading.Event, ways))
        faults = RealFaults([run], script.fault, [])
        started = time.monotonic()
        ended = threading.Event()
        run.add_done_callback(lambda _: ended.set())
        for i in range(1, SAMPLES + 1):
            if ended.wait(max(0.0, started + for_s * i / SAMPLES - time.monotonic())):
                break
            sampler.take(time.monotonic() - started, run.stats(), None)
            if progress is not None:
                progress(i / SAMPLES, sampler.samples[-1])
        report = run.wait_ended(for_s + 60.0)
        faults.stop()
        ways.end()
    well = report.state in (State.DRAINED, State.COMPLETED) and not report.interrupted
    ended_well = Finding("the run ended well", well, f"{report.state.value}, {report.interrupted} rows interrupted")
    found = [ended_well, *judge(sampler.samples)]
    return Soak(script.name, script.shows, True, 0, for_s, time.monotonic() - began, sampler.samples, found, report)


def _endless(script: Script, for_s: float) -> Script:
    """The same without an end, drained after so long."""
    source = msgspec.structs.replace(script.source, rows=-1)
    faults = [*script.fault, FaultTable(what="drain", at=for_s)]
    return msgspec.structs.replace(script, source=source, fault=faults, until=for_s * 1.1 + 3600.0)


def judge(samples: list[Sample]) -> list[Finding]:
    """Does anything leak or decay, from the second quarter to the last? The first is left to warm up."""
    n = len(samples)
    if n < 8:
        return [Finding("there are samples enough", False, f"{n}, and 8 are needed")]
    early, late = samples[n // 4 : n // 2], samples[-(n // 4) :]

    def median(part: list[Sample], name: str) -> float:
        return float(statistics.median(getattr(sample, name) for sample in part))

    findings = [_of_rate(early, late), _of_latency(early, late, median)]
    balanced = all(sample.balanced for sample in samples)
    findings.append(Finding("permits granted = used + returned + out", balanced, f"in all of {n} samples"))
    for name, what, slack, share in (
        ("permits_out", "no permit leaks", COUNT, 0.25),
        ("rows_open", "no row stays behind", COUNT * 4, 0.25),
        ("memory_mb", "memory does not grow", MEMORY_MB, MEMORY_SHARE),
        ("threads", "threads do not grow", COUNT, 0.1),
        ("descriptors", "descriptors do not grow", COUNT, 0.1),
    ):
        before, after = median(early, name), median(late, name)
        well = after - before <= max(slack, share * before) and not (name == "memory_mb" and _creeps(samples[n // 4 :]))
        findings.append(Finding(what, well, f"{before:.4g}, then {after:.4g}"))
    return findings


def _creeps(samples: list[Sample]) -> bool:
    """Memory grows little by little, all the time: nearly on a straight line."""
    at, memory = [s.at_s for s in samples], [s.memory_mb for s in samples]
    if max(memory) - min(memory) < CREEP_MB:
        return False
    slope = statistics.linear_regression(at, memory).slope
    return slope > 0.0 and statistics.correlation(at, memory) > CREEP_STRAIGHT


Median = Callable[[list[Sample], str], float]


def _of_rate(early: list[Sample], late: list[Sample]) -> Finding:
    # Means: where rows are few, most intervals see none.
    before, after = (statistics.fmean(sample.rows_per_s for sample in part) for part in (early, late))
    return Finding("throughput does not decay", after >= DECAY * before, f"{before:.4g} rows/s, then {after:.4g}")


def _of_latency(early: list[Sample], late: list[Sample], median: Median) -> Finding:
    busy = [[sample for sample in part if sample.rows_per_s] for part in (early, late)]
    before, after = (median(part, "p99_s") if part else 0.0 for part in busy)
    well = after <= max(SLOWER * before, before + SLOWER_S)
    return Finding("rows do not take longer", well, f"99 % within {before:.4g} s, then {after:.4g} s")


def to_json(soaked: Soak) -> dict[str, Any]:
    """Plain dicts, lists, strings and numbers."""
    plain: dict[str, Any] = msgspec.to_builtins(soaked)
    return {"well": soaked.well, **plain}
