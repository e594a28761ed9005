"""A real SIGKILL right after a commit: an output has its name only when the journal has all of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

JOB = """
import os, signal, sys
from headrace import Journal, Observer, Pipeline, sinks

class Kill(Observer):
    commits = 0

    def on_committed(self, event):
        self.commits += 1
        if self.commits == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

pipeline = Pipeline("evens").source(range(40)).filter(lambda n: n % 2 == 0).sink(sinks.jsonl("out.jsonl"))
pipeline.run(journal=Journal("run.db", within=0.001), observers=[Kill()])
"""


@pytest.mark.parametrize("commit", range(1, 7))
def test_a_run_goes_on_after_a_kill_at_a_commit(tmp_path: Path, commit: int) -> None:
    (tmp_path / "job.py").write_text(JOB)
    for at in (commit, 0):
        run = subprocess.run([sys.executable, "job.py", str(at)], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode in ((0, -signal.SIGKILL) if at else (0,)), run.stderr
    assert (tmp_path / "out.jsonl").read_text().split() == [str(n) for n in range(0, 40, 2)]
