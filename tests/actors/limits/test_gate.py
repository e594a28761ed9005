"""The gate: one budget's permits, epochs and cooldowns."""

from __future__ import annotations

import pytest
from tests.actors.fake import Name

from headrace.actors import protocol
from headrace.actors.limits.gate import Gate, GateState
from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.protocol import Closure

STAGE, OTHER = Name("stage"), Name("other")


def granted(gate: Gate, now: float) -> int:
    return sum(grant.n for grant in gate.grant(now))


def test_ten_workers_refused_at_once_make_one_cooldown_L09() -> None:
    gate = Gate(Terms(concurrency=10), 0.0)
    gate.want(STAGE, 100, ())
    assert granted(gate, 0.0) == 10
    epoch = gate.epoch
    closed = [gate.hit(epoch, None, 0.1) for _ in range(10)]
    assert closed == [True] + [False] * 9
    assert gate.cooldowns == 1


def test_the_last_to_report_cannot_start_a_second_cooldown_L09() -> None:
    gate = Gate(Terms(concurrency=10), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    epoch = gate.epoch
    gate.hit(epoch, None, 0.1)
    gate.ended(STAGE, 9, 0, (), 0.0)
    assert gate.end_cooldown(0.3)
    assert not gate.hit(epoch, None, 0.3)
    assert gate.state is GateState.OPEN


def test_no_grant_while_cooling_L41() -> None:
    gate = Gate(Terms(concurrency=10), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    gate.hit(gate.epoch, 5.0, 0.0)
    gate.ended(STAGE, 10, 0, (), 0.0)
    assert granted(gate, 4.9) == 0
    assert not gate.end_cooldown(4.9)
    assert gate.end_cooldown(5.0)
    assert granted(gate, 5.1) > 0


def test_a_probe_takes_from_a_stated_rate_as_it_is_by_then_L74() -> None:
    gate = Gate(Terms(rates=(Rate(50.0, burst=1.0),), outage_after=1), 0.0)
    gate.want(STAGE, 1, ())
    assert granted(gate, 0.0) == 1
    assert gate.ended(STAGE, 1, 0, (1,), 0.1)
    gate.close_for_outage(0.1, 0.5)
    # Long enough for the bucket to be full many times over.
    assert gate.end_cooldown(60.0)
    gate.want(STAGE, 2, ())
    assert granted(gate, 60.0) == 1
    gate.ended(STAGE, 1, 1, (), 0.001)
    assert gate.reopen()
    assert granted(gate, 60.001) == 0
    assert granted(gate, 60.02) == 1


def closed_until(hint: float | None, *later: tuple[float | None, float]) -> float:
    """When a cooldown ends that began at 10 s with that hint, and in which others came late: their hints, and when."""
    gate = Gate(Terms(), 0.0)
    gate.want(STAGE, 1, ())
    granted(gate, 0.0)
    epoch = gate.epoch
    assert gate.hit(epoch, hint, 10.0)
    for late, at in later:
        assert not gate.hit(epoch, late, at)
    return gate.until_s


def test_a_late_refusal_lengthens_a_cooldown_and_never_shortens_it_L09() -> None:
    assert closed_until(5.0, (7.0, 11.0)) == 18.0
    assert closed_until(5.0, (1.0, 11.0)) == 15.0
    assert closed_until(5.0, (7.0, 11.0), (2.0, 12.0)) == 18.0
    assert closed_until(5.0, (None, 14.0)) == 15.0
    assert closed_until(5.0, (-3.0, 14.0), (0.0, 14.5)) == 15.0
    assert closed_until(5.0, (31_536_000.0, 12.0)) == 312.0, "a late hint has the same ceiling"


def test_a_late_refusal_changes_nothing_after_the_cooldown_or_in_an_outage() -> None:
    gate = Gate(Terms(), 0.0)
    gate.want(STAGE, 5, ())
    granted(gate, 0.0)
    gate.hit(gate.epoch, 1.0, 0.0)
    assert gate.end_cooldown(1.0)
    assert not gate.hit(protocol.Epoch(0), 9.0, 1.1)
    assert gate.state is GateState.OPEN
    gate.close_for_outage(2.0, 0.5)
    until_s = gate.until_s
    assert not gate.hit(gate.epoch, 9.0, 2.1)
    assert gate.until_s == until_s


def cooldowns(hints: tuple[float | None, ...], cooldown_max_s: float = 30.0) -> list[float]:
    """How long each is, where nothing goes through in between."""
    now, took = 1000.0, list[float]()
    gate = Gate(Terms(concurrency=4, cooldown_s=0.1, cooldown_max_s=cooldown_max_s), now)
    for hint in hints:
        gate.want(STAGE, 1, ())
        granted(gate, now)
        assert gate.hit(gate.epoch, hint, now)
        took.append(round(gate.until_s - now, 9))
        now = gate.until_s
        gate.ended(STAGE, 1, 0, (), 0.0, now, gate.epoch)
        assert gate.end_cooldown(now)
    assert gate.cooldowns == len(hints)
    assert gate.cooled_s == pytest.approx(sum(took))
    return took


def test_cooldowns_without_a_hint_double_while_nothing_goes_through_and_then_end_a_quarter_late_at_most_L13() -> None:
    took = cooldowns((None,) * 20)
    assert took[:3] == [0.1, 0.2, 0.4]
    for i in range(3, 20):
        closed_s = sum(took[:i])
        assert took[i] == pytest.approx(min(max(0.4, closed_s / 4.0), 30.0))
    assert cooldowns((None,) * 6, cooldown_max_s=0.3) == [0.1, 0.2, 0.3, 0.3, 0.3, 0.3]


def test_what_the_server_says_is_believed_each_time_and_doubles_nothing_L13() -> None:
    assert cooldowns((0.05,) * 5) == [0.05] * 5
    assert cooldowns((None, None, 0.05, 0.05, None)) == [0.1, 0.2, 0.05, 0.05, 0.1]


def test_a_call_that_goes_through_begins_the_doubling_anew() -> None:
    gate = Gate(Terms(concurrency=4, cooldown_s=0.1), 0.0)
    for now in (0.0, 1.0):
        gate.want(STAGE, 1, ())
        granted(gate, now)
        gate.hit(gate.epoch, None, now)
        gate.ended(STAGE, 1, 0, (), 0.0, now, gate.epoch)
        gate.end_cooldown(gate.until_s)
    gate.want(STAGE, 1, ())
    granted(gate, 100.0)
    gate.ended(STAGE, 1, 1, (), 0.01, 100.0, gate.epoch)
    gate.want(STAGE, 1, ())
    granted(gate, 100.0)
    gate.hit(gate.epoch, None, 100.5)
    assert gate.until_s == pytest.approx(100.6), "something went through"


def test_a_stated_rate_is_kept_and_starts_with_a_small_burst_L55() -> None:
    gate = Gate(Terms(rates=(Rate(200.0),)), 0.0)
    gate.want(STAGE, 1_000_000, ())
    first = granted(gate, 0.0)
    assert first == 4
    total = first
    for ms in range(1, 60_001):
        total += granted(gate, ms / 1000.0)
    assert 60 * 200 <= total <= 60 * 200 + first


def test_a_hint_is_honoured_up_to_its_ceiling_L13() -> None:
    for hint, expected in ((2.0, 2.0), (None, 0.1), (-5.0, 0.1), (0.0, 0.1), (31_536_000.0, 300.0)):
        gate = Gate(Terms(), 0.0)
        gate.want(STAGE, 1, ())
        granted(gate, 0.0)
        gate.hit(gate.epoch, hint, 10.0)
        assert gate.until_s == 10.0 + expected


def test_a_stage_that_is_gone_leaves_no_permit_behind_L16() -> None:
    gate = Gate(Terms(concurrency=4), 0.0)
    gate.want(STAGE, 4, ())
    assert granted(gate, 0.0) == 4
    gate.want(OTHER, 4, ())
    assert granted(gate, 0.0) == 0
    gate.discharge(STAGE)
    assert [(grant.stage, grant.n) for grant in gate.grant(0.0)] == [(OTHER, 4)]


def test_who_wishes_for_one_permit_does_not_wait_for_who_wishes_for_two_hundred_L77() -> None:
    gate = Gate(Terms(rates=(Rate(20.0, 1.0),)), 0.0)
    gate.want(STAGE, 200, ())
    assert granted(gate, 0.0) == 1
    gate.want(OTHER, 1, ())
    came: list[str] = []
    for step in range(1, 4):
        came += [grant.stage.name for grant in gate.grant(step / 20.0)]
    assert came.index("other") <= 1


def test_permits_go_by_turns_among_those_who_wish_whatever_they_wish_for_L77() -> None:
    gate = Gate(Terms(rates=(Rate(100.0, 30.0),)), 0.0)
    for name, n in (("many", 1000), ("some", 12), ("one", 1)):
        gate.want(Name(name), n, ())
    assert {grant.stage.name: grant.n for grant in gate.grant(0.0)} == {"many": 17, "some": 12, "one": 1}
    gate.want(Name("some"), 500, ())
    got = {"many": 0, "some": 0}
    for step in range(1, 101):
        for grant in gate.grant(step / 100.0):
            got[grant.stage.name] += grant.n
    assert abs(got["many"] - got["some"]) <= 1


def test_what_a_stage_takes_back_is_its_own_and_no_other_s() -> None:
    gate = Gate(Terms(concurrency=1), 0.0)
    gate.want(STAGE, 3, ())
    gate.want(OTHER, 2, ())
    gate.want(STAGE, 4, ())
    assert granted(gate, 0.0) == 1
    assert gate.waiting == 8
    assert gate.withdraw(STAGE) == 6
    assert gate.waiting == 2
    assert gate.withdraw(STAGE) == 0
    gate.ended(STAGE, 1, 1, (), 0.01)
    assert [(g.stage, g.n) for g in gate.grant(0.0)] == [(OTHER, 1)]


def test_no_stage_gives_back_more_than_it_holds_and_one_that_is_gone_gives_back_nothing() -> None:
    gate = Gate(Terms(concurrency=4), 0.0)
    gate.want(STAGE, 2, ())
    granted(gate, 0.0)
    with pytest.raises(AssertionError, match="stage gave back 3 permits and held 2"):
        gate.returned(STAGE, 3, 0.0, 0.0)
    gate.returned(OTHER, 3, 0.0, 0.0)
    assert gate.out == 2
    gate.discharge(STAGE)
    gate.ended(STAGE, 2, 2, (), 0.01)
    assert gate.out == 0


def test_permits_that_come_back_unused_are_slots_of_time_that_are_as_good_as_new_L41() -> None:
    gate = Gate(Terms(rates=(Rate(10.0, 4.0), Rate(100.0, 50.0, "cost"))), 0.0)
    gate.want(STAGE, 4, (10.0,) * 4)
    assert [(g.n, g.cost) for g in gate.grant(0.0)] == [(4, 40.0)]
    gate.want(OTHER, 8, (10.0,) * 8)
    assert gate.grant(0.0) == []
    gate.returned(STAGE, 3, 30.0, 0.0)
    assert [(g.stage, g.n, g.cost) for g in gate.grant(0.0)] == [(OTHER, 3, 30.0)]


def test_permits_that_come_back_when_their_time_has_passed_are_not_given_out_beside_new_ones_L55() -> None:
    gate = Gate(Terms(rates=(Rate(5.0, 1.0),)), 0.0)
    gate.want(STAGE, 9, ())
    assert granted(gate, 0.0) == 1
    assert granted(gate, 0.2) == 1
    gate.returned(STAGE, 1, 0.0, 0.25, since_s=0.0)
    assert granted(gate, 0.25) == 0
    assert granted(gate, 0.4) == 1


def test_of_two_rates_the_scarcer_one_counts() -> None:
    gate = Gate(Terms(rates=(Rate(100.0, 10.0), Rate(5.0, 2.0))), 0.0)
    gate.want(STAGE, 20, ())
    assert granted(gate, 0.0) == 2
    assert gate.wake_at(0.0) == pytest.approx(0.2)
    assert granted(gate, 0.19) == 0
    assert granted(gate, 0.2) == 1


def test_when_to_be_woken_is_when_something_can_change_L48() -> None:
    gate = Gate(Terms(rates=(Rate(2.0, 1.0),), concurrency=2), 0.0)
    assert gate.wake_at(0.0) is None, "nobody wants anything"
    gate.want(STAGE, 3, ())
    assert granted(gate, 0.0) == 1
    assert gate.wake_at(0.0) == pytest.approx(0.5)
    assert gate.wake_at(0.25) == pytest.approx(0.5)
    assert granted(gate, 0.5) == 1
    gate.hit(gate.epoch, 3.0, 0.6)
    assert gate.wake_at(0.6) == 3.6
    assert gate.end_cooldown(3.6)
    assert granted(gate, 3.6) == 0, "two calls are under way, and more are not allowed"
    assert gate.wake_at(3.6) is None, "only the end of a call can change something"


def test_weights_are_waited_for_by_the_weight_of_the_next_row() -> None:
    gate = Gate(Terms(rates=(Rate(10.0, 20.0, "cost"),)), 0.0)
    gate.want(STAGE, 3, (20.0, 15.0, 5.0))
    assert [(g.n, g.cost) for g in gate.grant(0.0)] == [(1, 20.0)]
    assert gate.wake_at(0.0) == pytest.approx(1.5)
    assert [(g.n, g.cost) for g in gate.grant(2.0)] == [(2, 20.0)]


def test_rows_of_whose_weight_nothing_was_said_weigh_one() -> None:
    gate = Gate(Terms(rates=(Rate(10.0, 4.0, "cost"),)), 0.0)
    gate.want(STAGE, 6, ())
    assert [(g.n, g.cost) for g in gate.grant(0.0)] == [(4, 4.0)]
    assert gate.wake_at(0.0) == pytest.approx(0.1)


def test_weights_keep_their_own_budget() -> None:
    gate = Gate(Terms(rates=(Rate(1000.0), Rate(100.0, 50.0, "cost"))), 0.0)
    gate.want(STAGE, 10, (40.0,) * 10)
    assert granted(gate, 0.0) == 1
    assert granted(gate, 0.29) == 0
    assert granted(gate, 0.31) == 1


def test_many_rows_that_fail_one_after_another_are_an_outage_and_one_probe_goes_out_L40() -> None:
    gate = Gate(Terms(concurrency=20), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    assert [gate.ended(STAGE, 1, 0, (seq,), 0.0) for seq in range(10)] == [False] * 9 + [True]
    gate.close_for_outage(0.0, 0.5)
    gate.ended(STAGE, 10, 0, tuple(range(10, 20)), 0.0)
    assert gate.end_cooldown(1.0)
    assert gate.state is GateState.PROBING
    assert granted(gate, 1.0) == 1
    assert granted(gate, 2.0) == 0
    gate.ended(STAGE, 1, 1, (), 0.01)
    assert gate.reopen()
    assert granted(gate, 2.0) > 0


def failing_gate(**terms: float) -> Gate:
    """One that has just been closed because ten rows failed one after another."""
    gate = Gate(Terms(concurrency=20, **terms), 0.0)  # type: ignore[arg-type]
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    assert gate.ended(STAGE, 10, 0, tuple(range(10)), 0.0)
    gate.close_for_outage(0.0, 0.5)
    gate.ended(STAGE, 10, 0, (), 0.0)
    return gate


def test_a_row_that_fails_again_and_again_is_no_outage_and_an_answer_begins_the_count_anew_L40() -> None:
    gate = Gate(Terms(concurrency=20, outage_after=3), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    assert [gate.ended(STAGE, 1, 0, (7,), 0.0) for _ in range(5)] == [False] * 5
    assert not gate.ended(STAGE, 1, 0, (8,), 0.0)
    assert not gate.ended(STAGE, 1, 1, (), 0.0)
    assert [gate.ended(STAGE, 1, 0, (seq,), 0.0) for seq in (1, 2, 3)] == [False, False, True]


def test_rows_that_fail_beside_one_that_is_answered_are_no_outage() -> None:
    gate = Gate(Terms(concurrency=20, outage_after=3), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    assert not gate.ended(STAGE, 10, 1, tuple(range(9)), 0.0)


def test_a_probe_of_a_row_that_is_too_heavy_now_goes_when_its_weight_is_there_L40() -> None:
    """Nobody else is left to wake the gate: it must wake itself."""
    gate = Gate(Terms(rates=(Rate(10.0, 10.0, "cost"),), outage_after=1), 0.0)
    gate.want(STAGE, 1, (40.0,))
    assert granted(gate, 0.0) == 1, "it is heavier than the bucket, which goes into debt for it"
    assert gate.ended(STAGE, 1, 0, (1,), 0.1)
    gate.close_for_outage(0.1, 0.5)
    assert gate.end_cooldown(gate.until_s)
    gate.want(STAGE, 1, (5.0,))
    assert granted(gate, 0.4) == 0
    at_s = gate.wake_at(0.4)
    assert at_s == pytest.approx(3.5)
    assert granted(gate, 3.5) == 1
    assert gate.wake_at(3.5) is None, "it waits for its probe"


def test_probes_come_later_each_time_up_to_their_ceiling_and_begin_anew_after_an_answer_L40() -> None:
    gate = failing_gate(probe_s=0.4, probe_max_s=1.0)
    now, waits = 0.0, []
    for _ in range(4):
        waits.append(round(gate.until_s - now, 9))
        assert not gate.end_cooldown(gate.until_s - 0.01)
        now = gate.until_s
        assert gate.end_cooldown(now)
        assert gate.state is GateState.PROBING
        assert gate.closure is Closure.OUTAGE
        assert granted(gate, now) == 1
        assert gate.wake_at(now) is None
        assert gate.ended(STAGE, 1, 0, (1,), 0.0), "the probe failed"
        gate.close_for_outage(now, 0.5)
    assert waits == [0.4, 0.6, 0.9, 1.0]
    assert gate.out_since_s == 0.0
    assert gate.end_cooldown(gate.until_s)
    granted(gate, gate.until_s)
    gate.ended(STAGE, 1, 1, (), 0.0)
    assert gate.reopen()
    assert not gate.reopen(), "it is open"
    assert gate.out_since_s is None
    gate.close_for_outage(100.0, 0.5)
    assert gate.until_s == pytest.approx(100.4)


def test_probes_of_many_governors_do_not_come_at_the_same_instant() -> None:
    waits = []
    for random in (0.0, 0.5, 1.0):
        gate = Gate(Terms(probe_s=1.0), 0.0)
        gate.close_for_outage(0.0, random)
        waits.append(gate.until_s)
    assert waits == [0.75, 1.0, 1.25]


def test_a_probe_that_is_refused_is_a_refusal() -> None:
    gate = failing_gate()
    assert gate.end_cooldown(gate.until_s)
    granted(gate, 10.0)
    assert gate.hit(gate.epoch, 2.0, 10.0)
    assert (gate.state, gate.closure, gate.until_s) == (GateState.COOLING, Closure.REFUSED, 12.0)


def test_calls_in_flight_follow_the_latency_where_that_is_wanted() -> None:
    gate = Gate(Terms(concurrency="auto"), 0.0)
    gate.want(STAGE, 1_000_000, ())
    assert granted(gate, 0.0) == 4
    for at in range(1, 100):
        n = gate.out
        gate.ended(STAGE, n, n, (), 0.02)
        granted(gate, at * 0.02)
    assert gate.out > 16, "nothing slowed down"
    for at in range(100, 300):
        n = gate.out
        gate.ended(STAGE, n, n, (), 0.02 * max(1.0, n / 8))
        granted(gate, at * 0.02)
    assert 4 <= gate.out <= 32, "eight at once is what the other side can do"
    gate.withdraw(STAGE)
    assert gate.scarce


def test_permits_are_plenty_until_there_is_a_reason_that_they_are_not() -> None:
    gate = Gate(Terms(), 0.0)
    assert not gate.scarce
    gate.want(STAGE, 1, ())
    granted(gate, 0.0)
    assert not gate.scarce
    gate.want(STAGE, 1000, ())
    granted(gate, 0.0)
    assert gate.scarce, "others are waited for"
    gate.withdraw(STAGE)
    assert not gate.scarce
    gate.hit(gate.epoch, None, 0.0)
    assert gate.scarce
    assert Gate(Terms(rates=(Rate(1.0),)), 0.0).scarce


def test_a_gate_is_forgotten_only_where_a_new_one_would_do_the_same() -> None:
    gate = Gate(Terms(rates=(Rate(1.0, 2.0),)), 0.0)
    assert gate.forgettable(0.0)
    gate.want(STAGE, 1, ())
    assert not gate.forgettable(0.0), "somebody waits"
    granted(gate, 0.0)
    assert not gate.forgettable(5.0), "a permit is out"
    gate.ended(STAGE, 1, 1, (), 0.01)
    assert not gate.forgettable(0.5), "its budget is not full"
    assert gate.forgettable(1.0)
    gate.hit(gate.epoch, None, 1.0)
    assert not gate.forgettable(1.05), "it is closed"


def test_another_limit_holds_at_once_and_permits_that_are_out_stay_out() -> None:
    gate = Gate(Terms(concurrency=8), 0.0)
    gate.want(STAGE, 100, ())
    assert granted(gate, 0.0) == 8
    gate.set_terms(Terms(concurrency=4), 0.0)
    gate.ended(STAGE, 4, 4, (), 0.01)
    assert granted(gate, 0.0) == 0
    gate.ended(STAGE, 1, 1, (), 0.01)
    assert granted(gate, 0.0) == 1
    gate.set_terms(Terms(rates=(Rate(1000.0, 50.0),)), 1.0)
    assert granted(gate, 1.0) == 50


def test_a_limit_that_is_stated_later_ends_the_search_for_one() -> None:
    gate = Gate(Terms(), 0.0)
    gate.want(STAGE, 1000, ())
    assert granted(gate, 0.0) == 10
    gate.set_terms(Terms(concurrency=200), 0.0)
    assert granted(gate, 0.0) == 190


def test_a_limit_that_loses_its_weights_grants_the_credit_that_was_asked_for() -> None:
    gate = Gate(Terms(rates=(Rate(100.0, 10.0, "cost"),)), 0.0)
    gate.set_terms(Terms(rates=(Rate(30.0, 3.0),)), 0.0)
    gate.want(STAGE, 3, (5.0, 7.0, 9.0))
    (grant,) = gate.grant(0.0)
    assert (grant.n, grant.cost) == (3, 21.0)


def test_a_refusal_before_any_answer_teaches_no_rate_L09() -> None:
    gate = Gate(Terms(concurrency=50), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    gate.hit(gate.epoch, None, 0.1, 0.1)
    gate.ended(STAGE, 50, 0, (), 0.1, 0.1, gate.epoch)
    assert gate.end_cooldown(0.3)
    assert gate.learned_per_s is None
    assert granted(gate, 0.3) == 25


def test_time_in_which_nobody_called_says_nothing_of_the_rate() -> None:
    def learned(idle_s: float) -> float:
        gate = Gate(Terms(), 0.0)
        gate.want(STAGE, 20, ())
        granted(gate, idle_s)
        gate.ended(STAGE, 5, 5, (), 0.1)
        gate.hit(gate.epoch, None, idle_s + 0.1)
        assert gate.end_cooldown(idle_s + 0.3)
        assert gate.learned_per_s is not None
        return gate.learned_per_s

    assert learned(3600.0) == pytest.approx(learned(0.0))


def test_an_outage_right_after_another_is_noticed_by_few_rows_L40() -> None:
    gate = Gate(Terms(concurrency=10, outage_after=10), 0.0)
    gate.want(STAGE, 100, ())
    granted(gate, 0.0)
    assert gate.ended(STAGE, 10, 0, tuple(range(10)), 0.1)
    gate.close_for_outage(0.1, 0.5)
    assert gate.end_cooldown(5.0)
    granted(gate, 5.0)
    assert not gate.ended(STAGE, 1, 1, (), 0.1)
    assert gate.reopen()
    granted(gate, 5.1)
    # No answer since: two rows that fail are enough, one is not.
    assert not gate.ended(STAGE, 1, 0, (11,), 0.1)
    assert gate.ended(STAGE, 0, 0, (12,), 0.1)
