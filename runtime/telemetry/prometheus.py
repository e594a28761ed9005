"""Metrics for Prometheus, by an observer. Needs the extra `prometheus`.

What is counted belongs to one collector a registry, which all observers of that registry share, under its lock. Labels are
names of pipelines and stages, outcomes and types of errors: never a row, a key or a message; and they are bounded.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import ConfigError, name_of
from ..quantities import PORT, optional
from . import events
from .observer import Observer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

LABELS_MAX = 200
"""Different values of one label; later ones are counted as `other`."""
OTHER = "other"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "headrace_runs": ("Runs that have ended, by how.", ("pipeline", "state")),
    "headrace_rows_read": ("Rows that sources have given.", ("pipeline",)),
    "headrace_rows_settled": (
        "Rows, or pieces of rows, that have come to their end, by outcome.",
        ("pipeline", "outcome"),
    ),
    "headrace_row_errors": ("Rows that errors ended.", ("pipeline", "stage", "outcome", "error")),
    "headrace_calls": ("Calls that have ended: answered, or why not.", ("pipeline", "stage", "result")),
    "headrace_cooldowns": ("How often a limit let no call go, by why.", ("pipeline", "stage", "reason")),
    "headrace_commits": ("Commits of journals.", ("pipeline",)),
    "headrace_events_missed": ("Events that were not told, since observers were too slow.", ("pipeline",)),
}
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "headrace_runs_active": ("Runs that go on.", ("pipeline",)),
    "headrace_limits_closed": (
        "Limits that let no call go now; of a limit with keys, how many keys.",
        ("pipeline", "stage"),
    ),
}
DURATION = "headrace_call_duration_seconds"


class _Collector:
    """Counts, and tells the registry when it is asked."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in (*COUNTERS, *GAUGES)}
        self._calls: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        self._known: dict[tuple[str, int], set[str]] = {}

    def add(self, name: str, n: float, *labels: str) -> None:
        """Count `n` more."""
        with self._mutex:
            values, key = self._values[name], self._bounded(name, labels)
            values[key] = values.get(key, 0.0) + n

    def calls(self, pipeline: str, stage: str, times_s: Iterable[tuple[float, int]]) -> None:
        """Calls that took so long, so many of each."""
        with self._mutex:
            first, second = self._bounded(DURATION, (pipeline, stage))
            counts, total = self._calls.setdefault((first, second), ([0] * (len(BUCKETS_S) + 1), [0.0]))
            for took_s, n in times_s:
                counts[bisect_left(BUCKETS_S, took_s)] += n
                total[0] += took_s * n

    def _bounded(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._label(name, at, label) for at, label in enumerate(labels))

    def _label(self, name: str, at: int, label: str) -> str:
        known = self._known.setdefault((name, at), set())
        if len(known) < LABELS_MAX:
            known.add(label)
        return label if label in known else OTHER

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        with self._mutex:
            values = {name: dict(found) for name, found in self._values.items()}
            calls = {key: (list(counts), total[0]) for key, (counts, total) in self._calls.items()}
        for kind, told in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
            for name, (said, labels) in told.items():
                family: Any = kind(name, said, labels=labels)
                for key, value in values[name].items():
                    family.add_metric(key, value)
                yield family
        histogram = HistogramMetricFamily(DURATION, "How long calls took, in seconds.", labels=("pipeline", "stage"))
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        for key, (counts, total) in calls.items():
            histogram.add_metric(key, list(zip(bounds, accumulate(counts), strict=True)), total)
        yield histogram


_collectors: WeakKeyDictionary[Any, _Collector] = WeakKeyDictionary()
_served: dict[tuple[str, int], object] = {}
_mutex = threading.Lock()


class PrometheusObserver(Observer):
    """Counts what happens in a run for Prometheus. It is for one run; all those of one registry count together.

    Args:
        registry: Where the application's other metrics are; by default that of prometheus-client.
        port: Serve them at this port, at `/metrics`; None where the application does so itself.
        address: At which address of this machine `port` is; by default only this machine itself may ask.

    Raises:
        ConfigError: prometheus-client is not installed, or the port is none or cannot be had.

    Examples:
        >>> from prometheus_client import CollectorRegistry, generate_latest
        >>> registry = CollectorRegistry()
        >>> flow = Pipeline("shout").source(["Lund", "Oslo"]).map(str.upper)
        >>> report = flow.run(observers=[PrometheusObserver(registry)])
        >>> print(registry.get_sample_value("headrace_rows_read_total", {"pipeline": "shout"}))
        2.0
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, port: int | None = None, address: str = "127.0.0.1"
    ) -> None:
        try:
            from prometheus_client import REGISTRY
        except ImportError:
            mend = "pip install 'headrace[prometheus]'"
            raise ConfigError(f"PrometheusObserver needs the extra 'prometheus': {mend}") from None
        port = optional("PrometheusObserver", "port", port, PORT)
        at = registry if registry is not None else REGISTRY
        with _mutex:
            found = _collectors.get(at)
            if found is None:
                found = _collectors[at] = _Collector()
                at.register(found)
            if port is not None and (address, port) not in _served:
                _served[address, port] = _serve(at, port, address)
        self._counts = found
        self._pipeline = OTHER

    def on_run_began(self, event: events.RunBegan) -> None:
        self._pipeline = event.pipeline
        self._counts.add("headrace_runs_active", 1, self._pipeline)

    def on_rows_read(self, event: events.RowsRead) -> None:
        self._counts.add("headrace_rows_read", event.rows, self._pipeline)

    def on_calls_ended(self, event: events.CallsEnded) -> None:
        add, pipeline, stage = self._counts.add, self._pipeline, event.stage
        if event.answered:
            add("headrace_calls", event.answered, pipeline, stage, "answered")
        for fault in event.faults:
            add("headrace_calls", 1, pipeline, stage, fault.kind.value)
        n = event.answered + len(event.faults)
        times_s = [(took_s, 1) for took_s in event.times_s] or [(event.busy_s / n, n)]
        self._counts.calls(pipeline, stage, times_s)

    def on_row_ended(self, event: events.RowEnded) -> None:
        error = name_of(event.error) if event.error is not None else "none"
        self._counts.add("headrace_row_errors", 1, self._pipeline, event.stage, event.status.value, error)

    def on_rows_settled(self, event: events.RowsSettled) -> None:
        self._counts.add("headrace_rows_settled", event.rows, self._pipeline, event.status.value)

    def on_cooldown_began(self, event: events.CooldownBegan) -> None:
        self._counts.add("headrace_cooldowns", 1, self._pipeline, event.stage, event.closure.value)
        self._counts.add("headrace_limits_closed", 1, self._pipeline, event.stage)

    def on_cooldown_ended(self, event: events.CooldownEnded) -> None:
        self._counts.add("headrace_limits_closed", -1, self._pipeline, event.stage)

    def on_committed(self, event: events.Committed) -> None:
        self._counts.add("headrace_commits", 1, self._pipeline)

    def on_events_missed(self, event: events.EventsMissed) -> None:
        self._counts.add("headrace_events_missed", event.events, self._pipeline)

    def on_run_ended(self, event: events.RunEnded) -> None:
        self._counts.add("headrace_runs_active", -1, self._pipeline)
        self._counts.add("headrace_runs", 1, self._pipeline, event.state.value)


def _serve(registry: CollectorRegistry, port: int, address: str) -> object:
    from prometheus_client import start_http_server

    try:
        return start_http_server(port, address, registry)
    except OSError as error:
        raise ConfigError(
            f"PrometheusObserver: port {port} of {address} cannot be had: {error.strerror or error}; name another one"
        ) from error
