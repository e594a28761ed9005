"""What the rate search makes of windows of time, of a rate that was stated, and of refusals by chance."""

from __future__ import annotations

import pytest
from tests.actors.limits.searches import STEP_S, Run, held, holding, ramped

from headrace.actors.limits.rate_search import (
    AT_ODDS,
    CUT,
    HOLD_S,
    LONG_S,
    OVERSHOT,
    RATE_MAX,
    RATE_MIN,
    STATED_HOLD_S,
    STEP,
    WINDOW_DIP,
    RateSearch,
)

# --- windows of time ---


def windowed(closed_s: float = 6.0) -> tuple[Run, float]:
    """After a closing of which nobody has said how long it would be; and what went through in all that time."""
    run = ramped().go(1.0)
    return run, run.closed(closed_s)


def test_what_closes_for_long_without_saying_so_is_a_window_and_its_sustained_rate_counts() -> None:
    run, low = windowed()
    assert run.rate == pytest.approx(low * WINDOW_DIP)
    # It may have been a part of one: soon it is there, and goes on to find out.
    assert run.go(3.0).rate == pytest.approx(low)
    assert run.go(3.0).rate > 1.02 * low


def test_what_says_so_or_closes_for_less_is_none() -> None:
    run = ramped().go(1.0)
    mean = run.sent / run.seconds
    run.closed(6.0, hinted=True)
    assert run.search.found == pytest.approx(mean, rel=0.01)
    run = ramped().go(1.0)
    ended = run.rate
    run.closed(LONG_S - 0.01)
    assert run.rate == pytest.approx(OVERSHOT * ended)


def test_two_windows_that_agree_are_kept_to_for_two_hundred_calls_a_refusal() -> None:
    run, low = windowed()
    run.go(4.0)
    again = run.closed(1.0)
    assert low / 1.3 < again < low * 1.3
    over_s = 200.0 / again
    assert over_s > HOLD_S
    assert run.go(over_s).rate == pytest.approx(again, rel=1e-4)
    run.go(over_s / 2.0)
    assert run.rate < 1.02 * again


def test_two_that_do_not_agree_are_not() -> None:
    run, low = windowed()
    run.go(2.0)
    again = run.closed(4.0)
    assert again < low / 1.3
    assert run.go(2.0).rate == pytest.approx(again)


def test_after_a_window_it_grows_as_slowly_as_that_was_long() -> None:
    run, low = windowed(12.0)
    while run.rate <= 1.02 * low:
        run.go(STEP_S)
    began = run.rate
    assert run.go(6.0).rate == pytest.approx(2.0 * began, rel=0.01)


# --- a stated rate ---


def stated(per_s: float = 200.0) -> Run:
    return Run(RateSearch(1.0, per_s))


def test_what_is_stated_is_where_it_begins_and_its_ceiling_L74() -> None:
    run = stated()
    assert run.rate == 1.0
    assert run.go(100.0).rate == 1.0


def test_refused_a_stated_rate_is_lowered_by_a_five_hundredth_and_tried_again_L74() -> None:
    run = stated().go(10.0)
    run.closed(0.1)
    goal = 1.0 - STEP
    assert run.rate == pytest.approx(goal)
    assert run.go(STATED_HOLD_S).rate == pytest.approx(goal)
    assert run.go(STATED_HOLD_S).rate == 1.0


def test_refused_soon_again_it_is_lowered_by_three_times_as_much_each_time_L74() -> None:
    run = stated().go(10.0)
    run.closed(0.1)
    was = run.rate
    for step in (3.0, 9.0, 27.0):
        run.go(2.0)
        ended = run.rate
        run.closed(0.2)
        assert run.rate == pytest.approx(ended * (1.0 - STEP * step))
        assert run.rate < was
        was = run.rate
    run.go(10.0)
    ended = run.rate
    run.closed(0.2)
    assert run.rate == pytest.approx(ended * (1.0 - STEP)), "it was steady for a while"


def test_it_is_never_lowered_by_more_than_a_run_says_that_tells_little() -> None:
    run = stated()
    for _ in range(12):
        ended = run.rate
        run.go(0.2)
        run.closed(0.01)
        assert run.rate >= CUT * ended - 1e-9


def test_a_part_of_what_is_stated_is_found_as_any_quota_is() -> None:
    run = stated()
    while run.rate > 0.5:
        run.go(0.2)
        run.closed(2.0, hinted=True)
    run.go(40.0)
    ended, recent = run.rate, run.recent
    low = run.closed(0.2)
    assert low <= run.rate < min(ended, recent)


def test_how_long_it_went_well_as_stated_counts_as_a_run() -> None:
    run = stated()
    run.search.was_steady(60.0, 100.0)
    run.search.on_refused(0.0, fruitful=True)
    run.search.on_opened(0.2, 0.2, hinted=False, refused=1)
    assert run.rate == pytest.approx(1.0 - STEP), "not as one refused in its first seconds"
    short = stated()
    short.search.was_steady(2.0, 2.0)
    short.search.on_refused(0.0, fruitful=True)
    short.search.on_opened(0.2, 0.2, hinted=False, refused=1)
    assert short.rate < run.rate


# --- at odds ---


def test_refusals_far_below_what_once_went_through_are_at_odds_with_it() -> None:
    run = ramped().go(1.0)
    run.closed(0.01)
    assert run.search.at_odds == 0
    counted = []
    for _ in range(AT_ODDS + 8):
        run.go(0.05)
        run.closed(0.01)
        counted.append(run.search.at_odds)
    assert counted == sorted(counted)
    assert counted[-1] >= AT_ODDS
    assert 0.0 < run.search.odds < 1.0
    before = run.search.at_odds
    run.go(30.0)
    run.closed(0.01)
    assert (run.search.at_odds, before >= AT_ODDS) == (0, True), "a run of thirty calls is none of chance"
    assert run.search.odds == 0.0


# --- begun anew ---


def test_what_was_sent_without_regard_to_the_rate_says_nothing_of_it() -> None:
    run, goal = held()
    run.go(1.0).search.on_refused(0.0, fruitful=True)
    run.search.forget_run()
    run.search.on_opened(0.6, 0.0, hinted=False, refused=1)
    assert run.rate == pytest.approx(goal), "it goes on from where it was"
    assert run.go(HOLD_S).rate == pytest.approx(goal)


def test_a_run_that_begins_anew_goes_on_from_what_was_found() -> None:
    run, goal = held()
    run.go(1.0).search.begin_anew()
    assert run.rate == pytest.approx(goal)


def test_it_never_stops_altogether_and_never_goes_faster_than_can_be_said() -> None:
    run = ramped(sent=1, seconds=1e6, closed_s=1e6, hinted=True)
    assert run.rate == RATE_MIN
    run = ramped(sent=10**6, seconds=0.001)
    assert run.go(5.0).rate == RATE_MAX


def test_a_run_in_which_nobody_waited_for_the_rate_leaves_something_to_begin_with() -> None:
    run = holding()
    run.search.move(0.5, limited=False)
    run.search.on_refused(0.0, fruitful=True)
    run.search.on_opened(1.0, 0.0, hinted=True, refused=1)
    assert run.rate > RATE_MIN
