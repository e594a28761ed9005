"""The sink, message by message."""

from __future__ import annotations

from headrace.actors import protocol
from headrace.actors.protocol import Release
from headrace.actors.sink import Sink
from tests.actors.fake import Fake, Name

WRITER, REORDER, LEDGER, CONDUCTOR = map(Name, ("writer", "reorder", "ledger", "conductor"))


def test_no_row_is_written_after_one_that_could_not_be_L51() -> None:
    fake = Fake(Sink("out", WRITER, REORDER, LEDGER, CONDUCTOR), "sink")
    fake.receive(Release(range(2), ["a", "b"]))
    assert len(fake.take(protocol.Write)) == 1
    fake.receive(protocol.WriteFailed(OSError("no space")))
    assert len(fake.take(protocol.Failing)) == 1
    # The abort that this brings may be long in coming.
    fake.receive(Release(range(2, 4), ["c", "d"]))
    assert fake.take(protocol.Write) == []
    fake.receive(protocol.Abort("the run failed"))
    assert len(fake.take(protocol.Drained)) == 1
