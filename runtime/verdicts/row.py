"""What a row of the table of verdicts is, and what looking an exception up in it finds."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from headrace.actors.errors import InternalError


class Word(enum.StrEnum):
    """What an exception means for the call that raised it."""

    TRANSIENT = "transient"
    """The same call may work in a moment: a reset connection, a 502."""
    PERMANENT = "permanent"
    """The same call will fail again: a 404, a constraint of a database."""
    REFUSED = "refused"
    """The other side does not take the call now, and takes it later: a 429."""
    EXHAUSTED = "exhausted"
    """The other side takes no call of this account for long: no credit, a daily quota that is used up, a wrong key."""


HOPE = {Word.EXHAUSTED: 0, Word.REFUSED: 1, Word.TRANSIENT: 2, Word.PERMANENT: 3}
"""Which verdict counts where several exceptions of one call have different ones: the lowest number.

A verdict that concerns all calls comes before one that concerns this call alone, and one that tries again comes before one
that gives the row up: a try in vain costs a call, a row that is given up wrongly is lost.
"""


class Row(NamedTuple):
    """One row of the table: any of `values`, met as the evidence `kind`, means `word`, because of `why`.

    `general`: the evidence says only that the connection failed and not how, as a class such as `APIConnectionError` does.
    What the exceptions inside it say then comes first.
    """

    kind: str
    values: tuple[Any, ...]
    word: Word
    why: str
    general: bool = False


class Finding(NamedTuple):
    """The row that an exception matched, the `value` that matched it, and what else the exception says.

    `retry_after_s`: seconds after which the other side said to come again. `words`: of an exhausted account, the provider's
    own code and message.
    """

    row: Row
    value: Any
    retry_after_s: float | None = None
    words: str | None = None

    @property
    def word(self) -> Word:
        return self.row.word


def by_value(rows: Iterable[Row]) -> Mapping[object, Row]:
    """An index of rows by their values. A value that stands in two rows is a mistake in the table."""
    index: dict[object, Row] = {}
    for row in rows:
        for value in row.values:
            if value in index:
                raise InternalError(f"{row.kind} {value!r} stands in two rows of the table")
            index[value] = row
    return index


def names(*lines: str) -> tuple[str, ...]:
    """The words of some lines, so that a row with many names stays a paragraph.

    >>> names("EAI_AGAIN EAI_FAIL", "EAI_SYSTEM")
    ('EAI_AGAIN', 'EAI_FAIL', 'EAI_SYSTEM')
    """
    return tuple(" ".join(lines).split())
