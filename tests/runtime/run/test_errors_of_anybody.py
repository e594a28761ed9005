"""L72: any exception of anybody's code, raised anywhere, is told with a text that can be read, blames the right one, hangs
nothing, and ends the run only where the run cannot go on. L19: it never hides what went wrong first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.actors.text import MESSAGE_CHARS_MAX, kind_of
from headrace.runtime import Executor, Pipeline, RunFailed
from headrace.runtime.run.outcome import Outcome
from headrace.runtime.run.report import RunReport
from headrace.scenarios.testing import simulate

from .errors_of_anybody import (
    KINDS,
    NOTELESS,
    ROWS_FAULT,
    RUN_FAILS,
    RUN_GOES_ON,
    UNREADABLE,
    Bills,
    Orders,
    Raise,
    source,
    with_classifier,
)

HANGS_S = 30.0
ROWS = len(KINDS)
kinds = pytest.mark.parametrize("kind", KINDS)


def _boom(kind: str) -> tuple[Raise, list[BaseException]]:
    """What raises, and what it has raised."""
    raised: list[BaseException] = []

    def boom(*_: Any) -> Any:
        raised.append(KINDS[kind]())
        raise raised[-1]

    return boom, raised


def _readable(text: str, kind: str) -> None:
    assert text.encode("utf-8")
    assert len(text) < MESSAGE_CHARS_MAX + 300
    assert "\x1b" not in text
    assert "\n" not in text
    if kind in UNREADABLE:
        assert "the message cannot be read: __str__ raised" in text


def _each(raised: dict[str, BaseException]) -> Raise:
    """What raises, asked about a row, the kind of exception that the row names."""

    def boom(row: Any, *_: Any) -> Any:
        kind = str(row)
        raised[kind] = KINDS[kind]()
        raise raised[kind]

    return boom


def _name(place: str, kind: str, error: BaseException) -> str:
    made_by_python = kind == "StopIteration" and ("items" in place or "coroutine" in place)
    # A generator and a coroutine cannot raise it, so Python makes this of it.
    return "RuntimeError" if made_by_python else kind_of(error)


@pytest.mark.parametrize("place", ROWS_FAULT)
def test_it_is_the_fault_of_its_row_L72(place: str) -> None:
    raised: dict[str, BaseException] = {}
    records: list[dict[str, Any]] = []
    pipeline = ROWS_FAULT[place](_each(raised)).sink(lambda row: None).quarantine(records.append)
    report = pipeline.start().wait(HANGS_S)
    assert (report.state, report.rows, report.delivered, report.quarantined) == ("completed", ROWS, 0, ROWS)
    assert sorted(record["seq"] for record in records) == [*range(ROWS)]
    assert len(raised) == ROWS
    for record in records:
        kind = [*KINDS][record["seq"]]
        assert record["error"] == _name(place, kind, raised[kind])
        assert record["message"].encode("utf-8") is not None
        assert len(record["message"]) < MESSAGE_CHARS_MAX + 300
        assert kind not in UNREADABLE or "cannot be read" in record["message"]
        assert "ask" in record["stage"]


def test_the_error_of_the_outcome_is_the_one_that_was_raised_L72() -> None:
    raised: dict[str, BaseException] = {}
    outcomes = list(source().map(_each(raised)).stream())
    assert [outcome.status for outcome in outcomes] == ["quarantined"] * ROWS
    for kind, outcome in zip(KINDS, outcomes, strict=True):
        assert outcome.error is raised[kind]


def test_a_classifier_that_raises_does_not_hide_the_rows_error_L19() -> None:
    raised: dict[str, BaseException] = {}
    records: list[dict[str, Any]] = []
    pipeline = with_classifier(_each(raised)).sink(lambda row: None).quarantine(records.append)
    report = pipeline.start().wait(HANGS_S)
    assert (report.state, report.delivered, report.quarantined) == ("completed", 0, ROWS)
    for record in records:
        kind = record["row"]
        assert record["error"] == "ValueError"
        assert record["message"].startswith(f"{kind} (classify= could not say what that means: it raised ")
        assert kind_of(raised[kind]) in record["message"]
        _readable(record["message"], kind)


@pytest.mark.parametrize("place", RUN_FAILS)
def test_a_run_that_cannot_go_on_says_who_is_to_blame_L72(place: str) -> None:
    make, blame = RUN_FAILS[place]
    for kind in KINDS:
        boom, raised = _boom(kind)
        with pytest.raises(RunFailed) as failed:
            make(boom).start().wait(HANGS_S)
        assert any(failed.value.__cause__ is error for error in raised), kind
        text = str(failed.value)
        _readable(text, kind)
        assert text.startswith(f"job: {kind_of(raised[0])}"), kind
        assert kind in NOTELESS or blame in text
        assert failed.value.report.state == "failed"


@pytest.mark.parametrize("place", RUN_GOES_ON)
def test_what_closing_raises_is_a_note_with_a_name_L19(place: str) -> None:
    make, blame = RUN_GOES_ON[place]
    for kind in KINDS:
        boom, raised = _boom(kind)
        report = make(boom).start().wait(HANGS_S)
        assert (report.state, report.delivered, report.quarantined) == ("completed", ROWS, 0), kind
        [note] = report.notes
        _readable(note, kind)
        assert kind_of(raised[0]) in note
        assert kind in NOTELESS or blame in note


@kinds
def test_the_first_error_is_the_runs_and_later_ones_are_notes_on_it_L19(kind: str) -> None:
    boom, raised = _boom(kind)
    pipeline = Pipeline("job").source(Orders("close", boom)).map(str).sink(Bills("write", _first))
    with pytest.raises(RunFailed, match="job: LookupError: first") as failed:
        pipeline.start().wait(HANGS_S)
    assert isinstance(failed.value.__cause__, LookupError)
    assert any(kind_of(raised[0]) in note for note in failed.value.__cause__.__notes__)


@kinds
def test_an_error_that_is_first_gets_the_later_ones_as_notes_or_stays_as_it_is_L19(kind: str) -> None:
    boom, raised = _boom(kind)
    with pytest.raises(RunFailed) as failed:
        Pipeline("job").source(Orders("close", _first)).map(str).sink(Bills("write", boom)).start().wait(HANGS_S)
    assert failed.value.__cause__ is raised[0]
    assert any("LookupError: first" in note for note in failed.value.report.notes)


def _first() -> None:
    raise LookupError("first")


@pytest.mark.parametrize("place", ROWS_FAULT)
def test_the_simulation_says_so_of_rows_L72(place: str) -> None:
    report = simulate(ROWS_FAULT[place](_each({})).sink(lambda row: None)).report
    assert (report.state, report.delivered, report.quarantined) == ("completed", 0, ROWS)


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "CancelledError", "StrRaises", "NotesRaise"])
@pytest.mark.parametrize("place", [*RUN_FAILS, *RUN_GOES_ON])
def test_the_simulation_says_so_of_runs_L72(place: str, kind: str) -> None:
    boom, raised = _boom(kind)
    if place in RUN_FAILS:
        simulated = simulate(RUN_FAILS[place][0](boom))
        assert simulated.report.state == "failed"
        assert any(simulated.errors[0] is error for error in raised)
    else:
        report = simulate(RUN_GOES_ON[place][0](boom)).report
        assert (report.state, report.delivered) == ("completed", ROWS)
        [note] = report.notes
        _readable(note, kind)


@kinds
def test_an_executor_hands_it_to_its_caller_L72(kind: str) -> None:
    boom, raised = _boom(kind)
    with Executor(2) as executor:
        error = executor.submit(boom).exception(HANGS_S)
        assert error is raised[0]
        outcomes: list[Outcome[Any]] = executor.execute_batch(boom, [1, 2], timeout=HANGS_S)
        assert {id(outcome.error) for outcome in outcomes} == set(map(id, raised[1:]))
        assert executor.submit(str, 1).result(HANGS_S) == "1"


@kinds
def test_a_callback_that_raises_concerns_nobody_else_L72(kind: str) -> None:
    boom, _ = _boom(kind)
    called = threading.Event()
    run = source().map(str).start()
    run.add_done_callback(boom)
    run.add_done_callback(lambda report: called.set())
    assert run.wait(HANGS_S).state == "completed"
    assert called.wait(HANGS_S)


# --- rows that cannot be looked at ---


class Untouchable:
    """A row, each of whose methods raises."""

    def _raise(self, *_: Any) -> Any:
        raise KeyboardInterrupt("do not touch")

    __eq__ = __bool__ = __len__ = __iter__ = __repr__ = __str__ = __getattr__ = __lt__ = __contains__ = _raise
    __hash__ = _raise


ROWS_PASS = {
    "map": lambda flow: flow.map(lambda row: row),
    "a coroutine function": lambda flow: flow.map(_echo),
    "filter": lambda flow: flow.filter(lambda row: True),
    "tap": lambda flow: flow.tap(lambda row: row),
    "route": lambda flow: flow.route(lambda row: "a", a=lambda a: a.map(lambda row: row)),
    "flat_map": lambda flow: flow.flat_map(lambda row: [row]),
    "fork and join": lambda flow: flow.fork(a=lambda f: f.map(lambda r: r), b=lambda f: f).join(
        merge=lambda row, parts: parts["a"]
    ),
    "batch": lambda flow: flow.batch(2).unbatch(),
    "batch by key": lambda flow: flow.batch(2, key=lambda row: 1).unbatch(),
    "a limit by key": lambda flow: flow.map(lambda row: row, limit="1000/s"),
}


async def _echo(row: Any) -> Any:
    return row


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("node", ROWS_PASS)
def test_rows_that_cannot_be_looked_at_go_through_untouched_L72(node: str, ordered: bool) -> None:
    rows, got = [Untouchable() for _ in range(20)], list[Any]()
    report = ROWS_PASS[node](Pipeline(ordered=ordered).source(rows)).sink(got.append).start().wait(HANGS_S)
    assert (report.state, report.delivered, report.quarantined) == ("completed", len(rows), 0)
    assert {id(row) for row in got} == {id(row) for row in rows}
    assert not ordered or all(row is same for row, same in zip(got, rows, strict=True))


def test_rows_that_cannot_be_looked_at_are_quarantined_untouched_L72() -> None:
    rows, got = [Untouchable() for _ in range(5)], list[dict[str, Any]]()
    boom, _ = _boom("OwnBase")
    report: RunReport = Pipeline().source(rows).map(boom).quarantine(got.append).start().wait(HANGS_S)
    assert report.quarantined == len(rows)
    assert {id(record["row"]) for record in got} == {id(row) for row in rows}


@pytest.mark.parametrize("place", ["filter", "route", "key of a limit", "key of a batch", "flat_map"])
def test_an_answer_that_cannot_be_looked_at_is_the_fault_of_its_row_L72(place: str) -> None:
    report = ROWS_FAULT[place](lambda row: Untouchable()).sink(lambda row: None).start().wait(HANGS_S)
    assert (report.state, report.delivered, report.quarantined) == ("completed", 0, ROWS)


class Collides:
    """A key that is found among others only by comparing it, which raises."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise OSError("not to be compared")


@pytest.mark.parametrize("place", ["key of a limit", "key of a batch"])
def test_keys_that_cannot_be_compared_are_the_fault_of_their_rows_L72(place: str) -> None:
    report = ROWS_FAULT[place](lambda row: Collides()).sink(lambda row: None).start().wait(HANGS_S)
    assert report.state == "completed"
    assert report.delivered + report.quarantined == ROWS
    assert report.quarantined >= ROWS - 1


class SaysFive(list[int]):
    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[int]:
        raise OSError("not to be iterated")


def test_a_list_that_lies_about_itself_is_taken_as_it_is_L72() -> None:
    got: list[int] = []
    report = Pipeline().source(range(4)).batch(2).map(SaysFive).unbatch().sink(got.append).start().wait(HANGS_S)
    assert (report.state, report.delivered) == ("completed", 4)
    assert got == [0, 1, 2, 3]
