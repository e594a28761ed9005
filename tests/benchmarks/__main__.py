"""`make bench`: the budgets, measured one after another; tables, and `out/bench.json`.

    python -m tests.benchmarks [--quick] [--keep] [WORD ...]

`--quick`: fewer rows, one round, and none of what takes minutes. `--keep`: the result is kept in `tests/benchmarks/history/`
under today's date, and the page of the documentation shows it. WORD: only comparisons, axes and cases whose name has it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .axes import AXES, trace
from .cases import CASES, QUICK
from .comparisons import COMPARISONS, compare
from .page import HISTORY, sections, write

ROUNDS = 3
CASE_S = 300.0
"""A case that takes longer has no figure."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("words", nargs="*")
    told = parser.parse_args(arguments)
    if told.keep and (told.quick or told.words):
        parser.error("what is kept is a whole run")
    # Modules are kept compiled, as those of an installed package are: else half of what a short run takes is compiling.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    results = _measured(told.words, quick=told.quick)
    results["took_s"] = round(time.monotonic() - began)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "bench.json").write_text(text)
    if told.keep:
        HISTORY.mkdir(exist_ok=True)
        (HISTORY / f"{results['date']}.json").write_text(text)
        write()
    return 0 if all(each["met"] for each in _held(results)) else 1


def _measured(words: list[str], *, quick: bool) -> dict[str, Any]:
    rounds = 1 if quick else ROUNDS
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rounds": rounds,
        "comparisons": [],
        "axes": {},
        "cases": {},
    }

    def show(part: dict[str, Any]) -> None:
        print("\n".join(sections(part)), flush=True)

    for comparison in COMPARISONS:
        if _wanted(words, comparison.title, *comparison.workloads):
            made = compare(comparison, rounds, quick=quick)
            results["comparisons"].append(made)
            show({"comparisons": [made]})
    for name in AXES:
        if _wanted(words, name):
            results["axes"][name] = trace(name, rounds, quick=quick)
            show({"axes": {name: results["axes"][name]}})
    for name, case in CASES.items():
        if _wanted(words, name) and (name in QUICK or not quick):
            made = _case(name)
            made["what"] = " ".join((case.__doc__ or "").split())
            results["cases"][name] = made
            show({"cases": {name: made}})
    return results


def _wanted(words: list[str], *names: str) -> bool:
    return not words or any(word in name for word in words for name in names)


def _case(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.cases", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CASE_S)
    except subprocess.TimeoutExpired:
        # On a machine that is busy; what was measured before it is not lost.
        ended = f"ended after {CASE_S:.0f} s"
        return {"figure": None, "budget": None, "at_least": True, "met": False, "text": ended}
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-2000:]}")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _held(results: dict[str, Any]) -> list[dict[str, Any]]:
    compared = [budget for each in results["comparisons"] for budget in each["budgets"]]
    return [*compared, *results["axes"].values(), *results["cases"].values()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
