"""What happened to a row, in words that a stranger reads, and which rows are meant."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime import ConfigError, Pipeline, RateLimited, Retry, sinks, sources
from headrace.runtime.journal.explain import Event, Story, explain, rows_by_error, rows_where
from headrace.runtime.journal.records import Records
from headrace.runtime.journal.stores import look_into
from headrace.runtime.journal.story_text import story_text
from headrace.runtime.rows.expressions import Expression


def words(event: Event) -> str:
    line = story_text(Story("job", 5, "in.csv:7", "delivered", [event])).splitlines()[1]
    return line[16:].removeprefix(event.where).strip()


def event(what: str, took_s: float | None = None, waited_s: float | None = None, **detail: object) -> Event:
    return Event(what, "5", "ask", 0.0, took_s, waited_s, detail)


TOLD = {
    "the call was refused after 2 ms: RateLimited; it asked to come back in 3.00 s": event(
        "refused", 0.002, kind="refused", error="RateLimited", retry_after_s=3.0
    ),
    "the call was turned away after 500 ms, since the account is exhausted: E: no credit": event(
        "refused", 0.5, kind="exhausted", error="E", message="no credit"
    ),
    "waited 3.10 s for quota; answered after 20 ms, at call 2": event(
        "answered", 0.02, 3.1, attempts=2, cooldowns_s=3.1, waited_for_s={"refused": 3.1}
    ),
    "waited 4.00 s for the other side to come back and 1.00 s for its turn; answered after 20 ms": event(
        "answered", 0.02, 5.0, attempts=1, waited_for_s={"outage": 4.0}
    ),
    "the call failed for good after 1.00 s: ValueError: no": event(
        "failed", 1.0, kind="permanent", error="ValueError", message="no"
    ),
    "the call failed after 1.00 s: OSError; it was to be made again": event(
        "failed", 1.0, kind="transient", error="OSError"
    ),
    "the call was not answered after 1.00 s: AttemptTimedOut; nobody knows whether it happened": event(
        "failed", 1.0, kind="unknown", error="AttemptTimedOut"
    ),
    "let through after 1 µs": event("kept", 1e-6, attempts=1),
    "sent to review after 1 µs": event("routed", 1e-6, attempts=1, to="review"),
    "split into 3 rows after 1 µs": event("split", 1e-6, attempts=1, into=3),
    "gathered into a batch of 2 rows": event("batched", rows=2, members="5+6"),
    "brought together from parts 0, 1": event("joined", parts=[0, 1]),
    "begun elsewhere and not done after 1.00 s; to be asked about again in 1 h 0 min": event(
        "pending", 1.0, to_be_asked_after_s=3600.0
    ),
    "written as record 17 of out.jsonl": event("delivered", record=17, of="out.jsonl", together_with=0),
    "(5.1) written, in one go with 4 others": event("delivered", together_with=4),
    "written to the quarantine as record 2": event("quarantined", record=2, together_with=1),
    "went on in life 2, 2 h 0 min after the one before had ended": event("resumed", life=2, gap_s=7200.0),
}


@pytest.mark.parametrize("said", TOLD)
def test_each_thing_that_can_happen_is_told_in_words(said: str) -> None:
    told = msgspec.structs.replace(TOLD[said], of="5.1") if said.startswith("(5.1)") else TOLD[said]
    assert words(told) == said


def build(folder: Path, function: Any) -> Any:
    flow = Pipeline("job").source(sources.csv(folder / "in.csv")).map(function, workers=1, retry=Retry(3), version="1")
    return flow.sink(sinks.jsonl(folder / "out.jsonl")).quarantine(sinks.jsonl(folder / "bad.jsonl"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("id,name\n" + "".join(f'{n + 100},"row\n{n}"\n' for n in range(30)))
    return tmp_path


@pytest.fixture
def journal(folder: Path) -> Any:
    refused: list[str] = []

    def ask(row: dict[str, str]) -> dict[str, str]:
        if row["id"] == "107" and not refused:
            refused.append("107")
            raise RateLimited("slow down", retry_after=0.2)
        if int(row["id"]) % 10 == 5:
            raise ValueError("no such \x1b[2Jplace")
        return row

    build(folder, ask).run(journal=folder / "run.db")
    records = look_into(str(folder / "run.db"))
    yield records
    records.close()


def test_a_wait_says_for_what(journal: Records) -> None:
    told = story_text(explain(journal, 7))
    assert "refused" in told
    assert " for quota" in told
    assert "kind" not in told


def test_a_row_is_found_by_a_key_of_the_user_s(journal: Records) -> None:
    assert rows_where(journal, Expression('id == "107"'), 5) == [7]
    assert rows_where(journal, Expression('id.startsWith("10")'), 3) == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"of no row of .*in\.csv that is true$"):
        rows_where(journal, Expression('id == "1"'), 5)
    with pytest.raises(ConfigError, match="the row has no field 'nope'"):
        rows_where(journal, Expression("nope == 1"), 5)


def test_a_file_that_has_changed_is_not_taken_for_what_was_read(journal: Records, folder: Path) -> None:
    (folder / "in.csv").write_text("id,name\n107,other\n")
    with pytest.raises(ConfigError, match=r"in\.csv: has changed since it was read"):
        rows_where(journal, Expression('id == "107"'), 5)


def test_rows_are_found_by_the_error_that_ended_them(journal: Records) -> None:
    assert rows_by_error(journal, "ValueError") == [5, 15, 25]
    with pytest.raises(ConfigError, match="no row of the run 'job' ended by KeyError; there are 3 by ValueError"):
        rows_by_error(journal, "KeyError")


def test_a_source_that_is_no_file_says_so(tmp_path: Path) -> None:
    Pipeline("job").source([{"id": 1}]).map(len, retry=1).run(journal=tmp_path / "run.db")
    records = look_into(str(tmp_path / "run.db"))
    try:
        with pytest.raises(ConfigError, match="no file that can be read again"):
            rows_where(records, Expression("id == 1"), 5)
    finally:
        records.close()


def test_time_in_which_no_run_lived_is_no_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = threading.Event()

    def failing(row: dict[str, str]) -> dict[str, str]:
        if row["id"] == "107":
            first.set()
            raise ConnectionError("reset")
        return row

    run = build(folder, failing).start(journal=folder / "run.db")
    first.wait(30)
    run.abort()
    run.wait_ended()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600.0)
    build(folder, lambda row: row).run(journal=folder / "run.db", accept_changes=True)
    records = look_into(str(folder / "run.db"))
    try:
        story = explain(records, 7)
    finally:
        records.close()
    assert story.outcome == "delivered"
    waited = [event.waited_s for event in story.events if event.waited_s is not None]
    assert all(seconds < 3000.0 for seconds in waited), story
    if any(event.what == "failed" for event in story.events):
        (resumed,) = (event for event in story.events if event.what == "resumed")
        assert resumed.detail["life"] == 2
        assert resumed.detail["gap_s"] >= 3590.0  # type: ignore[operator]
        assert "went on in life 2" in story_text(story)
