"""The conductor: a run's life, message by message."""

from __future__ import annotations

import pytest

from headrace.actors import protocol
from headrace.actors.conductor import Conductor, LifeTerms, Participants
from headrace.actors.protocol import Counts, State
from tests.actors.fake import Fake, Name

CALLER, SOURCE, STAGE, REORDER, SINK, LEDGER, WRITER, READER = map(
    Name, ("caller", "source", "stage", "reorder", "sink", "ledger", "writer", "reader")
)
LINE = [STAGE, REORDER, SINK]


def conducted() -> Fake:
    conductor = Conductor(CALLER, LifeTerms())
    conductor.set_participants(
        Participants(resources=[WRITER, READER], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[])
    )
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
    cast = Participants(
        resources=[], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[], stages={STAGE: governor}
    )
    conductor.set_participants(cast)
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Died(STAGE, RuntimeError("bug")) if dies else protocol.Abort("enough"))
    assert ((governor, protocol.Unregister(STAGE)) in fake.told) is dies
    # If it hangs, the run ends without it.
    fake.pass_time(5.0)
    fake.receive(protocol.AccountClosed(Counts(), 0))
    assert fake.told.count((governor, protocol.Unregister(STAGE))) == 1


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
    conductor.set_participants(Participants(resources=[], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[]))
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


def test_a_start_that_comes_after_an_abort_opens_nothing_L20() -> None:
    conductor = Conductor(CALLER, LifeTerms(abort_s=5.0))
    conductor.set_participants(
        Participants(resources=[WRITER], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[])
    )
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Abort("changed my mind"), protocol.Start())
    assert fake.take(protocol.Open) == []
    assert conductor.statistics() is State.CLOSING
    fake.pass_time(5.0)
    (ended,) = fake.take(protocol.RunEnded)
    assert ended.state is State.ABORTED


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
    cast = Participants(resources=[WRITER], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[], keeper=keeper)
    conductor.set_participants(cast)
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Opened(WRITER), *(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    assert closed_refs(fake) == [], "the journal does not have all of it yet"
    assert fake.take(protocol.MakeDurable) == [protocol.MakeDurable(fake.me)]
    fake.receive(protocol.MadeDurable())
    assert closed_refs(fake) == ["writer"]
    fake.receive(protocol.AccountClosed(Counts(), 0))
    assert not any(isinstance(message, protocol.RunEnded) for _, message in fake.told)
    assert closed_refs(fake) == ["keeper"]
    (ended,) = fake.take(protocol.RunEnded)
    assert ended.state is State.COMPLETED


def suspending(suspend_s: float = 10.0) -> Fake:
    conductor = Conductor(CALLER, LifeTerms(suspend_s=suspend_s))
    cast = Participants(
        resources=[], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[], stages={STAGE: Name("governor")}
    )
    conductor.set_participants(cast)
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start())
    return fake


def test_a_run_with_nothing_but_pending_rows_left_is_suspended_after_a_while_and_says_how_many() -> None:
    fake = suspending()
    fake.receive(protocol.Drained(SOURCE), protocol.Resting(STAGE, 3))
    fake.pass_time(9.9)
    assert [m for _, m in fake.told if isinstance(m, protocol.Abort)] == []
    fake.pass_time(0.2)
    fake.receive(*(protocol.Drained(ref) for ref in LINE))
    ended = end(fake)
    assert (ended.state, ended.errors) == (State.SUSPENDED, [])
    assert ended.notes == ["suspended: 3 rows are pending; resume the run later"]


def test_a_lull_that_is_interrupted_begins_anew() -> None:
    fake = suspending()
    fake.receive(protocol.Resting(SOURCE, 0), protocol.Resting(STAGE, 3))
    fake.pass_time(9.0)
    fake.receive(protocol.Resting(STAGE, None))
    fake.pass_time(0.5)
    fake.receive(protocol.Resting(STAGE, 2))
    fake.pass_time(9.9)
    assert [m for _, m in fake.told if isinstance(m, protocol.Abort)] == []
    fake.pass_time(0.2)
    assert [m for _, m in fake.told if isinstance(m, protocol.Abort)] != []


