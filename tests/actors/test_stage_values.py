"""The stage and answers that the journal cannot keep; and that nothing is remembered of a row that has ended."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from headrace.actors import protocol
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.journaling.stage_record import UNKEPT_MAX, Encoders, StageRecord
from headrace.actors.protocol import Answered, Epoch, Fault, Kind, PermitsGranted, Rows
from headrace.actors.stage import Stage
from headrace.actors.stages.terms import StageTerms
from tests.actors.fake import Fake, Name
from tests.actors.stages.fixtures import CONDUCTOR, GAPS, GOVERNOR, JOURNAL, NEXT, assigned, staged

QUARANTINE = Name("quarantine")


def keeping(answer: Any) -> StageRecord:
    """A share of a journal that keeps answers by this function."""
    return StageRecord("call", JOURNAL, Encoders(answer, answer))


def refuse_odd(value: Any) -> bytes:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return b"kept"


def journaled(answer: Any, workers: int = 1, **options: Any) -> Fake:
    stage = Stage(
        StageTerms("call", workers, **options),
        GOVERNOR,
        Outputs("call", {ONWARD: Port(NEXT)}, behind=(GAPS,), quarantine=QUARANTINE, journal=JOURNAL),
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
