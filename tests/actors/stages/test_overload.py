"""Which answers of 503 are refusals (L40, L76): the rule of `actors/stages/overload.py`, and what a stage makes of them."""

from __future__ import annotations

from tests.actors.stages.fixtures import assigned, ends, staged

from headrace.actors import protocol
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, Rows
from headrace.actors.stages.backoff import Backoff
from headrace.actors.stages.dispatch import Dispatch
from headrace.actors.stages.overload import ENOUGH, IN_VAIN_MAX, OF_ONE_MAX, Overload

TODAY = Epoch(0)


def known(answer_s: float = 0.02) -> Overload:
    overload = Overload()
    overload.on_answered(50, answer_s)
    return overload


def refused(overload: Overload, n: int, took_s: float = 0.001, rows: int = 1000) -> list[bool]:
    """Of the calls of so many rows, by turns."""
    return [overload.refuses(i % rows, took_s, TODAY, 0) for i in range(n)]


def test_fast_503s_of_many_rows_while_others_are_answered_are_refusals() -> None:
    overload = known()
    first = refused(overload, 20).index(True)
    assert ENOUGH - 1 <= first <= ENOUGH + 4
    overload.on_answered(100, 0.02)
    assert refused(overload, 1) == [True], "what is known of it stays known, also where it has become rare"


def test_503s_that_take_as_long_as_answers_are_none() -> None:
    assert not any(refused(known(), 500, took_s=0.02))
    assert not any(refused(known(), 500, took_s=0.008))


def test_as_long_as_nobody_is_answered_they_are_none_L40() -> None:
    assert not any(refused(Overload(), 500))


def test_where_they_are_few_they_are_none_L76() -> None:
    overload = known()
    for row in range(500):
        assert not overload.refuses(row, 0.001, TODAY, 0)
        overload.on_answered(9, 0.02)


def test_one_row_or_two_that_meet_with_it_again_and_again_are_at_fault_themselves() -> None:
    assert not any(refused(known(), 500, rows=2))
    overload = known()
    refused(overload, 50)
    assert not overload.refuses(7, 0.001, TODAY, OF_ONE_MAX)


def test_where_closings_are_in_vain_it_is_an_outage_and_an_answer_says_that_it_is_none_L40() -> None:
    overload = known()
    refused(overload, 20)
    overload.on_answered(1, 0.02)
    found = [overload.refuses(n, 0.001, Epoch(n), 0) for n in range(1, 10)]
    assert found == [True] * IN_VAIN_MAX + [False] * (9 - IN_VAIN_MAX)
    overload.on_answered(1, 0.02)
    assert overload.refuses(1, 0.001, Epoch(20), 0)


def test_such_a_refusal_costs_no_attempt_and_the_governor_hears_of_it_and_the_stage_goes_on_until_that_closes() -> None:
    fake = staged(60, Dispatch.on_a_loop(60), backoff=Backoff(attempts=1), trial_s=10.0)
    fake.receive(Rows(range(60), list(range(60))))
    fake.receive(protocol.PermitsGranted(TODAY, 60))
    calls = assigned(fake)
    worker, assign = calls[0]
    well = assign.seqs[:20]
    fake.receive(Answered(assign.id, worker, list(well), list(well), [], [], False, 0.02 * len(well)))
    hits = 0
    for seq in assign.seqs[20:]:
        fault = Fault(seq, Kind.TRANSIENT, ConnectionError(), took_s=0.001, overloaded=True)
        fake.receive(Answered(assign.id, worker, [], [], [fault], [], False, 0.001))
        told = fake.take(protocol.LimitHit)
        assert all(hit.doubtful and hit.retry_after_s is None for hit in told)
        hits += len(told)
    assert hits >= 20
    assert not ends(fake), "none of them is given up, though each may fail but once"
