"""The worked example, in Python and in a file: what comes out is what a plain loop computes, to the byte."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.scenarios.examples import graph

EXAMPLES = Path(graph.__file__).parent


def plainly() -> dict[str, list[Any]]:
    """The same without Headrace."""
    out: dict[str, list[Any]] = {"high": [], "words": [], "airports": []}
    with (EXAMPLES / "airports.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row["iata"]:
                continue
            fields: dict[str, Any] = {name: row[name] for name in ("icao", "iata", "name", "country")}
            fields |= {name: float(row[name]) for name in ("elevation", "lat", "lon")}
            airport = graph.Airport(**fields)
            if airport.elevation > 8000.0:
                out["high"].append({name: getattr(airport, name) for name in airport.__struct_fields__})
                continue
            if abs(airport.lat) > 66.56:
                airport = graph.mark_polar(airport)
            out["words"] += graph.words(airport)
            parts = {"zone": graph.zone(airport), "daylight": graph.daylight(airport)}
            out["airports"] += graph.encode([graph.merge(airport, parts)])
    return out


def check(out: Path) -> None:
    for name, rows in plainly().items():
        got = [json.loads(line) for line in (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert got == rows, name
        assert len(rows) > 20, name
    assert (out / "quarantine.jsonl").read_text() == ""


@pytest.mark.timeout(60)
def test_the_graph_in_python_gives_what_a_plain_loop_gives(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace.scenarios.examples.graph", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "rows             3,500" in done.stdout
    check(tmp_path)


@pytest.mark.timeout(60)
def test_the_graph_in_a_file_gives_what_a_plain_loop_gives(tmp_path: Path) -> None:
    for name in ("airports.csv", "graph.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "headrace.runtime.cli", "run", "graph.toml", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["quarantined"]) == (3500, 0)
    check(tmp_path / "out")


def test_both_are_the_same_graph(tmp_path: Path) -> None:
    from headrace.runtime.files.pipeline_file import read

    shutil.copy(EXAMPLES / "airports.csv", tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        filed = read(EXAMPLES / "graph.toml").plan()
    written = graph.pipeline(tmp_path).plan()
    assert sorted(node.kind for node in filed.nodes) == sorted(node.kind for node in written.nodes)
    assert len(filed.edges) == len(written.edges)
