"""Traces: a span a call, linked to its run and to whoever submitted it, and no more of them than were asked for."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headrace.runtime import ConfigError, OpenTelemetryObserver, Pipeline, Retry, TransientError


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith("call ")]

    @property
    def run(self) -> ReadableSpan:
        (span,) = (span for span in self.exporter.get_finished_spans() if span.name.startswith("run "))
        return span


def test_each_attempt_is_a_span_that_is_linked_to_its_run_and_to_the_submitter() -> None:
    traced, failed = Traced(), list[int]()

    def ask(n: int) -> int:
        if n == 3 and not failed:
            failed.append(n)
            raise TransientError("reset, row 3 has a secret")
        return n

    with traced.provider.get_tracer("app").start_as_current_span("request") as request:
        flow = Pipeline("job").source(range(5)).map(ask, workers=1, retry=Retry(2, base=0.001))
        flow.run(observers=[OpenTelemetryObserver(provider=traced.provider)])
    submitter, run = request.get_span_context(), traced.run
    assert run.parent is not None
    assert run.parent.span_id == submitter.span_id
    assert run.context is not None
    assert run.attributes is not None
    assert (run.attributes["headrace.state"], run.attributes["headrace.delivered"]) == ("completed", 5)
    assert sorted(str((span.attributes or {})["messaging.message.id"]) for span in traced.calls) == [
        "0",
        "1",
        "2",
        "3",
        "3",
        "4",
    ]
    for span in traced.calls:
        assert span.kind is SpanKind.CONSUMER
        assert span.parent is None
        assert {link.context.span_id for link in span.links} == {submitter.span_id, run.context.span_id}
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    (bad,) = (span for span in traced.calls if span.status.status_code is StatusCode.ERROR)
    assert (bad.attributes or {})["error.type"] == "TransientError"
    assert (bad.attributes or {})["headrace.outcome"] == "transient"
    assert "secret" not in bad.to_json()


def test_no_more_calls_are_traced_than_were_asked_for_and_the_run_says_how_many_were_not() -> None:
    traced = Traced()
    report = (
        Pipeline("job")
        .source(range(20_000))
        .map(abs)
        .run(observers=[OpenTelemetryObserver(per_s=10, provider=traced.provider)])
    )
    assert 10 <= len(traced.calls) <= 10 * (2 + int(report.elapsed_s))
    attributes = traced.run.attributes or {}
    # Events that were missed were of calls, too.
    assert traced.run.events or attributes["headrace.calls_not_traced"] == 20_000 - len(traced.calls)


def test_without_a_submitter_there_is_no_link_to_one() -> None:
    traced = Traced()
    Pipeline("job").source([1]).map(abs).run(observers=[OpenTelemetryObserver(provider=traced.provider)])
    assert traced.run.parent is None
    assert [len(span.links) for span in traced.calls] == [1]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="per_s"):
        OpenTelemetryObserver(per_s=0)
