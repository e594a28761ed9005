"""How often which error came, and one example of each: bounded, however many rows fail.

State only; whoever counts in it decides what counts. No row and no exception is kept: of an example, the row's identity and
the error's own text.
"""

from __future__ import annotations

import msgspec

from ..protocol import ErrorGroup
from ..rows.identity import Id, row_of, show
from ..text import kind_of, message_of, without_secrets

GROUPS_MAX = 32
"""Kinds of errors that one place tells apart; those that come later are counted together."""
TEXT_CHARS_MAX = 500
"""Of an example's message."""
OTHERS = "other errors"


class ErrorTally:
    """It does what the module says. `recalled`: rows that ended here in an earlier life of the run, counted there."""

    __slots__ = ("_counts", "_firsts", "recalled")

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._firsts: dict[tuple[str, str], ErrorGroup] = {}
        self.recalled = 0

    def count(
        self, what: str, error: BaseException | None, seq: Id, attempts: int = 1, words: str | None = None
    ) -> None:
        """One more. `words`: what the other side says of it, in the place of the error's message. It never raises."""
        if error is None:
            return
        key = (what, kind_of(error))
        known = self._counts.get(key)
        if known is None:
            if len(self._counts) >= GROUPS_MAX:
                key = (what, OTHERS)
                known = self._counts.get(key, 0)
            else:
                known = 0
            if not known:
                text = without_secrets(words or message_of(error))
                if len(text) > TEXT_CHARS_MAX:
                    text = f"{text[:TEXT_CHARS_MAX]}..."
                self._firsts[key] = ErrorGroup(what, key[1], 0, row_of(seq), show(seq), text, attempts)
        self._counts[key] = known + 1

    def groups(self) -> tuple[ErrorGroup, ...]:
        """What was counted, the most frequent first."""
        found = [msgspec.structs.replace(first, count=self._counts[key]) for key, first in self._firsts.items()]
        found.sort(key=lambda group: -group.count)
        return tuple(found)
