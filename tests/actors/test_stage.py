"""The stage, message by message: its rows, their deadlines, its end."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.edges.operators import ONWARD, Filter, Map, Switch, Tap
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, PermitsGranted, Rows, Status
from headrace.actors.stage import Stage
from headrace.actors.stages.dispatch import Dispatch
from headrace.actors.stages.terms import StageTerms
from tests.actors.fake import Fake
from tests.actors.stages.fixtures import (
    CONDUCTOR,
    GOVERNOR,
    NEXT,
    answer,
    assigned,
    ends,
    faulted,
    staged,
)


def test_every_row_s_deadline_is_watched_and_not_only_the_first_one_s() -> None:
    fake = staged(deadline_s=1.0)
    for row in range(4):
        fake.receive(Rows([row], [f"r{row}"]))
        fake.pass_time(0.25)
    gone = []
    for _ in range(4):
        gone.append(sorted(ends(fake)))
        fake.pass_time(0.25)
    assert gone == [[0], [1], [2], [3]]
    fake.pass_time(1.0)
    fake.receive(Rows([4, 5], ["r4", "r5"]))
    fake.pass_time(0.9)
    assert ends(fake) == {}
    fake.pass_time(0.1)
    told = ends(fake)
    assert sorted(told) == [4, 5], "after a pause as before it"
    assert str(told[4].error) == "not done within 1 s (deadline of stage 'call', waits included)"
    assert told[4].value == "r4"


def test_a_row_that_was_answered_in_time_has_no_deadline_left() -> None:
    fake = staged(deadline_s=1.0)
    fake.receive(Rows([0, 1], ["a", "b"]), PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(answer(worker, assign, [0], complete=True))
    assert [list(rows.seqs) for rows in fake.take(Rows)] == [[0]]
    fake.pass_time(5.0)
    assert list(ends(fake)) == [1]


def test_what_is_answered_after_the_deadline_reaches_nobody_and_is_counted_L05() -> None:
    fake = staged(deadline_s=1.0)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.pass_time(1.0)
    assert list(ends(fake)) == [0]
    fake.receive(answer(worker, assign, [0], complete=True))
    assert fake.take(Rows) == []
    counted = fake.actor.statistics()
    assert (counted.late, counted.unknown, counted.answered) == (1, 1, 0)


def test_a_row_that_is_withdrawn_while_it_waits_or_rests_is_dropped_and_one_that_is_called_is_not() -> None:
    fake = staged(workers=1)
    fake.receive(Rows(range(3), ["a", "b", "c"]), PermitsGranted(Epoch(0), 3))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.TRANSIENT))
    ((worker, second),) = assigned(fake)
    fake.receive(protocol.Retract([0, 1, 2]), protocol.EndOfRows(3))
    told = ends(fake)
    assert {seq: (e.status, str(e.error)) for seq, e in told.items()} == {
        0: (Status.DROPPED, "withdrawn before it began"),
        2: (Status.DROPPED, "withdrawn before it began"),
    }
    fake.pass_time(100.0)
    fake.receive(answer(worker, second, [1], complete=True))
    assert [list(rows.seqs) for rows in fake.take(Rows)] == [[1]]


def test_the_end_is_passed_on_after_the_last_row_and_once() -> None:
    fake = staged(workers=1)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1), protocol.EndOfRows(1))
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, [0], ["A"], [], [], True, 0.01))
    assert [type(m) for whom, m in fake.told if whom == NEXT] == [Rows, protocol.EndOfRows]
    assert [m for whom, m in fake.told if whom == CONDUCTOR] == [protocol.Drained(fake.me)]


def test_an_aborted_stage_waits_a_moment_for_its_calls_so_that_none_begins_after_the_closes_L17() -> None:
    fake = staged()
    fake.receive(Rows(range(5), list("abcde")), PermitsGranted(Epoch(0), 2, paced=True))
    (one, first), (two, second) = assigned(fake)
    fake.receive(protocol.Abort("enough"))
    assert [m for _, m in fake.told if isinstance(m, protocol.CancelCalls)] != []
    assert fake.take(protocol.Drained) == []
    fake.receive(answer(one, first, [0], complete=True))
    assert fake.take(protocol.Drained) == []
    fake.receive(answer(two, second, [1], complete=True))
    assert len(fake.take(protocol.Drained)) == 1


def test_an_aborted_stage_does_not_wait_for_calls_that_hang_L34() -> None:
    fake = staged()
    fake.receive(Rows(range(5), list("abcde")), PermitsGranted(Epoch(0), 2, paced=True), protocol.Abort("enough"))
    fake.take(protocol.Drained)
    fake.pass_time(0.06)
    assert len(fake.take(protocol.Drained)) == 1


def test_a_part_of_an_answer_that_comes_twice_counts_once_L05() -> None:
    fake = staged(workers=4, dispatch=Dispatch.on_a_loop(4))
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    ((worker, assign),) = assigned(fake)
    fake.receive(answer(worker, assign, [0, 1]))
    fake.take(Rows)
    fake.receive(answer(worker, assign, [1, 2]))
    (passed,) = fake.take(Rows)
    assert list(passed.seqs) == [2]


def test_calls_of_rows_whose_deadline_has_passed_are_ended_with_the_stage() -> None:
    fake = staged(workers=2, deadline_s=1.0)
    fake.receive(Rows([0, 1], ["a", "b"]), PermitsGranted(Epoch(0), 2, paced=True), protocol.EndOfRows(2))
    fake.told = []
    fake.pass_time(1.0)
    kinds = [type(m) for _, m in fake.told]
    assert protocol.EndOfRows in kinds
    assert protocol.CancelCalls in kinds
    assert protocol.Drained not in kinds
    fake.pass_time(0.1)
    assert len(fake.take(protocol.Drained)) == 1


def ending(operator: Any, workers: int = 4) -> Fake:
    """A stage of coroutines that lets its rows go so."""
    terms, outputs = StageTerms("call", workers, Dispatch.on_a_loop(workers)), Outputs("call", {ONWARD: Port(NEXT)})
    return Fake(Stage(terms, GOVERNOR, outputs, CONDUCTOR, lambda ref: Stage.__new__(Stage), operator), "stage")


@pytest.mark.parametrize("operator", [Map(), Tap(), Filter(), Switch()], ids=lambda operator: type(operator).__name__)
def test_what_a_stage_counts_adds_up_at_any_time_whatever_its_answers_mean(operator: Any) -> None:
    fake = ending(operator)
    for message in (protocol.Start(), Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4)):
        fake.receive(message)
        assert fake.actor.statistics().traffic.adds_up
    ((worker, assign),) = assigned(fake)
    for seqs, answers in (([1], [None]), ([2, 0], ["", None])):
        fake.receive(Answered(assign.id, worker, seqs, answers, [], [], False, 0.01))
        assert fake.actor.statistics().traffic.adds_up
    assert fake.actor.statistics().traffic.here == 1


def test_a_row_that_goes_on_as_it_was_is_its_own_whatever_part_of_its_assignment_was_answered() -> None:
    fake = ending(Tap())
    fake.receive(protocol.Start(), Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    ((worker, assign),) = assigned(fake)
    fake.receive(answer(worker, assign, [2]), answer(worker, assign, [3, 0]), answer(worker, assign, [1]))
    assert [(list(m.seqs), m.values) for m in fake.take(Rows)] == [([2], ["c"]), ([3, 0], ["d", "a"]), ([1], ["b"])]


def test_rows_that_came_as_a_range_are_called_and_go_on_as_one() -> None:
    """So that a chunk of them costs no more than one of them, here and behind."""
    fake = ending(Map())
    fake.receive(protocol.Start(), Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    ((worker, assign),) = assigned(fake)
    assert assign.seqs == range(4)
    fake.receive(Answered(assign.id, worker, assign.seqs, list("ABCD"), [], [], True, 0.01))
    assert fake.take(Rows) == [Rows(range(4), list("ABCD"))]


def test_attempts_name_only_rows_that_took_more_than_one() -> None:
    fake = staged(workers=4, dispatch=Dispatch.on_a_loop(4))
    fake.receive(Rows(range(4), list("abcd"), {3: 2}), PermitsGranted(Epoch(0), 4))
    ((worker, assign),) = assigned(fake)
    faults = [Fault(1, Kind.TRANSIENT, ConnectionError()), Fault(2, Kind.PENDING, RuntimeError(), 1.0)]
    fake.receive(Answered(assign.id, worker, [0], ["A"], faults, [], False, 0.01))
    fake.receive(answer(worker, assign, [3]))
    assert [m.attempts for m in fake.told_to(NEXT, Rows)] == [None, {3: 2}]
    fake.told = []
    fake.pass_time(10.0)
    fake.receive(PermitsGranted(Epoch(0), 2))
    fake.receive(*(answer(worker, a, list(a.seqs)) for worker, a in assigned(fake)))
    assert [n for m in fake.take(Rows) for n in (m.attempts or {}).items()] == [(1, 2)], "a ticket is no attempt"


def test_what_a_worker_answers_after_it_was_given_up_reaches_nobody_and_is_counted_L05() -> None:
    fake = staged(workers=1, on_unknown="quarantine")
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.Died(worker, TimeoutError()))
    assert list(ends(fake)) == [0]
    fake.receive(answer(worker, assign, [0], complete=True))
    assert fake.told == []
    counted = fake.actor.statistics()
    assert (counted.late, counted.answered, counted.in_flight) == (1, 0, 0)
