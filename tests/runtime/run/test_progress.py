"""How a run is doing, for people: what a line says at any width, what is waited for in words, and who shows it where."""

from __future__ import annotations

import io
import re
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.actors.protocol import Closure, Counts, State
from headrace.runtime import ConfigError, Limit, Pipeline, RateLimited, RunReport, sinks, sources
from headrace.runtime.run.progress import as_progress, progress_of
from headrace.runtime.run.progress_line import Pace, Style, line
from headrace.runtime.run.report_parts import WaitReport
from headrace.runtime.run.waiting import LimitWatch, Waiting
from headrace.runtime.telemetry import events

EPOCH: Any = 1


def report(**changes: Any) -> RunReport:
    plain = RunReport("geocode", State.RUNNING, 1200, 1000, 0, 0, 0, 0, 1000, 0, 0, 10.0)
    return msgspec.structs.replace(plain, **changes)


def test_it_says_how_much_is_done_how_fast_and_how_much_is_left() -> None:
    said = line(report(expected=5000), 200.0, None, 120, Style())
    assert said == "geocode  ####----------------  20%  1,000 of 5,000 rows  100/s  20.0 s left"


def test_counts_survive_when_there_is_little_room() -> None:
    full = report(expected=5_000_000, delivered=1_234_567, quarantined=12, refusals=7, rows=1_300_000)
    words = "waiting for quota of geocode for 12.0 s more"
    for width in (120, 100, 80, 60, 40, 30):
        said = line(full, 100.0, words, width, Style(unicode=True))
        assert len(said) <= width
        assert "1,234,579 of 5,000,000 rows" in said
    assert "waiting for quota" in line(full, 100.0, words, 60, Style())
    assert "12 in quarantine" in line(full, 100.0, None, 60, Style())


def test_a_run_that_drains_says_how_many_are_left_and_what_stops_it() -> None:
    draining = report(state=State.DRAINING, rows=1012, expected=5000)
    said = line(draining, 100.0, None, 60, Style(again="Ctrl-C again stops"))
    assert "draining, 12 left; Ctrl-C again stops" in said
    assert len(said) <= 60
    assert "Ctrl-C" not in line(draining, 100.0, None, 60, Style())


def test_there_is_no_colour_unless_it_is_wanted_and_no_character_that_cannot_be_shown() -> None:
    bad = report(quarantined=3, expected=5000, name="n\x1b[31m\u00e9")
    plain = line(bad, 1.0, "waiting for \u202e\x1b[2J", 120, Style())
    assert plain.isascii()
    assert plain.isprintable()
    coloured = line(bad, 1.0, None, 120, Style(unicode=True, colour=True))
    assert "\x1b[31m3 in quarantine\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured).isprintable()


def test_the_rate_is_that_of_this_life() -> None:
    later = report(this_life=Counts(rows=50, delivered=50))
    assert "5.0/s" in line(later, 0.0, None, 120, Style())


def test_the_time_that_is_left_follows_the_last_seconds() -> None:
    pace = Pace()
    for second in range(100):
        done = 1000 if second < 50 else 1000 + (second - 50) * 10
        per_s = pace.per_s(report(delivered=done, elapsed_s=float(second)))
    assert per_s == pytest.approx(10.0)


# --- what it waits for ---


def began(closure: Closure, until_s: float, stage: str = "ask", words: str | None = None) -> events.CooldownBegan:
    return events.CooldownBegan(0.0, stage, closure, EPOCH, until_s, None, words)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (began(Closure.REFUSED, 13.1), "waiting for quota of ask for 3.10 s more"),
        (began(Closure.REFUSED, 10.1), "waiting for quota of ask asking again now"),
        (began(Closure.OUTAGE, 15.0), "waiting for ask: it does not answer; for 5.00 s more"),
        (
            began(Closure.EXHAUSTED, 40.0, words="insufficient_quota: add credit."),
            "waiting for the account of ask: insufficient_quota: add credit; for 30.0 s more",
        ),
    ],
)
def test_a_limit_that_is_closed_is_told_in_words(event: events.CooldownBegan, said: str) -> None:
    watch = LimitWatch()
    waiting = Waiting(watch)
    assert waiting.words(report(), 10.0) is None
    watch.on_cooldown_began(event)
    assert waiting.words(report(), 10.0) == said
    watch.on_cooldown_ended(events.CooldownEnded(0.0, "ask", EPOCH, probing=True, key=None))
    assert waiting.words(report(), 10.0) is not None, "one call at a time is no going on"
    watch.on_reopened(events.Reopened(0.0, "ask", EPOCH, None))
    assert waiting.words(report(), 10.0) is None


