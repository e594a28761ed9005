"""Traces go out to a collector: its stand-in takes the requests of the SDK's own OTLP exporter over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any

import pytest

from headrace.runtime import OpenTelemetryObserver, Pipeline

exporters = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    taken: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_of_calls_reach_a_collector(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    messages = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    url, taken = collector
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporters.OTLPSpanExporter(endpoint=url)))
    Pipeline("job").source(range(20)).map(abs).run(observers=[OpenTelemetryObserver(provider=provider)])
    provider.shutdown()
    names: list[str] = []
    for path, body in taken:
        assert path == "/v1/traces"
        request = messages.ExportTraceServiceRequest.FromString(body)
        names += [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert sorted(names) == ["call abs"] * 20 + ["run job"]
