"""Calls on the thread of their worker: what they tell of a chunk, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.actors.fake import Name

from headrace.actors.protocol import Answered, Assign
from headrace.runtime import RateLimited
from headrace.runtime.calls.threads import PART_S, SLICE_S, ThreadCalls

WORKER = Name("worker")


class Clock:
    """Time that passes in calls only."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told_of(rows: list[Any], function: Callable[[Clock, Any], Any]) -> tuple[list[Answered], list[float]]:
    """What is told of a chunk, and when."""
    clock = Clock()
    calls = ThreadCalls(lambda row: function(clock, row), "test", monotonic=clock)
    told: list[Answered] = []
    times: list[float] = []

    def tell(answered: Answered) -> None:
        told.append(answered)
        times.append(clock.now)

    calls.begin(Assign(7, range(10, 10 + len(rows)), rows), WORKER, tell)
    assert calls.progress() is None
    return told, times


def takes(seconds: float) -> Callable[[Clock, Any], Any]:
    def call(clock: Clock, row: Any) -> Any:
        clock.now += seconds
        if isinstance(row, Exception):
            raise row
        return row

    return call


def test_what_is_quick_is_told_at_once() -> None:
    (answered,), _ = told_of(list("abc"), takes(1e-6))
    assert (list(answered.seqs), answered.values, answered.complete) == ([10, 11, 12], ["a", "b", "c"], True)


def test_answers_go_out_while_the_chunk_goes_on() -> None:
    told, times = told_of(list("abcdefgh"), takes(PART_S / 2.5))
    assert [(list(each.seqs), each.values, each.complete) for each in told] == [
        ([10, 11, 12], ["a", "b", "c"], False),
        ([13, 14, 15], ["d", "e", "f"], False),
        ([16, 17], ["g", "h"], True),
    ]
    assert [round(each.busy_s / (PART_S / 2.5)) for each in told] == [3, 3, 2]
    assert times == sorted(times)


def test_each_fault_is_in_the_part_of_its_row() -> None:
    told, _ = told_of(["a", ValueError("b"), "c", "d", ValueError("e")], takes(PART_S / 2.5))
    assert [(list(each.seqs), [fault.seq for fault in each.faults]) for each in told] == [
        ([10, 12], [11]),
        ([13], [14]),
    ]


def test_a_chunk_whose_calls_have_become_slow_is_given_back_after_a_while() -> None:
    told, times = told_of(list("abcdef"), takes(SLICE_S / 1.5))
    assert [(list(each.seqs), list(each.unstarted)) for each in told] == [([10], []), ([11], [12, 13, 14, 15])]
    assert times[-1] < 2 * SLICE_S


def test_after_a_refusal_no_other_call_of_the_chunk_begins() -> None:
    told, _ = told_of(["a", "b", "c", RateLimited("no"), "e"], takes(PART_S / 2.5))
    assert [(list(each.seqs), list(each.unstarted)) for each in told] == [([10, 11, 12], []), ([], [14])]
    assert [fault.seq for fault in told[-1].faults] == [13]


def test_what_a_worker_leaves_is_all_that_it_has_done_of_the_chunk() -> None:
    """The part that it has told may not have arrived (L49)."""
    clock = Clock()
    left: list[Any] = []

    def call(row: Any) -> Any:
        clock.now += PART_S / 2.5
        if row == "f":
            progress = calls.progress()
            assert progress is not None
            left.extend(progress.results)
        return row

    calls = ThreadCalls(call, "test", monotonic=clock)
    calls.begin(Assign(7, range(7), list("abcdefg")), WORKER, lambda answered: None)
    assert left == list("abcde")
