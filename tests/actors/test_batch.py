"""The batch, message by message; and the frontier of rows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.batch import Batch, BatchTerms
from headrace.actors.exits import Exits, Port
from headrace.actors.frontier import SIZE, Frontier, bits_of
from headrace.actors.identity import Bundle, Plain
from headrace.actors.outlets import ONWARD
from headrace.actors.protocol import Outcomes, Press, Rows
from tests.actors.fake import Fake, Name

NEXT, KEEPER, LEDGER, CONDUCTOR = map(Name, ("next", "keeper", "ledger", "conductor"))


def gathering(**options: Any) -> Fake:
    exits = Exits("batch", {ONWARD: Port(NEXT)}, behind=(KEEPER,), ledger=LEDGER)
    return Fake(Batch(BatchTerms("batch", **options), exits, CONDUCTOR), "batch")


def went(fake: Fake) -> list[Any]:
    return [value for rows in fake.take(Rows) for value in rows.values]


def test_batches_are_filled_and_what_is_left_goes_at_the_end() -> None:
    fake = gathering(count=3)
    fake.receive(Rows(range(7), list("abcdefg")))
    (rows,) = fake.take(Rows)
    assert rows.values == [["a", "b", "c"], ["d", "e", "f"]]
    assert [b.members for b in rows.seqs if isinstance(b, Bundle)] == [(0, 1, 2), (3, 4, 5)]
    fake.receive(protocol.EndOfRows(7))
    assert went(fake) == [["g"]]


def test_rows_stand_in_their_order_however_they_came() -> None:
    fake = gathering(count=4)
    fake.receive(Rows([(2, 1, 2), 9], ["c1", "j"]), Rows(range(1, 2), ["b"]), Rows(Plain([5]), ["f"]))
    (rows,) = fake.take(Rows)
    assert list(rows.seqs) == [Bundle((1, (2, 1, 2), 5, 9))]
    assert rows.values == [["b", "c1", "f", "j"]]


def test_the_first_row_waits_no_longer_than_it_may_and_no_other_row_is_needed_L39() -> None:
    fake = gathering(count=10, within_s=1.0)
    fake.receive(Rows([0], ["a"]))
    fake.pass_time(0.6)
    fake.receive(Rows([1], ["b"]))
    fake.pass_time(0.5)
    assert went(fake) == [["a", "b"]]
    fake.receive(Rows([2], ["c"]))
    fake.pass_time(0.9)
    assert went(fake) == [], "the next batch has a time of its own"
    fake.pass_time(0.2)
    assert went(fake) == [["c"]]


def test_a_batch_is_full_by_bytes_and_a_row_that_is_larger_goes_alone() -> None:
    fake = gathering(bytes_max=5, size=len)
    fake.receive(Rows(range(4), ["aaa", "bb", "cccccccc", "d"]), protocol.EndOfRows(4))
    assert went(fake) == [["aaa", "bb"], ["cccccccc"], ["d"]]


def test_a_key_that_cannot_be_found_is_the_row_s_error() -> None:
    fake = gathering(count=2, key=lambda row: row["k"])
    fake.receive(Rows(range(3), [{"k": 1}, {}, {"k": 1}]))
    (rows,) = [m for _, m in fake.told if isinstance(m, Rows)]
    assert rows.values == [[{"k": 1}, {"k": 1}]]
    assert [e.seq for o in fake.take(Outcomes) for e in o.ended] == [1]


def test_who_holds_the_row_that_all_wait_for_lets_its_batch_go() -> None:
    fake = gathering(count=10, key=lambda row: row % 2)
    fake.receive(Rows(range(4), [0, 1, 2, 3]), Press(1))
    assert went(fake) == [[1, 3]]
    fake.receive(Press(7))
    assert went(fake) == []
    fake.receive(Rows([7], [7]))
    assert went(fake) == [[7]], "it was pressed for before it came"


@given(st.permutations(range(60)), st.integers(1, 9), st.integers(1, 3))
def test_a_frontier_is_where_nothing_is_known(order: list[int], chunk: int, stride: int) -> None:
    rows = [row * (SIZE // 16) * stride // 2 + row for row in order]
    known: set[int] = set()
    frontier, mark = Frontier(), 0
    everything = sorted(rows)
    for i in range(0, len(rows), chunk):
        some = rows[i : i + chunk]
        assert frontier.add(*bits_of(some))
        known.update(some)
        assert all(frontier.has(row) for row in some if row >= mark)
        expected = mark
        while expected in known:
            expected += 1
        mark = frontier.after(mark)
        assert mark == expected
    assert not frontier.add(everything[-1], 1)


@given(st.permutations(range(8)))
def test_whole_blocks_are_passed_and_forgotten(order: list[int]) -> None:
    frontier, mark = Frontier(), 0
    for eighth in order:
        first = eighth * SIZE // 2
        assert frontier.add(*bits_of(range(first, first + SIZE // 2)))
        mark = frontier.after(mark)
    assert mark == 4 * SIZE
    assert not frontier
