"""What is remembered of attempts: how many a row had, here and before, is told once, when it leaves."""

from __future__ import annotations

from headrace.actors.stages.troubles import Troubles


def test_a_row_without_trouble_is_not_remembered() -> None:
    troubles = Troubles()
    assert troubles.described([1, 2]) == (None, None)
    assert troubles.answered([1, 2]) is None
    assert troubles.ended(3) == 0


def test_attempts_of_earlier_stages_are_added_to_those_that_were_made_here() -> None:
    troubles = Troubles()
    troubles.came({1: 3, 2: 2})
    troubles.of(1).failed = 2
    troubles.of(4).failed = 1
    assert troubles.answered([1, 2, 3, 4]) == {1: 5, 2: 2, 4: 2}
    assert troubles.answered([1, 2, 3, 4]) is None


def test_a_row_that_ends_had_the_attempts_that_failed() -> None:
    troubles = Troubles()
    troubles.came({1: 3})
    troubles.of(1).failed = 2
    assert troubles.ended(1) == 4
    assert 1 not in troubles


def test_a_worker_is_told_which_attempt_this_is_and_what_the_row_left() -> None:
    troubles = Troubles()
    troubles.of(1).failed = 2
    troubles.of(2).state = "job 7"
    assert troubles.described([1, 2, 3]) == ({1: 3, 2: 1}, {2: "job 7"})


def test_a_row_that_was_answered_in_an_earlier_life_has_its_attempts_from_there() -> None:
    troubles = Troubles()
    troubles.came({1: 3})
    troubles.recalled(1)
    assert troubles.answered([1]) is None
