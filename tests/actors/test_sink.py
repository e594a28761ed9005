"""The sink, message by message."""

from __future__ import annotations

from headrace.actors import protocol
from headrace.actors.protocol import Rows, Settled, Status
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
