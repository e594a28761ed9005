"""A run: the actors of one pipeline, from start to end, and the handle that the caller holds."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Literal

import msgspec
from loguru import logger

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.conductor import Cast, Conductor, LifeTerms
from headrace.actors.gate import Terms
from headrace.actors.governor import Governor, GovernorStatistics
from headrace.actors.ledger import Ledger
from headrace.actors.protocol import Counts, State
from headrace.actors.reorder import Reorder
from headrace.actors.sink import Sink
from headrace.actors.source import Source
from headrace.actors.stage import Stage
from headrace.actors.stage_terms import StageStatistics, StageTerms
from headrace.actors.worker import Worker

from . import governors
from .calls.aio import LoopCalls, LoopThread, runs_on_a_loop
from .calls.threads import ThreadCalls
from .connectors.port import SinkConnector, SourceConnector
from .errors import RunAborted, RunFailed
from .hosts.threads import Callback, Inbox, System
from .limits import Limit, Retry, as_limit
from .narrator import CooldownLog, OutcomesTap
from .report import RunReport, StageReport
from .resources import Reader, Strategies, Writer

WINDOW_MIN = 8192
"""Rows between source and settlement, unless the stages have more workers than a quarter of it."""
UNBOUND = 1 << 30
"""Calls in flight where the governor need not count them."""

_numbers = itertools.count(1)


class StagePlan(msgspec.Struct, frozen=True):
    """One `map` of a pipeline."""

    name: str
    function: Callable[[Any], Any]
    workers: int
    limit: Limit
    retry: Retry
    timeout: float | None
    deadline: float | None
    on_error: Literal["quarantine", "fail", "drop"]
    on_unknown: Literal["retry", "quarantine"]

    @property
    def concurrent(self) -> bool:
        """Its function is a coroutine function, so its calls run on the loop."""
        return runs_on_a_loop(self.function)

    @property
    def terms(self) -> StageTerms:
        return StageTerms(
            name=self.name,
            workers=self.workers,
            concurrent=self.concurrent,
            timeout_s=self.timeout,
            deadline_s=self.deadline,
            backoff=self.retry.backoff,
            on_error=self.on_error,
            on_unknown=self.on_unknown,
            key=self.limit.key,
            weigh=self.limit.cost,
        )


class Plan(msgspec.Struct, frozen=True):
    """A whole pipeline, checked. `source` is given the loop, should it need one."""

    name: str
    source: Callable[[Callable[[], LoopThread]], SourceConnector]
    source_retry: Retry
    stages: tuple[StagePlan, ...]
    sink: SinkConnector
    quarantine: SinkConnector | None
    whole: bool
    ordered: bool
    window: int | None
    max_quarantined: float | None
    life: LifeTerms


class Run:
    """A run that was started. Methods may be called from any thread; as a context manager it drains on the way out,
    and aborts if the block raised."""

    def __init__(self, plan: Plan) -> None:
        self.name = plan.name
        self.id = uuid.uuid4().hex
        self._plan = plan
        self._log = logger.bind(run=self.id, pipeline=plan.name)
        self._began = time.monotonic()
        self._report: concurrent.futures.Future[RunReport] = concurrent.futures.Future()
        self._error: BaseException | None = None
        self._system = System(f"headrace-{next(_numbers)}")
        self._loop_thread: LoopThread | None = None
        self._mutex = threading.Lock()
        self._governors: dict[str, Inbox] = {}
        self._shared: list[str] = []
        self._listeners: list[tuple[Inbox, CooldownLog]] = []
        self._stages: dict[str, Inbox] = {}
        self._conductor = self._system.address("conductor")
        self._ledger = self._system.address("ledger")
        self._set_up()
        self._log.info("{} starts", plan.name)
        self._conductor.put(protocol.Start())

    # --- the caller's side ---

    def drain(self) -> None:
        """Take no more rows from the source; those under way are finished. Returns at once; see `wait`."""
        self._conductor.put(protocol.Drain())

    def abort(self, reason: str = "aborted") -> None:
        """Stop now. Rows without an outcome are interrupted. Returns at once; see `wait`."""
        self._conductor.put(protocol.Abort(reason))

    def wait(self, timeout: float | None = None) -> RunReport:
        """The report, when the run has ended. Raises `TimeoutError` after `timeout` seconds, `RunFailed` for a run that
        could not go on (what went wrong first is its `__cause__`)."""
        report = self.wait_ended(timeout)
        if report.state is State.FAILED:
            failed = RunFailed(f"{self.name}: {type(self._error).__name__}: {self._error}", report)
            raise failed from self._error
        return report

    def wait_ended(self, timeout: float | None = None) -> RunReport:
        """As `wait`, but whatever became of the run is in the report, and nothing is raised for it."""
        return self._report.result(timeout)

    @property
    def done(self) -> bool:
        """The run has ended, well or not."""
        return self._report.done()

    def add_done_callback(self, function: Callable[[RunReport], object]) -> None:
        """Call `function` with the report once the run has ended."""
        self._report.add_done_callback(lambda future: function(future.result()))

    def __await__(self) -> Generator[Any, None, RunReport]:
        async def wait() -> RunReport:
            await self.ended()
            return self.wait()

        return wait().__await__()

    async def ended(self) -> RunReport:
        """As `wait_ended`, without blocking the loop. Cancelling this does not touch the run."""
        import asyncio

        return await asyncio.shield(asyncio.wrap_future(self._report))

    def set_limit(self, limit: Limit | str, stage: str | None = None) -> None:
        """Change the limit of a stage (of the only one, if unnamed) while the run goes on."""
        name = stage if stage is not None else next(iter(self._governors))
        shared = next((s.limit.name for s in self._plan.stages if s.name == name), None)
        governors.retune(self._governors[name], shared, as_limit(limit).terms)

    def stats(self) -> RunReport:
        """How the run stands now, in the form of its report."""
        if self._report.done():
            return self._report.result()
        state, counts = self._system.ask([self._conductor, self._ledger])
        return self._make_report(
            state if isinstance(state, State) else State.CLOSING,
            counts if isinstance(counts, Counts) else Counts(),
            (),
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.drain()
            self.wait()
        else:
            self.abort(f"the block that held the run raised {type(error).__name__}")
            self._report.result()

    # --- putting it together ---

    def _set_up(self) -> None:
        plan, system = self._plan, self._system
        conductor_actor = Conductor(Callback("caller", self._on_ended), plan.life)
        stages = [system.address(stage.name) for stage in plan.stages]
        self._stages = {stage.name: address for stage, address in zip(plan.stages, stages, strict=True)}
        source, reader = system.address("source"), system.doorbell("reader")
        reorder, sink, writer = system.address("reorder"), system.address("sink"), system.address("writer")
        quarantine = quarantine_writer = None
        strategies = system.address("strategies")
        if plan.quarantine is not None and not plan.whole:
            quarantine, quarantine_writer = system.address("quarantine"), system.address("quarantine-writer")

        own_governors: list[Inbox] = []
        for stage in plan.stages:
            self._governors[stage.name] = self._governor(stage, own_governors)
        if any(stage.concurrent for stage in plan.stages):
            self._loop()

        resources = [ref for ref in (writer, quarantine_writer, strategies, reader) if ref is not None]
        line = [*stages, reorder, sink, *([quarantine] if quarantine is not None else [])]
        conductor_actor.set_cast(
            Cast(
                resources=list(resources), source=source, line=list(line), ledger=self._ledger, others=[*own_governors]
            )
        )
        outcomes = OutcomesTap(reorder, self.id, plan.name)
        for stage in plan.stages:
            listener = CooldownLog(self.id, plan.name, stage.name)
            self._listeners.append((self._governors[stage.name], listener))
            self._governors[stage.name].put(protocol.Enlist(listener))
        following = [*stages, reorder]
        workers = max((stage.workers for stage in plan.stages), default=1)
        window = plan.window or max(WINDOW_MIN, 4 * workers)

        self._host(self._conductor, conductor_actor, Callback("caller", self._on_conductor_died))
        self._host(self._ledger, Ledger(self._conductor, plan.max_quarantined))
        self._host(strategies, Strategies([stage.function for stage in plan.stages], self._loop_thread))
        connector = plan.source(self._loop)
        reader.ring = getattr(connector, "interrupt", None)
        self._host(reader, Reader(connector, source))
        self._host(
            source,
            Source(
                reader, following[0], outcomes, self._ledger, self._conductor, plan.source_retry.backoff, not stages
            ),
        )
        for i, (stage, address) in enumerate(zip(plan.stages, stages, strict=True)):
            governor = self._governors[stage.name]
            actor = Stage(
                stage.terms,
                governor,
                following[i + 1],
                outcomes,
                self._conductor,
                self._new_worker(stage),
                before=stages[i - 1] if i else source,
                followed=i + 1 < len(stages),
            )
            self._host(address, actor)
        self._host(
            reorder,
            Reorder(window, source, sink, quarantine, self._ledger, self._conductor, plan.whole, plan.ordered),
        )
        self._host(writer, Writer(plan.sink, sink, plan.whole))
        self._host(sink, Sink(plan.sink.name, writer, reorder, self._ledger, self._conductor))
        if quarantine is not None and quarantine_writer is not None and plan.quarantine is not None:
            self._host(quarantine_writer, Writer(plan.quarantine, quarantine))
            self._host(
                quarantine, Sink(plan.quarantine.name, quarantine_writer, reorder, self._ledger, self._conductor)
            )

    def _host(self, address: Inbox, actor: Actor, parent: Ref | None = None) -> None:
        self._system.host(address, actor, parent or self._conductor)

    def _governor(self, stage: StagePlan, own: list[Inbox]) -> Inbox:
        terms: Terms = stage.limit.terms
        if stage.limit.name is not None:
            address = governors.acquire(stage.limit.name, terms, self._conductor)
            self._shared.append(stage.limit.name)
            return address
        if isinstance(terms.concurrency, int) and terms.concurrency >= stage.workers and stage.limit.key is None:
            # The workers are the limit: none of them need wait for word that another one's call has ended.
            terms = msgspec.structs.replace(terms, concurrency=UNBOUND)
        address = self._system.address(f"governor-{stage.name}")
        own.append(address)
        self._host(address, Governor(terms))
        return address

    def _loop(self) -> LoopThread:
        with self._mutex:
            if self._loop_thread is None:
                self._loop_thread = LoopThread(f"{self._system.name}.loop")
            return self._loop_thread

    def _new_worker(self, stage: StagePlan) -> Callable[[Ref], Worker]:
        prefix = f"{self.id}:{stage.name}"
        classify = stage.retry.classify
        if stage.concurrent:
            return lambda ref: Worker(
                ref, LoopCalls(self._loop(), stage.function, stage.workers, prefix, stage.timeout, classify)
            )
        return lambda ref: Worker(ref, ThreadCalls(stage.function, prefix, stage.timeout, classify))

    # --- statistics ---

    def _make_report(self, state: State, counts: Counts, notes: tuple[str, ...]) -> RunReport:
        names = list(self._stages)
        whom = [*(self._stages[n] for n in names), *dict.fromkeys(self._governors.values())]
        asked = self._system.ask(whom)
        calls = asked[: len(names)]
        limits = dict(zip(dict.fromkeys(g.name for g in self._governors.values()), asked[len(names) :], strict=True))
        stages = tuple(
            StageReport(c, _governor_statistics(limits.get(self._governors[n].name)))
            for n, c in zip(names, calls, strict=True)
            if isinstance(c, StageStatistics)
        )
        return RunReport(
            name=self.name,
            state=state,
            rows=counts.rows,
            delivered=counts.delivered,
            dropped=counts.dropped,
            quarantined=counts.quarantined,
            failed=counts.failed,
            interrupted=counts.interrupted,
            calls=sum(s.calls.calls for s in stages),
            refusals=sum(s.calls.refusals for s in stages),
            cooldowns=sum(g.cooldowns for g in limits.values() if isinstance(g, GovernorStatistics)),
            elapsed_s=time.monotonic() - self._began,
            stages=stages,
            notes=notes,
        )

    # --- the end ---

    def _on_ended(self, ended: Any) -> None:
        # In the conductor's thread, which is one of those to be ended: the rest is another's.
        threading.Thread(
            target=self._clean_up, args=(ended,), name=f"{self._system.name}.clean-up", daemon=True
        ).start()

    def _on_conductor_died(self, died: Any) -> None:
        self._on_ended(
            protocol.RunEnded(State.FAILED, Counts(), [died.error], ["the conductor died; counts are missing"])
        )

    def _clean_up(self, ended: protocol.RunEnded) -> None:
        notes = list(ended.notes)
        report = self._make_report(ended.state, ended.counts, ())
        hung = self._system.stop(0.1 if ended.state is State.ABORTED else 1.0)
        if hung:
            notes.append(f"left behind in calls that do not come back: {', '.join(hung)}")
        if self._loop_thread is not None and not self._loop_thread.stop(self._plan.life.abort_s):
            notes.append("the event loop did not end: a coroutine blocks it")
        for governor, listener in self._listeners:
            governor.put(protocol.Discharge(listener))
        for name in self._shared:
            governors.release(name, self._conductor)
        self._error = ended.errors[0] if ended.errors else None
        self._log.info("{} ended: {}, {} rows", self.name, ended.state.value, ended.counts.rows)
        self._report.set_result(msgspec.structs.replace(report, notes=tuple(notes)))


def _governor_statistics(statistics: Any) -> GovernorStatistics | None:
    return statistics if isinstance(statistics, GovernorStatistics) else None


__all__ = ["Plan", "Run", "RunAborted", "StagePlan"]
