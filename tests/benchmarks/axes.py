"""What a row costs as one thing grows that a user can make grow: `python -m tests.benchmarks.axes NAME VALUE ROWS`.

CPU alone is looked at, so a machine that is busy does not matter much. A cost is flat where no value of an axis costs more
than `FLAT` times what a smaller one does: what is dear for a few and cheap for many is no harm.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from headrace.runtime import Flow, Limit, Pipeline, sinks

from .measure import Sample, apart, timed
from .workloads import same

FLAT = 1.5
Line = Callable[[int], Flow[Any]]


class Axis(NamedTuple):
    """`make`: of a value and a number of rows, a pipeline without its sink. `values`: three decades, where there are so
    many. `rows`: of each. `each`: the cost is that of one row, or of one row in each of so many places, by the value."""

    make: Callable[[int, int], Any]
    values: tuple[int, ...]
    rows: Callable[[int], int]
    each: Callable[[int], int] = lambda value: 1
    what: str = "row"


def _rows(value: int, rows: int) -> Any:
    return Pipeline().source(range(rows)).map(same, workers=16)


def _workers(value: int, rows: int) -> Any:
    return Pipeline().source(range(rows)).map(same, workers=value)


def _keys(value: int, rows: int) -> Any:
    limit = Limit("1000000/s", key=lambda x: x % value)
    return Pipeline().source(range(rows)).map(same, workers=16, limit=limit)


def _nodes(value: int, rows: int) -> Any:
    line: Any = Pipeline().source(range(rows))
    for i in range(value):
        line = line.map(same, name=f"n{i}")
    return line


def _fork(value: int, rows: int) -> Any:
    branches: Any = {f"b{i}": lambda flow: flow for i in range(value)}
    return Pipeline().source(range(rows)).fork(**branches).join()


def _batch(value: int, rows: int) -> Any:
    return Pipeline().source(range(rows)).batch(value)


def _window(value: int, rows: int) -> Any:
    return Pipeline(window=value).source(range(rows)).map(same, workers=16)


def _quarantine(value: int, rows: int) -> Any:
    def bad(x: int) -> int:
        if x % 100 < value:
            raise ValueError(x)
        return x

    path = Path(tempfile.mkdtemp()) / "quarantine.jsonl"
    return Pipeline().source(range(rows)).map(bad, workers=16, retry=1).quarantine(sinks.jsonl(path))


def _always(rows: int) -> Callable[[int], int]:
    return lambda value: rows


AXES: dict[str, Axis] = {
    "rows": Axis(_rows, (10_000, 100_000, 1_000_000, 5_000_000), lambda value: value),
    "workers": Axis(_workers, (1, 16, 256, 2000), _always(200_000)),
    "keys": Axis(_keys, (10, 1000, 10_000, 100_000), lambda value: max(10_000, value)),
    "nodes": Axis(_nodes, (1, 5, 20, 50), lambda value: 2_000_000 // value, lambda value: value, "row and node"),
    "fork width": Axis(_fork, (2, 8, 64, 256), lambda value: 400_000 // value, lambda value: value, "part"),
    "batch size": Axis(_batch, (1, 10, 100, 1000), _always(200_000)),
    "window": Axis(_window, (64, 1000, 10_000, 100_000), _always(300_000)),
    "quarantined %": Axis(_quarantine, (0, 1, 10, 100), _always(300_000)),
}


def measured(name: str, value: int, rows: int) -> Sample:
    """One point of an axis. The cost is that of `rows` times what `each` says."""
    axis = AXES[name]
    count = [0]

    def sink(row: object) -> None:
        count[0] += 1

    line = axis.make(value, rows).sink(sink)
    return timed(rows * axis.each(value), lambda: line.run(max_quarantined=rows))


def trace(name: str, rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure an axis: CPU at each value, the least of the rounds, and whether it is flat, as plain data."""
    axis = AXES[name]
    values = axis.values[:-1] if quick else axis.values
    points: dict[int, float | None] = {}
    for _ in range(rounds):
        # In turns, for the machine changes its pace.
        for value in values:
            if value in points and points[value] is None:
                continue
            rows = axis.rows(value)
            if quick and name != "rows":
                rows = max(2000, rows // 5)
            sample = apart("axes", name, str(value), str(rows))
            points[value] = min(points.get(value) or sample.cpu_us, sample.cpu_us) if sample is not None else None
    costs = [cost for cost in points.values() if cost is not None]
    factor = max(costs[i] / min(costs[: i + 1]) for i in range(len(costs)))
    return {
        "what": axis.what,
        "cpu_us": {str(value): round(cost, 3) if cost is not None else None for value, cost in points.items()},
        "factor": round(factor, 2),
        "most": FLAT,
        "met": factor <= FLAT and len(costs) == len(points),
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
