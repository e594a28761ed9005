"""Type checkers reveal and refuse in `flows.py` what its lines say: what a user of mypy or pyright sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FLOWS = Path(__file__).parent / "flows.py"
ROOT = Path(__file__).parents[2]
CHECK_S = 300.0
"""Only a hang takes so long."""

Findings = tuple[dict[int, str], set[int]]
"""What is revealed, and the lines with errors, by the numbers of the lines."""


def expected() -> Findings:
    revealed: dict[int, str] = {}
    errors: set[int] = set()
    for number, line in enumerate(FLOWS.read_text().splitlines(), 1):
        if line.strip().startswith("reveal_type("):
            revealed[number] = line.rpartition("  # ")[2]
        elif line.endswith("  # error"):
            errors.add(number)
    assert len(revealed) > 20
    assert len(errors) > 9
    return revealed, errors


def _short(kind: str) -> str:
    """A type without the modules of its names."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", kind)


def by_mypy(folder: Path) -> Findings:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder), "--hide-error-context", str(FLOWS)],
        cwd=ROOT, capture_output=True, text=True, timeout=CHECK_S,
    )  # fmt: skip
    said = [re.fullmatch(r"\S+?:(\d+): (note|error): (.*)", line) for line in done.stdout.splitlines()]
    lines = [(int(match[1]), match[2], match[3]) for match in said if match is not None]
    revealed = {n: _short(text.split('"')[1]) for n, kind, text in lines if text.startswith("Revealed type is")}
    return revealed, {n for n, kind, _ in lines if kind == "error"}


def by_pyright(folder: Path) -> Findings:
    config = folder / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(FLOWS)],
                "extraPaths": [str(ROOT / ".typing")],
                "pythonVersion": "3.11",
                "typeCheckingMode": "standard",
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--project", str(config), "--pythonpath", sys.executable, "--outputjson"],
        cwd=folder, capture_output=True, text=True, timeout=CHECK_S, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    revealed: dict[int, str] = {}
    errors: set[int] = set()
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        number = found["range"]["start"]["line"] + 1
        if found["severity"] == "information" and found["message"].startswith("Type of"):
            revealed[number] = _short(found["message"].rsplit('"', 2)[1])
        elif found["severity"] == "error":
            errors.add(number)
    return revealed, errors


@pytest.mark.timeout(CHECK_S)
@pytest.mark.parametrize("check", [by_mypy, by_pyright])
def test_what_a_function_does_not_fit_is_told_at_its_line(check: Callable[[Path], Findings], tmp_path: Path) -> None:
    assert check(tmp_path) == expected()
