"""The stage and its permits: what it asks for, what it starts, what it gives back."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.journaling.stage_record import StageRecord
from headrace.actors.protocol import Answered, Epoch, PermitsGranted, Rows, Status
from headrace.actors.stage import Stage
from headrace.actors.stages.dispatch import Dispatch
from headrace.actors.stages.terms import StageTerms
from tests.actors.fake import Fake
from tests.actors.stages.fixtures import (
    BEFORE,
    CONDUCTOR,
    GOVERNOR,
    JOURNAL,
    NEXT,
    answer,
    assigned,
    ends,
    staged,
    wanted,
)


def test_a_permit_that_a_cooldown_overtook_is_given_back_unused_L41() -> None:
    fake = staged()
    fake.receive(Rows(range(5), list("abcde")))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    fake.told = []
    fake.receive(PermitsGranted(Epoch(0), 2))
    assert [type(m) for _, m in fake.told if not isinstance(m, protocol.PermitsWanted)] == [protocol.PermitsReturned]


def test_no_more_rows_are_asked_for_than_keep_the_workers_busy() -> None:
    fake = staged(workers=4)
    (asked,) = fake.take(protocol.Credit)
    assert asked.n == 12
    fake.receive(Rows(range(12), [0] * 12), PermitsGranted(Epoch(0), 4))
    work = assigned(fake)
    assert len(work) == 4
    for worker, assign in work[:3]:
        fake.receive(Answered(assign.id, worker, list(assign.seqs), [0], [], [], True, 1.0))
    assert sum(a.n for a in fake.take(protocol.Credit)) == 3


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


def test_in_a_cooldown_coroutines_that_have_not_begun_are_recalled_and_calls_on_threads_are_not_L41() -> None:
    fake = staged(workers=4, dispatch=Dispatch.on_a_loop(4))
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


def test_calls_on_a_loop_get_as_many_permits_as_there_are_slots_and_some_ahead_where_they_are_plenty() -> None:
    fake = staged(workers=56, dispatch=Dispatch.on_a_loop(56))
    fake.receive(Rows(range(100), list(range(100))))
    assert wanted(fake) == 63, "an eighth of them ahead, so that a slot that comes free is used at once"
    fake.receive(PermitsGranted(Epoch(0), 63))
    ((worker, assign),) = assigned(fake)
    assert len(assign.seqs) == 63
    fake.receive(answer(worker, assign, list(range(8))))
    assert wanted(fake) == 8
    # They are scarce from now on, so that none is held which another could use.
    fake.receive(PermitsGranted(Epoch(0), 8, paced=True))
    assert [len(a.seqs) for _, a in assigned(fake)] == [1]
    fake.receive(answer(worker, assign, [8, 9, 10]))
    assert [len(a.seqs) for _, a in assigned(fake)] == [3]


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
    fake = staged(workers=1, dispatch=Dispatch.in_threads(6))
    fake.receive(Rows(range(100), list(range(100))), PermitsGranted(Epoch(0), 100))
    sizes = []
    for took_s in [1e-6, 2e-6, 3e-6, 4e-6, 1.0, 1.0]:
        ((worker, assign),) = assigned(fake)
        sizes.append(len(assign.seqs))
        fake.receive(Answered(assign.id, worker, assign.seqs, list(assign.seqs), [], [], True, took_s))
    assert sizes == [1, 2, 4, 6, 6, 1]


def test_a_call_that_is_quicker_than_the_others_makes_chunks_larger_by_and_by() -> None:
    """One that was quick by chance shall not make the next chunk long."""
    fake = staged(workers=1)
    fake.receive(Rows(range(100), list(range(100))), PermitsGranted(Epoch(0), 100))
    sizes = []
    for took_s in [1e-2, 1e-4, 1e-4, 1e-4, 1e-4]:
        ((worker, assign),) = assigned(fake)
        sizes.append(n := len(assign.seqs))
        fake.receive(Answered(assign.id, worker, assign.seqs, list(assign.seqs), [], [], True, took_s * n))
    # A call is taken to last 10, 5, 2.6, 1.3 and 0.7 ms; a chunk is 10 ms of them, and twice the one before it at most.
    assert sizes == [1, 1, 1, 2, 4]
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, assign.seqs, list(assign.seqs), [], [], True, 1.9e-3 * len(assign.seqs)))
    ((worker, assign),) = assigned(fake)
    assert len(assign.seqs) == 5, "a slower one is believed at once"


def test_all_workers_share_in_what_is_there_where_calls_are_slow() -> None:
    fake = staged(workers=4)
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    for worker, assign in assigned(fake):
        # Ten of such calls are a chunk.
        fake.receive(Answered(assign.id, worker, assign.seqs, list(assign.seqs), [], [], True, 1e-3))
    fake.receive(Rows(range(4, 12), list("efghijkl")), PermitsGranted(Epoch(0), 8))
    assert [len(assign.seqs) for _, assign in assigned(fake)] == [2, 2, 2, 2]


def test_a_chunk_is_short_beside_the_time_out_of_an_attempt() -> None:
    """The time of each of its calls begins with it."""
    fake = staged(workers=1, timeout_s=0.016)
    fake.receive(Rows(range(30), list(range(30))), PermitsGranted(Epoch(0), 30))
    sizes = []
    for _ in range(5):
        ((worker, assign),) = assigned(fake)
        sizes.append(n := len(assign.seqs))
        fake.receive(Answered(assign.id, worker, assign.seqs, list(assign.seqs), [], [], True, 5e-4 * n))
    assert sizes == [1, 2, 4, 4, 4]


def test_a_function_for_keys_or_weights_that_fails_is_the_row_s_error() -> None:
    fake = staged(key=lambda row: row["k"], weigh=lambda row: row["w"])
    rows: list[Any] = [{"k": 1, "w": 2}, {"w": 1}, {"k": 1}, {"k": [], "w": 1}, {"k": 1, "w": -1}, {"k": 1, "w": "x"}]
    fake.receive(Rows(range(6), rows), protocol.EndOfRows(6))
    assert {seq: end.status for seq, end in ends(fake).items()} == dict.fromkeys(range(1, 6), Status.QUARANTINED)


def test_no_call_starts_whose_result_has_nowhere_to_go() -> None:
    terms = StageTerms("call", 4)
    outputs = Outputs("call", {ONWARD: Port(NEXT, paced=True)})
    fake = Fake(Stage(terms, GOVERNOR, outputs, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE), "stage")
    fake.receive(protocol.Start())
    assert fake.take(protocol.Credit) == []
    fake.receive(protocol.Credit(2, NEXT))
    assert [m.n for m in fake.take(protocol.Credit)] == [2]
    fake.receive(Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 4))
    work = assigned(fake)
    assert sum(len(a.seqs) for _, a in work) == 2
    fake.receive(Rows(range(2, 4), ["c", "d"]))
    fake.receive(*(answer(worker, a, list(a.seqs), complete=True) for worker, a in work))
    assert assigned(fake) == []
    fake.receive(protocol.Credit(1, NEXT), PermitsGranted(Epoch(0), 1))
    assert sum(len(a.seqs) for _, a in assigned(fake)) == 1


def test_with_several_edges_a_stage_ends_with_the_last_of_their_ends() -> None:
    terms = StageTerms("call", 1)
    outputs = Outputs("call", {ONWARD: Port(NEXT)})
    fake = Fake(Stage(terms, GOVERNOR, outputs, CONDUCTOR, lambda ref: Stage.__new__(Stage), inputs=2), "stage")
    fake.receive(protocol.EndOfRows(3))
    assert fake.take(protocol.EndOfRows) == []
    fake.receive(protocol.EndOfRows(3))
    assert [m for whom, m in fake.told if whom == NEXT] == [protocol.EndOfRows(3)]
    assert [type(m) for whom, m in fake.told if whom == GOVERNOR] == [protocol.Register, protocol.Unregister][1:]


def test_a_stage_that_leaves_gives_back_what_it_holds_and_is_discharged_L16() -> None:
    fake = staged(workers=1)
    fake.receive(Rows(range(3), ["a", "b", "c"]), PermitsGranted(Epoch(0), 3))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.Abort("enough"), answer(worker, assign, [0], complete=True))
    told = [m for whom, m in fake.told if whom == GOVERNOR]
    assert [(m.n) for m in told if isinstance(m, protocol.PermitsReturned)] == [2]
    assert told[-1] == protocol.Unregister(fake.me)
    fake.told = []
    fake.receive(Rows([3], ["d"]), PermitsGranted(Epoch(0), 1), protocol.Credit(1, NEXT))
    fake.pass_time(10.0)
    assert fake.told == [], "it is over"


def test_rows_that_wait_for_the_journal_take_room_in_what_stands_after_the_stage() -> None:
    outputs = Outputs("call", {ONWARD: Port(NEXT, paced=True)})
    record = StageRecord("call", JOURNAL, holds=True)
    terms = StageTerms("call", 4)
    fake = Fake(
        Stage(terms, GOVERNOR, outputs, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE, record=record),
        "stage",
    )
    fake.receive(protocol.Start(), protocol.Credit(4, NEXT))
    assert [m.n for m in fake.take(protocol.Credit)] == [4]
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4))
    work = assigned(fake)
    fake.receive(*(answer(worker, a, list(a.seqs), complete=True) for worker, a in work))
    assert fake.take(protocol.Credit) == []
    assert fake.take(Rows) == []
    fake.receive(protocol.Kept(len(work)), protocol.Credit(2, NEXT))
    assert {seq for m in fake.told_to(NEXT, Rows) for seq in m.seqs} == set(range(4)), "each goes on once it is kept"
    assert [m.n for m in fake.take(protocol.Credit)] == [2]


def test_permits_that_wait_for_room_are_used_as_soon_as_there_is_some() -> None:
    outputs = Outputs("call", {ONWARD: Port(NEXT, paced=True)})
    terms = StageTerms("call", 4)
    fake = Fake(Stage(terms, GOVERNOR, outputs, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE), "stage")
    fake.receive(protocol.Start(), Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 2))
    assert assigned(fake) == [], "what stands after it takes no row yet"
    fake.receive(protocol.Credit(2, NEXT))
    assert sum(len(a.seqs) for _, a in assigned(fake)) == 2


def test_workers_are_numbered_in_the_order_in_which_they_are_born() -> None:
    """Their names are those of their threads, and stand in the log."""
    fake = staged(workers=3)
    fake.receive(Rows(range(3), ["a", "b", "c"]), PermitsGranted(Epoch(0), 3))
    assert [ref.name for ref in fake.children] == ["call_0", "call_1", "call_2"]


def test_in_a_cooldown_nothing_is_asked_for_and_all_of_it_afterwards() -> None:
    fake = staged(workers=4)
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED), Rows(range(3), ["a", "b", "c"]))
    assert wanted(fake) == 0
    fake.receive(protocol.CooldownEnded(Epoch(1)))
    assert wanted(fake) == 3


def test_a_permit_that_waited_long_for_a_worker_is_given_back_and_asked_for_anew_L55() -> None:
    """Else the calls of many slots of time would come to the other side at once."""
    fake = staged(workers=1)
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.pass_time(0.2)
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    fake.pass_time(0.2)
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    fake.pass_time(0.6)
    fake.receive(answer(worker, assign, [0], complete=True))
    assert [(m.n, m.since_s) for m in fake.told_to(GOVERNOR, protocol.PermitsReturned)] == [(2, 0.2)]
    assert [m.n for m in fake.told_to(GOVERNOR, protocol.PermitsWanted)][-1] == 1
    assert assigned(fake) == []
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    assert [list(a.seqs) for _, a in assigned(fake)] == [[1]]


def test_calls_with_a_time_out_need_one_timer_between_them() -> None:
    """And not one for each, of which nearly all would ring for a call that has ended long since."""
    fake = staged(workers=4, timeout_s=1.0)
    fake.receive(Rows(range(4), list("abcd")), PermitsGranted(Epoch(0), 4, paced=True))
    assert len(assigned(fake)) == 4
    assert fake.timers_set == 1
    fake.pass_time(1.0)
    assert len(fake.abandoned) == 4
    assert fake.timers_set == 1
