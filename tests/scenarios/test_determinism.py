"""The same seed gives the same history, to the byte: in any process, with any hash seed, on any Python."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.runtime import Pipeline
from headrace.scenarios.play import play
from headrace.scenarios.script import find, read
from headrace.scenarios.testing import Service, simulate

DIGESTS = Path(__file__).parent / "digests.json"
"""Taken on one Python, compared on all; `python -m tests.scenarios.test_determinism` writes it anew after a change
of the protocol."""
NAMES = (
    "worker_killed_in_every_state",
    "batches_on_a_loop",
    "late_answers_on_a_loop",
    "retried_in_order",
    "everybody_is_late",
    "executor_aborted",
    "keys_with_budgets_of_their_own",
    "hints_of_every_shape",
    "joins_within_joins",
    "batches_by_key_in_a_small_window",
    "the_first_answer_wins",
)


@functools.cache
def digests() -> dict[str, str]:
    return {f"{name}:{seed}": play(read(find(name)), seed).digest for name in NAMES for seed in (0, 1, 7, 12)}


def test_the_histories_are_those_of_every_other_python() -> None:
    assert digests() == json.loads(DIGESTS.read_text()), "the protocol has changed, or a history depends on the process"


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_the_hash_seed_of_the_process_does_not_matter(hash_seed: str) -> None:
    script = "import json; from tests.scenarios.test_determinism import digests; print(json.dumps(digests()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(done.stdout) == digests()


def test_another_seed_is_another_history() -> None:
    script = read(find("retried_in_order"))
    assert len({play(script, seed).digest for seed in range(10)}) == 10


def test_a_user_s_pipeline_is_replayed_to_the_byte() -> None:
    def once(seed: int) -> str:
        service = Service(latency=(0.01, 0.2), per_s=40, burst=4, fails=0.1, seed=3)
        return simulate(Pipeline().source(range(100)).map(service, workers=12), seed=seed).digest

    assert once(5) == once(5)
    assert once(5) != once(6)


def test_watching_changes_nothing(tmp_path: Path) -> None:
    script = read(find("retried_in_order"))
    with (tmp_path / "trace").open("wb") as file:
        traced = play(script, 3, trace=file)
    assert traced.digest == play(script, 3).digest


if __name__ == "__main__":
    DIGESTS.write_text(json.dumps(digests(), indent=1) + "\n")
