"""The face to users: a pipeline is written down, then run, streamed or started."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Literal, cast

from headrace.actors.conductor import LifeTerms

from .calls.aio import LoopThread
from .connectors.memory import AsyncIterableSource, CallableSink, IterableSource, NullSink
from .connectors.port import SinkConnector, SourceConnector
from .errors import ConfigError
from .limits import Limit, Retry, as_limit, as_retry, check_call_options
from .plan import Plan, StagePlan
from .report import RunReport
from .run import Run
from .signals import draining
from .stream import Stream

STREAM_WINDOW_MIN = 64
"""Rows under way in a stream, at least."""
WORKERS = 16
"""Calls in flight of a stage that does not say."""


class Pipeline:
    """Rows from a source through one or more functions to a sink.

        report = (
            Pipeline("geocode")
            .source(["Lund", "Oslo"])
            .map(geocode, workers=32, limit=Limit("200/s"), retry=Retry(5), timeout=10.0)
            .sink(print)
            .run()
        )

    Each method returns the pipeline. A pipeline may be run again where its source can be read again.
    """

    def __init__(self, name: str = "pipeline", *, window: int | None = None, ordered: bool = True) -> None:
        """`window`: rows between source and sink at most. `ordered`: the sink sees rows in source order."""
        if window is not None and window < 1:
            raise ConfigError(f"window={window}: at least one row must fit")
        self.name = name
        self._window = window
        self._ordered = ordered
        self._source: Callable[[Callable[[], LoopThread]], SourceConnector] | None = None
        self._source_retry = Retry()
        self._stages: list[StagePlan] = []
        self._sink: SinkConnector | None = None
        self._quarantine: SinkConnector | None = None

    def source(
        self, rows: SourceConnector | Iterable[Any] | AsyncIterable[Any], *, retry: Retry | int | None = None
    ) -> Pipeline:
        """Where the rows come from: a connector out of `sources`, any iterable, any async iterable.

        `retry`: how often a connector that knows where it is (`resumable`) is read again after an error.
        """
        if self._source is not None:
            raise ConfigError(f"pipeline {self.name!r} has a source already")
        if hasattr(rows, "read") and hasattr(rows, "open"):
            connector = cast(SourceConnector, rows)
            self._source = lambda _: connector
        elif isinstance(rows, AsyncIterable):
            stream = rows
            self._source = lambda loop: AsyncIterableSource(stream, loop)
        elif isinstance(rows, Iterable):
            iterable = rows
            self._source = lambda _: IterableSource(iterable)
        else:
            raise ConfigError(f"source: {type(rows).__name__} is no connector, iterable or async iterable")
        self._source_retry = as_retry(retry) or Retry()
        return self

    def map(
        self,
        function: Callable[[Any], Any],
        *,
        name: str | None = None,
        workers: int = WORKERS,
        limit: Limit | str | None = None,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        on_error: Literal["quarantine", "fail", "drop"] = "quarantine",
        on_unknown: Literal["retry", "quarantine"] = "retry",
    ) -> Pipeline:
        """A stage that calls `function` with each row; its result is the row from there on.

        `workers`: calls in flight at most; threads for a function, places on one event loop for a coroutine function.
        `timeout`: seconds for one attempt, waits not included. `deadline`: seconds for a row in this stage, all waits
        included. `on_error`: what becomes of a row whose attempts are used up. `on_unknown`: of one whose call may or may
        not have happened. Raises `ConfigError`.
        """
        if not callable(function):
            raise ConfigError(f"map: {function!r} is not callable")
        if workers < 1:
            raise ConfigError(f"map: workers={workers}: at least one is needed")
        check_call_options("map", timeout, deadline, on_unknown)
        if on_error not in ("quarantine", "fail", "drop"):
            raise ConfigError(f"map: on_error={on_error!r}: 'quarantine', 'fail' or 'drop'")
        name = name or self._unused_name(getattr(function, "__name__", type(function).__name__))
        if any(stage.name == name for stage in self._stages):
            raise ConfigError(f"two stages are named {name!r}")
        policy = as_retry(retry) or Retry()
        self._stages.append(
            StagePlan(name, function, workers, as_limit(limit), policy, timeout, deadline, on_error, on_unknown)
        )
        return self

    def _unused_name(self, base: str) -> str:
        base = base.strip("<>")
        taken = {stage.name for stage in self._stages}
        n = 2
        name = base
        while name in taken:
            name, n = f"{base}-{n}", n + 1
        return name

    def sink(self, sink: SinkConnector | Callable[[Any], object]) -> Pipeline:
        """Where delivered rows go: a connector out of `sinks`, or a callable that gets one row's value a call."""
        if self._sink is not None:
            raise ConfigError(f"pipeline {self.name!r} has a sink already")
        self._sink = _as_sink(sink)
        return self

    def quarantine(self, sink: SinkConnector | Callable[[Any], object]) -> Pipeline:
        """Where rows go that could not be delivered, as dicts: seq, stage, error, message, attempts, row."""
        if self._quarantine is not None:
            raise ConfigError(f"pipeline {self.name!r} has a quarantine already")
        self._quarantine = _as_sink(sink)
        return self

    def describe(self) -> str:
        """One line: the source, the stages with their calls in flight, the sink."""
        parts = ["source"]
        parts += [f"{stage.name} ({stage.workers}{' on a loop' if stage.concurrent else ''})" for stage in self._stages]
        parts.append(self._sink.name if self._sink is not None else "nowhere")
        return " → ".join(parts)

    def start(self, *, max_quarantined: float | None = None, drain_timeout: float | None = None) -> Run:
        """Start a run and return its handle at once.

        `max_quarantined`: a number of rows, or below 1 a share of them, above which the run fails. `drain_timeout`:
        seconds that a drain may take before it becomes an abort.
        """
        return Run(self.plan(max_quarantined=max_quarantined, drain_timeout=drain_timeout))

    def run(self, *, max_quarantined: float | None = None, drain_timeout: float | None = None) -> RunReport:
        """Run to the end. Raises `RunFailed` if it could not go on.

        In the main thread, the first SIGINT or SIGTERM drains and the second aborts, unless the application handles
        them itself; the report then says so. Options as of `start`.
        """
        with draining() as signals:
            run = self.start(max_quarantined=max_quarantined, drain_timeout=drain_timeout)
            signals.govern(run)
            try:
                return run.wait()
            except BaseException:
                if not run.done:
                    run.abort("the caller was interrupted")
                raise

    def stream(self, *, max_quarantined: float | None = None) -> Stream:
        """The outcome of every row, in the order of the rows, as an iterator: `for` or `async for`.

        Lazy and bounded: nothing is read before the first outcome is asked for, and no more rows are under way than the
        window holds, by default four for each worker. Leaving the loop early stops the source, finishes what is under
        way and closes everything. Raises `RunFailed` as `run` does.
        """
        if self._sink is not None:
            raise ConfigError(f"pipeline {self.name!r} has a sink: stream() takes its place")
        if self._quarantine is not None:
            raise ConfigError(
                f"pipeline {self.name!r} has a quarantine: stream() gives the rows in quarantine among its outcomes"
            )
        # What is wrong is told here, not at the first outcome.
        self._plan(NullSink(), True, max_quarantined, None)
        workers = sum(stage.workers for stage in self._stages)
        window = self._window or max(STREAM_WINDOW_MIN, 4 * workers)
        return Stream(lambda handover: Run(self._plan(handover, True, max_quarantined, None, window)))

    def plan(self, *, max_quarantined: float | None = None, drain_timeout: float | None = None) -> Plan:
        """What `start` would run, checked, for another host than threads. Raises `ConfigError`."""
        return self._plan(self._sink or NullSink(), False, max_quarantined, drain_timeout)

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
        if max_quarantined is not None and max_quarantined < 0:
            raise ConfigError(f"max_quarantined={max_quarantined}: a number of rows, or a share of them below 1")
        return Plan(
            name=self.name,
            source=self._source,
            source_retry=self._source_retry,
            stages=tuple(self._stages),
            sink=sink,
            quarantine=self._quarantine,
            whole=whole,
            ordered=self._ordered,
            window=window or self._window,
            max_quarantined=max_quarantined,
            life=LifeTerms(drain_s=drain_timeout),
        )


def _as_sink(sink: Any) -> SinkConnector:
    if hasattr(sink, "write") and hasattr(sink, "open"):
        connector: SinkConnector = sink
        return connector
    if callable(sink):
        return CallableSink(sink)
    raise ConfigError(f"sink: {type(sink).__name__} is neither a connector nor callable")
