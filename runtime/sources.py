"""Where rows come from: `sources.csv("in.csv")`, `sources.jsonl("in.jsonl")`; `-` is standard input.

Any iterable or async iterable is a source as it is.
"""

from __future__ import annotations

from .connectors.files import CsvSource, JsonlSource, StrPath

__all__ = ["csv", "jsonl"]


def csv(path: StrPath, *, delimiter: str = ",", encoding: str = "utf-8") -> CsvSource:
    """Rows as dicts, one string a column. A line with too many or too few fields goes to quarantine with its number."""
    return CsvSource(path, delimiter=delimiter, encoding=encoding)


def jsonl(path: StrPath) -> JsonlSource:
    """Rows as the JSON value of each line. A line that is no JSON goes to quarantine with its number."""
    return JsonlSource(path)
