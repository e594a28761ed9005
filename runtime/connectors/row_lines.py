"""In which line of its file a row stands. The file is read again up to there, so this is for a few rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .csv_source import CsvSource
from .file_source import FileSource
from .input_file import is_stream
from .jsonl_source import JsonlSource

ROWS_MAX = 200_000
"""For a report, rows behind this one are not looked for: it would take more than a second."""


def source_of(told: Mapping[str, Any]) -> FileSource | None:
    """The source that a fingerprint tells of, if its rows have lines. Raises `ConfigError` where it cannot be."""
    path = told.get("path")
    if path is None or path == "-" or told.get("stream"):
        return None
    if told["kind"] == "CsvSource":
        return CsvSource(path, delimiter=told["delimiter"], encoding=told["encoding"])
    if told["kind"] == "JsonlSource":
        return JsonlSource(path, encoding=told.get("encoding", "utf-8"))
    return None


def places_of(source: FileSource, rows: Collection[int]) -> dict[int, str]:
    """The file and the line of each of these rows that is there, by its number from 0."""
    found: dict[int, str] = {}
    at = 0
    source.open()
    try:
        for row in sorted(rows):
            while at < row:
                values, ended, _ = source.read(row - at)
                at += len(values)
                if ended and at <= row:
                    return found
            values, _, _ = source.read(1)
            if not values:
                return found
            at += 1
            found[row] = source.place()
    finally:
        source.close()
    return found


def lines_in(source: object, rows: Collection[int]) -> dict[int, str]:
    """The same for a report: of regular files only, of the first rows only, and nothing where it cannot be read again."""
    wanted = [row for row in rows if row < ROWS_MAX]
    if not wanted or not isinstance(source, FileSource) or is_stream(source.path):
        return {}
    try:
        return places_of(source._other(), wanted)
    except Exception:
        # What is wrong with the file now is no matter of a run that has ended.
        return {}
