"""What is around the player: shrinking, exploring, soaking, histories, judging."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.actors import protocol
from headrace.actors.protocol import Control, Message
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.scenarios.explore import explore
from headrace.scenarios.figures import Figures, ideal_s, misses
from headrace.scenarios.history import KINDS
from headrace.scenarios.play import play
from headrace.scenarios.quotas import QuotaTable
from headrace.scenarios.script import (
    SCRIPTS,
    ExpectTable,
    Script,
    ServiceTable,
    SourceTable,
    StageTable,
    find,
    read,
)
from headrace.scenarios.shrink import shrink
from headrace.scenarios.soak import Sample, judge, soak, to_json
from headrace.scenarios.soak_page import page
from tests.scenarios.mutants import MUTANTS, mutated


def test_a_breach_is_made_small() -> None:
    mutant = next(m for m in MUTANTS if m.name.startswith("a reorder buffer that releases"))
    script = read(find("gaps_are_told"))
    with mutated(mutant):
        played = play(script, 0)
        assert played.breach is not None
        smallest = shrink(script, played, budget_s=10.0)
    assert smallest.played.breach is not None
    assert smallest.played.breach.invariant is played.breach.invariant
    assert smallest.script.source.rows <= 10
    assert len(smallest.script.stage) == 1
    assert smallest.played.steps < played.steps
    # It can be written down and played again.
    again = msgspec.toml.decode(msgspec.toml.encode(smallest.script), type=Script)
    with mutated(mutant):
        assert play(again, smallest.played.seed).digest == smallest.played.digest


def test_a_breach_tells_its_story() -> None:
    mutant = next(m for m in MUTANTS if m.name == "a governor without epochs")
    with mutated(mutant):
        played = play(read(find("refusals_that_come_late")), 0)
    assert played.breach is not None
    assert "old news of epoch 0" in str(played.breach)
    assert any("governor-ask → ask: CooldownBegan" in line for line in played.story)


def test_many_seeds_on_several_processes_and_on_one_are_the_same() -> None:
    paths = [find("no_rows_at_all"), find("told_after_the_end")]

    def digests(jobs: int) -> list[tuple[str, int, str]]:
        return sorted((p.scenario, p.seed, p.digest) for p in explore(paths, 3, 5, jobs))

    alone = digests(1)
    assert len(alone) == 10
    assert digests(2) == alone


def test_exploring_ends_in_time_and_is_fair() -> None:
    paths = [find("no_rows_at_all"), find("sink_is_slow")]
    counts = {"no_rows_at_all": 0, "sink_is_slow": 0}
    for played in explore(paths, 0, None, 1, for_s=2.0):
        counts[played.scenario] += 1
    assert counts["no_rows_at_all"] > counts["sink_is_slow"] > 0


def test_every_message_has_its_place_in_the_history() -> None:
    messages = {
        kind
        for kind in vars(protocol).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind not in (Message, Control)
    }
    assert messages - set(KINDS) == set()


def test_a_trace_is_one_step_a_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with path.open("wb") as file:
        played = play(read(find("ten_refused_at_once")), 0, schedule=Schedule(), trace=file)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) >= played.steps
    assert [0.0, "outside", "conductor", "Start", []] in lines
    assert any(
        whom == "ask" and what == "CooldownBegan" and detail == [1, "refused"] for _, _, whom, what, detail in lines
    )
    assert sum(what == "Call" for _, _, _, what, _ in lines) == played.figures.calls


def test_a_soak_of_a_day_leaks_nothing() -> None:
    script = read(find("a_week"))
    every = msgspec.structs.replace(script.source, every=20.0)
    soaked = soak(msgspec.structs.replace(script, source=every), 86_400.0, seed=1)
    assert soaked.well, soaked.findings
    assert len(soaked.samples) == 240
    assert soaked.report.delivered == pytest.approx(4320, abs=2)
    assert json.loads(json.dumps(to_json(soaked)))["well"] is True
    html = page(soaked)
    assert "nothing leaks, nothing decays" in html
    # What the page's script could load for plots of other kinds stands in it as text.
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", html, flags=re.DOTALL)
    assert 'src="http' not in tags
    assert "<link" not in tags


def sample(i: int, **change: Any) -> Sample:
    plain: dict[str, Any] = {
        "at_s": float(i),
        "rows_per_s": 100.0,
        "p50_s": 0.1,
        "p95_s": 0.2,
        "p99_s": 0.3,
        "calls": 100,
        "refusals": 0,
        "cooldowns": 0,
        "permits_out": 5,
        "balanced": True,
        "rows_open": 10,
        "memory_mb": 50.0,
        "threads": 12,
        "descriptors": 8,
    }
    return Sample(**{**plain, **change})


LEAKS = {
    "memory does not grow": lambda i: {"memory_mb": 50.0 + 0.05 * i},
    "threads do not grow": lambda i: {"threads": 12 + i // 20},
    "descriptors do not grow": lambda i: {"descriptors": 8 + i // 20},
    "no permit leaks": lambda i: {"permits_out": 5 + i // 20},
    "no row stays behind": lambda i: {"rows_open": 10 + i // 10},
    "throughput does not decay": lambda i: {"rows_per_s": 100.0 - 0.1 * i},
    "rows do not take longer": lambda i: {"p99_s": 0.3 + 0.005 * i},
    "permits granted = used + returned + out": lambda i: {"balanced": i != 77},
}


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_is_found(what: str) -> None:
    findings = judge([sample(i, **LEAKS[what](i)) for i in range(240)])
    assert [finding.what for finding in findings if not finding.well] == [what]


def test_a_steady_run_has_no_leak() -> None:
    assert all(finding.well for finding in judge([sample(i, memory_mb=50.0 + i % 3) for i in range(240)]))


def test_the_ideal_follows_from_the_file_s_own_numbers() -> None:
    def ideal(**tables: Any) -> float | None:
        return ideal_s(Script(shows="what the ideal is", **tables))

    service = ServiceTable(latency=0.1)
    stage = [StageTable(workers=10)]
    assert ideal(source=SourceTable(rows=100), stage=stage, service=[service]) == pytest.approx(1.0)
    bucket = ServiceTable(latency=0.1, quota=[QuotaTable(per_s=10.0, burst=20.0)])
    assert ideal(source=SourceTable(rows=100), stage=stage, service=[bucket]) == pytest.approx(8.0)
    assert ideal(source=SourceTable(rows=100, every=1.0), stage=stage, service=[service]) == pytest.approx(100.0)
    assert ideal(source=SourceTable(rows=-1), stage=stage, service=[service]) is None


def test_what_was_not_as_expected_is_said() -> None:
    figures = Figures(state="failed", delivered=7, error="Broken", notes=("closing sink: no",))
    expect = ExpectTable(state=["completed", "drained"], delivered=[8, 10], error="OSError", note="source", inbox=5)
    assert misses(expect, figures) == [
        "state is 'failed', expected completed or drained",
        "delivered is 7, expected 8 to 10",
        "inbox is not known here",
        "error is 'Broken', expected OSError",
        "no note says 'source'; there are ['closing sink: no']",
    ]


def test_the_scripts_are_found_where_they_are() -> None:
    assert find("a_week") == SCRIPTS / "a_week.toml"
    assert find("mine.toml") == Path("mine.toml")
