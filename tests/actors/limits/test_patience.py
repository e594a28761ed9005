"""The gate of an account that is exhausted (L71): when it closes, when it asks again, and when it gives up."""

from __future__ import annotations

import pytest
from tests.actors.fake import Fake, Name

from headrace.actors import protocol
from headrace.actors.governor import Governor
from headrace.actors.limits.terms import Terms
from headrace.actors.protocol import Closure, Epoch

ONE, TWO = Name("one"), Name("two")


def governing(answered: int = 1, **terms: float) -> Fake:
    """A governor of a limit of which so many calls were answered."""
    fake = Fake(Governor(Terms(concurrency=10, **terms)), "governor")  # type: ignore[arg-type]
    fake.receive(protocol.Register(ONE), protocol.Register(TWO), protocol.PermitsWanted(ONE, 1000))
    if answered:
        fake.receive(protocol.CallsEnded(ONE, Epoch(0), answered, answered))
    fake.told = []
    return fake


def turned_away(fake: Fake, epoch: int = 0, n: int = 1, hint_s: float | None = None, words: str = "no credit") -> None:
    fake.receive(protocol.TurnedAway(Epoch(epoch), n, hint_s, words))
    fake.receive(protocol.CallsEnded(ONE, Epoch(epoch), 0, 0))


def closed(fake: Fake) -> list[tuple[Closure, float]]:
    """Each closing since, as one stage was told of it, with the seconds that it lasts."""
    return [(m.closure, m.until_s - fake.now()) for m in fake.take_for(TWO) if isinstance(m, protocol.CooldownBegan)]


def test_three_calls_turned_away_one_after_another_close_the_gate() -> None:
    fake = governing()
    turned_away(fake)
    turned_away(fake)
    assert closed(fake) == []
    turned_away(fake)
    assert closed(fake) == [(Closure.EXHAUSTED, 60.0)]
    assert fake.actor.statistics().waits_for == "no credit"


def test_an_answer_between_them_begins_the_count_anew() -> None:
    fake = governing()
    for _ in range(10):
        turned_away(fake, n=2)
        fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 1))
    assert closed(fake) == []


def test_the_first_call_of_all_that_is_turned_away_closes_it_at_once() -> None:
    fake = governing(answered=0)
    turned_away(fake)
    assert closed(fake) == [(Closure.EXHAUSTED, 2.0)]


def test_calls_under_way_that_are_answered_after_all_open_it_for_a_probe_at_once() -> None:
    fake = governing(answered=0)
    turned_away(fake)
    fake.told = []
    fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 1))
    fake.pass_time(0.001)
    assert [m.probing for m in fake.take_for(TWO) if isinstance(m, protocol.CooldownEnded)] == [True]


def test_stages_are_told_the_providers_words_and_one_that_enlists_later_too() -> None:
    fake = governing()
    turned_away(fake, n=3)
    assert [m.words for m in fake.take(protocol.CooldownBegan)] == ["no credit"] * 2
    late = Name("late")
    fake.receive(protocol.Register(late))
    assert [m.words for m in fake.take_for(late)] == ["no credit"]


def test_it_asks_with_one_call_at_a_time_later_and_later_up_to_ten_minutes() -> None:
    fake = governing()
    # The permits that are out come back, so that there is room for a probe.
    fake.receive(
        protocol.WishesWithdrawn(ONE),
        protocol.PermitsReturned(ONE, 10),
        protocol.TurnedAway(Epoch(0), 3, None, "no credit"),
    )
    waits = [wait for _, wait in closed(fake)]
    for epoch in range(1, 9):
        fake.receive(protocol.PermitsWanted(ONE, 3))
        fake.pass_time(waits[-1])
        assert [m.n for _, m in fake.told if isinstance(m, protocol.PermitsGranted)] == [1]
        turned_away(fake, epoch)
        fake.receive(protocol.WishesWithdrawn(ONE), protocol.CallsEnded(ONE, Epoch(epoch), 1, 0))
        waits += [wait for _, wait in closed(fake)]
    assert waits == pytest.approx([60, 90, 135, 202.5, 303.75, 455.625, 600, 600, 600])


@pytest.mark.parametrize(
    ("hint_s", "wait_s"), [(None, 60.0), (0.7, 60.0), (61.0, 61.0), (86_000.0, 86_000.0), (31_536_000.0, 60.0)]
)
def test_it_asks_at_the_time_that_the_other_side_names_if_that_can_be_meant_L13(
    hint_s: float | None, wait_s: float
) -> None:
    fake = governing()
    turned_away(fake, n=3, hint_s=hint_s)
    ((closure, waits_s),) = closed(fake)
    assert closure is Closure.EXHAUSTED
    assert waits_s == pytest.approx(wait_s)


def test_an_answered_probe_opens_it_for_all() -> None:
    fake = governing()
    turned_away(fake, n=3)
    fake.pass_time(60.0)
    fake.receive(protocol.CallsEnded(ONE, Epoch(1), 1, 1))
    assert len(fake.take(protocol.Reopened)) == 2
    counted = fake.actor.statistics()
    assert (counted.shut, counted.waits_for) == (1, None)


