"""The stage, message by message."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.actor import UnknownMessage
from headrace.actors.exits import Exits, Port
from headrace.actors.outlets import ONWARD
from headrace.actors.past import Answer
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, PermitsGranted, Rows, Status
from headrace.actors.record import UNKEPT_MAX, Keeps, Record
from headrace.actors.retry import Backoff
from headrace.actors.stage import Stage
from headrace.actors.stage_terms import StageTerms
from headrace.actors.worker import Progress
from tests.actors.fake import Fake, Name

QUARANTINE = Name("quarantine")
GOVERNOR, NEXT, GAPS, CONDUCTOR, BEFORE, JOURNAL = map(
    Name, ("governor", "next", "gaps", "conductor", "before", "journal")
)


def staged(workers: int = 2, **options: Any) -> Fake:
    terms = StageTerms("call", workers, **options)
    exits = Exits("call", {ONWARD: Port(NEXT)}, behind=(GAPS,))
    stage = Stage(terms, GOVERNOR, exits, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE)
    fake = Fake(stage, "stage")
    fake.receive(protocol.Start())
    return fake


def assigned(fake: Fake) -> list[tuple[Any, protocol.Assign]]:
    """What workers were told since; the rest is forgotten."""
    found = [(whom, message) for whom, message in fake.told if isinstance(message, protocol.Assign)]
    fake.told = []
    return found


def refused(worker: Any, assign: protocol.Assign) -> Answered:
    faults = [Fault(seq, Kind.REFUSED, RuntimeError()) for seq in assign.seqs]
    return Answered(assign.id, worker, [], [], faults, [], True, 0.01)


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


def test_a_permit_that_a_cooldown_overtook_is_given_back_unused_L41() -> None:
    fake = staged()
    fake.receive(Rows(range(5), list("abcde")))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    fake.told = []
    fake.receive(PermitsGranted(Epoch(0), 2))
    assert [type(m) for _, m in fake.told if not isinstance(m, protocol.PermitsWanted)] == [protocol.PermitsReturned]


def test_no_more_rows_are_asked_for_than_keep_the_workers_busy() -> None:
    fake = staged(workers=4)
    (asked,) = fake.take(protocol.Appetite)
    assert asked.n == 12
    fake.receive(Rows(range(12), [0] * 12), PermitsGranted(Epoch(0), 4))
    work = assigned(fake)
    assert len(work) == 4
    for worker, assign in work[:3]:
        fake.receive(Answered(assign.id, worker, list(assign.seqs), [0], [], [], True, 1.0))
    assert sum(a.n for a in fake.take(protocol.Appetite)) == 3


def test_a_lost_worker_costs_one_attempt_of_the_row_it_was_in_L49() -> None:
    fake = staged(workers=1, on_unknown="quarantine")
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, _),) = assigned(fake)
    fake.receive(protocol.Died(worker, MemoryError()))
    (outcomes,) = fake.take(protocol.Outcomes)
    assert [(e.seq, type(e.error)) for e in outcomes.ended] == [(0, MemoryError)]


def faulted(worker: Any, assign: protocol.Assign, kind: Kind, **more: Any) -> Answered:
    """All rows of an assignment came to this."""
    faults = [Fault(seq, kind, more.get("error") or ConnectionError(), **_without_error(more)) for seq in assign.seqs]
    return Answered(assign.id, worker, [], [], faults, [], True, 0.01)


def _without_error(more: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in more.items() if name != "error"}


def ends(fake: Fake) -> dict[Any, protocol.Ended]:
    """Rows that ended since, each once; the rest is forgotten."""
    ended = [end for outcomes in fake.take(protocol.Outcomes) for end in outcomes.ended]
    assert len({end.seq for end in ended}) == len(ended)
    return {end.seq: end for end in ended}


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


@pytest.mark.parametrize("how", ["deadline", "retract"])
def test_permits_of_rows_that_are_gone_come_back(how: str) -> None:
    fake = staged(workers=1, deadline_s=1.0 if how == "deadline" else None)
    fake.receive(Rows(range(3), ["a", "b", "c"]), PermitsGranted(Epoch(0), 3))
    ((worker, assign),) = assigned(fake)
    assert list(assign.seqs) == [0], "one is called, and two hold permits"
    if how == "deadline":
        fake.pass_time(1.0)
    else:
        fake.receive(protocol.Retract([1, 2]))
    assert [m.n for m in fake.take(protocol.PermitsReturned)] == [2]
    fake.receive(answer(worker, assign, [0], complete=True))
    assert [m.used for m in fake.take(protocol.CallsEnded)] == [1]
    assert assigned(fake) == []


def test_permits_that_rows_still_wait_for_are_kept_when_another_row_is_gone() -> None:
    fake = staged(workers=1)
    fake.receive(Rows(range(3), ["a", "b", "c"]), PermitsGranted(Epoch(0), 3))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.Retract([1]))
    assert fake.take(protocol.PermitsReturned) == []
    fake.receive(answer(worker, assign, [0], complete=True))
    ((_, second),) = assigned(fake)
    assert list(second.seqs) == [2]


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


def test_in_a_cooldown_coroutines_that_have_not_begun_are_recalled_and_calls_on_threads_are_not_L41() -> None:
    fake = staged(workers=4, concurrent=True)
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Recall)] == [worker]
    fake.told = []
    # What had not begun comes back, with its permits, and goes first when the cooldown is over.
    fake.receive(Answered(assign.id, worker, [], [], [], [2, 3], False, 0.0))
    assert [(m.n, m.stage) for m in fake.take(protocol.PermitsReturned)] == [(2, fake.me)]
    fake.receive(protocol.CooldownEnded(Epoch(1)), PermitsGranted(Epoch(1), 2))
    ((_, again),) = assigned(fake)
    assert (list(again.seqs), again.values) == ([2, 3], ["c", "d"])
    assert again.attempts is None, "a recall costs no attempt"

    threads = staged(workers=2)
    threads.receive(Rows(range(2), list("ab")), PermitsGranted(Epoch(0), 2))
    threads.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    assert threads.take(protocol.Recall) == []


@pytest.mark.parametrize("concurrent", [False, True])
def test_a_hint_of_a_failed_call_delays_its_row_s_next_attempt_and_no_other_row(concurrent: bool) -> None:
    fake = staged(workers=1, concurrent=concurrent)
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
    fake = staged(workers=8, concurrent=True)
    fake.receive(Rows(range(6), list("abcdef")), PermitsGranted(Epoch(0), 6))
    ((worker, assign),) = assigned(fake)
    kinds = [(1, Kind.TRANSIENT), (2, Kind.UNKNOWN), (3, Kind.PERMANENT)]
    faults = [Fault(seq, kind, ValueError()) for seq, kind in kinds]
    faults += [Fault(4, Kind.REFUSED, ValueError(), 3.0), Fault(5, Kind.REFUSED, ValueError(), 9.0)]
    fake.receive(Answered(assign.id, worker, [0], ["A"], faults, [], True, 0.6))
    told = [m for whom, m in fake.told if whom == GOVERNOR]
    assert protocol.LimitHit(Epoch(0), 9.0) in told
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


def remembering(known: dict[Any, Answer], parked: dict[Any, Any], **options: Any) -> Fake:
    """A stage of a run that has had an earlier life."""
    terms = StageTerms("call", 2, **options)
    exits = Exits("call", {ONWARD: Port(NEXT)}, behind=(GAPS,))
    record = Record("call", JOURNAL, None, known, parked)
    stage = Stage(
        terms,
        GOVERNOR,
        exits,
        CONDUCTOR,
        lambda ref: Stage.__new__(Stage),
        before=BEFORE,
        record=record,
        suspends=True,
    )
    fake = Fake(stage, "stage")
    fake.receive(protocol.Start())
    return fake


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


def wanted(fake: Fake) -> int:
    """Permits that were asked for since; the rest is forgotten."""
    return sum(m.n for m in fake.take(protocol.PermitsWanted))


def test_calls_on_a_loop_get_as_many_permits_as_there_are_slots_and_some_ahead_where_they_are_plenty() -> None:
    fake = staged(workers=16, concurrent=True)
    fake.receive(Rows(range(100), list(range(100))))
    assert wanted(fake) == 18, "an eighth of them ahead, so that a slot that comes free is used at once"
    fake.receive(PermitsGranted(Epoch(0), 18))
    ((worker, assign),) = assigned(fake)
    assert len(assign.seqs) == 18
    fake.receive(answer(worker, assign, [0, 1, 2]))
    assert wanted(fake) == 3
    # They are scarce from now on, so that none is held which another could use.
    fake.receive(PermitsGranted(Epoch(0), 3, paced=True))
    assert [len(a.seqs) for _, a in assigned(fake)] == [1]
    fake.receive(answer(worker, assign, [3, 4, 5]))
    assert [len(a.seqs) for _, a in assigned(fake)] == [2]


def test_calls_on_threads_get_a_permit_for_each_idle_worker_where_they_are_scarce_and_a_set_ahead_where_not() -> None:
    fake = staged(workers=3)
    fake.receive(Rows(range(50), list(range(50))))
    assert wanted(fake) == 6
    scarce = staged(workers=3)
    scarce.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1, paced=True))
    assigned(scarce)
    scarce.receive(Rows(range(1, 50), list(range(1, 50))))
    assert wanted(scarce) == 2


def test_quick_calls_go_in_chunks_that_grow_and_a_slow_one_makes_them_small_at_once() -> None:
    fake = staged(workers=1, chunk_max=6)
    fake.receive(Rows(range(100), list(range(100))), PermitsGranted(Epoch(0), 100))
    sizes = []
    for took_s in [1e-6, 2e-6, 3e-6, 4e-6, 1.0, 1.0]:
        ((worker, assign),) = assigned(fake)
        sizes.append(len(assign.seqs))
        fake.receive(Answered(assign.id, worker, assign.seqs, list(assign.seqs), [], [], True, took_s))
    assert sizes == [1, 2, 4, 6, 6, 1]


def test_one_key_s_cooldown_keeps_no_other_key_from_its_calls() -> None:
    fake = staged(workers=2, key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]))
    fake.receive(protocol.CooldownBegan(Epoch(1), 9.0, protocol.Closure.REFUSED, "a"))
    fake.receive(PermitsGranted(Epoch(0), 1, "a"), PermitsGranted(Epoch(0), 1, "b"))
    assert [m.key for m in fake.told_to(GOVERNOR, protocol.PermitsReturned)] == ["a"]
    assert [list(a.seqs) for _, a in assigned(fake)] == [[1]]


def test_credit_and_weights_come_out_even_whatever_the_order() -> None:
    fake = staged(workers=4, weigh=lambda row: row)
    fake.receive(Rows(range(3), [3.0, 5.0, 2.0]))
    (asked,) = fake.take(protocol.PermitsWanted)
    assert asked.costs == (3.0, 5.0, 2.0)
    fake.receive(PermitsGranted(Epoch(0), 2, cost=8.0, paced=True))
    work = assigned(fake)
    assert [list(a.seqs) for _, a in work] == [[0], [1]]
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    fake.told = []
    fake.receive(PermitsGranted(Epoch(0), 1, cost=2.0, paced=True))
    assert [(m.n, m.cost) for m in fake.take(protocol.PermitsReturned)] == [(1, 2.0)]
    fake.receive(protocol.CooldownEnded(Epoch(1)))
    (asked,) = fake.take(protocol.PermitsWanted)
    assert (asked.n, asked.costs) == (1, (2.0,)), "it is asked for anew"


def test_a_function_for_keys_or_weights_that_fails_is_the_row_s_error() -> None:
    fake = staged(key=lambda row: row["k"], weigh=lambda row: row["w"])
    rows: list[Any] = [{"k": 1, "w": 2}, {"w": 1}, {"k": 1}, {"k": [], "w": 1}, {"k": 1, "w": -1}, {"k": 1, "w": "x"}]
    fake.receive(Rows(range(6), rows), protocol.EndOfRows(6))
    assert {seq: end.status for seq, end in ends(fake).items()} == dict.fromkeys(range(1, 6), Status.QUARANTINED)


def test_no_call_starts_whose_result_has_nowhere_to_go() -> None:
    terms = StageTerms("call", 4)
    exits = Exits("call", {ONWARD: Port(NEXT, paced=True)})
    fake = Fake(Stage(terms, GOVERNOR, exits, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE), "stage")
    fake.receive(protocol.Start())
    assert fake.take(protocol.Appetite) == []
    fake.receive(protocol.Appetite(2, NEXT))
    assert [m.n for m in fake.take(protocol.Appetite)] == [2]
    fake.receive(Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 4))
    work = assigned(fake)
    assert sum(len(a.seqs) for _, a in work) == 2
    fake.receive(Rows(range(2, 4), ["c", "d"]))
    fake.receive(*(answer(worker, a, list(a.seqs), complete=True) for worker, a in work))
    assert assigned(fake) == []
    fake.receive(protocol.Appetite(1, NEXT), PermitsGranted(Epoch(0), 1))
    assert sum(len(a.seqs) for _, a in assigned(fake)) == 1


def test_with_several_edges_a_stage_ends_with_the_last_of_their_ends() -> None:
    terms = StageTerms("call", 1)
    exits = Exits("call", {ONWARD: Port(NEXT)})
    fake = Fake(Stage(terms, GOVERNOR, exits, CONDUCTOR, lambda ref: Stage.__new__(Stage), inputs=2), "stage")
    fake.receive(protocol.EndOfRows(3))
    assert fake.take(protocol.EndOfRows) == []
    fake.receive(protocol.EndOfRows(3))
    assert [m for whom, m in fake.told if whom == NEXT] == [protocol.EndOfRows(3)]
    assert [type(m) for whom, m in fake.told if whom == GOVERNOR] == [protocol.Enlist, protocol.Discharge][1:]


def test_a_stage_that_leaves_gives_back_what_it_holds_and_is_discharged_L16() -> None:
    fake = staged(workers=1)
    fake.receive(Rows(range(3), ["a", "b", "c"]), PermitsGranted(Epoch(0), 3))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.Abort("enough"), answer(worker, assign, [0], complete=True))
    told = [m for whom, m in fake.told if whom == GOVERNOR]
    assert [(m.n) for m in told if isinstance(m, protocol.PermitsReturned)] == [2]
    assert told[-1] == protocol.Discharge(fake.me)
    fake.told = []
    fake.receive(Rows([3], ["d"]), PermitsGranted(Epoch(0), 1), protocol.Appetite(1, NEXT))
    fake.pass_time(10.0)
    assert fake.told == [], "it is over"


def test_a_message_that_it_does_not_know_is_an_error() -> None:
    with pytest.raises(UnknownMessage, match="Stage was told str, which it does not know"):
        staged().receive("hello")


def test_the_end_is_passed_on_after_the_last_row_and_once() -> None:
    fake = staged(workers=1)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1), protocol.EndOfRows(1))
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, [0], ["A"], [], [], True, 0.01))
    assert [type(m) for whom, m in fake.told if whom == NEXT] == [Rows, protocol.EndOfRows]
    assert [m for whom, m in fake.told if whom == CONDUCTOR] == [protocol.Drained(fake.me)]


def answer(worker: Any, assign: protocol.Assign, seqs: list[Any], *, complete: bool = False) -> Answered:
    return Answered(assign.id, worker, seqs, [f"r{s}" for s in seqs], [], [], complete, 0.01)


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
    fake = staged(workers=4, concurrent=True)
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    ((worker, assign),) = assigned(fake)
    fake.receive(answer(worker, assign, [0, 1]))
    fake.take(Rows)
    fake.receive(answer(worker, assign, [1, 2]))
    (passed,) = fake.take(Rows)
    assert list(passed.seqs) == [2]


def test_a_key_keeps_its_lane_while_its_rows_rest() -> None:
    fake = staged(workers=2, key=lambda value: value[0])
    fake.receive(Rows([0], ["k1"]), PermitsGranted(Epoch(0), 1, "k"))
    ((worker, assign),) = assigned(fake)
    fault = Fault(0, Kind.TRANSIENT, ConnectionError())
    fake.receive(Answered(assign.id, worker, [], [], [fault], [], True, 0.01))
    # Another row of the key comes while the first one rests between two attempts.
    fake.receive(Rows([1], ["k2"]))
    fake.pass_time(1.0)
    wanted = sum(m.n for m in fake.take(protocol.PermitsWanted))
    assert wanted == 2
    fake.receive(PermitsGranted(Epoch(0), 2, "k"))
    assert {s for _, a in assigned(fake) for s in a.seqs} == {0, 1}
    assert fake.take(protocol.PermitsReturned) == []


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


def test_a_key_that_could_not_ask_because_no_worker_was_free_asks_when_one_is() -> None:
    fake = staged(workers=1, key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 1, "a", paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(refused(worker, assign))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED, "a"))
    fake.receive(PermitsGranted(Epoch(0), 1, "b", paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.CooldownEnded(Epoch(1), key="a"))
    assert fake.take(protocol.PermitsWanted) == [], "the only worker is busy"
    fake.receive(Answered(assign.id, worker, [1], ["B"], [], [], True, 0.1))
    assert [m.key for m in fake.take(protocol.PermitsWanted)] == ["a"]


def test_wishes_in_an_order_that_rows_have_left_since_are_taken_back_and_made_anew() -> None:
    fake = staged(workers=4, weigh=lambda row: row)
    fake.receive(Rows(range(3), [30.0, 5.0, 10.0]))
    fake.receive(PermitsGranted(Epoch(0), 1, cost=30.0, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(refused(worker, assign))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED), protocol.CooldownEnded(Epoch(1)))
    fake.told = []
    # The refused row is the next one, and the permit that comes is worth less: others may never come while it is held.
    fake.receive(PermitsGranted(Epoch(1), 1, cost=5.0, paced=True))
    told = [m for _, m in fake.told]
    assert [type(m) for m in told if not isinstance(m, protocol.PermitsWanted)] == [
        protocol.WishesWithdrawn,
        protocol.PermitsReturned,
    ]
    fake.told = []
    open_wishes = 2
    fake.receive(protocol.WishesForgotten(open_wishes))
    (wanted,) = fake.take(protocol.PermitsWanted)
    assert wanted.costs == (30.0, 5.0, 10.0)
    fake.receive(PermitsGranted(Epoch(1), 1, cost=30.0, paced=True))
    assert [list(a.seqs) for _, a in assigned(fake)] == [[0]]


def keeping(answer: Any) -> Record:
    """A share of a journal that keeps answers by this function."""
    return Record("call", JOURNAL, Keeps(answer, answer))


def refuse_odd(value: Any) -> bytes:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return b"kept"


def journaled(answer: Any, workers: int = 1, **options: Any) -> Fake:
    stage = Stage(
        StageTerms("call", workers, **options),
        GOVERNOR,
        Exits("call", {ONWARD: Port(NEXT)}, behind=(GAPS,), quarantine=QUARANTINE, journal=JOURNAL),
        CONDUCTOR,
        lambda ref: Stage.__new__(Stage),
        record=keeping(answer),
    )
    fake = Fake(stage, "stage")
    fake.receive(protocol.Start())
    return fake


def answer_with(fake: Fake, *values: Any) -> None:
    """Let the assignment that was told last be answered so."""
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, assign.seqs, list(values), [], [], True, 0.01))


def test_an_answer_that_the_journal_cannot_hold_is_the_fault_of_its_row_alone_L62() -> None:
    fake = journaled(refuse_odd)
    # A first answer that can be kept shows that the function is not to blame.
    fake.receive(Rows(range(1), ["x"]), PermitsGranted(Epoch(0), 1))
    answer_with(fake, 0)
    fake.told = []
    fake.receive(Rows(range(1, 2), ["b"]), PermitsGranted(Epoch(0), 1))
    answer_with(fake, 1)
    told = [message for _, message in fake.told]
    (ended,) = next(m.ended for m in told if isinstance(m, protocol.Ends))
    assert (ended.seq, ended.status, ended.value, ended.attempts, str(ended.error)) == (
        1,
        protocol.Status.QUARANTINED,
        "b",
        1,
        "1 is odd",
    )
    assert not [m for m in told if isinstance(m, protocol.Failing | protocol.Answers | Rows)]
    fake.receive(Rows(range(2, 3), ["c"]), PermitsGranted(Epoch(0), 1))
    answer_with(fake, 2)
    assert [list(m.seqs) for m in fake.take(Rows)] == [[2]]


def test_a_function_none_of_whose_answers_can_be_kept_ends_the_run_before_all_are_paid_for_L62() -> None:
    fake = journaled(refuse_odd)
    for row in range(UNKEPT_MAX):
        assert fake.take(protocol.Failing) == []
        fake.receive(Rows(range(row, row + 1), ["x"]), PermitsGranted(Epoch(0), 1))
        answer_with(fake, 2 * row + 1)
    (failing,) = fake.take(protocol.Failing)
    assert str(failing.error) == "stage 'call': none of its first 10 answers can be kept: 19 is odd"


def test_a_pending_row_whose_state_cannot_be_kept_ends_in_quarantine_L62() -> None:
    fake = journaled(refuse_odd)
    fake.receive(Rows(range(1), ["a"]), PermitsGranted(Epoch(0), 1))
    ((worker, assign),) = assigned(fake)
    fault = Fault(0, Kind.PENDING, RuntimeError("begun"), 5.0, 3)
    fake.receive(Answered(assign.id, worker, [], [], [fault], [], True, 0.01))
    told = [message for _, message in fake.told]
    assert [e.status for m in told if isinstance(m, protocol.Ends) for e in m.ended] == [protocol.Status.QUARANTINED]
    assert not [m for m in told if isinstance(m, protocol.Failing)]


class _Weight(float):
    """A weight of which a test can see whether anybody still has it."""


def test_nothing_is_remembered_of_a_row_with_a_weight_that_has_ended() -> None:
    weights = [_Weight(1.0)]
    seen = weakref.ref(weights[0])
    fake = staged(1, weigh=lambda _: weights.pop())
    fake.receive(Rows(range(1), ["a"]))
    fake.told = []
    fake.receive(PermitsGranted(Epoch(0), 1, cost=1.0))
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, [], [], [Fault(0, Kind.PERMANENT, ValueError("bad"))], [], True, 0.01))
    fake.told = []
    gc.collect()
    assert seen() is None
