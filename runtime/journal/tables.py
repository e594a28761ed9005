"""What a journal is made of: tables of records, whichever store they are in.

A record of a table is one thing that happened, as a tuple of what its columns name, and ends with its checksum (`seal`).
Rows of the source are numbers, and what they became in a graph is named by `path` (`values/codec.py`; empty for a plain
row).
"""

from __future__ import annotations

import msgspec

Value = int | float | str | bytes | None
"""What stands in a column. Text may hold U+0000, as messages of errors do, and no lone surrogate; integers have 64 bits."""
Record = tuple[Value, ...]
"""Of a table, with its seal at the end where a store has it, and without where it was read and found to be what was
written."""


class Table(msgspec.Struct, frozen=True):
    """`columns`: their names, without the seal. `key`: those by which a record is known; one that is written under the same
    key replaces it. Where there is none, records stand in the order in which they were written."""

    columns: tuple[str, ...]
    key: tuple[str, ...] = ()


ROW_KEY = ("run", "row", "node", "path")


def _table(columns: str, *key: str) -> Table:
    return Table(tuple(columns.split()), key)


TABLES = {
    "run": _table("id key name began fingerprint origin folder home", "id"),
    "progress": _table("run mark reach total tally", "run"),
    "life": _table("run n began ended state", "run", "n"),
    "name": _table("id name", "id"),
    "answer": _table("run row node path attempts at took value whole", *ROW_KEY),
    "ended": _table("run row node path attempts at status error message", *ROW_KEY),
    "fault": _table("run row node path at took kind error message retry_after"),
    "parked": _table("run row node path due state", *ROW_KEY),
    "cooldown": _table("run node at until closure"),
    "batch": _table("run node first last members"),
    "word": _table("run row node path parts", *ROW_KEY),
    "written": _table("run sink status first last ids place at"),
    "settled": _table("run status first last n bits"),
    "read": _table("run row place"),
    "given": _table("run first digests"),
    "learned": _table("run name shared at stated priors", "run", "name", "shared"),
    "spent": _table("run life node amounts", "run", "life", "node"),
    "noted": _table("run node turn first last ids words reach", "run", "node", "turn"),
}
"""Of a node that is named: its number in `name`."""
TALLIED = (
    "answer", "ended", "fault", "parked", "cooldown", "batch", "word", "written", "settled", "given", "learned", "spent",
    "noted",
)  # fmt: skip
"""Tables of which `progress` tells how many records each run has, and the sum of their seals."""
