"""Queues: a key's rows and permits, and rows with weights."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.actors.fake import Fake
from tests.actors.stages.fixtures import GOVERNOR, NEXT, answer, assigned, faulted, refused, remembering, staged

from headrace.actors import protocol
from headrace.actors.protocol import Answered, Closure, Epoch, Fault, Kind, PermitsGranted, Rows
from headrace.actors.stages.dispatch import Dispatch
from headrace.actors.stages.key_queue import Access, KeyQueue
from headrace.actors.stages.scheduler import LOOK_AGAIN_S


def test_one_key_s_cooldown_keeps_no_other_key_from_its_calls() -> None:
    fake = staged(workers=2, key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]))
    fake.receive(protocol.CooldownBegan(Epoch(1), 9.0, protocol.Closure.REFUSED, "a"))
    fake.receive(PermitsGranted(Epoch(0), 1, "a"), PermitsGranted(Epoch(0), 1, "b"))
    assert [m.key for m in fake.told_to(GOVERNOR, protocol.PermitsReturned)] == ["a"]
    assert [list(a.seqs) for _, a in assigned(fake)] == [[1]]


def test_credit_and_weights_come_out_even_whatever_the_order() -> None:
    fake = staged(workers=4, weigh=lambda row: row)
    fake.receive(Rows(range(3), [3.0, 5.0, 2.0]))
    (asked,) = fake.take(protocol.PermitsWanted)
    assert asked.costs == (3.0, 5.0, 2.0)
    fake.receive(PermitsGranted(Epoch(0), 2, cost=8.0, paced=True))
    work = assigned(fake)
    assert [list(a.seqs) for _, a in work] == [[0], [1]]
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    fake.told = []
    fake.receive(PermitsGranted(Epoch(0), 1, cost=2.0, paced=True))
    assert [(m.n, m.cost) for m in fake.take(protocol.PermitsReturned)] == [(1, 2.0)]
    fake.receive(protocol.CooldownEnded(Epoch(1)))
    (asked,) = fake.take(protocol.PermitsWanted)
    assert (asked.n, asked.costs) == (1, (2.0,)), "it is asked for anew"


def test_a_key_keeps_its_queue_while_its_rows_rest() -> None:
    fake = staged(workers=2, key=lambda value: value[0])
    fake.receive(Rows([0], ["k1"]), PermitsGranted(Epoch(0), 1, "k"))
    ((worker, assign),) = assigned(fake)
    fault = Fault(0, Kind.TRANSIENT, ConnectionError())
    fake.receive(Answered(assign.id, worker, [], [], [fault], [], True, 0.01))
    # Another row of the key comes while the first one rests between two attempts.
    fake.receive(Rows([1], ["k2"]))
    fake.pass_time(1.0)
    wanted = sum(m.n for m in fake.take(protocol.PermitsWanted))
    assert wanted == 2
    fake.receive(PermitsGranted(Epoch(0), 2, "k"))
    assert {s for _, a in assigned(fake) for s in a.seqs} == {0, 1}
    assert fake.take(protocol.PermitsReturned) == []


def test_a_key_that_could_not_ask_because_no_worker_was_free_asks_when_one_is() -> None:
    fake = staged(workers=1, key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 1, "a", paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(refused(worker, assign))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED, "a"))
    fake.receive(PermitsGranted(Epoch(0), 1, "b", paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.CooldownEnded(Epoch(1), key="a"))
    assert fake.take(protocol.PermitsWanted) == [], "the only worker is busy"
    fake.receive(Answered(assign.id, worker, [1], ["B"], [], [], True, 0.1))
    assert [m.key for m in fake.take(protocol.PermitsWanted)] == ["a"]


def test_wishes_in_an_order_that_rows_have_left_since_are_taken_back_and_made_anew() -> None:
    fake = staged(workers=4, weigh=lambda row: row)
    fake.receive(Rows(range(3), [30.0, 5.0, 10.0]))
    fake.receive(PermitsGranted(Epoch(0), 1, cost=30.0, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(refused(worker, assign))
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED), protocol.CooldownEnded(Epoch(1)))
    fake.told = []
    # The refused row is the next one, and the permit that comes is worth less: others may never come while it is held.
    fake.receive(PermitsGranted(Epoch(1), 1, cost=5.0, paced=True))
    told = [m for _, m in fake.told]
    assert [type(m) for m in told if not isinstance(m, protocol.PermitsWanted)] == [
        protocol.WishesWithdrawn,
        protocol.PermitsReturned,
    ]
    fake.told = []
    open_wishes = 2
    fake.receive(protocol.WishesForgotten(open_wishes))
    (wanted,) = fake.take(protocol.PermitsWanted)
    assert wanted.costs == (30.0, 5.0, 10.0)
    fake.receive(PermitsGranted(Epoch(1), 1, cost=30.0, paced=True))
    assert [list(a.seqs) for _, a in assigned(fake)] == [[0]]


def test_a_row_starts_only_when_its_whole_weight_has_been_granted() -> None:
    fake = staged(workers=4, weigh=lambda row: row)
    fake.receive(Rows(range(2), [3.0, 5.0]))
    fake.receive(PermitsGranted(Epoch(0), 1, cost=2.5, paced=True))
    assert [m.cost for m in fake.told_to(GOVERNOR, protocol.PermitsReturned)] == [2.5]
    assert assigned(fake) == []


def test_what_one_row_weighs_is_used_up_for_the_next_one() -> None:
    fake = staged(workers=4, weigh=lambda row: row)
    fake.receive(Rows(range(2), [3.0, 3.0]))
    fake.receive(PermitsGranted(Epoch(0), 2, cost=5.0, paced=True))
    assert [list(a.seqs) for _, a in assigned(fake)] == [[0]]


def test_nothing_is_kept_of_the_weight_of_a_row_that_was_answered() -> None:
    fake = staged(workers=1, weigh=lambda row: row)
    fake.receive(Rows([0], [3.0]), PermitsGranted(Epoch(0), 1, cost=3.0, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(answer(worker, assign, [0], complete=True))
    (queue,) = fake.actor._scheduler.queues  # type: ignore[attr-defined]
    assert queue._weights == {}


def test_rows_of_a_key_that_waits_keep_no_other_key_s_away() -> None:
    """However many of them wait, more are asked for."""
    fake = staged(workers=2, key=lambda row: row)
    (asked,) = fake.take(protocol.Credit)
    assert asked.n > 1000


def test_a_worker_that_comes_free_takes_the_row_of_another_key_that_holds_a_permit() -> None:
    fake = staged(workers=1, key=lambda row: row)
    fake.receive(Rows([0, 1], ["a", "b"]))
    fake.receive(PermitsGranted(Epoch(0), 1, "a", paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(PermitsGranted(Epoch(0), 1, "b", paced=True))
    assert assigned(fake) == [], "its only worker is busy"
    fake.receive(answer(worker, assign, [0], complete=True))
    ((_, other),) = assigned(fake)
    assert list(other.seqs) == [1]


def test_nothing_is_kept_of_a_key_whose_rows_are_done_also_where_they_had_to_wait() -> None:
    """A run may have a million keys."""
    fake = staged(workers=2, key=lambda row: row[0])
    fake.receive(Rows(range(2), ["k0", "k1"]), PermitsGranted(Epoch(0), 2, "k", paced=True))
    for worker, assign in assigned(fake):
        fake.receive(faulted(worker, assign, Kind.TRANSIENT))
    fake.pass_time(10.0)
    assert [queue.key for queue in queues(fake)] == ["k"]
    fake.receive(PermitsGranted(Epoch(0), 2, "k", paced=True))
    for worker, assign in assigned(fake):
        fake.receive(answer(worker, assign, list(assign.seqs), complete=True))
    assert queues(fake) == []


def queues(fake: Fake) -> list[KeyQueue]:
    """What a stage keeps of keys."""
    kept: list[KeyQueue] = fake.actor._scheduler.queues  # type: ignore[attr-defined]
    return kept


def test_a_key_that_comes_again_after_it_was_done_with_is_called_again() -> None:
    fake = staged(workers=1, key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]), PermitsGranted(Epoch(0), 1, "a", paced=True))
    ((worker, assign),) = assigned(fake)
    # The only worker is busy, so that this permit waits for it.
    fake.receive(PermitsGranted(Epoch(0), 1, "b", paced=True), answer(worker, assign, [0], complete=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(Rows([2], ["a"]), PermitsGranted(Epoch(0), 1, "a", paced=True))
    fake.receive(answer(worker, assign, [1], complete=True))
    ((worker, assign),) = assigned(fake)
    # "b" is done with; then it comes again, and waits while "a" is answered.
    fake.receive(Rows([3], ["b"]), answer(worker, assign, [2], complete=True))
    fake.receive(PermitsGranted(Epoch(0), 1, "b", paced=True))
    assert [list(a.seqs) for _, a in assigned(fake)] == [[3]]


def test_keys_for_which_no_slot_was_free_ask_one_by_one_in_the_order_in_which_they_came() -> None:
    """A permit that waits for a slot could have been another's."""
    fake = staged(workers=2, dispatch=Dispatch.on_a_loop(2), key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]))
    fake.receive(PermitsGranted(Epoch(0), 1, "a", paced=True), PermitsGranted(Epoch(0), 1, "b", paced=True))
    work = assigned(fake)
    fake.receive(Rows(range(2, 6), list("cdef")))
    asked = []
    for row in range(4):
        worker, assign = work.pop(0)
        fake.receive(answer(worker, assign, [row], complete=True))
        asked.append([m.key for m in fake.told_to(GOVERNOR, protocol.PermitsWanted)])
        fake.receive(PermitsGranted(Epoch(0), 1, "abcdef"[row + 2], paced=True))
        work += assigned(fake)
    assert asked == [["c"], ["d"], ["e"], ["f"]]


