"""Who waits for an executor's answers: the future of one call, the rows of one batch."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from loguru import logger

from headrace.actors.awaitables import at_once
from headrace.actors.errors import InternalError
from headrace.actors.protocol import Status, Waited
from headrace.actors.stages.terms import Retracted

from ..calls.answers import check_answers_at_once
from ..calls.awaiting import is_settled, settled
from ..calls.current import _current
from ..run.outcome import Outcome
from ..text import told


class Registry(Protocol):
    """What a waiter needs of the executor behind it."""

    outstanding: dict[Any, None]
    host: Any

    def withdraw(self, waiter: Any) -> None: ...

    def check_not_here(self, what: str, instead: str) -> None: ...


class Task:
    """A call, as the row that goes through the stage. `context`: of whoever submitted it; each attempt runs in a copy (L73).
    `future` is None for a row of a batch."""

    __slots__ = ("args", "context", "function", "future", "kwargs")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        context: Context,
        future: CallFuture | None,
    ) -> None:
        self.function = function
        self.context = context
        self.args = args
        self.kwargs = kwargs
        self.future = future

    def __reduce__(self) -> tuple[object, ...]:
        # To a worker process.
        from ..calls.processes.wire import pairs_of
        from .remote import RemoteTask

        return RemoteTask, (self.function, self.args, self.kwargs, pairs_of(self.context))


def call(task: Task) -> object:
    """Make the call; what comes as a coroutine is yet to be awaited."""
    begin(task)
    context = task.context.copy()
    context.run(_current.set, _current.get())
    future = task.future
    if future is None:
        answer = context.run(task.function, *task.args, **task.kwargs)
    else:
        future.on_thread = True
        try:
            answer = context.run(task.function, *task.args, **task.kwargs)
        finally:
            future.on_thread = False
    return answer if is_settled(answer) else _awaited(answer, context)


async def _awaited(answer: object, context: Context) -> object:
    """What an answer gives when it is awaited, in this context."""
    return await asyncio.get_running_loop().create_task(settled(answer), context=context)


async def call_async(task: Task) -> object:
    """Make the call of a coroutine function, which is in its context already."""
    future = task.future
    if future is None:
        return await task.function(*task.args, **task.kwargs)
    slot = asyncio.current_task()
    if slot is None:
        raise InternalError("a coroutine is called in a slot")
    cancelled = False

    def cancel() -> None:
        nonlocal cancelled
        if future.interrupt is interrupt:
            cancelled = slot.cancel()

    # Before it begins: whoever finds it begun shall find this.
    future.interrupt = interrupt = partial(asyncio.get_running_loop().call_soon_threadsafe, cancel)
    try:
        begin(task)
        return await task.function(*task.args, **task.kwargs)
    except asyncio.CancelledError as error:
        if not cancelled:
            raise
        raise Retracted("nobody waited for it any more, so it was cancelled") from error
    finally:
        future.interrupt = None
        if cancelled:
            # That was for this call; the slot goes on with others.
            slot.uncancel()


def context_of(task: Task) -> Context:
    """The context of whoever submitted the call."""
    return task.context


def begin(task: Task) -> None:
    """The call begins. Raises `Retracted` where nobody waits for it any more."""
    if task.future is not None and not task.future.begin():
        raise Retracted("cancelled before it began")


class CallFuture(concurrent.futures.Future[Any]):
    """The waiter of one submitted call."""

    name = "future"

    def __init__(self, core: Registry) -> None:
        super().__init__()
        self._core = core
        self.interrupt: Callable[[], object] | None = None
        """Cancels the coroutine that makes the call, while there is one; from any thread."""
        self.on_thread = False
        """The call is under way on a thread."""
        self.gone = False
        """Nobody waits any more."""
        # Whoever takes the ticket moves the future out of PENDING; `list.pop` lets one have it.
        self._ticket = [None]

    def _take_ticket(self) -> bool:
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def begin(self) -> bool:
        """The call begins, for the first time or again. False: it was cancelled."""
        if self.gone:
            return False
        if self._take_ticket():
            return self.set_running_or_notify_cancel()
        # Again; or it was cancelled, or answered by an abort.
        return self.running()

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        if self._take_ticket():
            self.set_running_or_notify_cancel()
        self._core.withdraw(self)
        return True

    def let_go(self, what: str) -> None:
        """Nobody waits any more. A call that has not begun does not begin; one on the loop is cancelled; one on a thread
        goes on, and its answer reaches nobody, which the log says of `what`."""
        self.gone = True
        if self.cancel() or self.done():
            return
        self._core.withdraw(self)
        if (interrupt := self.interrupt) is not None:
            with contextlib.suppress(RuntimeError):
                # On a loop that is closed, no call is under way.
                interrupt()
        elif self.on_thread:
            logger.info(
                "{} is under way on a thread and nobody waits for it any more: its answer will be dropped", what
            )

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[object]], object]) -> None:
        """As the standard library's; raises `ConfigError` for an async function, which nobody would await (L68)."""
        check_answers_at_once("add_done_callback", "fn", fn)
        super().add_done_callback(partial(_call_back, fn))

    def result(self, timeout: float | None = None) -> object:
        self._check_may_wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check_may_wait()
        return super().exception(timeout)

    def _check_may_wait(self) -> None:
        if not self.done():
            self._core.check_not_here(
                "to wait for a future here", "await executor.call(...), or asyncio.wrap_future(future)"
            )

    def put(self, waited: Waited, /) -> None:
        """Take an answer from a replier."""
        self._core.outstanding.pop(self, None)
        self._take_ticket()
        try:
            if waited.status is Status.DELIVERED:
                self.set_result(waited.value)
            else:
                if waited.error is None:
                    raise InternalError("what was not delivered has an error")
                self.set_exception(waited.error)
        except concurrent.futures.InvalidStateError:
            # Cancelled, or answered by an abort, in the meantime.
            pass
        except BaseException as error:
            logger.warning("a callback of a future raised {}", told(error))

    def after_fork(self, error: BaseException) -> None:
        """In a child that was forked: whoever waits here is told, and callbacks are left to the parent."""
        # Another thread of the parent may have held it in the moment of the fork.
        self._condition = threading.Condition()
        self._done_callbacks: list[object] = []
        self.give_up(error, begun=True)

    def give_up(self, error: BaseException, *, begun: bool) -> None:
        """Answer now; where not `begun`, only a call that has not begun."""
        if not begun:
            self.cancel()
            return
        self.put(Waited(0, Status.INTERRUPTED, None, error, 0))


