"""The batch, message by message; and the frontier of rows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.batch import Batch, BatchTerms
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.protocol import FlushUpTo, Outcomes, Rows, Settled, Status
from headrace.actors.rows.identity import Bundle, Plain
from headrace.actors.rows.rowset import SIZE, RowSet, bits_of
from tests.actors.fake import Fake, Name

NEXT, KEEPER, LEDGER, CONDUCTOR = map(Name, ("next", "keeper", "ledger", "conductor"))


def gathering(**options: Any) -> Fake:
    outputs = Outputs("batch", {ONWARD: Port(NEXT)}, behind=(KEEPER,), ledger=LEDGER)
    return Fake(Batch(BatchTerms("batch", **options), outputs, CONDUCTOR), "batch")


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


def test_a_batch_s_timer_flushes_its_own_batch_and_no_other_one_of_its_key() -> None:
    fake = gathering(count=2, within_s=1.0)
    fake.receive(Rows([0], ["a"]))
    fake.pass_time(0.5)
    # It is full, and goes; the timer that was for it is still on its way when the next one begins.
    fake.receive(Rows([1], ["b"]), Rows([2], ["c"]))
    assert went(fake) == [["a", "b"]]
    fake.pass_time(0.9)
    assert went(fake) == [], "the timer was for the batch that has gone"
    fake.pass_time(0.1)
    assert went(fake) == [["c"]]


def test_each_key_s_batch_has_a_timer_of_its_own() -> None:
    fake = gathering(count=10, within_s=1.0, key=lambda row: row[0])
    fake.receive(Rows([0], ["a0"]))
    fake.pass_time(0.4)
    fake.receive(Rows(range(1, 3), ["b1", "a2"]))
    fake.pass_time(0.6)
    assert went(fake) == [["a0", "a2"]]
    fake.pass_time(0.39)
    assert went(fake) == []
    fake.pass_time(0.02)
    assert went(fake) == [["b1"]]


def test_a_batch_is_full_by_the_number_of_its_rows_also_where_they_have_keys() -> None:
    fake = gathering(count=2, key=lambda row: row % 2)
    fake.receive(Rows(range(5), [0, 1, 2, 3, 4]))
    assert went(fake) == [[0, 2], [1, 3]]
    fake.receive(protocol.EndOfRows(5))
    assert went(fake) == [[4]]


def test_without_a_number_rows_are_gathered_until_it_is_time() -> None:
    fake = gathering(within_s=1.0)
    fake.receive(Rows(range(3), [0, 1, 2]), Rows(range(3, 5), [3, 4]))
    assert went(fake) == []
    fake.pass_time(1.0)
    assert went(fake) == [[0, 1, 2, 3, 4]]


def test_with_several_edges_the_rest_goes_with_the_last_of_their_ends_and_before_the_end() -> None:
    outputs = Outputs("batch", {ONWARD: Port(NEXT)}, ledger=LEDGER)
    fake = Fake(Batch(BatchTerms("batch", count=3), outputs, CONDUCTOR, inputs=2), "batch")
    fake.receive(Rows([0], ["a"]), protocol.EndOfRows(2))
    assert fake.told == []
    fake.receive(protocol.EndOfRows(2))
    assert [(whom, type(m)) for whom, m in fake.told] == [
        (NEXT, Rows),
        (NEXT, protocol.EndOfRows),
        (CONDUCTOR, protocol.Drained),
    ]
    fake.told = []
    fake.receive(Rows([1], ["b"]), protocol.Abort("late"))
    assert fake.told == [], "it is over"


def test_an_aborted_batch_lets_nothing_go() -> None:
    fake = gathering(count=3)
    fake.receive(Rows([0], ["a"]), protocol.Abort("enough"))
    assert [(whom, type(m)) for whom, m in fake.told] == [(CONDUCTOR, protocol.Drained)]


def test_rows_that_were_a_batch_in_an_earlier_life_are_that_batch_again() -> None:
    journal, known = Name("journal"), Bundle((1, 4))
    outputs = Outputs("batch", {ONWARD: Port(NEXT)}, ledger=LEDGER)
    fake = Fake(Batch(BatchTerms("batch", count=2), outputs, CONDUCTOR, journal=journal, known=[known]), "batch")
    fake.receive(Rows(range(3), ["a", "b", "c"]))
    (rows,) = [m for whom, m in fake.told if whom == NEXT]
    assert (list(rows.seqs), rows.values) == ([Bundle((0, 2), 0b101)], [["a", "c"]])
    assert [m.bundles for m in fake.take_for(journal)] == [[Bundle((0, 2), 0b101)]]
    fake.receive(Rows([4], ["e"]))
    (rows,) = [m for whom, m in fake.told if whom == NEXT]
    assert (list(rows.seqs), rows.values) == ([known], [["b", "e"]])
    assert fake.take_for(journal) == [], "it was told in that life"
    assert fake.actor.statistics().traffic.adds_up
    fake.receive(protocol.EndOfRows(5))
    assert not [m for _, m in fake.told if isinstance(m, Outcomes | Settled)], "none of them is interrupted besides"


def test_a_batch_of_an_earlier_life_that_does_not_come_together_is_interrupted_at_the_end() -> None:
    outputs = Outputs("batch", {ONWARD: Port(NEXT)}, behind=(KEEPER,), ledger=LEDGER)
    fake = Fake(Batch(BatchTerms("batch", count=2), outputs, CONDUCTOR, known=[Bundle((1, 4))]), "batch")
    fake.receive(Rows(range(2), ["a", "b"]), protocol.EndOfRows(2))
    (outcomes,) = [m for whom, m in fake.told if whom == KEEPER]
    assert [(e.seq, e.status, e.value, e.attempts) for e in outcomes.ended] == [(1, Status.INTERRUPTED, "b", 1)]
    traffic = fake.actor.statistics().traffic
    assert (traffic.here, traffic.interrupted, traffic.batched, traffic.adds_up) == (0, 1, 1, True)


def test_what_a_batch_counts_adds_up_at_any_time() -> None:
    fake = gathering(count=3, key=lambda row: row[0])
    fake.receive(Rows(range(5), ["a", "b", "a", "a", ""]))
    traffic = fake.actor.statistics().traffic
    assert (traffic.came, traffic.here, traffic.batched, traffic.quarantined, traffic.made, traffic.went) == (
        5,
        1,
        3,
        1,
        1,
        1,
    )
    assert traffic.adds_up


def test_a_batch_that_holds_a_piece_of_the_row_that_all_wait_for_goes_too() -> None:
    fake = gathering(count=10, key=lambda row: row)
    fake.receive(Rows([(2, 0, 2), (3, 0, 2)], ["x", "y"]), FlushUpTo(2))
    assert went(fake) == [["x"]]


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7), st.booleans())
def test_every_row_is_in_one_batch_in_order_and_no_batch_is_too_large(
    chunks: list[int], count: int, alone: bool
) -> None:
    fake = gathering(count=count)
    n = 0
    for size in chunks:
        seqs: Any = [n + i for i in range(size)] if alone else range(n, n + size)
        fake.receive(Rows(seqs, list(range(n, n + size))))
        n += size
    fake.receive(protocol.EndOfRows(n))
    bundles = [seq for rows in fake.take(Rows) for seq in rows.seqs]
    assert [len(b.members) for b in bundles if isinstance(b, Bundle)] == [count] * (n // count) + [n % count] * (
        n % count > 0
    )
    assert [row for b in bundles if isinstance(b, Bundle) for row in b.members] == list(range(n))
    for b in bundles:
        assert isinstance(b, Bundle)
        assert b.bits == bits_of(b.members)[1], "who settles it need not look through its rows"


def test_a_batch_is_full_by_bytes_and_a_row_that_is_larger_goes_alone() -> None:
    fake = gathering(bytes_max=5, size=len)
    fake.receive(Rows(range(4), ["aaa", "bb", "cccccccc", "d"]), protocol.EndOfRows(4))
    assert went(fake) == [["aaa", "bb"], ["cccccccc"], ["d"]]


def test_a_row_that_would_make_a_batch_too_large_is_the_first_one_of_the_next() -> None:
    fake = gathering(bytes_max=5, size=len)
    fake.receive(Rows(range(3), ["aaa", "bbb", "c"]), protocol.EndOfRows(3))
    assert went(fake) == [["aaa"], ["bbb", "c"]]


@given(st.permutations(range(8)))
def test_the_batches_of_keys_stand_in_the_order_of_their_rows_too(order: list[int]) -> None:
    fake = gathering(count=4, key=lambda row: row % 2)
    fake.receive(Rows(order, list(order)))
    (rows,) = fake.take(Rows)
    bundles = dict(zip(rows.seqs, rows.values, strict=True))
    assert sorted(bundles.values()) == [[0, 2, 4, 6], [1, 3, 5, 7]]
    for bundle, values in bundles.items():
        assert isinstance(bundle, Bundle)
        assert (list(bundle.members), bundle.bits) == (values, 0b1010101)


def test_a_key_that_cannot_be_found_is_the_row_s_error() -> None:
    fake = gathering(count=2, key=lambda row: row["k"])
    fake.receive(Rows(range(3), [{"k": 1}, {}, {"k": 1}]))
    (rows,) = [m for _, m in fake.told if isinstance(m, Rows)]
    assert rows.values == [[{"k": 1}, {"k": 1}]]
    assert [e.seq for o in fake.take(Outcomes) for e in o.ended] == [1]


def test_who_holds_the_row_that_all_wait_for_lets_its_batch_go() -> None:
    fake = gathering(count=10, key=lambda row: row % 2)
    fake.receive(Rows(range(4), [0, 1, 2, 3]), FlushUpTo(1))
    assert went(fake) == [[1, 3]]
    fake.receive(FlushUpTo(7))
    assert went(fake) == []
    fake.receive(Rows([7], [7]))
    assert went(fake) == [[7]], "it was pressed for before it came"


@given(st.permutations(range(60)), st.integers(1, 9), st.integers(1, 3))
def test_a_frontier_is_where_nothing_is_known(order: list[int], chunk: int, stride: int) -> None:
    rows = [row * (SIZE // 16) * stride // 2 + row for row in order]
    known: set[int] = set()
    frontier, mark = RowSet(), 0
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
    frontier, mark = RowSet(), 0
    for eighth in order:
        first = eighth * SIZE // 2
        assert frontier.add(*bits_of(range(first, first + SIZE // 2)))
        mark = frontier.after(mark)
    assert mark == 4 * SIZE
    assert not frontier


def test_a_batch_of_nothing_but_pieces_stands_in_their_order() -> None:
    fake = gathering(count=3)
    fake.receive(Rows([(2, 1, 3), (2, 0, 3), (2, 2, 3)], ["b", "a", "c"]))
    (rows,) = fake.take(Rows)
    assert (list(rows.seqs), rows.values) == ([Bundle(((2, 0, 3), (2, 1, 3), (2, 2, 3)))], [["a", "b", "c"]])
    # Only where all are plain rows, there is a bit for each; also where there is one row alone.
    fake.receive(Rows([(3, 1, 2)], ["d"]), protocol.EndOfRows(4))
    assert [list(m.seqs) for m in fake.take(Rows)] == [[Bundle(((3, 1, 2),), 0)]]


@given(st.permutations(range(6)), st.integers(1, 6))
def test_a_batch_stands_in_the_order_of_its_rows_in_whatever_portions_they_come(order: list[int], size: int) -> None:
    """Each portion has its rows in order, as they come from what stands before it."""
    fake = gathering(count=6)
    for begin in range(0, 6, size):
        some = sorted(order[begin : begin + size])
        first, bits = some[0], sum(1 << (seq - some[0]) for seq in some)
        seqs: Any = range(first, some[-1] + 1) if len(some) == some[-1] + 1 - first else Plain(some, bits)
        fake.receive(Rows(seqs, list(some)))
    (rows,) = fake.take(Rows)
    assert rows.values == [[0, 1, 2, 3, 4, 5]]