def test_what_was_asked_for_and_given_back_in_a_cooldown_is_asked_for_anew_with_its_weights() -> None:
    fake = staged(workers=1, weigh=lambda row: row)
    fake.receive(Rows(range(3), [3.0, 5.0, 2.0]), PermitsGranted(Epoch(0), 2, cost=8.0, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.CooldownBegan(Epoch(1), 1.0, protocol.Closure.REFUSED))
    assert [(m.n, m.cost) for m in fake.take(protocol.PermitsReturned)] == [(1, 5.0)]
    fake.receive(answer(worker, assign, [0], complete=True), protocol.CooldownEnded(Epoch(1)))
    asked = fake.take(protocol.PermitsWanted)
    assert [cost for m in asked for cost in m.costs][:1] == [5.0], "its worker has come free"
    fake.receive(PermitsGranted(Epoch(1), 1, cost=5.0, paced=True))
    assert [list(a.seqs) for _, a in assigned(fake)] == [[1]]


@given(st.sampled_from([1e-3, 1.0, 1e6, 1e9]), st.lists(st.floats(1.0, 1000.0), min_size=1, max_size=9), st.randoms())
@example(1e9, [100 / 3, 200 / 7, 300 / 11, 400 / 13], Random(1))
def test_however_heavy_rows_are_the_credit_that_was_asked_for_them_suffices(
    scale: float, rows: list[float], random: Random
) -> None:
    """Credit is added up in another order than it is spent, so that it may be short by what floats are rounded by."""
    weights = [scale * weight for weight in rows]
    queue = KeyQueue(None, weighted=True)
    queue.append(range(len(weights)), [None] * len(weights), weights)
    n, asked = queue.ask(len(weights))
    assert (n, sorted(asked)) == (len(weights), sorted(weights))
    for weight in random.sample(weights, len(weights)):
        queue.grant(Epoch(0), 1, weight, scarce=False, now=0.0)
    for seq in range(len(weights)):
        assert list(queue.take(99)[0]) == [seq]


def test_a_row_that_was_pending_in_an_earlier_life_weighs_what_its_function_says() -> None:
    fake = remembering({}, {0: ("ticket", 5.0)}, weigh=lambda row: len(row))
    fake.receive(Rows([0], ["abc"]))
    fake.take(protocol.PermitsWanted)
    fake.pass_time(5.0)
    assert [m.costs for m in fake.take(protocol.PermitsWanted)] == [(3.0,)]
    fake.receive(PermitsGranted(Epoch(0), 1, cost=3.0))
    ((_, assign),) = assigned(fake)
    assert (list(assign.seqs), assign.states) == ([0], {0: "ticket"})


@pytest.mark.parametrize(
    ("before", "epoch", "after"),
    [
        (Access.OPEN, 0, Access.COOLING),
        (Access.PROBING, 0, Access.SHUT),
        (Access.COOLING, 0, Access.COOLING),
        (Access.SHUT, 0, Access.SHUT),
        (Access.OPEN, 1, Access.OPEN),
        (Access.PROBING, 1, Access.PROBING),
    ],
)
def test_a_refusal_of_todays_epoch_closes_the_queue_before_the_governor_says_so(
    before: Access, epoch: int, after: Access
) -> None:
    queue = KeyQueue(None, weighted=False)
    queue.access = before
    queue.on_refused(Epoch(epoch))
    assert queue.access is after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Access.OPEN, Access.OPEN),
        (Access.PROBING, Access.OPEN),
        (Access.SHUT, Access.COOLING),
        (Access.COOLING, Access.COOLING),
    ],
)
def test_when_a_probe_was_answered_it_is_no_outage_any_more(before: Access, after: Access) -> None:
    queue = KeyQueue(None, weighted=False)
    queue.access = before
    queue.on_reopened()
    assert (queue.access, queue.outage) == (after, False)


