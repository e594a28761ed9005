"""What is told of quotas is kept to: no call is refused that could have been known to be, and nothing waits for ever."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.actors.fake import Name

from headrace.actors.limits.told_quotas import DOUBTS_MAX, LONGEST_S, SILENT_MAX, TRUST, Told
from headrace.actors.protocol import Heard, Quota, Refill, Spent
from headrace.scenarios.quotas import QuotaTable, quota_of

STAGE, OTHER = Name("stage"), Name("other")
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


def test_resets_in_whole_seconds_are_taken_to_be_rounded_up_until_a_call_that_asked_was_refused() -> None:
    whole = Quota("calls", 0, 5.0, 100.0, within_s=1.0)
    known = told(10.0, whole)
    assert known.wait_s(1.0, 10.0) == pytest.approx(5.0)
    known.refused()
    known.ended(0, (heard(11.0, whole),), 11.0)
    assert known.wait_s(1.0, 11.0) == pytest.approx(4.0), "that one had not asked: it was refused before the reset"
    assert drawn(known, 15.0) == 1
    known.refused()
    known.ended(1, (heard(15.1, whole),), 15.1)
    assert known.wait_s(1.0, 15.1) == pytest.approx(6.0), "so they are rounded down here"


def test_a_reset_that_is_known_more_exactly_may_come_so_much_later() -> None:
    known = told(10.0, Quota("calls", 0, 5.0, 100.0, within_s=0.1))
    assert known.wait_s(1.0, 10.0) == pytest.approx(5.1)


@pytest.mark.parametrize(("remaining", "others"), [(40, 0), (30, 10)])
@pytest.mark.parametrize("each", [1.0, 2.0])
def test_what_was_granted_longer_ago_than_a_window_is_counted_no_more(remaining: int, others: int, each: float) -> None:
    """Whether calls are what is counted, or what each of them takes."""
    unit = "calls" if each == 1.0 else "tokens"
    known = Told(0.0, 0, CALLS)
    known.spent((Spent("tokens", each, 0.0, 1),))
    known.took(60, 0.0)
    known.took(3, 0.7)
    said = Quota(unit, remaining * each, 9.0, 100.0 * each, window_s=10.0)
    known.ended(60, (heard(1.0, said, began_s=0.5),), 1.0)
    known.took(2, 2.0)
    # Of tokens, one call less than there is room for in the mean.
    less = 0 if each == 1.0 else 1
    # The window is longer by a tenth and a moment, as calls take their time to arrive.
    assert known.room(11.2) < 10.0
    assert int(known.room(11.3)) == 100 - others - 5 - less
    assert int(known.room(11.9)) == 100 - others - 5 - less
    assert int(known.room(12.0)) == 100 - others - 2 - less
    assert int(known.room(13.3)) == 100 - others - less


def test_tokens_that_are_used_up_hold_back_rows_of_any_weight() -> None:
    known = Told(0.0, 2, frozenset({"tokens"}))
    known.ended(1, (heard(0.0, Quota("tokens", 0, 10.0, 1000.0)),), 0.0)
    assert int(known.room(1.0)) == 0
    known = Told(0.0, 2, frozenset({"tokens"}))
    known.ended(1, (heard(0.0, Quota("tokens", 1, 10.0, 1000.0)),), 0.0)
    assert known.room(0.0) == float("inf")


def test_who_waits_as_long_as_it_says_may_go_where_what_remains_goes_out_evenly() -> None:
    known = Told(0.0, 1, CALLS, spread=True)
    known.ended(1, (heard(0.0, quota(10, 7.0)),), 0.0)
    now = 0.0
    for _ in range(9):
        assert drawn(known, now, 5) == 1
        wait_s = known.wait_s(1.0, now)
        assert drawn(known, now + 0.9 * wait_s) == 0
        now += wait_s
        assert wait_s > 0.0


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


def test_it_is_over_once_each_quota_of_which_something_was_told_has_passed() -> None:
    minute = Quota("calls", 50, 30.0, 100.0, name="minute")
    known = told(10.0, quota(0, 5.0), minute)
    assert not known.over(14.9)
    assert not known.over(15.0)
    assert not known.over(39.9)
    assert known.over(40.0)


def test_what_is_refused_again_and_again_was_guessed_wrong() -> None:
    known = told(10.0, quota(0, 5.0, refill=Refill.WINDOW))
    for _ in range(DOUBTS_MAX):
        known.refused()
    assert drawn(known, 15.0) == 1


@pytest.mark.parametrize(("between", "guesses"), [(TRUST, False), (TRUST + 1, True)])
def test_refusals_that_are_far_apart_are_no_reason_to_guess_no_more(between: int, guesses: bool) -> None:
    known = told(10.0, quota(0, 5.0, refill=Refill.WINDOW))
    for _ in range(DOUBTS_MAX):
        known.refused()
        known.ended(between, (heard(10.0, quota(0, 5.0, refill=Refill.WINDOW)),), 10.0)
    assert drawn(known, 15.0) == (100 if guesses else 1)


def test_what_has_no_limit_is_given_as_it_remains() -> None:
    known = told(10.0, quota(3, 5.0, limit=None))
    assert known.wait_s(1.0, 10.0) == 0.0
    assert drawn(known, 10.0) == 3
    assert known.wait_s(1.0, 10.0) == pytest.approx(5.0)


@pytest.mark.parametrize(("remaining", "room"), [(0.0, 0.0), (1.0, float("inf"))])
def test_a_unit_of_which_nobody_has_said_what_a_call_takes_holds_them_back_once_it_is_used_up(
    remaining: float, room: float
) -> None:
    known = Told(0.0, 2, CALLS)
    known.ended(1, (heard(0.0, Quota("tokens", remaining, 10.0, 1000.0)),), 0.0)
    assert known.room(1.0) == pytest.approx(room, abs=1e-3)


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
