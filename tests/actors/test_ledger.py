"""The ledger: one outcome a row, whatever it became; and the window."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.errors import InternalError
from headrace.actors.journaling.recovered import Recovered
from headrace.actors.ledger import LAZY, Ledger, Settlement
from headrace.actors.protocol import Counts, Settled, Status
from headrace.actors.rows.identity import Bundle, Id, children, merged, parts
from headrace.actors.rows.rowset import SIZE
from tests.actors.fake import Fake, Name

SOURCE, BATCH, CONDUCTOR = map(Name, ("source", "batch", "conductor"))


def opened(window: int = 100, rows: int = 0, batches: tuple[Name, ...] = ()) -> Fake:
    fake = Fake(Ledger(window, SOURCE, CONDUCTOR, batches))
    fake.receive(protocol.Start())
    assert fake.take(protocol.Demand) == [protocol.Demand(window)]
    if rows:
        fake.receive(protocol.RowsGiven(rows))
    return fake


def closed(fake: Fake) -> tuple[Counts, int]:
    fake.receive(protocol.CloseAccount(CONDUCTOR, True))
    (account,) = fake.take(protocol.AccountClosed)
    return account.counts, account.open_rows


@given(st.permutations(range(20)), st.integers(1, 5))
def test_each_row_is_counted_once_in_any_order(order: list[int], chunk: int) -> None:
    fake = opened(rows=25)
    for i in range(0, 20, chunk):
        fake.receive(Settled(Status.DELIVERED, order[i : i + chunk]))
    counts, open_rows = closed(fake)
    assert (counts.delivered, counts.interrupted, open_rows) == (20, 5, 5)
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, [order[0]]))


def test_a_run_whose_every_row_was_bad_ends_like_any_other_L25() -> None:
    fake = opened(rows=3)
    fake.receive(Settled(Status.QUARANTINED, range(3)))
    counts, open_rows = closed(fake)
    assert (counts.quarantined, open_rows) == (3, 0)


def test_a_row_is_settled_with_the_last_of_its_pieces_by_the_gravest_outcome() -> None:
    fake = opened(rows=1)
    for piece, status in zip(children(0, 3), (Status.DROPPED, Status.QUARANTINED, Status.DELIVERED), strict=True):
        assert fake.actor.statistics() == Counts(1)
        fake.receive(Settled(status, [piece]))
    assert fake.actor.statistics() == Counts(1, quarantined=1)
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, [(0, 1, 3)]))


@pytest.mark.parametrize(
    ("part", "word", "counted"),
    [
        (Status.QUARANTINED, Status.DELIVERED, "delivered"),
        (Status.DROPPED, Status.QUARANTINED, "quarantined"),
        (Status.INTERRUPTED, Status.DELIVERED, "interrupted"),
        (Status.DELIVERED, Status.DROPPED, "dropped"),
    ],
)
def test_of_parts_the_word_of_their_join_counts(part: Status, word: Status, counted: str) -> None:
    fake = opened(rows=1)
    one, other = parts(0, 2)
    fake.receive(Settled(word, [merged(0, 2)]), Settled(Status.MERGED, [one]), Settled(part, [other]))
    assert sum(getattr(fake.actor.statistics(), s) for s in ("delivered", "quarantined", "dropped", "interrupted")) == 1
    assert getattr(fake.actor.statistics(), counted) == 1


def judged(limit: float, rows: int = 1000) -> Fake:
    """A run that allows so many rows in quarantine."""
    fake = Fake(Ledger(rows, SOURCE, CONDUCTOR, max_quarantined=limit))
    fake.receive(protocol.Start(), protocol.RowsGiven(rows))
    fake.told = []
    return fake


def complaints(fake: Fake) -> list[str]:
    return [str(failing.error) for failing in fake.take(protocol.Failing)]


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_so_many_rows_may_go_to_quarantine_and_not_one_more(allowed: int) -> None:
    fake = judged(allowed)
    for row in range(allowed):
        fake.receive(Settled(Status.QUARANTINED, range(row, row + 1)))
    assert complaints(fake) == []
    fake.receive(Settled(Status.QUARANTINED, range(allowed, allowed + 1)))
    assert complaints(fake) == [
        f"{allowed + 1} of {allowed + 1} rows are in quarantine; max_quarantined allows {allowed} rows"
    ]
    fake.receive(Settled(Status.QUARANTINED, range(allowed + 1, allowed + 2)))
    assert complaints(fake) == [], "it is said once"


def test_such_a_share_of_the_rows_may_go_to_quarantine_and_not_one_more() -> None:
    fake = judged(0.1)
    fake.receive(Settled(Status.DELIVERED, range(90)), Settled(Status.QUARANTINED, range(90, 100)))
    assert complaints(fake) == [], "ten of a hundred are one in ten"
    fake.receive(Settled(Status.DELIVERED, range(100, 109)), Settled(Status.QUARANTINED, range(109, 110)))
    assert complaints(fake) == [], "eleven of a hundred and ten, too"
    fake.receive(Settled(Status.QUARANTINED, range(110, 111)))
    assert complaints(fake) == ["12 of 111 rows are in quarantine; max_quarantined allows 10% of the rows"]


def test_a_share_is_judged_from_a_hundred_rows_on() -> None:
    fake = judged(0.1)
    fake.receive(Settled(Status.QUARANTINED, range(50)), Settled(Status.DELIVERED, range(50, 98)))
    fake.receive(Settled(Status.QUARANTINED, range(98, 99)))
    assert complaints(fake) == []
    fake.receive(Settled(Status.QUARANTINED, range(99, 100)))
    assert complaints(fake) == ["52 of 100 rows are in quarantine; max_quarantined allows 10% of the rows"]


def test_rows_that_end_otherwise_are_no_reason_to_complain_and_nobody_need_set_a_limit() -> None:
    fake = judged(0)
    fake.receive(Settled(Status.FAILED, range(5)), Settled(Status.DROPPED, range(5, 9)))
    assert complaints(fake) == []
    fake = opened(rows=9)
    fake.receive(Settled(Status.QUARANTINED, range(9)))
    assert complaints(fake) == []


def test_a_batch_is_settled_as_its_rows_are() -> None:
    fake = opened(rows=10)
    fake.receive(Settled(Status.QUARANTINED, [Bundle((1, 3, 4), 0b1101)]), Settled(Status.DELIVERED, [Bundle((0, 2))]))
    assert fake.actor.statistics() == Counts(10, delivered=2, quarantined=3)
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, [3]))


def test_a_piece_of_a_row_that_is_settled_is_loud() -> None:
    fake = opened(rows=3)
    fake.receive(Settled(Status.DELIVERED, [1]))
    with pytest.raises(AssertionError, match="a piece of 1 is settled twice"):
        fake.receive(Settled(Status.DELIVERED, [(1, 0, 2)]))


def test_a_piece_is_settled_once() -> None:
    fake = opened(rows=1)
    fake.receive(Settled(Status.DELIVERED, [(0, 1, 3)]))
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, [(0, 1, 3)]))


def test_rows_are_settled_once_whether_they_come_as_ranges_or_one_by_one() -> None:
    for first, again in [
        (range(4, 8), range(4, 8)),
        (range(4, 8), range(4, 6)),
        ([5, 7], [7]),
        ([5, 7], range(5, 6)),
        (range(4), [2]),
        (range(4), range(1, 2)),
    ]:
        fake = opened(rows=10)
        fake.receive(Settled(Status.DELIVERED, first))
        with pytest.raises(AssertionError, match="settled twice"):
            fake.receive(Settled(Status.DELIVERED, again))


@pytest.mark.parametrize("again", [range(5, 6), [5], [7]])
def test_rows_that_came_before_their_turn_are_settled_once_too_when_their_turn_has_come(again: Any) -> None:
    fake = opened(rows=10)
    fake.receive(Settled(Status.DELIVERED, range(4, 8)), Settled(Status.DELIVERED, range(4)))
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, again))


def test_the_gravest_outcome_counts_whatever_the_order() -> None:
    gravity = [Status.DROPPED, Status.DELIVERED, Status.QUARANTINED, Status.FAILED, Status.INTERRUPTED]
    for lesser, graver in itertools.pairwise(gravity):
        for one, other in ((lesser, graver), (graver, lesser)):
            fake = opened(rows=1)
            fake.receive(Settled(one, [(0, 0, 2)]), Settled(other, [(0, 1, 2)]))
            assert fake.actor.statistics() == Counts(1, **{graver.value: 1})


@pytest.mark.parametrize("part", [Status.FAILED, Status.INTERRUPTED])
def test_a_part_that_failed_or_was_interrupted_is_not_excused(part: Status) -> None:
    fake = opened(rows=1)
    fake.receive(Settled(part, [parts(0, 2)[0]]), Settled(Status.MERGED, [parts(0, 2)[1]]))
    fake.receive(Settled(Status.DELIVERED, [merged(0, 2)]))
    assert fake.actor.statistics() == Counts(1, **{part.value: 1})


def test_whole_rows_are_told_to_the_journal_with_the_last_of_their_pieces() -> None:
    journal = Name("journal")
    fake = Fake(Ledger(10, SOURCE, CONDUCTOR, journal=journal))
    fake.receive(protocol.Start(), protocol.RowsGiven(5), Settled(Status.DELIVERED, range(2)))
    fake.receive(Settled(Status.DELIVERED, [(2, 0, 2)]))
    assert [(m.status, list(m.seqs)) for m in fake.take_for(journal)] == [(Status.DELIVERED, [0, 1])]
    fake.receive(Settled(Status.QUARANTINED, [(2, 1, 2)]), Settled(Status.DELIVERED, [Bundle((3, 4), 0b11)]))
    assert [(m.status, list(m.seqs)) for m in fake.take_for(journal)] == [
        (Status.QUARANTINED, [2]),
        (Status.DELIVERED, [3, 4]),
    ]


def test_what_earlier_lives_have_done_is_counted_and_takes_no_room_L23() -> None:
    past = Recovered(first=3, done=((5, 0b101),), counts={Status.DELIVERED: 4, Status.QUARANTINED: 1})
    fake = Fake(Ledger(10, SOURCE, CONDUCTOR, past=past))
    fake.receive(protocol.Start())
    assert fake.take(protocol.Demand) == [protocol.Demand(10)]
    assert fake.actor.statistics() == Counts(5, delivered=4, quarantined=1)
    fake.receive(protocol.RowsGiven(3), Settled(Status.DELIVERED, [3, 4, 6]))
    assert fake.actor.statistics() == Counts(8, delivered=7, quarantined=1)
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, [5]))


def test_all_rows_of_which_an_answer_is_kept_fit_into_the_window() -> None:
    fake = Fake(Ledger(4, SOURCE, CONDUCTOR, past=Recovered(crowd=9)))
    fake.receive(protocol.Start())
    assert fake.take(protocol.Demand) == [protocol.Demand(9)]


def _passed(fake: Fake, rows: int, seconds: float) -> int:
    """So many of the rows that were asked for are given and settled, over so many seconds; how many are asked for then."""
    fake.pass_time(seconds)
    settled = fake.actor.statistics().rows
    fake.receive(protocol.RowsGiven(settled + rows), Settled(Status.DELIVERED, range(settled, settled + rows)))
    return sum(demand.n for demand in fake.take(protocol.Demand))


def test_a_window_that_may_grow_does_while_rows_pass_in_no_time_and_is_what_was_said_again_when_they_do_not() -> None:
    fake = Fake(Ledger(10, SOURCE, CONDUCTOR, grows_to=50))
    fake.pass_time(100.0)
    fake.receive(protocol.Start())
    assert fake.take(protocol.Demand) == [protocol.Demand(10)]
    assert _passed(fake, 10, 0.001) == 10, "nobody knows yet since when these rows were under way"
    assert _passed(fake, 10, 0.001) == 20
    assert _passed(fake, 20, 0.001) == 40
    assert _passed(fake, 40, 0.001) == 50, "it grows no further"
    assert _passed(fake, 50, 0.010) == 50, "neither quick nor slow"
    assert _passed(fake, 50, 1.0) == 25
    assert _passed(fake, 25, 1.0) == 12
    assert _passed(fake, 12, 1.0) == 10
    assert _passed(fake, 10, 1.0) == 10, "it never has fewer than was said"


def test_rows_under_way_when_a_window_shrinks_are_no_breach_of_it() -> None:
    fake = Fake(Ledger(10, SOURCE, CONDUCTOR, grows_to=20))
    fake.receive(protocol.Start(), protocol.RowsGiven(10), Settled(Status.DELIVERED, range(10)))
    fake.receive(protocol.RowsGiven(30))
    fake.pass_time(1.0)
    for row in range(10, 30):
        fake.receive(Settled(Status.DELIVERED, [row]))
    asked = sum(demand.n for demand in fake.take(protocol.Demand))
    assert asked - 30 > 10, "the rows that were asked for are more than the window has now"
    fake.receive(protocol.RowsGiven(asked))
    with pytest.raises(InternalError, match="rows given"):
        fake.receive(protocol.RowsGiven(asked + 1))


@given(st.data())
def test_whatever_rows_became_they_are_settled_once_and_the_window_moves(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 6))
    ids: list[Id] = []
    for row in range(total):
        n = data.draw(st.integers(1, 3))
        kind = data.draw(st.sampled_from(["plain", "split", "joined"]))
        if kind == "plain":
            ids.append(row)
        elif kind == "split":
            ids += [leaf for child in children(row, n) for leaf in children(child, data.draw(st.integers(1, 2)))]
        else:
            ids += [*parts(row, n), merged(row, n)]
    while len(ids) > 1 and data.draw(st.booleans()):
        whole = [one for one in ids if type(one) is int] or ids[:1]
        ids = [one for one in ids if one not in whole] + [Bundle(tuple(whole))]
    fake = opened(rows=total)
    for one in data.draw(st.permutations(ids)):
        fake.receive(Settled(Status.DELIVERED, [one]))
    assert closed(fake) == (Counts(total, delivered=total), 0)
    fake.receive(protocol.RowsGiven(100))


def test_a_row_leaves_the_window_when_it_is_settled_and_the_source_may_read_another_L30() -> None:
    fake = opened(window=16, rows=16)
    fake.receive(Settled(Status.DELIVERED, range(1)))
    assert fake.take(protocol.Demand) == []
    fake.receive(Settled(Status.DROPPED, range(1, 2)))
    assert fake.take(protocol.Demand) == [protocol.Demand(2)]
    with pytest.raises(AssertionError):
        fake.receive(protocol.RowsGiven(20))


@pytest.mark.parametrize("window", [1, 2, 7, 8, 9, 64])
def test_room_is_told_of_in_portions_of_an_eighth_of_the_window(window: int) -> None:
    fake = opened(window=window, rows=window)
    portion = -(-window // 8)
    for row in range(portion):
        assert fake.take(protocol.Demand) == []
        fake.receive(Settled(Status.DELIVERED, [row]))
    assert fake.take(protocol.Demand) == [protocol.Demand(portion)]


def test_who_holds_the_oldest_row_is_pressed_when_the_source_can_read_no_more() -> None:
    fake = opened(window=8, batches=(BATCH,))
    fake.receive(protocol.RowsGiven(7))
    assert fake.take(protocol.FlushUpTo) == []
    fake.receive(protocol.RowsGiven(8))
    assert fake.take(protocol.FlushUpTo) == [protocol.FlushUpTo(0)]
    fake.receive(Settled(Status.DELIVERED, [3]))
    # There is room again, and it is given at once.
    assert fake.take(protocol.Demand) == [protocol.Demand(1)]
    fake.receive(protocol.RowsGiven(9))
    assert fake.take(protocol.FlushUpTo) == [], "once for each row"
    fake.receive(Settled(Status.DELIVERED, [0]), protocol.RowsGiven(10))
    assert fake.take(protocol.FlushUpTo) == [protocol.FlushUpTo(1)]


@pytest.mark.parametrize("blocks", [False, True])
def test_of_rows_that_are_settled_nothing_is_kept_however_many_there_are_L30(blocks: bool) -> None:
    """They come in any order, one by one or as ranges; only those ahead of one that is not settled must be known."""
    settlement = Settlement()
    span = SIZE if blocks else 1
    for row in range(0, 1000 * span, 2 * span):
        if blocks:
            settlement.add_some(row, (1 << span) - 1)
            settlement.add_some(row + span, (1 << span) - 1)
        else:
            settlement.add_some(row, 1)
            settlement.add(row + 1, row + 2)
        assert len(settlement._ranges) + len(settlement._ahead) <= 2 * LAZY
    assert settlement.mark == 1000 * span
