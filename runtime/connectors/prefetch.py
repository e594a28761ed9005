"""Reading from what may be quiet: rows that are here are handed over, though the next one is long in coming (L39).

A portion is pulled on a thread (or a loop) of its own, row by row into a deque; the reader takes what is there once the
portion is complete, or `PROMPT_S` after its first row. While nothing comes, both sides wait and nobody polls.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue

from ..errors import LoopDied
from ..hosts.loop_home import LoopHome
from ..hosts.threads.starting import started

PROMPT_S = 0.005
"""A row waits so long for the rest of its portion at most."""
PATIENCE_S = 1.0
"""Closing waits so long for an iterator that is in the middle of a row."""


class Ahead:
    """Base: `_begin(n)` has `n` rows pulled, which are told by `_append`, and the end of it by `_finish`."""

    def __init__(self, news: SimpleQueue[None]) -> None:
        """`news`: hints that something may have changed; what has, is in the fields, each written by one side."""
        self._rows: deque[object] = deque()
        self._news = news
        self._pulling = False
        self._waiting = False
        self._ended = False
        self._error: BaseException | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """From any thread: `take` waits no longer, now and from now on."""
        self._interrupted = True
        self._news.put(None)

    def take(self, n: int, portion: int) -> tuple[list[object], bool]:
        """(rows, ended): up to `n` rows, `portion` of them pulled at once. Raises what the iterator raised, in its place."""
        rows = self._rows
        if not rows and not self._pulling and not self._ended and self._error is None:
            self._pulling = True
            self._begin(min(n, portion))
        while self._pulling and not rows and not self._interrupted:
            self._waiting = True
            if self._pulling and not rows:
                self._news.get()
        until = time.monotonic() + PROMPT_S
        while self._pulling and (left_s := until - time.monotonic()) > 0.0:
            try:
                self._news.get(timeout=left_s)
            except Empty:
                break
        pulling = self._pulling
        values = [rows.popleft() for _ in range(min(n, len(rows)))]
        if not values and self._error is not None:
            raise self._error
        return values, self._ended and not pulling and not rows

    def _begin(self, n: int) -> None:
        raise NotImplementedError

    def _append(self, row: object) -> None:
        self._rows.append(row)
        if self._waiting:
            self._waiting = False
            self._news.put(None)

    def _finish(self, *, ended: bool, error: BaseException | None = None) -> None:
        self._ended = ended
        self._error = error
        self._pulling = False
        self._news.put(None)


class ThreadAhead(Ahead):
    """Pulls from an iterator, on a thread."""

    def __init__(self, iterator: Iterator[object], name: str) -> None:
        super().__init__(SimpleQueue())
        self._iterator = iterator
        self._name = name
        self._orders: SimpleQueue[int | None] = SimpleQueue()
        self._thread = started(self._serve, f"headrace source {name}")

    def _begin(self, n: int) -> None:
        self._orders.put(n)

    def _serve(self) -> None:
        try:
            self._pull()
        except BaseException as error:
            # The reader waits for this thread, whatever ended it.
            self._finish(ended=False, error=error)

    def _pull(self) -> None:
        while (n := self._orders.get()) is not None:
            left = n
            try:
                for row in islice(self._iterator, n):
                    self._append(row)
                    left -= 1
            except BaseException as error:
                self._finish(ended=False, error=error)
            else:
                self._finish(ended=left > 0)
        close = getattr(self._iterator, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as error:
                self._error = error

    def close(self) -> None:
        """Close the iterator. Raises what that raises, and `TimeoutError` where it is still in the middle of a row."""
        known = self._error
        self._orders.put(None)
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            raise TimeoutError(f"{self._name} is still waiting for its next row, and is left to itself")
        if self._error is not None and self._error is not known:
            raise self._error


class LoopAhead(Ahead):
    """Pulls from an async iterator, on the run's loop."""

    def __init__(self, iterator: AsyncIterator[object], loop: Callable[[], LoopHome]) -> None:
        super().__init__(loop().news())
        self._iterator = iterator
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        loop().at_death(self._on_loop_died)

    def _on_loop_died(self, died: LoopDied) -> None:
        if self._pulling:
            self._finish(ended=False, error=died)

    def _begin(self, n: int) -> None:
        thread = self._loop()

        def begin() -> None:
            self._task = thread.loop.create_task(self._pull(n))

        thread.call_soon(begin)

    async def _pull(self, n: int) -> None:
        try:
            for _ in range(n):
                self._append(await anext(self._iterator))
        except StopAsyncIteration:
            self._finish(ended=True)
        except BaseException as error:
            self._finish(ended=False, error=error)
        else:
            self._finish(ended=False)

    def close(self) -> None:
        """Cancel a row that is long in coming, then close the iterator."""
        self._loop().run(self._close())

    async def _close(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=PATIENCE_S)
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