def test_what_the_governor_says_last_holds() -> None:
    queue = KeyQueue(None, weighted=False)
    queue.on_closed(Epoch(1), Closure.OUTAGE)
    assert (queue.access, queue.cooling, queue.outage) == (Access.SHUT, True, True)
    queue.on_cooled(Epoch(1), probing=True)
    assert (queue.access, queue.cooling, queue.outage) == (Access.PROBING, False, True)
    queue.on_closed(Epoch(2), Closure.REFUSED)
    assert (queue.access, queue.cooling, queue.outage) == (Access.COOLING, True, False)
    queue.on_cooled(Epoch(2), probing=False)
    assert (queue.access, queue.epoch) == (Access.OPEN, 2)


def test_of_a_thousand_keys_only_so_many_ask_as_the_workers_can_soon_serve() -> None:
    fake = staged(workers=4, key=lambda row: row)
    fake.receive(Rows(range(1000), list(range(1000))))
    assert [m.key for m in fake.take(protocol.PermitsWanted)] == list(range(8))
    for key in range(8):
        fake.receive(PermitsGranted(Epoch(0), 1, key))
    assert len(assigned(fake)) == 4


def test_an_answer_costs_the_same_whatever_the_number_of_keys_that_hold_permits() -> None:
    """Each queue was looked at after each answer."""
    fake = staged(workers=4, key=lambda row: row)
    fake.receive(Rows(range(1000), list(range(1000))))
    # Nobody promises that only those that have asked of late are served.
    for key in range(1000):
        fake.receive(protocol.Credit(0, NEXT), PermitsGranted(Epoch(0), 1, key))
    work, looks = assigned(fake), [0]
    assert len(work) == 4
    ask = KeyQueue.ask

    def counted(queue: KeyQueue, room: int) -> Any:
        looks[0] += 1
        return ask(queue, room)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyQueue, "ask", counted)
        for _ in range(500):
            worker, assign = work.pop(0)
            fake.receive(answer(worker, assign, list(assign.seqs), complete=True))
            work += assigned(fake)
    assert looks[0] == 1000, "the queue of the answer, and one for the worker that came free"


