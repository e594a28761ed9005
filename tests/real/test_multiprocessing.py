"""multiprocessing in all its ways: what was made before other processes is of use in them (L70)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .processes import ROOT

TOLD = [
    "pool [2, 3, 4, 5, 6, 7, 8, 9] [55, 210]",
    "replaced [2, 3, 4]",
    "futures [2, 3, 4, 5, 6, 7, 8, 9]",
    "ended -15 True",
    "calls 20 True",
    "parent 7 True",
]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_an_executor_of_a_module_works_in_processes_however_they_begin_L70(method: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.real.multiplied", method]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == TOLD
    assert done.stderr == ""
