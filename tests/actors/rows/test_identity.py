"""Who is who; and the rows of rows of which something is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.rows.identity import (
    Bundle,
    Column,
    Id,
    Plain,
    branch_of,
    children,
    members_of,
    merged,
    parent,
    part,
    part_of,
    parted,
    parts,
    place,
    plain,
    row_of,
    rows_of,
    show,
    span_of,
)
from headrace.actors.rows.rowset import SIZE, RowSet, bits_of, bits_of_flags


def test_a_path_says_what_it_came_of_and_how_many_siblings_there_are() -> None:
    assert children(5, 3) == [(5, 0, 3), (5, 1, 3), (5, 2, 3)]
    assert children((5, 1, 3), 2) == [(5, 1, 3, 0, 2), (5, 1, 3, 1, 2)]
    assert parts(5, 2) == [part(5, 0, 2), part(5, 1, 2)] == [(5, 0, -2), (5, 1, -2)]
    assert merged(5, 2) == (5, 2, -2)
    assert parent((5, 1, 3)) == (5, 1, 3)
    assert parent((5, 1, 3, 0, -2)) == ((5, 1, 3), 0, -2)
    assert parent(part(Bundle((1, 2)), 0, 2)) == (Bundle((1, 2)), 0, -2)


def test_the_part_that_a_join_within_its_branch_has_made_something_of() -> None:
    inner = part(5, 0, 2)
    assert part_of(merged(merged(inner, 3), 2)) == inner
    assert part_of(inner) == inner
    assert part_of(5) == 5


def test_a_batch_is_its_members_down_to_the_rows() -> None:
    batch = Bundle(((1, 0, 2), Bundle((2, 3)), 7))
    assert list(members_of(batch)) == [(1, 0, 2), 2, 3, 7]
    assert list(rows_of(batch)) == [1, 2, 3, 7]
    assert list(rows_of((batch, 0, 2))) == [1, 2, 3, 7]
    assert (row_of(batch), row_of((4, 1, 2)), row_of(9)) == (1, 4, 9)
    assert place(Bundle(((1, 1, 2), 5))) == (1, 1, 2)


def test_what_people_and_keys_call_it() -> None:
    assert [show(of) for of in (5, (5, 0, 3), (5, 0, 3, 1, -2), Bundle((5, 6, (9, 1, 2))))] == [
        "5",
        "5.0",
        "5.0.1",
        "5+6+9.1",
    ]
    assert [branch_of(of) for of in (5, (5, 0, 3), (5, 0, 3, 1, -2), merged(5, 2), Bundle((5, 6)))] == [
        (),
        (0,),
        (0, 1),
        (),
        (),
    ]


def test_which_identities_are_plain_rows() -> None:
    assert plain(range(3))
    assert plain([1, 5])
    assert plain(Plain([1]))
    assert plain([])
    assert not plain([1, (2, 0, 2)])
    assert not plain([Bundle((1, 2))])
    assert not plain(Column(range(2), 0, 2))


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 100))
def test_rows_that_part_keep_their_order_and_know_their_bits(chosen: list[bool], first: int) -> None:
    rows = range(first, first + len(chosen))
    others = [not each for each in chosen]
    for ids in (rows, Plain(rows), list(rows)):
        kept, left = parted(ids, (chosen, others))
        assert list(kept) == [row for row, yes in zip(rows, chosen, strict=True) if yes]
        assert list(left) == [row for row, yes in zip(rows, chosen, strict=True) if not yes]
        for some in (kept, left):
            assert plain(some)
            if some:
                assert span_of(some) == bits_of(list(some))


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=60))
def test_the_bits_of_rows_name_each_of_them(rows: set[int]) -> None:
    first, bits = bits_of(sorted(rows, key=lambda row: row * 7 % 31))
    assert {first + i for i in range(bits.bit_length()) if bits >> i & 1} == rows
    assert bits & 1


def test_rows_that_are_close_together_have_the_same_bits_as_others() -> None:
    rows = [3, 5, *range(8, 40)]
    assert bits_of(rows) == (3, sum(1 << (row - 3) for row in rows))
    assert bits_of(range(4, 9)) == (4, 0b11111)
    assert bits_of([7]) == (7, 1)
    assert bits_of_flags(b"\1\0\1") == 0b101
    with pytest.raises(AssertionError, match="named twice"):
        bits_of([3, 4, 3])


SPREAD = st.lists(st.integers(0, 3 * SIZE), unique=True, max_size=40)


@given(SPREAD, SPREAD, st.integers(0, 3 * SIZE))
def test_a_frontier_knows_what_it_was_told_and_what_is_beyond_a_row(one: list[int], other: list[int], row: int) -> None:
    rows = RowSet()
    if one:
        assert rows.add(*bits_of(one))
    for each in (*one, *other, row):
        assert rows.has(each) == (each in one)
    if other:
        first, bits = rows.without(*bits_of(other))
        left = {first + i for i in range(bits.bit_length()) if bits >> i & 1}
        assert left == set(other) - set(one)
    beyond = {first + i for first, bits in rows.beyond(row) for i in range(bits.bit_length()) if bits >> i & 1}
    assert beyond == {each for each in one if each > row}
    if one:
        rows.remove(one[0])
        assert not rows.has(one[0])
        assert all(rows.has(each) for each in one[1:])
        assert rows.add(one[0], 1)
        assert not rows.add(one[0], 1), "it is known"


def test_what_was_passed_otherwise_is_forgotten_block_by_block() -> None:
    rows = RowSet()
    rows.add(0, 1)
    rows.add(SIZE, 1)
    rows.add(2 * SIZE + 5, 1)
    assert len(rows) == 3
    rows.forget(0, 2 * SIZE + 3)
    assert len(rows) == 1
    assert rows.has(2 * SIZE + 5)


def test_an_id_is_one_of_three_kinds() -> None:
    ids: list[Id] = [5, (5, 0, 2), Bundle((5,))]
    assert len({*ids}) == 3
