"""Ours beside its peers, in turns: what is compared with what, and the budget of each."""

from __future__ import annotations

import statistics
from typing import Any, Literal, NamedTuple

from .measure import Sample, in_turns, median_ratio, spread
from .workloads import WORKLOADS

QUICK = 5
"""A quick run has so many times fewer rows."""


class Budget(NamedTuple):
    """What one workload must reach against another. `rate`: rows a second, ours by theirs. `cpu`: CPU a row, likewise.
    `least` or `most` says which way it is held."""

    ours: str
    theirs: str
    of: Literal["rate", "cpu"]
    least: float | None = None
    most: float | None = None


class Absolute(NamedTuple):
    """What one workload must reach by itself: rows a second at least, or milliseconds of CPU for one at most."""

    ours: str
    rate_least: float | None = None
    cpu_ms_most: float | None = None


class Comparison(NamedTuple):
    """Workloads that are measured in turns."""

    title: str
    workloads: tuple[str, ...]
    budgets: tuple[Budget | Absolute, ...]


def _of(first: str, *others: str) -> tuple[str, ...]:
    return (first, *(f"{first}{other}" for other in others))


COMPARISONS = (
    Comparison(
        "No-op rows, in order, 16 thread workers, to a sink",
        _of("no-op", ", stated", ", stream()", ", pool.map", ", pool in chunks of 256"),
        (
            Budget("no-op", "no-op, pool.map", "rate", least=30.0),
            Budget("no-op, stated", "no-op, pool.map", "rate", least=30.0),
            Budget("no-op", "no-op, pool in chunks of 256", "rate", least=0.5),
        ),
    ),
    Comparison(
        "Calls of 1 ms on 16 threads",
        _of("1 ms", ", stated", ", pool.map"),
        (
            Budget("1 ms", "1 ms, pool.map", "rate", least=1.0),
            Budget("1 ms", "1 ms, pool.map", "cpu", most=1.5),
            Budget("1 ms, stated", "1 ms, pool.map", "rate", least=1.0),
        ),
    ),
    Comparison(
        "Coroutines of 50 ms, 1,000 in flight",
        _of(
            "async 50 ms",
            ", stated",
            ", stated, timeout",
            ", tasks",
            ", tasks on uvloop",
            ", semaphore and gather",
        ),
        (
            Absolute("async 50 ms", rate_least=0.85 * 20_000),
            Absolute("async 50 ms, stated", rate_least=0.97 * 20_000),
            Budget("async 50 ms, stated, timeout", "async 50 ms, stated", "cpu", most=1.15),
        ),
    ),
    Comparison(
        "Coroutines of 1 ms, 16 in flight",
        _of("async 1 ms", ", tasks"),
        (Budget("async 1 ms", "async 1 ms, tasks", "rate", least=0.9),),
    ),
    Comparison(
        "Executor, 16 threads",
        ("submit no-op", "submit no-op, pool", "submit 1 ms", "submit 1 ms, pool", "execute_batch", "no-op, pool.map"),
        (
            Budget("submit no-op", "submit no-op, pool", "rate", least=0.7),
            Budget("submit 1 ms", "submit 1 ms, pool", "rate", least=0.95),
            Budget("execute_batch", "no-op, pool.map", "rate", least=2.0),
        ),
    ),
    Comparison(
        "headrace run: CSV of four columns to JSON Lines",
        _of("csv to jsonl", ", journal", ", csv and json", ", csv.reader and msgspec"),
        (
            Budget("csv to jsonl", "csv to jsonl, csv.reader and msgspec", "rate", least=0.6),
            Budget("csv to jsonl", "csv to jsonl, csv and json", "rate", least=2.0),
            Budget("csv to jsonl, journal", "csv to jsonl", "rate", least=0.4),
        ),
    ),
    Comparison(
        "headrace run: 100 columns",
        _of("100 columns", ", csv.reader and msgspec"),
        (Budget("100 columns", "100 columns, csv.reader and msgspec", "cpu", most=1.3),),
    ),
    Comparison(
        "headrace run: rows of 100 KB",
        _of("100 KB rows", ", journal", ", msgspec"),
        (Budget("100 KB rows", "100 KB rows, msgspec", "cpu", most=1.3),),
    ),
    Comparison(
        "Answers of 100 bytes in a journal",
        ("journal, 100 bytes",),
        (Absolute("journal, 100 bytes", rate_least=150_000),),
    ),
    Comparison(
        "A run of ten rows",
        ("ten rows, warm", "ten rows, fresh", "ten rows, the libraries alone", "ten rows, nothing"),
        (
            Absolute("ten rows, warm", cpu_ms_most=3.0),
            Budget("ten rows, fresh", "ten rows, the libraries alone", "cpu", most=2.0),
        ),
    ),
)


def compare(comparison: Comparison, rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure it: figures of each workload, and how each budget is kept, as plain data."""
    commands = []
    for name in comparison.workloads:
        rows = WORKLOADS[name][0]
        commands.append(("workloads", name, str(max(1, rows // QUICK) if quick else rows)))
    samples = dict(zip(comparison.workloads, in_turns(commands, rounds), strict=True))
    return {
        "title": comparison.title,
        "workloads": {name: _figures(own) for name, own in samples.items()},
        "budgets": [_held(budget, samples) for budget in comparison.budgets],
    }


def _figures(samples: list[Sample]) -> dict[str, Any] | None:
    if not samples:
        return None
    rate, least, most = spread([sample.rate for sample in samples])
    return {
        "rows": samples[0].rows,
        "rate": round(rate, 1),
        "rate_min": round(least, 1),
        "rate_max": round(most, 1),
        "cpu_us": round(statistics.median(sample.cpu_us for sample in samples), 3),
        "peak_mb": round(max(sample.peak_mb for sample in samples), 1),
    }


def _held(budget: Budget | Absolute, samples: dict[str, list[Sample]]) -> dict[str, Any]:
    ours = samples[budget.ours]
    if isinstance(budget, Absolute):
        if budget.rate_least is not None:
            figure = statistics.median(sample.rate for sample in ours)
            return _told(f"{budget.ours}: rows/s", figure, budget.rate_least, None)
        return _told(
            f"{budget.ours}: ms of CPU", statistics.median(s.cpu_us for s in ours) / 1e3, None, budget.cpu_ms_most
        )
    theirs = samples[budget.theirs]
    if budget.of == "rate":
        figure = median_ratio([sample.rate for sample in ours], [sample.rate for sample in theirs])
        return _told(f"{budget.ours}: rate, by that of {budget.theirs}", figure, budget.least, budget.most)
    figure = median_ratio([sample.cpu_us for sample in ours], [sample.cpu_us for sample in theirs])
    return _told(f"{budget.ours}: CPU a row, by that of {budget.theirs}", figure, budget.least, budget.most)


def _told(what: str, figure: float, least: float | None, most: float | None) -> dict[str, Any]:
    met = (least is None or figure >= least) and (most is None or figure <= most)
    return {"what": what, "figure": round(figure, 3), "least": least, "most": most, "met": met}
