"""The keys of the last rows: the bound, the order, digests, and rows that come after their turn."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from collections.abc import Hashable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.buffers.recent import Recent, Word, digest_of
from headrace.actors.quantities import BadAnswer, key_of
from headrace.actors.rows.identity import Bundle


def digest(key: Hashable) -> bytes:
    return digest_of(key_of(key))


def taken(recent: Recent, rows: list[tuple[Any, str]]) -> list[str | None]:
    return [recent.take(seq, digest(key)).of for seq, key in rows]


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 12))
def test_a_row_is_a_duplicate_if_its_key_is_among_the_last_ones(keys: list[int], within: int) -> None:
    recent = Recent(within)
    told = [recent.take(seq, digest(key)).of is not None for seq, key in enumerate(keys)]
    assert told == [key in keys[max(0, i - within) : i] for i, key in enumerate(keys)]
    assert len(recent) <= within


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 12), st.integers(0, 60))
def test_it_goes_on_where_another_one_was(keys: list[int], within: int, cut: int) -> None:
    whole, first = Recent(within), Recent(within)
    told = [whole.take(seq, digest(key)) for seq, key in enumerate(keys)]
    words = [(seq, seq, first.take(seq, digest(key))) for seq, key in enumerate(keys[:cut])]
    other = Recent(within, first.turns, words[-within:])
    assert [other.take(seq, digest(key)) for seq, key in list(enumerate(keys))[cut:]] == told[cut:]


def test_a_duplicate_names_the_row_that_was_kept_also_when_that_is_long_ago() -> None:
    assert taken(Recent(2), [(0, "a"), (1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "c"), (6, "d"), (7, "a")]) == [
        None, "0", None, "0", "0", None, None, None,
    ]  # fmt: skip


def test_pieces_parts_and_batches_have_names() -> None:
    batch = Bundle(tuple(range(100)), (1 << 100) - 1)
    rows: list[tuple[Any, str]] = [((0, 1, 3), "a"), (1, "a"), (batch, "b"), (200, "b")]
    assert taken(Recent(10), rows) == [None, "0.1", None, "0 and others"]


def test_a_row_after_its_turn_is_compared_with_what_is_remembered() -> None:
    recent = Recent(10)
    assert taken(recent, [(0, "a"), (1, "b"), (5, "c"), (3, "c"), (4, "d"), (6, "d")]) == [
        None,
        None,
        None,
        "5",
        None,
        "4",
    ]


def test_rows_whose_neighbours_are_forgotten_are_compared_with_each_other() -> None:
    recent = Recent(3)
    taken(recent, [(seq, f"k{seq}") for seq in range(100, 110)])
    rows: list[tuple[Any, str]] = [(5, "x"), (7, "x"), (50, "x"), (51, "k109"), (110, "k109"), (111, "x")]
    assert taken(recent, rows) == [None, "5", None, None, None, None]


def test_pieces_whose_neighbours_are_forgotten_go_on() -> None:
    recent = Recent(3)
    taken(recent, [(seq, f"k{seq}") for seq in range(100, 110)])
    assert taken(recent, [((5, 0, 2), "x"), ((5, 1, 2), "x"), ((6, 0, -2), "y"), ((7, 0, -2), "y")]) == [
        None, None, None, "6.0",
    ]  # fmt: skip


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: object


class Named(NamedTuple):
    x: int


class Frozen(msgspec.Struct, frozen=True):
    x: int


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAME: list[tuple[Hashable, Hashable]] = [
    (1, 1.0),
    (1, True),
    (1, Decimal("1.00")),
    (0.5, Fraction(1, 2)),
    (Decimal("0.5"), 0.5),
    (float("inf"), Decimal("Infinity")),
    ((1, "a"), (1.0, "a")),
    (Named(1), (1,)),
    (frozenset({1, "a"}), frozenset({"a", 1.0})),
    (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
    (Point(1, "a"), Point(1.0, "a")),
    (10**30, 1e30 if int(1e30) == 10**30 else Fraction(10**30)),
]
OTHER: list[Hashable] = [
    1, "1", b"1", None, "", b"", (), (1,), ((1,),), (1, 2), "1, 2", ("1", "2"), ("1,2",), frozenset({1}), 0.1, 0.2, -1,
    2**70,
    Colour.RED, Colour.BLUE, date(2026, 1, 1), datetime(2026, 1, 1), NOON, timedelta(days=1), UUID(int=1), Point(1, 2),
    Point(2, 1), Frozen(1), Frozen(2), "\ud800", float("inf"), float("-inf"), Decimal("0.1"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), SAME)
def test_keys_that_are_equal_have_one_digest(one: Hashable, two: Hashable) -> None:
    assert one == two
    assert digest(one) == digest(two)


def test_keys_that_are_not_equal_have_others() -> None:
    assert len({digest(key) for key in OTHER}) == len(OTHER) == len(set(OTHER))


@pytest.mark.parametrize("key", [object(), lambda: None, Point(1, [2]), Point(1, object())])
def test_what_nobody_could_know_again_is_no_key(key: Hashable) -> None:
    with pytest.raises((BadAnswer, TypeError)):
        digest(key)


def test_digests_are_those_of_any_other_process() -> None:
    code = (
        "from headrace.actors.buffers.recent import digest_of; from headrace.actors.quantities import key_of;"
        "print(digest_of(key_of((1, 'a', frozenset({'b', 'c', 'd', 'e'})))).hex())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert told == {digest((1, "a", frozenset({"b", "c", "d", "e"}))).hex()}


def test_a_word_comes_back_as_it_was() -> None:
    word = Word(digest("a"), "7.1", True)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(word), type=Word) == word
