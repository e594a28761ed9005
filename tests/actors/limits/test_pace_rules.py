"""What is learned of a limit, one rule at a time; how well that does against servers is in `test_pace.py`."""

from __future__ import annotations

import math

import pytest

from headrace.actors.limits.pace import INITIAL_WINDOW, LEARNED_BURST_S, Pace, learned_burst, small_burst
from headrace.actors.limits.rate_search import STEP, WINDOW_DIP


def ramping(now: float = 0.0) -> Pace:
    """Nobody has said anything, and no call was refused yet."""
    return Pace(float(INITIAL_WINDOW), now)


def stated(per_s: float = 200.0, limited_s: float = 60.0) -> Pace:
    """A rate that was kept to for so long, with rows that waited for it, and refused then, at that time."""
    pace = Pace(math.inf, 0.0, per_s)
    for second in range(1, round(limited_s) + 1):
        pace.on_sent(int(per_s), second - 1.0)
        pace.on_ended(int(per_s), int(per_s), of_run=True, in_use=1, latency_s=0.01, now=second - 0.5)
        pace.move(limited=True, now=float(second))
    pace.on_refused(1, 0.0, limited_s)
    return pace


# --- bursts ---


def test_a_stated_rate_has_a_burst_of_twenty_milliseconds_and_a_call_at_least_L55() -> None:
    assert small_burst(1000.0) == 20.0
    assert small_burst(1.0) == 1.0


def test_a_learned_rate_has_a_burst_only_where_a_late_timer_is_worth_half_a_call() -> None:
    assert learned_burst(499.0) == 1.0
    assert learned_burst(500.0) == 1.5
    assert learned_burst(2000.0) == 1.0 + 2000.0 * LEARNED_BURST_S


# --- the window ---


def test_the_window_grows_by_answers_only_where_it_is_half_full() -> None:
    pace = ramping()
    pace.on_sent(5, 0.0)
    pace.on_ended(1, 1, of_run=True, in_use=4, latency_s=0.5, now=0.5)
    assert pace.window == INITIAL_WINDOW
    pace.on_ended(1, 1, of_run=True, in_use=5, latency_s=0.5, now=0.5)
    assert pace.window == INITIAL_WINDOW + 1


def test_the_window_doubles_with_each_round_of_calls_that_are_no_remote_ones() -> None:
    pace = ramping()
    pace.on_sent(10, 0.0)
    pace.on_ended(10, 10, of_run=True, in_use=10, latency_s=0.001, now=0.001)
    assert pace.window == 20.0


def test_it_doubles_in_fifty_milliseconds_at_most_where_calls_take_time() -> None:
    """What is known of how long answers take is a mean that moves by a fifth with each report."""
    pace = ramping()
    pace.on_sent(10, 0.0)
    pace.on_ended(10, 10, of_run=True, in_use=10, latency_s=0.05, now=0.05)
    assert pace.window == pytest.approx(10.0 + 10.0 * 0.2)
    before = pace.window
    pace.on_sent(10, 0.05)
    pace.on_ended(10, 10, of_run=True, in_use=10, latency_s=0.05, now=0.1)
    assert pace.window == pytest.approx(before + 10.0 * (0.2 + 0.8 * 0.2))


def test_a_call_that_is_old_enough_was_let_in_and_adds_half_a_call_once() -> None:
    pace = ramping()
    pace.on_sent(10, 0.0)
    assert pace.room(10, full=False, now=0.4) == 0.0
    pace.on_ended(4, 4, of_run=True, in_use=10, latency_s=0.1, now=0.4)
    window = pace.window
    out = math.ceil(window)
    pace.on_sent(out - 6, 0.45)
    pace.room(out, full=False, now=0.49)
    assert pace.window == window
    pace.room(out, full=False, now=0.51)
    assert pace.window == pytest.approx(window + 0.5 * 6), "four of the ten counted when they were answered"
    pace.room(out, full=False, now=0.52)
    assert pace.window == pytest.approx(window + 0.5 * 6), "each counts once"


def test_of_what_is_old_enough_the_window_says_nothing_any_more() -> None:
    pace = ramping()
    pace.on_sent(10, 0.0)
    assert pace.room(10, full=False, now=0.6) == pytest.approx(15.0)


