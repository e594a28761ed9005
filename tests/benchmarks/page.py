"""The page of the documentation that shows what was measured last: `python -m tests.benchmarks.page` writes it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).parent / "history"
PAGE = Path(__file__).parents[2] / "runtime" / "docs" / "reference" / "benchmarks.md"

INTRODUCTION = """# Benchmarks

`make bench` measures what Headrace costs beside the strongest form of what one would write by hand, and whether a row
costs the same as rows, workers, keys, nodes, branches, batches and windows grow. Each workload runs in a process of its
own, in turns with those that it is compared with; a ratio is taken within a round, and the median of the rounds is shown.
Every pipeline has a sink. CPU is that of the process and its children; a machine that is busy changes it less than the
rate.

`make bench QUICK=1` takes two minutes and is not precise. Results are kept in `tests/benchmarks/history/`; this page
shows the newest, and `make bench KEEP=1` writes it. What is missed is shown as missed.
"""


def newest() -> dict[str, Any]:
    """The result that was kept last."""
    made: dict[str, Any] = json.loads(max(HISTORY.glob("*.json")).read_text())
    return made


def rendered(results: dict[str, Any]) -> str:
    """The whole page."""
    about = (
        f"Measured on {results['date']} at commit {results['commit']}: Python {results['python']}, {results['cores']} "
        f"cores, load {results['load']} when it began, {results['rounds']} rounds, {results['took_s'] / 60:.0f} minutes."
    )
    return "\n".join([INTRODUCTION, about, "", *sections(results)])


def sections(results: dict[str, Any]) -> Iterator[str]:
    """The tables of a result, or of a part of one, line by line."""
    for comparison in results.get("comparisons", ()):
        yield from _comparison(comparison)
    if results.get("axes"):
        yield from _axes(results["axes"])
    if results.get("cases"):
        yield from _cases(results["cases"])


def _comparison(comparison: dict[str, Any]) -> Iterator[str]:
    yield f"## {comparison['title']}"
    yield ""
    yield "| workload | rows/s | least to most | CPU µs a row | MB |"
    yield "|---|---:|---:|---:|---:|"
    for name, told in comparison["workloads"].items():
        if told is None:
            yield f"| {name} | not to be had here, or too slow | | | |"
            continue
        span = f"{told['rate_min']:,.0f} to {told['rate_max']:,.0f}"
        yield f"| {name} | {told['rate']:,.0f} | {span} | {told['cpu_us']:,.2f} | {told['peak_mb']:.0f} |"
    yield ""
    if comparison["budgets"]:
        yield "| budget | measured | wanted | |"
        yield "|---|---:|---:|---|"
        for held in comparison["budgets"]:
            yield f"| {held['what']} | {_number(held['figure'])} | {_wish(held)} | {_verdict(held)} |"
        yield ""


def _axes(axes: dict[str, Any]) -> Iterator[str]:
    yield "## What grows"
    yield ""
    yield "CPU µs for one row (or row and node, or part) at each value. The factor: how much more one value costs than a"
    yield "smaller one."
    yield ""
    yield "| what grows | CPU µs | of each | factor | wanted | |"
    yield "|---|---|---|---:|---:|---|"
    for name, told in axes.items():
        costs = ", ".join(
            f"{int(value):,}: {f'{cost:.2f}' if cost is not None else 'over a minute'}"
            for value, cost in told["cpu_us"].items()
        )
        yield f"| {name} | {costs} | {told['what']} | {told['factor']:.2f} | ≤ {told['most']:g} | {_verdict(told)} |"
    yield ""


def _cases(cases: dict[str, Any]) -> Iterator[str]:
    yield "## One by one"
    yield ""
    yield "| case | measured | wanted | | |"
    yield "|---|---:|---:|---|---|"
    for name, told in cases.items():
        wish = f"{'≥' if told['at_least'] else '≤'} {_number(told['budget'])}"
        what = told["what"].replace("|", "\\|")
        figure = _number(told["figure"])
        yield f"| {name.replace('_', ' ')} | {figure} | {wish} | {_verdict(told)} | {what} ({told['text']}) |"
    yield ""


def _wish(held: dict[str, Any]) -> str:
    return f"≥ {_number(held['least'])}" if held["least"] is not None else f"≤ {_number(held['most'])}"


def _number(figure: float | None) -> str:
    if figure is None:
        return "none"
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def _verdict(held: dict[str, Any]) -> str:
    return "met" if held["met"] else "**missed**"


def write() -> None:
    """Write the page of the newest result."""
    PAGE.write_text(rendered(newest()).rstrip() + "\n")


if __name__ == "__main__":
    write()
