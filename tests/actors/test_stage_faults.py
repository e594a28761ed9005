"""The stage and calls that do not answer: refusals, failures, outages, workers that are lost, rows that are pending."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.actor import UnknownMessage
from headrace.actors.journaling.recovered import Answer
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, PermitsGranted, Rows, Status
from headrace.actors.stages.backoff import Backoff
from headrace.actors.stages.dispatch import Dispatch
from headrace.actors.text import remarks_of
from headrace.actors.worker import Progress
from tests.actors.stages.fixtures import (
    CONDUCTOR,
    GOVERNOR,
    NEXT,
    answer,
    assigned,
    ends,
    faulted,
    refused,
    remembering,
    staged,
)


def test_a_refused_row_is_the_next_to_go_and_costs_no_attempt_L11_L54() -> None:
    fake = staged()
    fake.receive(Rows(range(5), list("abcde")), PermitsGranted(Epoch(0), 2, paced=True))
    (one, first), (_, second) = assigned(fake)
    assert (list(first.seqs), list(second.seqs)) == ([0], [1])
    fake.receive(refused(one, first))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED), protocol.CooldownEnded(Epoch(1)))
    fake.receive(PermitsGranted(Epoch(1), 1, paced=True))
    ((_, again),) = assigned(fake)
    assert list(again.seqs) == [0]
    assert again.attempts in (None, {0: 1})


def test_a_lost_worker_costs_one_attempt_of_the_row_it_was_in_L49() -> None:
    fake = staged(workers=1, on_unknown="quarantine")
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, _),) = assigned(fake)
    fake.receive(protocol.Died(worker, MemoryError()))
    (outcomes,) = fake.take(protocol.Outcomes)
    assert [(e.seq, type(e.error)) for e in outcomes.ended] == [(0, MemoryError)]


def test_the_calls_of_a_chunk_that_fail_are_told_of_in_one_message() -> None:
    fake = staged(workers=1)
    fake.receive(Rows(range(100), [0] * 100), PermitsGranted(Epoch(0), 100))
    ((worker, first),) = assigned(fake)
    # A quick call: the next ones come in a chunk.
    fake.receive(Answered(first.id, worker, first.seqs, first.values, [], (), True, 1e-6))
    ((worker, assign),) = assigned(fake)
    faults = [Fault(seq, Kind.PERMANENT, ValueError(seq)) for seq in assign.seqs]
    fake.receive(Answered(assign.id, worker, (), [], faults, (), True, 1e-6))
    (told,) = fake.take(protocol.Outcomes)
    assert [end.seq for end in told.ended] == list(assign.seqs)
    assert len(assign.seqs) > 1


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.REFUSED, Kind.UNKNOWN, Kind.PERMANENT, Kind.PENDING])
def test_a_row_that_fails_after_its_deadline_has_ended_already(kind: Kind) -> None:
    fake = staged(deadline_s=1.0)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.pass_time(1.0)
    assert list(ends(fake)) == [0]
    fake.receive(faulted(worker, assign, kind), protocol.EndOfRows(1))
    fake.pass_time(100.0)
    assert ends(fake) == {}
    assert fake.actor.statistics().late == 1


@pytest.mark.parametrize("dispatch", [Dispatch.in_threads(), Dispatch.on_a_loop(1)], ids=["threads", "loop"])
def test_a_hint_of_a_failed_call_delays_its_row_s_next_attempt_and_no_other_row(dispatch: Dispatch) -> None:
    fake = staged(workers=1, dispatch=dispatch)
    fake.receive(Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.TRANSIENT, retry_after_s=7.0))
    assert fake.take(protocol.LimitHit) == [], "it was no refusal"
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((_, other),) = assigned(fake)
    assert list(other.seqs) == [1]
    fake.receive(answer(worker, other, [1], complete=True))
    fake.pass_time(6.9)
    assert fake.take(protocol.PermitsWanted) == []
    fake.pass_time(0.2)
    assert [m.n for m in fake.take(protocol.PermitsWanted)] == [1]
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((_, again),) = assigned(fake)
    assert (list(again.seqs), again.attempts) == ([0], {0: 2})


def test_a_hint_that_is_shorter_than_the_backoff_hastens_nothing() -> None:
    fake = staged(workers=1, backoff=Backoff(base_s=8.0))
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.TRANSIENT, retry_after_s=0.5))
    fake.told = []
    fake.pass_time(3.9)
    assert fake.take(protocol.PermitsWanted) == []
    fake.pass_time(0.2)
    assert [m.n for m in fake.take(protocol.PermitsWanted)] == [1]


def test_a_row_is_tried_as_often_as_is_said_and_ends_with_its_last_error() -> None:
    fake = staged(workers=1, backoff=Backoff(attempts=3))
    fake.receive(Rows([0], ["a"]))
    for attempt in (1, 2, 3):
        fake.receive(PermitsGranted(Epoch(0), 1))
        ((worker, assign),) = assigned(fake)
        assert (assign.attempts or {0: 1}) == {0: attempt}
        fake.receive(faulted(worker, assign, Kind.TRANSIENT, error=OSError(attempt)))
        if attempt < 3:
            assert ends(fake) == {}
            fake.pass_time(10.0)
    (end,) = ends(fake).values()
    assert (end.status, end.attempts, end.value, end.stage, str(end.error)) == (
        Status.QUARANTINED,
        3,
        "a",
        "call",
        "3",
    )
    counted = fake.actor.statistics()
    assert (counted.calls, counted.retries, counted.answered) == (3, 2, 0)


def test_what_will_fail_again_is_not_tried_again() -> None:
    fake = staged(workers=1)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.PERMANENT, error=ValueError("no")))
    (end,) = ends(fake).values()
    assert (end.status, end.attempts) == (Status.QUARANTINED, 1)


@pytest.mark.parametrize("on_error", ["quarantine", "fail", "drop"])
def test_what_becomes_of_a_row_that_fails_is_what_was_said(on_error: Any) -> None:
    fake = staged(workers=1, on_error=on_error)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    error = ValueError("no")
    fake.receive(faulted(worker, assign, Kind.PERMANENT, error=error))
    assert [m.error for whom, m in fake.told if whom == CONDUCTOR] == ([error] if on_error == "fail" else [])
    (end,) = ends(fake).values()
    status = {"quarantine": Status.QUARANTINED, "fail": Status.FAILED, "drop": Status.DROPPED}[on_error]
    assert end.status is status
    where = ["row 0 in 'call'"] if on_error == "fail" else []
    assert remarks_of(error) == where, "the error of a run that has failed says which row it was"


def test_a_row_that_is_refused_too_often_ends_and_says_how_to_allow_more() -> None:
    fake = staged(workers=1, backoff=Backoff(refusals=2))
    fake.receive(Rows([0], ["a"]))
    refusal = RuntimeError("429")
    for epoch in range(3):
        fake.receive(PermitsGranted(Epoch(epoch), 1))
        ((worker, assign),) = assigned(fake)
        assert ends(fake) == {}
        fake.receive(faulted(worker, assign, Kind.REFUSED, error=refusal))
        told = ends(fake)
        fake.receive(protocol.CooldownBegan(Epoch(epoch + 1), 1.0, protocol.Closure.REFUSED))
        fake.receive(protocol.CooldownEnded(Epoch(epoch + 1)))
    (end,) = told.values()
    assert (end.status, end.attempts) == (Status.QUARANTINED, 0)
    assert str(end.error) == "refused 3 times; Retry(refusals=...) allows more"
    assert end.error is not None
    assert end.error.__cause__ is refusal


def test_the_governor_is_told_of_refusals_failures_and_answers_apart_L40() -> None:
    fake = staged(workers=8, dispatch=Dispatch.on_a_loop(8))
    fake.receive(Rows(range(6), list("abcdef")), PermitsGranted(Epoch(0), 6))
    ((worker, assign),) = assigned(fake)
    kinds = [(1, Kind.TRANSIENT), (2, Kind.UNKNOWN), (3, Kind.PERMANENT)]
    faults = [Fault(seq, kind, ValueError()) for seq, kind in kinds]
    faults += [Fault(4, Kind.REFUSED, ValueError(), 3.0), Fault(5, Kind.REFUSED, ValueError(), 9.0)]
    fake.receive(Answered(assign.id, worker, [0], ["A"], faults, [], True, 0.6))
    told = [m for whom, m in fake.told if whom == GOVERNOR]
    (hit,) = (m for m in told if isinstance(m, protocol.LimitHit))
    assert (hit.epoch, hit.retry_after_s, hit.key, hit.n) == (Epoch(0), 9.0, None, 2)
    assert hit.took_s == pytest.approx(0.1), "what all took, by their number"
    ended = protocol.CallsEnded(fake.me, Epoch(0), 6, 2, (1, 2), pytest.approx(0.1))  # type: ignore[arg-type]
    assert ended in told, "who says no for good has answered"
    assert [type(m) for m in told if not isinstance(m, protocol.PermitsWanted)] == [
        protocol.LimitHit,
        protocol.CallsEnded,
    ]


def test_after_a_refusal_no_call_begins_until_the_governor_says_so_L41() -> None:
    fake = staged(workers=2)
    fake.receive(Rows(range(5), list("abcde")), PermitsGranted(Epoch(0), 4))
    (one, first), (two, second) = assigned(fake)
    fake.receive(refused(one, first))
    assert assigned(fake) == [], "the cooldown is on its way"
    fake.receive(answer(two, second, [1], complete=True))
    assert assigned(fake) == []


def test_an_outage_costs_no_attempt_and_no_wait_beyond_its_own_L40() -> None:
    fake = staged(workers=1, backoff=Backoff(attempts=2))
    fake.receive(Rows([0, 1], ["a", "b"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.OUTAGE))
    for epoch in range(1, 5):
        fake.receive(faulted(worker, assign, Kind.TRANSIENT))
        assert ends(fake) == {}
        fake.receive(protocol.CooldownEnded(Epoch(epoch), probing=True), PermitsGranted(Epoch(epoch), 1, paced=True))
        ((worker, assign),) = assigned(fake)
        assert (list(assign.seqs), assign.attempts or {0: 1}) == ([0], {0: 1})
    # The outage is over: from now on a failure is the row's own.
    fake.receive(protocol.Reopened(Epoch(4)), faulted(worker, assign, Kind.TRANSIENT))
    fake.pass_time(10.0)
    fake.receive(PermitsGranted(Epoch(4), 2))
    ((worker, assign),) = assigned(fake)
    assert assign.attempts == {0: 2}


def test_an_outage_that_outlasts_its_deadline_fails_the_run_and_says_what_to_do() -> None:
    fake = staged()
    fake.receive(protocol.OutageOverdue(600.4))
    (failing,) = fake.take(protocol.Failing)
    assert str(failing.error) == (
        "stage 'call': no call has gone through for 600 s; raise outage_deadline, or run again when the service is back"
    )


def test_a_pending_row_is_asked_about_when_it_is_due_with_its_state_and_costs_nothing_meanwhile() -> None:
    fake = staged(workers=1, backoff=Backoff(attempts=1))
    fake.receive(Rows([0, 1], ["a", "b"]), PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.PENDING, state="ticket", retry_after_s=60.0))
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((_, other),) = assigned(fake)
    assert list(other.seqs) == [1], "it keeps no worker meanwhile"
    fake.receive(answer(worker, other, [1], complete=True))
    fake.told = []
    fake.pass_time(59.9)
    assert fake.told == []
    fake.pass_time(0.2)
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((_, again),) = assigned(fake)
    assert (list(again.seqs), again.states, again.attempts or {0: 1}) == ([0], {0: "ticket"}, {0: 1})


def test_a_pending_time_holds_across_lives() -> None:
    fake = remembering({}, {0: ("ticket", 40.0), 1: ("other", 0.0)})
    fake.told = []
    fake.receive(Rows(range(2), ["a", "b"]))
    assert [m.parked for m in fake.take(protocol.Resting)] == [2]
    fake.pass_time(0.0)
    assert sum(m.n for m in fake.take(protocol.PermitsWanted)) == 1, "one of them is due already"
    fake.receive(PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    assert (list(assign.seqs), assign.states) == ([1], {1: "other"})
    fake.receive(answer(worker, assign, [1], complete=True))
    fake.pass_time(39.9)
    assert fake.take(protocol.PermitsWanted) == []
    fake.pass_time(0.2)
    fake.receive(PermitsGranted(Epoch(0), 1))
    ((_, assign),) = assigned(fake)
    assert (list(assign.seqs), assign.values, assign.states) == ([0], ["a"], {0: "ticket"})


def test_what_was_answered_or_ended_in_an_earlier_life_is_not_called_again_L26() -> None:
    error = ValueError("no")
    ended = protocol.Ended(1, Status.QUARANTINED, error, 2, None, "call")
    fake = remembering({0: Answer("A", 3), 1: Answer(ended=ended)}, {})
    fake.receive(Rows(range(3), ["a", "b", "c"], {0: 2}))
    (went,) = [m for whom, m in fake.told if whom == NEXT]
    assert (list(went.seqs), went.values, went.attempts) == ([0], ["A"], {0: 3})
    assert {end.seq: (end.error, end.value) for end in ends(fake).values()} == {1: (error, "b")}
    fake.receive(PermitsGranted(Epoch(0), 3))
    ((worker, assign),) = assigned(fake)
    assert list(assign.seqs) == [2]
    fake.receive(protocol.EndOfRows(3), answer(worker, assign, [2], complete=True))
    assert (CONDUCTOR, protocol.Drained(fake.me)) in fake.told
    counted = fake.actor.statistics()
    assert (counted.rows, counted.recalled, counted.calls) == (3, 2, 1)


def test_a_stage_of_which_only_pending_rows_are_left_says_so_and_says_when_that_is_over() -> None:
    fake = remembering({}, {0: ("ticket", 5.0)})
    fake.told = []
    fake.receive(Rows([0], ["a"]))
    assert fake.take(protocol.Resting) == [protocol.Resting(fake.me, 1)]
    fake.receive(Rows([1], ["b"]))
    assert fake.take(protocol.Resting) == [protocol.Resting(fake.me, None)]
    fake.receive(PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(answer(worker, assign, [1], complete=True))
    assert fake.take(protocol.Resting) == [protocol.Resting(fake.me, 1)]
    fake.pass_time(5.0)
    assert fake.take(protocol.Resting) == [protocol.Resting(fake.me, None)]


def test_attempts_that_a_row_took_before_are_added_to_those_here() -> None:
    fake = staged(workers=2)
    fake.receive(Rows([0, 1, 2], ["a", "b", "c"], {0: 3}), PermitsGranted(Epoch(0), 2))
    (one, first), (two, second) = assigned(fake)
    fake.receive(faulted(one, first, Kind.TRANSIENT))
    fake.pass_time(10.0)
    fake.receive(answer(two, second, [1], complete=True))
    fake.receive(PermitsGranted(Epoch(0), 2))
    (again,) = [a for _, a in assigned(fake) if 0 in a.seqs]
    fake.told = []
    fake.receive(answer(one, again, [0], complete=True))
    (went,) = [m for whom, m in fake.told if whom == NEXT]
    assert went.attempts == {0: 4}


def test_a_worker_whose_call_takes_too_long_is_given_up_and_each_of_them_is_watched() -> None:
    fake = staged(workers=3, timeout_s=2.0, backoff=Backoff(attempts=1))
    workers = []
    for row in range(3):
        fake.receive(Rows([row], [row]), PermitsGranted(Epoch(0), 1))
        workers += [worker for worker, _ in assigned(fake)]
        fake.pass_time(0.5)
    assert len(workers) == 3
    fake.pass_time(0.5)
    assert fake.abandoned == workers[:1]
    fake.pass_time(1.0)
    assert fake.abandoned == workers


def test_a_call_that_came_back_in_time_is_not_given_up() -> None:
    fake = staged(workers=2, timeout_s=2.0)
    fake.receive(Rows([0, 1], ["a", "b"]), PermitsGranted(Epoch(0), 2))
    (one, first), (two, _) = assigned(fake)
    fake.receive(answer(one, first, [0], complete=True))
    fake.pass_time(10.0)
    assert fake.abandoned == [two]


def test_a_stage_leaves_so_many_hung_calls_behind_and_then_fails_the_run_by_name_L34() -> None:
    fake = staged(workers=2, backoff=Backoff(attempts=100))
    hung = TimeoutError("no answer")
    fake.receive(Rows(range(100), list(range(100))), PermitsGranted(Epoch(0), 2))
    for _ in range(8):
        (worker, _), *_ = assigned(fake)
        fake.receive(protocol.Died(worker, hung), protocol.Died(worker, hung), PermitsGranted(Epoch(0), 2))
        assert [m for _, m in fake.told if isinstance(m, protocol.Failing)] == []
    (worker, _), *_ = assigned(fake)
    fake.receive(protocol.Died(worker, hung))
    (failing,) = fake.take(protocol.Failing)
    assert "has lost 9 workers to hung or crashed calls (at most 4 for each of its 2 workers)" in str(failing.error)
    assert failing.error.__cause__ is hung
    assert fake.actor.statistics().workers_lost == 9


def test_what_a_lost_worker_had_finished_stands_and_only_the_call_it_was_in_is_unknown_L49() -> None:
    fake = staged(workers=1, on_unknown="quarantine")
    fake.receive(Rows(range(9), list("abcdefghi")), PermitsGranted(Epoch(0), 9))
    for _ in range(3):
        ((worker, assign),) = assigned(fake)
        if len(assign.seqs) >= 4:
            break
        fast = Answered(assign.id, worker, assign.seqs, ["ok"] * len(assign.seqs), [], [], True, 1e-9)
        fake.receive(fast)
    assert list(assign.seqs) == [3, 4, 5, 6]
    fault = Fault(4, Kind.PERMANENT, ValueError("bad"))
    fake.told = []
    fake.receive(protocol.Died(worker, MemoryError(), Progress(assign.id, ["D", fault])))
    (went,) = [m for whom, m in fake.told if whom == NEXT]
    assert (list(went.seqs), went.values) == ([3], ["D"])
    again = next(a for _, a in fake.told if isinstance(a, protocol.Assign))
    assert again.seqs[0] == 6, "it was not begun"
    assert {end.seq: type(end.error) for end in ends(fake).values()} == {4: ValueError, 5: MemoryError}


def test_a_worker_that_is_lost_after_it_has_told_a_part_loses_one_call_whichever_news_comes_first_L49() -> None:
    for first in ("part", "death"):
        fake = staged(workers=1, on_unknown="quarantine")
        fake.receive(Rows(range(9), list("abcdefghi")), PermitsGranted(Epoch(0), 9))
        for _ in range(3):
            ((worker, assign),) = assigned(fake)
            if len(assign.seqs) >= 4:
                break
            fake.receive(Answered(assign.id, worker, assign.seqs, ["ok"] * len(assign.seqs), [], [], True, 1e-9))
        assert list(assign.seqs) == [3, 4, 5, 6]
        fake.told = []
        news = [
            Answered(assign.id, worker, range(3, 5), ["D", "E"], [], (), False, 0.01),
            protocol.Died(worker, MemoryError(), Progress(assign.id, ["D", "E"])),
        ]
        fake.receive(*(news if first == "part" else reversed(news)))
        went = {
            seq: value for whom, m in fake.told if whom == NEXT for seq, value in zip(m.seqs, m.values, strict=True)
        }
        assert went == {3: "D", 4: "E"}
        assert {end.seq: type(end.error) for end in ends(fake).values()} == {5: MemoryError}


@pytest.mark.parametrize("on_unknown", ["retry", "quarantine"])
def test_a_call_whose_fate_nobody_knows_costs_an_attempt_and_is_repeated_only_where_that_is_wanted_L49(
    on_unknown: Any,
) -> None:
    fake = staged(workers=1, on_unknown=on_unknown)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.UNKNOWN, error=TimeoutError()))
    told = ends(fake)
    assert [(end.attempts, end.status) for end in told.values()] == (
        [(1, Status.QUARANTINED)] if on_unknown == "quarantine" else []
    )
    fake.pass_time(10.0)
    assert sum(m.n for m in fake.take(protocol.PermitsWanted)) == (1 if on_unknown == "retry" else 0)
    assert fake.actor.statistics().unknown == 1


def test_a_message_that_it_does_not_know_is_an_error() -> None:
    with pytest.raises(UnknownMessage, match="Stage was told str, which it does not know"):
        staged().receive("hello")


def test_a_row_whose_deadline_has_passed_is_not_called_again_when_its_worker_is_lost() -> None:
    fake = staged(workers=1, deadline_s=1.0, on_unknown="quarantine")
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    # A fast call, so that the next assignment holds two rows.
    fake.receive(Answered(assign.id, worker, [0], ["r0"], [], [], True, 1e-6))
    fake.receive(Rows(range(1, 4), ["b", "c", "d"]), PermitsGranted(Epoch(0), 3))
    ((_, both),) = assigned(fake)
    assert list(both.seqs) == [1, 2]
    fake.pass_time(1.5)
    fake.told = []
    fake.receive(protocol.Died(worker, RuntimeError("gone")))
    assert assigned(fake) == []
    fake.receive(PermitsGranted(Epoch(0), 3))
    assert assigned(fake) == []


@pytest.mark.parametrize("rows", [3, 12])
def test_an_outage_that_only_the_last_few_rows_meet_ends_them_and_not_the_run_L40(rows: int) -> None:
    fake = staged(workers=rows)
    fake.receive(Rows(range(rows), ["x"] * rows), PermitsGranted(Epoch(0), rows), protocol.EndOfRows(rows))
    for worker, assign in assigned(fake):
        fake.receive(faulted(worker, assign, Kind.TRANSIENT))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.OUTAGE))
    fake.take(protocol.Outcomes)
    fake.receive(protocol.OutageOverdue(600.0))
    told = [type(m.error).__name__ for _, m in fake.told if isinstance(m, protocol.Failing)]
    gone = ends(fake)
    if rows > 9:
        assert (told, gone) == (["OutageDeadlineExceeded"], {})
        return
    assert told == []
    assert {seq: end.status for seq, end in gone.items()} == dict.fromkeys(range(rows), Status.QUARANTINED)
    assert "no call of the last 3 rows has gone through for 600 s" in str(gone[0].error)


def test_an_outage_fails_the_run_where_other_rows_may_come_L40() -> None:
    fake = staged(workers=1)
    fake.receive(Rows([0], ["x"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fake.receive(faulted(worker, assign, Kind.TRANSIENT))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.OUTAGE), protocol.OutageOverdue(600.0))
    assert [type(m) for _, m in fake.told if isinstance(m, protocol.Failing)] == [protocol.Failing]
    assert ends(fake) == {}
