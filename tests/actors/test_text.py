"""Text of other people, made safe for a terminal and a file (L72, L81)."""

from __future__ import annotations

import pytest

from headrace.actors.text import add_note, remark, remarks_of, visible, without_secrets


@pytest.mark.parametrize(
    ("text", "line", "lines"),
    [
        ("plain", "plain", "plain"),
        ("a\nb", "a\\nb", "a\nb"),
        ("\x1b[2J", "\\x1b[2J", "\\x1b[2J"),
        ("a\tb\n", "a\\tb\\n", "a\\tb\n"),
        ("\u202e", "\\u202e", "\\u202e"),
    ],
)
def test_only_line_feeds_stay_and_only_where_several_lines_may_be_L81(text: str, line: str, lines: str) -> None:
    assert visible(text) == line
    assert visible(text, multiline=True) == lines


class Noted(Exception):
    """An exception whose class has notes of its own, in a form that Python does not give them."""

    __notes__ = ("one of the class",)  # type: ignore[assignment]


def test_notes_that_are_no_list_are_in_nobody_s_way() -> None:
    error = Noted("bad")
    assert remarks_of(error) == []
    remark(error, "row", "row 5 in 'call'")
    add_note(error, "then: OSError")
    assert remarks_of(error) == ["row 5 in 'call'"]
    assert list(error.__notes__) == ["row 5 in 'call'", "then: OSError"]


@pytest.mark.parametrize("notes", [None, 5, "text", ("a", "b")])
def test_whatever_stands_for_its_notes_an_exception_can_be_remarked_on(notes: object) -> None:
    error = ValueError("bad")
    error.__notes__ = notes  # type: ignore[assignment]
    assert remarks_of(error) == []
    remark(error, "row", "row 5 in 'call'")
    assert remarks_of(error) == ["row 5 in 'call'"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://bob:hunter2@db/x is down", "postgresql://bob:[secret]@db/x is down"),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer [secret]"),
        ("{'api_key': 'q1w2', 'max_tokens': 4096}", "{'api_key': '[secret]', 'max_tokens': 4096}"),
        ("Incorrect API key provided: sk-proj-abcdef1234567890", "Incorrect API key provided: [secret]"),
        ("reset, password=hunter2, retry", "reset, password=[secret], retry"),
        ("token limit: 4096", "token limit: 4096"),
        ("monkey=3", "monkey=3"),
    ],
)
def test_what_looks_like_a_secret_is_replaced(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
