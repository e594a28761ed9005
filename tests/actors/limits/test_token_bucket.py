"""The token bucket: what it may hold, what it may owe, and how long one has to wait for it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.actors.limits.token_bucket import TokenBucket


def test_it_starts_full_and_holds_no_more_than_its_burst_however_long_nobody_takes() -> None:
    bucket = TokenBucket(10.0, 4.0, 100.0)
    assert bucket.full(100.0)
    assert bucket.room(100.0) == 4
    assert bucket.room(1e9) == 4


def test_what_is_given_back_never_makes_it_hold_more_than_its_burst() -> None:
    bucket = TokenBucket(10.0, 4.0, 0.0)
    bucket.take(1.0)
    bucket.put_back(3.0, 0.0, 0.0)
    assert bucket.room(0.0) == 4
    bucket.take(4.0)
    bucket.put_back(2.0, 0.0, 0.0)
    assert bucket.room(0.0) == 2


def test_what_comes_back_after_its_time_has_passed_does_not_count_beside_what_has_come_since_L55() -> None:
    bucket = TokenBucket(5.0, 1.0, 0.0)
    bucket.take(1.0)
    assert bucket.room(0.2) == 1, "it is full again, with and without what was taken at first"
    bucket.take(1.0)
    bucket.put_back(1.0, 0.0, 0.25)
    assert bucket.room(0.25) == 0
    assert bucket.room(0.4) == 1
    # What was taken last, and at once given back, is as good as new.
    bucket.take(1.0)
    bucket.put_back(1.0, 0.4, 0.41)
    assert bucket.room(0.41) == 1


def test_two_that_come_back_share_what_was_missing_since() -> None:
    bucket = TokenBucket(10.0, 4.0, 0.0)
    bucket.take(2.0)
    assert bucket.room(0.1) == 3
    bucket.take(3.0)
    bucket.put_back(1.0, 0.0, 0.1)
    bucket.put_back(1.0, 0.0, 0.1)
    assert bucket.room(0.1) == 1, "it had room for one more when the three were taken"


@example(2.0, 3.0, [(0.0, 2, 4), (0.0, 0, None), (0.5, 2, 1), (0.5, 0, None), (0.0, 1, None), (0.0, 3, None)])
@given(
    st.floats(0.5, 500.0),
    st.floats(1.0, 50.0),
    st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(0, 30), st.one_of(st.none(), st.integers(0, 5))), max_size=40),
)
def test_what_comes_back_at_any_time_leaves_no_more_than_if_it_had_never_been_taken(
    rate: float, burst: float, steps: list[tuple[float, int, int | None]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = 0.0
    used: list[tuple[float, int]] = []
    held: list[tuple[float, int, int]] = []
    for i, (pause, wanted, returned_after) in enumerate(steps):
        now += pause
        n = min(wanted, bucket.room(now))
        bucket.take(n)
        if returned_after is None:
            used.append((now, n))
        else:
            held.append((now, n, i + returned_after))
        for since_s, m, _ in [each for each in held if each[2] <= i]:
            bucket.put_back(m, since_s, now)
        held = [each for each in held if each[2] > i]
    # A bucket that only ever saw what was used, in the same order: it is never overdrawn.
    witness = TokenBucket(rate, burst, 0.0)
    for at, n in used:
        assert n <= witness.room(at) + 1e-6
        witness.take(n)


@given(
    st.floats(0.5, 500.0),
    st.floats(1.0, 50.0),
    st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(0, 30), st.booleans()), max_size=40),
)
def test_in_no_stretch_of_time_goes_more_than_its_burst_and_what_the_rate_brings(
    rate: float, burst: float, steps: list[tuple[float, int, bool]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for pause, wanted, gives_back in steps:
        now += pause
        n = min(wanted, bucket.room(now))
        bucket.take(n)
        if gives_back:
            bucket.put_back(n, now, now)
        else:
            taken += n
        assert bucket.room(now) <= burst + 1e-6
        assert taken <= burst + rate * now + 1e-6


def test_an_amount_above_the_burst_goes_when_the_bucket_is_full_and_leaves_a_debt() -> None:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    assert bucket.affords(10.0, 0.0)
    bucket.take(10.0)
    assert not bucket.affords(1.0, 0.0)
    assert bucket.room(0.0) == 0
    # Six are owed, and one is wanted: seven tokens at two a second.
    assert bucket.wait_s(1.0, 0.0) == pytest.approx(3.5)
    assert not bucket.affords(1.0, 3.4)
    assert bucket.affords(1.0, 3.5)
    assert bucket.wait_s(10.0, 4.0) == pytest.approx(1.0)
    assert not bucket.affords(10.0, 4.9), "it is not full"
    assert bucket.affords(10.0, 5.0)


@given(st.floats(0.01, 1000.0), st.floats(1.0, 20.0), st.floats(0.1, 30.0), st.floats(0.0, 1e6))
def test_who_waits_as_long_as_it_says_can_take_and_who_waits_less_cannot(
    rate: float, burst: float, amount: float, began: float
) -> None:
    bucket = TokenBucket(rate, burst, began)
    bucket.take(burst)
    wait_s = bucket.wait_s(amount, began)
    assert not bucket.affords(amount, began + 0.9 * wait_s)
    assert bucket.affords(amount, began + wait_s * (1 + 1e-6) + 1e-6)
    assert bucket.wait_s(amount, began + wait_s * (1 + 1e-6) + 1e-6) == 0.0


def test_what_is_missing_only_by_rounding_is_there() -> None:
    bucket = TokenBucket(1.0, 1.0, 0.0)
    bucket.take(1.0)
    assert not bucket.full(0.999)
    almost = 1.0 - 1e-12
    assert bucket.room(almost) == 1
    assert bucket.affords(1.0, almost)
    assert bucket.wait_s(1.0, almost) == 0.0
    assert bucket.full(almost)


def test_another_rate_counts_from_now_on_and_a_smaller_burst_takes_what_is_above_it() -> None:
    bucket = TokenBucket(10.0, 10.0, 0.0)
    bucket.take(10.0)
    bucket.set_rate(1.0, 10.0, 0.5)
    assert bucket.room(0.5) == 5, "what came until then came at the old rate"
    assert bucket.room(1.5) == 6
    bucket.set_rate(1.0, 3.0, 1.5)
    assert bucket.room(1.5) == 3
    assert bucket.rate_per_s == 1.0
    assert bucket.burst == 3.0


def test_emptying_it_takes_what_is_saved_up_and_forgives_no_debt() -> None:
    bucket = TokenBucket(1.0, 4.0, 0.0)
    bucket.empty(0.0)
    assert bucket.room(0.0) == 0
    assert bucket.room(1.0) == 1
    bucket = TokenBucket(1.0, 4.0, 0.0)
    bucket.take(6.0)
    bucket.empty(1.0)
    assert bucket.wait_s(1.0, 1.0) == pytest.approx(2.0)


def test_a_clock_that_seems_to_go_back_brings_nothing_twice() -> None:
    bucket = TokenBucket(1.0, 4.0, 10.0)
    bucket.take(4.0)
    assert bucket.room(12.0) == 2
    assert bucket.room(11.0) == 2
    assert bucket.room(12.0) == 2


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0)])
def test_a_rate_and_a_burst_are_positive(rate: float, burst: float) -> None:
    with pytest.raises(AssertionError, match="is positive"):
        TokenBucket(rate, burst, 0.0)


def test_what_was_reserved_and_not_needed_counts_on_top_of_the_burst_once() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.take(20.0)
    # Waited for: by now it is full again.
    assert bucket.wait_s(5.0, 0.0) == pytest.approx(2.0)
    bucket.credit(15.0, 20.0, 2.0)
    assert bucket.room(2.0) == 20
    # Time adds nothing to that, and takes nothing away.
    assert bucket.room(100.0) == 20
    bucket.take(20.0)
    assert bucket.room(100.1) == 1
    bucket.credit(1000.0, 20.0, 100.1)
    assert bucket.room(100.1) == 25


def test_what_was_needed_on_top_is_a_debt_as_of_now() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.charge(25.0, 1000.0)
    assert bucket.room(1000.0) == 0
    assert bucket.wait_s(1.0, 1000.0) == pytest.approx(2.1)
