"""Rows burned by outages and brown-outs, by workers and attempts (L40, L76): none, in each cell. `python -m
tests.scenarios.test_burned` prints the table, with more seeds."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import pytest

from headrace.scenarios.latency import LatencyTable
from headrace.scenarios.play import play
from headrace.scenarios.script import (
    BrownOutTable,
    OutageTable,
    PipelineTable,
    RetryTable,
    Script,
    ServiceTable,
    SourceTable,
    StageTable,
)

WORKERS = (1, 2, 8, 64)
ATTEMPTS = (1, 2, 3, 5)
TROUBLES: dict[str, dict[str, Any]] = {
    "out for 3 s": {"outage": [OutageTable(at=1.0, lasts=3.0)]},
    "out for a minute, connections break": {"outage": [OutageTable(at=1.0, lasts=60.0, by="reset")]},
    "out again and again": {"outage": [OutageTable(at=0.5 + 1.5 * i, lasts=0.8) for i in range(8)]},
    "3 of 10 calls fail for a minute": {"brown_out": [BrownOutTable(at=1.0, lasts=60.0, share=0.3)]},
    "half of the calls fail for a minute": {"brown_out": [BrownOutTable(at=1.0, lasts=60.0, share=0.5)]},
    "9 of 10 calls fail for 20 s": {"brown_out": [BrownOutTable(at=1.0, lasts=20.0, share=0.9, by="reset")]},
    "out for 3 s, and says so at once": {"outage": [OutageTable(at=1.0, lasts=3.0, fast=True)]},
    "half of the calls fail at once for 20 s": {"brown_out": [BrownOutTable(at=1.0, lasts=20.0, fast=True)]},
    "9 of 10 calls fail at once for 20 s": {"brown_out": [BrownOutTable(at=1.0, lasts=20.0, share=0.9, fast=True)]},
}


def script(trouble: str, workers: int, attempts: int) -> Script:
    # So many rows that they are not over before the trouble is.
    rows = 300 + 12 * workers
    return Script(
        shows="what an outage burns",
        name="burned",
        pipeline=PipelineTable(window=None),
        source=SourceTable(rows=rows),
        stage=[StageTable(workers=workers, retry=RetryTable(attempts=attempts))],
        service=[ServiceTable(latency=LatencyTable(uniform=[0.02, 0.2]), refusal_latency=0.001, **TROUBLES[trouble])],
    )


def burned(trouble: str, workers: int, attempts: int, seeds: Iterable[int]) -> int:
    """Rows that were given up, of all that these seeds have."""
    rows = 0
    for seed in seeds:
        played = play(script(trouble, workers, attempts), seed)
        assert played.breach is None, played.breach
        assert played.figures.state == "completed"
        rows += int(played.figures.quarantined)
    return rows


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("workers", WORKERS)
def test_no_row_is_burned_at_any_number_of_workers_and_attempts_L40_L76(trouble: str, workers: int) -> None:
    assert {
        attempts: burned(trouble, workers, attempts, [workers + attempts]) for attempts in ATTEMPTS
    } == dict.fromkeys(ATTEMPTS, 0)


def test_a_row_that_fails_alone_has_the_attempts_that_were_stated_and_no_more() -> None:
    from headrace.scenarios.script import TroubleTable

    for attempts in ATTEMPTS:
        table = script("out for 3 s", 8, attempts)
        service = ServiceTable(latency=0.05, trouble=[TroubleTable(answer=500, rows=[20, 150, 290])])
        played = play(_replaced(table, service), seed=attempts)
        assert (played.figures.quarantined, played.figures.retries) == (3, 3 * (attempts - 1))


def _replaced(table: Script, service: ServiceTable) -> Script:
    import msgspec

    return msgspec.structs.replace(table, service=[service])


def main(seeds: int = 20) -> None:
    """The table, of so many seeds a cell."""
    for trouble in TROUBLES:
        sys.stdout.write(f"{trouble}: rows burned in {seeds} runs\n")
        sys.stdout.write(f"  {'attempts':>8} {''.join(f'{n:>6}' for n in ATTEMPTS)}\n")
        for workers in WORKERS:
            cells = [burned(trouble, workers, attempts, range(seeds)) for attempts in ATTEMPTS]
            sys.stdout.write(f"  {workers:>8} {''.join(f'{n:>6}' for n in cells)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
