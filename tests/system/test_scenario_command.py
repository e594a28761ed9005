"""`headrace scenario` and `headrace soak`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def headrace(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace.runtime.cli", *arguments], capture_output=True, text=True, cwd=cwd, timeout=60
    )


def test_a_new_scenario_runs_as_it_is(tmp_path: Path) -> None:
    assert headrace("scenario", "new", "mine.toml", cwd=tmp_path).returncode == 0
    done = headrace("scenario", "run", "mine.toml", "--seeds", "20", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "20 plays" in done.stdout
    again = headrace("scenario", "new", "mine.toml", cwd=tmp_path)
    assert (again.returncode, "exists" in again.stderr) == (2, True)


def test_the_scenarios_are_listed_and_shown(tmp_path: Path) -> None:
    listed = json.loads(headrace("scenario", "list", "--json", cwd=tmp_path).stdout)
    assert len(listed) >= 25
    shown = headrace("scenario", "show", "ten_refused_at_once", cwd=tmp_path)
    assert shown.stdout.startswith('shows = "Ten workers')
    assert "ten_refused_at_once" in headrace("scenario", "list", cwd=tmp_path).stdout


def test_one_seed_is_told_and_traced(tmp_path: Path) -> None:
    done = headrace("scenario", "run", "ten_refused_at_once", "--seed", "3", "--trace", "trace.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "as expected" in done.stdout
    assert len((tmp_path / "trace.jsonl").read_text().splitlines()) > 1000
    told = json.loads(headrace("scenario", "run", "ten_refused_at_once", "--seed", "3", "--json", cwd=tmp_path).stdout)
    assert told["played"][0]["figures"]["delivered"] == 200


def test_two_processes_play_seeds_and_what_is_not_as_expected_is_status_1(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(
        'shows = "what is not as expected is said"\n[source]\nrows = 20\n[expect]\ndelivered = 21\n'
    )
    done = headrace("scenario", "run", "wrong.toml", "no_rows_at_all", "--seeds", "10", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "wrong, seed" in done.stdout
    assert "delivered is 20, expected 21" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scenario", "run", "ten_refused_at_onse"], "did you mean 'ten_refused_at_once'?"),
        (["scenario", "run", "no_such.toml"], "no such file"),
        (["scenario", "run", "a_week", "no_rows_at_all", "--trace", "x"], "--trace writes one history"),
        (["soak", "a_week", "--for", "soon"], "is no duration"),
        (["soak", "a_week", "--for", "-5s"], "greater than 0"),
        (["soak", "a_week", "--for", "1e400h"], "at most"),
        (["soak", "a_week", "--for", "99999999999d"], "at most"),
        (["soak", "a_week", "--for", "nan"], "greater than 0"),
        (["soak", "executor_aborted"], "an executor's scenario has an end of its own"),
    ],
)
def test_what_was_asked_wrongly_is_one_clear_message_and_status_2(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    done = headrace(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_scenario_whose_graph_cannot_be_is_one_clear_message_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('shows = "A join without a fork."\n[[stage]]\nkind = "join"\nfork = "nobody"\n')
    done = headrace("scenario", "run", "mine.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "headrace: mine.toml: join 'ask': 'nobody' is no fork\n"


def test_a_soak_writes_its_report(tmp_path: Path) -> None:
    done = headrace("soak", "a_quiet_source_flushes", "--for", "24h", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every invariant held" in done.stdout
    report = json.loads((tmp_path / "out" / "soak-a_quiet_source_flushes.json").read_text())
    assert report["well"] is True
    assert "<h1>Soak of a_quiet_source_flushes" in (tmp_path / "out" / "soak-a_quiet_source_flushes.html").read_text()


def test_a_scenario_plays_for_real(tmp_path: Path) -> None:
    done = headrace("scenario", "run", "no_rows_at_all", "a_week", "--real", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no_rows_at_all: as expected" in done.stdout
    assert "a_week: left out: a week" in done.stdout
