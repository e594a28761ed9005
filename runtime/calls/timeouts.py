"""The time-outs of calls on a loop: one queue and one timer for all calls of a worker.

All calls have the same time, so the one that began first is the first whose time is over. A call that takes too long is
cancelled, as `asyncio.timeout` does it; one that goes on in spite of that is given up a while later.

    try: ... await the call
    except: if `expired(call, task, error)`, it was cancelled here
    else: `passed(call, task)`
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

STUBBORN_S = 1.0
"""A coroutine that has not ended so long after it was cancelled is left to itself."""
SPARE = 64
"""Calls that are over may stand in the queue besides those under way: one that is slow keeps the others behind it there."""


class Timed(Protocol):
    """A call. `over`: its row has been answered for. `cut`: where it was cancelled here, how often it had been cancelled
    before that."""

    over: bool
    cut: int | None


C = TypeVar("C", bound=Timed)
Task = asyncio.Task[Any]


class Timeouts(Generic[C]):
    """Those of one worker. `give_up`: told of a call that goes on although it was cancelled."""

    def __init__(
        self, loop: Callable[[], asyncio.AbstractEventLoop], seconds: float, give_up: Callable[[Task, C], None]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._give_up = give_up
        self._due: deque[tuple[float, C, Task]] = deque()
        self._most = SPARE
        self._timer: asyncio.TimerHandle | None = None
        # What no call has set (L73).
        self._context = Context()

    def watch(self, call: C, task: Task, began: float) -> None:
        """The call of this task begins."""
        due = self._due
        while due and due[0][1].over:
            due.popleft()
        if len(due) >= self._most:
            self._due = due = deque(each for each in due if not each[1].over)
            self._most = 2 * len(due) + SPARE
        due.append((began + self._seconds, call, task))
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        if self._due:
            self._timer = self._loop().call_at(self._due[0][0], self._look, context=self._context)

    def _look(self) -> None:
        self._timer = None
        now = self._loop().time()
        while self._due and (self._due[0][1].over or self._due[0][0] <= now):
            _, call, task = self._due.popleft()
            if not call.over:
                call.cut = task.cancelling()
                task.cancel()
                self._loop().call_later(STUBBORN_S, self._look_after, call, task, context=self._context)
        self._arm()

    def _look_after(self, call: C, task: Task) -> None:
        if not call.over:
            self._give_up(task, call)

    def stop(self) -> None:
        """All calls are being ended by somebody else."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @staticmethod
    def expired(call: C, task: Task, error: BaseException) -> bool:
        """The call has raised this. Whether that is because its time was over, and nobody else has cancelled it."""
        if call.cut is None:
            return False
        alone = task.uncancel() <= call.cut
        # Not `isinstance`, which asks an error for its class, and that can raise anything (L72).
        kind = type(error)
        return issubclass(kind, TimeoutError) or (alone and issubclass(kind, asyncio.CancelledError))

    @staticmethod
    def passed(call: C, task: Task) -> None:
        """The call has answered, perhaps in spite of having been cancelled."""
        if call.cut is not None:
            task.uncancel()