@pytest.mark.parametrize(
    "told",
    [
        [protocol.Resting(STAGE, 3)],
        [protocol.Drained(SOURCE)],
        [protocol.Drained(SOURCE), protocol.Resting(STAGE, 0)],
        [protocol.Resting(SOURCE, 0), protocol.Drained(STAGE)],
    ],
)
def test_a_run_that_has_something_left_to_do_or_no_pending_row_is_not_suspended(told: list[protocol.Message]) -> None:
    fake = suspending()
    fake.receive(*told)
    fake.pass_time(100.0)
    assert [m for _, m in fake.told if isinstance(m, protocol.Abort)] == []


def test_where_nobody_said_when_a_run_waits_for_its_pending_rows() -> None:
    fake = running()
    fake.receive(protocol.Drained(SOURCE), protocol.Resting(STAGE, 3))
    fake.receive(protocol.Resting(STAGE, None), protocol.Resting(STAGE, 3))
    fake.pass_time(1e6)
    assert [m for _, m in fake.told if isinstance(m, protocol.Abort)] == []


def test_all_are_told_to_begin_and_the_source_last() -> None:
    fake = conducted()
    fake.receive(protocol.Opened(WRITER))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Start)] == []
    fake.receive(protocol.Opened(READER))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Start)] == [LEDGER, *LINE, SOURCE]
    assert fake.actor.statistics() is State.RUNNING


def test_resources_open_one_after_another() -> None:
    fake = conducted()
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Open)] == [WRITER]
    fake.receive(protocol.Opened(WRITER))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Open)] == [WRITER, READER]


def test_a_drain_goes_to_the_source_alone_and_ends_as_drained() -> None:
    fake = running()
    fake.receive(protocol.Drain(), protocol.Drain())
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Drain)] == [SOURCE]
    assert fake.actor.statistics() is State.DRAINING
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    closes = [m.complete for _, m in fake.told if isinstance(m, protocol.Close)]
    assert closes == [False], "what was written is not all there is"
    closed_refs(fake)
    assert end(fake).state is State.DRAINED


def test_what_was_written_may_take_its_final_name_only_where_the_run_has_completed() -> None:
    for messages, complete in (([], True), ([protocol.Failing(STAGE, OSError())], False)):
        fake = running()
        fake.receive(*messages, *(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
        told = []
        while closes := [(whom, m) for whom, m in fake.told if isinstance(m, protocol.Close)]:
            fake.told = []
            told += [m.complete for _, m in closes]
            fake.receive(*(protocol.Closed(whom) for whom, _ in closes))
        assert told == [complete, complete]
        assert [m.complete for m in fake.take(protocol.CloseAccount)] == [complete]


def test_where_the_rest_may_finish_a_failing_part_drains_the_run_and_fails_it() -> None:
    fake = running()
    fake.receive(protocol.Failing(SINK, OSError("full"), drain=True))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Drain | protocol.Abort)] == [SOURCE]
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    closed_refs(fake)
    ended = end(fake)
    assert (ended.state, [str(e) for e in ended.errors]) == (State.FAILED, ["full"])


def test_rows_without_an_outcome_at_the_end_of_a_run_that_went_well_fail_it() -> None:
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    closed_refs(fake)
    fake.receive(protocol.AccountClosed(Counts(9, delivered=7, interrupted=2), 2))
    (ended,) = fake.take(protocol.RunEnded)
    assert (ended.state, ended.counts.delivered) == (State.FAILED, 7)
    assert str(ended.errors[0]) == "2 rows have no outcome at the end of a run that went well"
    aborted = running()
    aborted.receive(protocol.Abort("enough"), *(protocol.Drained(ref) for ref in LINE))
    closed_refs(aborted)
    aborted.receive(protocol.AccountClosed(Counts(9, delivered=7, interrupted=2), 2))
    (ended,) = aborted.take(protocol.RunEnded)
    assert (ended.state, ended.errors) == (State.ABORTED, [])


def test_a_close_that_takes_too_long_is_told_and_the_next_one_has_its_turn() -> None:
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    fake.pass_time(4.9)
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Close)] == [READER]
    fake.pass_time(0.2)
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Close)] == [READER, WRITER]
    fake.receive(protocol.Closed(WRITER))
    assert end(fake).notes == ["closing reader took longer than 5 s"]


def test_a_ledger_that_does_not_answer_does_not_keep_the_run_from_ending() -> None:
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    closed_refs(fake)
    fake.pass_time(5.0)
    (ended,) = fake.take(protocol.RunEnded)
    assert ended.notes == ["the ledger did not answer; the counts are missing"]


