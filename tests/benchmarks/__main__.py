"""`make bench`: the budgets, measured one after another; a table, and `out/bench.json`."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from .cases import CASES


def main(wanted: list[str]) -> int:
    results: dict[str, Any] = {}
    for name, case in CASES.items():
        if wanted and name not in wanted:
            continue
        command = [sys.executable, "-m", "tests.benchmarks.cases", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        made = results[name] = json.loads(done.stdout)
        made["what"] = (case.__doc__ or "").strip()
        sign = "≥" if made["at_least"] else "≤"
        verdict = "met" if made["met"] else "MISSED"
        print(f"{name:<28}{made['figure']:>9.3f}  {sign} {made['budget']:<6g} {verdict:<7} {made['text']}", flush=True)
    out = Path("out")
    out.mkdir(exist_ok=True)
    about = {"python": platform.python_version(), "machine": platform.machine(), "results": results}
    (out / "bench.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(made["met"] for made in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
