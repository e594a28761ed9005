"""Stages without a host, and what is told to them and by them, for the tests of stages."""

from __future__ import annotations

from typing import Any

from tests.actors.fake import Fake, Name

from headrace.actors import protocol
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.journaling.recovered import Answer
from headrace.actors.journaling.stage_record import StageRecord
from headrace.actors.protocol import Answered, Fault, Kind
from headrace.actors.stage import Stage
from headrace.actors.stages.dispatch import Dispatch
from headrace.actors.stages.terms import StageTerms

GOVERNOR, NEXT, GAPS, CONDUCTOR, BEFORE, JOURNAL = map(
    Name, ("governor", "next", "gaps", "conductor", "before", "journal")
)


def staged(workers: int = 2, dispatch: Dispatch | None = None, **options: Any) -> Fake:
    terms = StageTerms("call", workers, dispatch or Dispatch.in_threads(), **options)
    outputs = Outputs("call", {ONWARD: Port(NEXT)}, behind=(GAPS,))
    stage = Stage(terms, GOVERNOR, outputs, CONDUCTOR, lambda ref: Stage.__new__(Stage), before=BEFORE)
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


def remembering(known: dict[Any, Answer], parked: dict[Any, Any], **options: Any) -> Fake:
    """A stage of a run that has had an earlier life."""
    terms = StageTerms("call", 2, **options)
    outputs = Outputs("call", {ONWARD: Port(NEXT)}, behind=(GAPS,))
    record = StageRecord("call", JOURNAL, None, known, parked)
    stage = Stage(
        terms,
        GOVERNOR,
        outputs,
        CONDUCTOR,
        lambda ref: Stage.__new__(Stage),
        before=BEFORE,
        record=record,
        suspends=True,
    )
    fake = Fake(stage, "stage")
    fake.receive(protocol.Start())
    return fake


def wanted(fake: Fake) -> int:
    """Permits that were asked for since; the rest is forgotten."""
    return sum(m.n for m in fake.take(protocol.PermitsWanted))


def answer(worker: Any, assign: protocol.Assign, seqs: list[Any], *, complete: bool = False) -> Answered:
    return Answered(assign.id, worker, seqs, [f"r{s}" for s in seqs], [], [], complete, 0.01)