def test_a_resource_that_dies_while_it_is_closed_fails_the_run_and_the_others_are_closed() -> None:
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    fake.receive(protocol.Died(READER, RuntimeError("bug")))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Close)] == [READER, WRITER]
    fake.receive(protocol.Closed(WRITER))
    ended = end(fake)
    assert (ended.state, str(ended.errors[0])) == (State.FAILED, "reader died: RuntimeError: bug")


def test_a_resource_that_dies_while_it_opens_is_an_opening_that_failed() -> None:
    fake = conducted()
    fake.receive(protocol.Opened(WRITER), protocol.Died(READER, RuntimeError("bug")))
    assert closed_refs(fake) == ["writer"]
    assert end(fake).state is State.FAILED


def test_an_abort_while_something_opens_waits_for_it_and_closes_it_or_goes_on_in_time() -> None:
    fake = conducted()
    fake.receive(protocol.Abort("enough"))
    assert [m for _, m in fake.told if isinstance(m, protocol.CloseAccount)] == []
    fake.receive(protocol.Opened(WRITER))
    assert closed_refs(fake) == ["writer"]
    assert end(fake).state is State.ABORTED
    hangs = conducted()
    hangs.receive(protocol.Abort("enough"))
    hangs.pass_time(5.0)
    ended = end(hangs)
    assert ended.notes == ["enough", "writer was still opening at the end"]


def test_an_abort_that_takes_too_long_says_who_did_not_end() -> None:
    fake = running()
    fake.receive(protocol.Abort("enough"), protocol.Drained(STAGE))
    fake.pass_time(5.0)
    closed_refs(fake)
    assert end(fake).notes == ["enough", "did not end within 5 s: reorder, sink"]


def test_a_deadline_of_a_step_that_is_over_has_no_effect() -> None:
    fake = conducted()
    fake.pass_time(59.0)
    fake.receive(protocol.Opened(WRITER))
    fake.pass_time(59.0)
    fake.receive(protocol.Opened(READER))
    fake.pass_time(1000.0)
    assert fake.actor.statistics() is State.RUNNING


def test_a_keeper_that_does_not_close_does_not_keep_the_run_from_ending() -> None:
    keeper = Name("keeper")
    conductor = Conductor(CALLER, LifeTerms())
    conductor.set_participants(Participants([], SOURCE, list(LINE), LEDGER, [], keeper=keeper))
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), *(protocol.Drained(ref) for ref in (SOURCE, *LINE)), protocol.MadeDurable())
    fake.receive(protocol.AccountClosed(Counts(), 0))
    fake.pass_time(5.0)
    (ended,) = fake.take(protocol.RunEnded)
    assert (ended.state, ended.notes) == (State.COMPLETED, ["closing keeper took longer than 5 s"])


def settling() -> Fake:
    """All rows are written, and the journal does not have all of it yet."""
    conductor = Conductor(CALLER, LifeTerms())
    conductor.set_participants(Participants([WRITER], SOURCE, list(LINE), LEDGER, [], keeper=Name("keeper")))
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Opened(WRITER), *(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    fake.told = []
    return fake


def closed_as_complete(fake: Fake) -> list[bool]:
    return [message.complete for whom, message in fake.told if isinstance(message, protocol.Close) and whom == WRITER]


def test_an_output_is_complete_when_the_journal_has_all_of_it() -> None:
    fake = settling()
    assert closed_as_complete(fake) == []
    fake.receive(protocol.MadeDurable())
    assert closed_as_complete(fake) == [True]


def test_an_output_is_not_complete_where_the_journal_fails_at_the_end() -> None:
    fake = settling()
    fake.receive(protocol.Failing(LEDGER, OSError("the disk is full")))
    assert closed_as_complete(fake) == [False]
    fake.receive(protocol.MadeDurable())
    assert closed_as_complete(fake) == [False], "it comes too late"


def test_an_output_is_not_complete_where_the_journal_takes_too_long() -> None:
    fake = settling()
    fake.pass_time(LifeTerms().settle_s)
    assert closed_as_complete(fake) == [False]


def test_an_abort_at_the_end_does_not_wait_for_the_journal() -> None:
    fake = settling()
    fake.receive(protocol.Drain())
    assert closed_as_complete(fake) == [], "nothing is left to be drained"
    fake.receive(protocol.Abort("enough"))
    assert closed_as_complete(fake) == [False]


def test_a_resource_that_says_late_that_it_is_closed_closes_no_other_one_L17() -> None:
    """Its time was up, and the next one is being closed, which has not answered."""
    fake = running()
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Close)] == [READER]
    fake.told = []
    fake.pass_time(LifeTerms().close_s)
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Close)] == [WRITER]
    fake.told = []
    fake.receive(protocol.Closed(READER))
    assert fake.told == [], "the writer has still to answer"
    fake.receive(protocol.Closed(WRITER))
    assert fake.told != []


