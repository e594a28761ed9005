"""The desk: many callers, each answered, in turn."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.desk import Desk, Line
from headrace.actors.protocol import Rows, Status
from tests.actors.fake import Fake, Name

OFFICE, STAGE, GOVERNOR, ONE, TWO = map(Name, ("office", "stage", "governor", "one", "two"))


def desk(room: int = 4) -> Fake:
    return Fake(Desk(OFFICE, [Line(STAGE, GOVERNOR, room)], clerks=2), "desk")


def fed(fake: Fake) -> list[Any]:
    """The values that went to the stage since."""
    return [value for rows in fake.take(Rows) for value in rows.values]


def test_submissions_take_turns_L08() -> None:
    fake = desk(room=4)
    fake.receive(protocol.Submit(STAGE, list(range(100)), ONE))
    assert fed(fake) == [0, 1, 2, 3]
    fake.receive(protocol.Submit(STAGE, [1000, 1001], TWO))
    fake.receive(Rows(range(4), [0, 1, 2, 3]))
    assert fed(fake) == [4, 5, 1000, 6]


def test_each_waiter_gets_its_own_rows_by_their_places_L07() -> None:
    fake = desk(room=4)
    fake.receive(protocol.Submit(STAGE, ["a", "b"], ONE), protocol.Submit(STAGE, ["x", "y"], TWO))
    fake.told = []
    fake.receive(Rows([3, 0], ["Y", "A"]))
    (deliver,) = fake.take(protocol.Deliver)
    assert [(who, waited.place, waited.value) for who, waited in deliver.answers] == [(TWO, 1, "Y"), (ONE, 0, "A")]
    assert all(waited.status is Status.DELIVERED for _, waited in deliver.answers)


def test_who_withdraws_gets_nothing_and_frees_the_share_L08() -> None:
    fake = desk(room=2)
    fake.receive(protocol.Submit(STAGE, list(range(50)), ONE), protocol.Submit(STAGE, ["x"], TWO))
    fake.told = []
    fake.receive(protocol.Withdraw(ONE))
    (retract,) = fake.take(protocol.Retract)
    assert list(retract.seqs) == [0, 1]
    fake.receive(Rows(range(2), [0, 1]))
    assert not [m for _, m in fake.told if isinstance(m, protocol.Deliver)]
    assert fed(fake) == ["x"]


def test_a_clerk_that_is_kept_waiting_gets_a_colleague() -> None:
    fake = desk(room=4)
    fake.receive(protocol.Submit(STAGE, [0], ONE), protocol.Submit(STAGE, [1], TWO), Rows([0], [0]))
    assert len(fake.children) == 1
    fake.receive(Rows([1], [1]))
    assert len(fake.children) == 1
    fake.pass_time(0.02)
    assert len(fake.children) == 2


def test_it_ends_when_all_are_answered_and_not_before() -> None:
    fake = desk()
    fake.receive(protocol.Submit(STAGE, [0], ONE), protocol.EndOfSubmits())
    assert fake.take(protocol.EndOfRows) == []
    fake.receive(Rows([0], [0]))
    (clerk,) = fake.children
    assert len(fake.take(protocol.EndOfRows)) == 1
    fake.receive(protocol.Drained(STAGE), protocol.DeliveryDone(clerk))
    assert fake.take_for(OFFICE) == [protocol.Drained(fake.me)]


def test_a_stage_that_died_holds_no_permits_of_a_shared_governor_L16() -> None:
    fake = desk()
    fake.receive(protocol.Died(STAGE, RuntimeError("bug")))
    assert (GOVERNOR, protocol.Discharge(STAGE)) in fake.told
