"""A run: the actors of one pipeline, from start to end, and the handle that the caller holds.

This file is long: what a caller may do with a run, what its actors ask for, and its end share one state.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextvars import copy_context
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import msgspec
from loguru import logger

from headrace.actors import protocol
from headrace.actors.awaitables import at_once
from headrace.actors.limits.gate import Terms
from headrace.actors.protocol import Counts, State

from ..calls.answers import check_answers_at_once
from ..calls.caller_loop import CallerLoop, Whose, check_whose
from ..calls.coroutines import LoopThread
from ..calls.loop_home import LoopHome
from ..errors import AccountShut, ConfigError, LoopDied, RunFailed
from ..graph.plan import Plan
from ..hosts.port import Address
from ..hosts.threads.dispatcher import Inbox
from ..hosts.threads.starting import started
from ..hosts.threads.system import Callback, System
from ..journal.port import Journaling
from ..limits import Limit, as_limit
from ..process import at_exit
from ..process.forks import of_the_parent
from ..quantities import patience
from ..telemetry.events import RunBegan
from ..telemetry.logs import RunLog
from ..telemetry.observer import Observer, Observers
from ..text import kind_of, told
from . import shared_limits as governors
from .output_files import Outputs
from .report import RunReport, report_of
from .roster import Roster
from .wiring import assemble, end_of

CUT_SHORT_S = 20.0
"""Longer than an abort takes."""

_numbers = itertools.count(1)


class Run:
    """A run that was started. Methods may be called from any thread; as a context manager it drains on the way out,
    and aborts if the block raised. In a child process that was forked meanwhile, to wait for it raises `RunAborted`."""

    def __init__(
        self,
        plan: Plan,
        journaling: Journaling | None = None,
        id_: str | None = None,
        outputs: Outputs | None = None,
        loop: Whose = "own",
        observers: Sequence[Observer] = (),
    ) -> None:
        """`id_`: of the run, where this is not its first life. `outputs`: what is held for it. `loop`: where its coroutines
        run. `observers`: who is told what happens. Raises `CannotStartThread` and `ConfigError`."""
        check_whose("start", loop)
        self.pid = os.getpid()
        self.name = plan.name
        self.id = id_ or uuid.uuid4().hex
        self._journaling = journaling
        self._outputs = outputs
        self.monotonic = time.monotonic
        self._plan = plan
        self._log = logger.bind(run=self.id, pipeline=plan.name)
        self._began = time.monotonic()
        self._report: concurrent.futures.Future[RunReport] = concurrent.futures.Future()
        self._error: BaseException | None = None
        # Of whoever starts the run: each call runs in a copy of it, and so do all other functions of the user's (L73).
        self.context = copy_context()
        self._system = System(f"headrace-{next(_numbers)}", self.context)
        self._loop_home: LoopHome | None = None
        self._mutex = threading.Lock()
        self._shared: list[tuple[str, Address]] = []
        self._observers = Observers(time.monotonic, [RunLog(self.id, plan.name)], observers)
        # Here, since none can be started at the end: of the interpreter, or of what the system allows (L60).
        self._end: SimpleQueue[protocol.RunEnded | None] = SimpleQueue()
        self._assembled = threading.Event()
        self._abandoned = False
        self._heard = False
        """Somebody has been told of the end, or will be."""
        self._bidden = self._knew = False
        self._wound_up_s = 0.0
        """Somebody has said that it is to end."""
        self.leaving: Callable[[], object] | None = None
        """How a stream is left, in place of a drain, when the interpreter ends."""
        try:
            if loop == "caller":
                self._loop_home = CallerLoop(self._system.name, self._on_loop_failed)
            started(self._await_end, f"{self._system.name}.clean-up")
            self._parts = assemble(plan, self._system, self)
        except BaseException:
            self._abandon()
            raise
        finally:
            self._assembled.set()
        self._observers.tell(RunBegan(self.monotonic(), self.id, plan.name))
        at_exit.note(self)
        self._parts.conductor.put(protocol.Start())

    # --- the caller's side ---

    def drain(self) -> None:
        """Take no more rows from the source; those under way are finished. Returns at once; see `wait`."""
        self._check_process()
        self._bidden = True
        self._parts.conductor.put(protocol.Drain())

    def abort(self, reason: str = "aborted") -> None:
        """Stop now. Rows without an outcome are interrupted. Returns at once; see `wait`."""
        self._check_process()
        self._bidden = True
        self._parts.conductor.put(protocol.Abort(reason))

    def wait(self, timeout: float | None = None) -> RunReport:
        """The report, when the run has ended. Raises `TimeoutError` after `timeout` seconds, `RunFailed` for a run that
        could not go on (what went wrong first is its `__cause__`)."""
        report = self.wait_ended(timeout)
        if report.state is State.FAILED:
            why = told(self._error) if self._error is not None else "nobody said why"
            failed = RunFailed(f"{self.name}: {why}", report)
            raise failed from self._error
        return report

    def wait_ended(self, timeout: float | None = None) -> RunReport:
        """As `wait`, but whatever became of the run is in the report, and nothing is raised for it."""
        self._check_process()
        self._check_not_here("wait()", "await the run")
        report = self._report.result(patience("wait", timeout))
        self._heard = True
        return report

    def _check_process(self) -> None:
        """Raises `RunAborted` in a child that was forked: the threads of the run are the parent's (L70)."""
        if self.pid != os.getpid():
            raise of_the_parent(f"the run {self.name!r}", self.pid)

    def _check_not_here(self, what: str, instead: str) -> None:
        """Raises `ConfigError` on the thread of the caller's loop, which would wait for itself."""
        home = self._loop_home
        if isinstance(home, CallerLoop) and home.here and not self._report.done():
            raise ConfigError(
                f"{self.name}: {what} would block the event loop that the calls of this run (loop='caller') are made on: "
                f"{instead}"
            )

    @property
    def error(self) -> BaseException | None:
        """What went wrong first, once the run has ended; None where nothing did."""
        return self._error

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of its stages."""
        return tuple(self._parts.stages)

    def tell(self, actor: str, message: object) -> None:
        """Tell one of its actors something, for fault injection: `source`, `reorder`, `governor-NAME`, a stage's name."""
        self._system.tell(actor, message)

    @property
    def done(self) -> bool:
        """The run has ended, well or not."""
        return self._report.done()

    def add_done_callback(self, function: Callable[[RunReport], object]) -> None:
        """Call `function` with the report once the run has ended, in the context of whoever asks for it here. What it raises
        is logged, and concerns nobody else."""
        check_answers_at_once("add_done_callback", "function", function)
        context = copy_context()
        self._heard = True

        def call(future: concurrent.futures.Future[RunReport]) -> None:
            try:
                at_once("add_done_callback", context.run(function, future.result()))
            except BaseException as error:
                self._log.warning("a callback of {} raised {}", self.name, told(error))

        self._report.add_done_callback(call)

    def __await__(self) -> Generator[object, None, RunReport]:
        async def wait() -> RunReport:
            await self.ended()
            return self.wait()

        return wait().__await__()

    async def ended(self) -> RunReport:
        """As `wait_ended`, without blocking the loop. Cancelling this does not touch the run."""
        import asyncio

        self._check_process()
        report = await asyncio.shield(asyncio.wrap_future(self._report))
        self._heard = True
        return report

    def set_limit(self, limit: Limit | str, stage: str | None = None) -> None:
        """Change the limit of a stage (of the only one, if unnamed) while the run goes on."""
        self._check_process()
        limits = self._parts.governors
        name = stage if stage is not None else next(iter(limits), None)
        if name is None or name not in limits:
            raise ConfigError(f"set_limit: no stage is named {name!r}; there are {', '.join(sorted(limits)) or 'none'}")
        shared = next((s.limit.name for s in self._plan.stages if s.name == name), None)
        governors.retune(limits[name], shared, as_limit(limit).terms)

    def stats(self) -> RunReport:
        """How the run stands now, in the form of its report."""
        if self._report.done():
            return self._report.result()
        self._check_process()
        state, counts = self._system.ask([self._parts.conductor, self._parts.ledger])
        return self._make_report(
            state if isinstance(state, State) else State.CLOSING,
            counts if isinstance(counts, Counts) else Counts(),
            (),
        )

    async def leave(self) -> None:
        """Drain, and abort what is not done within the drain time-out, or five seconds. Returns when the run has ended.
        Where the task that awaits this is cancelled meanwhile, the run is aborted at once, and nobody waits for it."""
        import asyncio

        within_s = self._leave_s
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
        if self.pid != os.getpid():
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
        if self.pid != os.getpid():
            # The block goes on in the parent; what a child does on its way out is no matter of the run.
            return
        if error is None:
            self.drain()
            self.wait()
        else:
            self.abort(f"the block that held the run raised {kind_of(error)}")
            self._report.result()

    # --- what the assembly asks for ---

    def caller(self) -> Callback:
        return Callback("caller", self._on_told)

    def shared_governor(self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None) -> Inbox:
        address = governors.acquire(name, terms, user, lessons)
        self._shared.append((name, user))
        return address

    def loop(self) -> LoopHome:
        with self._mutex:
            if self._loop_home is None:
                self._loop_home = LoopThread(f"{self._system.name}.loop", self._on_loop_failed, self.context)
            return self._loop_home

    def _on_loop_failed(self, died: LoopDied) -> None:
        parts: Roster | None = getattr(self, "_parts", None)
        # Before there is a conductor, nothing is under way; the first call will find the loop dead, and say so.
        if parts is not None:
            parts.conductor.put(protocol.Failing(Callback("loop", lambda _: None), died))

    def journal(self) -> Journaling | None:
        return self._journaling

    def observers(self) -> Observers:
        return self._observers

    # --- at the interpreter's end ---

    def wind_up(self, *, hurried: bool) -> None:
        """Drain, or leave the stream that it is for."""
        self._knew = self._bidden
        self._wound_up_s = time.monotonic()
        if isinstance(self._loop_home, CallerLoop):
            self._loop_home.perish_if_still()
        (self.leaving or self.drain)()

    def wait_wound_up(self, *, hurried: bool) -> None:
        """Until it has ended; what is not done in time is aborted."""
        if self._report.done():
            if not self._heard and self._error is not None:
                at_exit.say(f"the run of {self.name} failed, and nobody has waited for it: {told(self._error)}")
            return
        within_s = self._leave_s
        how = "drained"
        try:
            # All that ends with the interpreter began to end together, and waits together.
            report = self._report.result(max(0.0, within_s - (time.monotonic() - self._wound_up_s)))
        except TimeoutError:
            how = f"aborted, since it was not drained within {within_s:g} s"
            self.cut_short()
            report = self._report.result(CUT_SHORT_S)
        if self._error is not None:
            how += f" and failed ({told(self._error)})"
        if self.leaving is None and not (self._knew and how == "drained"):
            at_exit.say(
                f"nobody has waited for the run of {self.name} when the interpreter ended, so it was {how}: "
                f"{report.delivered} of {report.rows} rows that were read are delivered; call run.wait()"
            )

    @property
    def _leave_s(self) -> float:
        drain_s = self._plan.life.drain_s
        return drain_s if drain_s is not None else at_exit.LEAVE_S

    def cut_short(self) -> None:
        """Abort the run."""
        self.abort("the interpreter is ending")

    # --- statistics ---

    def _make_report(self, state: State, counts: Counts, notes: tuple[str, ...]) -> RunReport:
        elapsed_s = time.monotonic() - self._began
        before = self._journaling.spent if self._journaling is not None else ()
        return report_of(self._plan, self._parts, self._system.ask, state, counts, elapsed_s, notes, before)

    # --- the end ---

    def _abandon(self) -> None:
        """It could not be put together, so nothing of it may stay."""
        self._abandoned = True
        self._end.put(None)
        self._system.stop(1.0)
        if self._loop_home is not None:
            self._loop_home.stop(1.0)
        for name, user in self._shared:
            governors.release(name, user)
        if self._journaling is not None:
            # If the journal's actor was there already, it has closed it.
            with contextlib.suppress(Exception):
                self._journaling.store.close(False)

    def _on_told(self, message: Any) -> None:
        # In the conductor's thread, which is one of those to be ended: the rest is another's.
        ended = end_of(message, self._journaling)
        self._observers.hear("caller", ended)
        self._end.put(ended)

    def _await_end(self) -> None:
        ended = self._end.get()
        # A conductor may die before the others are there.
        self._assembled.wait()
        if ended is None or self._abandoned:
            return
        try:
            self._clean_up(ended)
        except BaseException as error:
            # Whatever it was, who waits for the report gets one.
            if self._error is None:
                self._error = ended.errors[0] if ended.errors else error
            self._answer(State.FAILED, ended.counts, (*ended.notes, f"cleaning up failed: {told(error)}"))

    def _answer(self, state: State, counts: Counts, notes: tuple[str, ...]) -> None:
        """The report, of what can still be asked."""
        if self._report.done():
            return
        try:
            report = self._make_report(state, counts, notes)
        except BaseException as error:
            self._report.set_exception(error)
        else:
            self._report.set_result(report)

    def _clean_up(self, ended: protocol.RunEnded) -> None:
        notes = list(ended.notes)
        report = self._make_report(ended.state, ended.counts, ())
        hung = self._system.stop(0.1 if ended.state is State.ABORTED else 1.0)
        if hung:
            notes.append(f"left behind in calls that do not come back: {', '.join(hung)}")
        if self._loop_home is not None and not self._loop_home.stop(self._plan.life.abort_s):
            notes.append("the event loop did not end: a coroutine blocks it")
        for stage, governor in self._parts.governors.items():
            # A conductor that died could not say so.
            governor.put(protocol.Unregister(self._parts.stages[stage]))
        for name, user in self._shared:
            governors.release(name, user)
        self._error = ended.errors[0] if ended.errors else None
        if isinstance(self._error, AccountShut):
            # Who reads the report in the morning finds there why it stopped, and what to do (L71).
            notes.insert(0, told(self._error))
        state = ended.state
        if self._outputs is not None:
            if state is State.COMPLETED and (error := self._outputs.error()) is not None:
                # All rows were written, and still there is no complete output.
                self._error, state = error, State.FAILED
            self._outputs.release()
            report = msgspec.structs.replace(report, files=self._outputs.written())
        self._log.info("{} ended: {}, {} rows", self.name, state.value, ended.counts.rows)
        self._report.set_result(msgspec.structs.replace(report, state=state, notes=tuple(notes)))


__all__ = ["Run"]
