"""Traces for OpenTelemetry, by an observer. Needs the extra `opentelemetry`; the application brings the SDK and an exporter.

A run is a span, child of the one in which the observer was made. Each call is a span of its own that is linked to the run
and to that one, as the conventions for messaging have it: nobody could look at a trace of a million rows. They are told once
calls have ended, with the times at which they began and ended; of calls that took less than a millisecond, about.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace.actors.rows.identity import show

from ..errors import ConfigError, name_of
from ..quantities import CALLS, option
from . import events
from .observer import Observer

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

PER_S = 100


class OpenTelemetryObserver(Observer):
    """Traces the calls of one run. Spans have names of stages, numbers of rows and types of errors, and nothing of rows.

    Args:
        per_s: Calls in each second that are traced at most, from the first on; the SDK's own sampler sees those alone. The
            span of the run says how many were not.
        provider: Where spans go; by default the application's own `TracerProvider`.

    Raises:
        ConfigError: opentelemetry-api is not installed, or `per_s` is no number.

    Examples:
        >>> flow = Pipeline("shout").source(["Lund", "Oslo"]).map(str.upper)
        >>> report = flow.run(observers=[OpenTelemetryObserver(per_s=10)])
    """

    def __init__(self, per_s: int = PER_S, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            raise ConfigError(
                "OpenTelemetryObserver needs the extra 'opentelemetry': pip install 'headrace[opentelemetry]'"
            ) from None
        self._per_s = option("OpenTelemetryObserver", "per_s", per_s, CALLS)
        self._trace = trace
        self._tracer = trace.get_tracer("headrace", tracer_provider=provider)
        # Of whoever starts the run.
        self._submitter = trace.get_current_span()
        self._run: Span | None = None
        self._pipeline = ""
        self._offset_s = 0.0
        self._second = -1
        self._in_second = 0
        self._skipped = 0

    def on_run_began(self, event: events.RunBegan) -> None:
        # Events tell time by a clock that has no date.
        self._offset_s = time.time() - event.at_s
        self._pipeline = event.pipeline
        context = self._trace.set_span_in_context(self._submitter)
        attributes = {"messaging.system": "headrace", "headrace.pipeline": event.pipeline, "headrace.run": event.run}
        self._run = self._tracer.start_span(
            f"run {event.pipeline}", context, attributes=attributes, start_time=self._ns(event.at_s)
        )

    def on_calls_ended(self, event: events.CallsEnded) -> None:
        n = event.answered + len(event.faults)
        wanted = self._admitted(event.at_s, n)
        if not wanted:
            return
        links = [
            self._trace.Link(span.get_span_context())
            for span in (self._run, self._submitter)
            if span is not None and span.get_span_context().is_valid
        ]
        for at, (name, outcome, error, began_s, ended_s) in enumerate(self._calls(event, n)):
            if at >= wanted:
                return
            span = self._tracer.start_span(
                f"call {event.stage}",
                self._trace.set_span_in_context(self._trace.INVALID_SPAN),
                kind=self._trace.SpanKind.CONSUMER,
                attributes={
                    "messaging.system": "headrace",
                    "messaging.operation.name": "call",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": event.stage,
                    "messaging.message.id": name,
                    "headrace.pipeline": self._pipeline,
                    "headrace.outcome": outcome,
                },
                links=links,
                start_time=self._ns(began_s),
            )
            if error is not None:
                kind = name_of(error)
                span.set_attribute("error.type", kind)
                # Not the message, which may quote the row.
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, kind))
            span.end(self._ns(ended_s))

    def on_run_ended(self, event: events.RunEnded) -> None:
        if self._run is None:
            return
        counts = event.counts
        for key in ("rows", "delivered", "dropped", "quarantined", "failed", "interrupted"):
            self._run.set_attribute(f"headrace.{key}", getattr(counts, key))
        self._run.set_attribute("headrace.state", event.state.value)
        self._run.set_attribute("headrace.calls_not_traced", self._skipped)
        if event.errors:
            kind = name_of(event.errors[0])
            self._run.set_attribute("error.type", kind)
            self._run.set_status(self._trace.Status(self._trace.StatusCode.ERROR, kind))
        self._run.end(self._ns(event.at_s))
        self._run = None

    def on_events_missed(self, event: events.EventsMissed) -> None:
        if self._run is not None:
            self._run.add_event("events missed", {"headrace.events": event.events})

    # --- calls ---

    def _admitted(self, at_s: float, n: int) -> int:
        """How many of `n` calls that ended now are traced."""
        second = int(at_s)
        if second != self._second:
            self._second, self._in_second = second, 0
        wanted = min(n, int(self._per_s) - self._in_second)
        self._in_second += wanted
        self._skipped += n - wanted
        return wanted

    @staticmethod
    def _calls(event: events.CallsEnded, n: int) -> Iterator[tuple[str, str, BaseException | None, float, float]]:
        """The name of the row, what came of the call, its error, when it began and ended."""
        times_s = event.times_s
        mean_s = event.busy_s / n if n else 0.0
        for at in range(event.answered):
            # Without times of their own, they were made one after another.
            took_s, ended_s = (times_s[at], event.at_s) if times_s else (mean_s, event.at_s - (n - at - 1) * mean_s)
            yield show(event.rows[at]), "answered", None, ended_s - took_s, ended_s
        for at, fault in enumerate(event.faults, event.answered):
            took_s, ended_s = (times_s[at], event.at_s) if times_s else (mean_s, event.at_s - (n - at - 1) * mean_s)
            yield str(fault.row), fault.kind.value, fault.error, ended_s - took_s, ended_s

    def _ns(self, at_s: float) -> int:
        return int((at_s + self._offset_s) * 1e9)
