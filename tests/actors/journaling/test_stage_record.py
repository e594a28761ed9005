"""A stage's share of the journal: what is told, what is remembered, what waits."""

from __future__ import annotations

from typing import Any

import pytest
from tests.actors.fake import Fake, Name

from headrace.actors import protocol
from headrace.actors.journaling.recovered import Answer
from headrace.actors.journaling.stage_record import Encoders, StageRecord
from headrace.actors.protocol import Closure, Ended, Fault, Kind, Status
from headrace.actors.relay import Relay

JOURNAL = Name("journal")


def recording(**options: Any) -> tuple[StageRecord, Fake]:
    """A record that is in the hands of some actor, at 5 s."""
    record = StageRecord("call", options.pop("journal", JOURNAL), **options)
    fake = Fake(Relay.__new__(_Holder), "holder")
    fake.pass_time(5.0)
    record.start(fake)
    return record, fake


class _Holder(Relay):
    def start(self, context: Any) -> None:
        """It does nothing of itself."""


def written(value: Any) -> Any:
    return repr(value).encode()


def test_an_answer_is_told_as_it_is_kept_and_the_row_goes_on_as_it_is() -> None:
    record, fake = recording(keeps=Encoders(written, written))
    kept, unkept = record.keep([{"a": 1}, 2])
    assert unkept == []
    assert record.answered([3, 4], [{"a": 1}, 2], kept, ["r", "s"], {4: 2}, 0.25) is True
    assert fake.told == [
        (JOURNAL, protocol.Answers("call", [3, 4], [b"{'a': 1}", b"2"], {4: 2}, 5.0, 0.25, None)),
    ]
    assert record.held == 0


def test_where_rows_wait_until_their_answers_are_durable_they_go_on_in_order() -> None:
    record, fake = recording(holds=True)
    assert record.answered([0, 1], ["A", "B"], ["A", "B"], ["a", "b"], None, 0.1) is False
    assert record.answered([2], ["C"], ["C"], ["c"], {2: 3}, 0.1) is False
    assert record.held == 3
    assert [m.reply_to for m in fake.take(protocol.Answers)] == [fake.me] * 2
    (leaving,) = record.kept(1)
    assert (leaving.seqs, leaving.values, leaving.rows, leaving.attempts) == ([0, 1], ["A", "B"], ["a", "b"], None)
    assert record.held == 1
    (leaving,) = record.kept(1)
    assert (leaving.seqs, leaving.attempts, record.held) == ([2], {2: 3}, 0)


def test_without_a_journal_nothing_is_told_and_nothing_waits() -> None:
    record, fake = recording(journal=None, holds=True)
    assert record.keep(["A"]) == (["A"], [])
    assert record.answered([0], ["A"], ["A"], ["a"], None, 0.1) is True
    record.answered_last([1], ["B"])
    record.failed([Fault(0, Kind.TRANSIENT, OSError())], 0.1)
    record.parked(0, "state", 1.0)
    record.cooled(9.0, Closure.REFUSED)
    assert (fake.told, record.held, record.remembers) == ([], 0, False)


def test_what_is_told_bears_the_time_the_stage_and_how_long_it_took() -> None:
    record, fake = recording(keeps=Encoders(written, written))
    faults = [Fault(0, Kind.TRANSIENT, OSError())]
    record.failed(faults, 0.5)
    record.parked(1, "state", 60.0)
    record.cooled(9.0, Closure.OUTAGE)
    record.answered_last([2], ["C"])
    record.answered_last([], [])
    assert [m for _, m in fake.told] == [
        protocol.Faulted("call", faults, 5.0, 0.5),
        protocol.Parked("call", 1, b"'state'", 5.0, 60.0),
        protocol.Cooled("call", 5.0, 9.0, Closure.OUTAGE),
        protocol.Answers("call", [2], [b"'C'"], None, 5.0),
    ]


def _cannot(value: Any) -> Any:
    raise ValueError("cannot be kept")


def test_what_cannot_be_kept_is_told_by_its_place_but_not_in_the_last_word_of_a_run_that_has_an_error_L62() -> None:
    record, fake = recording(keeps=Encoders(lambda value: _cannot(value) if value == "B" else value, _cannot))
    kept, (unkept,) = record.keep(["A", "B", "C"])
    assert (kept, unkept.index, str(unkept.error)) == (["A", None, "C"], 1, "cannot be kept")
    with pytest.raises(ValueError, match="cannot be kept"):
        record.parked(0, "state", 1.0)
    record.answered_last([1], ["B"])
    assert fake.told == []
    record.answered_last([0, 1, 2], ["A", "B", "C"])
    assert [m.seqs for m in fake.take(protocol.Answers)] == [[0, 2]]


def test_what_is_known_of_rows_is_told_once_and_then_forgotten_L26() -> None:
    ended = Ended(1, Status.DROPPED, None, 1, "as it was", "call")
    record, _ = recording(known={0: Answer("A", 2), 1: Answer(ended=ended), 5: Answer("F")}, parked={2: ("state", 8.0)})
    assert record.remembers
    found = record.recall(range(4), ["a", "b", "c", "d"])
    assert found.rest == ([3], ["d"])
    assert found.answered == ([0], ["A"], ["a"])
    assert found.attempts == {0: 2}
    assert [(end.seq, end.value) for end in found.ended] == [(1, "b")]
    assert found.pending == [(2, "c", "state", 8.0)]
    assert record.remembers, "of row 5"
    again = record.recall(range(6), list("abcdef"))
    assert again.rest == ([0, 1, 2, 3, 4], list("abcde"))
    assert (again.answered, again.attempts) == (([5], ["F"], ["f"]), {})
    assert not record.remembers


def test_rows_that_are_pending_alone_are_remembered_too() -> None:
    record, _ = recording(parked={2: ("state", 8.0)})
    assert record.remembers
