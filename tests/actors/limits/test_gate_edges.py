"""The gate at its edges: what does not count any more, what outlives a run, and when nobody need wake it."""

from __future__ import annotations

import pytest
from tests.actors.fake import Name

from headrace.actors import protocol
from headrace.actors.limits.gate import Gate, GateState
from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.protocol import Prior
from headrace.actors.quantities import DAY_S, HEAVIEST

STAGE, OTHER = Name("stage"), Name("other")


def granted(gate: Gate, now: float) -> int:
    return sum(grant.n for grant in gate.grant(now))


def test_a_row_weighs_no_more_than_the_slowest_rate_of_weights_lets_through_in_a_day_L60() -> None:
    rates = (Rate(0.001), Rate(10.0, unit="cost"), Rate(2.0, unit="cost", name="tokens"))
    assert Terms(rates=rates).weight_max == 2.0 * DAY_S
    assert Terms(rates=(Rate(0.001),)).weight_max == HEAVIEST


def test_failures_before_a_cooldown_are_no_part_of_an_outage_after_it() -> None:
    gate = Gate(Terms(concurrency=20, outage_after=10), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    for n in range(9):
        assert not gate.ended(STAGE, 1, 0, (n % 3,), 0.01)
    gate.hit(gate.epoch, 1.0, 0.1)
    assert not gate.ended(STAGE, 1, 0, (7,), 0.01), "it is closed"
    assert gate.end_cooldown(1.1)
    granted(gate, 1.1)
    for n in range(9):
        assert not gate.ended(STAGE, 1, 0, (n % 3,), 0.01)
    assert gate.ended(STAGE, 1, 0, (0,), 0.01)


def test_where_only_a_call_s_end_can_change_something_nobody_need_wake_it_L48() -> None:
    gate = Gate(Terms(concurrency=2), 0.0)
    gate.want(STAGE, 3, ())
    assert granted(gate, 0.0) == 2
    assert gate.wake_at(0.0) is None
    assert gate.wake_at(0.3) is None


def test_calls_that_are_old_enough_were_let_in_and_time_alone_lets_others_follow() -> None:
    gate = Gate(Terms(), 0.0)
    gate.want(STAGE, 1000, ())
    assert granted(gate, 0.0) == 10
    at_s = gate.wake_at(0.1)
    assert at_s == pytest.approx(0.5, abs=1e-3)
    assert at_s is not None
    assert granted(gate, 0.49) == 0
    assert granted(gate, at_s) > 0


def test_a_gate_keeps_what_a_probe_of_an_exhausted_account_says_L71() -> None:
    gate = Gate(Terms(concurrency=2), 0.0)
    gate.want(STAGE, 5, ())
    granted(gate, 0.0)
    gate.ended(STAGE, 1, 1, (), 0.1, 0.1, gate.epoch)
    assert not gate.turned_away(gate.epoch, 2, None, "no credit", 0.2)
    old = gate.epoch
    assert gate.turned_away(gate.epoch, 1, None, "no credit", 0.3)
    assert not gate.turned_away(old, 3, None, "no credit", 0.4), "it is closed"
    assert gate.until_s == pytest.approx(60.3)
    gate.ended(STAGE, 1, 0, (), 0.1, 0.5, old)
    assert gate.end_cooldown(60.3)
    assert not gate.turned_away(old, 3, None, "no credit", 60.4), "that is old news"
    assert granted(gate, 60.4) == 1
    assert gate.turned_away(gate.epoch, 1, None, None, 60.5)
    assert gate.until_s == pytest.approx(60.5 + 90.0)
    assert gate.patience.words == "no credit"


def test_a_stage_s_turn_is_over_once_it_has_had_its_share_and_what_is_left_goes_round_again_L77() -> None:
    gate = Gate(Terms(concurrency=7), 0.0)
    for name in ("a", "b", "c"):
        gate.want(Name(name), 10, ())
    assert {g.stage.name: g.n for g in gate.grant(0.0)} == {"a": 3, "b": 2, "c": 2}
    gate.ended(Name("a"), 1, 1, (), 0.01)
    assert [(g.stage.name, g.n) for g in gate.grant(0.0)] == [("b", 1)]
    gate.ended(Name("a"), 1, 1, (), 0.01)
    assert [(g.stage.name, g.n) for g in gate.grant(0.0)] == [("c", 1)]


def test_where_weights_are_no_matter_any_more_what_a_wish_has_said_of_them_is_given_with_it() -> None:
    gate = Gate(Terms(concurrency=2), 0.0)
    gate.want(STAGE, 3, (5.0, 7.0, 9.0))
    assert [(g.n, g.cost) for g in gate.grant(0.0)] == [(2, 12.0)]
    gate.ended(STAGE, 2, 2, (), 0.01)
    assert [(g.n, g.cost) for g in gate.grant(0.0)] == [(1, 9.0)]


def test_a_refusal_is_news_once_and_old_news_after_that_L09() -> None:
    gate = Gate(Terms(), 0.0)
    gate.want(STAGE, 3, ())
    granted(gate, 0.0)
    assert gate.hit(protocol.Epoch(0), None, 0.1)
    assert gate.epoch == 1
    assert not gate.hit(protocol.Epoch(1), 9.0, 0.11), "it is closed, and by whom does not matter"
    assert gate.until_s == pytest.approx(9.11)


def test_what_has_been_closed_for_long_is_tried_by_one_call_which_is_let_in_by_an_answer_or_by_its_age() -> None:
    gate = Gate(Terms(concurrency=10), 0.0)
    gate.want(STAGE, 100, ())
    now = 0.0
    for _ in range(2):
        granted(gate, now)
        gate.hit(gate.epoch, None, now)
        gate.ended(STAGE, gate.out, 0, (), 0.0, now, gate.epoch)
        now = gate.until_s
        assert gate.end_cooldown(now)
    assert granted(gate, now) == 1
    at_s = gate.wake_at(now)
    assert at_s is not None
    assert at_s - now == pytest.approx(0.01, abs=1e-3), "refusals come at once here: by then it was let in"
    assert granted(gate, now + 0.005) == 0
    assert granted(gate, at_s) > 0


def test_an_outage_says_nothing_of_a_limit_and_what_was_learned_of_it_stands_L40() -> None:
    gate = Gate(Terms(outage_after=1), 0.0)
    gate.want(STAGE, 1000, ())
    assert granted(gate, 0.0) == 10
    gate.ended(STAGE, 9, 9, (), 0.1, 0.1, gate.epoch)
    gate.hit(gate.epoch, None, 0.1)
    assert gate.end_cooldown(gate.until_s)
    rate = gate.learned_per_s
    assert rate is not None
    gate.close_for_outage(50.0, 0.5)
    assert gate.end_cooldown(100.0)
    assert gate.learned_per_s == rate


def test_answers_of_503_that_come_by_chance_close_nothing_and_the_first_after_many_answers_does_L76() -> None:
    gate = Gate(Terms(), 0.0)
    gate.recall(Prior(chance=0.3), 0.0)
    now = 0.0
    for _ in range(200):
        now += 0.02
        gate.want(STAGE, 20, ())
        n = sum(grant.n for grant in gate.grant(now))
        assert n
        assert not gate.hit(gate.epoch, None, now, 0.001, doubtful=True)
        gate.ended(STAGE, n, n - 1, (), 0.02, now)
    for _ in range(400):
        now += 0.02
        gate.want(STAGE, 20, ())
        n = sum(grant.n for grant in gate.grant(now))
        gate.ended(STAGE, n, n, (), 0.02, now)
    assert gate.hit(gate.epoch, None, now, 0.001, doubtful=True)


def with_a_rate_found_out() -> Gate:
    gate = Gate(Terms(), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    gate.ended(STAGE, 9, 9, (), 0.1, 0.1, gate.epoch)
    gate.hit(gate.epoch, None, 0.1)
    gate.end_cooldown(gate.until_s)
    return gate


def refused_by_a_503(gate: Gate, now: float) -> float:
    """It closes, and opens again; when that was."""
    assert gate.hit(gate.epoch, None, now, 0.001, doubtful=True)
    opens_at = gate.until_s
    assert gate.end_cooldown(opens_at)
    return opens_at


def test_the_first_503s_leave_what_is_known_of_a_rate_as_it_is_L40() -> None:
    gate = with_a_rate_found_out()
    rate = gate.learned_per_s
    assert rate is not None
    # Calls that were under way when it closed prove nothing: they are answered whoever is out.
    before = gate.epoch
    now = refused_by_a_503(gate, 5.0)
    gate.ended(STAGE, 1, 1, (), 0.1, now, before)
    refused_by_a_503(gate, now + 0.1)
    assert gate.learned_per_s is not None
    assert gate.learned_per_s >= rate


def test_a_503_teaches_a_rate_once_calls_were_answered_after_one() -> None:
    gate = with_a_rate_found_out()
    now = refused_by_a_503(gate, 5.0)
    rate = gate.learned_per_s
    assert rate is not None
    gate.want(STAGE, 100, ())
    granted(gate, now + 0.5)
    gate.ended(STAGE, 1, 1, (), 0.1, now + 0.6, gate.epoch)
    refused_by_a_503(gate, now + 0.7)
    assert gate.learned_per_s is not None
    assert gate.learned_per_s < rate


def test_a_503_does_not_close_a_gate_that_probes_as_a_refusal_does() -> None:
    gate = Gate(Terms(outage_after=1), 0.0)
    gate.want(STAGE, 10, ())
    gate.grant(0.0)
    gate.close_for_outage(0.0, 0.5)
    assert gate.end_cooldown(10.0)
    assert not gate.hit(gate.epoch, None, 10.0, 0.001, doubtful=True)
    assert gate.state is GateState.PROBING


def test_where_one_call_more_at_once_was_tried_and_refused_it_closes_for_a_moment_only() -> None:
    gate = Gate(Terms(), 0.0)
    gate.recall(Prior(in_flight=20), 0.0)
    gate.want(STAGE, 10_000, ())
    now, most = 0.0, 0
    while most <= 20:
        now += 0.02
        gate.grant(now)
        most = gate.out
        if most <= 20:
            gate.ended(STAGE, most, most, (), 0.02, now)
    assert gate.hit(gate.epoch, None, now, 0.001)
    assert gate.until_s - now == pytest.approx(0.01)
    assert gate.end_cooldown(now + 0.011)
    assert gate.hit(gate.epoch, None, now + 0.02, 0.001), (
        "at what was let in before, it is no longer known what is refused"
    )
    assert gate.until_s - now > 0.1
