"""The conductor: a run's life, message by message."""

from __future__ import annotations

import pytest

from headrace.actors import protocol
from headrace.actors.conductor import Cast, Conductor, LifeTerms
from headrace.actors.protocol import Counts, State
from tests.actors.fake import Fake, Name

CALLER, SOURCE, STAGE, REORDER, SINK, LEDGER, WRITER, READER = map(
    Name, ("caller", "source", "stage", "reorder", "sink", "ledger", "writer", "reader")
)
LINE = [STAGE, REORDER, SINK]


def conducted() -> Fake:
    conductor = Conductor(CALLER, LifeTerms())
    conductor.set_cast(Cast(resources=[WRITER, READER], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[]))
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start())
    return fake


def running() -> Fake:
    fake = conducted()
    fake.receive(protocol.Opened(WRITER), protocol.Opened(READER))
    fake.take(protocol.Start)
    return fake


def closed_refs(fake: Fake) -> list[str]:
    """Answer each `Close` until none is asked for any more."""
    names: list[str] = []
    while True:
        closes = [whom for whom, m in fake.told if isinstance(m, protocol.Close)]
        if not closes:
            return names
        fake.told = [(w, m) for w, m in fake.told if not isinstance(m, protocol.Close)]
        names.extend(whom.name for whom in closes)
        fake.receive(*(protocol.Closed(whom) for whom in closes))


def end(fake: Fake) -> protocol.RunEnded:
    fake.receive(protocol.AccountClosed(Counts(), 0))
    (ended,) = fake.take(protocol.RunEnded)
    return ended


def test_opens_and_closes_are_paired_in_reverse_order_L17_L18() -> None:
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    assert closed_refs(fake) == ["reader", "writer"]
    assert end(fake).state is State.COMPLETED


def test_what_was_opened_before_a_later_open_failed_is_closed_L21() -> None:
    fake = conducted()
    fake.receive(protocol.Opened(WRITER), protocol.Opened(READER, OSError("no such file")))
    assert closed_refs(fake) == ["writer"]
    ended = end(fake)
    assert (ended.state, [str(e) for e in ended.errors]) == (State.FAILED, ["no such file"])


def test_the_first_error_is_the_runs_and_later_ones_are_notes_L19() -> None:
    fake = running()
    fake.receive(protocol.Failing(STAGE, KeyError("first")), protocol.Failing(SINK, OSError("second")))
    fake.receive(*(protocol.Drained(ref) for ref in LINE))
    (close,) = [whom for whom, m in fake.told if isinstance(m, protocol.Close)]
    fake.told = []
    fake.receive(protocol.Closed(close, ValueError("third")))
    closed_refs(fake)
    ended = end(fake)
    assert isinstance(ended.errors[0], KeyError)
    assert ended.errors[0].__notes__ == ["then: OSError: second", "closing reader: ValueError: third"]


def test_a_terminal_state_is_entered_once_L20() -> None:
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    closed_refs(fake)
    assert end(fake).state is State.COMPLETED
    fake.receive(protocol.Failing(STAGE, OSError()), protocol.Abort("late"), protocol.Died(SINK, OSError()))
    fake.pass_time(1000.0)
    assert fake.told == []
    assert fake.actor.statistics() is State.COMPLETED


@pytest.mark.parametrize("who", [STAGE, REORDER, SINK, SOURCE, LEDGER])
def test_any_actors_death_ends_the_run_by_name_L32(who: Name) -> None:
    fake = running()
    fake.receive(protocol.Died(who, RuntimeError("bug")))
    fake.receive(*(protocol.Drained(ref) for ref in LINE if ref != who))
    closed_refs(fake)
    ended = end(fake)
    assert ended.state is State.FAILED
    assert who.name in str(ended.errors[0])


@pytest.mark.parametrize("dies", [True, False])
def test_a_stage_that_cannot_say_that_it_leaves_is_discharged_for_it_L16(dies: bool) -> None:
    governor = Name("governor")
    conductor = Conductor(CALLER, LifeTerms())
    cast = Cast(resources=[], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[], stages={STAGE: governor})
    conductor.set_cast(cast)
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Died(STAGE, RuntimeError("bug")) if dies else protocol.Abort("enough"))
    assert ((governor, protocol.Discharge(STAGE)) in fake.told) is dies
    # If it hangs, the run ends without it.
    fake.pass_time(5.0)
    fake.receive(protocol.AccountClosed(Counts(), 0))
    assert fake.told.count((governor, protocol.Discharge(STAGE))) == 1


