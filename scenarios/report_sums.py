"""Whether a report adds up: what one actor counts fits to what others do, whatever became of the run."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.actors.protocol import Status
from headrace.runtime.graph.plan import Plan
from headrace.runtime.run.report import RunReport

BAD = (Status.QUARANTINED.value, Status.FAILED.value)


def misfits(report: RunReport, plan: Plan) -> Iterator[str]:
    """What does not fit, as sentences. A report of a run that goes on is held to the same."""
    told = report.delivered + report.dropped + report.quarantined + report.failed + report.interrupted
    if told > report.rows:
        yield f"{told} outcomes of {report.rows} rows"
    yield from _nodes(report)
    workers = {stage.name: stage.workers for stage in plan.stages}
    for stage in report.stages:
        calls = stage.calls
        if max(calls.in_flight, calls.in_flight_max) > workers[calls.name]:
            yield f"{calls.name}: {calls.in_flight_max} calls in flight, and {workers[calls.name]} workers"
        if calls.latency.calls > calls.calls:
            yield f"{calls.name}: {calls.latency.calls} calls were measured, of {calls.calls}"
        if not calls.latency.p50_s <= calls.latency.p90_s <= calls.latency.p99_s <= calls.latency.max_s:
            yield f"{calls.name}: its percentiles are out of order: {calls.latency}"
        refused = sum(group.count for group in calls.faults if group.what == "refused")
        if refused > calls.refusals:
            yield f"{calls.name}: {refused} refusals by error, and {calls.refusals} in all"
    for wait in report.waits:
        if not 0.0 < wait.waited_s <= report.elapsed_s:
            yield f"{wait.waited_s} s waited for {wait.cause} of {wait.place}, in a run of {report.elapsed_s} s"


def _nodes(report: RunReport) -> Iterator[str]:
    for node in report.nodes:
        traffic = node.traffic
        by_error = sum(group.count for group in traffic.errors if group.what in BAD)
        bad = traffic.quarantined + traffic.failed
        # Some of those of an earlier life were dropped.
        if not by_error <= bad <= by_error + traffic.recalled:
            yield f"{node.name}: {bad} rows ended badly; by error it tells of {by_error}, and {traffic.recalled} of before"
    for error in report.errors:
        if not 0 <= error.count <= error.in_all:
            yield f"{error.place}: {error.count} times {error.error} in this life, and {error.in_all} in all"
