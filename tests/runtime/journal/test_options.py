"""How a journal is kept: when its answers are durable, and what of them is never in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.runtime import Journal, Pending, Pipeline, Retry, RunFailed, sinks
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.audit import export
from headrace.runtime.journal.kept_run import KeptRun
from headrace.runtime.journal.options import REDACTED, redacted
from headrace.runtime.journal.stores import look_into

SECRET = "anna@example.org"


class Person(msgspec.Struct):
    n: int
    email: str


class Asks:
    """Answers with a secret; the call for `at` fails the run until that is None."""

    version = "1"

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.calls: list[int] = []

    def __call__(self, row: int) -> dict[str, Any]:
        self.calls.append(row)
        if row == self.at:
            raise ValueError(f"nobody is called {SECRET}")
        return {"n": row, "person": {"email": SECRET, "age": 40}}


def _run(asks: Asks, journal: Journal) -> Any:
    pipeline = Pipeline("job", window=100).source(range(300)).map(asks, workers=1, retry=1, on_error="fail")
    kept = pipeline.filter(lambda row: row["n"] != 5, name="keep")
    out = Path(str(journal.path)).parent / "out.jsonl"
    return kept.map(lambda row: row["person"]["email"], name="email").sink(sinks.jsonl(out)).run(journal=journal)


def _bytes_of(journal: Journal) -> bytes:
    """All that is on disk."""
    path = Path(str(journal.path))
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def _records(journal: Journal, kind: str) -> list[Any]:
    file = look_into(str(journal.path))
    try:
        records: list[Any] = [json.loads(line)["record"] for line in export(file)]
    finally:
        file.close()
    return [record for record in records if record["type"] == kind]


def test_no_row_goes_on_before_its_answer_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable: set[tuple[str, Any]] = set()
    commit = KeptRun.commit

    def committing(store: KeptRun, entries: list[Any]) -> None:
        commit(store, entries)
        for entry in entries:
            if isinstance(entry, protocol.Answers):
                durable.update((entry.node, seq) for seq in entry.seqs)

    monkeypatch.setattr(KeptRun, "commit", committing)
    hasty: list[int] = []

    def two(row: int) -> int:
        if ("one", row) not in durable:
            hasty.append(row)
        return row

    def write(row: int) -> None:
        if ("two", row) not in durable:
            hasty.append(row)

    pipeline = Pipeline("job").source(range(500)).map(lambda row: row, workers=4, name="one").map(two, workers=4)
    report = pipeline.sink(write).run(journal=Journal(tmp_path / "run.db", sync="row"))
    assert (report.delivered, hasty) == (500, [])
    assert len(durable) == 1000


@pytest.mark.parametrize("payloads", ["until_done", "never"])
def test_what_calls_answered_is_not_in_the_file_when_the_run_is_done(tmp_path: Path, payloads: Any) -> None:
    journal, asks = Journal(tmp_path / "run.db", payloads=payloads), Asks(at=250)
    with pytest.raises(RunFailed):
        _run(asks, journal)
    assert payloads == "until_done" or SECRET.encode() not in _bytes_of(journal)
    asks.at = None
    report = _run(asks, journal)
    assert (report.delivered, report.dropped) == (299, 1)
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [f'"{SECRET}"'] * 299
    assert SECRET.encode() not in _bytes_of(journal)
    # The account is whole all the same.
    answers = _records(journal, "answer")
    assert len([a for a in answers if a["stage"] == "Asks"]) == 300
    assert not [a for a in answers if a["stage"] == "Asks" and a.get("kept") is not False]
    assert {a["value"] for a in answers if a["stage"] == "keep" and "value" in a} <= {True, False}
    (fault,) = _records(journal, "fault")
    assert (fault["error"], fault["message"]) == ("ValueError", None)
    if payloads == "until_done":
        assert sorted(asks.calls) == sorted([*range(300), 250]), "nothing is paid for twice"
    else:
        assert 301 <= len(asks.calls) <= 301 + 100


def test_fields_that_are_redacted_never_enter(tmp_path: Path) -> None:
    journal, asks = Journal(tmp_path / "run.db", redact=("person.email",)), Asks(at=250)
    with pytest.raises(RunFailed):
        _run(asks, journal)
    values = {a["row"]: a["value"] for a in _records(journal, "answer") if a["stage"] == "Asks"}
    assert values[3] == {"n": 3, "person": {"email": REDACTED, "age": 40}}
    asks.at = None
    assert _run(asks, journal).delivered == 299
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 299
    assert (tmp_path / "out.jsonl").read_text().count(SECRET) == 299, "the answer itself goes on whole"
    stored = [a for a in _records(journal, "answer") if a["stage"] == "Asks"]
    assert SECRET not in json.dumps(stored)


def test_an_answer_without_such_a_field_is_whole(tmp_path: Path) -> None:
    journal, calls, stop = Journal(tmp_path / "run.db", redact=("email",)), list[int](), [True]

    def ask(row: int) -> Person | dict[str, int]:
        calls.append(row)
        if row == 50 and stop:
            raise ValueError("not yet")
        return {"n": row}

    ask.version = "1"  # type: ignore[attr-defined]
    for _ in range(2):
        pipeline = Pipeline("job").source(range(100)).map(ask, retry=1, on_error="fail", workers=1)
        try:
            pipeline.run(journal=journal)
        except RunFailed:
            stop.clear()
    assert sorted(calls) == sorted([*range(100), 50])


def test_the_state_of_a_pending_row_is_kept_whatever_is_left_out(tmp_path: Path) -> None:
    begun: list[int] = []

    def ask(row: int) -> dict[str, int]:
        from headrace.runtime import current_call

        if current_call().state is None:
            begun.append(row)
            raise Pending(0.2, {"job": row})
        return {"n": row}

    ask.version = "1"  # type: ignore[attr-defined]
    journal = Journal(tmp_path / "run.db", payloads="never")
    pipeline = Pipeline("job").source(range(10)).map(ask, workers=2)
    assert pipeline.run(journal=journal, suspend_after=0.02).state == "suspended"
    again = Pipeline("job").source(range(10)).map(ask, workers=2)
    assert again.run(journal=journal).delivered == 10
    assert sorted(begun) == list(range(10))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"sync": "rows"}, "sync is 'rows'; it can be 'group', 'row'"),
        ({"payloads": "none"}, "payloads is 'none'"),
        ({"within": -1.0}, "within=-1.0: seconds"),
        ({"redact": "email"}, "redact is 'email'; it is a list"),
    ],
)
def test_what_cannot_be_said_of_a_journal_is_told(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Journal("run.db", **options)


def test_a_journal_needs_a_path() -> None:
    with pytest.raises(ConfigError, match="a journal needs a path"):
        Pipeline("job").source([1]).run(journal=Journal(sync="row"))


PLAIN = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def _has(value: Any, path: tuple[str, ...]) -> bool:
    if isinstance(value, list):
        return any(_has(item, path) for item in value)
    if not isinstance(value, dict) or path[0] not in value:
        return False
    return value[path[0]] != REDACTED if len(path) == 1 else _has(value[path[0]], path[1:])


@given(PLAIN, st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple), max_size=3))
def test_what_is_redacted_is_gone_and_nothing_else(value: Any, paths: list[tuple[str, ...]]) -> None:
    before = json.dumps(value)
    out, found = redacted(value, tuple(paths))
    assert json.dumps(value) == before, "the answer itself is not touched"
    assert found is any(_has(value, path) for path in paths)
    assert not any(_has(out, path) for path in paths)
    assert found or out == value
    again, _ = redacted(out, tuple(paths))
    assert again == out


def test_the_file_of_a_job_says_how_its_journal_is_kept(tmp_path: Path) -> None:
    from headrace.runtime.files.pipeline_file import read

    (tmp_path / "in.csv").write_text("n\n1\n")
    job = tmp_path / "job.toml"
    lines = ["[source]", 'type = "csv"', f'path = "{tmp_path}/in.csv"']
    lines += ["[journal]", 'path = "run.db"', 'sync = "row"', "within = 0", 'redact = ["a.b"]']
    text = "\n".join(lines)
    job.write_text(text)
    assert read(job).journal == Journal("run.db", "row", 0, "keep", ("a.b",))
    job.write_text(text.replace('"row"', '"rows"').replace("redact", "redacted"))
    with pytest.raises(ConfigError) as told:
        read(job)
    assert "journal.sync" in str(told.value)
    assert "did you mean 'redact'" in str(told.value)


@pytest.mark.parametrize(
    "row",
    [
        {"person.address.email": "secret"},
        {"person": {"address.email": "secret"}},
        {"person.address": {"email": "secret"}},
        {"person.address": [{"email": "secret"}], "person": [{"address.email": "secret"}]},
    ],
)
def test_a_field_of_a_table_that_was_made_flat_is_redacted_L92(tmp_path: Path, row: Any) -> None:
    out, found = redacted({**row, "email": "kept"}, (("person", "address", "email"),))
    assert found
    assert "secret" not in str(out)
    assert out["email"] == "kept"
    journal = Journal(tmp_path / "run.db", redact=("person.address.email",))
    Pipeline("job").source([1]).map(lambda _: row).sink(lambda _: None).run(journal=journal)
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("journal", [{"redact": ("email",)}, {"payloads": "until_done"}, {"payloads": "never"}])
def test_messages_of_errors_are_left_out_where_answers_are(tmp_path: Path, journal: dict[str, Any]) -> None:
    """Nobody can say what is in them: of rows in quarantine, of attempts that failed, of the run that failed."""

    def ask(row: int) -> int:
        if row == 7:
            raise ConnectionError(f"no answer for {SECRET}")
        if row == 9:
            raise ValueError(f"nobody is called {SECRET}")
        return row

    kept = Journal(tmp_path / "run.db", **journal)
    report = Pipeline("job").source(range(20)).map(ask, retry=Retry(2, base=0.001)).run(journal=kept)
    assert report.quarantined == 2
    assert SECRET.encode() not in _bytes_of(kept)
    told = [*_records(kept, "fault"), *_records(kept, "ended")]
    assert {(record["error"], record["message"]) for record in told} == {
        ("ConnectionError", None),
        ("ValueError", None),
    }
