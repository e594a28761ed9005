"""Where the coroutines of a run are: an event loop, seen from the threads of its actors.

What is asked of the loop is kept in a queue of its own. Who has calls there is told when the loop breaks (`at_death`), and
answers for them; who waits for a coroutine on it (`run`) is answered by `LoopDied`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import TypeVar

from loguru import logger

from ..errors import LoopDied
from ..text import told

T = TypeVar("T")

Mourner = Callable[[LoopDied], object]


class LoopHome:
    """Base: see the module. `over`: `stop` was called."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, failed: Callable[[LoopDied], object] | None) -> None:
        """`failed`: called once, if there will be no loop any more although `stop` was not called."""
        self.loop = loop
        self.over = False
        self._name = name
        self._failed = failed
        self._dead: LoopDied | None = None
        self._mutex = threading.Lock()
        self._orders: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._awaited: set[concurrent.futures.Future[object]] = set()
        self._mourners: list[Mourner] = []

    # --- from any thread ---

    def run(self, coroutine: Coroutine[object, object, object]) -> object:
        """Run a coroutine to its end, from another thread. Raises what it raises, and `LoopDied`."""
        with self._mutex:
            try:
                if self._dead is not None:
                    raise self._dead
                future: concurrent.futures.Future[object] = concurrent.futures.Future()
                self.loop.call_soon_threadsafe(self._begin, coroutine, future)
            except RuntimeError as error:
                coroutine.close()
                raise LoopDied(f"the event loop {self._name} is over: {told(error)}") from error
            self._awaited.add(future)
        try:
            return future.result()
        finally:
            with self._mutex:
                self._awaited.discard(future)

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop's thread, in the order of these calls; without effect after `stop`. Raises `LoopDied`
        where there will be no loop any more."""
        with self._mutex:
            if self._dead is not None and not self.over:
                raise self._dead
            asked = bool(self._orders)
            self._orders.append((function, args))
            if asked or self._wake():
                return
        self._on_closed()

    def _wake(self) -> bool:
        """Have the orders worked off. False: the loop is closed. The mutex is held."""
        try:
            self.loop.call_soon_threadsafe(self._work)
        except RuntimeError:
            return False
        return True

    def _on_closed(self) -> None:
        """The loop is found to be closed."""
        raise NotImplementedError

    def at_death(self, mourner: Mourner) -> None:
        """Call this whenever a loop has broken, on its thread if there is one: what was under way never comes back."""
        with self._mutex:
            self._mourners.append(mourner)

    @property
    def here(self) -> bool:
        """This thread runs the loop now, and is the application's own: to wait here would be to wait for oneself."""
        return False

    def perish_if_still(self) -> None:
        """At the interpreter's end: a loop of the application's that does not run will not run again."""

    def news(self) -> SimpleQueue[None]:
        """Where another thread waits for word from this one."""
        return SimpleQueue()

    def stop(self, timeout_s: float) -> bool:
        """Have done with the loop. False if something there did not end in time."""
        raise NotImplementedError

    # --- on the loop's thread ---

    @property
    def dead(self) -> bool:
        """There will be no loop any more: what begins now never ends."""
        return self._dead is not None

    def _begin(self, coroutine: Coroutine[object, object, object], future: concurrent.futures.Future[object]) -> None:
        if future.done():
            # Whoever waits was told of the loop's end before the loop came to this.
            coroutine.close()
            return

        def settle(task: asyncio.Task[object]) -> None:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                if task.cancelled():
                    future.set_exception(concurrent.futures.CancelledError())
                elif (error := task.exception()) is not None:
                    future.set_exception(error)
                else:
                    future.set_result(task.result())

        self.task(coroutine, copy_context()).add_done_callback(settle)

    def task(self, coroutine: Coroutine[object, object, T], context: Context) -> asyncio.Task[T]:
        """A task of ours, which begins with the next turn of the loop, whatever its task factory does with others."""
        return asyncio.Task(coroutine, loop=self.loop, context=context)

    def left_alone(self, task: asyncio.Task[object]) -> bool:
        """Whether a task of ours was cancelled because the loop is about to end."""
        return False

    def perish(self) -> None:
        """The loop is about to end: what is under way on it never comes back."""

    def _work(self) -> None:
        """Work off the orders that were given from other threads."""
        orders = self._orders
        try:
            while orders:
                function, args = orders.popleft()
                function(*args)
        finally:
            if orders:
                self.loop.call_soon(self._work)

    def _end(self, died: LoopDied) -> None:
        """There will be no loop any more."""
        with self._mutex:
            if self._dead is not None:
                return
            self._dead = died
            awaited, self._awaited = self._awaited, set()
        self._tell(died, awaited)
        if self._failed is not None and not self.over:
            self._failed(died)
        # What was asked for before, and not done yet, finds the loop dead and gives its rows back.
        self._work()

    def _tell(self, died: LoopDied, awaited: set[concurrent.futures.Future[object]]) -> None:
        with self._mutex:
            mourners = list(self._mourners)
        for mourner in mourners:
            try:
                mourner(died)
            except BaseException as error:
                logger.warning("{}: what was told of its end raised {}", self._name, told(error))
        for future in awaited:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_exception(died)
