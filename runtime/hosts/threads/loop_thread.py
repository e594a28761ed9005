"""An event loop on a thread of its own, and what becomes of the calls on it when it ends before its time (L69).

asyncio lets SystemExit and KeyboardInterrupt out of the loop, wherever they are raised: `sys.exit()` in a child task ends
`run_forever`. So does `loop.stop()` in the user's code. Both leave the loop whole, and it goes on: the task that raised has
its error as its result, and no other one is touched.

A loop that cannot go on, because it was closed or its selector broke, is replaced by a new one, `LOOPS_MAX` times at most.
Who had calls on it is told (`at_death`), and answers for them. When no more loops are made, or the thread ends for any other
reason, `failed` is called, so that the run or the executor ends by that name. What is asked of the thread is kept in a queue
of its own, which the next loop works off: nothing is lost between two loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from contextvars import Context, copy_context

from loguru import logger

from ...errors import LoopDied
from ...text import kind_of, told
from ..loop_home import LoopHome
from .starting import started

LOOPS_MAX = 5
"""Event loops that one run makes. Each loop that breaks makes the fate of all its calls unknown."""
LAST_TASKS_S = 1.0
"""Tasks that are cancelled at the end have so long to end."""


class LoopThread(LoopHome):
    """An event loop on a daemon thread, shared by all calls and strategies of a run, so that they can share clients."""

    def __init__(
        self, name: str, failed: Callable[[LoopDied], object] | None = None, context: Context | None = None
    ) -> None:
        """`failed`: called once, if there will be no loop any more although `stop` was not called. `context`: the thread
        runs in a copy of it; by default, it is the caller's. Raises `CannotStartThread`."""
        context = context.copy() if context is not None else copy_context()
        # The loop holds the context that it is made in.
        super().__init__(context.run(asyncio.new_event_loop), name, failed)
        self._loops = 1
        try:
            self.thread = started(self._live, name, context=context)
        except BaseException:
            self.loop.close()
            raise

    # --- from any thread ---

    def stop(self, timeout_s: float) -> bool:
        """End the loop, cancelling what is left. False if it did not end in time."""
        with self._mutex:
            self.over = True
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.loop.stop)
        if self.thread is not threading.current_thread():
            self.thread.join(timeout_s)
            return not self.thread.is_alive()
        return True

    def _on_closed(self) -> None:
        """There will be a new one, which works off what is there."""

    # --- on the thread ---

    def _live(self) -> None:
        try:
            while (error := self._run_loop()) is not None:
                self._replace(error)
        except BaseException as error:
            self._give_up(error)
            _bury(self.loop)
        else:
            self._close(self.loop)

    def _run_loop(self) -> BaseException | None:
        """Run the loop until it is over (None) or broken (the error)."""
        loop = self.loop
        asyncio.set_event_loop(loop)
        while not self.over:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                logger.warning(
                    "{}: a task or a callback raised {}; its call has this error, and the loop goes on",
                    self._name,
                    kind_of(error),
                )
            except BaseException as error:
                return error
        return None

    def _replace(self, error: BaseException) -> None:
        died = self._epitaph(error)
        old = self.loop
        if self._loops >= LOOPS_MAX:
            raise died
        with self._mutex:
            self._loops += 1
            self.loop = asyncio.new_event_loop()
            awaited, self._awaited = self._awaited, set()
        logger.warning("{}; there is a new one", died)
        self._tell(died, awaited)
        _bury(old)
        # Whoever asked for something since the old one broke could not wake it.
        self.loop.call_soon(self._work)

    def _give_up(self, error: BaseException) -> None:
        self._end(error if isinstance(error, LoopDied) else self._epitaph(error))

    def _epitaph(self, error: BaseException) -> LoopDied:
        died = LoopDied(
            f"the event loop {self._name} broke ({told(error)}); whether the calls under way on it happened, nobody can say"
        )
        died.__cause__ = error
        return died

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        """The end: what is left on the loop is cancelled."""
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_TASKS_S))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as error:
            logger.debug("{}: ended with {}", self._name, kind_of(error))
        finally:
            _bury(loop)


def _bury(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, and let nobody complain of the tasks that died with it: their calls have been answered for."""
    with contextlib.suppress(BaseException):
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                # It never had its first turn: without this, Python says that nobody awaited it.
                coroutine.close()
    try:
        loop.close()
    except BaseException:
        # Its selector is gone, and `close` stops there: what comes after that is closed here.
        for part in (getattr(loop, "_ssock", None), getattr(loop, "_csock", None)):
            with contextlib.suppress(BaseException):
                part.close()  # type: ignore[union-attr]
        with contextlib.suppress(BaseException):
            asyncio.BaseEventLoop.close(loop)  # type: ignore[arg-type]
