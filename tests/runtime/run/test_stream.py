"""Streams: the outcomes of a run as an iterator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.runtime import ConfigError, Pipeline, Retry, RunFailed
from headrace.runtime.pipeline.runnable import STREAM_WINDOW_MAX


def invert(x: int) -> float:
    return 1 / x


def test_outcomes_come_in_order_also_those_in_quarantine() -> None:
    outcomes = list(Pipeline().source([2, 0, 4]).map(invert).stream())
    assert [(o.seq, str(o.status), o.value) for o in outcomes] == [
        (0, "delivered", 0.5),
        (1, "quarantined", 0),
        (2, "delivered", 0.25),
    ]
    assert isinstance(outcomes[1].error, ZeroDivisionError)


def test_nothing_begins_before_the_first_outcome_is_asked_for() -> None:
    read = []

    def rows() -> Iterator[int]:
        read.append(1)
        yield 1

    stream = Pipeline().source(rows()).map(invert).stream()
    assert not read
    assert next(stream).value == 1.0
    stream.close()


def test_leaving_the_loop_stops_the_source_and_closes_L30() -> None:
    given = 0
    closed = []

    def rows() -> Iterator[int]:
        nonlocal given
        try:
            while True:
                given += 1
                yield given
        finally:
            closed.append(True)

    class Strategy:
        def __call__(self, x: int) -> int:
            return x

        def close(self) -> None:
            closed.append(True)

    for outcome in Pipeline(window=10).source(rows()).map(Strategy(), workers=2).stream():
        if outcome.value == 50:
            break
    assert closed == [True, True]
    # Taken, on its way to the reader, and in the window.
    assert given <= 50 + 3 * 10


def test_rows_that_take_no_time_are_read_further_ahead_but_no_further_than_the_most() -> None:
    given = 0

    def rows() -> Iterator[int]:
        nonlocal given
        for x in range(200_000):
            given = x
            yield x

    for outcome in Pipeline().source(rows()).map(abs, workers=2).stream():
        if outcome.seq == 30_000:
            break
    # Taken, on its way to the reader, and in the window.
    assert given <= 30_000 + 3 * STREAM_WINDOW_MAX


def test_a_reader_who_is_slow_holds_the_source_back_L30() -> None:
    given = 0

    def rows() -> Iterator[int]:
        nonlocal given
        for x in range(10_000):
            given = x
            yield x

    stream = Pipeline(window=8).source(rows()).map(abs, workers=2).stream()
    assert next(stream).seq == 0
    time.sleep(0.1)
    assert given <= 24
    assert sum(1 for _ in stream) == 9_999


def test_a_run_that_fails_says_so_after_the_outcomes_it_had_L29() -> None:
    def rows() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    seen: list[int] = []
    stream = Pipeline().source(rows()).map(invert).stream()
    with pytest.raises(RunFailed, match="the disk is gone"):
        seen.extend(outcome.seq for outcome in stream)
    assert seen in ([], [0], [0, 1])


def test_an_error_in_the_loops_body_closes_and_is_not_hidden_L19() -> None:
    closed = []

    def rows() -> Iterator[int]:
        try:
            yield from range(1, 1000)
        finally:
            closed.append(True)

    def consume() -> None:
        with Pipeline().source(rows()).map(invert).stream() as stream:
            for _ in stream:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        consume()
    assert closed == [True]


def test_async_for() -> None:
    async def rows() -> AsyncIterator[int]:
        for x in range(1, 101):
            yield x

    async def call(x: int) -> int:
        await asyncio.sleep(0.001)
        return -x

    async def main() -> list[int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        got = [o.value async for o in Pipeline().source(rows()).map(call, workers=4).stream()]
        ticking.cancel()
        # The reader's own loop went on meanwhile.
        assert ticks > 3
        return got

    assert asyncio.run(main()) == [-x for x in range(1, 101)]


def test_leaving_an_async_loop_closes() -> None:
    closed = []

    def rows() -> Iterator[int]:
        try:
            yield from range(1, 10_000)
        finally:
            closed.append(True)

    async def main() -> None:
        async with Pipeline(window=16).source(rows()).map(invert).stream() as stream:
            async for outcome in stream:
                if outcome.seq == 20:
                    break

    asyncio.run(main())
    assert closed == [True]


def test_await_a_run() -> None:
    async def main() -> int:
        report = await Pipeline().source(range(1, 10)).map(invert).start()
        return report.delivered

    assert asyncio.run(main()) == 9


def test_an_empty_source_gives_no_outcome() -> None:
    assert list(Pipeline().source([]).map(invert).stream()) == []


def test_attempts_are_told() -> None:
    calls: dict[int, int] = {}

    def flaky(x: int) -> int:
        calls[x] = calls.get(x, 0) + 1
        if x == 3 and calls[x] < 3:
            raise ConnectionError
        return x

    stream = Pipeline().source(range(5)).map(flaky, retry=Retry(5, base=0.001)).stream()
    assert [o.attempts for o in stream] == [1, 1, 1, 3, 1]


def test_a_sink_and_a_stream_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="sink"):
        Pipeline().source([1]).map(invert).sink(print).stream()
    with pytest.raises(ConfigError, match="no source"):
        Pipeline().map(invert).stream()
