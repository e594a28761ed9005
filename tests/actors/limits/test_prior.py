"""What was found out of a limit is where its next gate begins."""

from __future__ import annotations

import msgspec
import pytest
from tests.actors.fake import Fake, Name
from tests.actors.limits.quota import (
    STAGE,
    Came,
    Chance,
    Fixed,
    InFlight,
    Latency,
    Play,
    Server,
    Sliding,
    TokenBucket,
    constant,
    slow,
)

from headrace.actors import protocol
from headrace.actors.governor import KEYS_SWEEP, Governor
from headrace.actors.limits.gate import Gate, GateState
from headrace.actors.limits.pace import Pace
from headrace.actors.limits.rate_search import RateSearch
from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.protocol import Epoch, Lessons, Prior

MANY = 10**9
FAST = constant(0.02)
STATED = Terms(rates=(Rate(200.0),))


def life(
    server: Server, latency: Latency, terms: Terms, seconds: float, prior: Prior | None = None
) -> tuple[Came, Prior]:
    """So many seconds of it, and what it leaves to the next one."""
    gate = Gate(terms, 0.0)
    if prior is not None:
        gate.recall(prior, 0.0)
    play = Play(server, MANY, 100, latency, 1, terms, gate)
    came = play.run(seconds)
    found = play.gate.prior or Prior()
    # The next one has a clock of its own.
    until_s = found.until_s - seconds if found.until_s is not None else None
    return came, msgspec.structs.replace(found, until_s=until_s)


@pytest.mark.parametrize(
    ("server", "latency", "terms", "lived_s"),
    [
        (lambda: TokenBucket(200.0, 20.0), FAST, Terms(), 1.0),
        (lambda: TokenBucket(200.0, 20.0), FAST, Terms(), 20.0),
        (lambda: TokenBucket(200.0, 1.0), FAST, Terms(), 3.0),
        (lambda: TokenBucket(50.0, 5.0), slow(1.0), Terms(), 20.0),
        (lambda: TokenBucket(100.0, 5.0), FAST, STATED, 3.0),
        (lambda: TokenBucket(190.0, 5.0), FAST, STATED, 20.0),
        (lambda: InFlight(30), Latency(answer=(0.05, 0.15)), Terms(), 3.0),
        (lambda: InFlight(8), Latency(answer=(0.2, 0.3)), Terms(), 3.0),
    ],
)
def test_the_next_life_does_not_begin_gently_and_is_refused_less(
    server: object, latency: Latency, terms: Terms, lived_s: float
) -> None:
    assert callable(server)
    first, _ = life(server(), latency, terms, 5.0)
    _, prior = life(server(), latency, terms, lived_s)
    second, _ = life(server(), latency, terms, 5.0, prior)
    assert first.refused > 1
    assert second.refused <= first.refused / 2 or second.refused <= 2
    assert second.answered >= 0.97 * first.answered
    if lived_s >= 20.0:
        assert second.answered > first.answered


@pytest.mark.parametrize("server", [lambda: Fixed(100, 1.0, 0.3), lambda: Sliding(500, 10.0)])
def test_of_a_window_of_time_its_sustained_rate_is_kept(server: object) -> None:
    assert callable(server)
    _, prior = life(server(), FAST, Terms(), 60.0)
    first, _ = life(server(), FAST, Terms(), 30.0)
    second, _ = life(server(), FAST, Terms(), 30.0, prior)
    assert second.refused <= first.refused / 3
    assert second.answered >= 0.95 * first.answered


def test_what_was_stated_stays_the_ceiling_whatever_was_found_out_L74() -> None:
    came, prior = life(TokenBucket(1000.0, 50.0), FAST, STATED, 10.0, Prior(rate=7.0))
    assert prior == Prior(), "as much as is stated is let in"
    calls = sorted(came.admitted_at)
    for at in range(0, len(calls) - 100, 50):
        assert calls[at + 100] - calls[at] >= (100 - 5) / 200.0 - 0.001


