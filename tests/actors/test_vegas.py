"""Calls in flight that follow the latency."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from headrace.actors.vegas import Vegas


def settled(latency_s: Callable[[float], float], answers: int = 20_000) -> float:
    """The limit after so many answers of a service that takes so long with so many in flight."""
    vegas = Vegas()
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
    vegas = Vegas()
    for _ in range(10_000):
        vegas.on_answered(1, 0.02, 4)
    assert vegas.limit <= 12.0
