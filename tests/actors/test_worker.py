"""The worker: what it hands on, and what it does not."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.stages.backoff import Backoff
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


def test_it_tells_its_stage_what_came_of_a_call_and_passes_on_what_it_is_told() -> None:
    class Noting(Calls):
        def __init__(self) -> None:
            super().__init__()
            self.noted: list[str] = []

        def begin(self, assign: protocol.Assign, worker: Any, tell: Any) -> None:
            super().begin(assign, worker, tell)
            tell(protocol.Answered(assign.id, worker, assign.seqs, ["A"], [], [], True, 0.1))

        def recall(self) -> None:
            self.noted.append("recall")

        def cancel(self) -> None:
            self.noted.append("cancel")

        def dispose(self) -> None:
            self.noted.append("dispose")

        def progress(self) -> Progress | None:
            return Progress(7, ["done"])

    calls = Noting()
    fake = Fake(Worker(STAGE, calls), "worker")
    fake.receive(protocol.Assign(1, [0], ["a"]))
    assert fake.told == [(STAGE, protocol.Answered(1, fake.me, [0], ["A"], [], [], True, 0.1))]
    fake.receive(protocol.Recall(), protocol.CancelCalls())
    assert fake.actor.salvage() == Progress(7, ["done"])
    fake.actor.ended()
    assert calls.noted == ["recall", "cancel", "dispose"]


def test_a_backoff_is_a_share_of_a_time_that_doubles_up_to_a_ceiling_L14() -> None:
    backoff = Backoff(base_s=0.1, cap_s=1.0)
    assert [backoff.delay_s(attempt, 1.0) for attempt in (1, 2, 3, 4, 5, 100)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.delay_s(3, 0.25) == 0.1
    assert backoff.delay_s(3, 0.0) == 0.0
    assert Backoff(cap_s=1e300).delay_s(10**9, 0.5) < float("inf")
