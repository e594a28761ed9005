"""`Executor`: a `concurrent.futures.Executor` whose calls keep a rate limit, are tried again, and are all answered."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import copy_context
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

from headrace.actors.errors import InternalError

from ..calls.answers import check_answers_at_once
from ..calls.caller_loop import Whose, check_whose
from ..calls.coroutines import runs_on_a_loop
from ..errors import DeadlineExceeded, RunAborted
from ..hosts.port import Address
from ..limits import Limit, Retry, as_limit, as_retry, check_on_unknown, checked_times
from ..names import function_name
from ..process import forks as forking
from ..process.at_exit import LEAVE_S
from ..quantities import SECONDS, WORKERS, option, optional, patience
from ..run.outcome import Outcome
from ..run.report import RunReport
from .core import ExecutorCore
from .futures import Batch, CallFuture, Task
from .host import ExecutorTerms

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` that keeps a limit, tries again, and answers every caller.

        with Executor(max_workers=32, limit=Limit("200/s"), retry=Retry(5)) as executor:
            future = executor.submit(geocode, "Lund")
            outcomes = executor.execute_batch(geocode, cities)

        async with Executor(limit=Limit("200/s"), loop="caller") as executor:
            place = await executor.call(geocode_with_my_session, "Lund", deadline=2.0)

    Functions run on threads, coroutine functions on one event loop; what a function on a thread gives as a coroutine is
    awaited on that loop, and the thread waits for it. Any number of threads may submit at once. A call runs in a copy of
    the context (`contextvars`) of whoever submitted it. Calls that the limit has `key=` or `cost=` for give them the
    arguments of the call. In a child process that was forked, an executor of the parent begins anew, with threads of its
    own.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        limit: Limit | str | None = None,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        on_unknown: Literal["retry", "quarantine"] = "retry",
        loop: Whose = "own",
    ) -> None:
        """`max_workers`: calls in flight at most, by default as many as a `ThreadPoolExecutor` has. `timeout`: seconds for
        an attempt; `deadline`: for a call, all waits included. `retry`: None tries once. `loop`: where coroutine functions
        are called: "own" is a loop of the executor, on a thread of its own; "caller" the one that runs here, so that they
        can use clients that the application has made on it (an aiohttp session, an httpx client, a connection pool). If that
        loop ends first, calls under way on it have an unknown fate, and the executor is not usable any more. Raises
        `ValueError`."""
        if max_workers is None:
            max_workers = min(32, (os.cpu_count() or 1) + 4)
        if isinstance(max_workers, int) and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        max_workers = option("Executor", "max_workers", max_workers, WORKERS)
        timeout, deadline = checked_times("Executor", timeout, deadline)
        check_on_unknown("Executor", on_unknown)
        check_whose("Executor", loop)
        limited, policy = as_limit(limit), as_retry(retry)
        for what, asked in (("limit=Limit(key=...)", limited.key), ("limit=Limit(cost=...)", limited.cost)):
            check_answers_at_once("Executor", what, asked)
        check_answers_at_once("Executor", "initializer=", initializer)
        check_answers_at_once("Executor", "retry=Retry(classify=...)", policy.classify if policy is not None else None)
        self._begin(
            ExecutorTerms(
                max_workers,
                thread_name_prefix,
                limited,
                policy,
                timeout,
                deadline,
                on_unknown,
                initializer,
                initargs,
                loop,
            )
        )
        # Not ours to promise, but there are libraries that look at it in a `ThreadPoolExecutor`.
        self._max_workers = max_workers

    def _begin(self, terms: ExecutorTerms) -> ExecutorCore:
        self._core = core = self._open(terms)
        # An executor that nobody holds any more ends when its calls are answered.
        weakref.finalize(self, core.close).atexit = False
        return core

    def _here(self) -> ExecutorCore:
        """What stands behind the executor in this process: in a child that was forked, it begins anew (L70)."""
        core = self._core
        if core.pid == os.getpid():
            return core
        if core.terms.loop == "caller":
            raise forking.of_the_parent("the executor with loop='caller'", core.pid)
        with forking.mutex():
            if self._core.pid != os.getpid():
                self._begin(core.terms)
                if core.closed:
                    self._core.close()
            return self._core

    def _open(self, terms: ExecutorTerms) -> ExecutorCore:
        return ExecutorCore(terms)

    @property
    def _threads(self) -> set[threading.Thread]:
        """As `_max_workers`: those that have made a call."""
        return set(self._here().workers)

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]: ...

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Call `fn(*args, **kwargs)` soon. A call that has not begun can be cancelled. Raises `RuntimeError` after
        `shutdown`."""
        core = self._here()
        future = CallFuture(core)
        core.submit(_stage_of(core, fn), [Task(fn, args, kwargs, copy_context(), future)], future)
        return future

    @overload
    async def call(
        self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, deadline: float | None = None, **kwargs: Any
    ) -> T: ...

    @overload
    async def call(self, fn: Callable[..., T], /, *args: Any, deadline: float | None = None, **kwargs: Any) -> T: ...

    async def call(self, fn: Callable[..., Any], /, *args: Any, deadline: float | None = None, **kwargs: Any) -> Any:
        """Call `fn(*args, **kwargs)` and await the answer. `deadline`: seconds for this call, all waits included.

        Where the task that awaits is cancelled, or the deadline is over, a call that has not begun does not begin; one that
        is under way on an event loop is cancelled; one on a thread cannot be, so it goes on, keeps its place among
        `max_workers` until it returns, and its answer is dropped, which the log says. Raises what the call raises,
        `DeadlineExceeded`, and `RuntimeError` after `shutdown`.
        """
        waits_s = optional("call", "deadline", deadline, SECONDS)
        future = self.submit(fn, *args, **kwargs)
        if not isinstance(future, CallFuture):
            raise InternalError("submit gives a CallFuture")
        answer = asyncio.wrap_future(future)
        try:
            async with asyncio.timeout(waits_s) as scope:
                return await answer
        except TimeoutError as error:
            if not scope.expired():
                raise
            what = function_name(fn)
            raise DeadlineExceeded(f"no answer of {what} within {waits_s:g} s (deadline of this call)") from error
        finally:
            if not future.done():
                future.let_go(function_name(fn))

    @overload
    def execute_batch(
        self, fn: Callable[[U], Awaitable[T]], rows: Iterable[U], timeout: float | None = None
    ) -> list[Outcome[T]]: ...

    @overload
    def execute_batch(
        self, fn: Callable[[U], T], rows: Iterable[U], timeout: float | None = None
    ) -> list[Outcome[T]]: ...

    def execute_batch(
        self, fn: Callable[[Any], Any], rows: Iterable[Any], timeout: float | None = None
    ) -> list[Outcome[Any]]:
        """Call `fn` with each row; the outcomes, in the order of the rows. No row's error is raised.

        Raises `TimeoutError` after `timeout` seconds; what has not begun by then does not begin.
        """
        waits_s = patience("execute_batch", timeout)
        values = list(rows)
        if not values:
            return []
        core = self._here()
        core.check_not_here("execute_batch()", "await asyncio.to_thread(executor.execute_batch, fn, rows)")
        batch = Batch(core, values)
        context = copy_context()
        core.submit(_stage_of(core, fn), [Task(fn, (row,), {}, context, None) for row in values], batch)
        try:
            return batch.wait(waits_s)
        except BaseException:
            core.withdraw(batch)
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. `wait`: return when all are answered and the threads gone. `cancel_futures`: those that have
        not begun are cancelled."""
        core = self._here()
        if wait:
            core.check_not_here("shutdown()", "await executor.aclose(), or use `async with`")
        core.close()
        if cancel_futures:
            core.give_up(RunAborted("the executor was shut down"), begun=False)
        if wait:
            core.wait()

    def __enter__(self) -> Self:
        self._here().check_not_here("`with`, which waits at its end,", "use `async with`")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `shutdown`. On Ctrl-C, calls that have not begun do not begin, and those under way have five seconds to end, or
        until it comes again."""
        if isinstance(error, KeyboardInterrupt):
            core = self._here()
            self.shutdown(wait=False, cancel_futures=True)
            try:
                core.wait(LEAVE_S)
            finally:
                # Also where Ctrl-C comes again, which ends them at once (L34).
                if not core.ended.is_set():
                    core.abort(RunAborted("interrupted by Ctrl-C"))
        else:
            self.shutdown()

    async def aclose(self, *, cancel_futures: bool = False) -> None:
        """As `shutdown`, without blocking the loop. If the task that awaits this is cancelled, the executor takes no more
        calls all the same, and ends when those under way are answered."""
        core = self._here()
        self.shutdown(wait=False, cancel_futures=cancel_futures)
        await core.ended_async()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def abort(self, reason: str = "aborted") -> None:
        """Stop now: every caller is answered with `RunAborted`. Calls under way on threads are left to themselves."""
        self._here().abort(RunAborted(reason))

    def set_limit(self, limit: Limit | str) -> None:
        """Change the limit while the executor is in use."""
        self._here().set_limit(as_limit(limit))

    def stats(self) -> RunReport:
        """What the executor has done so far; `rows` are the calls submitted."""
        return self._here().report()


def _stage_of(core: ExecutorCore, fn: Callable[..., Any]) -> Address:
    return core.loop_stage if runs_on_a_loop(fn) else core.threads_stage


__all__ = ["Executor"]
