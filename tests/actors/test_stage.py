"""The stage, message by message."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from headrace.actors import protocol
from headrace.actors.exits import Exits, Port
from headrace.actors.outlets import ONWARD
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, PermitsGranted, Rows
from headrace.actors.record import UNKEPT_MAX, Keeps, Record
from headrace.actors.stage import Stage
from headrace.actors.stage_terms import StageTerms
from tests.actors.fake import Fake, Name

GOVERNOR, NEXT, GAPS, CONDUCTOR, BEFORE = map(Name, ("governor", "next", "gaps", "conductor", "before"))
QUARANTINE, JOURNAL = map(Name, ("quarantine", "journal"))


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


def test_the_end_is_passed_on_after_the_last_row_and_once() -> None:
    fake = staged(workers=1)
    fake.receive(Rows([0], ["a"]), PermitsGranted(Epoch(0), 1), protocol.EndOfRows(1))
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, [0], ["A"], [], [], True, 0.01))
    assert [type(m) for whom, m in fake.told if whom == NEXT] == [Rows, protocol.EndOfRows]
    assert [m for whom, m in fake.told if whom == CONDUCTOR] == [protocol.Drained(fake.me)]


def answer(worker: Any, assign: protocol.Assign, seqs: list[int], *, complete: bool = False) -> Answered:
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
