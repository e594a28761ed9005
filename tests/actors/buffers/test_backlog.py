"""The backlog hands out rows oldest first where they were put back, else as they came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.buffers.backlog import Backlog, as_seqs
from headrace.actors.rows.identity import Column, Id, place


def test_a_row_put_back_goes_before_all_others_L54() -> None:
    backlog = Backlog()
    backlog.append(range(5, 10), list("fghij"))
    backlog.put_first(3, "d")
    backlog.put_first(1, "b")
    assert backlog.take(3) == ([1, 3, 5], ["b", "d", "f"])
    assert backlog.take(99) == (range(6, 10), list("ghij"))


def test_what_is_next_is_what_is_taken_and_all_that_wait_are_listed_in_that_order() -> None:
    backlog = Backlog()
    backlog.append(range(5, 8), list("fgh"))
    backlog.append([9, (8, 0, 2)], ["j", "i"])
    backlog.put_first(3, "d")
    backlog.put_first((2, 1, 2), "c")
    order: list[Id] = [(2, 1, 2), 3, 5, 6, 7, 9, (8, 0, 2)]
    assert backlog.seqs() == order
    for seq in order:
        assert backlog.peek()[0] == seq
        seqs, (value,) = backlog.take(1)
        assert list(seqs) == [seq]
        assert value == "cdfghji"[order.index(seq)]
    assert len(backlog) == 0
    assert backlog.seqs() == []


def test_one_that_was_put_back_can_be_taken_out_of_the_middle() -> None:
    backlog = Backlog()
    for seq in (4, 2, 6):
        backlog.put_first(seq, str(seq))
    backlog.append(range(7, 10), list("789"))
    assert backlog.remove(4) == (True, "4")
    assert backlog.remove(8) == (True, "8")
    assert backlog.remove(8) == (False, None)
    assert backlog.take(10) == ([2, 6, 7, 9], ["2", "6", "7", "9"])


def test_only_rows_of_the_source_without_a_gap_are_a_range() -> None:
    assert as_seqs([3, 4, 5]) == range(3, 6)
    assert as_seqs([]) == range(0)
    others: list[list[Id]] = [[3, 5], [5, 4, 3], [3, 5, 4, 6], [3, (4, 0, 2), 5], [(3, 0, 2)]]
    for seqs in others:
        assert as_seqs(list(seqs)) == seqs


@given(st.lists(st.integers(1, 9)), st.lists(st.integers(1, 9)), st.sets(st.integers(0, 80)))
def test_what_goes_in_comes_out_once(chunks: list[int], takes: list[int], removed: set[int]) -> None:
    backlog = Backlog()
    n = 0
    for size in chunks:
        backlog.append(range(n, n + size), [str(i) for i in range(n, n + size)])
        n += size
    gone = {seq for seq in removed if backlog.remove(seq) == (True, str(seq))}
    assert gone == {seq for seq in removed if seq < n}
    got: list[Id] = []
    for size in [*takes, n + 1]:
        seqs, values = backlog.take(size)
        assert [str(seq) for seq in seqs] == values
        got.extend(seqs)
    assert got == [seq for seq in range(n) if seq not in gone]
    assert len(backlog) == 0


@given(st.lists(st.integers(0, 50)))
def test_places_stay_the_same_places(seqs: list[Id]) -> None:
    assert list(as_seqs(seqs)) == seqs


@given(st.lists(st.integers(1, 9), min_size=2), st.integers(1, 12), st.booleans())
def test_as_many_are_taken_as_were_asked_for_where_so_many_wait(chunks: list[int], n: int, columns: bool) -> None:
    """However the rows came: a chunk that is shorter than what is asked for is no end."""
    backlog, total = Backlog(), 0
    for size in chunks:
        seqs = range(total, total + size)
        backlog.append(Column(seqs, 0, 2) if columns else seqs, list(seqs))
        total += size
    first = backlog.take(n)
    assert len(first[0]) == len(first[1]) == min(n, total) or columns
    assert first[1] == list(range(len(first[1])))
    assert len(backlog) == total - len(first[1])
    assert len(backlog.seqs()) == len(backlog)


@given(st.lists(st.tuples(st.sampled_from(["append", "take", "put_first", "remove"]), st.integers(0, 9)), max_size=40))
def test_whatever_is_done_to_it_it_holds_what_a_list_would_hold(steps: list[tuple[str, int]]) -> None:
    """Against a plain list: rows that were put back, in their order, and then the others, as they came."""
    backlog, again, queue, taken, n = Backlog(), list[Id](), list[Id](), list[Id](), 0
    for step, size in steps:
        match step:
            case "append":
                backlog.append(range(n, n + size), [str(seq) for seq in range(n, n + size)])
                queue.extend(range(n, n + size))
                n += size
            case "take":
                seqs, values = backlog.take(size)
                expected = [*again, *queue][:size]
                assert list(seqs) == expected[: len(seqs)]
                assert values == [str(seq) for seq in seqs]
                assert seqs or not expected, "it gives something where something waits"
                taken.extend(seqs)
                again, queue = [s for s in again if s not in seqs], [s for s in queue if s not in seqs]
            case "put_first" if taken:
                seq = taken.pop(size % len(taken))
                backlog.put_first(seq, str(seq))
                again = sorted([*again, seq], key=place)
            case "remove":
                waits = [*again, *queue]
                one = waits[size % len(waits)] if waits and size else -1
                assert backlog.remove(one) == ((True, str(one)) if one != -1 else (False, None))
                again, queue = [s for s in again if s != one], [s for s in queue if s != one]
        assert (len(backlog), backlog.seqs()) == (len(again) + len(queue), [*again, *queue])


@pytest.mark.parametrize("chunks", [[1, 3], [1, 1, 3], [2, 9]])
def test_a_chunk_that_is_too_short_is_filled_up_from_the_next_one(chunks: list[int]) -> None:
    backlog, total = Backlog(), 0
    for size in chunks:
        backlog.append(range(total, total + size), list(range(total, total + size)))
        total += size
    assert backlog.take(3) == (range(3), [0, 1, 2])
