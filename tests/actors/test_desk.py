"""The desk: many callers, each answered, in turn."""

from __future__ import annotations

from typing import Any

from headrace.actors import protocol
from headrace.actors.desk import Desk, Line, Replier
from headrace.actors.protocol import Ended, Outcomes, Rows, Status, Waited
from tests.actors.fake import Fake, Name

OFFICE, STAGE, GOVERNOR, ONE, TWO = map(Name, ("core", "stage", "governor", "one", "two"))


def desk(room: int = 4) -> Fake:
    return Fake(Desk(OFFICE, [Line(STAGE, GOVERNOR, room)], repliers=2), "desk")


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


def test_a_replier_that_is_kept_waiting_gets_a_colleague() -> None:
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
    (replier,) = fake.children
    assert len(fake.take(protocol.EndOfRows)) == 1
    fake.receive(protocol.Drained(STAGE), protocol.DeliveryDone(replier))
    assert fake.take_for(OFFICE) == [protocol.Drained(fake.me)]


def test_a_stage_that_died_holds_no_permits_of_a_shared_governor_L16() -> None:
    fake = desk()
    fake.receive(protocol.Died(STAGE, RuntimeError("bug")))
    assert (GOVERNOR, protocol.Unregister(STAGE)) in fake.told


def test_no_more_rows_are_in_a_stage_than_it_has_room_for_and_answers_make_room() -> None:
    fake = desk(room=3)
    fake.receive(protocol.Submit(STAGE, list("abcde"), ONE))
    assert [(list(m.seqs), m.values) for m in fake.take(Rows)] == [([0, 1, 2], ["a", "b", "c"])]
    counted = fake.actor.statistics()
    assert (counted.submissions, counted.rows, counted.waiting, counted.open) == (1, 5, 2, 3)
    fake.receive(Rows([1], ["B"]))
    assert [(list(m.seqs), m.values) for m in fake.take(Rows)] == [([3], ["d"])]
    fake.receive(protocol.Outcomes([Ended(0, Status.QUARANTINED, None, 1, "a", "s")]))
    assert [(list(m.seqs), m.values) for m in fake.take(Rows)] == [([4], ["e"])]
    counted = fake.actor.statistics()
    assert (counted.answered, counted.waiting, counted.open, counted.repliers) == (2, 0, 3, 1)


def test_a_stage_that_needs_to_see_all_keys_gets_all_rows() -> None:
    fake = Fake(Desk(OFFICE, [Line(STAGE, GOVERNOR, None)], repliers=1), "desk")
    fake.receive(protocol.Submit(STAGE, list(range(100)), ONE))
    assert len(fed(fake)) == 100


def test_a_waiter_hears_what_became_of_its_row_with_its_error_and_attempts() -> None:
    fake = desk()
    error = ValueError("no")
    fake.receive(protocol.Submit(STAGE, ["a", "b"], ONE))
    fake.told = []
    fake.receive(Rows([1], ["B"], {1: 4}))
    (replier,) = fake.children
    (deliver,) = fake.told_to(replier, protocol.Deliver)
    assert deliver.answers == [(ONE, Waited(1, Status.DELIVERED, "B", None, 4))]
    fake.told = []
    fake.receive(protocol.DeliveryDone(replier), protocol.Outcomes([Ended(0, Status.FAILED, error, 3, "a", "s")]))
    (deliver,) = fake.told_to(replier, protocol.Deliver)
    assert deliver.answers == [(ONE, Waited(0, Status.FAILED, "a", error, 3))]


def test_answers_that_come_while_the_replier_is_busy_go_together_when_it_is_back() -> None:
    fake = desk()
    fake.receive(protocol.Submit(STAGE, ["a", "b", "c"], ONE), Rows([0], ["A"]))
    (replier,) = fake.children
    fake.told = []
    fake.receive(Rows([1], ["B"]), Rows([2], ["C"]))
    assert fake.told_to(replier, protocol.Deliver) == []
    fake.receive(protocol.DeliveryDone(replier))
    (deliver,) = fake.told_to(replier, protocol.Deliver)
    assert [waited.value for _, waited in deliver.answers] == ["B", "C"]
    fake.pass_time(1.0)
    assert len(fake.children) == 1, "it came back in time"


