"""What is counted of errors: by type and consequence, with one example, and bounded."""

from __future__ import annotations

from headrace.actors.edges.error_tally import GROUPS_MAX, OTHERS, TEXT_CHARS_MAX, ErrorTally


def test_errors_are_counted_by_type_and_what_came_of_them_with_the_first_as_the_example_L78() -> None:
    tally = ErrorTally()
    tally.count("quarantined", ValueError("no such city"), 41, 3)
    tally.count("quarantined", ValueError("another"), 42)
    tally.count("quarantined", KeyError("name"), (7, 0, 2))
    tally.count("dropped", ValueError("late"), 8)
    told = [(g.count, g.what, g.error, g.row, g.name, g.message, g.attempts) for g in tally.groups()]
    assert told == [
        (2, "quarantined", "ValueError", 41, "41", "no such city", 3),
        (1, "quarantined", "KeyError", 7, "7.0", "'name'", 1),
        (1, "dropped", "ValueError", 8, "8", "late", 1),
    ]


def test_what_ended_without_an_error_is_none() -> None:
    tally = ErrorTally()
    tally.count("dropped", None, 1)
    assert tally.groups() == ()


def test_the_provider_s_own_words_stand_before_the_error_s() -> None:
    tally = ErrorTally()
    tally.count("exhausted", RuntimeError("402"), 0, words="insufficient_quota: add credit")
    assert tally.groups()[0].message == "insufficient_quota: add credit"


def test_it_is_bounded_however_many_types_there_are_and_whatever_they_say() -> None:
    tally = ErrorTally()
    for n in range(3 * GROUPS_MAX):
        tally.count("quarantined", type(f"Error{n}", (Exception,), {})("x" * 10_000_000), n)
    groups = tally.groups()
    assert len(groups) == GROUPS_MAX + 1
    assert sum(group.count for group in groups) == 3 * GROUPS_MAX
    assert groups[0].error == OTHERS
    assert all(len(group.message) <= TEXT_CHARS_MAX + 3 for group in groups)


def test_an_error_that_cannot_say_what_it_is_is_counted_L72() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    tally = ErrorTally()
    tally.count("failed", Mute(), 0)
    assert tally.groups()[0].error == "Mute"


def test_secrets_are_not_kept() -> None:
    tally = ErrorTally()
    tally.count("quarantined", ValueError("401 for https://api.example/v1?key=abc123"), 0)
    assert tally.groups()[0].message == "401 for https://api.example/v1?key=[secret]"
