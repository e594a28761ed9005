"""How long calls take: percentiles out of a histogram of fixed size, and the slowest by row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.actors.fake import Name

from headrace.actors.protocol import Answered, Fault, Kind
from headrace.actors.stages.latencies import EXPONENT_MAX, EXPONENT_MIN, SLOWEST, Latencies

WORKER = Name("worker")


def answered(seqs: list[int], busy_s: float, times_s: tuple[float, ...] = ()) -> Answered:
    return Answered(1, WORKER, seqs, [None] * len(seqs), [], [], True, busy_s, (), times_s)


def counted(times_s: list[float]) -> Latencies:
    latencies = Latencies()
    for seq, took_s in enumerate(times_s):
        latencies.add(answered([seq], took_s), 1)
    return latencies


@given(st.lists(st.floats(1e-6, 1e6), min_size=1))
def test_percentiles_are_right_to_a_sixteenth(times_s: list[float]) -> None:
    summary, found = counted(times_s).summary(), sorted(times_s)
    for share, said in ((0.5, summary.p50_s), (0.9, summary.p90_s), (0.99, summary.p99_s)):
        exact = next(took_s for rank, took_s in enumerate(found, 1) if rank >= share * len(found))
        assert abs(said - exact) <= exact / 8.0
    assert (summary.calls, summary.max_s) == (len(found), found[-1])
    assert summary.p50_s <= summary.p90_s <= summary.p99_s <= summary.max_s


def test_the_slowest_are_known_by_their_rows() -> None:
    summary = counted([n / 100.0 for n in range(1, 101)]).summary()
    assert [call.row for call in summary.slowest] == [99, 98, 97, 96, 95]
    assert len(summary.slowest) == SLOWEST
    assert summary.slowest[0].took_s == 1.0


def test_calls_that_are_told_of_each_by_itself_are_counted_so() -> None:
    latencies = Latencies()
    fault = Fault(9, Kind.REFUSED, ValueError())
    told = Answered(1, WORKER, [4, 5], ["a", "b"], [fault], [], True, 6.0, (), (5.0, 0.5, 0.5))
    latencies.add(told, 3)
    assert [(call.name, call.took_s) for call in latencies.summary().slowest] == [("4", 5.0), ("9", 0.5), ("5", 0.5)]


def test_a_call_that_never_came_back_counts_as_long_as_it_was_waited_for() -> None:
    latencies = counted([0.01])
    latencies.add_lost([7], 10.0)
    assert (latencies.summary().max_s, latencies.summary().slowest[0].row) == (10.0, 7)


@given(st.lists(st.floats(0.0, 1e300)))
def test_it_is_bounded_whatever_calls_take(times_s: list[float]) -> None:
    assert len(counted(times_s)._buckets) <= 8 * (EXPONENT_MAX - EXPONENT_MIN) + 1


def test_no_calls_are_a_summary_of_none() -> None:
    assert Latencies().summary().calls == 0
