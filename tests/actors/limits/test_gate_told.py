"""What a gate makes of what answers tell of quotas and of costs."""

from __future__ import annotations

import pytest
from tests.actors.fake import Name
from tests.actors.limits.test_told_quotas import heard, quota

from headrace.actors.limits.gate import Gate
from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.protocol import Quota, Refill, Spent

STAGE, OTHER = Name("stage"), Name("other")


def granted(gate: Gate, now: float) -> int:
    return sum(grant.n for grant in gate.grant(now))


def test_a_gate_keeps_to_what_it_hears_and_wakes_at_the_reset() -> None:
    gate = Gate(Terms(concurrency=50), 0.0)
    gate.want(STAGE, 100, ())
    assert granted(gate, 0.0) == 50
    gate.ended(STAGE, 50, 50, (), 0.1)
    gate.hear(50, (heard(0.1, quota(7, 9.9), began_s=0.0),), (), 0.1)
    # The other 49 may have been counted after the one that was told.
    assert granted(gate, 0.1) == 0
    assert gate.wake_at(0.1) == pytest.approx(10.0)
    assert gate.scarce
    assert granted(gate, 10.0) == 1


def test_a_gate_keeps_to_what_it_hears_of_what_its_rows_weigh() -> None:
    gate = Gate(Terms(rates=(Rate(1e6, 1e6, "cost", "tokens"), Rate(1e6, 1e6))), 0.0)
    gate.want(STAGE, 1, (40.0,))
    assert granted(gate, 0.0) == 1
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (heard(0.1, Quota("tokens", 100, 9.9, 1000.0), began_s=0.0),), (), 0.1)
    gate.want(STAGE, 4, (40.0,) * 4)
    assert [(g.n, g.cost) for g in gate.grant(0.1)] == [(2, 80.0)]
    assert granted(gate, 0.2) == 0
    assert gate.wake_at(0.2) == pytest.approx(10.0)


def test_calls_of_a_stage_that_is_gone_are_not_under_way_any_more_L16() -> None:
    gate = Gate(Terms(concurrency=1000), 0.0)
    gate.want(OTHER, 9, ())
    gate.want(STAGE, 1, ())
    assert granted(gate, 0.0) == 10
    gate.ended(STAGE, 1, 1, (), 0.1)
    window = Quota("calls", 50, 9.9, 50.0, refill=Refill.WINDOW)
    gate.hear(1, (heard(0.1, window, began_s=0.0),), (), 0.1)
    gate.discharge(OTHER)
    gate.want(STAGE, 1000, ())
    granted(gate, 0.2)
    gate.discharge(STAGE)
    gate.want(STAGE, 1000, ())
    assert granted(gate, 20.0) == 50


def test_a_cost_known_afterwards_corrects_the_bucket_of_its_unit() -> None:
    terms = Terms(rates=(Rate(100.0, 100.0, "cost", "tokens"),))
    gate = Gate(terms, 0.0)
    gate.want(STAGE, 3, (50.0, 50.0, 50.0))
    assert granted(gate, 0.0) == 2
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (), (Spent("tokens", 250.0, 50.0, 1),), 0.0)
    # 200 more were taken than reserved, and it takes 2.5 s until 50 are there.
    assert gate.wake_at(0.0) == pytest.approx(2.5)
    assert granted(gate, 2.4) == 0
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (), (Spent("tokens", 20.0, 50.0, 1),), 2.4)
    assert granted(gate, 2.4) == 1


def test_what_was_reserved_and_not_used_is_there_again_and_no_more() -> None:
    gate = Gate(Terms(rates=(Rate(100.0, 100.0, "cost", "tokens"),)), 0.0)
    gate.want(STAGE, 2, (60.0, 40.0))
    assert granted(gate, 0.0) == 2
    gate.ended(STAGE, 1, 1, (), 0.0)
    gate.hear(1, (), (Spent("tokens", 20.0, 60.0, 1),), 0.0)
    gate.want(STAGE, 1, (45.0,))
    assert granted(gate, 0.0) == 0
    assert gate.wake_at(0.0) == pytest.approx(0.05)


def test_other_units_are_nobody_s_bucket() -> None:
    gate = Gate(Terms(rates=(Rate(100.0, 100.0, "cost", "tokens"),)), 0.0)
    gate.want(STAGE, 1, (100.0,))
    assert granted(gate, 0.0) == 1
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (), (Spent("characters", 1e9, 100.0, 1),), 1.0)
    gate.want(STAGE, 1, (100.0,))
    assert granted(gate, 1.0) == 1