def _call_back(fn: Callable[[CallFuture], object], future: CallFuture) -> None:
    at_once("add_done_callback", fn(future))


class Batch:
    """Waits for the answers of one `execute_batch`."""

    __slots__ = ("_complete", "_core", "_left", "_mutex", "_rows", "name", "outcomes")

    def __init__(self, core: Registry, rows: list[object]) -> None:
        self.name = "batch"
        self._core = core
        self._rows = rows
        self._left = len(rows)
        self._complete = core.host.signal()
        self._mutex = threading.Lock()
        self.outcomes: list[Outcome[object] | None] = [None] * len(rows)

    def put(self, waited: Waited, /) -> None:
        place, status = waited.place, waited.status
        value = waited.value if status is Status.DELIVERED else self._rows[place]
        self._note(place, Outcome(place, status, value, waited.error, waited.attempts))

    def _note(self, place: int, outcome: Outcome[object]) -> None:
        with self._mutex:
            if self.outcomes[place] is not None:
                return
            self.outcomes[place] = outcome
            self._left -= 1
            left = self._left
        if not left:
            self._core.outstanding.pop(self, None)
            self._complete.set()

    def after_fork(self, error: BaseException) -> None:
        """In a child that was forked: whoever waits here is told."""
        self._mutex = threading.Lock()
        self._complete = self._core.host.signal()
        self.give_up(error, begun=True)

    def give_up(self, error: BaseException, *, begun: bool) -> None:
        for place, outcome in enumerate(self.outcomes):
            if outcome is None:
                self._note(place, Outcome(place, Status.INTERRUPTED, self._rows[place], error, 0))
        if not begun:
            self._core.withdraw(self)

    def wait(self, timeout: float | None) -> list[Outcome[object]]:
        if self._left and not self._complete.wait(timeout):
            raise TimeoutError(f"{self._left} of {len(self._rows)} rows have no outcome after {timeout:g} s")
        return [outcome for outcome in self.outcomes if outcome is not None]
