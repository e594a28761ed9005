"""Resources: what comes after a close reaches no connector."""

from __future__ import annotations

from typing import Any

from tests.actors.fake import Fake, Name

from headrace.actors import protocol
from headrace.actors.protocol import Rows
from headrace.runtime.run.io_actors import Reader, Writer

CONDUCTOR, SINK, SOURCE = Name("conductor"), Name("sink"), Name("source")


class Connector:
    name = "connector"
    resumable = False

    def __init__(self) -> None:
        self.used: list[str] = []

    def open(self) -> None:
        self.used.append("open")

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        self.used.append("read")
        return [], True, 0

    def write(self, items: list[Any]) -> None:
        self.used.append("write")

    def close(self, complete: bool = True) -> None:
        self.used.append("close")


def test_a_write_that_close_has_overtaken_is_not_done() -> None:
    connector = Connector()
    fake = Fake(Writer(connector, SINK), "writer")
    fake.receive(protocol.Open(CONDUCTOR), protocol.Close(CONDUCTOR, complete=False))
    fake.receive(protocol.Write([Rows(range(1), ["a"])]))
    assert connector.used == ["open", "close"]


def test_a_read_that_close_has_overtaken_is_not_done() -> None:
    connector = Connector()
    fake = Fake(Reader(connector, SOURCE), "reader")
    fake.receive(protocol.Open(CONDUCTOR), protocol.Close(CONDUCTOR, complete=False), protocol.Read(5))
    assert connector.used == ["open", "close"]
