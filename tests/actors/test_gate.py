"""The gate: one budget's permits, epochs and cooldowns."""

from __future__ import annotations

import msgspec
import pytest

from headrace.actors.gate import Gate, GateState, Rate, Terms


class Name(msgspec.Struct, frozen=True):
    name: str


STAGE = Name("stage")


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
    other = Name("other")
    gate.want(other, 4, ())
    assert granted(gate, 0.0) == 4
    gate.discharge(STAGE)
    assert [(grant.stage, grant.n) for grant in gate.grant(0.0)] == [(other, 4)]


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
    gate.hit(gate.epoch, None, 0.1)
    gate.ended(STAGE, 50, 0, (), 0.1)
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
