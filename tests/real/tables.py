"""What was measured, for the end of the tests' output: lines by title."""

from __future__ import annotations

TABLES: dict[str, list[str]] = {}


def note(title: str, header: str, *lines: str) -> None:
    """More lines for a table."""
    TABLES.setdefault(title, [header]).extend(lines)
