"""The rate search, one run and one closing at a time: where it goes on from what was sent, and how fast."""

from __future__ import annotations

import pytest
from tests.actors.limits.searches import holding, ramped, second

from headrace.actors.limits.rate_search import (
    CUT,
    DIP,
    EARLY,
    EARLY_HOLD_S,
    FIRST_DOUBLES_S,
    HOLD_S,
    LEAN,
    LEAN_DOWN,
    LEAN_UP,
    OVERSHOT,
    OVERSHOT_SECOND,
    REACH,
    SECOND_DOUBLES_S,
    START,
)

# --- the first search ---


@pytest.mark.parametrize(
    ("sent", "closed_s", "refusal_s", "starts"),
    [
        (100, 1.5, 0.0, START * 100),
        (100, 0.1, 0.0, 100 / 1.1),
        # So few calls say little: in the middle of the ratio of the bounds, ...
        (4, 3.0, 0.0, 2.0),
        # ... or nearer to the lower one, where a refusal is dear.
        (4, 3.0, 0.05, 4**0.25),
    ],
)
def test_it_begins_between_what_the_ramp_says_at_least_and_at_most(
    sent: int, closed_s: float, refusal_s: float, starts: float
) -> None:
    assert ramped(sent, 1.0, closed_s, refusal_s, hinted=True).rate == pytest.approx(starts)


def test_it_doubles_in_half_a_second_of_time_in_which_rows_wait_for_it() -> None:
    run = ramped()
    began = run.rate
    run.search.move(0.5, limited=False)
    assert run.rate == began, "a rate that is not used proves nothing"
    assert run.go(FIRST_DOUBLES_S).rate == pytest.approx(2 * began)
    assert run.go(FIRST_DOUBLES_S).rate == pytest.approx(4 * began)


def test_where_refusals_take_long_a_doubling_takes_four_times_as_long() -> None:
    run = ramped(refusal_s=0.5)
    began = run.rate
    assert run.go(2.0).rate == pytest.approx(2 * began)


def test_a_refusal_that_took_longer_counts_from_then_on_and_is_forgotten_slowly() -> None:
    run = ramped().go(1.0)
    run.search.on_refused(2.0, fruitful=True)
    run.search.on_refused(0.0, fruitful=False)
    run.search.on_opened(0.01, 0.01, hinted=False, refused=1)
    began = run.rate
    assert run.go(4 * 0.9 * 2.0).rate == pytest.approx(2 * began, rel=0.01)


def test_a_process_that_stood_still_has_sent_nothing_meanwhile() -> None:
    run = ramped()
    began = run.rate
    run.search.move(3600.0, limited=True)
    assert run.rate == pytest.approx(began * 2.0 ** (1.0 / FIRST_DOUBLES_S))
    slow = ramped(sent=5, closed_s=0.0)
    assert slow.rate == pytest.approx(5.0)
    slow.search.move(3600.0, limited=True)
    assert slow.rate == pytest.approx(5.0 * 2.0 ** (2.0 / FIRST_DOUBLES_S)), "ten calls take longer than a second"


def test_few_calls_at_a_rate_that_was_far_too_high_search_anew_from_between() -> None:
    run = ramped(sent=20, seconds=1.0, closed_s=3.0, hinted=True)
    assert run.rate == pytest.approx(10.0)
    run.go(0.5)
    ended = run.rate
    low = run.closed(0.6)
    assert run.rate == pytest.approx((low * ended) ** 0.5)
    began = run.rate
    assert run.go(FIRST_DOUBLES_S).rate == pytest.approx(2 * began), "it is still the first search"


def test_few_calls_in_a_long_run_are_no_such_thing() -> None:
    run = ramped(sent=20, seconds=1.0, closed_s=0.6, hinted=True).go(0.5)
    ended = run.rate
    run.closed(0.1)
    assert run.rate == pytest.approx(max(ended * OVERSHOT, 0.0))


