"""A limit on calls in flight: when it is believed in, when one call more is tried, and when it is given up."""

from __future__ import annotations

import pytest

from headrace.actors.limits.in_flight import ALIKE, LEAST, InFlight

LATENCY_S = 0.06


def refused(
    limits: InFlight, inside: int, *, times: int = 1, took_s: float = 0.0, sent: int = 0, now: float = 0.0
) -> None:
    for _ in range(times):
        limits.on_refused(inside, took_s, LATENCY_S, sent, now)


def believing(inside: int = 50, *, sent: int = 0, now: float = 0.0) -> InFlight:
    limits = InFlight()
    refused(limits, inside, times=ALIKE, sent=sent, now=now)
    assert limits.limit == inside
    return limits


def test_refusals_at_the_same_number_again_and_again_are_a_limit() -> None:
    limits = InFlight()
    refused(limits, 50, times=ALIKE - 1)
    assert limits.limit is None
    refused(limits, 50)
    assert limits.limit == 50


def test_refusals_at_different_numbers_are_none() -> None:
    limits = InFlight()
    for inside in (50, 50, 60, 60, 50, 40):
        refused(limits, inside)
    assert limits.limit is None


def test_so_few_calls_that_the_number_says_nothing_are_none_and_begin_the_count_anew() -> None:
    limits = InFlight()
    refused(limits, LEAST - 1, times=10)
    assert limits.limit is None
    refused(limits, LEAST, times=ALIKE - 1)
    refused(limits, LEAST - 1)
    refused(limits, LEAST)
    assert limits.limit is None
    refused(limits, LEAST, times=ALIKE - 1)
    assert limits.limit == LEAST


def test_what_comes_and_goes_while_a_refusal_is_on_its_way_makes_the_number_uncertain() -> None:
    """Of sixty calls, five end in the twelfth of their time that a refusal takes to come back, give or take."""
    limits = InFlight()
    for inside in (60, 57, 58):
        refused(limits, inside, took_s=LATENCY_S / 12)
    assert limits.limit == 57 - 2, "answers that are on their way back are counted in"
    limits = InFlight()
    for inside in (60, 57, 61):
        refused(limits, inside, took_s=LATENCY_S / 12)
    assert limits.limit is None, "the last is further from the least one than that"


def test_the_doubt_leaves_the_least_that_can_be_told() -> None:
    limits = InFlight()
    refused(limits, LEAST, times=ALIKE, took_s=LATENCY_S * 0.3)
    assert limits.limit == LEAST


@pytest.mark.parametrize(("took_s", "says"), [(LATENCY_S / 4, True), (LATENCY_S / 2, False)])
def test_a_refusal_that_takes_as_long_as_an_answer_says_nothing_of_how_many_are_in_flight(
    took_s: float, says: bool
) -> None:
    limits = InFlight()
    refused(limits, 50, times=ALIKE, took_s=took_s)
    assert (limits.limit is not None) == says


def test_a_limit_that_stands_is_raised_by_one_then_by_two_and_four_as_long_as_they_are_let_in() -> None:
    limits = believing()
    limits.move(full=True, sent=200, now=0.9)
    assert limits.limit == 50, "it has not stood for a second"
    limits.move(full=True, sent=199, now=1.0)
    assert limits.limit == 50, "nor for two hundred calls"
    limits.move(full=False, sent=200, now=1.0)
    assert limits.limit == 50, "nobody waits for it"
    found = []
    for now in (1.0, 1.4, 1.5, 1.9, 2.0):
        limits.move(full=True, sent=200, now=now)
        found.append(limits.limit)
    assert found == [51, 51, 53, 53, 57]


def test_the_calls_before_it_was_believed_do_not_count_for_one_more() -> None:
    limits = believing(sent=1000)
    limits.move(full=True, sent=1199, now=5.0)
    assert limits.limit == 50
    limits.move(full=True, sent=1200, now=5.0)
    assert limits.limit == 51


