"""What a play is judged by: the figures that it came to, the ideal that its file implies, and what was expected."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from headrace.runtime.run.report import RunReport

from .latency import mean_s
from .quotas import QuotaTable
from .script import ExpectTable, Script, limit_of
from .units import Bounds


class Figures(msgspec.Struct):
    """What a play came to; None where there is no such thing. See `ExpectTable`."""

    state: str | None = None
    rows: float = 0
    delivered: float = 0
    dropped: float = 0
    quarantined: float = 0
    failed: float = 0
    interrupted: float = 0
    calls: float = 0
    refusals: float = 0
    refused: float = 0
    cooldowns: float = 0
    outages: float = 0
    retries: float = 0
    elapsed: float = 0
    of_ideal: float | None = None
    in_flight: float = 0
    inbox: float | None = None
    abort_s: float | None = None
    calls_per_row: float = 0
    messages_per_row: float | None = None
    answered: float | None = None
    late: float = 0
    late_parts: float = 0
    written: dict[str, float] = {}
    lost: float = 0
    error: str | None = None
    notes: tuple[str, ...] = ()


def figures_of(reports: list[RunReport], script: Script) -> Figures:
    """The sums of the reports; states that differ are joined."""
    figures = Figures(state="+".join(sorted({r.state.value for r in reports})) or None)
    for report in reports:
        for name in ("rows", "delivered", "dropped", "quarantined", "failed", "interrupted", "calls", "refusals"):
            setattr(figures, name, getattr(figures, name) + getattr(report, name))
        for stage in report.stages:
            figures.retries += stage.calls.retries
            figures.late += stage.calls.late
            figures.lost += stage.calls.workers_lost
        for node in report.nodes:
            figures.late_parts += node.late
            if node.kind == "sink":
                figures.written[node.name] = figures.written.get(node.name, 0) + node.traffic.delivered
        figures.elapsed = max(figures.elapsed, report.elapsed_s)
        figures.notes += report.notes
    limits = {id(s.limit): s.limit for report in reports for s in report.stages if s.limit is not None}
    figures.cooldowns = sum(limit.cooldowns for limit in limits.values())
    figures.outages = sum(limit.outages for limit in limits.values())
    figures.refused = figures.refusals / figures.calls if figures.calls else 0.0
    figures.calls_per_row = figures.calls / figures.rows if figures.rows else 0.0
    ideal = ideal_s(script)
    figures.of_ideal = figures.elapsed / ideal if ideal else None
    return figures


def misses(expect: ExpectTable, figures: Figures) -> list[str]:
    """The expectations that were not met, as sentences."""
    missed: list[str] = []
    for field in msgspec.structs.fields(ExpectTable):
        wanted = getattr(expect, field.name)
        if wanted is None:
            continue
        if field.name == "note":
            if not any(wanted in note for note in figures.notes):
                missed.append(f"no note says {wanted!r}; there are {list(figures.notes)}")
        elif field.name == "written":
            for name, bounds in wanted.items():
                missed.extend(_miss(f"written.{name}", bounds, figures.written.get(name)))
        elif field.name in ("state", "error"):
            allowed = wanted if isinstance(wanted, list) else [wanted]
            if getattr(figures, field.name) not in allowed:
                missed.append(f"{field.name} is {getattr(figures, field.name)!r}, expected {' or '.join(allowed)}")
        else:
            missed.extend(_miss(field.name, wanted, getattr(figures, field.name)))
    return missed


def _miss(name: str, wanted: Bounds, value: Any) -> list[str]:
    if value is None:
        return [f"{name} is not known here"]
    low, high = wanted if isinstance(wanted, list) else (wanted, wanted)
    if low - 1e-9 <= value <= high + 1e-9:
        return []
    expected = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return [f"{name} is {value:.6g}, expected {expected}"]


def merged(expect: ExpectTable, other: ExpectTable | None) -> ExpectTable:
    """`expect`, with what `other` says in the place of the same."""
    if other is None:
        return expect
    said = {f.name: v for f in msgspec.structs.fields(other) if (v := getattr(other, f.name)) is not None}
    return msgspec.structs.replace(expect, **said)


# --- the ideal ------------------------------------------------------------------------------------------------------------


def ideal_s(script: Script) -> float | None:
    """Seconds that a scenario would take if nothing were lost on the way: the slowest of source, sink, the workers of each
    stage and the quotas, and the outages. None where there is no such thing (no end, or an executor)."""
    rows = script.source.rows * script.pipeline.runs
    if script.executor is not None or rows < 0:
        return None
    services = {service.name: service for service in script.service}
    pauses = sum(pause for _, pause in script.source.pauses)
    spans = [
        script.source.every * script.source.rows + pauses,
        *(sink.row * script.source.rows for sink in script.sink),
    ]
    first_s = 0.0
    out_s = 0.0
    for stage in script.stage:
        service = services.get(stage.service)
        if service is None:
            continue
        latency_s = mean_s(service.latency) + mean_s(service.travel)
        first_s += latency_s
        spans.append(math.ceil(rows / stage.workers / script.pipeline.runs) * latency_s)
        tokens = sum(service.tokens or [0.0]) / 2
        for quota in service.quota:
            spans.append(_quota_s(quota, rows if quota.unit == "calls" else rows * tokens, latency_s))
        for rate in limit_of(stage.limit).terms.rates:
            if rate.unit == "calls":
                spans.append(rows / rate.per_s)
        out_s += sum(outage.lasts for outage in service.outage)
        out_s += sum(shut.lasts or 0.0 for shut in service.exhausted)
    return max(max(spans) + out_s, first_s)


def _quota_s(quota: QuotaTable, amount: float, latency_s: float) -> float:
    """Seconds until so many calls, or their tokens, have been let in."""
    match quota.kind:
        case "concurrency":
            return amount * latency_s / (quota.calls or 1)
        case "fixed" | "sliding":
            full = max(0, math.ceil(amount / (quota.calls or 1)) - 1)
            gone_s = quota.offset % quota.every if quota.kind == "fixed" else 0.0
            return max(0.0, full * quota.every - gone_s)
        case _:
            return _bucket_s(quota, amount)


def _bucket_s(quota: QuotaTable, amount: float) -> float:
    left = amount - quota.burst
    now, per_s = 0.0, quota.per_s or 1.0
    for change in sorted(quota.change, key=lambda change: change.at):
        span = change.at - now
        if left <= span * per_s:
            break
        left -= span * per_s
        now, per_s = change.at, change.per_s or per_s
    return now + max(0.0, left) / per_s