def test_how_long_a_refusal_takes_says_when_a_call_was_let_in_and_is_forgotten_slowly() -> None:
    pace = ramping()
    pace.on_sent(10, 0.0)
    assert pace.wake_at(0.0) == pytest.approx(0.5, abs=1e-3)
    pace.on_refused(10, 2.0, 2.0)
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=2.1)
    pace.on_sent(5, 3.0)
    assert pace.wake_at(3.0) == pytest.approx(3.0 + 1.25 * 2.0 + 0.01, abs=1e-3)
    pace.on_refused(5, 0.1, 3.1)
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=3.2)
    pace.on_sent(1, 4.0)
    pace.on_returned(0)
    assert pace.wake_at(6.0) == pytest.approx(4.0 + 1.25 * 0.9 * 2.0 + 0.01, abs=1e-3)


def test_after_an_outage_it_starts_from_one_call() -> None:
    pace = ramping()
    pace.on_closed_for_outage()
    assert pace.room(0, full=False, now=0.0) == 1.0


def test_where_nobody_said_when_to_come_again_half_as_many_do() -> None:
    for hinted, window in ((False, 5.0), (True, 10.0)):
        pace = ramping()
        pace.on_sent(10, 0.0)
        pace.on_refused(10, 0.02, 0.02)
        pace.on_opened(0.1, 0.1, hinted=hinted, fruitless=0 if hinted else 1, now=0.12)
        assert pace.window == window
        assert pace.refused
        assert not pace.learned, "nothing has gone through"


# --- what is learned ---


def test_the_first_refusal_says_how_much_was_let_in_until_then_and_in_what_time() -> None:
    """Five seconds in which nobody called do not count, nor does a moment before the refused call."""
    pace = ramping()
    pace.on_idle(5.0)
    pace.on_sent(50, 5.0)
    pace.on_ended(50, 50, of_run=True, in_use=50, latency_s=0.5, now=5.5)
    pace.on_sent(50, 6.0)
    pace.on_refused(50, 0.0, 6.0)
    pace.on_opened(9.0, 0.1, hinted=True, fruitless=0, now=6.1)
    assert pace.bucket is not None
    # Half of the rate of the ramp: fifty in a second.
    assert pace.bucket.rate_per_s == pytest.approx(25.0, rel=0.01)
    assert pace.bucket.room(6.1) == 0, "nothing is saved up"
    assert pace.learned


def test_calls_that_went_out_before_any_came_back_are_no_more_a_second_than_a_refusal_lets_go_round() -> None:
    """Ten at once within a thousandth of a second are no ten thousand a second."""
    pace = ramping()
    pace.on_sent(10, 0.0)
    pace.on_sent(10, 0.01)
    pace.on_ended(5, 5, of_run=True, in_use=20, latency_s=0.02, now=0.02)
    pace.on_refused(15, 0.02, 0.03)
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=0.13)
    assert pace.bucket is not None
    assert pace.bucket.rate_per_s == pytest.approx(0.5 * 10 / 0.02)


def test_of_what_is_stated_as_much_is_used_as_was_not_refused_L74() -> None:
    assert Pace(10.0, 0.0).share == 1.0
    pace = stated()
    assert pace.share == 1.0
    pace.on_opened(0.2, 0.1, hinted=False, fruitless=1, now=60.2)
    assert pace.share == pytest.approx(1.0 - STEP)
    assert pace.learned
    assert pace.bucket is None


def test_how_much_went_out_as_stated_is_known_when_a_window_closes() -> None:
    """Sixty seconds at what was stated, and thirty closed without a word: two thirds of it are sustained."""
    pace = stated()
    pace.on_opened(30.0, 0.1, hinted=False, fruitless=1, now=90.0)
    assert pace.share == pytest.approx(2 / 3 * WINDOW_DIP)


