"""A real Prometheus scrapes a run and answers what the dashboard asks; promtool has nothing against the names."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import headrace.runtime.telemetry
from headrace.runtime import Limit, Pipeline, PrometheusObserver, RateLimited

from .processes import ended, free_port

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed"
)

HANGS_S = 60.0
DASHBOARD = Path(headrace.runtime.telemetry.__file__).parent / "grafana_dashboard.json"


def a_run(registry: CollectorRegistry, port: int | None = None, rows: int = 500) -> None:
    refused: list[int] = []

    def ask(n: int) -> int:
        time.sleep(0.002)
        if n == 5 and not refused:
            refused.append(n)
            raise RateLimited("slow down", retry_after=0.05)
        if n % 100 == 3:
            raise ValueError("no such city")
        return n

    flow = Pipeline("job").source(range(rows)).map(ask, workers=4, limit=Limit())
    flow.run(observers=[PrometheusObserver(registry, port=port)])


@contextmanager
def prometheus(folder: Path, scraped: int) -> Iterator[str]:
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms}\n"
        "scrape_configs:\n"
        f"  - {{job_name: headrace, static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]}}\n"
    )
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
        yield f"http://127.0.0.1:{port}"


def asked(url: str, query: str) -> list[dict[str, Any]]:
    path = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(path, timeout=10) as answer:
        found = json.load(answer)
    assert found["status"] == "success"
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


def asked_until_there(url: str, query: str) -> list[dict[str, Any]]:
    until = time.monotonic() + HANGS_S
    while time.monotonic() < until:
        try:
            found = asked(url, query)
        except OSError:
            found = []
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{query}: nothing within {HANGS_S} s")


def test_a_prometheus_scrapes_a_run_and_answers_what_the_dashboard_asks(tmp_path: Path) -> None:
    registry, scraped = CollectorRegistry(), free_port()
    PrometheusObserver(registry, port=scraped)
    with prometheus(tmp_path, scraped) as url:
        asked_until_there(url, "up == 1")
        a_run(registry, rows=2000)
        (read,) = asked_until_there(url, 'headrace_rows_read_total{pipeline="job"} == 2000')
        assert read["metric"]["job"] == "headrace"
        asked_until_there(url, 'headrace_runs_total{state="completed"} == 1')
        (calls,) = asked(url, "sum(headrace_calls_total)")
        (measured,) = asked(url, "sum(headrace_call_duration_seconds_count)")
        assert calls["value"][1] == measured["value"][1]
        board = json.loads(DASHBOARD.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "1m").replace("$pipeline", ".*")
                # It understands each; those of what has happened, it answers.
                (asked if "events_missed" in query or "or" in query.split() else asked_until_there)(url, query)


def test_promtool_has_nothing_against_the_names() -> None:
    registry = CollectorRegistry()
    a_run(registry)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, timeout=HANGS_S
    )
    assert checked.returncode == 0, checked.stderr.decode() + checked.stdout.decode()
