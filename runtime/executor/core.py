"""The actors behind an executor, on whichever host; what becomes of it when the interpreter ends is in `leftover.py`.

This file is long by a few lines: how an executor begins, and each of its three ways to end.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import itertools
import os
import threading
from collections.abc import Callable, Hashable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import msgspec
from loguru import logger

from headrace.actors import protocol
from headrace.actors.awaitables import at_once
from headrace.actors.desk import Desk, DeskStatistics, Line
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.errors import InternalError
from headrace.actors.governor import Governor, GovernorStatistics
from headrace.actors.protocol import State
from headrace.actors.stage import Stage
from headrace.actors.stages.terms import StageStatistics, StageTerms

from ..calls.making import CallMaker, CallTerms, calls_in_processes, calls_in_threads, calls_on_a_loop
from ..errors import ConfigError, LoopDied
from ..hosts.loop_home import LoopHome
from ..hosts.port import Address, Host, Signal
from ..limits import Limit, Retry
from ..process import at_exit
from ..process.forks import of_the_parent
from ..run.report import RunReport
from ..run.report_parts import StageReport
from ..run.reporting import executor_errors, spent_of, waits_of
from ..text import message_of, told, traceback_of, visible
from .futures import Batch, CallFuture, Task, begin, call, call_async, context_of
from .terms import ExecutorTerms

if TYPE_CHECKING:
    from ..calls.processes.pool import Pool

NEVER = 1 << 62
"""So many failures in a row that it is no outage: an executor without a retry hands each failure to its caller."""
STOP_S = 1.0
"""Seconds for idle threads to end."""

_numbers = itertools.count(1)


class ExecutorCore:
    """The actors behind an executor. They do not know it, so that one that is forgotten can be collected."""

    def __init__(self, terms: ExecutorTerms, host: Host) -> None:
        self.pid = os.getpid()
        self.terms = terms
        self.host = host
        self.began = host.monotonic()
        # Of whoever opened it. A call runs in that of whoever submitted it (L73).
        self._context = copy_context()
        # In the order of their coming.
        self.outstanding: dict[CallFuture | Batch, None] = {}
        self.workers: set[object] = set()
        self.ended: Signal = host.signal()
        self._mutex = threading.Lock()
        self._closed = False
        self._broken: BaseException | None = None
        self._at_end: list[Callable[[], object]] = []
        self.loop_home: LoopHome | None = None
        self._threads = itertools.count()
        self._parked = 0
        self._system = system = host.actors(terms.prefix or f"headrace-executor-{next(_numbers)}", self._context)
        self._desk = system.address("desk")
        self.threads_stage = system.address("threads")
        self.loop_stage = system.address("loop")
        self._without_processes: Callable[[protocol.Failing | None], object] = lambda _: None
        self._pool = self._new_pool()
        self._governor = self._new_governor()
        room = None if terms.limit.key is not None else 2 * terms.max_workers
        lines = [Line(stage, self._governor, room) for stage in (self.threads_stage, self.loop_stage)]
        try:
            if terms.loop == "caller":
                self._make_loop()
            self._host_actors(lines)
        except BaseException:
            system.stop(STOP_S)
            if self._pool is not None:
                self._pool.close()
            if self.loop_home is not None:
                self.loop_home.stop(STOP_S)
            if terms.limit.name is not None:
                host.release_governor(terms.limit.name, self._desk)
            raise

    def _host_actors(self, lines: list[Line]) -> None:
        terms, system = self.terms, self._system
        watch = self.host.callback("executor", self._on_told)
        system.host(self._desk, Desk(watch, lines, terms.max_workers), watch)
        for address, name, calls in (
            (self.threads_stage, "threads", self._thread_calls()),
            (self.loop_stage, "loop", self._loop_calls()),
        ):
            outputs = Outputs(name, {ONWARD: Port(self._desk)}, behind=(self._desk,), taker=self._desk)
            stage = Stage(self._stage_terms(name, calls), self._governor, outputs, self._desk, calls.worker)
            system.host(address, stage, self._desk)

    def _new_governor(self) -> Address:
        terms = self.terms.limit.terms
        if self.terms.limit.name is not None:
            return self.host.shared_governor(self.terms.limit.name, terms, self._desk, None)
        if not terms.stated:
            # Calls of an executor may wait for each other, so it must not begin with fewer than it has workers.
            terms = msgspec.structs.replace(terms, concurrency=terms.concurrency or self.terms.max_workers)
        if self.terms.retry is None:
            terms = msgspec.structs.replace(terms, outage_after=NEVER)
        address = self._system.address("governor")
        self._system.host(address, Governor(terms), self._desk)
        return address

    def _stage_terms(self, name: str, calls: CallMaker) -> StageTerms:
        terms, limit = self.terms, self.terms.limit
        key: Callable[[Task], Hashable] | None = None
        weigh: Callable[[Task], float] | None = None
        if (key_of := limit.key) is not None:
            key = lambda task: task.context.copy().run(key_of, *task.args, **task.kwargs)  # noqa: E731
        if (cost_of := limit.cost) is not None:
            weigh = lambda task: task.context.copy().run(cost_of, *task.args, **task.kwargs)  # noqa: E731
        return StageTerms(
            name=name,
            workers=terms.max_workers,
            dispatch=calls.dispatch,
            timeout_s=None if calls.dispatch.times_out else terms.timeout,
            deadline_s=terms.deadline,
            backoff=(terms.retry or Retry(1)).backoff,
            on_unknown=terms.on_unknown,
            key=key,
            weigh=weigh,
            weight_max=limit.terms.weight_max,
            hint_max_s=limit.terms.hint_max_s,
            # Without a retry each failure is its caller's at once; with one, nobody waits for calls that are not there.
            trial_s=None if terms.retry is None else 0.0,
            limit=limit.called(self._system.name),
            gives_up="rows",
        )

    def _new_pool(self) -> Pool | None:
        if self.terms.on != "processes" or not self.host.processes:
            return None
        from .remote import pool_for

        self._without_processes = self.host.aside(f"{self._system.name}.clean-up", self._on_told)
        pool = pool_for(self.terms, self._system.name, self._on_no_process)
        pool.listen()
        return pool

    def _on_no_process(self, error: BaseException) -> None:
        # Elsewhere, since the pool that says so is closed at the end.
        self._without_processes(protocol.Failing(self.host.callback("processes", lambda _: None), error))

    def _thread_calls(self) -> CallMaker:
        if self._pool is not None:
            return calls_in_processes(self._pool, self.terms.timeout, begin)
        terms = self._call_terms(call, self._loop, context=self._context, set_up=self._set_up_thread)
        # Calls may wait for each other, so none may stand behind another in one worker.
        return calls_in_threads(terms, chunk=1)

    def _loop_calls(self) -> CallMaker:
        terms = self._call_terms(call_async, self._loop_that_is_there, context_of=context_of)
        return calls_on_a_loop(terms, self.terms.max_workers)

    def _call_terms(self, function: Callable[..., object], loop: Callable[[], LoopHome], **more: Any) -> CallTerms:
        terms = self.terms
        return CallTerms(
            function,
            self._system.name,
            loop,
            terms.timeout,
            terms.retry.classify if terms.retry else None,
            reader=terms.limit.headers,
            monotonic=self.host.monotonic,
            **more,
        )

    def _loop_that_is_there(self) -> LoopHome:
        if self.loop_home is None:
            raise InternalError("a loop is there before the first coroutine function")
        return self.loop_home

    def _set_up_thread(self) -> None:
        thread = self.host.named(f"{self._system.name}_{next(self._threads)}")
        self.workers.add(thread)
        if self.terms.initializer is None:
            return
        try:
            at_once("initializer=", self.terms.initializer(*self.terms.initargs))
        except BaseException as error:
            self._break("a worker's initializer raised", error)
            raise

    # --- the caller's side ---

    def submit(self, stage: Address, values: list[object], waiter: CallFuture | Batch) -> None:
        with self._mutex:
            if self._broken is not None:
                raise concurrent.futures.BrokenExecutor(message_of(self._broken)) from self._broken
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if at_exit.exiting():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            self._prepare(stage)
            self.outstanding[waiter] = None
            self._desk.put(protocol.Submit(stage, values, waiter))

    def _prepare(self, stage: Address) -> None:
        """Have a thread ready for one more worker, and one for the replier: it may be too late when they are hired."""
        if not self._parked:
            self._system.park()
        if self._parked < self.terms.max_workers:
            self._system.park()
            self._parked += 1
        if stage is self.loop_stage:
            self._make_loop()

    def _loop(self) -> LoopHome:
        """The loop, for what plain functions give to be awaited (L68)."""
        with self._mutex:
            if self.ended.is_set():
                raise RuntimeError("the executor has ended")
            return self._make_loop()

    def _make_loop(self) -> LoopHome:
        if self.loop_home is None:
            self.loop_home = self.host.loop(
                f"{self._system.name}.loop", self._on_loop_failed, self._context, self.terms.loop
            )
        return self.loop_home

    def _on_loop_failed(self, died: LoopDied) -> None:
        self._on_told(protocol.Failing(self.host.callback("loop", lambda _: None), died))

    def withdraw(self, waiter: CallFuture | Batch) -> None:
        self.outstanding.pop(waiter, None)
        self._desk.put(protocol.Withdraw(waiter))

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed

    def close(self) -> None:
        """Take no more; end when all is answered. In a child that was forked there is nobody to be told."""
        if self.pid != os.getpid():
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        self._desk.put(protocol.EndOfSubmits())

    def give_up(self, error: BaseException, *, begun: bool) -> None:
        for waiter in list(self.outstanding):
            try:
                waiter.give_up(error, begun=begun)
            except BaseException as worse:
                # Whatever a waiter does with its answer, the next one gets his.
                logger.warning("an answer could not be given: {}", told(worse))

    def abort(self, error: BaseException) -> None:
        """Answer everybody now, and end."""
        with self._mutex:
            self._closed = True
        self.give_up(error, begun=True)
        for stage in (self.threads_stage, self.loop_stage):
            stage.put(protocol.Abort(message_of(error)))
        self._end(0.1)

    def wait(self, timeout: float | None = None) -> None:
        """Until everything has ended. In a thread of the executor itself: not at all."""
        if self._system.are_here():
            return
        self.ended.wait(timeout)
        if self.ended.is_set():
            self._system.stop(STOP_S)

    async def ended_async(self) -> None:
        """As `wait`, without blocking the loop."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        if not self.at_end(lambda: done.set_result(None)):
            return
        # Whoever does not wait any more shall not cancel what others set.
        await asyncio.shield(asyncio.wrap_future(done))

    def at_end(self, function: Callable[[], object]) -> bool:
        """Call this when everything has ended. False: it has, and nothing is called."""
        with self._mutex:
            if self.ended.is_set():
                return False
            self._at_end.append(function)
            return True

    def check_not_here(self, what: str, instead: str) -> None:
        """Raises `ConfigError` on the thread of the caller's loop, which would wait for itself."""
        home = self.loop_home
        if home is not None and home.here and not self.ended.is_set():
            raise ConfigError(
                f"{what} would block the event loop that the calls of this executor (loop='caller') are made on: {instead}"
            )

    def after_fork(self) -> None:
        """In the child: nobody here will answer what the parent's callers wait for."""
        error = of_the_parent("this call", self.pid)
        for waiter in list(self.outstanding):
            waiter.after_fork(error)

    def set_limit(self, limit: Limit) -> None:
        # A child that is forked later begins with what holds now, under the name that the limit has.
        now = copy.copy(self.terms.limit)
        now.rates, now.terms = limit.rates, limit.terms
        self.terms = msgspec.structs.replace(self.terms, limit=now)
        self.host.retune(self._governor, self.terms.limit.name, limit.terms)

    def report(self) -> RunReport:
        whom = [self._desk, self.threads_stage, self.loop_stage, self._governor]
        ended = self.ended.is_set()
        desk, *stages, limit = self._system.ask(whom, 0.0) if ended else self._system.ask(whom)
        counted = desk if isinstance(desk, DeskStatistics) else DeskStatistics(0, 0, 0, 0, 0, 0)
        governor = limit if isinstance(limit, GovernorStatistics) else None
        calls = [s for s in stages if isinstance(s, StageStatistics)]
        reports = tuple(StageReport(s, governor) for s in calls if s.rows)
        return RunReport(
            name=self._system.name,
            state=State.COMPLETED if ended else State.DRAINING if self._closed else State.RUNNING,
            rows=counted.rows,
            delivered=counted.delivered,
            dropped=counted.withdrawn,
            quarantined=0,
            failed=counted.failed,
            interrupted=0,
            calls=sum(s.calls for s in calls),
            refusals=sum(s.refusals for s in calls),
            cooldowns=governor.cooldowns if governor else 0,
            elapsed_s=self.host.monotonic() - self.began,
            stages=reports,
            spent=spent_of(reports),
            errors=executor_errors(reports),
            waits=tuple(waits_of(self._system.name, governor)) if governor is not None else (),
        )

    def answered(self) -> int | None:
        """How many calls are answered; None where nobody says so in time."""
        [desk] = self._system.ask([self._desk])
        return desk.answered if isinstance(desk, DeskStatistics) else None

    @property
    def name(self) -> str:
        """What its actors are called by."""
        return self._system.name

    # --- what the actors tell ---

    def _on_told(self, message: object) -> None:
        match message:
            case protocol.Drained():
                self._end(STOP_S)
            case protocol.Failing(_, error) | protocol.Died(_, error):
                try:
                    self._break(told(error), error)
                finally:
                    self._end(STOP_S)
            case _:
                raise TypeError(f"an executor was told {type(message).__name__}")

    def _break(self, what: str, error: BaseException) -> None:
        broken = concurrent.futures.BrokenExecutor(f"{what}; this executor is not usable any more")
        broken.__cause__ = error
        with self._mutex:
            if self._broken is None:
                self._broken = broken
        self.give_up(broken, begun=True)
        logger.error("executor {} is broken: {}\n{}", visible(self._system.name), what, traceback_of(error))

    def _end(self, timeout_s: float) -> None:
        with self._mutex:
            if self.ended.is_set():
                return
            self._closed = True
            self.ended.set()
            at_end, self._at_end = self._at_end, []
        self._system.stop(timeout_s)
        if self._pool is not None:
            self._pool.close()
        self._without_processes(None)
        if self.loop_home is not None:
            self.loop_home.stop(timeout_s)
        if self.terms.limit.name is not None:
            for stage in (self.threads_stage, self.loop_stage):
                # One that was stopped in the middle could not say so.
                self._governor.put(protocol.Unregister(stage))
            self.host.release_governor(self.terms.limit.name, self._desk)
        for function in at_end:
            function()
