"""`Pipeline.stream()`: the outcomes of a run as an iterator, sync or async.

The run's writer hands over a batch at a time and waits until it has been taken, so that a reader who is slow holds the
whole line back, by way of the window; one who leaves stops the source.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import partial
from typing import Any, Generic, Self, TypeVar

from headrace.actors import protocol

from ..errors import ConfigError
from ..hosts.port import Whose
from ..process import forks
from .outcome import Outcome
from .run import Run, core_of, leave_by

T = TypeVar("T")


class Handover:
    """A sink whose rows are taken by a reader; its state is under one condition, since both sides are threads."""

    name = "stream"

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._batch: deque[Outcome[Any]] = deque()
        self._ended = False
        self._left = False
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    # --- the writer's side ---

    def open(self) -> None:
        """Nothing to open."""

    def write(self, items: list[Any]) -> None:
        with self._condition:
            self._condition.wait_for(lambda: not self._batch or self._left)
            if not self._left:
                self._batch.extend(items)
                self._wake()

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        """What was handed over may yet be taken; the run's end is told by `end`."""

    def end(self) -> None:
        """Let the reader know that no more will come."""
        with self._condition:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        self._condition.notify_all()
        if self._waiter is not None:
            loop, future = self._waiter
            self._waiter = None
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:
                # The reader's loop is closed: nobody waits.
                return

    # --- the reader's side ---

    def leave(self) -> None:
        """The reader takes no more: what comes is dropped."""
        with self._condition:
            self._left = True
            self._batch.clear()
            self._condition.notify_all()

    def take(self) -> list[Outcome[Any]]:
        """The next batch; empty at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._batch or self._ended)
            return self._taken()

    async def take_async(self) -> list[Outcome[Any]]:
        """As `take`, without blocking the loop."""
        while True:
            with self._condition:
                if self._batch or self._ended:
                    return self._taken()
                loop = asyncio.get_running_loop()
                future = loop.create_future()
                self._waiter = (loop, future)
            await future

    def _taken(self) -> list[Outcome[Any]]:
        batch = list(self._batch)
        self._batch.clear()
        self._condition.notify_all()
        return batch


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


Starter = Callable[[Handover], Run]


class Stream(Iterator[Outcome[T]], AsyncIterator[Outcome[T]], Generic[T]):
    """The outcomes of a run, in the order of the rows, one for each row; `Pipeline.stream` gives it.

    Nothing is started before the first outcome is asked for. Leaving the loop, `close` and `aclose` stop the source, finish
    the calls that are under way, and close everything, within the `drain_timeout` of the stream. Whoever is interrupted or
    cancelled once more meanwhile has the run aborted. A run that fails raises `RunFailed` after the outcomes that it still
    had. There is one reader, sync or async, not both.

    Examples:
        >>> with Pipeline().source(range(1_000_000)).map(hex).stream() as outcomes:
        ...     for outcome in outcomes:
        ...         if outcome.seq == 10:
        ...             break
        >>> outcome.value
        '0xa'
    """

    def __init__(self, start: Starter, loop: Whose = "own") -> None:
        self._start = start
        self._loop = loop
        self._outcomes: Generator[Outcome[Any], None, None] | None = None
        self._async_outcomes: AsyncGenerator[Outcome[Any], None] | None = None
        self._begun_in = (0, 0)
        """The process: a child that was forked from it has the iterator, and none of the threads (L70)."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome[T]:
        if self._outcomes is None:
            if self._loop == "caller":
                raise ConfigError(
                    "stream: loop='caller': `for` would block the event loop of the calls; use `async for`"
                )
            self._outcomes = _iterate(self._start)
            self._begun_in = forks.generation, os.getpid()
        elif self._begun_in[0] != forks.generation:
            raise forks.of_the_parent("this stream", self._begun_in[1])
        return next(self._outcomes)

    def close(self) -> None:
        """Stop the run, and wait until everything is closed. Reading on after it raises `StopIteration`."""
        if self._outcomes is not None:
            self._outcomes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[T]:
        if self._async_outcomes is None:
            self._async_outcomes = _iterate_async(self._start)
            self._begun_in = forks.generation, os.getpid()
        elif self._begun_in[0] != forks.generation:
            raise forks.of_the_parent("this stream", self._begun_in[1])
        return await anext(self._async_outcomes)

    async def aclose(self) -> None:
        """Stop the run, and wait until everything is closed, as `close`, without blocking the event loop."""
        if self._async_outcomes is not None:
            await self._async_outcomes.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _leave(handover: Handover, run: Run) -> None:
    run.drain()
    # The source is told as well, before what comes is dropped: else it would go on as fast as it can until the conductor's
    # word has come to it.
    core_of(run).tell("source", protocol.Drain())
    handover.leave()


# The generators hold no reference to their stream: one that is dropped in the middle is closed at once.


def _iterate(start: Starter) -> Generator[Outcome[Any], None, None]:
    handover = Handover()
    run = start(handover)
    leave_by(run, partial(_leave, handover, run))
    run.add_done_callback(lambda _: handover.end())
    try:
        while batch := handover.take():
            yield from batch
    finally:
        if core_of(run).pid == os.getpid():
            _leave(handover, run)
            try:
                run.wait_ended()
            except BaseException:
                run.abort("its reader was interrupted while it waited for the end")
                raise
    run.wait()


async def _iterate_async(start: Starter) -> AsyncGenerator[Outcome[Any], None]:
    handover = Handover()
    run = start(handover)
    leave_by(run, partial(_leave, handover, run))
    run.add_done_callback(lambda _: handover.end())
    try:
        while batch := await handover.take_async():
            for outcome in batch:
                yield outcome
    finally:
        if core_of(run).pid == os.getpid():
            _leave(handover, run)
            try:
                await run.ended()
            except BaseException:
                run.abort("its reader was cancelled while it waited for the end")
                raise
    run.wait()
