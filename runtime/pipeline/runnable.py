"""How a pipeline that was written down is run, started, streamed or planned."""

from __future__ import annotations

import asyncio
import os
import uuid
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack

import msgspec

from headrace.actors.conductor import LifeTerms

from ..connectors.file_identity import FileUse
from ..connectors.iterables import NullSink
from ..connectors.port import RunInfo, SinkConnector
from ..errors import ConfigError
from ..graph.nodes.sink import SinkPlan
from ..graph.plan import Edge, Plan
from ..graph.topology import Graph
from ..graph.typecheck import check
from ..hosts.port import Whose
from ..hosts.threads.caller_loop import check_whose
from ..journal.options import as_journal
from ..journal.port import Journaling
from ..process.at_exit import LEAVE_S
from ..quantities import QUARANTINED, SECONDS_OR_ZERO, optional
from ..rows.contracts import Contract
from ..run.output_files import check_files, hold, uses_of_a_run
from ..run.progress import Progress, as_progress, progress_of
from ..run.report import RunReport
from ..run.run import Run
from ..run.signals import draining
from ..run.stream import Handover, Stream
from ..telemetry.observer import Observer, check_observers
from .call_options import check_known
from .draft import Draft, End
from .run_options import RunOptions

if TYPE_CHECKING:
    # Nothing of a journal is imported before there is one.
    from ..journal.requeue import Again

STREAM_WINDOW_MIN = 64
"""Rows under way in a stream, at least."""
STREAM_WINDOW_MAX = 1024
"""Rows under way in a stream at most, where nobody has said so many and they pass in next to no time: a window of 64 costs
1.8 us of CPU a no-op row, since each message has eight, and one of 1,024 a third of that."""

T_co = TypeVar("T_co", covariant=True)
F = TypeVar("F", bound="Runnable[Any]")


class _Use:
    """Whether anything came of a flow. `how`: the method that gave it."""

    __slots__ = ("how", "used")

    def __init__(self) -> None:
        self.how = ""
        self.used = False


