"""What is measured and what it is measured against: `python -m tests.benchmarks.workloads NAME ROWS` prints one sample.

Peers are in their strongest form: whoever needs nothing but speed would write them so by hand. Those that are not installed
are left out (status 3). Every pipeline has a sink that counts, and what it counted is checked.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headrace.runtime import Executor, Limit, Pipeline

from .files import FILES
from .measure import Sample, timed

WORKERS = 16
IN_FLIGHT = 1000
Run = Callable[[], object]
Make = Callable[[int], Run]


def same(x: Any) -> Any:
    """The call that does nothing."""
    return x


def one_ms(x: Any) -> Any:
    """A call of a millisecond."""
    time.sleep(0.001)
    return x


def asleep(seconds: float) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """A coroutine function that takes so long."""

    async def call(x: Any) -> Any:
        await asyncio.sleep(seconds)
        return x

    return call


# --- ours -------------------------------------------------------------------------------------------------------------


def pipeline(function: Callable[..., Any], workers: int = WORKERS, limit: Limit | None = None, **options: Any) -> Make:
    """Rows through one stage to a sink."""

    def make(rows: int) -> Run:
        count = [0]

        def sink(row: object) -> None:
            count[0] += 1

        def run() -> None:
            Pipeline().source(range(rows)).map(function, workers=workers, limit=limit, **options).sink(sink).run()
            _check(count[0], rows)

        return run

    return make


def stream(rows: int) -> Run:
    """The outcomes of no-op rows, read one by one."""
    return lambda: _check(sum(1 for _ in Pipeline().source(range(rows)).map(same, workers=WORKERS).stream()), rows)


def submitted(function: Callable[..., Any]) -> Make:
    """Calls that are submitted one by one, and waited for at the end."""

    def make(rows: int) -> Run:
        def run() -> None:
            with Executor(max_workers=WORKERS) as executor:
                futures = [executor.submit(function, x) for x in range(rows)]
                _check(sum(1 for future in futures if future.result() is not None), rows)

        return run

    return make


def batches(rows: int) -> Run:
    """A batch of calls, all at once."""

    def run() -> None:
        with Executor(max_workers=WORKERS) as executor:
            _check(len(executor.execute_batch(same, range(rows))), rows)

    return run


def ten_rows(times: int) -> Run:
    """So many runs of ten rows, in a process that has made some."""
    rows: list[int] = []

    def one() -> None:
        Pipeline().source(range(10)).map(same).sink(rows.append).run()

    for _ in range(10):
        one()

    def run() -> None:
        for _ in range(times):
            one()

    return run


# --- peers ------------------------------------------------------------------------------------------------------------


def pool_map(function: Callable[..., Any]) -> Make:
    """`ThreadPoolExecutor.map`, results in order."""

    def make(rows: int) -> Run:
        def run() -> None:
            with ThreadPoolExecutor(WORKERS) as pool:
                _check(sum(1 for _ in pool.map(function, range(rows))), rows)

        return run

    return make


def pool_in_chunks(rows: int, size: int = 256) -> Run:
    """A pool that is fed chunks by hand, in order and bounded: the strongest form of it for calls that take no time."""

    def many(chunk: range) -> list[Any]:
        return [same(x) for x in chunk]

    def run() -> None:
        done = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting: deque[Any] = deque()
            for i in range(0, rows, size):
                waiting.append(pool.submit(many, range(i, min(rows, i + size))))
                if len(waiting) >= 2 * WORKERS:
                    done += len(waiting.popleft().result())
            while waiting:
                done += len(waiting.popleft().result())
        _check(done, rows)

    return run


def pool_submit(function: Callable[..., Any]) -> Make:
    """`ThreadPoolExecutor.submit`, and the results at the end."""

    def make(rows: int) -> Run:
        def run() -> None:
            with ThreadPoolExecutor(WORKERS) as pool:
                futures = [pool.submit(function, x) for x in range(rows)]
                _check(sum(1 for future in futures if future.result() is not None), rows)

        return run

    return make


def tasks(function: Callable[[Any], Awaitable[Any]], in_flight: int, *, uvloop: bool = False) -> Make:
    """Tasks that live on and share an iterator: the strongest form for coroutines."""

    def make(rows: int) -> Run:
        async def main() -> None:
            left, done = iter(range(rows)), 0

            async def serve() -> None:
                nonlocal done
                for x in left:
                    await function(x)
                    done += 1

            await asyncio.gather(*(serve() for _ in range(in_flight)))
            _check(done, rows)

        if uvloop:
            try:
                other: Any = importlib.import_module("uvloop")
            except ImportError:
                sys.exit(3)
            return lambda: other.run(main())
        return lambda: asyncio.run(main())

    return make


def gathered(function: Callable[[Any], Awaitable[Any]], in_flight: int) -> Make:
    """A semaphore and `gather`: what most people write."""

    def make(rows: int) -> Run:
        async def main() -> None:
            semaphore = asyncio.Semaphore(in_flight)

            async def one(x: int) -> Any:
                async with semaphore:
                    return await function(x)

            _check(len(await asyncio.gather(*(one(x) for x in range(rows)))), rows)

        return lambda: asyncio.run(main())

    return make


def _check(done: int, rows: int) -> None:
    if done != rows:
        raise AssertionError(f"{done:,} of {rows:,} rows were done")


WORKLOADS: dict[str, tuple[int, Make]] = {
    "no-op": (600_000, pipeline(same)),
    "no-op, stated": (600_000, pipeline(same, limit=Limit(concurrency=WORKERS))),
    "no-op, stream()": (200_000, stream),
    "no-op, pool.map": (60_000, pool_map(same)),
    "no-op, pool in chunks of 256": (1_000_000, pool_in_chunks),
    "1 ms": (8_000, pipeline(one_ms)),
    "1 ms, stated": (8_000, pipeline(one_ms, limit=Limit(concurrency=WORKERS))),
    "1 ms, pool.map": (8_000, pool_map(one_ms)),
    "async 50 ms": (20_000, pipeline(asleep(0.05), IN_FLIGHT)),
    "async 50 ms, stated": (20_000, pipeline(asleep(0.05), IN_FLIGHT, Limit(concurrency=IN_FLIGHT))),
    "async 50 ms, stated, timeout": (
        20_000,
        pipeline(asleep(0.05), IN_FLIGHT, Limit(concurrency=IN_FLIGHT), timeout=10.0),
    ),
    "async 50 ms, tasks": (20_000, tasks(asleep(0.05), IN_FLIGHT)),
    "async 50 ms, tasks on uvloop": (20_000, tasks(asleep(0.05), IN_FLIGHT, uvloop=True)),
    "async 50 ms, semaphore and gather": (20_000, gathered(asleep(0.05), IN_FLIGHT)),
    "async 1 ms": (10_000, pipeline(asleep(0.001))),
    "async 1 ms, tasks": (10_000, tasks(asleep(0.001), WORKERS)),
    "submit no-op": (20_000, submitted(same)),
    "submit no-op, pool": (20_000, pool_submit(same)),
    "submit 1 ms": (8_000, submitted(one_ms)),
    "submit 1 ms, pool": (8_000, pool_submit(one_ms)),
    "execute_batch": (60_000, batches),
    "ten rows, warm": (200, ten_rows),
    **FILES,
}
"""Name → rows, and what makes the run."""


def measured(name: str, rows: int) -> Sample:
    """One run of it."""
    return timed(rows, WORKLOADS[name][1](rows))


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]))))