def test_a_prior_that_is_too_low_or_too_high_or_of_the_wrong_kind_is_left_within_seconds() -> None:
    low, _ = life(TokenBucket(200.0, 20.0), FAST, Terms(), 30.0, Prior(rate=20.0))
    assert low.admitted(20.0, 30.0) >= 0.9 * 200 * 10
    high, _ = life(TokenBucket(200.0, 20.0), FAST, Terms(), 30.0, Prior(rate=2000.0))
    assert high.admitted(10.0, 30.0) >= 0.9 * 200 * 20
    assert high.refused_in(5.0, 30.0) <= 0.01
    none, _ = life(TokenBucket(200.0, 20.0), FAST, Terms(), 30.0, Prior(in_flight=3, rate=50.0))
    assert none.admitted(20.0, 30.0) >= 0.9 * 200 * 10, "what was taken for a limit on calls in flight is none any more"


def test_what_was_being_tried_when_it_closed_is_not_what_is_begun_with() -> None:
    search = RateSearch.after_ramp(100, 0.5, 0.02)
    search.on_opened(0.1, 0.1, hinted=False, refused=1)
    while search.rate < 400.0:
        search.move(0.05, limited=True)
    went = search.found
    assert search.rate * 0.6 < went < search.rate, "what went through lately"
    assert not search.sure
    search.on_refused(0.02, fruitful=True)
    assert search.found == pytest.approx(0.7 * went), "it was refused"
    search.on_opened(0.1, 0.1, hinted=False, refused=1)
    assert search.found == search.rate


def test_a_search_that_is_recalled_goes_on_from_there() -> None:
    sure, unsure = RateSearch.recalled(50.0, sure=True), RateSearch.recalled(50.0, sure=False)
    assert (sure.rate, unsure.rate) == (50.0, 50.0)
    for search in (sure, unsure):
        for _ in range(40):
            search.move(0.1, limited=True)
    assert sure.rate == pytest.approx(50.0, rel=0.02), "it holds"
    assert unsure.rate == pytest.approx(100.0, rel=0.05), "it searches, slowly"
    slow_one = RateSearch.recalled(2.0, sure=True)
    for _ in range(400):
        slow_one.move(0.1, limited=True)
    assert slow_one.rate < 2.0 * 1.02, "a refusal in fifty calls at most"
    assert RateSearch.recalled(7.0, sure=True, stated_per_s=100.0).rate == 1.0, "a share"
    assert RateSearch.recalled(0.0, sure=True).rate > 0.0


def test_refusals_by_chance_are_kept_as_such() -> None:
    _, prior = life(Chance(35.0, seed=1), FAST, Terms(), 25.0)
    assert prior.chance is not None
    assert 0.1 < prior.chance < 0.7
    fresh, _ = life(Chance(35.0, seed=4), FAST, Terms(), 5.0)
    heir, again = life(Chance(35.0, seed=4), FAST, Terms(), 5.0, prior)
    assert heir.answered > 3 * fresh.answered
    assert again.chance == prior.chance
    # And where it has become a quota meanwhile, that is found out.
    came, _ = life(TokenBucket(50.0, 1.0), FAST, Terms(), 60.0, prior)
    assert came.refused_in(30.0, 60.0) < 0.1


def test_a_limit_on_calls_in_flight_is_handed_on_without_what_is_being_tried_above_it() -> None:
    pace = Pace(10.0, 0.0)
    pace.recall(Prior(in_flight=30, rate=100.0), 0.0)
    assert pace.room(0, full=False, now=0.0) == 30
    pace.on_sent(500, 1.0)
    assert pace.room(30, full=True, now=20.0) == 1, "one more is tried"
    assert pace.prior == Prior(rate=100.0, in_flight=30)


def test_one_refusal_is_not_enough_to_give_up_a_limit_on_calls_in_flight_that_was_tried() -> None:
    pace = Pace(10.0, 0.0)
    pace.recall(Prior(in_flight=30), 0.0)
    pace.on_sent(10, 0.0)
    pace.on_refused(10, 0.01, 0.1)
    found = pace.prior
    assert found is not None
    assert found.in_flight == 29


