"""The journal, message by message: what is told first is durable first, and counts only then."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.actor import Ref
from headrace.actors.journal import COMMIT_ROWS, LEARNED_EVERY_S, LEARNED_WITHIN_S, Journal
from headrace.actors.protocol import (
    Answers,
    Budget,
    Commit,
    Committed,
    Counts,
    Learned,
    LearnedWanted,
    Lessons,
    LimitLearned,
    Prior,
    Settled,
    Status,
)
from tests.actors.fake import Fake, Name

KEEPER, LEDGER, CONDUCTOR, STAGE, OTHER = map(Name, ("keeper", "ledger", "conductor", "stage", "other"))


def keeping(within_s: float = 0.1) -> Fake:
    return Fake(Journal(KEEPER, LEDGER, CONDUCTOR, within_s), "journal")


def commits(fake: Fake) -> list[list[Any]]:
    """What is to be made durable since; the rest is forgotten."""
    return [commit.entries for commit in fake.take(Commit)]


def settled(row: int) -> Settled:
    return Settled(Status.DELIVERED, range(row, row + 1))


def test_the_first_of_what_came_waits_no_longer_than_it_may_and_what_came_meanwhile_goes_with_it() -> None:
    fake = keeping(1.0)
    fake.receive(settled(0))
    fake.pass_time(0.75)
    fake.receive(settled(1))
    assert commits(fake) == []
    fake.pass_time(0.25)
    assert commits(fake) == [[settled(0), settled(1)]]


def test_one_commit_is_under_way_at_a_time_and_the_next_one_takes_all_that_came_meanwhile_in_order() -> None:
    fake = keeping(0.1)
    entries = [settled(0), Answers("s", [1], ["a"]), protocol.ReadTo(3, None), protocol.Formed("b", [])]
    fake.receive(entries[0])
    fake.pass_time(0.1)
    assert commits(fake) == [entries[:1]]
    fake.receive(*entries[1:])
    fake.pass_time(10.0)
    assert commits(fake) == []
    fake.receive(Committed())
    assert commits(fake) == [entries[1:]], "what came meanwhile has waited long enough"
    fake.receive(Committed(), settled(9))
    assert commits(fake) == []
    fake.pass_time(0.1)
    assert commits(fake) == [[settled(9)]], "a timer is set again"


def test_where_nothing_may_wait_each_entry_is_committed_at_once() -> None:
    fake = keeping(0.0)
    fake.receive(settled(0))
    assert commits(fake) == [[settled(0)]]


def test_many_rows_do_not_wait() -> None:
    fake = keeping(10.0)
    fake.receive(Settled(Status.DELIVERED, range(COMMIT_ROWS - 1)))
    assert commits(fake) == []
    fake.receive(settled(COMMIT_ROWS))
    assert [len(entries) for entries in commits(fake)] == [2]
    fake.receive(Committed(), settled(COMMIT_ROWS + 1))
    assert commits(fake) == [], "the count begins anew"


def test_the_ledger_hears_of_an_outcome_when_it_is_durable_and_not_before() -> None:
    fake = keeping(0.0)
    fake.receive(settled(0), settled(1))
    assert fake.take_for(LEDGER) == []
    fake.receive(Committed())
    assert fake.take_for(LEDGER) == [settled(0)]
    fake.receive(Committed())
    assert fake.take_for(LEDGER) == [settled(1)]


def test_who_waits_for_its_answers_is_told_how_many_are_durable() -> None:
    fake = keeping(0.1)
    fake.receive(*(Answers("s", [row], ["a"], reply_to=STAGE) for row in range(3)))
    fake.receive(Answers("t", [0], ["a"], reply_to=OTHER), Answers("u", [0], ["a"]))
    fake.pass_time(0.1)
    assert [whom for whom, m in fake.told if isinstance(m, protocol.Kept)] == []
    fake.receive(Committed())
    assert [(whom, m.n) for whom, m in fake.told if isinstance(m, protocol.Kept)] == [(STAGE, 3), (OTHER, 1)]


@pytest.mark.parametrize(
    "entry",
    [
        protocol.RowsSettled(Status.DELIVERED, range(1)),
        protocol.ReadTo(1, None),
        protocol.Formed("b", []),
        protocol.Decided("j", [0], [(0,)]),
        protocol.Ends("s", []),
        protocol.Faulted("s", [], 0.0, 0.0),
        protocol.Metered("s", {"tokens": 1.0}),
        protocol.Parked("s", 0, None, 0.0, 1.0),
        protocol.Cooled("s", 0.0, 1.0, protocol.Closure.REFUSED),
        LimitLearned(Budget("s"), Lessons("", {}), 0.0),
    ],
)
def test_whatever_it_is_told_is_made_durable(entry: Any) -> None:
    fake = keeping(0.0)
    fake.receive(entry)
    fake.pass_time(0.0)
    assert commits(fake) == [[entry]]


def test_it_says_when_all_that_it_was_told_is_durable() -> None:
    fake = keeping(10.0)
    fake.receive(settled(0), protocol.MakeDurable(CONDUCTOR))
    assert [type(m) for _, m in fake.told] == [Commit], "what is left does not wait"
    fake.told = []
    fake.receive(Committed())
    assert fake.told == [(LEDGER, settled(0)), (CONDUCTOR, protocol.MadeDurable())]
    fake.told = []
    fake.receive(settled(1))
    fake.pass_time(10.0)
    fake.receive(Committed())
    assert (CONDUCTOR, protocol.MadeDurable()) not in fake.told, "it is told once"


def test_it_does_not_say_that_all_is_durable_where_it_is_not() -> None:
    fake = keeping(10.0)
    fake.receive(settled(0), protocol.MakeDurable(CONDUCTOR), protocol.CommitFailed(OSError("the disk is full")))
    assert not any(isinstance(m, protocol.MadeDurable) for _, m in fake.told)


def test_where_nothing_is_left_all_is_durable_at_once() -> None:
    fake = keeping(10.0)
    fake.receive(protocol.MakeDurable(CONDUCTOR))
    assert fake.told == [(CONDUCTOR, protocol.MadeDurable())]


def test_the_account_is_closed_when_the_rest_is_durable() -> None:
    fake = keeping(10.0)
    fake.receive(settled(0), protocol.CloseAccount(CONDUCTOR, True))
    assert [type(m) for _, m in fake.told] == [Commit], "what is left does not wait"
    fake.told = []
    fake.receive(settled(1), Committed())
    assert [(whom, type(m)) for whom, m in fake.told] == [(LEDGER, Settled), (KEEPER, Commit)]
    fake.told = []
    fake.receive(Committed())
    assert fake.told == [(LEDGER, settled(1)), (LEDGER, protocol.CloseAccount(fake.me, True))]
    fake.told = []
    # The ledger has more to tell, and then its account.
    rows = protocol.RowsSettled(Status.DELIVERED, range(2))
    closed = protocol.AccountClosed(Counts(2, delivered=2), 0)
    fake.receive(rows, closed)
    assert fake.told == [(KEEPER, Commit([rows]))]
    fake.told = []
    fake.receive(Committed())
    assert fake.told == [(CONDUCTOR, closed)]
    fake.told = []
    fake.receive(rows, Committed())
    assert (CONDUCTOR, closed) not in fake.told, "it is told once"
    assert not any(isinstance(m, protocol.CloseAccount) for _, m in fake.told)


def test_what_cannot_be_kept_fails_the_run_and_nothing_after_it_counts() -> None:
    fake = keeping(0.0)
    full = OSError("no space")
    fake.receive(settled(0), settled(1), protocol.CommitFailed(full))
    assert [m.error for m in fake.take(protocol.Failing)] == [full]
    fake.receive(settled(2))
    fake.pass_time(10.0)
    assert fake.told == []
    fake.receive(protocol.CloseAccount(CONDUCTOR, False))
    assert fake.told == [(LEDGER, protocol.CloseAccount(fake.me, False))], "the end comes all the same"
    closed = protocol.AccountClosed(Counts(3, interrupted=3), 3)
    fake.receive(closed)
    assert fake.told[-1] == (CONDUCTOR, closed)


def test_it_counts_what_is_durable_and_what_is_not_yet() -> None:
    fake = keeping(0.0)
    fake.receive(settled(0), settled(1), settled(2))
    counted = fake.actor.statistics()
    assert (counted.entries, counted.commits, counted.pending) == (0, 0, 3)
    fake.receive(Committed())
    counted = fake.actor.statistics()
    assert (counted.entries, counted.commits, counted.pending) == (1, 1, 2)
    fake.receive(Committed())
    counted = fake.actor.statistics()
    assert (counted.entries, counted.commits, counted.pending) == (3, 2, 0)


MINE, SHARED = Name("governor-ask"), Name("governor-api")
BUDGETS: dict[Ref, Budget] = {MINE: Budget("ask"), SHARED: Budget("api", shared=True)}
NOTHING = Lessons("", {})


def learning(within_s: float = 0.0) -> Fake:
    return Fake(Journal(KEEPER, LEDGER, CONDUCTOR, within_s, BUDGETS), "journal")


def rate(per_s: float) -> Lessons:
    return Lessons("", {None: Prior(rate=per_s)})


def asked(fake: Fake) -> list[Any]:
    """Governors that were asked what they have found out since; all else is forgotten."""
    found = [whom for whom, m in fake.told if isinstance(m, LearnedWanted)]
    fake.told = []
    return found


def test_governors_are_asked_what_they_have_found_out_now_and_then_while_there_is_something_to_commit() -> None:
    fake = learning()
    fake.pass_time(100.0)
    assert fake.told == [], "nothing happens, so nothing is asked, and no timer waits"
    assert fake.timers_set == 0
    fake.receive(settled(0))
    assert asked(fake) == []
    fake.receive(Committed())
    assert asked(fake) == [MINE, SHARED]
    fake.receive(Learned(MINE, rate(47.0)))
    assert commits(fake) == [[LimitLearned(Budget("ask"), rate(47.0), 100.0)]]
    fake.pass_time(LEARNED_EVERY_S)
    fake.receive(Committed())
    assert asked(fake) == [], "that this was committed is no reason to ask again"
    fake.receive(settled(1), Committed())
    assert asked(fake) == [MINE], "who has not answered is not asked twice"
    fake.receive(settled(2), Committed())
    assert asked(fake) == [], "it was asked just now"


def test_where_a_governor_has_found_out_nothing_nothing_is_written_and_that_it_has_forgotten_all_is() -> None:
    fake = learning()
    fake.receive(Learned(MINE, NOTHING))
    assert fake.told == []
    fake.receive(Learned(MINE, rate(1.0)), Committed(), Learned(MINE, NOTHING), Committed())
    assert commits(fake) == [[LimitLearned(Budget("ask"), found, 0.0)] for found in (rate(1.0), NOTHING)]
    known = {Budget("api", shared=True): rate(5.0)}
    later = Fake(Journal(KEEPER, LEDGER, CONDUCTOR, 0.0, BUDGETS, known), "journal")
    later.receive(Learned(MINE, NOTHING), Learned(SHARED, NOTHING))
    assert commits(later) == [[LimitLearned(Budget("api", shared=True), NOTHING, 0.0)]], (
        "an earlier life has told of it"
    )


def test_at_the_end_what_was_found_out_is_durable_before_the_account_is_closed() -> None:
    fake = learning(10.0)
    fake.receive(settled(0), protocol.CloseAccount(CONDUCTOR, False))
    assert fake.take_for(KEEPER) == [Commit([settled(0)])], "all else need not wait"
    fake.receive(Committed())
    assert fake.take_for(LEDGER) == [settled(0)]
    fake.receive(Learned(SHARED, NOTHING))
    assert fake.told == [], "one of them is missing"
    fake.receive(Learned(MINE, rate(3.0)))
    assert fake.told == [(KEEPER, Commit([LimitLearned(Budget("ask"), rate(3.0), 0.0)]))]
    fake.told = []
    fake.receive(Committed())
    assert fake.told == [(LEDGER, protocol.CloseAccount(fake.me, False))]
    fake.told = []
    fake.pass_time(10.0)
    assert fake.told == [], "that the time is over changes nothing now"


def test_at_the_end_a_governor_that_is_dead_is_not_waited_for_long() -> None:
    fake = learning()
    fake.receive(protocol.CloseAccount(CONDUCTOR, False))
    assert asked(fake) == [MINE, SHARED]
    fake.receive(Learned(MINE, NOTHING))
    fake.pass_time(LEARNED_WITHIN_S - 0.01)
    assert fake.told == []
    fake.pass_time(0.02)
    assert fake.told == [(LEDGER, protocol.CloseAccount(fake.me, False))]
    fake.told = []
    # It was only slow.
    fake.receive(Learned(SHARED, rate(3.0)))
    assert [len(entries) for entries in commits(fake)] == [1]


def test_a_journal_that_cannot_keep_anything_asks_nobody() -> None:
    fake = learning()
    fake.receive(settled(0), protocol.CommitFailed(OSError("no space")))
    fake.told = []
    fake.receive(protocol.CloseAccount(CONDUCTOR, False))
    assert fake.told == [(LEDGER, protocol.CloseAccount(fake.me, False))]
    at_the_end = learning()
    at_the_end.receive(settled(0), protocol.CloseAccount(CONDUCTOR, False))
    at_the_end.told = []
    at_the_end.receive(protocol.CommitFailed(OSError("no space")))
    assert at_the_end.take_for(LEDGER) == [protocol.CloseAccount(at_the_end.me, False)]