def test_why_a_run_was_aborted_is_told_to_all() -> None:
    fake = running()
    fake.told = []
    fake.receive(protocol.Abort("enough"))
    assert {m.reason for _, m in fake.told if isinstance(m, protocol.Abort)} == {"enough"}


def test_what_is_not_open_in_time_is_waited_for_no_longer() -> None:
    fake = conducted()
    fake.pass_time(LifeTerms().open_s)
    assert fake.told_to(LEDGER, protocol.CloseAccount), "it is over at once"
    ended = end(fake)
    assert (ended.state, [str(e) for e in ended.errors]) == (
        State.FAILED,
        [f"writer was not open within {LifeTerms().open_s:g} s"],
    )


def test_deaths_before_the_run_began_are_heard_of_in_their_order() -> None:
    conductor = Conductor(CALLER, LifeTerms())
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Died(SINK, RuntimeError("first")), protocol.Died(STAGE, RuntimeError("second")))
    conductor.set_participants(Participants(resources=[], source=SOURCE, line=list(LINE), ledger=LEDGER, others=[]))
    fake.receive(protocol.Start())
    fake.receive(*(protocol.Drained(ref) for ref in LINE))
    closed_refs(fake)
    ended = end(fake)
    assert str(ended.errors[0]) == "sink died: RuntimeError: first"
    assert ended.errors[0].__notes__ == ["then: ActorDied: stage died: RuntimeError: second"]


def test_a_run_that_drains_because_a_part_failed_did_not_go_well_and_no_row_without_an_outcome_is_another_error() -> (
    None
):
    fake = running()
    fake.receive(protocol.Failing(SINK, OSError("full"), drain=True))
    fake.receive(*(protocol.Drained(ref) for ref in (SOURCE, *LINE)))
    closed_refs(fake)
    fake.receive(protocol.AccountClosed(Counts(9, delivered=7, interrupted=2), 2))
    (ended,) = fake.take(protocol.RunEnded)
    assert (ended.state, [str(e) for e in ended.errors], ended.notes) == (State.FAILED, ["full"], [])


def test_who_says_late_that_it_has_drained_has_nothing_closed_twice_L17() -> None:
    """The abort's time was up, and all is being closed without it."""
    fake = running()
    fake.receive(protocol.Abort("enough"))
    fake.pass_time(LifeTerms().abort_s)
    fake.receive(*(protocol.Drained(ref) for ref in LINE))
    assert closed_refs(fake) == ["reader", "writer"]
    assert len(fake.told_to(LEDGER, protocol.CloseAccount)) == 1


def test_nobody_waits_for_a_dead_resource_to_close() -> None:
    fake = running()
    fake.receive(protocol.Died(READER, RuntimeError("bug")), *(protocol.Drained(ref) for ref in LINE))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Close)] == [READER, WRITER]


@pytest.mark.parametrize("error", [None, OSError("no such file")])
def test_what_opens_after_its_time_is_closed_with_the_others_and_what_does_not_is_not_L21(
    error: BaseException | None,
) -> None:
    fake = conducted()
    fake.receive(protocol.Opened(WRITER))
    fake.pass_time(LifeTerms().open_s)
    fake.receive(protocol.Opened(READER, error))
    assert closed_refs(fake) == (["writer"] if error is not None else ["writer", "reader"])


def test_a_run_whose_keeper_is_dead_ends_at_once_and_has_failed() -> None:
    keeper = Name("keeper")
    conductor = Conductor(CALLER, LifeTerms())
    conductor.set_participants(Participants([], SOURCE, list(LINE), LEDGER, [], keeper=keeper))
    fake = Fake(conductor, "conductor")
    fake.receive(protocol.Start(), protocol.Died(keeper, RuntimeError("bug")))
    fake.receive(*(protocol.Drained(ref) for ref in LINE), protocol.AccountClosed(Counts(), 0))
    (ended,) = fake.take(protocol.RunEnded)
    assert (ended.state, str(ended.errors[0])) == (State.FAILED, "keeper died: RuntimeError: bug")
