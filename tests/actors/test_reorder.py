"""The reorder buffer, and the ledger behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.ledger import Ledger
from headrace.actors.protocol import Ended, Outcomes, Rows, Settled, Status
from headrace.actors.reorder import Reorder
from tests.actors.fake import Fake, Name

SOURCE, SINK, BAD, LEDGER, CONDUCTOR = map(Name, ("source", "sink", "quarantine", "ledger", "conductor"))


def started(window: int = 100) -> Fake:
    fake = Fake(Reorder(window, SOURCE, SINK, BAD, LEDGER, CONDUCTOR))
    fake.receive(protocol.Start())
    assert fake.take(protocol.Demand) == [protocol.Demand(window)]
    return fake


def gap(seq: int, status: Status = Status.QUARANTINED) -> Outcomes:
    return Outcomes([Ended(seq, status, ValueError(), 1, None, "stage")])


def test_a_row_taken_out_of_the_middle_stalls_nobody_L42() -> None:
    fake = started()
    fake.receive(Rows([0], ["a"]), Rows([2], ["c"]))
    assert [list(r.seqs) for r in fake.take(protocol.Release)] == [[0]]
    fake.receive(gap(1))
    assert [(list(r.seqs), r.values) for r in fake.take(protocol.Release)] == [([2], ["c"])]


def test_an_error_in_the_middle_touches_no_other_row_L01() -> None:
    fake = started()
    fake.receive(Rows([2, 3], ["c", "d"]), gap(1), Rows([0], ["a"]))
    told = [(whom.name, message) for whom, message in fake.told]
    assert [(name, type(m).__name__) for name, m in told] == [
        ("sink", "Release"),
        ("quarantine", "Outcomes"),
        ("sink", "Release"),
    ]
    assert [e.seq for e in told[1][1].ended] == [1]


def test_a_row_that_ends_twice_is_loud() -> None:
    fake = started()
    fake.receive(Rows([0], ["a"]))
    with pytest.raises(AssertionError, match="ended twice"):
        fake.receive(Rows([0], ["a"]))


def test_what_no_sink_takes_is_settled_here() -> None:
    fake = started()
    fake.receive(gap(0, Status.DROPPED))
    assert fake.take(Settled) == [Settled(Status.DROPPED, range(1))]


@given(st.data())
def test_any_order_of_arrival_is_released_in_order_and_within_the_window(data: st.DataObject) -> None:
    window, total = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 40))
    bad = data.draw(st.sets(st.integers(0, max(0, total - 1)), max_size=total))
    fake = Fake(Reorder(window, SOURCE, SINK, BAD, LEDGER, CONDUCTOR))
    fake.receive(protocol.Start())
    given_, open_ = 0, 0
    arrived: list[int] = []
    under_way: list[int] = []
    released: list[int] = []
    while True:
        for whom, message in fake.told:
            if isinstance(message, protocol.Demand):
                n = min(message.n, total - given_)
                under_way.extend(range(given_, given_ + n))
                given_, open_ = given_ + n, open_ + n
                assert open_ <= window
            elif isinstance(message, protocol.Release):
                assert whom == SINK
                arrived.extend(message.seqs)
                released.extend(message.seqs)
            elif isinstance(message, Outcomes):
                assert whom == BAD
                released.extend(e.seq for e in message.ended)
                arrived.extend(e.seq for e in message.ended)
        fake.told = []
        if under_way:
            seq = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            fake.receive(gap(seq) if seq in bad else Rows([seq], [seq]))
        elif arrived:
            n = data.draw(st.integers(1, len(arrived)))
            settled, arrived = arrived[:n], arrived[n:]
            open_ -= n
            fake.receive(Settled(Status.DELIVERED, settled))
        elif fake.told:
            continue
        else:
            break
    assert released == list(range(total))


@given(st.permutations(range(20)), st.integers(1, 5))
def test_the_ledger_counts_each_row_once_in_any_order(order: list[int], chunk: int) -> None:
    fake = Fake(Ledger(CONDUCTOR))
    fake.receive(protocol.RowsGiven(25))
    for i in range(0, 20, chunk):
        fake.receive(Settled(Status.DELIVERED, order[i : i + chunk]))
    fake.receive(protocol.CloseAccount(CONDUCTOR, True))
    (closed,) = fake.take(protocol.AccountClosed)
    assert (closed.counts.delivered, closed.counts.interrupted, closed.open_rows) == (20, 5, 5)
    with pytest.raises(AssertionError, match="settled twice"):
        fake.receive(Settled(Status.DELIVERED, [order[0]]))


def test_a_run_whose_every_row_was_bad_ends_like_any_other_L25() -> None:
    fake = Fake(Ledger(CONDUCTOR))
    fake.receive(protocol.RowsGiven(3), Settled(Status.QUARANTINED, range(3)), protocol.CloseAccount(CONDUCTOR, True))
    (closed,) = fake.take(protocol.AccountClosed)
    assert (closed.counts.quarantined, closed.open_rows) == (3, 0)
