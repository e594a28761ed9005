"""The source, message by message."""

from __future__ import annotations

from headrace.actors import protocol
from headrace.actors.exits import Exits, Port
from headrace.actors.outlets import ONWARD
from headrace.actors.past import Past
from headrace.actors.source import Source
from tests.actors.fake import Fake, Name

READER, FIRST, LEDGER, CONDUCTOR, JOURNAL = map(Name, ("reader", "first", "ledger", "conductor", "journal"))


def test_a_resumed_run_that_is_drained_at_once_has_come_to_where_it_was() -> None:
    """Its source is read from the start again, and nothing was read yet; a reorder buffer begins at the first row that is
    to be done, and waits for an end there."""
    exits = Exits("source", {ONWARD: Port(FIRST)})
    fake = Fake(Source(READER, exits, LEDGER, CONDUCTOR, None, JOURNAL, Past(first=4)), "source")
    fake.receive(protocol.Start(), protocol.Drain())
    assert fake.take(protocol.EndOfRows) == [protocol.EndOfRows(4)]
