"""The deadlines of rows: who is overdue, and whose answer comes too late (L05)."""

from __future__ import annotations

from headrace.actors.stages.deadlines import Deadlines
from headrace.actors.stages.key_queue import KeyQueue

QUEUE = KeyQueue(None, weighted=False)


def test_without_a_deadline_every_row_is_in_time() -> None:
    deadlines = Deadlines(None)
    assert deadlines.note(range(3), QUEUE, 0.0) is None
    assert deadlines.in_time(range(3), ["a", "b", "c"]) == (range(3), ["a", "b", "c"])
    assert deadlines.takes_fault(7)
    assert deadlines.overdue(1e9) == []


def test_somebody_looks_for_the_first_rows_only_and_then_for_the_next_ones() -> None:
    deadlines = Deadlines(2.0)
    assert deadlines.note(range(2), QUEUE, 0.0) == 2.0
    assert deadlines.note(range(2, 3), QUEUE, 1.5) is None
    assert deadlines.overdue(1.9) == []
    assert deadlines.overdue(2.0) == [(0, QUEUE), (1, QUEUE)]
    assert deadlines.next_in_s(2.0) == 1.5
    assert deadlines.overdue(3.5) == [(2, QUEUE)]
    assert deadlines.next_in_s(3.5) is None


def test_a_row_that_has_left_is_not_overdue() -> None:
    deadlines = Deadlines(1.0)
    deadlines.note(range(3), QUEUE, 0.0)
    deadlines.ended(1)
    assert deadlines.in_time([2], ["c"]) == ([2], ["c"])
    assert deadlines.overdue(1.0) == [(0, QUEUE)]


def test_what_becomes_of_a_row_that_has_ended_is_counted_as_late_L05() -> None:
    deadlines = Deadlines(1.0)
    deadlines.note(range(2), QUEUE, 0.0)
    deadlines.ended(0)
    assert deadlines.in_time([0, 1], ["a", "b"]) == ([1], ["b"])
    assert not deadlines.takes_fault(0)
    assert deadlines.late == 2
