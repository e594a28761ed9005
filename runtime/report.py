"""What a run came to."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.actors.governor import GovernorStatistics
from headrace.actors.protocol import Counts, State, Status
from headrace.actors.stage_terms import StageStatistics


class Outcome(msgspec.Struct, frozen=True):
    """What became of one row. `value` is the result where it was delivered, else the row as it was where it ended.
    `branch`: the path of forks and outputs under the row, as indices; empty for most."""

    seq: int
    status: Status
    value: Any
    error: BaseException | None = None
    attempts: int = 1
    branch: tuple[int, ...] = ()


class StageReport(msgspec.Struct, frozen=True):
    """One stage: what its calls came to, and what its governor counted."""

    calls: StageStatistics
    limit: GovernorStatistics | None


class RunReport(msgspec.Struct, frozen=True):
    """What a run came to, or, from `Run.stats()`, has come to so far. Rows by outcome add up to `rows`."""

    name: str
    state: State
    rows: int
    delivered: int
    dropped: int
    quarantined: int
    failed: int
    interrupted: int
    calls: int
    refusals: int
    cooldowns: int
    elapsed_s: float
    stages: tuple[StageReport, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.state.value} in {self.elapsed_s:.2f} s",
            f"  rows        {self.rows:>9,}",
        ]
        for status in ("delivered", "dropped", "quarantined", "failed", "interrupted"):
            n = getattr(self, status)
            if n or status == "delivered":
                lines.append(f"    {status:<12}{n:>7,}")
        for stage in self.stages:
            lines.extend(_stage_lines(stage, self.elapsed_s))
        lines.extend(f"  note: {note}" for note in self.notes)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def report_of(
    name: str,
    state: State,
    counts: Counts,
    by_stage: list[tuple[Any, Any]],
    elapsed_s: float,
    notes: tuple[str, ...] = (),
) -> RunReport:
    """The report of these counts, with each stage's statistics and its governor's; None where one did not answer."""
    stages = tuple(
        StageReport(calls, limit if isinstance(limit, GovernorStatistics) else None)
        for calls, limit in by_stage
        if isinstance(calls, StageStatistics)
    )
    # Stages that share a limit have the same statistics of it.
    limits = list({id(s.limit): s.limit for s in stages if s.limit is not None}.values())
    return RunReport(
        name=name,
        state=state,
        rows=counts.rows,
        delivered=counts.delivered,
        dropped=counts.dropped,
        quarantined=counts.quarantined,
        failed=counts.failed,
        interrupted=counts.interrupted,
        calls=sum(s.calls.calls for s in stages),
        refusals=sum(s.calls.refusals for s in stages),
        cooldowns=sum(limit.cooldowns for limit in limits),
        elapsed_s=elapsed_s,
        stages=stages,
        notes=notes,
    )


def _stage_lines(stage: StageReport, elapsed_s: float) -> list[str]:
    calls, limit = stage.calls, stage.limit
    per_row = calls.calls / calls.rows if calls.rows else 0.0
    rate = calls.answered / elapsed_s if elapsed_s else 0.0
    lines = [
        f"  stage {calls.name}",
        f"    calls       {calls.calls:>9,}   ({per_row:.2f} a row; {rate:,.1f} answers/s)",
        f"    in flight   {calls.in_flight_max:>9,}   (at most)",
        f"    retries     {calls.retries:>9,}   (unknown fates {calls.unknown:,}, late answers {calls.late:,})",
        f"    refusals    {calls.refusals:>9,}   ({calls.refusals / calls.calls if calls.calls else 0.0:.2%} of the calls)",
    ]
    if limit is not None:
        learned = f"; learned {limit.learned_per_s:,.1f}/s" if limit.learned_per_s else ""
        lines.append(
            f"    cooldowns   {limit.cooldowns:>9,}   ({limit.cooled_s:.2f} s closed; outages {limit.outages}{learned})"
        )
    return lines
