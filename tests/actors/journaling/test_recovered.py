"""What earlier lives of a run amount to."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.journaling.recovered import NEW, Answer, Recovered, Settlements, past_of
from headrace.actors.protocol import Ended, Status
from headrace.actors.rows.identity import Bundle

D, Q, X, CUT = Status.DELIVERED, Status.QUARANTINED, Status.DROPPED, Status.INTERRUPTED


def left(
    settled: list[tuple[Status, int, int]], entries: list[Any] | None = None, batches: Any = (), before: Any = None
) -> Recovered:
    return past_of(settled, batches, entries or [], before)


def test_nothing_was_left_to_a_run_that_is_new() -> None:
    assert left([]) == NEW
    assert NEW.rows == 0


def test_the_next_life_begins_with_the_first_row_that_is_not_done_and_knows_those_after_it_that_are() -> None:
    past = left([(D, 0, 0b111), (Q, 4, 0b1), (X, 6, 0b11)])
    assert (past.first, past.done) == (3, ((4, 0b1101),))
    assert past.counts == {D: 3, Q: 1, X: 2}
    assert past.rows == 6


@pytest.mark.parametrize("status", [Status.FAILED, CUT])
def test_what_failed_or_was_interrupted_is_to_be_done_again(status: Status) -> None:
    past = left([(D, 0, 0b1), (status, 1, 0b1), (D, 2, 0b1)])
    assert (past.first, past.done, past.counts) == (1, ((2, 0b1),), {D: 2})


def test_a_row_that_is_not_settled_after_all_is_to_be_done_again() -> None:
    past = left([(D, 0, 0b111), (Q, 3, 0b1), (Q, 3, -1), (D, 1, -1)])
    assert (past.first, past.done, past.counts) == (1, ((2, 0b1),), {D: 2, Q: 0})
    again = left([(Q, 0, 0b1), (Q, 0, -1), (D, 0, 0b1)])
    assert (again.first, again.counts) == (1, {Q: 0, D: 1})


def test_a_row_that_is_settled_again_counts_once() -> None:
    past = left([(D, 0, 0b11), (D, 1, 0b11)])
    assert (past.first, past.counts) == (3, {D: 3})


def test_rows_before_all_that_was_looked_at_are_done() -> None:
    past = left([(D, 100, 0b1)], before=Settlements(100, {D: 90, Q: 10}))
    assert (past.first, past.rows, past.counts) == (101, 101, {D: 91, Q: 10})


def test_a_batch_with_a_row_that_is_to_be_done_brings_all_of_its_rows_again() -> None:
    one, other, whole = Bundle((1, 3)), Bundle((3, 4)), Bundle((5, 6))
    past = left(
        [(D, 0, 0b11), (D, 3, 0b1), (Q, 4, 0b1), (D, 5, 0b11)], batches=[("b", one), ("c", other), ("b", whole)]
    )
    # Row 2 is open; rows 1 and 3 are a batch that is done, as 3 and 4 are.
    assert (past.first, past.again) == (2, ())
    past = left([(D, 0, 0b10), (Q, 4, 0b1), (D, 5, 0b11)], batches=[("b", one), ("c", other), ("b", whole)])
    # Row 3 is open: 1 comes again with it, and 4.
    assert past.first == 0
    assert sorted(past.again) == [(D, 1), (Q, 4)]
    assert past.done == ((5, 0b11),)
    assert past.batches == {"b": [one], "c": [other]}
    assert past.counts == {D: 2, Q: 0}


def test_a_batch_with_a_row_before_all_that_was_looked_at_is_looked_for_there() -> None:
    past = left([(D, 11, 0b1)], batches=[("b", Bundle((8, 11, 12)))], before=Settlements(10, {D: 10}))
    assert past.first == 8
    assert past.again == ((D, 11),)


def test_answers_and_ends_are_kept_of_rows_that_are_to_be_done_alone() -> None:
    well = Ended(1, Q, ValueError("no"), 1, None, "s")
    cut = Ended(3, CUT, None, 1, None, "s")
    done = Ended(0, Q, ValueError("no"), 1, None, "s")
    past = left(
        [(D, 0, 0b1)],
        [
            protocol.Answers("s", [0, 2, (4, 0, 2)], ["A", "C", "E"], {2: 3}),
            protocol.Ends("s", [well, cut, done]),
            protocol.Answers("t", [0], ["x"]),
        ],
    )
    assert past.answers == {"s": {2: Answer("C", 3), (4, 0, 2): Answer("E"), 1: Answer(ended=well)}, "t": {}}
    assert past.crowd == 3


def test_the_latest_answer_counts() -> None:
    past = left([], [protocol.Answers("s", [0], ["old"]), protocol.Answers("s", [0], ["new"])])
    assert past.answers["s"][0].value == "new"


def test_rows_that_are_pending_are_so_until_they_are_answered_or_done() -> None:
    past = left(
        [(D, 0, 0b1)],
        [protocol.Parked("s", row, f"state {row}", 1.0, 9.0) for row in range(4)]
        + [protocol.Answers("s", [2], ["C"]), protocol.Parked("s", 3, "later", 2.0, 5.0)],
    )
    assert past.parked == {"s": {1: ("state 1", 9.0), 3: ("later", 5.0)}}


def test_the_words_of_joins_are_kept_of_rows_that_are_to_be_done() -> None:
    past = left([(D, 0, 0b1)], [protocol.Decided("j", [0, 1], [(0,), (0, 2)])])
    assert past.joins == {"j": {1: (0, 2)}}


def test_the_source_is_read_from_the_last_place_that_is_not_behind_the_first_row_to_do() -> None:
    entries = [protocol.ReadTo(row, f"at {row}") for row in (2, 4, 6)]
    past = left([(D, 0, 0b11111)], entries)
    assert (past.row, past.place) == (4, "at 4")
    assert (left([], entries).row, left([], entries).place) == (0, None)
    past = left([(D, 0, 0b1111)], entries)
    assert (past.row, past.place) == (4, "at 4")


def test_how_far_each_sink_has_written_and_which_of_the_rows_to_do() -> None:
    past = left(
        [(D, 0, 0b11)],
        [
            protocol.Settled(D, [0, 1, 3], "out", 70),
            protocol.Settled(D, [5], "out"),
            protocol.Settled(CUT, [6], "out", 99),
            protocol.Settled(Q, [7], "bad", 12),
            protocol.Settled(D, [8], "blind"),
            protocol.Settled(X, [9]),
        ],
    )
    assert past.written == {"out": {3, 5}, "bad": {7}, "blind": {8}}
    assert past.places == {"out": 70, "bad": 12}


def test_what_no_journal_has_is_loud() -> None:
    with pytest.raises(AssertionError, match="a journal has no Gaps"):
        left([], [protocol.Gaps([0])])
