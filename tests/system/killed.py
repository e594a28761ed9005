"""A job in a process of its own that is killed with SIGKILL, for the `make crash` targets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def ran_to_its_end(
    module: str, *arguments: str, kill_after_s: float | None, environment: Mapping[str, str] | None = None
) -> bool:
    """Run a module of the tests with `--work` and these arguments; whether it came to its end before it was killed. None: it
    is not killed. `environment`: besides that of this process. Raises `AssertionError` with its words where it fails."""
    with subprocess.Popen(
        [sys.executable, "-m", module, "--work", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return False
    assert process.returncode == 0, said
    return True