@pytest.mark.parametrize("answering", [[], LINE[:1], LINE])
def test_an_abort_ends_in_time_whoever_does_not_answer(answering: list[Name]) -> None:
    fake = running()
    fake.receive(protocol.Abort("enough"), *(protocol.Drained(ref) for ref in answering))
    fake.pass_time(5.0)
    # Nobody answers `Close` or `CloseAccount` either.
    fake.pass_time(15.0)
    (ended,) = fake.take(protocol.RunEnded)
    assert ended.state is State.ABORTED
    assert "enough" in ended.notes


def test_a_drain_that_takes_too_long_is_aborted_and_says_who_is_missing() -> None:
    conductor = Conductor(CALLER, LifeTerms(drain_s=10.0))
    conductor.set_cast(Cast(resources=[], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[]))
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Drain(), protocol.Drained(SOURCE), protocol.Drained(STAGE))
    fake.pass_time(10.0)
    fake.receive(*(protocol.Drained(ref) for ref in LINE))
    ended = end(fake)
    assert ended.state is State.FAILED
    assert "reorder, sink" in str(ended.errors[0])


def test_a_drain_before_the_start_opens_nothing_more() -> None:
    fake = conducted()
    fake.receive(protocol.Drain(), protocol.Opened(WRITER))
    assert closed_refs(fake) == ["writer"]
    assert end(fake).state is State.DRAINED


def test_what_opens_after_its_deadline_is_closed_with_the_others_L21() -> None:
    fake = conducted()
    fake.receive(protocol.Opened(WRITER))
    fake.pass_time(60.0)
    fake.receive(protocol.Opened(READER))
    assert sorted(closed_refs(fake)) == ["reader", "writer"]
    ended = end(fake)
    assert (ended.state, str(ended.errors[0])) == (State.FAILED, "reader was not open within 60 s")


def test_a_drain_does_not_take_the_place_of_an_abort_L20() -> None:
    fake = running()
    fake.receive(protocol.Abort("enough"), protocol.Drain())
    # Nobody answers: the abort's own deadline ends it, and closing has one too.
    fake.pass_time(60.0)
    (ended,) = fake.take(protocol.RunEnded)
    assert ended.state is State.ABORTED


def test_an_abort_does_not_wait_for_those_who_had_drained_before() -> None:
    fake = running()
    fake.receive(protocol.Drained(SOURCE), protocol.Drained(STAGE), protocol.Abort("now"))
    # They have nothing more to say.
    fake.receive(protocol.Drained(REORDER), protocol.Drained(SINK))
    assert closed_refs(fake) == ["reader", "writer"]
    assert end(fake).state is State.ABORTED


def test_what_fails_while_all_is_closed_fails_the_run() -> None:
    fake = running()
    fake.receive(protocol.Drained(SOURCE), *(protocol.Drained(ref) for ref in LINE))
    closed_refs(fake)
    fake.receive(protocol.Failing(LEDGER, OSError("the last of it could not be kept")))
    ended = end(fake)
    assert ended.state is State.FAILED
    assert "could not be kept" in str(ended.errors[0])


def test_the_keeper_of_a_journal_is_closed_when_the_account_is() -> None:
    keeper = Name("keeper")
    conductor = Conductor(CALLER, LifeTerms())
    cast = Cast(resources=[WRITER], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[], keeper=keeper)
    conductor.set_cast(cast)
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Opened(WRITER), *(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    assert closed_refs(fake) == ["writer"]
    fake.receive(protocol.AccountClosed(Counts(), 0))
    assert not any(isinstance(message, protocol.RunEnded) for _, message in fake.told)
    assert closed_refs(fake) == ["keeper"]
    (ended,) = fake.take(protocol.RunEnded)
    assert ended.state is State.COMPLETED
