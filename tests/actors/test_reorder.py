"""The reorder buffer: order, gaps, and the pieces of a row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.protocol import Ended, Gaps, Outcomes, Rows, Status
from headrace.actors.reorder import Reorder
from headrace.actors.rows.identity import Bundle, Id, Plain, children, merged, parted, parts, place, places
from headrace.actors.rows.rowset import bits_of
from tests.actors.fake import Fake, Name

SINK, CONDUCTOR = map(Name, ("sink", "conductor"))


def started(whole: bool = False) -> Fake:
    fake = Fake(Reorder(SINK, CONDUCTOR, whole=whole))
    fake.receive(protocol.Start())
    return fake


def ended(seq: Id, status: Status = Status.QUARANTINED) -> Outcomes:
    return Outcomes([Ended(seq, status, ValueError(), 1, None, "stage")])


def released(fake: Fake) -> list[Id]:
    return [seq for rows in fake.take(Rows) for seq in rows.seqs]


def test_a_row_taken_out_of_the_middle_stalls_nobody_L42() -> None:
    fake = started()
    fake.receive(Rows([0], ["a"]), Rows([2], ["c"]))
    assert released(fake) == [0]
    fake.receive(ended(1))
    assert [(list(r.seqs), r.values) for r in fake.take(Rows)] == [([2], ["c"])]


def test_an_error_in_the_middle_is_told_in_its_turn_where_all_outcomes_are_wanted_L01() -> None:
    fake = started(whole=True)
    fake.receive(Rows([2, 3], ["c", "d"]), ended(1), Rows([0], ["a"]))
    assert [type(m).__name__ for whom, m in fake.told if whom == SINK] == ["Rows", "Outcomes", "Rows"]
    assert [e.seq for e in fake.told[1][1].ended] == [1]


@pytest.mark.parametrize("again", [Rows([0], ["a"]), Rows(range(1), ["a"]), Gaps([0]), ended(0), ended((0, 0, 2))])
def test_a_row_that_ends_twice_is_loud(again: Any) -> None:
    fake = started()
    fake.receive(Rows([0], ["a"]))
    with pytest.raises(AssertionError, match="ended twice"):
        fake.receive(again)


def test_the_pieces_of_a_row_go_as_soon_as_their_turn_has_come() -> None:
    fake = started()
    fake.receive(Rows([(0, 1, 3)], ["b"]), Rows([1], ["z"]))
    assert released(fake) == []
    fake.receive(Rows([(0, 0, 3)], ["a"]))
    assert released(fake) == [(0, 0, 3), (0, 1, 3)]
    fake.receive(Gaps([(0, 2, 3)]))
    assert released(fake) == [1]


def test_a_batch_stands_at_the_place_of_its_first_row() -> None:
    fake = started()
    fake.receive(Rows([Bundle((1, 3))], [["b", "d"]]), Rows([2], ["c"]))
    assert released(fake) == []
    fake.receive(Rows([0], ["a"]), Rows([4], ["e"]))
    assert released(fake) == [0, Bundle((1, 3)), 2, 4]


def test_what_a_join_makes_stands_where_the_row_stood() -> None:
    fake = started()
    fake.receive(Rows([merged(1, 3)], ["b"]), Rows([0], ["a"]), Rows([2], ["c"]))
    assert released(fake) == [0, (1, 3, -3), 2]


def grown(data: st.DataObject, seq: Id, depth: int) -> list[Id]:
    """What a row may have become."""
    kind = data.draw(st.sampled_from(["as it is", "split", "forked", "merged"])) if depth else "as it is"
    n = data.draw(st.integers(1, 3))
    match kind:
        case "split":
            return [one for child in children(seq, n) for one in grown(data, child, depth - 1)]
        case "forked":
            return [one for part in parts(seq, n) for one in grown(data, part, depth - 1)]
        case "merged":
            return grown(data, merged(seq, n), depth - 1)
        case _:
            return [seq]


@given(st.data())
def test_whatever_rows_become_they_are_released_in_order_and_none_is_waited_for_in_vain(data: st.DataObject) -> None:
    total = data.draw(st.integers(0, 8))
    ids = [one for row in range(total) for one in grown(data, row, 3)]
    while len(ids) > 2 and data.draw(st.booleans()):
        members = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True))
        bundle = Bundle(tuple(sorted(members, key=place)))
        ids = [one for one in ids if one not in members] + grown(data, bundle, 1)
    absent = set(data.draw(st.lists(st.sampled_from(ids), unique=True))) if ids else set()
    fake = started()
    got: list[Id] = []
    for one in data.draw(st.permutations(ids)):
        how = data.draw(st.sampled_from([Gaps([one]), ended(one)])) if one in absent else Rows([one], [one])
        fake.receive(how)
        got += released(fake)
    fake.receive(protocol.EndOfRows(total))
    assert len(fake.take(protocol.Drained)) == 1
    assert got == sorted((one for one in ids if one not in absent), key=place)


@given(st.permutations(range(30)), st.integers(1, 7), st.sets(st.integers(0, 29)))
def test_plain_rows_in_any_order_and_any_chunks(order: list[int], chunk: int, gone: set[int]) -> None:
    fake = started()
    got: list[Id] = []
    for i in range(0, 30, chunk):
        here = [row for row in order[i : i + chunk] if row not in gone]
        away = [row for row in order[i : i + chunk] if row in gone]
        for message in [Rows(here, here, dict.fromkeys(here[:1], 2))] * bool(here) + [Gaps(away)] * bool(away):
            fake.receive(message)
        told = fake.take(Rows)
        assert all(rows.attempts is None or set(rows.attempts) <= set(rows.seqs) for rows in told)
        got += [seq for rows in told for seq in rows.seqs]
    assert got == [row for row in range(30) if row not in gone]


def test_places_tell_where_a_thing_stands_and_what_else_is_in_it() -> None:
    assert places(7) == [(7,)]
    assert places(Bundle((1, (2, 0, 3), Bundle((5, 6))))) == [(1,), (2, 0, 3), (5,), (6,)]
    assert places((Bundle((4, 9)), 1, 2)) == [(4, 1, 2), (9,)]
    assert place((5, 3, -3, 0, 2)) == (5, 0, 2)


def test_what_is_behind_an_interrupted_row_is_not_written_before_it_in_this_life() -> None:
    fake = Fake(Reorder(SINK, CONDUCTOR, again=True))
    fake.receive(Rows([0, 2, 3], ["a", "c", "d"]), ended(1, Status.INTERRUPTED))
    told = [m for _, m in fake.told if isinstance(m, Rows | protocol.OutOfTurn)]
    assert [(type(m), list(m.seqs)) for m in told] == [(Rows, [0]), (protocol.OutOfTurn, [2, 3])]
    fake.receive(protocol.EndOfRows(4))
    assert fake.take(protocol.Drained)


def test_attempts_go_with_their_rows_when_these_are_released() -> None:
    fake = started()
    fake.receive(Rows([1, 2], ["b", "c"], {2: 3}), Rows(range(3, 5), ["d", "e"], {4: 2}))
    assert released(fake) == []
    fake.receive(Rows(range(1), ["a"], {0: 5}))
    (rows,) = fake.take(Rows)
    assert (list(rows.seqs), rows.values, rows.attempts) == ([0, 1, 2, 3, 4], list("abcde"), {0: 5, 2: 3, 4: 2})
    fake.receive(Rows(range(5, 7), ["f", "g"], {6: 2}))
    (rows,) = fake.take(Rows)
    assert (rows.seqs, rows.attempts) == (range(5, 7), {6: 2})
    fake.receive(Rows(range(7, 8), ["h"]))
    (rows,) = fake.take(Rows)
    assert rows.attempts is None


def test_of_a_span_that_others_have_left_the_rest_goes_at_its_turn() -> None:
    fake = started()
    fake.receive(Rows([4, 6], ["e", "g"], None, range(3, 8)))
    assert released(fake) == []
    fake.receive(Gaps(range(3)))
    assert released(fake) == [4, 6]
    fake.receive(protocol.EndOfRows(8))
    assert [type(m) for whom, m in fake.told] == [protocol.EndOfRows, protocol.Drained]


def test_it_counts_rows_that_wait_and_how_many_there_were_at_most() -> None:
    fake = started()
    fake.receive(Rows(range(2, 6), list("cdef")), Rows([(1, 0, 2)], ["b"]))
    counted = fake.actor.statistics()
    assert (counted.buffered, counted.buffered_max, counted.next) == (5, 5, 0)
    fake.receive(Gaps([0]), Gaps([(1, 1, 2)]))
    counted = fake.actor.statistics()
    assert (counted.buffered, counted.buffered_max, counted.next) == (0, 5, 6)


def test_the_end_comes_after_the_last_row_and_once() -> None:
    fake = started()
    fake.receive(Rows([0], ["a"]), protocol.EndOfRows(2))
    assert fake.take(protocol.EndOfRows) == []
    fake.receive(Rows([1], ["b"]))
    assert [m for whom, m in fake.told if whom == SINK] == [Rows(range(1, 2), ["b"]), protocol.EndOfRows(2)]
    assert [m for whom, m in fake.told if whom == CONDUCTOR] == [protocol.Drained(fake.me)]
    fake.told = []
    fake.receive(protocol.EndOfRows(2), protocol.Abort("late"))
    assert fake.told == []


def test_an_aborted_buffer_releases_nothing() -> None:
    fake = started()
    fake.receive(Rows([1], ["b"]), protocol.Abort("enough"), Rows([0], ["a"]))
    assert [(whom, type(m)) for whom, m in fake.told] == [(CONDUCTOR, protocol.Drained)]


def test_a_resumed_run_begins_with_its_first_row() -> None:
    fake = Fake(Reorder(SINK, CONDUCTOR, first=7))
    fake.receive(Rows([8, 7], ["i", "h"]))
    assert released(fake) == [7, 8]
    with pytest.raises(AssertionError, match="ended twice"):
        fake.receive(Rows([3], ["x"]))


def test_a_failed_row_of_a_run_with_a_journal_has_no_turn_in_this_life() -> None:
    fake = Fake(Reorder(SINK, CONDUCTOR, again=True))
    fake.receive(ended(0, Status.FAILED), Rows([1], ["b"]))
    assert released(fake) == []
    without = Fake(Reorder(SINK, CONDUCTOR))
    without.receive(ended(0, Status.FAILED), Rows([1], ["b"]))
    assert released(without) == [1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=10), st.randoms(), st.integers(0, 3))
def test_chunks_and_single_rows_in_any_order_come_out_as_the_source_gave_them(
    sizes: list[int], random: Any, nth: int
) -> None:
    parts_: list[Any] = []
    n = 0
    for i, size in enumerate(sizes):
        span = range(n, n + size)
        n += size
        if i % 4 == nth:
            parts_.append(Gaps(span))
        elif i % 3 == nth:
            parts_ += [Rows([seq], [seq]) for seq in span]
        else:
            parts_.append(Rows(span, list(span)))
    wanted = sorted(seq for part in parts_ if isinstance(part, Rows) for seq in part.seqs)  # type: ignore[type-var]
    random.shuffle(parts_)
    fake = started()
    fake.receive(*parts_, protocol.EndOfRows(n))
    got = fake.take(Rows)
    assert [seq for rows in got for seq in rows.seqs] == wanted
    assert [value for rows in got for value in rows.values] == wanted
    assert fake.actor.statistics().buffered == 0


def test_attempts_go_with_a_chunk_that_is_released_as_it_came() -> None:
    fake = started()
    fake.receive(Rows(range(2), ["a", "b"], {1: 4}))
    (rows,) = fake.take(Rows)
    assert (rows.seqs, rows.attempts) == (range(2), {1: 4})
    fake.receive(Rows(range(3, 5), ["d", "e"], {3: 2}), Rows(range(2, 3), ["c"]))
    told = fake.take(Rows)
    assert [seq for m in told for seq in m.seqs] == [2, 3, 4]
    assert {seq: n for m in told for seq, n in (m.attempts or {}).items()} == {3: 2}


def test_each_piece_of_a_batch_says_anew_which_rows_were_in_it_and_nobody_waits_for_these() -> None:
    fake = started()
    fake.receive(Rows(children(Bundle((0, 2, (4, 0, 1))), 2), ["a", "b"]), Rows([1, 3, 5], ["c", "d", "e"]))
    assert released(fake) == [*children(Bundle((0, 2, (4, 0, 1))), 2), 1, 3, 5]


def test_the_end_of_a_piece_is_told_in_its_turn_where_all_outcomes_are_wanted_L01() -> None:
    fake = started(whole=True)
    one, two, three = children(0, 3)
    fake.receive(Rows([three], ["c"]), ended(two))
    assert fake.told == []
    fake.receive(Rows([one], ["a"]))
    told = [m for whom, m in fake.told if whom == SINK]
    assert [[e.seq for e in m.ended] if isinstance(m, Outcomes) else list(m.seqs) for m in told] == [
        [one],
        [two],
        [three],
    ]


def test_rows_none_of_which_come_are_no_news_to_the_sink() -> None:
    fake = started()
    fake.receive(Gaps(range(3)), Gaps([3, 4]), Rows([], [], None, range(5, 9)))
    assert fake.told == []
    assert fake.actor.statistics().next == 9


@given(st.data())
def test_what_is_known_of_released_rows_without_looking_is_true(data: st.DataObject) -> None:
    """A ledger settles rows by the bits that go with them, and does not look at the rows. They come as a route or a filter
    lets them go: some rows of a span, the spans in any order."""
    begin, spans = data.draw(st.integers(0, 9)), []
    first = begin
    for length in data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)):
        spans.append(
            (range(first, first + length), data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
        )
        first += length
    fake = Fake(Reorder(SINK, CONDUCTOR, first=begin))
    for span, chosen in data.draw(st.permutations(spans)):
        (some,) = parted(span, [chosen])
        fake.receive(Rows(some, [str(seq) for seq in some], None, span))
    told = fake.take(Rows)
    assert [seq for m in told for seq in m.seqs] == [
        s for span, chosen in spans for s, c in zip(span, chosen, strict=True) if c
    ]
    for m in told:
        assert m.values == [str(seq) for seq in m.seqs]
        if type(m.seqs) is Plain and m.seqs.bits:
            assert (m.seqs[0], m.seqs.bits) == bits_of(list(m.seqs))


def test_the_bits_of_spans_that_are_released_together_are_those_of_all_of_them() -> None:
    fake = started()
    fake.receive(Rows(Plain([4, 6], 0b101), ["e", "g"], None, range(4, 8)), Rows(range(8, 10), ["i", "j"]))
    fake.receive(Gaps(range(10, 12)), Rows(Plain([13], 1), ["n"], None, range(12, 14)))
    fake.receive(Rows(Plain([1, 3], 0b101), ["b", "d"], None, range(4)))
    (rows,) = fake.take(Rows)
    assert list(rows.seqs) == [1, 3, 4, 6, 8, 9, 13]
    assert isinstance(rows.seqs, Plain)
    assert rows.seqs.bits == 0b1000110101101, "nobody needs to look through them again"


def test_the_time_in_which_rows_wait_for_one_before_them_is_counted() -> None:
    fake = started()
    fake.pass_time(1.0)
    fake.receive(Rows([1], ["b"]))
    fake.pass_time(2.0)
    fake.receive(Rows([2], ["c"]))
    fake.pass_time(3.0)
    assert fake.actor.statistics().waited_s == 5.0
    fake.receive(Rows([0], ["a"]))
    fake.pass_time(4.0)
    assert fake.actor.statistics().waited_s == 5.0
