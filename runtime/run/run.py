"""The handle of a run, which its caller holds: it waits, drains, aborts and asks. What runs is in `core.py`."""

from __future__ import annotations

import concurrent.futures
import os
import uuid
from collections.abc import Callable, Generator, Sequence
from contextvars import copy_context
from types import TracebackType

from loguru import logger

from headrace.actors.awaitables import at_once
from headrace.actors.protocol import State

from ..calls.answers import check_answers_at_once
from ..errors import ConfigError, RunFailed
from ..graph.plan import Plan
from ..hosts.port import Host, Whose
from ..hosts.threads.caller_loop import check_whose
from ..hosts.threads.host import THREADS
from ..journal.port import Journaling
from ..limits import Limit, as_limit
from ..process.forks import of_the_parent
from ..quantities import patience
from ..telemetry.logs import RunLog
from ..telemetry.observer import Observer, Observers
from ..text import kind_of, told
from .core import RunCore, RunSpec
from .leftover import Leftover
from .output_files import Outputs
from .progress import Progress
from .report import RunReport


class Run:
    """A run that was started; `Pipeline.start` gives it.

    Methods may be called from any thread. As a context manager, sync or async, it drains on the way out, and aborts if the
    block raised. `await run` gives the report, as `wait` does. In a child process that was forked meanwhile, to wait for it
    raises `RunAborted`.

    Examples:
        >>> with Pipeline().source(range(3)).map(hex).sink(print).start() as run:
        ...     report = run.wait(timeout=60)
        0x0
        0x1
        0x2
        >>> report.state.value
        'completed'
    """

    def __init__(
        self,
        plan: Plan,
        journaling: Journaling | None = None,
        id_: str | None = None,
        outputs: Outputs | None = None,
        loop: Whose = "own",
        observers: Sequence[Observer] = (),
        host: Host = THREADS,
        progress: Progress | None = None,
    ) -> None:
        """`id_`: of the run, where this is not its first life. `outputs`: what is held for it. `loop`: where its coroutines
        run. `observers`: who is told what happens. `host`: what carries it. `progress`: shows how it is doing. Raises
        `CannotStartThread` and `ConfigError`."""
        check_whose("start", loop)
        id_ = id_ or uuid.uuid4().hex
        self._progress = progress
        if progress is not None:
            observers = (*observers, progress.observer)
        heard_by = Observers(host.monotonic, [RunLog(id_, plan.name)], observers)
        terms = RunSpec(plan, id_, copy_context(), heard_by, journaling, loop, outputs)
        self._core = core = RunCore(terms, host)
        self._leftover = Leftover(core)
        host.began(self._leftover)
        if progress is not None:
            progress.follow(core)
        core.start()

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self._core.plan.name

    @property
    def id(self) -> str:
        """What tells this run from all others, and stays the same in each of its lives."""
        return self._core.terms.id

    # --- the caller's side ---

    def drain(self) -> None:
        """Take no more rows from the source, and finish those under way. Returns at once; see `wait`."""
        self._check_process()
        self._leftover.bidden = True
        self._core.drain()

    def abort(self, reason: str = "aborted") -> None:
        """Stop now. Rows without an outcome are interrupted. Returns at once; see `wait`.

        Args:
            reason: What the report and the log say.
        """
        self._check_process()
        self._leftover.bidden = True
        self._core.abort(reason)

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait until the run has ended, and give its report.

        Args:
            timeout: Seconds to wait; None waits as long as it takes.

        Raises:
            TimeoutError: The run has not ended after `timeout` seconds. It goes on.
            RunFailed: The run could not go on; what went wrong first is its `__cause__`.
            ConfigError: It would block the event loop that the calls are made on (`loop="caller"`); await the run.

        Examples:
            >>> run = Pipeline().source(["Lund"]).map(str.upper).sink(lambda row: None).start()
            >>> run.wait(timeout=60).delivered
            1
        """
        report = self.wait_ended(timeout)
        if report.state is State.FAILED:
            why = told(self.error) if self.error is not None else "nobody said why"
            failed = RunFailed(f"{self.name}: {why}", report)
            raise failed from self.error
        return report

    def wait_ended(self, timeout: float | None = None) -> RunReport:
        """Wait until the run has ended, and give its report, whatever became of the run.

        Args:
            timeout: Seconds to wait; None waits as long as it takes.

        Raises:
            TimeoutError: The run has not ended after `timeout` seconds. It goes on.
            ConfigError: It would block the event loop that the calls are made on (`loop="caller"`); await `ended`.
        """
        self._check_process()
        self._check_not_here("wait()", "await the run")
        report = self._core.report.result(patience("wait", timeout))
        self._leftover.heard = True
        if self._progress is not None:
            self._progress.join()
        return report

    def _check_process(self) -> None:
        """Raises `RunAborted` in a child that was forked: the threads of the run are the parent's (L70)."""
        if self._core.pid != os.getpid():
            raise of_the_parent(f"the run {self.name!r}", self._core.pid)

    def _check_not_here(self, what: str, instead: str) -> None:
        """Raises `ConfigError` on the thread of the caller's loop, which would wait for itself."""
        home = self._core.loop_home
        if home is not None and home.here and not self._core.report.done():
            raise ConfigError(
                f"{self.name}: {what} would block the event loop that the calls of this run (loop='caller') are made on: "
                f"{instead}"
            )

    @property
    def error(self) -> BaseException | None:
        """What went wrong first, once the run has ended; None where nothing did."""
        return self._core.error

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the nodes that call functions, in the order of the graph."""
        return tuple(self._core.parts.stages)

    @property
    def done(self) -> bool:
        """Whether the run has ended, well or not."""
        return self._core.report.done()

    def add_done_callback(self, function: Callable[[RunReport], object]) -> None:
        """Call a function with the report once the run has ended, in the context of whoever asks for it here.

        Args:
            function: A plain function of a `RunReport`. What it raises is logged, and concerns nobody else.

        Raises:
            ConfigError: `function` is a coroutine function.

        Examples:
            >>> run = Pipeline().source(["Lund"]).sink(lambda row: None).start()
            >>> run.add_done_callback(lambda report: None)
            >>> run.wait(timeout=60).delivered
            1
        """
        check_answers_at_once("add_done_callback", "function", function)
        context = copy_context()
        self._leftover.heard = True

        def call(future: concurrent.futures.Future[RunReport]) -> None:
            try:
                at_once("add_done_callback", context.run(function, future.result()))
            except BaseException as error:
                logger.bind(run=self.id, pipeline=self.name).warning(
                    "a callback of {} raised {}", self.name, told(error)
                )

        self._core.report.add_done_callback(call)

    def __await__(self) -> Generator[object, None, RunReport]:
        async def wait() -> RunReport:
            await self.ended()
            return self.wait()

        return wait().__await__()

    async def ended(self) -> RunReport:
        """Wait until the run has ended, as `wait_ended`, without blocking the event loop.

        If the task that awaits this is cancelled, the run goes on.
        """
        import asyncio

        self._check_process()
        report = await asyncio.shield(asyncio.wrap_future(self._core.report))
        self._leftover.heard = True
        return report

    def set_limit(self, limit: Limit | str, stage: str | None = None) -> None:
        """Change the limit of a stage while the run goes on.

        Args:
            limit: The new one, as a `Limit` or a rate such as "200/s".
            stage: The name of the stage; it may be left out where there is one only.

        Raises:
            ConfigError: The limit cannot be, or there is no such stage.

        Examples:
            >>> with Pipeline().source(["Lund"]).map(str.upper, limit="10/s").sink(print).start() as run:
            ...     run.set_limit("20/s")
            ...     report = run.wait(timeout=60)
            LUND
        """
        self._check_process()
        self._core.set_limit(as_limit(limit), stage)

    def stats(self) -> RunReport:
        """How the run stands now, in the form of its report."""
        if not self._core.report.done():
            self._check_process()
        return self._core.stats()

    async def leave(self) -> None:
        """Drain the run, abort what is not done within its `drain_timeout` (or five seconds), and return when it has ended.

        If the task that awaits this is cancelled meanwhile, the run is aborted at once, and nobody waits for it.
        """
        import asyncio

        within_s = self._leftover.within_s
        self.drain()
        try:
            async with asyncio.timeout(within_s):
                await self.ended()
        except TimeoutError:
            self.abort(f"the caller was gone for {within_s:g} s")
            await self.ended()
        except asyncio.CancelledError:
            self.abort("the caller was cancelled for the second time")
            raise

    async def __aenter__(self) -> Run:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._core.pid != os.getpid():
            return
        if error is None:
            self.drain()
            await self
        else:
            self.abort(f"the block that held the run raised {kind_of(error)}")
            await self.ended()

    def __enter__(self) -> Run:
        self._check_not_here("`with`, which waits at its end,", "use `async with`")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._core.pid != os.getpid():
            # The block goes on in the parent; what a child does on its way out is no matter of the run.
            return
        if error is None:
            self.drain()
            self.wait()
        else:
            self.abort(f"the block that held the run raised {kind_of(error)}")
            self._core.report.result()


def core_of(run: Run) -> RunCore:
    """What runs, for a stream, for faults that are put into it, and for tests."""
    return run._core


def leave_by(run: Run, leave: Callable[[], object]) -> None:
    """How a run is left when the interpreter ends, in place of a drain."""
    run._leftover.leaving = leave


__all__ = ["Run"]
