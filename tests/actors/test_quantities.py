"""What functions of the user give, read before an actor counts with it (L60)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.limits.gate import Gate
from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.quantities import (
    KEY_DEPTH_MAX,
    LONGEST_S,
    BadAnswer,
    ObjectKey,
    bounded_s,
    check_after_s,
    finite,
    key_of,
    size_of,
    weight_of,
)
from tests.actors.fake import Name


class Hostile:
    """An object all of whose special methods raise."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("eq")

    def __hash__(self) -> int:
        raise ValueError("hash")

    def __float__(self) -> float:
        raise ValueError("float")

    def __len__(self) -> int:
        raise ValueError("len")

    def __bool__(self) -> bool:
        raise ValueError("bool")


class Quarrelsome:
    """A key that can be hashed and is equal to itself, and that nobody else may be compared with."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        raise ValueError("not comparable")


@dataclass(frozen=True)
class Tenant:
    """A usual key: a frozen dataclass."""

    name: str


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (0.5, 0.5), (Decimal("0.5"), 0.5), (Fraction(1, 4), 0.25), (-1, -1.0),
     (True, None), ("5", None), (None, None), (b"5", None), (math.nan, None), (math.inf, None), (-math.inf, None),
     (10**400, None), (Decimal("NaN"), None), (Decimal("sNaN"), None), (Decimal("Infinity"), None), (1j, None),
     (Hostile(), None)],
)  # fmt: skip
def test_only_finite_numbers_are_numbers_L60(value: object, number: float | None) -> None:
    assert finite(value) == number


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_whatever_a_timer_is_set_to_a_clock_can_hold_it_L60(seconds: float) -> None:
    assert 0.0 <= bounded_s(seconds) <= LONGEST_S


@pytest.mark.parametrize(
    ("seconds", "timer"),
    [(0.0, 0.0), (2.5, 2.5), (-1.0, 0.0), (-math.inf, 0.0), (math.nan, 0.0), (math.inf, LONGEST_S), (2e9, LONGEST_S)],
)
def test_a_time_that_is_over_is_over_at_once_and_one_that_never_comes_is_as_long_as_can_be_L60(
    seconds: float, timer: float
) -> None:
    assert bounded_s(seconds) == timer


ANYTHING = st.one_of(
    st.floats(), st.integers(), st.text(), st.none(), st.booleans(), st.decimals(), st.binary(), st.complex_numbers(),
    st.none().map(lambda _: Hostile()), st.sampled_from([10**400, [1], {}, object()]),
)  # fmt: skip


@given(ANYTHING)
def test_a_weight_a_size_and_a_wait_are_bounded_or_told_L60(answer: Any) -> None:
    for read in (weight_of, size_of, check_after_s):
        try:
            number = read(answer)
        except BadAnswer:
            continue
        assert 0.0 <= number <= 1e15


def test_a_row_that_weighs_more_than_a_day_lets_through_is_told_with_the_bound_L60() -> None:
    terms = Terms(rates=(Rate(500.0, None, "cost"), Rate(10.0)))
    assert weight_of(43_200_000.0, terms.weight_max) == 43_200_000.0
    with pytest.raises(BadAnswer, match=r"cost= gave 1e\+300; .* 4\.32e\+07 through in a day.*raise the rate"):
        weight_of(1e300, terms.weight_max)


@pytest.mark.parametrize("per_s", [1e-8, 1e-7, 1.0, 1e9])
@pytest.mark.parametrize("weight", [0.0, 1e-9, 1.0, 1e3])
def test_extreme_rates_and_weights_are_granted_in_the_end_and_no_wake_up_is_never_L60(
    per_s: float, weight: float
) -> None:
    now = 1e6
    gate = Gate(Terms(rates=(Rate(per_s, None, "cost"),)), now)
    gate.want(Name("stage"), 3, (weight, weight, weight))
    granted = wakes = 0
    while granted < 3:
        granted += sum(grant.n for grant in gate.grant(now))
        at_s = gate.wake_at(now)
        if at_s is None:
            break
        assert at_s > now
        assert math.isfinite(at_s)
        now = at_s
        wakes += 1
        assert wakes < 20
    assert granted == 3


@given(
    st.recursive(
        ANYTHING | st.builds(Tenant, st.text()) | st.builds(Quarrelsome), lambda inner: st.tuples(inner, inner)
    )
)
def test_whatever_a_key_is_a_table_can_hold_it_or_it_is_told_L60(answer: Any) -> None:
    table: dict[Any, int] = {ObjectKey(Quarrelsome()): 1}
    try:
        key = key_of(answer)
    except BadAnswer:
        return
    table[key] = 2
    assert table[key] == 2
    assert table.pop(key) == 2


@pytest.mark.parametrize(
    "answer", [math.nan, (1, math.nan), Decimal("NaN"), [], {}, (1, []), Hostile(), (Hostile(),), "x" * 70_000, 1 << 70_000],
    ids=lambda answer: type(answer).__name__,
)  # fmt: skip
def test_what_is_no_key_is_told_L60(answer: Any) -> None:
    with pytest.raises(BadAnswer, match="key= gave"):
        key_of(answer)


def test_tuples_within_each_other_are_a_key_up_to_a_depth() -> None:
    answer: Any = "a"
    for _ in range(KEY_DEPTH_MAX):
        answer = (answer,)
    assert key_of(answer) == answer
    with pytest.raises(BadAnswer, match="within each other"):
        key_of((answer,))


def test_equal_keys_share_a_queue() -> None:
    assert key_of(Tenant("a")) == key_of(Tenant("a")) != key_of(Tenant("b"))
    assert key_of(("a", 1)) == ("a", 1)
    assert key_of(("a", Tenant("b"))) == key_of(("a", Tenant("b")))
    assert "a" not in repr(key_of(Tenant("a")))[8:]


def test_an_object_that_is_a_key_is_no_other_kind_of_key() -> None:
    """A table compares keys whose hashes are the same."""

    class Ghost:
        def __hash__(self) -> int:
            return hash("a")

        def __eq__(self, other: object) -> bool:
            return self is other

    ghost = key_of(Ghost())
    table: dict[Any, int] = {ghost: 1}
    assert "a" not in table
    table["a"] = 2
    assert (table[ghost], table["a"]) == (1, 2)


def test_objects_whose_hashes_differ_are_not_compared() -> None:
    """Their `__eq__` is somebody else's code, and may be slow or say anything."""

    class Agreeable:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = object.__hash__

    one, other = Agreeable(), Agreeable()
    assert ObjectKey(one) == ObjectKey(one)
    assert ObjectKey(one) != ObjectKey(other)


@pytest.mark.parametrize("answer", ["4111 1111 1111 1111", {"card": "4111"}, b"4111", ["4111"]])
@pytest.mark.parametrize("read", [weight_of, size_of, check_after_s])
def test_what_a_row_holds_is_in_no_message(read: Any, answer: Any) -> None:
    with pytest.raises(BadAnswer) as told:
        read(answer)
    assert "4111" not in str(told.value)
    assert f"a {type(answer).__name__}" in str(told.value), "only what kind of thing it is"


def test_a_timedelta_says_when_to_ask_again() -> None:
    assert check_after_s(timedelta(minutes=1)) == 60.0
    assert check_after_s(-5) == 0.0
