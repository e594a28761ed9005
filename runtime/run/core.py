"""A run: the actors of one pipeline, from start to end. It knows its host only, and is the same on each.

The caller tells it what is wanted, and gets the report from a future. When the conductor has said that the run has ended,
what may block is done aside: the actors are ended, the loop, the shared limits and the outputs are let go, and then there
is the report. Whatever goes wrong in that, there is one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

import msgspec
from loguru import logger

from headrace.actors import protocol
from headrace.actors.errors import InternalError
from headrace.actors.limits.terms import Terms
from headrace.actors.protocol import Counts, State

from ..errors import AccountShut, ConfigError, LoopDied
from ..graph.nodes.calls import StagePlan
from ..graph.plan import Plan
from ..hosts.loop_home import LoopHome
from ..hosts.port import Address, Host, Whose
from ..journal.port import Journaling
from ..limits import Limit
from ..telemetry.events import RunBegan
from ..telemetry.observer import Observers
from ..text import told
from .output_files import Outputs
from .report import RunReport
from .reporting import finished, report_of
from .roster import Roster
from .wiring import Setting, assemble

if TYPE_CHECKING:
    from ..calls.processes.pool import Pool

_numbers = itertools.count(1)


class RunSpec(msgspec.Struct, frozen=True):
    """Which run it is. `id`: what the keys of its calls begin with. `context`: of whoever starts it: each call runs in a
    copy of it, and so do all other functions of the user's (L73). `loop`: where its coroutines run."""

    plan: Plan
    id: str
    context: Context
    observers: Observers
    journaling: Journaling | None = None
    loop: Whose = "own"
    outputs: Outputs | None = None
    """What is held for it."""
    group: str | None = None
    """What its actors are called by; by default a number makes it unique in the process."""
    at_end: Callable[[protocol.RunEnded], object] = lambda ended: None
    """Told when it has ended, before its actors are."""


