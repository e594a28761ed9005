"""The worker: what it hands on, and what it does not."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.worker import Progress, Worker
from tests.actors.fake import Fake, Name

STAGE = Name("stage")


class Calls:
    def __init__(self) -> None:
        self.begun: list[int] = []

    def begin(self, assign: protocol.Assign, worker: Any, tell: Any) -> None:
        self.begun.append(assign.id)

    def recall(self) -> None: ...

    def cancel(self) -> None: ...

    def dispose(self) -> None: ...

    def progress(self) -> Progress | None:
        return None


def test_no_call_begins_after_the_word_to_end_them_L17() -> None:
    calls = Calls()
    fake = Fake(Worker(STAGE, calls), "worker")
    fake.receive(protocol.Assign(1, [0], ["a"]), protocol.CancelCalls(), protocol.Assign(2, [1], ["b"]))
    assert calls.begun == [1]
