"""`make quotas`: how well a gate uses what the other side allows, over a grid of servers, latencies, workers and seeds.

In virtual time, so that the machine's load does not matter: `python -m tests.benchmarks.quotas [--seeds N] [WORD …]`, of the
cells whose names hold all the words. The worst cell comes first. The share is what was admitted, of what who knows the
server would get done in that time; the refused are a share of the calls in it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from headrace.actors.limits.terms import Rate, Terms
from tests.actors.limits.quota import (
    Came,
    Chance,
    Fixed,
    InFlight,
    Latency,
    Play,
    Server,
    Sliding,
    TokenBucket,
    between,
    constant,
    slow,
)

FAST = Latency()
"""20 ms for an answer, 2 ms for a refusal."""

STEADY = Latency((0.001, 0.00103))
"""The same, from a network that has next to no jitter: else calls that were sent evenly come too close to each other for a
server that allows no burst."""


class Budget(NamedTuple):
    """Of a family: the least share, and the most refused."""

    share: float
    refused: float


BUDGETS = {
    "known": Budget(0.97, 0.002),
    "known, burst 1": Budget(0.95, 0.002),
    "known, windows": Budget(0.95, 0.002),
    "stated too high": Budget(0.8, 0.01),
    "unknown": Budget(0.97, 0.01),
    "unknown, burst 1": Budget(0.9, 0.01),
    "changes": Budget(0.96, 0.01),
    "slow": Budget(0.9, 0.01),
    "slow jobs": Budget(0.9, 0.03),
    "slow refusals": Budget(0.85, 0.05),
    "windows": Budget(0.95, 0.01),
    "in flight": Budget(0.95, 0.01),
    "hints": Budget(0.9, 0.01),
    "beyond": Budget(0.0, 1.0),
}
"""`beyond`: what can hardly be done, for comparison; jitter of a hundred milliseconds with a burst of five, say."""


class Cell(NamedTuple):
    """One play. Measured from `since` until `until`; or, with `rows`, as the share of `ideal_s` in the time taken."""

    family: str
    name: str
    server: Callable[[int], Server]
    latency: Latency
    workers: int
    until: float = 30.0
    since: float = 0.0
    terms: Terms | None = None
    rows: int | None = None
    ideal_s: float = 0.0
    refused_since: float = 0.0


class Result(NamedTuple):
    """Of a cell and a seed."""

    share: float
    refused: float
    cooldowns: int


def new(kind: Callable[..., Server], *args: Any, **options: Any) -> Callable[[int], Server]:
    """One of that kind for each play; all play alike, whatever the seed."""
    return lambda _: kind(*args, **options)


def rated(per_s: float) -> Terms:
    """Stated so."""
    return Terms(rates=(Rate(per_s),))


def play(cell: Cell, seed: int) -> Result:
    """One cell with one seed."""
    server = cell.server(seed)
    if cell.rows is not None:
        came = Play(server, cell.rows, cell.workers, cell.latency, seed, cell.terms).run(10 * cell.until)
        return Result(cell.ideal_s / came.seconds, came.refused_share, came.cooldowns)
    came = Play(server, 10**9, cell.workers, cell.latency, seed, cell.terms).run(cell.until)
    return Result(_share(server, came, cell), came.refused_in(cell.refused_since, cell.until), came.cooldowns)


def _share(server: Server, came: Came, cell: Cell) -> float:
    return came.admitted(cell.since, cell.until) / server.ideal(cell.since, cell.until, cell.latency.mean_s)


def grid() -> Iterator[Cell]:
    """All cells."""
    yield from _known()
    yield from _nginx()
    yield from _unknown()
    yield from _slow()
    yield from _windows()
    yield from _in_flight()
    yield from _hints()


def _known() -> Iterator[Cell]:
    for workers in (50, 400):
        for latency, how in (
            (FAST, "20 ms"),
            (constant(0.02), "20 ms, refusals too"),
            (between(0.02, 0.2), "20-200 ms"),
        ):
            for burst in (20, 5):
                if burst == 5 and how == "20-200 ms":
                    continue
                name = f"200/s, burst {burst}, {how}, {workers} workers"
                yield Cell("known", name, new(TokenBucket, 200, burst), latency, workers, terms=rated(200))
    yield Cell("known", "2,000/s, burst 50", new(TokenBucket, 2000, 50), FAST, 200, 12.0, terms=rated(2000))
    yield Cell("known", "20/s, burst 5, 200 ms", new(TokenBucket, 20, 5), slow(0.2), 50, 60.0, terms=rated(20))
    yield Cell("known", "50/s, burst 5, 1 s", new(TokenBucket, 50, 5), slow(1.0), 200, 60.0, terms=rated(50))
    yield Cell("known", "50/s, burst 5, 5 s", new(TokenBucket, 50, 5), slow(5.0), 400, 60.0, terms=rated(50))
    yield Cell("known", "200/s, really 190", new(TokenBucket, 190, 20), FAST, 50, 60.0, terms=rated(200))
    yield Cell("unknown", "stated 200/s, really 100", new(TokenBucket, 100, 20), FAST, 50, 60.0, terms=rated(200))
    even = Latency((0.001, 0.00103), (1.0, 1.0))
    for latency, how in ((STEADY, "20 ms"), (constant(0.02), "20 ms, refusals too"), (even, "1 s")):
        terms = rated(200)
        yield Cell("known, burst 1", f"200/s, {how}", new(TokenBucket, 200, 1), latency, 400, terms=terms)
    yield Cell("known, burst 1", "10/s, 200 ms", new(TokenBucket, 10, 1), slow(0.2), 10, 120.0, terms=rated(10))
    for first in (1.0, 0.37):
        for latency, how in ((FAST, "20 ms"), (between(0.02, 0.2), "20-200 ms")):
            name = f"200 in 1 s, the first {first:g} s, {how}"
            yield Cell("known, windows", name, new(Fixed, 200, 1.0, first), latency, 64, 60.0, terms=rated(200))
    for first in (60.0, 22.0):
        name = f"500 in 60 s, the first {first:g} s"
        fixed = new(Fixed, 500, 60.0, first)
        yield Cell("known, windows", name, fixed, FAST, 32, 360.0, terms=rated(500 / 60))
    yield Cell("known, windows", "sliding, 200 in 1 s", new(Sliding, 200, 1.0), FAST, 64, terms=rated(200))
    wide = Latency((0.005, 0.1), (0.0, 0.0))
    yield Cell("known", "200/s, burst 20, jitter of 95 ms", new(TokenBucket, 200, 20), wide, 64, terms=rated(200))
    yield Cell("beyond", "known 200/s, burst 5, jitter of 95 ms", new(TokenBucket, 200, 5), wide, 64, terms=rated(200))


def _nginx() -> Iterator[Cell]:
    """As its limit_req without a burst was measured: refused within a millisecond, by a clock that has milliseconds."""
    for per_s in (100, 200, 300):
        for burst in (1, 20):
            for latency, how in ((STEADY, "20 ms"), (slow(0.2), "200 ms")):
                name = f"{per_s}/s, burst {burst}, {how}, thrice as much stated"
                yield Cell("stated too high", name, new(TokenBucket, per_s, burst), latency, 64, terms=rated(3 * per_s))
    for per_s in (100, 300):
        for terms, said in ((rated(per_s), "stated"), (rated(3 * per_s), "thrice as much stated"), (None, "unknown")):
            server = new(TokenBucket, per_s, 1, tick=0.001)
            yield Cell("beyond", f"nginx, {per_s} r/s, no burst, {said}", server, FAST, 64, terms=terms)


def _unknown() -> Iterator[Cell]:
    for workers in (16, 50, 200, 1000):
        for burst in (1, 20, 200):
            family = "unknown, burst 1" if burst == 1 else "unknown"
            yield Cell(
                family, f"200/s, burst {burst}, {workers} workers", new(TokenBucket, 200, burst), STEADY, workers
            )
    for latency, how in ((constant(0.02), "20 ms, refusals too"), (between(0.005, 0.03), "5-30 ms")):
        yield Cell("unknown", f"200/s, burst 20, {how}", new(TokenBucket, 200, 20), latency, 50)
    for latency, how in ((between(0.02, 0.2), "20-200 ms"), (slow(0.1), "100 ms")):
        yield Cell("unknown", f"200/s, burst 20, {how}", new(TokenBucket, 200, 20), latency, 200)
    yield Cell("unknown", "20/s, burst 5", new(TokenBucket, 20, 5), FAST, 50, 60.0)
    yield Cell("unknown", "2,000/s, burst 50", new(TokenBucket, 2000, 50), FAST, 200)
    yield Cell("slow refusals", "2/s, burst 2, 500 ms", new(TokenBucket, 2, 2), constant(0.5), 16, 240.0)
    for workers in (50, 200):
        halves = new(TokenBucket, 200, 20, changes=((20.0, 100.0), (40.0, 200.0)))
        yield Cell("changes", f"200/s, half of it from 20 to 40 s, {workers} workers", halves, FAST, workers, 60.0)
        yield Cell("changes", f"the same, stated, {workers} workers", halves, FAST, workers, 60.0, terms=rated(200))


def _slow() -> Iterator[Cell]:
    for seconds in (1.0, 5.0):
        for jitter in (0.0, 0.1, 0.5):
            for workers in (400, 1000):
                name = f"50/s, burst 5, {seconds:g} s ± {jitter:.0%}, {workers} workers"
                latency = slow(seconds, jitter)
                yield Cell("slow", name, new(TokenBucket, 50, 5), latency, workers, 60.0, 10.0)
        yield Cell("slow", f"50/s, burst 1, {seconds:g} s", new(TokenBucket, 50, 1), slow(seconds), 1000, 60.0, 10.0)
        yield Cell("slow", f"50/s, burst 50, {seconds:g} s", new(TokenBucket, 50, 50), slow(seconds), 1000, 60.0, 10.0)
    yield Cell(
        "slow refusals", "200/s, burst 20, 1 s, refusals too", new(TokenBucket, 200, 20), constant(1.0), 400, 60.0, 10.0
    )
    yield Cell(
        "slow refusals", "20/s, burst 5, 1 s, refusals too", new(TokenBucket, 20, 5), constant(1.0), 100, 60.0, 10.0
    )
    one = Cell(
        "slow jobs", "600 calls of 1 s (16 s)", new(TokenBucket, 50, 5), slow(1.0), 200, rows=600, ideal_s=0.9 * 16.0
    )
    five = Cell(
        "slow jobs",
        "1,000 calls of 5 s (30 s)",
        new(TokenBucket, 50, 5),
        slow(5.0),
        1000,
        rows=1000,
        ideal_s=0.9 * 30.0,
    )
    yield from (one, five)


def _windows() -> Iterator[Cell]:
    for n, every_s, workers in ((200, 1.0, 50), (2000, 10.0, 50), (100, 10.0, 32), (600, 60.0, 50)):
        until = max(30.0, 7 * every_s)
        for first in (1.0, 0.37):
            cell = Cell(
                "windows",
                f"fixed, {n:,} in {every_s:g} s, the first {first * every_s:g} s",
                new(Fixed, n, every_s, first * every_s),
                FAST,
                workers,
                until,
                refused_since=every_s,
            )
            yield cell
        yield cell._replace(
            name=f"fixed, {n:,} in {every_s:g} s, tells",
            server=new(Fixed, n, every_s, 0.6 * every_s, tells=True),
        )
        yield cell._replace(name=f"sliding, {n:,} in {every_s:g} s", server=new(Sliding, n, every_s))
    yield cell._replace(name="fixed, 600 in 60 s, 1 s calls", server=new(Fixed, 600, 60.0, 25.0), latency=slow(1.0))


def _in_flight() -> Iterator[Cell]:
    for n, seconds, workers in (
        (50, 0.05, 200), (10, 0.2, 100), (5, 0.1, 16), (5, 0.1, 64), (20, 1.0, 100), (50, 5.0, 400), (200, 0.02, 500),
    ):  # fmt: skip
        for jitter in (0.0, 0.5):
            name = f"{n} at once of {workers} workers, {seconds * 1000:g} ms ± {jitter:.0%}"
            until = 60.0 if seconds < 1.0 else 120.0
            since = 0.0 if seconds < 1.0 else 10.0
            yield Cell("in flight", name, new(InFlight, n), slow(seconds, jitter), workers, until, since)
    # For real a call begins a moment after its permit, and what it takes is measured from there.
    begun = slow(0.1, 0.5)._replace(begin=(0.0002, 0.001))
    for stated in (None, 30):
        terms = Terms(concurrency=stated) if stated is not None else None
        name = f"10 at once of 64 workers, 100 ms ± 50%, begun late, {stated or 'nothing'} stated"
        yield Cell("in flight", name, new(InFlight, 10), begun, 64, 60.0, terms=terms)
    halves = new(InFlight, 50, changes=((20.0, 25), (40.0, 50)))
    yield Cell("changes", "50 at once, half of it from 20 to 40 s", halves, slow(0.05, 0.3), 200, 60.0)


def _hints() -> Iterator[Cell]:
    yield Cell("hints", "200/s, hint 50 ms", new(TokenBucket, 200, 20, 0.05), FAST, 50)
    yield Cell("hints", "200/s, burst 1, hint 50 ms", new(TokenBucket, 200, 1, 0.05), STEADY, 50)
    yield Cell("hints", "200/s, hint 1 s", new(TokenBucket, 200, 20, 1.0), FAST, 50, 60.0)
    yield Cell("hints", "200/s, hint 10 s", new(TokenBucket, 200, 20, 10.0), FAST, 50, 240.0)
    yield Cell("hints", "stated 200/s, hint 1 s", new(TokenBucket, 200, 5, 1.0), FAST, 50, 60.0, terms=rated(200))


def chances() -> Iterator[Cell]:
    """Calls that are refused by chance: no quota at all. The figure is rows a second."""
    for percent in (5, 35, 60):
        for hint in (None, 0.05):
            for workers in (16, 200):
                name = f"{percent} % by chance, {'no hint' if hint is None else '50 ms'}, {workers} workers"
                server = partial(Chance, percent, hint)
                yield Cell("chance", name, server, FAST, workers, 60.0, rows=1000)


def figures(cells: Iterable[Cell], seeds: int) -> list[tuple[Cell, list[Result]]]:
    """Each cell's, of so many seeds."""
    return [(cell, [play(cell, seed) for seed in range(1, seeds + 1)]) for cell in cells]


