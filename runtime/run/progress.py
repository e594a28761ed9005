"""How a run is doing, for people: a live line on a terminal, calm lines elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import IO

from ..quantities import SECONDS, optional
from ..text import visible
from .report import RunReport
from .run import Run

LIVE_S = 0.2
"""Seconds between two looks on a terminal (L28: by time, not by rows)."""
CALM_S = 5.0
"""Seconds between two lines elsewhere."""


def watch(run: Run, total: int | None = None, stream: IO[str] | None = None, every: float | None = None) -> RunReport:
    """Show progress on `stream` (standard error) until the run has ended; its report. Raises as `Run.wait` does.

    Where nothing can be written to `stream`, it only waits. `total`: rows, where known. `every`: seconds between two
    looks. Needs the extra `cli` for the live display.
    """
    pause_s = optional("watch", "every", every, SECONDS)
    out = stream or sys.stderr
    # Nobody may be reading: a stream that is closed, full, or a terminal that is gone. Telling never ends a run (L91).
    with suppress(OSError, ValueError):
        if out is None:
            pass
        elif out.isatty():
            _live(run, total, out, pause_s or LIVE_S)
        else:
            _calm(run, total, out, pause_s or CALM_S)
    return run.wait()


def _ended(run: Run, timeout: float) -> bool:
    try:
        run.wait_ended(timeout)
    except TimeoutError:
        return False
    return True


def _live(run: Run, total: int | None, stream: IO[str], every: float) -> None:
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            RenderableColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text
    except ImportError:
        _calm(run, total, stream, every)
        return
    columns = (
        # As text, because rich takes what stands in brackets for markup.
        RenderableColumn(Text(visible(run.name))),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task(run.name, total=total, detail="")
        ended = False
        while not ended:
            ended = _ended(run, every)
            report = run.stats()
            progress.update(task, completed=_done(report), detail=_detail(report))


def _calm(run: Run, total: int | None, stream: IO[str], every: float) -> None:
    of = f" of {total:,}" if total is not None else ""
    ended = False
    while not ended:
        # Once more after the end, so that the last line is exact (L28).
        ended = _ended(run, every)
        report = run.stats()
        print(f"{report.elapsed_s:7.1f} s  {_done(report):,}{of} rows  {_detail(report)}", file=stream, flush=True)


def _done(report: RunReport) -> int:
    return report.delivered + report.dropped + report.quarantined + report.failed


def _detail(report: RunReport) -> str:
    per_s = _done(report) / max(report.elapsed_s, 1e-9)
    parts = [f"{per_s:,.0f}/s"]
    if report.quarantined:
        parts.append(f"{report.quarantined:,} in quarantine")
    if report.refusals:
        parts.append(f"{report.refusals:,} refused")
    if report.cooldowns:
        parts.append(f"{report.cooldowns} cooldowns")
    waits = next((s.limit.waits_for for s in report.stages if s.limit is not None and s.limit.waits_for), None)
    if waits:
        parts.append(f"waiting, for its account is exhausted: {visible(waits)}")
    return ", ".join(parts)


__all__ = ["watch"]