# --- the second ---


def test_the_second_search_begins_below_what_ended_the_first_and_is_slower() -> None:
    run, ended = second()
    assert run.rate == pytest.approx(OVERSHOT * ended)
    began = run.rate
    assert run.go(SECOND_DOUBLES_S).rate == pytest.approx(2 * began)


def test_the_second_search_is_slower_still_where_a_refusal_closes_for_long() -> None:
    run = ramped().go(1.0)
    ended = run.rate
    run.closed(0.7, hinted=True)
    assert run.rate == pytest.approx(OVERSHOT * ended)
    began = run.rate
    assert run.go(5.6).rate == pytest.approx(2 * began)


def test_where_it_is_said_that_a_refusal_closes_for_long_one_search_is_enough() -> None:
    """It is slower, and what it sent by the time that it took is held from there on: what is below the quota at its
    beginning makes up for what is saved up at its end."""
    run = ramped(100, 1.0, 1.0, hinted=True)
    assert run.rate == pytest.approx(50.0)
    run.go(2.0)
    assert run.rate == pytest.approx(100.0, rel=0.02), "it doubles in twice as long as the closing took"
    mean = run.sent / run.seconds
    run.closed(1.0, hinted=True)
    assert run.search.sure
    assert run.search.found == pytest.approx(mean, rel=0.01)
    assert run.rate == pytest.approx(mean * DIP, rel=0.01)


def test_and_it_begins_lower_where_hardly_more_was_sent_than_what_was_saved_up() -> None:
    assert ramped(100, 0.05, 1.0, hinted=True).rate == pytest.approx(0.5 * 2000.0 / 2)


def test_what_is_held_is_held_as_long_after_an_outage_where_a_refusal_closes_for_long() -> None:
    run = ramped(100, 1.0, 1.0, hinted=True).go(2.0)
    run.closed(1.0, hinted=True)
    goal = run.search.found
    run.search.begin_anew()
    run.go(9.0)
    assert run.rate <= goal * 1.001


def test_it_never_begins_below_what_went_through_in_a_run_with_its_closing() -> None:
    run = ramped().go(0.1)
    ended = run.rate
    low = run.closed(0.0)
    assert low > OVERSHOT * ended
    assert run.rate == pytest.approx(low)


# --- held ---


def test_what_ended_the_second_search_is_approached_from_a_little_below_and_then_left_behind() -> None:
    run, _ = second()
    run.go(2.0)
    goal = run.rate * OVERSHOT_SECOND
    run.closed(0.01)
    assert run.rate == pytest.approx(goal * OVERSHOT_SECOND)
    # As CUBIC does: steep, flat around the goal, steep again.
    over_s = HOLD_S / 2.0
    assert run.go(over_s / 2.0).rate == pytest.approx(goal * (1.0 - (1.0 - OVERSHOT_SECOND) / 8.0))
    assert run.go(over_s / 2.0).rate == pytest.approx(goal)
    assert run.go(over_s / 2.0).rate == pytest.approx(goal * (1.0 + REACH / 8.0))
    # And where nothing refuses what is clearly above it, the quota has grown: it doubles each second.
    run.go(over_s / 2.0)
    began = run.rate
    assert run.go(1.0).rate == pytest.approx(2.0 * began, rel=0.02)


def test_how_long_it_takes_grows_with_what_a_refusal_costs() -> None:
    run, _ = second()
    run.go(6.0)
    goal = run.rate * OVERSHOT_SECOND
    run.closed(0.5)
    assert run.go(20.0 * 0.5 / 2.0).rate == pytest.approx(goal)
    assert run.go(2.0).rate < 1.005 * goal