@pytest.mark.parametrize(
    ("stated", "answered", "hint_s", "after_s"),
    [
        (None, 1, None, 25 * 3600.0),
        (None, 1, 30 * 3600.0, 31 * 3600.0),
        (None, 0, None, 30.0),
        (None, 0, 7200.0, 25 * 3600.0),
        (100.0, 1, None, 100.0),
        (100.0, 1, 7200.0, 100.0),
        (7200.0, 0, None, 7200.0),
    ],
)
def test_it_is_given_up_after_as_long_as_is_said_with_a_last_probe_then(
    stated: float | None, answered: int, hint_s: float | None, after_s: float
) -> None:
    fake = Fake(Governor(Terms(concurrency=10, give_up_after_s=stated)), "governor")
    fake.receive(protocol.Register(ONE), protocol.PermitsWanted(ONE, 1000))
    if answered:
        fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 1))
    turned_away(fake, n=3, hint_s=hint_s)
    given_up: list[protocol.AccountGivenUp] = []
    epoch = 1
    while not given_up:
        began = [m for _, m in fake.told if isinstance(m, protocol.CooldownBegan)][-1]
        fake.told = []
        fake.pass_time(began.until_s - fake.now())
        # The time that was named has come, and it was not true.
        turned_away(fake, epoch)
        epoch += 1
        given_up = [m for _, m in fake.told if isinstance(m, protocol.AccountGivenUp)]
    assert fake.now() == pytest.approx(after_s)
    (news,) = given_up
    assert news.words == "no credit"
    assert news.since_s == pytest.approx(after_s)


def test_zero_gives_up_at_once() -> None:
    fake = governing(give_up_after_s=0.0)
    turned_away(fake, n=3)
    assert [m.words for m in fake.take_for(TWO) if isinstance(m, protocol.AccountGivenUp)] == ["no credit"]


def test_what_refuses_everybody_for_minutes_is_exhausted_whatever_it_says() -> None:
    fake = governing(cooldown_max_s=30.0)
    epoch, closures = 0, []
    while fake.now() < 1000.0:
        fake.receive(protocol.LimitHit(Epoch(epoch), None))
        closures += closed(fake)
        fake.pass_time(closures[-1][1])
        epoch += 1
    kinds = [closure for closure, _ in closures]
    assert kinds[0] is Closure.REFUSED
    assert kinds == sorted(kinds, key=[Closure.REFUSED, Closure.EXHAUSTED].index)
    assert [wait for closure, wait in closures if closure is Closure.EXHAUSTED][:3] == pytest.approx([60, 90, 135])


def test_what_refuses_from_the_first_call_on_need_be_no_wrong_key() -> None:
    """Nobody has said that it is exhausted: so it is not given up after half a minute, as a mistake of somebody's is."""
    fake = governing(answered=0)
    epoch, closures = 0, list[tuple[Closure, float]]()
    while len(closures) < 100 and fake.now() < 3600.0:
        fake.receive(protocol.LimitHit(Epoch(epoch), None))
        assert not any(isinstance(m, protocol.AccountGivenUp) for _, m in fake.told)
        closures += closed(fake)
        fake.pass_time(closures[-1][1])
        epoch += 1
    assert [wait for closure, wait in closures if closure is Closure.EXHAUSTED][:3] == pytest.approx([60, 90, 135])


def test_a_time_that_was_named_before_it_opened_again_is_forgotten() -> None:
    fake = governing()
    turned_away(fake, n=3, hint_s=30 * 3600.0)
    fake.pass_time(30 * 3600.0)
    fake.receive(protocol.CallsEnded(ONE, Epoch(1), 1, 1))
    began_s, epoch = fake.now(), 1
    turned_away(fake, epoch, n=3)
    given_up: list[float] = []
    while not given_up:
        (*_, (_, wait_s)) = closed(fake)
        fake.pass_time(wait_s)
        epoch += 1
        turned_away(fake, epoch)
        given_up = [m.since_s for whom, m in fake.told if isinstance(m, protocol.AccountGivenUp) and whom == ONE]
    assert fake.now() - began_s == pytest.approx(25 * 3600.0)
    assert fake.actor.statistics().shut == 2


def test_a_probe_that_is_refused_asks_again_as_one_that_is_turned_away() -> None:
    fake = governing()
    turned_away(fake, n=3)
    fake.pass_time(60.0)
    fake.told = []
    fake.receive(protocol.LimitHit(Epoch(1), None))
    ((closure, waits_s),) = closed(fake)
    assert closure is Closure.EXHAUSTED
    assert waits_s == pytest.approx(90.0)


def test_a_key_that_is_new_does_not_take_what_all_keys_share_for_wrong() -> None:
    fake = governing()
    fake.receive(protocol.TurnedAway(Epoch(0), 1, None, "no", "tenant"))
    assert closed(fake) == []


def test_calls_that_were_not_answered_do_not_make_a_key_a_right_one() -> None:
    fake = governing(answered=0)
    fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 0, (1,)))
    fake.receive(protocol.TurnedAway(Epoch(0), 1, None, "no", "tenant"))
    assert closed(fake) == [(Closure.EXHAUSTED, 2.0)]


def test_few_rows_that_fail_again_and_again_are_an_outage_too_L40() -> None:
    fake = governing(outage_after=10)
    for i in range(9):
        fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 0, (i % 3,)))
        assert closed(fake) == []
    fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 0, (0,)))
    assert [closure for closure, _ in closed(fake)] == [Closure.OUTAGE]
