"""Sources that are quiet for a while, fail in between, or are told to stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from headrace.runtime import Pipeline, Retry, RunFailed


class Got:
    """A sink that can be waited for."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, value: Any) -> None:
        with self._changed:
            self.values.append(value)
            self._changed.notify_all()

    def wait_for(self, n: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.values) >= n, 10), self.values


def test_what_came_before_a_pause_does_not_wait_for_what_comes_after_it_L39() -> None:
    release = threading.Event()

    def rows() -> Iterator[int]:
        yield from range(1000)
        # In the middle of whatever portion it is in.
        release.wait(20)
        yield 1000

    got = Got()
    run = Pipeline().source(rows()).map(abs).sink(got).start()
    got.wait_for(1000)
    assert not release.is_set()
    release.set()
    assert run.wait().delivered == 1001


def test_rows_that_trickle_come_one_by_one_L39() -> None:
    turns = [threading.Event() for _ in range(20)]

    def rows() -> Iterator[int]:
        yield from range(500)
        for i, turn in enumerate(turns):
            turn.wait(20)
            yield 500 + i

    got = Got()
    run = Pipeline().source(rows()).map(abs).sink(got).start()
    for i, turn in enumerate(turns):
        got.wait_for(500 + i)
        turn.set()
    assert run.wait().delivered == 520


def test_an_async_source_that_pauses_L39() -> None:
    release: list[Any] = []

    async def rows() -> AsyncIterator[int]:
        for x in range(300):
            yield x
        event = asyncio.Event()
        release.append((asyncio.get_running_loop(), event))
        await event.wait()
        yield 300

    got = Got()
    run = Pipeline().source(rows()).map(abs).sink(got).start()
    got.wait_for(300)
    loop, event = release[0]
    loop.call_soon_threadsafe(event.set)
    assert run.wait().delivered == 301


def test_a_drain_does_not_wait_for_a_quiet_source_L48() -> None:
    never = threading.Event()

    def rows() -> Iterator[int]:
        yield from range(10)
        threading.current_thread().name += " hangs"
        never.wait(20)

    got = Got()
    run = Pipeline().source(rows()).map(abs).sink(got).start()
    got.wait_for(10)
    run.drain()
    report = run.wait(10)
    assert (report.state, report.delivered) == ("drained", 10)
    assert any("still waiting for its next row" in note for note in report.notes)
    never.set()


def test_a_drain_cancels_a_quiet_async_source() -> None:
    closed = []

    async def rows() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(100)
            yield 2
        finally:
            closed.append(True)

    got = Got()
    run = Pipeline().source(rows()).map(abs).sink(got).start()
    got.wait_for(1)
    run.drain()
    assert run.wait(10).delivered == 1
    assert closed == [True]


def test_rows_before_a_sources_error_are_not_lost() -> None:
    def rows() -> Iterator[int]:
        yield from range(100)
        raise OSError("gone")

    got = Got()
    run = Pipeline().source(rows()).map(abs).sink(got).start()
    with pytest.raises(RunFailed, match="gone"):
        run.wait(10)
    report = run.wait_ended()
    assert report.rows == 100
    assert report.delivered + report.interrupted == 100


class Paged:
    """Pages of 10, of which the fifth is refused at first; it knows where it is."""

    name = "pages"
    resumable = True

    def __init__(self, failures: int) -> None:
        self.page = self.taken = 0
        self.failures = failures
        self.asked: list[int] = []

    def open(self) -> None:
        """Nothing to open."""

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        self.asked.append(self.page)
        if self.page == 4 and self.failures:
            self.failures -= 1
            raise ConnectionError("page 4 is refused")
        # A page is handed over as it is asked for.
        rows = [self.page * 10 + i for i in range(self.taken, min(10, self.taken + n))]
        self.taken += len(rows)
        if self.taken == 10:
            self.page, self.taken = self.page + 1, 0
        return rows, self.page == 9, 0

    def close(self) -> None:
        """Nothing to close."""


def test_a_page_that_is_refused_is_asked_for_again_L38() -> None:
    pages, got = Paged(failures=2), Got()
    report = Pipeline().source(pages).map(abs).sink(got).run()
    assert got.values == list(range(90))
    assert report.delivered == 90
    assert sorted(set(pages.asked)) == list(range(9))
    assert pages.asked.count(4) >= 3


def test_a_source_has_a_retry_of_its_own_L38() -> None:
    with pytest.raises(RunFailed, match="page 4"):
        Pipeline().source(Paged(failures=4), retry=Retry(4, base=0.001)).map(abs).run()
    report = Pipeline().source(Paged(failures=4), retry=Retry(5, base=0.001)).map(abs).run()
    assert report.delivered == 90


def test_a_page_that_is_refused_for_ever_fails_the_run_and_keeps_what_was_read_L38() -> None:
    got = Got()
    with pytest.raises(RunFailed, match="page 4") as failed:
        Pipeline().source(Paged(failures=99), retry=3).map(abs).sink(got).run()
    report = failed.value.report
    assert report.rows == 40
    assert got.values == list(range(len(got.values)))