class RunCore:
    """It does what the module says. Raises `CannotStartThread` and `ConfigError`, and leaves nothing behind then."""

    def __init__(self, terms: RunSpec, host: Host) -> None:
        self.pid = os.getpid()
        self.terms = terms
        self.host = host
        self.plan = terms.plan
        self.report: concurrent.futures.Future[RunReport] = concurrent.futures.Future()
        self.error: BaseException | None = None
        """What went wrong first, once it has ended."""
        self.loop_home: LoopHome | None = None
        self.began_s = host.monotonic()
        self._ended_s: float | None = None
        self._log = logger.bind(run=terms.id, pipeline=terms.plan.name)
        self._mutex = threading.Lock()
        self._shared: list[tuple[str, Address]] = []
        self._assembled = host.signal()
        self._abandoned = False
        group = terms.group if terms.group is not None else f"headrace-{next(_numbers)}"
        self._actors = actors = host.actors(group, terms.context)
        self._end: Callable[[protocol.RunEnded | None], object] = lambda _: None
        try:
            self._end = host.aside(f"{group}.clean-up", self._clean_up)
            if terms.loop == "caller":
                self._loop()
            self.parts: Roster = assemble(terms.plan, actors, self._setting())
        except BaseException:
            self._abandon()
            raise
        finally:
            self._assembled.set()

    def start(self) -> None:
        """Let the run begin; called once."""
        self.terms.observers.tell(RunBegan(self.host.monotonic(), self.terms.id, self.plan.name))
        self.parts.conductor.put(protocol.Start())

    # --- from outside ---

    def drain(self) -> None:
        """Take no more rows; those under way are finished."""
        self.parts.conductor.put(protocol.Drain())

    def abort(self, reason: str) -> None:
        """Stop the run now."""
        self.parts.conductor.put(protocol.Abort(reason))

    def tell(self, actor: str, message: object) -> None:
        """Tell one of its actors something: `source`, `reorder`, `governor-NAME`, a stage's name."""
        self._actors.tell(actor, message)

    def set_limit(self, limit: Limit, stage: str | None) -> None:
        """Change the limit of a stage, or of the only one. Raises `ConfigError`."""
        limits = self.parts.governors
        name = stage if stage is not None else next(iter(limits), None)
        if name is None or name not in limits:
            raise ConfigError(f"set_limit: no stage is named {name!r}; there are {', '.join(sorted(limits)) or 'none'}")
        shared = next((s.limit.name for s in self.plan.stages if s.name == name), None)
        self.host.retune(limits[name], shared, limit.terms)

    def stats(self) -> RunReport:
        """How the run stands now."""
        if self.report.done():
            return self.report.result()
        state, counts = self._actors.ask([self.parts.conductor, self.parts.ledger])
        return self.report_now(
            state if isinstance(state, State) else State.CLOSING,
            counts if isinstance(counts, Counts) else Counts(),
            (),
        )

    def report_now(self, state: State, counts: Counts, notes: tuple[str, ...]) -> RunReport:
        """The report as of now, or of the moment in which it ended, with this state and these counts."""
        until_s = self._ended_s if self._ended_s is not None else self.host.monotonic()
        elapsed_s, journaling = until_s - self.began_s, self.terms.journaling
        return report_of(self.plan, self.parts, self._actors.ask, state, counts, elapsed_s, notes, journaling)

    # --- what its actors are given ---

    def _setting(self) -> Setting:
        terms = self.terms
        return Setting(
            id=terms.id,
            context=terms.context,
            monotonic=self.host.monotonic,
            loop=self._loop,
            caller=self.host.callback("caller", self._on_told),
            shared_governor=self._shared_governor,
            journaling=terms.journaling,
            observers=terms.observers,
            pool=self._pool,
        )

    def _pool(self, stage: StagePlan, failed: Callable[[BaseException], object]) -> Pool | None:
        if not self.host.processes:
            return None
        from .processes import pool_of

        name = f"{self._actors.name}.{stage.name}".lstrip(".")
        return pool_of(stage, f"{self.terms.id}:{stage.name}", name, self.terms.context, failed)

    def _shared_governor(self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None) -> Address:
        address = self.host.shared_governor(name, terms, user, lessons)
        self._shared.append((name, user))
        return address

    def _loop(self) -> LoopHome:
        with self._mutex:
            if self.loop_home is None:
                name = f"{self._actors.name}.loop".lstrip(".")
                self.loop_home = self.host.loop(name, self._on_loop_failed, self.terms.context, self.terms.loop)
            return self.loop_home

    def _on_loop_failed(self, died: LoopDied) -> None:
        parts: Roster | None = getattr(self, "parts", None)
        # Before there is a conductor, nothing is under way; the first call will find the loop dead, and say so.
        if parts is not None:
            parts.conductor.put(protocol.Failing(self.host.callback("loop", lambda _: None), died))

    # --- the end ---

    def _abandon(self) -> None:
        """It could not be put together, so nothing of it may stay."""
        self._abandoned = True
        self._end(None)
        self._actors.stop(1.0)
        if self.loop_home is not None:
            self.loop_home.stop(1.0)
        for name, user in self._shared:
            self.host.release_governor(name, user)
        if self.terms.journaling is not None:
            # If the journal's actor was there already, it has closed it.
            with contextlib.suppress(Exception):
                self.terms.journaling.store.close(False)

    def _on_told(self, message: protocol.RunEnded | protocol.Died) -> None:
        # In the conductor's thread, which is one of those to be ended: the rest is done aside.
        ended = _end_of(message, self.terms.journaling)
        self._ended_s = self.host.monotonic()
        self.terms.observers.hear("caller", ended)
        self._end(ended)
        self.terms.at_end(ended)

    def _clean_up(self, ended: protocol.RunEnded) -> None:
        # A conductor may die before the others are there.
        self._assembled.wait()
        if self._abandoned:
            return
        try:
            self._let_go(ended)
        except BaseException as error:
            # Whatever it was, who waits for the report gets one.
            if self.error is None:
                self.error = ended.errors[0] if ended.errors else error
            self._answer(State.FAILED, ended.counts, (*ended.notes, f"cleaning up failed: {told(error)}"))

    def _answer(self, state: State, counts: Counts, notes: tuple[str, ...]) -> None:
        """The report, of what can still be asked."""
        if self.report.done():
            return
        try:
            report = self.report_now(state, counts, notes)
        except BaseException as error:
            self.report.set_exception(error)
        else:
            self.report.set_result(report)

    def _let_go(self, ended: protocol.RunEnded) -> None:
        notes = list(ended.notes)
        report = self.report_now(ended.state, ended.counts, ())
        hung = self._actors.stop(0.1 if ended.state is State.ABORTED else 1.0)
        if hung:
            notes.append(f"left behind in calls that do not come back: {', '.join(hung)}")
        if self.loop_home is not None and not self.loop_home.stop(self.plan.life.abort_s):
            notes.append("the event loop did not end: a coroutine blocks it")
        self._release_limits()
        self.error = ended.errors[0] if ended.errors else None
        if isinstance(self.error, AccountShut):
            # Who reads the report in the morning finds there why it stopped, and what to do (L71).
            notes.insert(0, told(self.error))
        state, outputs = ended.state, self.terms.outputs
        if outputs is not None:
            if state is State.COMPLETED and (error := outputs.error()) is not None:
                # All rows were written, and still there is no complete output.
                self.error, state = error, State.FAILED
            outputs.release()
        files = outputs.written() if outputs is not None else ()
        self._log.info("{} ended: {}, {} rows", self.plan.name, state.value, ended.counts.rows)
        report = msgspec.structs.replace(report, state=state, notes=tuple(notes))
        self.report.set_result(finished(report, self.plan, files, self.terms.journaling))

    def _release_limits(self) -> None:
        for stage in self.plan.stages:
            if stage.limit.name is not None:
                # A conductor that died could not say so.
                self.parts.governors[stage.name].put(protocol.Unregister(self.parts.stages[stage.name]))
        for name, user in self._shared:
            self.host.release_governor(name, user)


__all__ = ["RunCore", "RunSpec"]


def _end_of(told: protocol.RunEnded | protocol.Died, journaling: Journaling | None = None) -> protocol.RunEnded:
    """What the caller is told of a run's end, also where its conductor died and could not say so."""
    if isinstance(told, protocol.RunEnded):
        for error in told.errors:
            # Not `isinstance`, which asks an error for its class, and that can raise anything (L72).
            if issubclass(type(error), AccountShut):
                if not isinstance(error, AccountShut):
                    raise InternalError("whoever gives up an account says so by AccountShut")
                error.rows_left = told.counts.interrupted
                error.go_on = journaling.go_on if journaling is not None else None
        return told
    return protocol.RunEnded(State.FAILED, Counts(), [told.error], ["the conductor died; counts are missing"])
