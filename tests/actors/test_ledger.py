"""The ledger: one outcome a row, whatever it became; and the window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.identity import Bundle, Id, children, merged, parts
from headrace.actors.ledger import Ledger
from headrace.actors.protocol import Counts, Settled, Status
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


def test_who_holds_the_oldest_row_is_pressed_when_the_source_can_read_no_more() -> None:
    fake = opened(window=8, batches=(BATCH,))
    fake.receive(protocol.RowsGiven(7))
    assert fake.take(protocol.Press) == []
    fake.receive(protocol.RowsGiven(8))
    assert fake.take(protocol.Press) == [protocol.Press(0)]
    fake.receive(Settled(Status.DELIVERED, [3]))
    # There is room again, and it is given at once.
    assert fake.take(protocol.Demand) == [protocol.Demand(1)]
    fake.receive(protocol.RowsGiven(9))
    assert fake.take(protocol.Press) == [], "once for each row"
    fake.receive(Settled(Status.DELIVERED, [0]), protocol.RowsGiven(10))
    assert fake.take(protocol.Press) == [protocol.Press(1)]
