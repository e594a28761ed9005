"""Text of other people, made safe for a terminal and a file (L72, L81)."""

from __future__ import annotations

import pytest

from headrace.actors.text import visible


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