def test_where_calls_are_few_two_hundred_of_them_go_out_on_the_way() -> None:
    run = ramped(sent=20, seconds=10.0, closed_s=0.1)
    run.go(0.5).closed(0.01)
    run.go(2.0)
    ended = run.rate
    run.closed(0.01)
    goal = ended * OVERSHOT_SECOND
    over_s = 200.0 / ended / 2.0
    assert over_s > HOLD_S
    assert run.go(over_s).rate == pytest.approx(goal, rel=1e-3)


def test_a_run_that_is_short_against_its_closing_says_that_it_was_far_too_fast() -> None:
    run = holding().go(0.5)
    ended = run.rate
    run.closed(0.5)
    assert run.rate == pytest.approx(CUT * ended)
    over_s = 20.0 * 0.5 / 4.0
    assert run.go(over_s).rate == pytest.approx(CUT * ended), "it stays there for a while"
    assert run.go(over_s).rate > 1.02 * CUT * ended, "and not for long"


def test_how_short_that_is() -> None:
    run = holding().go(0.5)
    low = run.closed(0.5 / EARLY + 0.001)
    assert run.go(EARLY_HOLD_S).rate == pytest.approx(low)
    run = holding().go(0.5)
    low = run.closed(0.5 / EARLY - 0.001)
    assert run.go(EARLY_HOLD_S).rate > 1.01 * low


def test_it_leans_to_the_lower_bound_where_it_is_refused_below_its_goal() -> None:
    run = holding().go(1.0)
    ended, recent = run.rate, run.recent
    low = run.closed(0.1)
    upper = min(recent, ended) * (1.0 - 0.1 * 0.1)
    goal = low * (upper / low) ** (LEAN * LEAN_DOWN)
    assert run.rate == pytest.approx(max(low, goal * DIP))


def test_and_to_the_upper_one_where_it_went_beyond() -> None:
    run = holding().go(5.0)
    ended, recent = run.rate, run.recent
    low = run.closed(0.1)
    upper = min(recent, ended) * (1.0 - 0.1 * 0.1)
    assert recent < ended, "it grew, and what was sent just before the refusal counts"
    goal = low * (upper / low) ** (LEAN + LEAN_UP * (1.0 - LEAN))
    assert run.rate == pytest.approx(max(low, goal * DIP))


def test_it_keeps_below_what_was_refused_by_a_twentieth_at_most() -> None:
    run = holding().go(8.0)
    ended, recent = run.rate, run.recent
    low = run.closed(0.7)
    upper = min(recent, ended) * 0.95
    goal = low * (upper / low) ** (LEAN + LEAN_UP * (1.0 - LEAN))
    assert run.rate == pytest.approx(max(low, goal * DIP))


# --- closings ---


def test_what_is_refused_before_anything_has_gone_through_belongs_to_the_closing_before() -> None:
    one, two = ramped().go(1.0), ramped().go(1.0)
    one.closed(0.6)
    two.closed(0.2)
    two.go(0.05)
    two.search.on_refused(0.0, fruitful=False)
    two.search.on_opened(0.6, 0.0, hinted=False, refused=1)
    assert one.rate == pytest.approx(two.rate)


def test_where_it_was_tried_meanwhile_it_opened_at_some_time_since() -> None:
    one, two, three = (ramped().go(1.0) for _ in range(3))
    one.closed(2.0, last_s=0.8, hinted=True, refused=2)
    two.closed(1.6, hinted=True)
    three.closed(2.0, last_s=0.8, hinted=True, refused=1)
    assert one.go(3.0).rate == pytest.approx(two.go(3.0).rate)
    assert three.go(3.0).rate < two.rate


def test_the_time_that_a_refusal_took_belongs_to_the_closing_and_not_to_the_run() -> None:
    run = ramped().go(1.0)
    ended = run.rate
    run.search.on_refused(0.5, fruitful=True)
    run.search.on_opened(0.6, 0.0, hinted=False, refused=1)
    low = (run.sent - ended * 0.5) / (0.5 + 0.6)
    assert run.rate == pytest.approx(max(low, OVERSHOT * ended))