def test_only_time_in_which_rows_waited_for_the_rate_counts() -> None:
    pace = Pace(math.inf, 0.0, 10.0)
    for second in range(1, 61):
        pace.on_sent(10, second - 1.0)
        pace.on_ended(10, 10, of_run=True, in_use=1, latency_s=0.01, now=second - 0.5)
        pace.move(limited=second > 30, now=float(second))
    pace.on_refused(1, 0.0, 60.0)
    pace.on_opened(30.0, 0.1, hinted=False, fruitless=1, now=90.0)
    assert pace.share == pytest.approx(1 / 3 * WINDOW_DIP)


def test_a_rate_that_was_refused_is_tried_again_only_while_rows_wait_for_it_and_it_is_what_is_limited() -> None:
    pace = stated()
    pace.on_opened(0.2, 0.1, hinted=False, fruitless=1, now=60.2)
    found, now = pace.share, 60.2
    for _ in range(100):
        now += 1.0
        pace.move(limited=False, now=now)
    assert pace.share == found
    pace.in_flight.limit = 50
    for _ in range(100):
        now += 1.0
        pace.move(limited=True, now=now)
    assert pace.share == found
    pace.in_flight.limit = None
    for _ in range(100):
        now += 1.0
        pace.move(limited=True, now=now)
    assert pace.share == 1.0


def test_an_outage_says_nothing_of_a_limit_and_what_was_found_stands() -> None:
    pace = stated()
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=60.1)
    found = pace.share
    now = 60.1
    for _ in range(3000):
        now += 0.01
        pace.move(limited=True, now=now)
    assert pace.share > found, "it was tried again meanwhile"
    pace.on_closed_for_outage()
    pace.on_back(now + 100.0)
    assert pace.share == pytest.approx(found)
    pace.move(limited=True, now=now + 100.0)
    assert pace.share == pytest.approx(found), "the time out of which it comes was not used"


# --- what is limited is how many there are in flight ---


def counting(per_s: float | None = None) -> Pace:
    """It is believed that fifty in flight are the limit."""
    pace = Pace(math.inf, 0.0, per_s) if per_s else ramping()
    for _ in range(6):
        pace.in_flight.on_refused(50, 0.0, 0.05, 0, 0.0)
        if pace.in_flight.limit is not None:
            break
    assert pace.in_flight.limit == 50
    return pace


def test_calls_that_are_counted_are_not_paced() -> None:
    pace = counting()
    assert pace.room(30, full=False, now=0.0) == 20
    assert pace.bucket is None
    assert pace.wake_at(0.0) is None
    assert pace.learned


def test_a_refusal_of_calls_that_were_counted_says_nothing_of_the_rate() -> None:
    pace = counting(200.0)
    pace.on_sent(1000, 1.0)
    pace.on_ended(900, 900, of_run=True, in_use=50, latency_s=0.05, now=1.5)
    pace.on_refused(50, 0.0, 2.0)
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=2.1)
    assert pace.share == 1.0


def test_one_call_more_is_tried_where_rows_wait_for_no_other_reason() -> None:
    pace = counting()
    pace.on_sent(300, 0.5)
    assert pace.room(50, full=False, now=2.0) == 0
    assert pace.room(50, full=True, now=2.0) == 1


# --- one call goes out to see ---


def test_after_two_closings_for_nothing_one_call_goes_out_alone() -> None:
    pace = ramping()
    pace.on_sent(10, 0.0)
    pace.on_refused(10, 0.0, 0.0)
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=0.1)
    assert pace.room(0, full=False, now=0.1) == 5.0
    pace.on_refused(1, 0.0, 0.1)
    pace.on_opened(0.3, 0.2, hinted=False, fruitless=2, now=0.3)
    assert pace.room(0, full=False, now=0.3) == 1.0
    assert pace.wake_at(0.3) is None, "it has not gone out"
    pace.on_sent(1, 0.3)
    assert pace.room(1, full=False, now=0.3) == 0.0
    assert pace.wake_at(0.3) == pytest.approx(0.31, abs=1e-3)
    assert not pace.fruitful(0.0, 5.0), "what is refused is that one, however old it is"
    assert pace.room(1, full=False, now=0.32) == 1.0, "it is older than a refusal takes"


