"""Metrics for Prometheus: what they count, what stands in their labels, and whose registry they are in."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import headrace.runtime.telemetry
from headrace.runtime import ConfigError, Limit, Pipeline, PrometheusObserver, RateLimited, Retry
from headrace.runtime.telemetry.prometheus import COUNTERS, DURATION, GAUGES, LABELS_MAX, OTHER

HOSTILE = '\x1b[2J"} forged{a="\n<script>'


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_what_happens_is_counted_under_names_with_units() -> None:
    registry, refused = CollectorRegistry(), list[int]()

    def ask(n: int) -> int:
        if n == 5 and not refused:
            refused.append(n)
            raise RateLimited("slow down", retry_after=0.01)
        if n % 10 == 3:
            raise ValueError("no such city")
        return n

    flow = Pipeline("job").source(range(50)).map(ask, workers=4, limit=Limit(), retry=Retry(2, base=0.001))
    report = flow.run(observers=[PrometheusObserver(registry)])
    assert sample(registry, "headrace_rows_read_total", pipeline="job") == 50
    settled = {
        s: sample(registry, "headrace_rows_settled_total", pipeline="job", outcome=s)
        for s in ("delivered", "quarantined")
    }
    assert settled == {"delivered": 45, "quarantined": 5}
    calls = {
        r: sample(registry, "headrace_calls_total", pipeline="job", stage="ask", result=r)
        for r in ("answered", "permanent", "refused")
    }
    assert calls == {"answered": 45, "permanent": 5, "refused": report.refusals}
    assert sample(registry, f"{DURATION}_count", pipeline="job", stage="ask") == report.calls
    assert sample(registry, f"{DURATION}_bucket", pipeline="job", stage="ask", le="+Inf") == report.calls
    assert (
        sample(
            registry,
            "headrace_row_errors_total",
            pipeline="job",
            stage="ask",
            outcome="quarantined",
            error="ValueError",
        )
        == 5
    )
    assert (
        sample(registry, "headrace_cooldowns_total", pipeline="job", stage="ask", reason="refused") == report.cooldowns
    )
    assert sample(registry, "headrace_limits_closed", pipeline="job", stage="ask") == 0
    assert sample(registry, "headrace_runs_active", pipeline="job") == 0
    assert sample(registry, "headrace_runs_total", pipeline="job", state="completed") == 1


def test_runs_of_one_registry_count_together_and_those_of_another_apart() -> None:
    one, two = CollectorRegistry(), CollectorRegistry()
    for registry in (one, one, two):
        Pipeline("job").source(range(10)).map(abs).run(observers=[PrometheusObserver(registry)])
    assert sample(one, "headrace_rows_read_total", pipeline="job") == 20
    assert sample(two, "headrace_rows_read_total", pipeline="job") == 10


def test_labels_are_bounded_and_nothing_of_a_row_or_a_message_is_in_them() -> None:
    registry = CollectorRegistry()

    def fail(n: int) -> int:
        raise type(f"Error{n}{HOSTILE}", (ValueError,), {})(f"secret {n} {HOSTILE}")

    Pipeline("job").source(range(2 * LABELS_MAX)).map(fail, name="fail").run(observers=[PrometheusObserver(registry)])
    text = generate_latest(registry).decode()
    assert "secret" not in text
    errors = [s for f in text_string_to_metric_families(text) if f.name == "headrace_row_errors" for s in f.samples]
    counted = {s.labels["error"]: s.value for s in errors if s.name.endswith("_total")}
    assert len(counted) == LABELS_MAX + 1
    assert counted[OTHER] == LABELS_MAX
    assert not any(line.startswith((" forged", "forged", "<script")) for line in text.splitlines())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


SERVED = """
import sys, urllib.request
from prometheus_client import CollectorRegistry
from headrace import Pipeline, PrometheusObserver
registry, port = CollectorRegistry(), int(sys.argv[1])
for _ in range(2):
    Pipeline("job").source(range(10)).map(abs).run(observers=[PrometheusObserver(registry, port=port)])
print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
"""


def test_they_can_be_served_at_a_port_of_their_own() -> None:
    # In a process of its own, since the server serves as long as the process lives.
    command = [sys.executable, "-c", SERVED, str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    assert 'headrace_rows_read_total{pipeline="job"} 20.0' in done.stdout


def test_a_port_that_is_taken_is_told_before_anything_runs() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"port \d+ of 127\.0\.0\.1 cannot be had: .*; name another one"):
            PrometheusObserver(CollectorRegistry(), port=taken.getsockname()[1])


def test_scrapes_while_rows_come_never_fail() -> None:
    registry, over = CollectorRegistry(), threading.Event()
    failed: list[BaseException] = []

    def scrape() -> None:
        while not over.is_set():
            try:
                generate_latest(registry)
            except BaseException as error:
                failed.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        Pipeline("job").source(range(100_000)).map(abs, workers=8).run(observers=[PrometheusObserver(registry)])
    finally:
        over.set()
        thread.join()
    assert failed == []


def expressions(panel: dict[str, Any]) -> Iterator[str]:
    yield from (target["expr"] for target in panel.get("targets", ()))
    for inner in panel.get("panels", ()):
        yield from expressions(inner)


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    path = Path(headrace.runtime.telemetry.__file__).parent / "grafana_dashboard.json"
    board = json.loads(path.read_text())
    asked = {
        name for panel in board["panels"] for text in expressions(panel) for name in re.findall(r"headrace_\w+", text)
    }
    known = (
        {f"{name}_total" for name in COUNTERS}
        | set(GAUGES)
        | {f"{DURATION}_{end}" for end in ("bucket", "sum", "count")}
    )
    assert asked
    assert asked <= known
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
