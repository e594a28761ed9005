"""The source, message by message."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.journaling.recovered import Recovered
from headrace.actors.protocol import BadRow, ReadDone, Rows, Status
from headrace.actors.source import Source
from headrace.actors.stages.backoff import Backoff
from tests.actors.fake import Fake, Name

READER, FIRST, LEDGER, CONDUCTOR, JOURNAL, GAPS = map(
    Name, ("reader", "first", "ledger", "conductor", "journal", "gaps")
)


def test_a_resumed_run_that_is_drained_at_once_has_come_to_where_it_was() -> None:
    """Its source is read from the start again, and nothing was read yet; a reorder buffer begins at the first row that is
    to be done, and waits for an end there."""
    outputs = Outputs("source", {ONWARD: Port(FIRST)})
    fake = Fake(Source(READER, outputs, LEDGER, CONDUCTOR, None, JOURNAL, Recovered(first=4)), "source")
    fake.receive(protocol.Start(), protocol.Drain())
    assert fake.take(protocol.EndOfRows) == [protocol.EndOfRows(4)]


def reading(**options: Any) -> Fake:
    """A source that may give as many rows as it is asked for."""
    outputs = Outputs("source", {ONWARD: Port(FIRST)}, behind=(GAPS,), ledger=LEDGER)
    fake = Fake(Source(READER, outputs, LEDGER, CONDUCTOR, **options), "source")
    fake.receive(protocol.Start())
    return fake


def reads(fake: Fake) -> list[int]:
    """How many rows the reader was asked for since; the rest is forgotten."""
    return [read.n for read in fake.take(protocol.Read)]


def test_no_more_is_read_than_was_asked_for_and_one_read_is_under_way_at_a_time() -> None:
    fake = reading()
    assert reads(fake) == []
    fake.receive(protocol.Demand(3), protocol.Demand(4))
    assert reads(fake) == [3]
    fake.receive(ReadDone(["a", "b"], False))
    assert [(whom, m) for whom, m in fake.told if not isinstance(m, protocol.Read)] == [
        (LEDGER, protocol.RowsGiven(2)),
        (FIRST, Rows(range(2), ["a", "b"])),
    ]
    assert reads(fake) == [5], "less what was given"
    fake.receive(ReadDone(["c"] * 5, False))
    assert reads(fake) == []
    fake.receive(protocol.Demand(5000))
    assert reads(fake) == [1024]


def test_a_reader_that_gives_more_than_was_asked_for_is_a_bug_and_loud() -> None:
    fake = reading()
    fake.receive(protocol.Demand(1))
    with pytest.raises(AssertionError, match="gave 2 rows where 1 were asked for"):
        fake.receive(ReadDone(["a", "b"], False))


def test_rows_wait_unread_where_the_first_stage_has_no_credit() -> None:
    outputs = Outputs("source", {ONWARD: Port(FIRST, paced=True)})
    fake = Fake(Source(READER, outputs, LEDGER, CONDUCTOR), "source")
    fake.receive(protocol.Start(), protocol.Demand(100))
    assert reads(fake) == []
    fake.receive(protocol.Credit(3, FIRST))
    assert reads(fake) == [3]
    fake.receive(ReadDone(["a", "b", "c"], False))
    assert reads(fake) == []


def test_a_line_that_cannot_be_read_keeps_its_place_and_goes_to_quarantine() -> None:
    fake = reading()
    fake.receive(protocol.Demand(3))
    error = ValueError("no number")
    fake.receive(ReadDone(["a", BadRow(error, "raw"), "c"], True, bad=1))
    assert [(list(m.seqs), m.values) for m in fake.told_to(FIRST, Rows)] == [([0, 2], ["a", "c"])]
    (outcomes,) = fake.told_to(GAPS, protocol.Outcomes)
    assert [(e.seq, e.status, e.error, e.attempts, e.value, e.stage) for e in outcomes.ended] == [
        (1, Status.QUARANTINED, error, 0, "raw", "source")
    ]
    counted = fake.actor.statistics()
    assert (counted.rows, counted.bad, counted.traffic.adds_up) == (3, 1, True)


def test_the_end_is_told_once_with_how_many_rows_there_were() -> None:
    fake = reading()
    fake.receive(protocol.Demand(5), ReadDone(["a", "b"], True))
    assert fake.told_to(FIRST, protocol.EndOfRows) == [protocol.EndOfRows(2)]
    assert fake.told_to(CONDUCTOR, protocol.Drained) == [protocol.Drained(fake.me)]
    fake.told = []
    fake.receive(protocol.Drain(), protocol.Demand(5), ReadDone(["late"], False), protocol.ReadFailed(OSError(), True))
    fake.pass_time(10.0)
    assert fake.told == []


def test_a_drain_waits_a_moment_for_the_read_that_is_under_way_and_reads_no_more_L48() -> None:
    fake = reading()
    fake.receive(protocol.Demand(9), protocol.Drain())
    assert fake.told_to(CONDUCTOR, protocol.Drained) == []
    fake.receive(ReadDone(["a"], False))
    assert [m.values for m in fake.told_to(FIRST, Rows)] == [["a"]]
    assert fake.told_to(FIRST, protocol.EndOfRows) == [protocol.EndOfRows(1)]
    assert reads(fake) == [9], "the one that was under way"
    fake.pass_time(10.0)
    assert fake.told == [], "it has ended, and does so once"
    quiet = reading()
    quiet.receive(protocol.Demand(9), protocol.Drain())
    quiet.pass_time(0.9)
    assert quiet.told_to(CONDUCTOR, protocol.Drained) == []
    quiet.pass_time(0.2)
    assert quiet.told_to(CONDUCTOR, protocol.Drained) == [protocol.Drained(quiet.me)]
    quiet.receive(ReadDone(["late"], False))
    assert quiet.told_to(FIRST, Rows) == []


def test_an_aborted_source_gives_nothing_more() -> None:
    fake = reading()
    fake.receive(protocol.Demand(9), protocol.Abort("enough"))
    fake.told = []
    fake.receive(ReadDone(["a"], True), protocol.ReadFailed(OSError(), True), protocol.Demand(3))
    fake.pass_time(10.0)
    assert fake.told == []


def test_a_read_that_failed_is_tried_again_at_the_same_place_a_few_times_in_a_row_L38() -> None:
    fake = reading(backoff=Backoff(attempts=3, base_s=1.0))
    fake.receive(protocol.Demand(4))
    error = OSError("gone")
    asked = []
    for _ in range(2):
        fake.receive(protocol.ReadFailed(error, True))
        fake.told = []
        fake.receive(protocol.Demand(1))
        assert reads(fake) == [], "it waits"
        fake.pass_time(2.0)
        asked += reads(fake)
    assert asked == [5, 6]
    # A read that went well begins the count anew.
    fake.receive(ReadDone(["a"], False))
    for _ in range(2):
        fake.receive(protocol.ReadFailed(error, True))
        fake.pass_time(2.0)
    assert fake.take(protocol.Failing) == []
    fake.receive(protocol.ReadFailed(error, True))
    assert fake.take(protocol.Failing) == [protocol.Failing(fake.me, error)]
    fake.pass_time(100.0)
    assert fake.told == []
    assert fake.actor.statistics().failures == 5


def test_a_read_that_cannot_be_tried_again_fails_the_run_at_once() -> None:
    fake = reading()
    fake.receive(protocol.Demand(4), protocol.ReadFailed(OSError("gone"), False))
    assert len(fake.take(protocol.Failing)) == 1


def test_a_drained_source_whose_read_fails_has_come_to_its_end() -> None:
    fake = reading()
    fake.receive(protocol.Demand(4), protocol.Drain(), protocol.ReadFailed(OSError("gone"), True))
    assert fake.told_to(CONDUCTOR, protocol.Failing) == []
    assert fake.told_to(FIRST, protocol.EndOfRows) == [protocol.EndOfRows(0)]
    waits = reading()
    waits.receive(protocol.Demand(4), protocol.ReadFailed(OSError("gone"), True), protocol.Drain())
    assert waits.told_to(FIRST, protocol.EndOfRows) == [protocol.EndOfRows(0)]


def test_what_earlier_lives_have_done_is_read_and_not_given_and_who_waits_hears_of_it_L23() -> None:
    past = Recovered(first=2, done=((3, 0b101),), row=1, counts={Status.DELIVERED: 4})
    fake = reading(past=past, journal=JOURNAL)
    fake.receive(protocol.Demand(3))
    assert reads(fake) == [3]
    fake.receive(ReadDone(["b", "c", "d"], False, place=70))
    assert fake.told_to(JOURNAL, protocol.ReadTo) == [protocol.ReadTo(4, 70, False)]
    assert [(list(m.seqs), m.values) for m in fake.told_to(FIRST, Rows)] == [([2], ["c"])]
    assert [list(m.seqs) for m in fake.told_to(GAPS, protocol.Gaps)] == [[3]], "nobody waits for row 1"
    assert fake.told_to(LEDGER, protocol.RowsGiven) == [protocol.RowsGiven(1)]
    assert reads(fake) == [2], "what was done takes no room"
    fake.receive(ReadDone(["e", "f"], True, place=90))
    assert [(list(m.seqs), m.values) for m in fake.told_to(FIRST, Rows)] == [([4], ["e"])]
    assert fake.told_to(FIRST, protocol.EndOfRows) == [protocol.EndOfRows(6)]
    assert fake.told_to(JOURNAL, protocol.ReadTo) == [protocol.ReadTo(6, 90, True)]


def test_a_source_that_waits_for_room_alone_says_so_where_a_run_may_be_suspended() -> None:
    fake = reading(suspends=True)
    assert fake.told_to(CONDUCTOR, protocol.Resting) == [protocol.Resting(fake.me, 0)]
    fake.told = []
    fake.receive(protocol.Demand(1))
    assert fake.told_to(CONDUCTOR, protocol.Resting) == [protocol.Resting(fake.me, None)]
    fake.told = []
    fake.receive(ReadDone(["a"], False))
    assert fake.told_to(CONDUCTOR, protocol.Resting) == [protocol.Resting(fake.me, 0)]


def test_rows_before_the_first_one_that_is_to_be_done_are_no_news_to_who_waits_L23() -> None:
    fake = reading(past=Recovered(first=2))
    fake.receive(protocol.Demand(2), ReadDone(["a", "b"], False))
    assert fake.told_to(GAPS, protocol.Gaps) == []
    assert fake.told_to(FIRST, Rows) == []
