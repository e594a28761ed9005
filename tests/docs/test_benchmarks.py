"""The page of benchmarks shows the newest result that was kept, and says of each budget whether it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.comparisons import COMPARISONS, Absolute, Budget, compare
from tests.benchmarks.measure import Sample
from tests.benchmarks.page import PAGE, newest, rendered, sections
from tests.benchmarks.workloads import WORKLOADS


def test_the_page_shows_the_newest_result() -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered(newest()).rstrip() + "\n", "python -m tests.benchmarks.page"


def test_every_workload_is_compared_and_every_budget_is_of_workloads_that_are_measured_together() -> None:
    compared = {name for comparison in COMPARISONS for name in comparison.workloads}
    assert compared == set(WORKLOADS)
    for comparison in COMPARISONS:
        for budget in comparison.budgets:
            named = {budget.ours} if isinstance(budget, Absolute) else {budget.ours, budget.theirs}
            assert named <= set(comparison.workloads)


def samples(rates: list[float], cpu_s: list[float]) -> list[Sample]:
    return [Sample(1000, 1000 / rate, cpu, 30.0) for rate, cpu in zip(rates, cpu_s, strict=True)]


@pytest.mark.parametrize(("least", "verdict"), [(1.9, "met"), (2.1, "**missed**")])
def test_a_budget_is_held_against_the_median_of_the_ratios_within_a_round(
    monkeypatch: pytest.MonkeyPatch, least: float, verdict: str
) -> None:
    comparison = COMPARISONS[0]._replace(
        workloads=("no-op", "no-op, pool.map"), budgets=(Budget("no-op", "no-op, pool.map", "rate", least=least),)
    )
    # In the second round the machine is ten times as slow, for both.
    measured: Any = [samples([200, 20, 900], [1, 1, 1]), samples([100, 10, 100], [1, 1, 1])]
    monkeypatch.setattr("tests.benchmarks.comparisons.in_turns", lambda commands, rounds: measured)
    made = compare(comparison, 3, quick=False)
    assert [held["figure"] for held in made["budgets"]] == [2.0]
    text = "\n".join(sections({"comparisons": [made]}))
    assert f"| no-op: rate, by that of no-op, pool.map | 2 | ≥ {least} | {verdict} |" in text


def test_a_peer_that_cannot_be_had_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.comparisons.in_turns", lambda commands, rounds: [samples([1], [1]), []])
    comparison = COMPARISONS[0]._replace(workloads=("no-op", "no-op, pool.map"), budgets=())
    made = compare(comparison, 1, quick=False)
    assert made["workloads"]["no-op, pool.map"] is None
    assert "| no-op, pool.map | not to be had here, or too slow | | | |" in list(sections({"comparisons": [made]}))


def test_a_case_that_took_too_long_is_missed_and_has_no_figure() -> None:
    case = {
        "figure": None,
        "budget": None,
        "at_least": True,
        "met": False,
        "text": "ended after 300 s",
        "what": "A week.",
    }
    assert "| a week | none | ≥ none | **missed** | A week. (ended after 300 s) |" in list(
        sections({"cases": {"a_week": case}})
    )
