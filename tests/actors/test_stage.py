"""The stage, message by message."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, PermitsGranted, Rows
from headrace.actors.stage import Stage
from headrace.actors.stage_terms import StageTerms
from tests.actors.fake import Fake, Name

GOVERNOR, NEXT, GAPS, CONDUCTOR, BEFORE = map(Name, ("governor", "next", "gaps", "conductor", "before"))


def staged(workers: int = 2, **options: Any) -> Fake:
    terms = StageTerms("call", workers, **options)
    stage = Stage(terms, GOVERNOR, NEXT, GAPS, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE)
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