class Runnable(Generic[T_co]):
    """A pipeline up to some place, which can be run from there: what a `Flow` is besides a place for the next node."""

    def __init__(self, draft: Draft, ends: tuple[End, ...], *, inside: bool = False) -> None:
        """`ends`: the ways that no node stands after yet. `inside`: it is a branch that is being built."""
        self._draft = draft
        self._ends = ends
        self._inside = inside
        self._use = _Use()
        self._before: Runnable[Any] | None = None
        self._given: list[tuple[weakref.ref[Any], _Use]] = []

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self._draft.name

    @property
    def nodes(self) -> set[str]:
        """The names of all nodes so far."""
        return self._draft.named()

    def _gives(self, flow: F, how: str) -> F:
        """Note that a method gave this flow, so that it is told when it is dropped by mistake."""
        self._use.used = True
        flow._use.how = how
        flow._before = self
        self._given.append((weakref.ref(flow), flow._use))
        return flow

    def _check_nothing_dropped(self) -> None:
        """Raises `ConfigError` where a method was called for what it does, as if it changed the flow."""
        self._use.used = True
        flow: Runnable[Any] | None = self
        while flow is not None:
            for given, use in flow._given:
                if given() is None and not use.used:
                    raise ConfigError(
                        f"pipeline {self.name!r}: what .{use.how}(...) gave was dropped, so it is no part of the pipeline; "
                        f"a flow is a value, which no method changes: write flow = flow.{use.how}(...)"
                    )
            flow = flow._before

    def start(
        self,
        *,
        origin: str | os.PathLike[str] | None = None,
        again: Again | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Start a run and return its handle at once.

        Args:
            origin: The file that describes the pipeline, for `headrace resume`.
            again: Rows in quarantine that are to be tried again, for `headrace retry`.
            options: Those of `RunOptions`.

        Raises:
            ConfigError: Something in the pipeline or in the options cannot be. Nothing was begun then.

        Examples:
            >>> with Pipeline().source(range(3)).sink(print).start() as run:
            ...     report = run.wait(timeout=10)
            0
            1
            2
        """
        check_known("start", options, RunOptions)
        loop, journal = options.get("loop", "own"), options.get("journal")
        check_whose("start", loop)
        around = (loop, check_observers(options.get("observers", ())), as_progress(options.get("progress")))
        suspend_after = optional("run", "suspend_after", options.get("suspend_after"), SECONDS_OR_ZERO)
        plan = self.plan(max_quarantined=options.get("max_quarantined"), drain_timeout=options.get("drain_timeout"))
        if journal is None:
            if again is not None:
                raise ConfigError("again needs a journal: it says which rows are in quarantine")
            if suspend_after is not None:
                raise ConfigError("suspend_after needs a journal: what was suspended would be lost")
            self.check_files(None, origin)
            id_ = uuid.uuid4().hex
            return self._started(plan, None, id_, None, None, *around)
        from ..journal.begin import begin
        from ..journal.stores import file_of, name_of, shown_of

        plan = msgspec.structs.replace(plan, life=msgspec.structs.replace(plan.life, suspend_s=suspend_after))
        told = os.path.abspath(origin) if origin is not None else None
        kept = as_journal(journal)
        self.check_files(kept.path, origin)
        name = name_of(kept.path) if kept.path is not None else ""
        file = file_of(name) if name else None
        if file is not None and not os.path.exists(file):
            # Nothing is known of earlier lives, so that all can be told before there is a journal.
            hold(plan, self._run_info(plan, "", shown_of(name))).release()
        journaling, key = begin(
            plan, kept, accept_changes=options.get("accept_changes", False), origin=told, again=again
        )
        try:
            return self._started(plan, journaling, key, shown_of(name), journaling.past.places, *around)
        except ConfigError:
            journaling.withdraw()
            raise

    def _started(
        self,
        plan: Plan,
        journaling: Journaling | None,
        id_: str,
        journal: str | None,
        places: Mapping[str, Any] | None,
        loop: Whose,
        observers: Sequence[Observer],
        progress: Progress | None,
    ) -> Run:
        """A run whose outputs are held until it has ended."""
        outputs = hold(plan, self._run_info(plan, id_, journal), places)
        try:
            return Run(plan, journaling, id_, outputs, loop, observers, progress=progress)
        except BaseException:
            outputs.release()
            raise

    def _run_info(self, plan: Plan, id_: str, journal: str | None) -> RunInfo:
        columns = self._columns()
        return RunInfo(plan.name, id_, journal, tuple(columns) if columns else None, plan.rows_in_flight)

    def check_files(
        self, journal: str | os.PathLike[str] | None, origin: str | os.PathLike[str] | None, *others: FileUse
    ) -> None:
        """See that no two parts of the pipeline use one file of which one of them writes it, nor the journal, nor the file
        that describes the pipeline, nor `others`. Raises `ConfigError`, naming both."""
        source = self._draft.source
        reads = source.connector if source is not None else None
        check_files(self._draft.nodes, self._draft.quarantine, reads, [*uses_of_a_run(journal, origin), *others])

    def run(self, **options: Unpack[RunOptions]) -> RunReport:
        """Run to the end, and give the report.

        In the main thread, the first SIGINT (Ctrl-C) or SIGTERM drains the run and the second aborts it, unless the
        application handles these signals itself. When the run has ended, `KeyboardInterrupt` is raised, or `SystemExit`
        with the status 143 for SIGTERM, so that no script goes on with a part of the rows as if they were all. Either has
        the report as its attribute `report`.

        Args:
            options: Those of `RunOptions`.

        Raises:
            RunFailed: The run could not go on; what went wrong first is its `__cause__`.
            ConfigError: Something in the pipeline or in the options cannot be, such as `loop="caller"`, since this blocks
                the loop that runs here; that is what `run_async` is for. Nothing was begun then.

        Examples:
            >>> report = Pipeline().source(["Lund"]).map(str.upper).sink(print).run()
            LUND

            Where a part of the rows is of use, too:

                try:
                    report = pipeline.run()
                except KeyboardInterrupt as interrupt:
                    report = interrupt.report
        """
        if options.get("loop") == "caller":
            raise ConfigError(
                "run: loop='caller': run() would block the event loop that its calls are to be made on; await run_async()"
            )
        with draining() as signals:
            if options.get("progress") is True and signals.listening:
                options["progress"] = progress_of("Ctrl-C again stops")
            run = self.start(**options)
            signals.govern(run)
            try:
                report = run.wait()
            except BaseException:
                if not run.done:
                    run.abort("the caller was interrupted")
                raise
        signals.raise_for(report)
        return report

    async def run_async(self, **options: Unpack[RunOptions]) -> RunReport:
        """Run to the end without blocking the event loop, and give the report.

        Coroutine functions are called on the loop that runs here, where the application's own clients work, or with
        `loop="own"` on another.

        If the task that awaits this is cancelled (by `asyncio.wait_for`, a client that hangs up, Ctrl-C), the run is
        drained: no more rows are read, and calls under way are finished for `drain_timeout` seconds (5 by default). Then
        those on the loop are cancelled, those on threads are left to themselves, and the task goes on with its
        cancellation. To cancel it once more cuts that short.

        Args:
            options: Those of `RunOptions`.

        Raises:
            RunFailed: The run could not go on; what went wrong first is its `__cause__`.
            ConfigError: Something in the pipeline or in the options cannot be. Nothing was begun then.

        Examples:
            >>> import asyncio
            >>> async def ask(city):
            ...     return city.upper()
            >>> report = asyncio.run(Pipeline().source(["Lund"]).map(ask, workers=100).sink(print).run_async())
            LUND
        """
        options.setdefault("loop", "caller")
        run = self.start(**options)
        try:
            return await run
        except asyncio.CancelledError:
            if not run.done:
                await run.leave()
            raise

    def stream(
        self,
        *,
        max_quarantined: float | None = None,
        drain_timeout: float | None = LEAVE_S,
        loop: Whose = "own",
        observers: Sequence[Observer] = (),
    ) -> Stream[T_co]:
        """The outcome of every row, in the order of the rows, as an iterator for `for` or `async for`.

        It is lazy and bounded: nothing is read before the first outcome is asked for, and no more rows are under way than
        the window holds: by default four for each worker, and up to 1,024 while that many pass in a few milliseconds.

        Leaving the loop early stops the source, finishes the calls under way and closes everything, and returns when that
        is done: with `break`, with an error, by cancelling the task, or when the stream is collected as garbage (an `async
        for` that is left needs `async with` around it, or leaves that to the end of its event loop).

        Args:
            max_quarantined: A number of rows, or below 1 a share of them, above which the run fails.
            drain_timeout: Seconds that calls under way may take when the loop is left. Then those on an event loop are
                cancelled, and those on threads left to themselves. None waits as long as they take.
            loop: As of `start`; with "caller", use `async for`.
            observers: As of `start`.

        Returns:
            A `Stream` of `Outcome`s, one a row.

        Raises:
            ConfigError: Something in the pipeline or in the options cannot be.
            RunFailed: While reading: the run could not go on.

        Examples:
            >>> for outcome in Pipeline().source(["12", "twelve"]).map(int).stream():
            ...     print(outcome.seq, outcome.status.value, outcome.value)
            0 delivered 12
            1 quarantined twelve
        """
        if not self._ends:
            raise ConfigError(f"pipeline {self.name!r} has a sink: stream() takes its place")
        if self._draft.quarantine is not None:
            raise ConfigError(
                f"pipeline {self.name!r} has a quarantine: stream() gives the rows in quarantine among its outcomes"
            )
        # What is wrong is told here, not at the first outcome.
        plan = self._plan(NullSink(), whole=True, max_quarantined=max_quarantined, drain_timeout=drain_timeout)
        workers = sum(stage.workers for stage in plan.stages)
        window = self._draft.window or max(STREAM_WINDOW_MIN, 4 * workers)
        grows_to = STREAM_WINDOW_MAX if self._draft.window is None else 0
        told = check_observers(observers)
        if loop != "caller":
            check_whose("stream", loop)

        def start(handover: Handover) -> Run:
            plan = self._plan(
                handover, whole=True, max_quarantined=max_quarantined, drain_timeout=drain_timeout, window=window
            )
            return Run(msgspec.structs.replace(plan, grows_to=grows_to), loop=loop, observers=told)

        return Stream(start, loop)

    def plan(self, *, max_quarantined: float | None = None, drain_timeout: float | None = None) -> Plan:
        """What `start` would run, checked, for another host than threads. Raises `ConfigError`."""
        return self._plan(NullSink(), whole=False, max_quarantined=max_quarantined, drain_timeout=drain_timeout)

    def _columns(self) -> list[str] | None:
        source = self._draft.source
        return source.columns() if source is not None and source.columns is not None else None

    def _row_type(self) -> Any:
        """What the source's rows are, as far as is known: by the contract, or as columns of text."""
        contract = self._draft.source.contract if self._draft.source is not None else None
        if isinstance(contract, Contract):
            return contract.kind
        columns = self._columns()
        # Of inferred columns, the names are known beforehand.
        kind = str if contract is None else Any
        return TypedDict("Row", dict.fromkeys(columns, kind)) if columns else None  # type: ignore[operator]

    def _plan(
        self,
        sink: SinkConnector,
        *,
        whole: bool,
        max_quarantined: float | None,
        drain_timeout: float | None,
        window: int | None = None,
    ) -> Plan:
        draft = self._draft
        if self._inside:
            raise ConfigError("a branch is run by the pipeline that it is a part of: return its flow")
        self._check_nothing_dropped()
        if draft.source is None:
            raise ConfigError(f"pipeline {self.name!r} has no source")
        max_quarantined = optional("run", "max_quarantined", max_quarantined, QUARANTINED)
        drain_timeout = optional("run", "drain_timeout", drain_timeout, SECONDS_OR_ZERO)
        nodes, edges = list(draft.nodes), list(draft.edges)
        if self._ends:
            name = draft.unused("sink")
            nodes.append(SinkPlan(name, sink, draft.ordered, whole=whole))
            edges += [Edge(before, port, name) for before, port in self._ends]
        for node in nodes:
            if window is None:
                node.check_window(draft.window)
        # Here, so that what is wrong is told before anything runs.
        check(Graph(nodes, edges), self._row_type())
        check_files(nodes, draft.quarantine, draft.source.connector)
        contract = draft.source.contract
        return Plan(
            name=self.name,
            source=draft.source.made,
            source_retry=draft.source.retry,
            nodes=tuple(nodes),
            edges=tuple(edges),
            quarantine=draft.quarantine,
            window=window or draft.window,
            max_quarantined=max_quarantined,
            life=LifeTerms(drain_s=drain_timeout),
            rows=contract.kind if isinstance(contract, Contract) else contract,
        )
