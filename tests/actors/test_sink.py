"""The sink, message by message."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.edges.outputs import Outputs
from headrace.actors.protocol import Ended, Outcomes, Rows, Settled, Status
from headrace.actors.rows.identity import Id
from headrace.actors.sink import Sink
from tests.actors.fake import Fake, Name

WRITER, LEDGER, CONDUCTOR = map(Name, ("writer", "ledger", "conductor"))


def test_no_row_is_written_after_one_that_could_not_be_L51() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Rows(range(2), ["a", "b"]))
    assert len(fake.take(protocol.Write)) == 1
    fake.receive(protocol.WriteFailed(OSError("no space")))
    assert len(fake.take(protocol.Failing)) == 1
    # The abort that this brings may be long in coming.
    fake.receive(Rows(range(2, 4), ["c", "d"]))
    assert fake.take(protocol.Write) == []
    fake.receive(protocol.Abort("the run failed"))
    assert len(fake.take(protocol.Drained)) == 1


def settled(fake: Fake) -> list[tuple[Status, list[Any], Any]]:
    """What was settled since; the rest is forgotten."""
    return [(m.status, list(m.seqs), m.place) for m in fake.take(Settled)]


def test_a_row_is_settled_when_it_is_written_and_one_batch_is_under_way_at_a_time_L37() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Rows(range(2), ["a", "b"]))
    assert [m.batch for m in fake.take(protocol.Write)] == [[Rows(range(2), ["a", "b"])]]
    fake.receive(Rows([2], ["c"]), Rows([3], ["d"]), protocol.EndOfRows(4))
    assert fake.told == []
    fake.receive(protocol.Written())
    assert [m.batch for whom, m in fake.told if whom == WRITER] == [[Rows([2], ["c"]), Rows([3], ["d"])]]
    assert settled(fake) == [(Status.DELIVERED, [0, 1], None)]
    fake.receive(protocol.Written([7, 9]))
    assert (CONDUCTOR, protocol.Drained(fake.me)) in fake.told
    assert settled(fake) == [(Status.DELIVERED, [2], 7), (Status.DELIVERED, [3], 9)]


def test_a_batch_holds_so_many_rows_and_the_next_one_the_rest() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Rows([0], ["a"]))
    parts = [Rows(range(1 + i * 2048, 1 + (i + 1) * 2048), [0] * 2048) for i in range(3)]
    fake.receive(*parts, protocol.Written())
    writes = fake.take(protocol.Write)
    assert [m.batch for m in writes] == [[Rows([0], ["a"])], parts[:2]]
    fake.receive(protocol.Written())
    assert [m.batch for m in fake.take(protocol.Write)] == [parts[2:]]
    counted = fake.actor.statistics()
    assert (counted.written, counted.waiting, counted.writes, counted.traffic.here) == (4097, 0, 3, 2048)


def test_outcomes_are_settled_as_what_they_were_with_the_place_that_they_stand_before() -> None:
    fake = Fake(Sink("bad", WRITER, LEDGER, CONDUCTOR), "sink")
    kinds = [Status.QUARANTINED, Status.DROPPED, Status.QUARANTINED]
    fake.receive(Outcomes([Ended(row, status, None, 1, None, "s") for row, status in enumerate(kinds)]))
    fake.receive(protocol.Written([5]))
    assert settled(fake) == [(Status.QUARANTINED, [0, 2], 5), (Status.DROPPED, [1], 5)]


def test_what_an_earlier_life_has_written_is_not_written_again_L26() -> None:
    known: set[Id] = {0, 2, (3, 0, 2)}
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR, written=known), "sink")
    fake.receive(Rows(range(3), ["a", "b", "c"]))
    assert [m.batch for m in fake.told_to(WRITER, protocol.Write)] == [[Rows([1], ["b"])]]
    assert settled(fake) == [(Status.DELIVERED, [0, 2], None)]
    fake.receive(protocol.Written())
    fake.told = []
    fake.receive(Rows([(3, 0, 2)], ["d"]))
    assert fake.told_to(WRITER, protocol.Write) == []
    assert settled(fake) == [(Status.DELIVERED, [(3, 0, 2)], None)]
    fake.receive(Outcomes([Ended(row, Status.QUARANTINED, None, 1, None, "s") for row in (0, 5)]))
    (write,) = fake.told_to(WRITER, protocol.Write)
    assert [end.seq for part in write.batch if isinstance(part, Outcomes) for end in part.ended] == [5]
    assert settled(fake) == [(Status.QUARANTINED, [0], None)]
    fake.receive(Rows([6], ["g"]), protocol.Written())
    assert [m.batch for m in fake.take(protocol.Write)] == [[Rows([6], ["g"])]]


def test_an_abort_lets_what_is_being_written_be_written_and_nothing_more() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Rows([0], ["a"]), Rows([1], ["b"]), protocol.Abort("enough"), Rows([2], ["c"]))
    assert fake.take(protocol.Drained) == []
    fake.receive(protocol.OutOfTurn([3]))
    fake.receive(protocol.Written())
    assert [m for _, m in fake.told if isinstance(m, protocol.Write)] == []
    assert fake.told[-1] == (CONDUCTOR, protocol.Drained(fake.me))
    assert settled(fake) == [(Status.DELIVERED, [0], None)]


def test_a_write_that_fails_in_an_abort_is_not_the_run_s_error_any_more() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Rows([0], ["a"]), protocol.Abort("enough"))
    fake.told = []
    fake.receive(protocol.WriteFailed(OSError("gone")))
    assert fake.told == [(CONDUCTOR, protocol.Drained(fake.me))]


def test_rows_out_of_their_turn_are_interrupted() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(protocol.OutOfTurn(range(3, 5)))
    assert settled(fake) == [(Status.INTERRUPTED, [3, 4], None)]
    traffic = fake.actor.statistics().traffic
    assert (traffic.came, traffic.interrupted, traffic.adds_up) == (2, 2, True)


def test_with_several_edges_a_sink_ends_with_the_last_of_their_ends_and_once() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR, inputs=2), "sink")
    fake.receive(protocol.EndOfRows(0))
    assert fake.take(protocol.Drained) == []
    fake.receive(protocol.EndOfRows(0), protocol.Abort("late"))
    assert len(fake.take(protocol.Drained)) == 1


def test_where_the_others_may_finish_a_broken_sink_keeps_nobody_waiting() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR, inputs=2, drain=True), "sink")
    fake.receive(Rows(range(2), ["a", "b"]), Rows([5], ["f"]))
    fake.receive(protocol.WriteFailed(OSError("no space")))
    told = [message for _, message in fake.told]
    assert [m.drain for m in told if isinstance(m, protocol.Failing)] == [True]
    assert [(m.status, list(m.seqs)) for m in told if isinstance(m, Settled)] == [
        (Status.INTERRUPTED, [0, 1]),
        (Status.INTERRUPTED, [5]),
    ]
    fake.told = []
    fake.receive(Rows([(2, 0, 2)], ["c"]), protocol.EndOfRows(6))
    assert [m.status for m in fake.take(Settled)] == [Status.INTERRUPTED]
    fake.receive(protocol.EndOfRows(6))
    assert len(fake.take(protocol.Drained)) == 1


QUARANTINE, JOURNAL = map(Name, ("quarantine", "journal"))


def quarantined(unwritable: dict[Any, Ended] | None = None) -> Fake:
    """A sink in front of a quarantine, in a run with a journal."""
    outputs = Outputs("out", {}, quarantine=QUARANTINE, ledger=LEDGER, also=(QUARANTINE,), journal=JOURNAL)
    return Fake(Sink("out", WRITER, LEDGER, CONDUCTOR, outputs=outputs, unwritable=unwritable), "sink")


def test_a_row_that_cannot_be_written_goes_to_quarantine_and_the_others_count_as_written_L62() -> None:
    fake = quarantined()
    fake.receive(Rows(range(3), ["a", "b", "c"], {1: 4}))
    fake.told = []
    why = ValueError("field 't': a lone surrogate")
    fake.receive(protocol.Written([77], {1: why}))
    told = list(fake.told)
    assert [(m.status, list(m.seqs), m.place) for _, m in told if isinstance(m, Settled)] == [
        (Status.DELIVERED, [0, 2], 77)
    ], "the quarantine settles the other one"
    (outcomes,) = [m for ref, m in told if ref == QUARANTINE and isinstance(m, protocol.Outcomes)]
    assert outcomes.ended == [Ended(1, Status.QUARANTINED, why, 4, "b", "out")]
    assert [m.ended for ref, m in told if ref == JOURNAL and isinstance(m, protocol.Ends)] == [outcomes.ended]
    fake.receive(protocol.EndOfRows(3))
    assert [m.total for ref, m in fake.told if ref == QUARANTINE and isinstance(m, protocol.EndOfRows)] == [3]
    assert fake.actor.statistics().traffic.adds_up


def test_a_row_that_could_not_be_written_in_an_earlier_life_is_not_tried_again_L62() -> None:
    ended = Ended(1, Status.QUARANTINED, ValueError("why"), 2, None, "out")
    fake = quarantined({1: ended})
    fake.receive(Rows(range(3), ["a", "b", "c"]))
    told = list(fake.told)
    (write,) = [m for _, m in told if isinstance(m, protocol.Write)]
    assert [(list(part.seqs), part.values) for part in write.batch if isinstance(part, Rows)] == [([0, 2], ["a", "c"])]
    (outcomes,) = [m for ref, m in told if ref == QUARANTINE and isinstance(m, protocol.Outcomes)]
    assert [(end.seq, end.value) for end in outcomes.ended] == [(1, "b")]


def test_where_every_row_can_be_written_nobody_hears_of_any_that_cannot_L62() -> None:
    """Neither in this life, nor of one that has ended as it did in an earlier one."""
    fake = quarantined({7: Ended(7, Status.QUARANTINED, ValueError("why"), 2, None, "out")})
    fake.receive(Rows(range(2), ["a", "b"]), protocol.Written())
    fake.receive(Rows([2], ["c"]), protocol.Written(None, {}))
    assert [type(m) for whom, m in fake.told if whom in (QUARANTINE, JOURNAL)] == []
    assert [m.status for m in fake.take(Settled)] == [Status.DELIVERED] * 2


def test_the_time_in_which_rows_wait_until_others_are_written_is_counted() -> None:
    fake = Fake(Sink("out", WRITER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Rows([0], ["a"]))
    fake.pass_time(1.0)
    assert fake.actor.statistics().waited_s == 0.0, "it is being written, and nobody waits behind it"
    fake.receive(Rows([1], ["b"]))
    fake.pass_time(2.0)
    fake.receive(protocol.Written())
    fake.pass_time(4.0)
    assert fake.actor.statistics().waited_s == 2.0


def test_a_quarantine_knows_the_first_record_of_each_error() -> None:
    fake = Fake(Sink("quarantine", WRITER, LEDGER, CONDUCTOR), "sink")
    bad = [Ended(n, Status.QUARANTINED, KeyError() if n == 6 else ValueError(), 1, None, "ask") for n in (4, 5, 6)]
    fake.receive(Outcomes(bad[:1]), Outcomes(bad[1:]), protocol.Written(), protocol.Written())
    assert [(r.node, r.error, r.name, r.record) for r in fake.actor.statistics().records] == [
        ("ask", "ValueError", "4", 1),
        ("ask", "KeyError", "6", 3),
    ]