def _tell(found: list[tuple[Cell, list[Result]]]) -> None:
    print(f"{'share':>7}{'worst':>8}{'refused %':>11}{'worst':>7}{'cooldowns':>11}   cell")

    def margin(row: tuple[Cell, list[Result]]) -> float:
        cell, results = row
        return min(result.share for result in results) - BUDGETS[cell.family].share

    for cell, results in sorted(found, key=margin):
        shares = [result.share for result in results]
        refused = [100 * result.refused for result in results]
        budget = BUDGETS[cell.family]
        missed = "" if min(shares) >= budget.share and max(refused) <= 100 * budget.refused else "  MISSED"
        print(
            f"{statistics.median(shares):>7.3f}{min(shares):>8.3f}{statistics.median(refused):>11.2f}{max(refused):>7.2f}"
            f"{statistics.median(result.cooldowns for result in results):>11.0f}   {cell.family}: {cell.name}{missed}"
        )
    print(f"\n{'family':<18}{'cells':>6}{'median':>8}{'worst':>8}{'refused %':>11}{'worst':>7}   budget")
    for family, budget in BUDGETS.items():
        of = [(result.share, 100 * result.refused) for cell, rs in found if cell.family == family for result in rs]
        if of:
            shares, refused = [share for share, _ in of], [share for _, share in of]
            print(
                f"{family:<18}{len(of):>6}{statistics.median(shares):>8.3f}{min(shares):>8.3f}"
                f"{statistics.median(refused):>11.2f}{max(refused):>7.2f}   {budget.share:g}, {100 * budget.refused:g} %"
            )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="quotas", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("words", nargs="*")
    told = parser.parse_args(argv)
    found = figures((c for c in grid() if all(word in f"{c.family}: {c.name}" for word in told.words)), told.seeds)
    _tell(found)
    if not told.words:
        print("\nrefused by chance, 1,000 rows: rows a second, in the mean")
        for cell in chances():
            times = [
                Play(cell.server(seed), 1000, cell.workers, FAST, seed).run(10000.0).seconds for seed in range(1, 6)
            ]
            print(f"{1000 / statistics.mean(times):>8.0f}   {cell.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