def test_its_answer_lets_others_follow() -> None:
    pace = ramping()
    pace.on_sent(10, 0.0)
    pace.on_refused(10, 0.0, 0.0)
    pace.on_opened(0.3, 0.2, hinted=False, fruitless=2, now=0.3)
    pace.on_sent(1, 0.3)
    pace.on_ended(1, 1, of_run=True, in_use=1, latency_s=0.001, now=0.301)
    assert pace.room(0, full=False, now=0.301) >= 5.0
    assert pace.fruitful(0.0, 0.301)


# --- refusals by chance ---


def refused_at_any_rate(pace: Pace, now: float) -> tuple[int, float]:
    """Short runs, each far slower than what went through at first, until nothing is paced any more: how many, and when."""
    for n in range(1, 100):
        for _ in range(10):
            now += 0.01
            pace.move(limited=True, now=now)
        pace.on_sent(10, now)
        pace.on_ended(9, 9, of_run=True, in_use=10, latency_s=0.01, now=now)
        pace.on_refused(1, 0.0, now)
        pace.on_opened(0.01, 0.01, hinted=False, fruitless=1, now=now)
        if pace.share == 1.0:
            return n, now
    raise AssertionError("it is paced for ever")


def refused_unpaced(pace: Pace, now: float, sent: int, told: int) -> None:
    pace.on_sent(sent, now)
    pace.on_ended(sent - 1, sent - told, of_run=True, in_use=10, latency_s=0.01, now=now + 0.01)
    pace.on_refusal_told(told)
    pace.on_refused(1, 0.0, now + 0.02)
    pace.on_opened(0.01, 0.01, hinted=False, fruitless=1, now=now + 0.03)


def test_what_is_refused_at_any_rate_is_no_limit_on_rate_and_calls_go_unpaced() -> None:
    pace = Pace(math.inf, 0.0, 200.0)
    n, now = refused_at_any_rate(pace, 0.0)
    assert n >= 4
    assert math.isfinite(pace.window), "as at the start, calls must be let in"
    assert pace.learned
    refused_unpaced(pace, now, 60, 6)
    assert math.isfinite(pace.window), "no more of them are refused than when they were paced"


def test_where_many_more_are_refused_unpaced_they_are_paced_again_and_that_takes_twice_as_much_to_be_doubted() -> None:
    pace = Pace(math.inf, 0.0, 200.0)
    first, now = refused_at_any_rate(pace, 0.0)
    refused_unpaced(pace, now, 39, 39)
    assert math.isfinite(pace.window), "of so few calls nothing can be said"
    refused_unpaced(pace, now + 1.0, 60, 60)
    assert math.isinf(pace.window)
    again, _ = refused_at_any_rate(pace, now + 10.0)
    assert again > first


def test_calls_go_unpaced_for_sixty_four_refusals_and_then_twice_as_many() -> None:
    pace = Pace(math.inf, 0.0, 200.0)
    now, found = 0.0, []
    for _ in range(2):
        _, now = refused_at_any_rate(pace, now)
        n = 0
        while math.isfinite(pace.window):
            n, now = n + 1, now + 1.0
            refused_unpaced(pace, now, 60, 1)
        found.append(n)
    assert found == [64, 128]


def test_where_nothing_goes_through_again_and_again_that_is_no_chance() -> None:
    pace = Pace(math.inf, 0.0, 200.0)
    _, now = refused_at_any_rate(pace, 0.0)
    assert pace.learned
    pace.on_refused(1, 0.0, now + 0.01)
    pace.on_opened(1.0, 0.5, hinted=False, fruitless=3, now=now + 1.0)
    assert pace.learned
    pace.on_refused(1, 0.0, now + 1.01)
    pace.on_opened(2.0, 1.0, hinted=False, fruitless=4, now=now + 2.0)
    assert not pace.learned
    # What is searched for then is a share of what was stated again, and never more.
    pace.on_sent(20, now + 2.0)
    pace.on_ended(15, 15, of_run=True, in_use=20, latency_s=0.01, now=now + 2.01)
    pace.on_refused(5, 0.01, now + 2.02)
    pace.on_opened(0.1, 0.1, hinted=False, fruitless=1, now=now + 2.1)
    assert pace.share <= 1.0