def test_a_gate_that_has_found_out_nothing_leaves_nothing() -> None:
    for terms in (Terms(), STATED, Terms(concurrency=4)):
        gate = Gate(terms, 0.0)
        gate.want(STAGE, 4, ())
        gate.grant(0.0)
        gate.ended(STAGE, 4, 4, (), 0.1, 1.0)
        assert gate.prior is None


def test_a_cooldown_that_is_not_over_is_handed_on_and_one_that_is_over_is_not() -> None:
    gate = Gate(Terms(hint_max_s=300.0), 100.0)
    gate.recall(Prior(until_s=160.0), 100.0)
    assert (gate.state, gate.until_s, gate.cooldowns) == (GateState.COOLING, 160.0, 0)
    assert gate.prior == Prior(until_s=160.0)
    gate.want(STAGE, 1, ())
    assert gate.grant(130.0) == []
    assert gate.end_cooldown(160.0)
    assert [grant.n for grant in gate.grant(160.0)] == [1]
    assert gate.prior is None
    over = Gate(Terms(), 100.0)
    over.recall(Prior(until_s=99.0), 100.0)
    assert over.state is GateState.OPEN
    absurd = Gate(Terms(hint_max_s=300.0), 100.0)
    absurd.recall(Prior(until_s=1e9), 100.0)
    assert absurd.until_s == 400.0, "a clock may have been set back meanwhile"


def test_an_outage_and_an_exhausted_account_are_no_lesson() -> None:
    gate = Gate(Terms(), 0.0)
    gate.close_for_outage(0.0, 0.5)
    assert gate.prior is None
    shut = Gate(Terms(), 0.0)
    assert shut.turned_away(Epoch(0), 3, None, "no credit", 0.0)
    assert shut.prior is None


ONE = Name("one")


def test_what_was_found_out_under_other_terms_is_forgotten() -> None:
    lessons = Lessons(STATED.said, {None: Prior(rate=0.5)})
    for terms in (Terms(), Terms(rates=(Rate(300.0),)), Terms(rates=(Rate(200.0),), concurrency=3)):
        assert Fake(Governor(terms, lessons)).actor.statistics().keys == 0
    # What does not say what the other side allows may be another.
    same = msgspec.structs.replace(STATED, cooldown_s=1.0, give_up_after_s=5.0)
    heir = Fake(Governor(same, lessons))
    heir.receive(protocol.Register(ONE), protocol.LearnedWanted(ONE))
    assert heir.take(protocol.Learned) == [protocol.Learned(heir.me, lessons)]
    weighed = Terms(rates=(Rate(2.5), Rate(100.0, unit="cost", name="tokens")), concurrency="auto")
    assert weighed.said == "2.5 calls/s, 100.0 tokens/s, auto in flight"


def test_however_many_keys_there_are_the_latest_are_handed_on() -> None:
    fake = Fake(Governor(Terms(), Lessons("", {key: Prior(rate=1.0 + key) for key in range(3000)})))
    assert isinstance(fake.actor, Governor)
    assert list(fake.actor.lessons().priors) == list(range(3000 - KEYS_SWEEP, 3000))
    assert fake.actor.lessons().priors[2999] == Prior(rate=3000.0)


def test_a_cooldown_of_an_earlier_life_ends_by_itself() -> None:
    fake = Fake(Governor(Terms(), Lessons("", {"a": Prior(until_s=5.0)})))
    fake.receive(protocol.Register(ONE), protocol.PermitsWanted(ONE, 1, "a"))
    assert [type(m) for m in fake.take_for(ONE)] == [protocol.CooldownBegan]
    fake.pass_time(4.9)
    assert fake.take_for(ONE) == []
    fake.pass_time(0.2)
    assert [type(m) for m in fake.take_for(ONE)] == [protocol.CooldownEnded, protocol.PermitsGranted]
