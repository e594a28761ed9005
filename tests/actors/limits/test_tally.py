"""What had been counted by a moment: the same as a list of all that was counted says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.limits import tally as sent
from headrace.actors.limits.tally import Tally

Step = tuple[float, int]
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0]), st.integers(1, 5)), max_size=40)


@given(STEPS, st.integers(0, 9), st.floats(0.0, 20.0))
def test_what_was_counted_by_a_moment_is_what_a_list_of_all_says(
    steps: list[Step], taken_back: int, at_s: float
) -> None:
    tally, now = Tally(), 0.0
    times: list[float] = []
    for wait_s, n in steps:
        now += wait_s
        tally.add(n, now)
        times += [now] * n
    taken_back = min(taken_back, len(times))
    tally.take_back(taken_back)
    times = times[: len(times) - taken_back]
    assert tally.total == len(times)
    assert tally.before(at_s) == sum(when < at_s - sent.ROUNDING for when in times)
    assert tally.since(at_s) == sum(when > at_s for when in times)
    assert [tally.after(n) for n in range(len(times) + 2)] == [*times, None, None]


def test_what_is_no_longer_remembered_counts_as_before_all_that_is() -> None:
    """A call may take longer than so many moments lie back: nothing is counted then that happened before it."""
    tally = Tally()
    for n in range(3 * sent.MARKS):
        tally.add(1, float(n))
    assert tally.total == 3 * sent.MARKS
    assert sent.MARKS <= tally.since(-1.0) <= 2 * sent.MARKS
    assert tally.before(-1.0) + tally.since(-1.0) == tally.total
    assert tally.since(float(3 * sent.MARKS - 10)) == 9
