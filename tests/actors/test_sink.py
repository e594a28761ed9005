"""The sink, message by message."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.exits import Exits
from headrace.actors.protocol import Ended, Rows, Settled, Status
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
    exits = Exits("out", {}, quarantine=QUARANTINE, ledger=LEDGER, also=(QUARANTINE,), journal=JOURNAL)
    return Fake(Sink("out", WRITER, LEDGER, CONDUCTOR, exits=exits, unwritable=unwritable), "sink")


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
