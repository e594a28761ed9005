"""Calls in flight that follow the latency."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from headrace.actors.limits.concurrency import FORGET, TOLERANCE, ConcurrencySearch


def settled(latency_s: Callable[[float], float], answers: int = 20_000) -> float:
    """The limit after so many answers of a service that takes so long with so many in flight."""
    vegas = ConcurrencySearch()
    for _ in range(answers):
        vegas.on_answered(1, latency_s(vegas.limit), int(vegas.limit))
    return vegas.limit


@pytest.mark.parametrize("capacity", [5, 30, 200])
def test_it_settles_near_what_the_other_side_can_do_at_once(capacity: int) -> None:
    limit = settled(lambda n: 0.02 * max(1.0, n / capacity))
    assert 0.8 * capacity <= limit <= 2.0 * capacity + 10


def test_it_grows_while_nothing_slows() -> None:
    assert settled(lambda n: 0.02) > 300


def test_calls_that_differ_among_each_other_are_no_queue() -> None:
    chance = random.Random(1)
    assert settled(lambda n: chance.uniform(0.02, 0.2)) > 50


def test_a_limit_that_is_never_reached_does_not_grow() -> None:
    vegas = ConcurrencySearch()
    for _ in range(10_000):
        vegas.on_answered(1, 0.02, 4)
    assert vegas.limit <= 12.0


# --- one round at a time ---


def rounds(limit: float, *latencies_s: float, filled: bool = True) -> float:
    """The limit after rounds that took so long in the mean. The first says what is least, and is not filled."""
    vegas = ConcurrencySearch()
    vegas.limit = limit
    for number, latency_s in enumerate(latencies_s):
        vegas.on_answered(int(limit), latency_s, int(limit) if filled and number else 0)
    return vegas.limit


@pytest.mark.parametrize(
    ("queue", "moves"),
    [
        (0.0, 12.0),
        (1.9, 12.0),
        (2.1, 2.0),
        (5.9, 2.0),
        (6.1, 0.0),
        (11.9, 0.0),
        (12.5, -2.0),
        (15.0, -3.0),
        (99.0, -50.0),
    ],
)
def test_the_limit_moves_by_how_many_of_the_calls_wait_over_there(queue: float, moves: float) -> None:
    """Of a hundred in flight a step is two: by six of them while no more than one step waits, by one below three, by none
    below six, and above that down by what is too much, half of it at most."""
    slowed_s = TOLERANCE * FORGET / (1.0 - queue / 100.0)
    assert rounds(100.0, 1.0, slowed_s) == pytest.approx(100.0 + moves)


def test_a_round_that_was_not_filled_moves_nothing_and_says_what_is_least() -> None:
    assert rounds(100.0, 1.0, 1.0, 1.0, filled=False) == 100.0
    assert rounds(100.0, 1.0) == 100.0


def test_a_round_is_as_many_answers_as_the_limit_lets_in_flight_and_ten_at_least() -> None:
    vegas = ConcurrencySearch()
    vegas.limit = 20.0
    vegas.on_answered(19, 0.02, 20)
    assert vegas.limit == 20.0
    vegas.on_answered(1, 0.02, 1)
    grown = vegas.limit
    assert grown > 20.0, "it was filled at some time"
    vegas.on_answered(int(grown) + 1, 0.02, 1)
    assert vegas.limit == grown, "each round must be filled anew"
    vegas = ConcurrencySearch()
    vegas.on_answered(9, 0.02, 4)
    assert vegas.limit == 4.0
    vegas.on_answered(1, 0.02, 4)
    assert vegas.limit > 4.0


def test_a_round_is_judged_by_its_mean() -> None:
    one, two = ConcurrencySearch(), ConcurrencySearch()
    for vegas, latencies_s in ((one, (0.01, 0.03, 0.05)), (two, (0.03, 0.03, 0.03))):
        vegas.limit = 90.0
        vegas.on_answered(90, 0.02, 0)
        for latency_s in latencies_s:
            vegas.on_answered(30, latency_s, 90)
    assert one.limit == pytest.approx(two.limit)
    assert one.limit < 90.0


def test_a_call_that_took_no_time_is_no_news() -> None:
    vegas = ConcurrencySearch()
    for latency_s in (0.0, -1.0):
        vegas.on_answered(100, latency_s, 100)
    vegas.on_answered(0, 0.02, 100)
    assert vegas.limit == 4.0


def test_a_service_that_has_become_slower_is_believed_in_the_end() -> None:
    vegas = ConcurrencySearch()
    vegas.limit = 50.0
    for _ in range(20):
        vegas.on_answered(60, 0.02, 50)
    for _ in range(4_000):
        vegas.on_answered(int(vegas.limit) + 10, 0.04, int(vegas.limit))
    assert vegas.limit > 50.0


def test_it_grows_to_what_is_the_most_and_no_queue_makes_it_shrink_below_what_says_nothing() -> None:
    vegas = ConcurrencySearch(highest=30)
    for _ in range(100):
        vegas.on_answered(40, 0.02, 40)
    assert vegas.limit == 30.0
    for _ in range(100):
        vegas.on_answered(40, 10.0, 40)
        vegas.on_answered(40, 0.001, 0)
    assert 3.0 <= vegas.limit <= 6.0
