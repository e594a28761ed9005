"""The face to users: a pipeline is written down, then run, streamed or started."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from headrace.actors.conductor import LifeTerms

from .agreement import check
from .calls.aio import LoopThread
from .connectors.check import as_sink, source_connector
from .connectors.file_identity import FileUse
from .connectors.memory import AsyncIterableSource, IterableSource, IteratorSource, NullSink, TypedSource
from .connectors.port import RunInfo, SinkConnector, SourceConnector
from .contracts import INFER, Contract
from .draft import Draft
from .errors import ConfigError
from .flow import Flow
from .graph import Graph
from .holding import check_files, hold, uses_of_a_run
from .journal.options import Journal, as_journal
from .journal.port import Journaling
from .limits import Retry, as_retry
from .names import check_name, connector_name
from .plan import SOURCE, BatchPlan, Edge, Plan, SinkPlan
from .quantities import QUARANTINED, SECONDS_OR_ZERO, WINDOW, optional
from .report import RunReport
from .run import Run
from .signals import draining
from .stream import Stream

if TYPE_CHECKING:
    # Nothing of a journal is imported before there is one.
    from .journal.again import Again

STREAM_WINDOW_MIN = 64
"""Rows under way in a stream, at least."""


class Pipeline(Flow):
    """Rows from a source through one or more functions to a sink.

        report = (
            Pipeline("geocode")
            .source(["Lund", "Oslo"])
            .map(geocode, workers=32, limit=Limit("200/s"), retry=Retry(5), timeout=10.0)
            .sink(print)
            .run()
        )

    Each method returns the pipeline. Its nodes are `map`, `flat_map`, `filter`, `tap`, `route`, `fork` and `join`,
    `batch` and `unbatch`, and any number of sinks. A pipeline may be run again where its source can be read again.
    """

    def __init__(self, name: str = "pipeline", *, window: int | None = None, ordered: bool = True) -> None:
        """`window`: rows between source and sink at most. `ordered`: the sink sees rows in source order."""
        window = optional("Pipeline", "window", window, WINDOW)
        self.name = check_name("pipeline", name)
        super().__init__(Draft(), [(SOURCE, "")], ordered)
        self._window = window
        self._source: Callable[[Callable[[], LoopThread]], SourceConnector] | None = None
        self._source_retry = Retry()
        self._contract: Contract | str | None = None
        self._columns: Callable[[], list[str] | None] | None = None
        self._reads: SourceConnector | None = None
        self._quarantine: SinkConnector | None = None

    def source(
        self,
        rows_from: SourceConnector | Iterable[Any] | AsyncIterable[Any],
        *,
        rows: Any = None,
        retry: Retry | int | None = None,
    ) -> Pipeline:
        """Where the rows come from: a connector out of `sources` or of your own (`SourceConnector`), any iterable, any async
        iterable. Raises `ConfigError` for text, bytes and mappings, whose items are no rows.

        `rows`: their contract, a msgspec Struct, a dataclass or a TypedDict, to which they are converted ("12" may
        become 12); or "infer", from the first hundred: text becomes a number, or true or false, only where it would be
        written back as it stands (`007`, `1.10` and `1e5` stay text). What does not fit goes to quarantine. `retry`: how
        often a connector that knows where it is (`resumable`) is read again after an error.

        Raises `ConfigError` where what is given is no source: text, a path, a mapping, a class, a function.
        """
        if self._source is not None:
            raise ConfigError(f"pipeline {self.name!r} has a source already")
        self._contract = contract = _contract(rows)
        connector = source_connector(rows_from)
        if connector is not None:
            self._reads = own = connector
            self._columns = getattr(own, "fields", None)
            self._source = lambda _: _held(own, contract)
        elif isinstance(rows_from, AsyncIterable):
            stream = rows_from
            self._source = lambda loop: _held(AsyncIterableSource(stream, loop), contract)
        elif isinstance(rows_from, Iterable):
            iterable = rows_from
            self._source = lambda _: _held(IterableSource(iterable), contract)
        else:
            mend = "; call it, to give what it makes" if callable(rows_from) else ""
            mend = (
                "; for a file, give sources.csv(path) or sources.jsonl(path)"
                if isinstance(rows_from, os.PathLike)
                else mend
            )
            raise ConfigError(f"source: {type(rows_from).__name__} is no connector, iterable or async iterable{mend}")
        self._source_retry = as_retry(retry) or Retry()
        return self

    def where(self, function: Callable[[Any], Any] | str) -> Pipeline:
        """Only rows of which `function`, or an expression, says yes are let in: a filter before everything else, whenever it
        is added."""
        draft, name = self._draft, self._draft.unused("where")
        first = [edge for edge in draft.edges if edge.before == SOURCE]
        draft.edges = [edge for edge in draft.edges if edge.before != SOURCE]
        Flow(draft, [(SOURCE, "")], self._ordered).filter(function, name=name)
        draft.edges += [Edge(name, edge.port, edge.after) for edge in first]
        self._ends = [(name, "") if end == (SOURCE, "") else end for end in self._ends]
        return self

    def quarantine(self, sink: SinkConnector | Callable[[Any], object]) -> Pipeline:
        """Where rows go that could not be delivered, as dicts: seq, stage, error, message, attempts, row."""
        if self._quarantine is not None:
            raise ConfigError(f"pipeline {self.name!r} has a quarantine already")
        self._quarantine = as_sink(sink)
        return self

    def start(
        self,
        *,
        max_quarantined: float | None = None,
        drain_timeout: float | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        accept_changes: bool = False,
        suspend_after: float | None = None,
        origin: str | os.PathLike[str] | None = None,
        again: Again | None = None,
    ) -> Run:
        """Start a run and return its handle at once.

        `max_quarantined`: a number of rows, or below 1 a share of them, above which the run fails. `drain_timeout`:
        seconds that a drain may take before it becomes an abort.

        `journal`: a file in which the run goes on where it was, however it ended: killed, failed, drained; or a
        `Journal`, which also says how it is kept. What a call has answered is durable within 50 ms, and is not called
        again. Where the source, the functions or the graph are not what they were, `ConfigError` says how, unless
        `accept_changes`, which logs how. `origin`: the file that describes the pipeline, for `headrace resume`. `again`:
        rows in quarantine that are to be tried again, for `headrace retry`. `suspend_after`: end the
        run, as suspended, when for so many seconds nothing was left to do but to wait for rows that are `Pending`.
        """
        suspend_after = optional("run", "suspend_after", suspend_after, SECONDS_OR_ZERO)
        plan = self.plan(max_quarantined=max_quarantined, drain_timeout=drain_timeout)
        if journal is None:
            if again is not None:
                raise ConfigError("again needs a journal: it says which rows are in quarantine")
            if suspend_after is not None:
                raise ConfigError("suspend_after needs a journal: what was suspended would be lost")
            self.check_files(None, origin)
            id_ = uuid.uuid4().hex
            return self._started(plan, None, id_, None, None)
        from .journal.begin import begin

        plan = msgspec.structs.replace(plan, life=msgspec.structs.replace(plan.life, suspend_s=suspend_after))
        told = os.path.abspath(origin) if origin is not None else None
        options = as_journal(journal)
        self.check_files(options.path, origin)
        path = os.path.abspath(options.path) if options.path is not None else ""
        if path and not os.path.exists(path):
            # Nothing is known of earlier lives, so that all can be told before there is a journal.
            hold(plan, self._run_info(plan, "", path)).release()
        journaling, key = begin(plan, options, accept_changes, told, again)
        try:
            return self._started(plan, journaling, key, path, journaling.past.places)
        except ConfigError:
            journaling.store.close(False)
            raise

    def _started(
        self, plan: Plan, journaling: Journaling | None, id_: str, journal: str | None, places: Mapping[str, Any] | None
    ) -> Run:
        """A run whose outputs are held until it has ended."""
        outputs = hold(plan, self._run_info(plan, id_, journal), places)
        try:
            return Run(plan, journaling, id_, outputs)
        except BaseException:
            outputs.release()
            raise

    def _run_info(self, plan: Plan, id_: str, journal: str | None) -> RunInfo:
        columns = self._columns() if self._columns is not None else None
        return RunInfo(plan.name, id_, journal, tuple(columns) if columns else None, plan.rows_in_flight)

    def check_files(
        self, journal: str | os.PathLike[str] | None, origin: str | os.PathLike[str] | None, *others: FileUse
    ) -> None:
        """See that no two parts of the pipeline use one file of which one of them writes it, nor the journal, nor the file
        that describes the pipeline, nor `others`. Raises `ConfigError`, naming both."""
        check_files(self._draft.nodes, self._quarantine, self._reads, [*uses_of_a_run(journal, origin), *others])

    def run(
        self,
        *,
        max_quarantined: float | None = None,
        drain_timeout: float | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        accept_changes: bool = False,
        suspend_after: float | None = None,
    ) -> RunReport:
        """Run to the end, and give the report. The options are those of `start`. Raises `RunFailed` if it could not go on.

        In the main thread, the first SIGINT (Ctrl-C) or SIGTERM drains the run and the second aborts it, unless the
        application handles these signals itself. When the run has ended, `KeyboardInterrupt` is raised, or `SystemExit` with
        the status 143 for SIGTERM, so that no script goes on with a part of the rows as if they were all. Either has the
        report:

            try:
                report = pipeline.run()
            except KeyboardInterrupt as interrupt:
                report = interrupt.report
        """
        with draining() as signals:
            run = self.start(
                max_quarantined=max_quarantined,
                drain_timeout=drain_timeout,
                journal=journal,
                accept_changes=accept_changes,
                suspend_after=suspend_after,
            )
            signals.govern(run)
            try:
                report = run.wait()
            except BaseException:
                if not run.done:
                    run.abort("the caller was interrupted")
                raise
        signals.raise_for(report)
        return report

    def stream(self, *, max_quarantined: float | None = None) -> Stream:
        """The outcome of every row, in the order of the rows, as an iterator: `for` or `async for`.

        Lazy and bounded: nothing is read before the first outcome is asked for, and no more rows are under way than the
        window holds, by default four for each worker. Leaving the loop early stops the source, finishes what is under
        way and closes everything. Raises `RunFailed` as `run` does.
        """
        if not self._ends:
            raise ConfigError(f"pipeline {self.name!r} has a sink: stream() takes its place")
        if self._quarantine is not None:
            raise ConfigError(
                f"pipeline {self.name!r} has a quarantine: stream() gives the rows in quarantine among its outcomes"
            )
        # What is wrong is told here, not at the first outcome.
        plan = self._plan(NullSink(), True, max_quarantined, None)
        workers = sum(stage.workers for stage in plan.stages)
        window = self._window or max(STREAM_WINDOW_MIN, 4 * workers)
        return Stream(lambda handover: Run(self._plan(handover, True, max_quarantined, None, window)))

    def plan(self, *, max_quarantined: float | None = None, drain_timeout: float | None = None) -> Plan:
        """What `start` would run, checked, for another host than threads. Raises `ConfigError`."""
        return self._plan(NullSink(), False, max_quarantined, drain_timeout)

    def _row_type(self) -> Any:
        """What the source's rows are, as far as is known: by the contract, or as columns of text."""
        if isinstance(self._contract, Contract):
            return self._contract.kind
        columns = self._columns() if self._columns is not None else None
        # Of inferred columns, the names are known beforehand.
        kind = str if self._contract is None else Any
        return TypedDict("Row", dict.fromkeys(columns, kind)) if columns else None  # type: ignore[operator]

    def _plan(
        self,
        sink: SinkConnector,
        whole: bool,
        max_quarantined: float | None,
        drain_timeout: float | None,
        window: int | None = None,
    ) -> Plan:
        if self._source is None:
            raise ConfigError(f"pipeline {self.name!r} has no source")
        max_quarantined = optional("run", "max_quarantined", max_quarantined, QUARANTINED)
        drain_timeout = optional("run", "drain_timeout", drain_timeout, SECONDS_OR_ZERO)
        nodes, edges = list(self._draft.nodes), list(self._draft.edges)
        if self._ends:
            name = self._draft.unused("sink")
            nodes.append(SinkPlan(name, sink, self._ordered, whole=whole))
            edges += [Edge(before, port, name) for before, port in self._ends]
        for node in nodes:
            if isinstance(node, BatchPlan) and window is None and (node.count or 0) > (self._window or node.count or 0):
                raise ConfigError(f"{node.name!r} gathers {node.count} rows, and window={self._window} lets in fewer")
        # Here, so that what is wrong is told before anything runs.
        check(Graph(nodes, edges), self._row_type())
        check_files(nodes, self._quarantine, self._reads)
        return Plan(
            name=self.name,
            source=self._source,
            source_retry=self._source_retry,
            nodes=tuple(nodes),
            edges=tuple(edges),
            quarantine=self._quarantine,
            window=window or self._window,
            max_quarantined=max_quarantined,
            life=LifeTerms(drain_s=drain_timeout),
            rows=self._contract.kind if isinstance(self._contract, Contract) else self._contract,
        )


def _contract(rows: Any) -> Contract | str | None:
    return rows if rows is None or rows == INFER else Contract(rows)


def _held(connector: SourceConnector, contract: Contract | str | None) -> SourceConnector:
    """The connector, its rows held to the contract."""
    if contract is None:
        return connector
    if isinstance(connector, IteratorSource):
        connector.hold_to(contract)
        return connector
    if isinstance(contract, str):
        raise ConfigError(
            f'rows="infer": {connector_name(connector)} gives rows as they come, so none are the first; name their type'
        )
    return TypedSource(connector, contract)