def test_a_long_wait_is_told_by_the_clock_and_the_gravest_of_several_first() -> None:
    watch = LimitWatch()
    waiting = Waiting(watch)
    watch.on_cooldown_began(began(Closure.REFUSED, 99_999.0, "b"))
    watch.on_cooldown_began(began(Closure.OUTAGE, 3610.0))
    said = waiting.words(report(), 10.0)
    assert said is not None
    assert re.fullmatch(r"waiting for ask: it does not answer; until \d\d:\d\d:\d\d \(and 1 other limits\)", said)


def test_what_held_it_up_since_the_last_look_is_told() -> None:
    waiting = Waiting(LimitWatch())
    assert waiting.words(report(elapsed_s=1.0), 0.0) is None
    held = report(elapsed_s=2.0, waits=(WaitReport("sink", "out", 0.8), WaitReport("order", "out", 1.0)))
    assert waiting.words(held, 0.0) == "waiting for the sink out"
    assert waiting.words(msgspec.structs.replace(held, elapsed_s=3.0), 0.0) is None


# --- where it is shown ---


def test_lines_for_a_log_have_no_escapes_and_the_last_is_exact_L28() -> None:
    said = io.StringIO()
    Pipeline("job").source(range(100)).map(abs).run(progress=progress_of(stream=said, every=0.01))
    last = said.getvalue().splitlines()[-1]
    assert "100 of 100 rows" in last
    assert last.isascii()
    assert last.isprintable()


def test_nobody_who_reads_it_ends_no_run_L91() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("gone")

    shown = progress_of(stream=Gone(), every=0.01)
    assert Pipeline().source(range(100)).map(abs).run(progress=shown).delivered == 100


def test_a_notebook_renews_one_output_and_everything_in_it_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            shown.append(bundle)

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        shown.append(bundle)
        return Handle()

    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    module: Any = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    Pipeline("<b>job</b>").source(range(50)).map(abs).run(progress=True)
    assert "50 of 50 rows" in shown[-1]["text/plain"]
    assert "&lt;b&gt;job&lt;/b&gt;" in shown[-1]["text/html"]
    assert "<b>" not in shown[-1]["text/html"]


def test_what_is_no_switch_is_refused() -> None:
    assert as_progress(False) is None
    with pytest.raises(ConfigError, match="progress: str is neither True nor False"):
        Pipeline().source([1]).run(progress="yes")  # type: ignore[arg-type]


# --- how much there is ---


def test_the_total_is_known_from_a_list_and_about_from_a_file(tmp_path: Path) -> None:
    seen: list[int | None] = []

    def look(row: Any) -> Any:
        seen.append(run.stats().expected)
        return row

    rows = 40_000
    (tmp_path / "in.csv").write_text("id,name\n" + "".join(f"{n:06},some name\n" for n in range(rows)))
    for source, about in ((sources.csv(tmp_path / "in.csv"), 0.05), (list(range(rows)), 0.0)):
        seen.clear()
        flow = Pipeline(window=100).source(source).filter(_is_one_in_many)
        run = flow.map(look, workers=1).sink(sinks.jsonl(tmp_path / "out.jsonl", if_exists="replace")).start()
        done = run.wait()
        assert done.expected == rows
        assert seen
        assert all(n is not None and abs(n - rows) <= about * rows for n in seen)


def _is_one_in_many(row: Any) -> bool:
    return int(row["id"] if isinstance(row, dict) else row) % 9000 == 8000


def test_a_generator_has_no_total_before_its_end() -> None:
    run = Pipeline().source(n for n in range(10)).map(abs).start()
    assert run.wait().expected == 10


def test_a_cooldown_is_shown_while_it_lasts() -> None:
    said = io.StringIO()
    refused: list[int] = []

    def ask(n: int) -> int:
        if n == 5 and not refused:
            refused.append(n)
            raise RateLimited("slow down", retry_after=1.0)
        return n

    shown = progress_of(stream=said, every=0.05)
    Pipeline().source(range(20)).map(ask, workers=1, limit=Limit()).run(progress=shown)
    assert "waiting for quota of ask" in said.getvalue()
