"""Rows on trial: what becomes of each, once enough is known of others (L40, L71, L76)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.actors.fake import Fake

from headrace.actors.protocol import Closure, Epoch, Fault, Kind
from headrace.actors.rows.identity import Id
from headrace.actors.stages.key_queue import KeyQueue
from headrace.actors.stages.resting import Resting
from headrace.actors.stages.trials import Recess, Trials
from headrace.actors.stages.troubles import Troubles
from headrace.actors.stages.witnesses import ALONE_MAX, CALLS, CLEAN, FEWEST, SOONEST_S


class Court:
    """Trials without a stage: what they decide is kept."""

    def __init__(self, wait_s: float | None = 5.0) -> None:
        self.troubles = Troubles()
        self.resting = Resting()
        self.again: list[Id] = []
        self.ended: list[Id] = []
        self.trials = Trials(
            wait_s,
            self.troubles,
            self.resting,
            lambda fault, value, queue: self.again.append(fault.seq),
            lambda seq, value, queue, error: self.ended.append(seq),
        )
        self.queue = KeyQueue(None, weighted=False)
        self.fake = Fake(self)  # type: ignore[arg-type]
        self.recesses: list[Recess] = []

    def start(self, context: Any) -> None:
        self.trials.start(context)

    def receive(self, message: Any) -> None:
        self.recesses.append(message)

    def others(self, n: int = 100) -> None:
        """So many rows wait in the queue."""
        self.queue.backlog.append(range(1000, 1000 + n), [None] * n)

    def fails(self, seq: int, kind: Kind = Kind.TRANSIENT) -> None:
        trouble = self.troubles.of(seq)
        if kind is not Kind.EXHAUSTED:
            trouble.failed += 1
        self.queue.witnesses.on_failed(seq)
        self.trials.try_(seq, f"value {seq}", self.queue, Fault(seq, kind, ConnectionError(seq)))

    def answers(self, n: int) -> None:
        self.queue.witnesses.on_answered(n)
        self.trials.judge(self.queue)


def all_left(court: Court) -> None:
    assert court.trials.open == 0
    assert len(court.resting) == 0
    assert court.queue.resting == 0
    assert court.queue.witnesses.trials == {}


def test_a_row_on_trial_rests_until_it_is_settled() -> None:
    court = Court()
    court.others()
    court.answers(10)
    court.fails(1)
    assert (court.trials.open, court.queue.resting, list(court.resting.items())) == (
        1,
        1,
        [(1, court.queue)],
    )
    court.answers(CALLS - 1)
    assert court.ended == []
    court.answers(1)
    assert (court.ended, court.again) == ([1], [])
    assert (court.troubles[1].failed, court.troubles[1].forgiven, court.troubles[1].doubt) == (1, 0, 1.0)
    all_left(court)


def test_a_row_that_fails_among_many_is_called_again_at_once_and_it_costs_no_attempt_L76() -> None:
    court = Court()
    court.others()
    court.answers(8)
    for seq in range(100, 108):
        court.queue.witnesses.on_failed(seq)
    court.fails(1)
    assert (court.ended, court.again) == ([], [1])
    # Of sixteen other rows a half failed.
    assert (court.troubles[1].failed, court.troubles[1].forgiven, court.troubles[1].doubt) == (0, 1, 0.5)
    all_left(court)


def test_a_row_that_fails_again_and_again_in_bad_times_ends_when_that_is_one_in_a_million_L76() -> None:
    court = Court()
    court.others()
    court.answers(8)
    for seq in range(100, 108):
        court.queue.witnesses.on_failed(seq)
    for n in range(1, 30):
        court.fails(1)
        court.troubles[1].failed = 1
        if court.ended:
            break
        assert court.again == [1] * n
    # The share of others is a half each time, or a little less, as its own calls are none of a witness.
    assert 18 <= n <= 20
    assert court.ended == [1]
    all_left(court)


def test_what_others_met_does_not_excuse_for_ever_a_row_that_is_left_alone() -> None:
    court = Court()
    court.answers(8)
    for seq in range(100, 164):
        court.queue.witnesses.on_failed(seq)
    for _ in range(70):
        if not court.ended:
            court.fails(1)
            court.troubles.of(1).failed = 1
            court.trials.judge(court.queue, over=True)
    assert len(court.again) == ALONE_MAX + 1
    assert court.ended == [1]
    all_left(court)


def test_in_an_outage_nobody_is_judged_L40() -> None:
    court = Court()
    court.fails(1)
    court.trials.all_have_come = True
    court.queue.on_closed(Epoch(1), Closure.OUTAGE)
    court.answers(100)
    assert (court.trials.open, court.ended) == (1, [])
    court.queue.on_reopened()
    court.trials.judge(court.queue)
    assert court.ended == [1]


def test_trials_end_in_the_order_of_their_calls() -> None:
    court = Court()
    court.others()
    court.answers(100)
    court.fails(1)
    court.answers(1)
    court.fails(2)
    court.answers(CALLS - 3)
    assert court.ended == []
    court.answers(1)
    assert court.ended == [1]
    court.answers(1)
    assert court.ended == [1]
    court.answers(1)
    assert court.ended == [1, 2]


def test_where_none_of_a_few_calls_has_failed_for_ten_seconds_it_was_the_row() -> None:
    court = Court()
    court.others()
    court.fails(1)
    court.answers(CLEAN - 1)
    court.fake.pass_time(SOONEST_S)
    court.trials.judge(court.queue)
    assert court.ended == [], "too few calls"
    court.fake.pass_time(0.0)
    court.answers(1)
    assert court.ended == [1]
    court = Court()
    court.others()
    court.fails(1)
    court.answers(CLEAN)
    court.fake.pass_time(SOONEST_S - 0.1)
    court.trials.judge(court.queue)
    assert court.ended == [], "too soon"
    court = Court()
    court.others()
    court.fails(1)
    court.answers(CLEAN)
    court.queue.witnesses.on_failed(2)
    court.fake.pass_time(SOONEST_S)
    court.trials.judge(court.queue)
    assert court.ended == [], "one has failed"


# --- nobody to compare with ---


def test_the_last_row_of_all_is_judged_at_once() -> None:
    court = Court()
    court.fails(1)
    court.trials.judge(court.queue)
    assert court.ended == [], "others may come"
    court.trials.all_have_come = True
    assert court.trials.judge_lonely([court.queue]) == [court.queue]
    assert court.ended == [1]
    assert court.trials.judge_lonely([court.queue]) == [], "nobody is left"


def test_who_has_others_beside_it_is_not_lonely() -> None:
    court = Court()
    court.fails(1)
    court.trials.all_have_come = True
    court.others(1)
    assert court.trials.judge_lonely([court.queue]) == []
    court.trials.judge(court.queue)
    assert court.ended == []
    court.queue.take(0)
    court.queue.backlog.take(1)
    court.queue.in_flight = 1
    assert court.trials.judge_lonely([court.queue]) == [], "one is called just now"
    court.queue.in_flight = 0
    court.queue.resting += 1
    assert court.trials.judge_lonely([court.queue]) == [], "one comes back soon"
    court.resting.parked.add(9)
    assert court.trials.judge_lonely([court.queue]) == [court.queue], "one that is pending may take an hour"
    assert court.ended == [1]


def test_where_nobody_is_waited_for_a_lonely_row_is_judged_at_once() -> None:
    court = Court(wait_s=0.0)
    court.fails(1)
    court.trials.judge(court.queue)
    assert court.ended == [1]


def test_a_row_of_a_quiet_source_waits_for_others_as_long_as_that_is_said() -> None:
    court = Court(wait_s=5.0)
    court.fails(1)
    court.trials.judge(court.queue)
    court.fake.pass_time(4.9)
    assert court.recesses == []
    court.fake.pass_time(0.1)
    (recess,) = court.recesses
    assert recess == Recess(None, 1)
    assert court.trials.on_recess(court.queue, recess.ended) is True
    assert court.ended == [1]
    assert court.trials.on_recess(court.queue, recess.ended) is False, "nobody is on trial any more"


def test_a_recess_is_over_for_nothing_where_others_have_come_or_a_call_has_ended() -> None:
    court = Court()
    court.fails(1)
    court.queue.witnesses.on_answered(1)
    assert court.trials.on_recess(court.queue, 1) is False
    court.others(1)
    assert court.trials.on_recess(court.queue, 2) is False
    assert court.ended == []


def test_no_recess_is_called_where_others_are_there_or_nobody_is_on_trial() -> None:
    court = Court()
    court.trials.judge(court.queue)
    assert court.fake.timers_set == 0
    court.others()
    court.fails(1)
    court.answers(1)
    assert court.fake.timers_set == 0


# --- the governor has closed ---


def test_all_are_acquitted_when_many_are_concerned_and_it_costs_no_attempt_L40() -> None:
    court = Court()
    court.others()
    court.fails(1)
    court.fails(2, Kind.EXHAUSTED)
    assert court.trials.acquit(court.queue) == 2
    assert (court.troubles[1].failed, court.troubles[1].turns) == (0, 0)
    assert (court.troubles[2].failed, court.troubles[2].turns) == (0, 1)
    assert set(court.queue.backlog.seqs()[:2]) == {1, 2}
    all_left(court)


def test_those_that_were_turned_away_wait_on_where_others_are_to_be_asked_first_L71() -> None:
    court = Court()
    court.others()
    court.fails(1, Kind.EXHAUSTED)
    court.fails(2)
    court.fails(3, Kind.EXHAUSTED)
    assert court.trials.acquit(court.queue, turned_away=False) == 1
    assert list(court.queue.witnesses.trials) == [1, 3]
    assert court.trials.open == 2
    assert court.troubles[1].turns == 0
    assert court.queue.backlog.seqs()[0] == 2


def test_a_row_that_leaves_for_another_reason_is_on_trial_no_more() -> None:
    court = Court()
    court.others()
    court.fails(1)
    court.trials.withdraw(court.queue, 2)
    assert court.trials.open == 1
    court.trials.withdraw(court.queue, 1)
    assert court.trials.open == 0
    assert court.queue.witnesses.trials == {}


# --- turned away ---


def test_a_row_that_is_turned_away_while_others_are_answered_ends_and_that_was_an_attempt_L71() -> None:
    court = Court()
    court.others()
    court.fails(1, Kind.EXHAUSTED)
    court.answers(CALLS)
    assert court.ended == [1]
    assert (court.troubles[1].failed, court.troubles[1].turns) == (1, 0)


@pytest.mark.parametrize("many", [True, False])
def test_a_row_that_is_turned_away_among_many_or_alone_is_asked_again_L71(many: bool) -> None:
    court = Court()
    if many:
        court.others()
        court.answers(FEWEST)
        for seq in (100, 101, 102):
            court.queue.witnesses.on_failed(seq)
    court.fails(1, Kind.EXHAUSTED)
    if not many:
        court.trials.all_have_come = True
        court.trials.judge(court.queue)
    assert (court.ended, court.again) == ([], [])
    assert court.queue.backlog.seqs()[0] == 1
    assert (court.troubles[1].failed, court.troubles[1].turns) == (0, 1)
    # Nothing was said against it.
    assert court.troubles[1].doubt == (pytest.approx(3 / 11) if many else 1.0)
    all_left(court)


def test_there_are_trials_only_where_a_time_is_said() -> None:
    assert Court(0.0).trials.held
    assert Court(5.0).trials.held
    assert not Court(None).trials.held