def test_steps_that_are_refused_are_taken_back_and_begin_with_one_again() -> None:
    limits = believing()
    limits.move(full=True, sent=200, now=1.0)
    limits.move(full=True, sent=200, now=1.5)
    limits.move(full=True, sent=200, now=2.0)
    assert limits.limit == 57
    refused(limits, 56, sent=200, now=2.0)
    assert limits.limit == 53, "what was let in before stands"
    limits.move(full=True, sent=1000, now=2.9)
    assert limits.limit == 53
    limits.move(full=True, sent=1000, now=3.0)
    assert limits.limit == 54, "as soon as at first: only a larger step was too large"


def test_a_limit_that_is_found_anew_is_tried_as_soon_as_the_first() -> None:
    limits = believing()
    limits.move(full=True, sent=200, now=1.0)
    refused(limits, 51, sent=200, now=1.0)
    limits.move(full=True, sent=400, now=3.0)
    limits.move(full=True, sent=400, now=3.5)
    assert limits.limit == 53, "it has just been raised, and doubled its step"
    limits.limit = None
    refused(limits, 60, times=ALIKE, sent=400, now=10.0)
    limits.move(full=True, sent=600, now=10.9)
    assert limits.limit == 60
    limits.move(full=True, sent=600, now=11.0)
    assert limits.limit == 61


def test_each_step_that_is_refused_makes_the_next_one_wait_twice_as_long_up_to_four_seconds() -> None:
    limits = believing()
    now, sent, waits = 0.0, 0, []
    for _ in range(6):
        began = now
        while limits.limit == 50:
            now += 0.25
            sent += 300
            limits.move(full=True, sent=sent, now=now)
        waits.append(now - began)
        refused(limits, 51, sent=sent, now=now)
        assert limits.limit == 50
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_after_a_step_two_hundred_more_calls_must_have_been_let_in_before_the_next_first_step() -> None:
    limits = believing()
    limits.move(full=True, sent=300, now=1.0)
    assert limits.limit == 51
    refused(limits, 51, sent=300, now=1.0)
    limits.move(full=True, sent=499, now=10.0)
    assert limits.limit == 50
    limits.move(full=True, sent=500, now=10.0)
    assert limits.limit == 51


def test_one_refusal_at_a_limit_that_is_not_tried_says_that_it_is_none_and_the_next_guess_takes_twice_as_many() -> None:
    limits = believing()
    refused(limits, 50, sent=10 * 50 - 1)
    assert limits.limit is None
    refused(limits, 50, times=2 * ALIKE - 1, sent=500)
    assert limits.limit is None
    refused(limits, 50, sent=500)
    assert limits.limit == 50


def test_a_limit_that_held_for_ten_rounds_takes_three_refusals_within_four_seconds() -> None:
    limits = believing()
    now = 10.0
    found = []
    for _ in range(4):
        # Further apart than that they are single ones.
        now += 4.1
        refused(limits, 50, sent=500, now=now)
        found.append(limits.limit)
    assert found == [49, 48, 47, 46]
    for _ in range(2):
        refused(limits, 46, sent=500, now=now)
        found.append(limits.limit)
    assert found[4:] == [45, None]
    refused(limits, 46, times=ALIKE, sent=500, now=now)
    assert limits.limit == 46, "it takes no more to believe in it again"


def test_a_refusal_begins_the_time_anew_after_which_one_call_more_is_tried() -> None:
    limits = believing()
    refused(limits, 50, sent=500, now=10.0)
    limits.move(full=True, sent=1000, now=10.9)
    assert limits.limit == 49
    limits.move(full=True, sent=1000, now=11.0)
    assert limits.limit == 50


def test_of_few_calls_in_flight_one_less_is_much_less_so_a_single_refusal_is_enough() -> None:
    limits = believing(19)
    refused(limits, 19, sent=190)
    assert limits.limit is None
    refused(limits, 19, times=ALIKE)
    assert limits.limit == 19
    limits = believing(20)
    refused(limits, 20, sent=200)
    assert limits.limit == 19
