"""The backlog hands out rows oldest first where they were put back, else as they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.backlog import Backlog, as_seqs
from headrace.actors.identity import Id


def test_a_row_put_back_goes_before_all_others_L54() -> None:
    backlog = Backlog()
    backlog.append(range(5, 10), list("fghij"))
    backlog.put_first(3, "d")
    backlog.put_first(1, "b")
    assert backlog.take(3) == ([1, 3, 5], ["b", "d", "f"])
    assert backlog.take(99) == (range(6, 10), list("ghij"))


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
