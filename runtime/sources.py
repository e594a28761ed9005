"""Where rows come from: `sources.csv("in.csv")`, `sources.jsonl("in.jsonl")`; `-` is standard input.

Any iterable or async iterable is a source as it is.

What a file *is* decides how it is read. A regular file (links are followed) is known by its contents, and a run with a
journal goes on where it was in it. Anything else (a pipe, a FIFO, a device, standard input) is a stream: it is read once,
and a run with a journal that is not done cannot go on with it. A gzip file that is called `.gz` is unpacked while it is
read. A byte order mark says which encoding a file is in. What is neither text nor that is refused with what it looks like.
"""

from __future__ import annotations

from .connectors.csv_source import CsvSource
from .connectors.file_source import StrPath
from .connectors.jsonl_source import JsonlSource

__all__ = ["csv", "jsonl"]


def csv(path: StrPath, *, delimiter: str = ",", encoding: str = "utf-8") -> CsvSource:
    """Rows of a CSV file as dicts of text, with the names of the columns from its first line.

    A line with too many or too few fields, with bytes that are no text, or with a quote that is never closed goes to
    quarantine with its number and what stands there. Trailing columns without a name are left out. A first line `sep=;`
    says the separator.

    Args:
        path: A file, `-` for standard input, or a gzip file that is called `.gz`.
        delimiter: One character between two fields.
        encoding: How bytes become text, where no byte order mark says so.

    Raises:
        ConfigError: An option cannot be. What is wrong with the file is told when it is opened.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("in.csv").write_text("city;country\\nLund;SE\\n")
        >>> [outcome.value for outcome in Pipeline().source(sources.csv("in.csv", delimiter=";")).stream()]
        [{'city': 'Lund', 'country': 'SE'}]
    """
    return CsvSource(path, delimiter=delimiter, encoding=encoding)


def jsonl(path: StrPath, *, encoding: str = "utf-8") -> JsonlSource:
    """Rows of a JSON Lines file: the JSON value of each line. Empty lines are no rows.

    A line that is no JSON goes to quarantine with its number and what stands there.

    Args:
        path: A file, `-` for standard input, or a gzip file that is called `.gz`.
        encoding: How bytes become text, where no byte order mark says so.

    Raises:
        ConfigError: An option cannot be. What is wrong with the file is told when it is opened.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("in.jsonl").write_text('{"city": "Lund"}\\n{"city": "Oslo"}\\n')
        >>> [outcome.value for outcome in Pipeline().source(sources.jsonl("in.jsonl")).stream()]
        [{'city': 'Lund'}, {'city': 'Oslo'}]
    """
    return JsonlSource(path, encoding=encoding)
