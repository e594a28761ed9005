"""`Executor`: a `concurrent.futures.Executor` whose calls keep a rate limit, are tried again, and are all answered."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import copy_context
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

from headrace.actors.errors import InternalError

from ..calls.answers import check_answers_at_once
from ..calls.coroutines import runs_on_a_loop
from ..calls.place import Place, checked_place
from ..errors import DeadlineExceeded, RunAborted
from ..hosts.port import Address, Host, Whose
from ..hosts.threads.caller_loop import check_whose
from ..hosts.threads.host import THREADS
from ..limits import Limit, Retry, as_limit, as_retry, check_on_unknown, checked_times
from ..names import function_name
from ..process import forks as forking
from ..process.at_exit import LEAVE_S
from ..quantities import SECONDS, WORKERS, option, optional, patience
from ..run.outcome import Outcome
from ..run.report import RunReport
from .core import ExecutorCore
from .futures import Batch, CallFuture, Task
from .leftover import Leftover
from .terms import ExecutorTerms

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` that keeps a limit, tries failed calls again, and answers every caller.

    Functions run on threads, coroutine functions on one event loop. What a function on a thread gives as a coroutine is
    awaited on that loop, and the thread waits for it. Any number of threads may submit at once. A call runs in a copy of
    the context (`contextvars`) of whoever submitted it. Where the limit has `key=` or `cost=`, they are given the arguments
    of the call. In a child process that was forked, an executor of the parent begins anew, with threads of its own.

    Args:
        max_workers: How many calls may be in flight; by default as many as a `ThreadPoolExecutor` has threads.
        thread_name_prefix: What the names of its threads begin with.
        initializer: A function that each thread calls before its first call.
        initargs: The arguments of `initializer`.
        limit: What the other side allows, as a `Limit` or a rate such as "200/s"; without it, Headrace learns the rate from
            refusals.
        retry: How often a call that failed is tried again, as a `Retry` or a number of attempts; None tries once.
        timeout: Seconds that one attempt may take.
        deadline: Seconds that one call may take, all attempts and waits included.
        on_unknown: What becomes of a call of which nobody can say whether it has happened: "retry", or "quarantine", which
            answers the caller with the error.
        loop: Where coroutine functions are called: "own" is a loop of the executor, on a thread of its own; "caller" is the
            one that runs here, so that they can use clients that the application has made on it (an aiohttp session, an
            httpx client, a connection pool). If that loop ends first, calls under way on it have an unknown fate, and the
            executor is not usable any more.
        on: Where plain functions are called: on "threads" of this process, or in "processes", `max_workers` of them, for
            code that computes or that may crash. What is sent there and back is pickled.
        memory: What each process may take, as a number of bytes or text such as "2GB".

    Raises:
        ValueError: An option cannot be; its type is `ConfigError` where the option is one of Headrace's.
        TypeError: `initializer` cannot be called.

    Examples:
        >>> with Executor(max_workers=4, limit=Limit("200/s"), retry=Retry(5)) as executor:
        ...     executor.submit(str.upper, "lund").result()
        ...     [outcome.value for outcome in executor.execute_batch(str.upper, ["oslo", "bergen"])]
        'LUND'
        ['OSLO', 'BERGEN']

        Inside a running event loop, with a client of the application's:

            async with Executor(limit="200/s", loop="caller") as executor:
                place = await executor.call(geocode_with_my_session, "Lund", deadline=2.0)
    """

    _host: Host = THREADS

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
        on: Place = "threads",
        memory: str | int | None = None,
    ) -> None:
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
        on, size = checked_place("Executor", on, memory, on_a_loop=False)
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
                on,
                size,
            )
        )
        # Not ours to promise, but there are libraries that look at it in a `ThreadPoolExecutor`.
        self._max_workers = max_workers

    def _begin(self, terms: ExecutorTerms) -> ExecutorCore:
        self._core = core = ExecutorCore(terms, self._host)
        self._host.began(Leftover(core))
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

    @property
    def _threads(self) -> set[object]:
        """As `_max_workers`: those that have made a call."""
        return set(self._here().workers)

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]: ...

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Call `fn(*args, **kwargs)` soon, and give a future of its answer.

        Args:
            fn: A function, which is called on a thread, or a coroutine function, which is called on the event loop.
            args: Its arguments by position.
            kwargs: Its arguments by name.

        Returns:
            A future. A call that has not begun can be cancelled.

        Raises:
            RuntimeError: The executor was shut down.

        Examples:
            >>> with Executor() as executor:
            ...     executor.submit(pow, 2, 10).result(timeout=5)
            1024
        """
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
        """Call `fn(*args, **kwargs)` and await the answer.

        If the task that awaits is cancelled, or the deadline is over, a call that has not begun does not begin. One that is
        under way on an event loop is cancelled. One on a thread cannot be cancelled, so it goes on, keeps its place among
        `max_workers` until it returns, and its answer is dropped, which the log says.

        Args:
            fn: A function, which is called on a thread, or a coroutine function, which is called on the event loop.
            args: Its arguments by position.
            deadline: Seconds for this call, all attempts and waits included.
            kwargs: Its arguments by name.

        Raises:
            Exception: Whatever the call raises.
            DeadlineExceeded: There was no answer within `deadline` seconds.
            RuntimeError: The executor was shut down.

        Examples:
            >>> async def ask():
            ...     async with Executor(limit="100/s") as executor:
            ...         return await executor.call(str.upper, "lund", deadline=2.0)
            >>> import asyncio
            >>> asyncio.run(ask())
            'LUND'
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
        """Call `fn` with each row, and give the outcomes in the order of the rows. No row's error is raised.

        Args:
            fn: A function of one row, or a coroutine function.
            rows: Any iterable, which is read to its end first.
            timeout: Seconds to wait for all of them; None waits as long as they take.

        Returns:
            One `Outcome` a row, with its value or its error.

        Raises:
            TimeoutError: It took more than `timeout` seconds. Calls that have not begun by then do not begin.

        Examples:
            >>> with Executor(max_workers=2) as executor:
            ...     outcomes = executor.execute_batch(int, ["12", "twelve"])
            >>> [outcome.status.value for outcome in outcomes]
            ['delivered', 'quarantined']
            >>> outcomes[1].error
            ValueError("invalid literal for int() with base 10: 'twelve'")
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

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more calls.

        Args:
            wait: Whether to return only when all calls are answered and the threads are gone.
            cancel_futures: Whether calls that have not begun are cancelled; else they are made.

        Raises:
            ConfigError: It would block the event loop that the calls are made on (`loop="caller"`); use `aclose`.

        Examples:
            >>> executor = Executor()
            >>> executor.shutdown()
            >>> executor.submit(print)
            Traceback (most recent call last):
            RuntimeError: cannot schedule new futures after shutdown
        """
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
        """Take no more calls, as `shutdown`, without blocking the event loop.

        If the task that awaits this is cancelled, the executor takes no more calls all the same, and ends when those under
        way are answered.

        Args:
            cancel_futures: Whether calls that have not begun are cancelled; else they are made.
        """
        core = self._here()
        self.shutdown(wait=False, cancel_futures=cancel_futures)
        await core.ended_async()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def abort(self, reason: str = "aborted") -> None:
        """Stop now: every caller is answered with `RunAborted`. Calls under way on threads are left to themselves.

        Args:
            reason: What callers are told.
        """
        self._here().abort(RunAborted(reason))

    def set_limit(self, limit: Limit | str) -> None:
        """Change the limit while the executor is in use.

        Args:
            limit: The new one, as a `Limit` or a rate such as "200/s".

        Raises:
            ConfigError: The limit cannot be.
        """
        self._here().set_limit(as_limit(limit))

    def stats(self) -> RunReport:
        """What the executor has done so far, as a `RunReport`; its `rows` are the calls that were submitted."""
        return self._here().report()


def _stage_of(core: ExecutorCore, fn: Callable[..., Any]) -> Address:
    return core.loop_stage if runs_on_a_loop(fn) else core.threads_stage


__all__ = ["Executor"]