def test_no_more_repliers_are_hired_than_are_allowed_and_those_who_wait_are_served_in_the_end() -> None:
    fake = desk(room=9)
    fake.receive(protocol.Submit(STAGE, list(range(4)), ONE))
    for row in range(4):
        fake.receive(Rows([row], [row]))
        fake.pass_time(0.02)
    assert len(fake.children) == 2
    fake.told = []
    fake.receive(protocol.DeliveryDone(next(iter(fake.children))))
    (deliver,) = fake.take(protocol.Deliver)
    assert [waited.value for _, waited in deliver.answers] == [2, 3]


def test_who_withdraws_before_its_rows_have_gone_leaves_nothing_behind() -> None:
    fake = desk(room=2)
    fake.receive(protocol.Submit(STAGE, list(range(5)), ONE), protocol.EndOfSubmits(), protocol.Withdraw(ONE))
    assert fake.actor.statistics().waiting == 0
    fake.receive(protocol.Withdraw(ONE), protocol.Withdraw(TWO))
    assert [list(m.seqs) for m in fake.take(protocol.Retract)] == [[0, 1]], "once"
    fake.receive(Rows([0, 1], [0, 1]))
    assert len(fake.take(protocol.EndOfRows)) == 1
    fake.receive(protocol.Drained(STAGE))
    assert fake.take_for(OFFICE) == [protocol.Drained(fake.me)]


def test_who_withdraws_when_all_its_rows_have_gone_takes_no_one_s_place_in_the_queue() -> None:
    fake = desk(room=2)
    fake.receive(protocol.Submit(STAGE, [0, 1], ONE), protocol.Withdraw(ONE))
    assert fake.actor.statistics().waiting == 0
    fake.receive(protocol.Submit(STAGE, ["x"], TWO))
    assert fake.actor.statistics().waiting == 1


def test_it_says_that_it_has_ended_only_when_all_repliers_are_back_and_all_stages_have_ended() -> None:
    other = Name("other stage")
    fake = Fake(Desk(OFFICE, [Line(STAGE, GOVERNOR, 4), Line(other, GOVERNOR, 4)], repliers=1), "desk")
    fake.receive(protocol.Submit(STAGE, ["a"], ONE), Rows([0], ["A"]), protocol.EndOfSubmits())
    assert [whom for whom, m in fake.told if isinstance(m, protocol.EndOfRows)] == [STAGE, other]
    (replier,) = fake.children
    fake.told = []
    fake.receive(protocol.Drained(STAGE), protocol.DeliveryDone(replier))
    assert fake.take_for(OFFICE) == []
    fake.receive(protocol.Drained(other))
    assert fake.take_for(OFFICE) == [protocol.Drained(fake.me)]


def test_what_fails_in_a_stage_is_told_to_the_executor() -> None:
    fake = desk()
    error = OSError("gone")
    fake.receive(protocol.Failing(STAGE, error), protocol.Died(STAGE, error))
    assert fake.told_to(OFFICE, protocol.Failing) == [protocol.Failing(STAGE, error)] * 2


def test_a_replier_tells_each_waiter_in_order_and_says_when_it_is_done() -> None:
    fake = Fake(Replier(Name("desk")), "replier")
    answers: list[Any] = [(ONE, Waited(i, Status.DELIVERED, i, None, 1)) for i in range(3)]
    fake.receive(protocol.Deliver(list(answers)))
    assert fake.told == [*answers, (Name("desk"), protocol.DeliveryDone(fake.me))]


def test_the_death_of_who_has_no_permits_is_told_all_the_same() -> None:
    fake = desk()
    replier = Name("replier")
    fake.receive(protocol.Died(replier, RuntimeError("bug")))
    assert [type(m) for _, m in fake.told] == [protocol.Failing]


def test_calls_that_their_callers_cancel_are_not_counted_as_failed_L78() -> None:
    fake = desk(room=3)
    fake.receive(protocol.Submit(STAGE, [0, 1, 2, 3], ONE), protocol.Submit(STAGE, ["x", "y"], TWO))
    # Three of the one are in the stage, the fourth waits here.
    fake.receive(protocol.Withdraw(ONE), Rows([0], ["a"]))
    retracted = [Ended(seq, Status.DROPPED, ValueError(), 0, None, "stage") for seq in (1, 2)]
    fake.receive(Outcomes(retracted), Rows([3], ["X"]))
    fake.receive(Outcomes([Ended(4, Status.QUARANTINED, KeyError(), 1, "y", "stage")]))
    told = fake.actor.statistics()
    assert (told.rows, told.delivered, told.failed, told.withdrawn) == (6, 1, 1, 4)