def test_keys_that_wait_for_their_time_do_not_keep_others_from_asking() -> None:
    fake = staged(workers=2, key=lambda row: row)
    fake.receive(Rows(range(10), list(range(10))))
    asked: list[Any] = []
    for _ in range(3):
        asked.append([m.key for m in fake.take(protocol.PermitsWanted)])
        fake.pass_time(LOOK_AGAIN_S)
    assert asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    # With nobody left who could ask, nobody looks again.
    fake.pass_time(100.0)
    assert fake.take(protocol.PermitsWanted) == []


def test_a_key_that_cools_does_not_take_the_turn_of_one_that_may_ask() -> None:
    fake = staged(workers=1, key=lambda row: row)
    fake.receive(Rows(range(2), ["a", "b"]))
    fake.receive(PermitsGranted(Epoch(0), 1, "a"))
    ((worker, assign),) = assigned(fake)
    fake.receive(protocol.CooldownBegan(Epoch(1), 9.0, protocol.Closure.REFUSED, "c"))
    fake.receive(Rows(range(2, 6), ["c", "c", "d", "e"]))
    fake.take(protocol.PermitsWanted)
    fake.receive(answer(worker, assign, [0], complete=True))
    fake.pass_time(LOOK_AGAIN_S)
    assert "c" not in [m.key for m in fake.take(protocol.PermitsWanted)]
