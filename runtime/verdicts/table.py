"""The whole table of verdicts, for people: `python -m headrace.runtime.verdicts.table` prints it."""

from __future__ import annotations

import errno
import sys
import textwrap
from collections.abc import Iterator

from . import classes, codes, databases, evidence, network, statuses
from .judge import UNKNOWN
from .row import Row


def rows() -> Iterator[Row]:
    """Every row, in the order in which the kinds of evidence are looked at."""
    yield from (*databases.SQLSTATES, databases.INVALIDATED, databases.OTHER_SQLSTATE)
    yield from (*databases.MYSQL_NUMBERS, databases.OTHER_MYSQL)
    yield from (*databases.SQLITE_CODES, databases.OTHER_SQLITE)
    yield from (*databases.MONGO_CODES, databases.OTHER_MONGO)
    yield from (*codes.CODES, codes.DAILY)
    yield from (*statuses.STATUSES, statuses.OTHER_4XX, statuses.OTHER_5XX)
    yield from (statuses.ASKED_BACK, statuses.NONE_LEFT, statuses.SHOULD_RETRY, statuses.SHOULD_NOT_RETRY)
    yield from network.GRPC_STATUSES
    yield from (*network.TLS_REASONS, network.TLS_BROKEN)
    yield from (*network.RESOLVER_NAMES, network.UNRESOLVED)
    yield from network.ERRNOS
    yield from evidence.FLAGS
    yield from classes.CLASSES
    yield UNKNOWN


def as_text() -> str:
    """The table as lines: the kind of evidence, the verdict, what matches, and why."""
    lines: list[str] = []
    kind = ""
    for row in rows():
        if row.kind != kind:
            kind = row.kind
            lines += ["", kind]
        word = f"{row.word}{'?' if row.general else ''}"
        # The numbers of this system have names that every system shares.
        values = [errno.errorcode.get(value, value) if kind == network.ERRNO else value for value in row.values]
        shown = ", ".join(map(str, values))
        lines += textwrap.wrap(shown, 120, initial_indent=f"  {word:11}", subsequent_indent=" " * 13)
        lines += textwrap.wrap(row.why, 120, initial_indent=" " * 15, subsequent_indent=" " * 15)
    note = "A question mark: what the exceptions inside say comes first."
    return "\n".join([note, *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(as_text())
