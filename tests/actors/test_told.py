"""What is told of quotas is kept to: no call is refused that could have been known to be, and nothing waits for ever."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.actors.gate import Gate, Rate, Terms
from headrace.actors.protocol import Heard, Quota, Refill, Spent
from headrace.actors.told import DOUBTS_MAX, LONGEST_S, SILENT_MAX, Told
from headrace.scenarios.quotas import QuotaTable, quota_of
from tests.actors.fake import Name

STAGE = Name("stage")
CALLS = frozenset[str]()


def quota(remaining: float, reset_s: float, limit: float | None = 100.0, refill: Refill = Refill.UNSAID) -> Quota:
    return Quota("calls", remaining, reset_s, limit, refill=refill)


def heard(now: float, *quotas: Quota, began_s: float | None = None) -> Heard:
    return Heard(0, now if began_s is None else began_s, now, quotas)


def told(now: float, *quotas: Quota, out: int = 1) -> Told:
    """After one call, of so many that were under way, has ended and was told this."""
    known = Told(now, out, CALLS)
    known.ended(1, (heard(now, *quotas),), now)
    return known


def drawn(known: Told, now: float, wanted: int = 1000) -> int:
    """So many permits go out now."""
    n = max(0, int(min(wanted, known.room(now))))
    if n:
        known.took(n, now)
    return n


# --- one answer -----------------------------------------------------------------------------------------------------------


def test_no_more_goes_out_than_remains_until_the_reset_L74() -> None:
    known = told(10.0, quota(3, 5.0))
    assert [drawn(known, at) for at in (10.0, 11.0, 14.9)] == [3, 0, 0]
    assert known.wait_s(1.0, 11.0) == pytest.approx(4.0)


def test_what_is_under_way_may_not_have_been_counted() -> None:
    known = told(10.0, quota(10, 5.0), out=5)
    assert drawn(known, 10.0) == 6


def test_permits_that_come_back_unused_were_never_sent() -> None:
    """An answer of a call that began while they were out says nothing less for them, then or later."""
    known = told(10.0, quota(10, 5.0), out=2)
    assert drawn(known, 10.0, 8) == 8
    known.returned(5, 0.0, 10.2)
    known.ended(1, (heard(10.3, quota(9, 4.7), began_s=9.9),), 10.3)
    assert drawn(known, 10.3) == 6, "of nine, three are under way"


def test_after_the_reset_one_call_asks_and_its_answer_says_how_it_stands() -> None:
    known = told(10.0, quota(0, 5.0))
    assert drawn(known, 15.0) == 1
    assert drawn(known, 15.1) == 0
    known.ended(1, (heard(15.2, quota(99, 10.0), began_s=15.0),), 15.2)
    assert drawn(known, 15.2) == 99


def test_a_window_that_comes_back_whole_is_used_at_once() -> None:
    known = told(10.0, quota(0, 5.0, refill=Refill.WINDOW))
    assert drawn(known, 15.0) == 100


def test_a_bucket_fills_as_fast_as_it_says() -> None:
    known = told(10.0, quota(0, 10.0, limit=10.0, refill=Refill.CONTINUOUS))
    assert drawn(known, 10.0) == 0
    # Half a call is left in it, and what remains is taken to have been rounded down.
    assert known.wait_s(1.0, 10.0) == pytest.approx(1.5 / 0.95)
    assert drawn(known, 15.0) == 4


def test_several_quotas_hold_at_once() -> None:
    minute = Quota("calls", 50, 30.0, 100.0, name="minute")
    known = told(10.0, quota(20, 1.0), minute)
    assert drawn(known, 10.0) == 20
    assert drawn(known, 11.0) == 1
    known.ended(20, (), 11.05)
    later = Quota("calls", 29, 29.0, 100.0, name="minute")
    known.ended(1, (heard(11.1, quota(99, 1.0), later, began_s=11.0),), 11.1)
    assert drawn(known, 11.1) == 29


def test_tokens_are_given_by_what_rows_weigh() -> None:
    known = Told(0.0, 1, frozenset({"tokens"}))
    known.ended(1, (heard(0.0, Quota("tokens", 100, 10.0, 1000.0)),), 0.0)
    assert known.affords(80.0, 0.0)
    known.took_cost(80.0)
    known.took(1, 0.0)
    assert not known.affords(30.0, 0.0)
    assert known.wait_s(30.0, 1.0) == pytest.approx(9.0)


def test_where_rows_have_no_weights_tokens_are_given_by_what_calls_took() -> None:
    known = Told(0.0, 1, CALLS)
    known.spent((Spent("tokens", 300.0, 0.0, 3),))
    known.ended(1, (heard(0.0, Quota("tokens", 1000, 10.0, 1000.0)),), 0.0)
    # One less than the mean says: calls take more, and less, than that.
    assert drawn(known, 0.0) == 9


def test_permits_that_come_back_unused_can_be_given_again() -> None:
    known = told(10.0, quota(3, 5.0))
    assert drawn(known, 10.0) == 3
    known.returned(2, 0.0, 10.5)
    assert drawn(known, 11.0) == 2


# --- nothing waits for ever -----------------------------------------------------------------------------------------------


def test_a_reset_that_nobody_should_wait_for_is_asked_about_L60() -> None:
    known = told(0.0, quota(0, 1e8))
    assert known.wait_s(1.0, 0.0) == pytest.approx(LONGEST_S)
    assert drawn(known, LONGEST_S) == 1


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("refill", list(Refill))
def test_the_smallest_quotas_let_calls_through_one_after_another(limit: float, refill: Refill) -> None:
    """Once all permits were given on time alone, and none would come of it."""
    known = told(0.0, quota(0, 1.0, limit, refill))
    now = 0.0
    for _ in range(20):
        wait_s = known.wait_s(1.0, now)
        assert wait_s <= 5.0
        now += wait_s
        assert drawn(known, now, 1) == 1, f"waits for nothing at {now} s"
        known.ended(1, (heard(now + 0.1, quota(0, 1.0, limit, refill), began_s=now),), now + 0.1)
        now += 0.1


def test_where_more_is_under_way_than_a_window_takes_it_goes_on_when_that_has_ended() -> None:
    known = told(0.0, quota(50, 5.0, 60.0, Refill.WINDOW), out=1)
    assert drawn(known, 4.9) == 50
    assert drawn(known, 5.0) == 10
    late = heard(5.1, quota(0, 0.1, 60.0, Refill.WINDOW), began_s=0.1)
    known.ended(60, (late,), 5.1)
    assert drawn(known, 5.1) >= 1


def test_headers_that_stop_coming_are_forgotten() -> None:
    known = told(10.0, quota(0, 5.0))
    for i in range(SILENT_MAX):
        assert drawn(known, 16.0 + i, 1) == 1
        known.ended(1, (), 16.5 + i)
    assert drawn(known, 20.0) == 1000


def test_a_bucket_of_which_nothing_is_told_any_more_is_forgotten() -> None:
    known = told(0.0, quota(0, 10.0, refill=Refill.CONTINUOUS))
    known.ended(SILENT_MAX, (), 11.0)
    assert drawn(known, 11.0) == 1000


def test_what_is_refused_again_and_again_was_guessed_wrong() -> None:
    known = told(10.0, quota(0, 5.0, refill=Refill.WINDOW))
    for _ in range(DOUBTS_MAX):
        known.refused()
    assert drawn(known, 15.0) == 1


def test_what_remains_goes_out_evenly_where_the_limit_says_so() -> None:
    known = Told(0.0, 1, CALLS, spread=True)
    known.ended(1, (heard(0.0, quota(10, 5.0)),), 0.0)
    times: list[float] = []
    now = 0.0
    while len(times) < 10:
        if drawn(known, now):
            times.append(now)
        now += max(known.wait_s(1.0, now), 1e-3)
    assert [round(at, 1) for at in times] == [i / 2 for i in range(10)]


# --- the gate -------------------------------------------------------------------------------------------------------------


def granted(gate: Gate, now: float) -> int:
    return sum(grant.n for grant in gate.grant(now))


def test_a_gate_keeps_to_what_it_hears_and_wakes_at_the_reset() -> None:
    gate = Gate(Terms(concurrency=50), 0.0)
    gate.want(STAGE, 100, ())
    assert granted(gate, 0.0) == 50
    gate.ended(STAGE, 50, 50, (), 0.1)
    gate.hear(50, (heard(0.1, quota(7, 9.9), began_s=0.0),), (), 0.1)
    # The other 49 may have been counted after the one that was told.
    assert granted(gate, 0.1) == 0
    assert gate.wake_at(0.1) == pytest.approx(10.0)
    assert gate.scarce
    assert granted(gate, 10.0) == 1


def test_a_cost_known_afterwards_corrects_the_bucket_of_its_unit() -> None:
    terms = Terms(rates=(Rate(100.0, 100.0, "cost", "tokens"),))
    gate = Gate(terms, 0.0)
    gate.want(STAGE, 3, (50.0, 50.0, 50.0))
    assert granted(gate, 0.0) == 2
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (), (Spent("tokens", 250.0, 50.0, 1),), 0.0)
    # 200 more were taken than reserved, and it takes 2.5 s until 50 are there.
    assert gate.wake_at(0.0) == pytest.approx(2.5)
    assert granted(gate, 2.4) == 0
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (), (Spent("tokens", 20.0, 50.0, 1),), 2.4)
    assert granted(gate, 2.4) == 1


def test_other_units_are_nobody_s_bucket() -> None:
    gate = Gate(Terms(rates=(Rate(100.0, 100.0, "cost", "tokens"),)), 0.0)
    gate.want(STAGE, 1, (100.0,))
    assert granted(gate, 0.0) == 1
    gate.ended(STAGE, 1, 1, (), 0.1)
    gate.hear(1, (), (Spent("characters", 1e9, 100.0, 1),), 1.0)
    gate.want(STAGE, 1, (100.0,))
    assert granted(gate, 1.0) == 1


# --- any server -----------------------------------------------------------------------------------------------------------

CALLS_MADE = 300
WAY_S = 1e-4
servers = st.one_of(
    st.builds(
        lambda calls, every, offset: QuotaTable("fixed", calls=calls, every=every, offset=offset),
        st.integers(5, 60),
        st.floats(0.5, 30.0),
        st.floats(0.0, 100.0),
    ),
    st.builds(
        lambda calls, every: QuotaTable("sliding", calls=calls, every=every), st.integers(5, 60), st.floats(0.5, 30.0)
    ),
    st.builds(
        lambda burst, per_s: QuotaTable("bucket", burst=float(burst), per_s=per_s),
        st.integers(5, 60),
        st.floats(1.0, 50.0),
    ),
)


def played(table: QuotaTable, refill: Refill, slots: int, latencies: Iterator[float]) -> tuple[int, float]:
    """How many of the calls a server of this kind refuses, and when the last one is answered: calls arrive when they are
    sent, their answers come later and overtake each other."""
    server, known = quota_of(table), None
    now, refused, sent, out = 0.0, 0, 0, 0
    answers: list[tuple[float, int, Heard]] = []
    while sent < CALLS_MADE or answers:
        room = slots - out if known is None else int(min(slots - out, known.room(now)))
        for _ in range(min(max(room, 0), CALLS_MADE - sent)):
            # A call takes a moment to arrive; sums of floats differ by less.
            refused += not server.take(now + WAY_S)
            standing = server.standing(now + WAY_S)
            assert standing is not None
            left = float(int(standing.remaining + 1e-9))
            said = Quota("calls", left, standing.reset_s, standing.limit, refill=refill)
            at = now + WAY_S + next(latencies)
            # What it says of its reset is counted from its arrival.
            heapq.heappush(answers, (at, sent, Heard(sent, now, now + WAY_S, (said,))))
            sent += 1
            out += 1
            if known is not None:
                known.took(1, now)
        wait_s = known.wait_s(1.0, now) if known is not None else 0.0
        wakes = now + wait_s if wait_s > 0 and sent < CALLS_MADE and out < slots else float("inf")
        assert answers or wakes < float("inf"), "nothing will ever change"
        if answers and answers[0][0] <= wakes:
            now, _, news = heapq.heappop(answers)
            if known is None:
                known = Told(now, out, CALLS)
            out -= 1
            known.ended(1, (news,), now)
        else:
            now = wakes + 1e-6
    return refused, now


@settings(max_examples=150, deadline=None)
@given(servers, st.integers(1, 5), st.lists(st.floats(0.001, 2.0), min_size=7, max_size=7), st.booleans())
def test_no_honest_server_has_to_refuse_and_all_calls_are_made_L74(
    table: QuotaTable, slots: int, latencies: list[float], said: bool
) -> None:
    kinds = {"bucket": Refill.CONTINUOUS, "fixed": Refill.WINDOW, "sliding": Refill.UNSAID}
    refill = kinds[table.kind] if said else Refill.UNSAID

    def cycle() -> Iterator[float]:
        while True:
            yield from latencies

    refused, took_s = played(table, refill, slots, cycle())
    assert refused == 0
    per_s = table.per_s if table.per_s is not None else (table.calls or 1) / table.every
    slowest_s = CALLS_MADE * max(1.0 / per_s, max(latencies))
    assert took_s <= 2.0 * slowest_s + 60.0
