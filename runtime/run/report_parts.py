"""What a report is made of, each part with the lines in which it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from headrace.actors.governor import GovernorStatistics
from headrace.actors.protocol import Kind, Traffic
from headrace.actors.stages.latencies import LatencySummary
from headrace.actors.stages.terms import StageStatistics

from ..text import seconds, visible
from .layout import Line

ERRORS_SHOWN = 8
"""Kinds of errors in the text of a report; `to_dict()` has all."""
WAIT_S_MIN = 0.1
"""Shorter waits are not in the text, ..."""
WAIT_SHARE_MIN = 0.01
"""... nor those that are less than this share of the run."""
SLOW_S = 1.0
"""Where a call took longer, the slowest ones are told of by their rows."""
MESSAGE_CHARS_SHOWN = 200


class StageReport(msgspec.Struct, frozen=True):
    """One stage of a run.

    Args:
        calls: What its calls came to.
        limit: What its governor counted.
    """

    calls: StageStatistics
    limit: GovernorStatistics | None


class NodeReport(msgspec.Struct, frozen=True):
    """One node of the graph: what came, what became of it, and which way the rest went.

    Args:
        name: The node's name.
        kind: What kind of node it is.
        traffic: Its rows by what became of them. Those that are `here` are under way, or, when the run is over,
            interrupted.
        late: How many parts came to a join after its word on their row.
    """

    name: str
    kind: str
    traffic: Traffic
    late: int = 0


class ErrorReport(msgspec.Struct, frozen=True):
    """Errors of one type that had one consequence at one place, with the first of them as an example.

    Args:
        place: The node: a stage, a sink, or the source.
        what: What came of it. Of rows: "quarantined", "failed" or "dropped". Of calls whose row was called again or ended
            otherwise: "transient", "permanent", "refused", "exhausted" or "unknown".
        error: The name of the error's type.
        count: How many in this life of the run.
        in_all: How many in all its lives; `count` where there is one.
        row: The number of the first row that had it, from 0.
        name: That row with its branches.
        message: What that error says, or the provider's own words. It may quote the row.
        attempts: How many calls were made for that row.
        line: Where the row stands in the input, such as "in.csv:43", once the run has ended; None where that is not known.
        record: Where the row was written to, such as "record 1 of bad.jsonl"; None where it was not, or that is not known.
    """

    place: str
    what: str
    error: str
    count: int
    in_all: int
    row: int
    name: str
    message: str
    attempts: int = 1
    line: str | None = None
    record: str | None = None

    @property
    def of_rows(self) -> bool:
        """Rows ended by it; else calls did, and their rows went on."""
        return self.what in ("quarantined", "failed", "dropped")


Cause = Literal["permit", "cooldown", "outage", "account", "order", "sink"]
_CAUSES: dict[Cause, str] = {
    "permit": "for their turn at the limit of",
    "cooldown": "for the cooldown after refusals of",
    "outage": "for the outage to end of",
    "account": "for the exhausted account of",
    "order": "for rows before them, in front of",
    "sink": "for rows to be written by",
}


class WaitReport(msgspec.Struct, frozen=True):
    """How long rows waited for one thing. Waits for several things may overlap, so they do not add up to the run's time.

    Args:
        cause: "permit" (the limit lets calls go at its rate), "cooldown" (it lets none go after a refusal), "outage",
            "account" (exhausted), "order" (rows before them are not done), "sink" (others are being written).
        place: The stage, or the sink.
        waited_s: Seconds in which at least one row did.
    """

    cause: Cause
    place: str
    waited_s: float


def stage_lines(stage: StageReport, elapsed_s: float) -> Iterator[Line]:
    """What the calls of a stage came to."""
    calls, limit = stage.calls, stage.limit
    per_row = calls.calls / calls.rows if calls.rows else 0.0
    rate = calls.answered / elapsed_s if elapsed_s else 0.0
    share = calls.refusals / calls.calls if calls.calls else 0.0
    yield Line(1, f"stage {calls.name}")
    yield Line(2, "calls", f"{calls.calls:,}", f"{per_row:.2f} a row; {rate:,.1f} answers/s")
    yield Line(2, "in flight", f"{calls.in_flight_max:,}", "at most")
    if calls.latency.calls:
        yield from _latency_lines(calls.latency)
    yield Line(2, "retries", f"{calls.retries:,}", f"unknown fates {calls.unknown:,}, late answers {calls.late:,}")
    yield Line(2, "refusals", f"{calls.refusals:,}", f"{share:.2%} of the calls")
    if calls.turned_away:
        found = f"the account was exhausted {limit.shut:,} times" if limit is not None else "the account was exhausted"
        yield Line(2, "turned away", f"{calls.turned_away:,}", found)
    if limit is not None:
        learned = f"; learned {limit.learned_per_s:,.1f}/s" if limit.learned_per_s else ""
        remark = f"{limit.cooled_s:.2f} s closed; outages {limit.outages}{learned}"
        yield Line(2, "cooldowns", f"{limit.cooldowns:,}", remark)


def _latency_lines(latency: LatencySummary) -> Iterator[Line]:
    most = f"90 % {seconds(latency.p90_s)}, 99 % {seconds(latency.p99_s)}, longest {seconds(latency.max_s)}"
    yield Line(2, "half within", seconds(latency.p50_s), most)
    if latency.max_s >= SLOW_S:
        slowest = "; ".join(f"row {call.name} {seconds(call.took_s)}" for call in latency.slowest)
        yield Line(2, f"slowest: {slowest}")


def error_lines(errors: Sequence[ErrorReport]) -> Iterator[Line]:
    """Why rows were not delivered, and why calls were made again."""
    for title, found in (
        ("rows that ended by errors", [error for error in errors if error.of_rows]),
        # Of a permanent one, its row has ended, and is told of above.
        ("calls that failed", [error for error in errors if not error.of_rows and error.what != Kind.PERMANENT]),
    ):
        if found:
            yield Line(1, title)
        for error in found[:ERRORS_SHOWN]:
            yield from _lines_of_error(error)
        if len(found) > ERRORS_SHOWN:
            rest = found[ERRORS_SHOWN:]
            yield Line(2, f"and {sum(error.in_all for error in rest):,} by {len(rest)} other kinds of errors")


def _lines_of_error(error: ErrorReport) -> Iterator[Line]:
    times = f"{error.in_all:,}"
    if error.in_all != error.count:
        times += f" ({error.count:,} in this life)"
    yield Line(2, f"{times} × {error.error} in {error.place}: {error.what}")
    at = f"row {error.name}"
    if error.line is not None:
        at += f", {error.line}"
    if error.attempts > 1 and error.of_rows:
        at += f", after {error.attempts} calls"
    if error.record is not None:
        at += f", {error.record}"
    message = error.message
    if len(message) > MESSAGE_CHARS_SHOWN:
        message = f"{message[:MESSAGE_CHARS_SHOWN]}..."
    yield Line(3, f"first {at}{': ' if message else ''}{message}")


def wait_lines(waits: Sequence[WaitReport], elapsed_s: float) -> Iterator[Line]:
    """What rows waited for, in a run that took so long."""
    least_s = max(WAIT_S_MIN, WAIT_SHARE_MIN * elapsed_s)
    found = sorted((wait for wait in waits if wait.waited_s >= least_s), key=lambda wait: -wait.waited_s)
    if found:
        yield Line(1, "waits (time in which at least one row waited)")
    for wait in found:
        yield Line(2, f"{seconds(wait.waited_s)} {_CAUSES[wait.cause]} {wait.place}")


def node_lines(nodes: Sequence[NodeReport]) -> Iterator[Line]:
    """What came to each node, and what became of it."""
    yield Line(1, "by node")
    width = max(len(visible(node.name)) for node in nodes)
    for node in nodes:
        traffic = node.traffic
        told = [
            f"{n:,} to {way or 'go on'}" if len(traffic.ways) > 1 else f"{n:,} went on"
            for way, n in traffic.ways.items()
        ]
        for what in ("delivered", "dropped", "quarantined", "failed", "interrupted", "merged", "split", "batched"):
            n = getattr(traffic, what)
            told += [f"{n:,} {what}"] if n else []
        told += [f"{traffic.here:,} here"] if traffic.here else []
        told += [f"{node.late:,} came late"] if node.late else []
        yield Line(2, f"{visible(node.name):<{width}}  {traffic.came:>9,} came: {', '.join(told)}")
