"""A bounded part of `make crash`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.system import parquet_crash
from tests.system.crash import crash


@pytest.mark.timeout(120)
def test_killed_and_resumed_the_outputs_are_the_same_byte_for_byte_L24_L26_L36(tmp_path: Path) -> None:
    came = crash(tmp_path, kills=4, rows=600, seed=20)
    assert came.kills == 4
    assert came.twice <= came.allowed


@pytest.mark.timeout(180)
def test_a_parquet_file_of_a_killed_job_has_each_row_once(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    kills, rounds = parquet_crash.crash(tmp_path, kills=4, seed=5)
    assert (kills, rounds >= 1) == (4, True)
