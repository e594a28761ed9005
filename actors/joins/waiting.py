"""What a join remembers of rows: of most, the row and the parts that have come, column by column; of a few, more than that.

State only; the join decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from ..errors import InternalError
from ..rows.identity import Id, Ids, part
from ..states import Table, check_move
from .terms import JoinTerms


class Word(Enum):
    """How it stands with the word of a join on one row.

    AWAITED: it has not been said. CUT: a part was interrupted and comes again in another life of the run, so there is no new
    word in this one. SAID: parts that come now are late.
    """

    AWAITED = auto()
    CUT = auto()
    SAID = auto()


WORDS: Table[Word] = MappingProxyType(
    {
        Word.AWAITED: frozenset({Word.CUT, Word.SAID}),
        # Where an earlier life has said it.
        Word.CUT: frozenset({Word.SAID}),
        Word.SAID: frozenset(),
    }
)


class Odd:
    """What is remembered of a row that is not as most rows are: that lacks a part, or goes on before the last one came."""

    __slots__ = ("absent", "awaited", "names", "word")

    def __init__(self) -> None:
        self.word = Word.AWAITED
        self.absent: dict[int, BaseException | None] = {}
        """Parts that will not come, with their error."""
        self.names: dict[int, Id] = {}
        """Of parts of which something went elsewhere: what they are called since."""
        self.awaited: set[int] = set()
        """Once the word has been said: those that have not been heard of."""

    def cut_off(self) -> None:
        """A part of the row was interrupted."""
        if self.word is Word.AWAITED:
            self._go(Word.CUT)

    def say(self, awaited: set[int]) -> None:
        """The word has been said, and these parts have not been heard of."""
        self._go(Word.SAID)
        self.awaited = awaited

    def _go(self, to: Word) -> None:
        check_move("the word on a row", WORDS, self.word, to)
        self.word = to


class Waiting:
    """The rows of one join: those without a word, their parts, and those of whose parts something is yet to be heard."""

    def __init__(self, terms: JoinTerms, known: Mapping[Id, tuple[int, ...]]) -> None:
        """`known`: the words of an earlier life of the run: with which parts."""
        self._terms = terms
        self._expected = len(terms.branches)
        self.known = dict(known)
        self.rows: dict[Id, Any] = {}
        """Forked, and no word has been said."""
        self.parts: dict[int, dict[Id, Any]] = {index: {} for index in terms.branches}
        """Those that wait for the others, by branch."""
        self._columns: list[dict[Id, Any]] = [self.rows, *self.parts.values()]
        self._lacking = 0
        """The column that rows were found not to be in the last time. It is looked at first, and then those after it: else
        every part that comes would look through the columns of all that came before, quadratic in the number of branches."""
        self.odd: dict[Id, Odd] = {}
        self.attempts: dict[Id, int] = {}
        """Of rows whose parts took more than one, all of them together."""

    @property
    def is_empty(self) -> bool:
        """Nothing is waited for, and nothing more is to be heard of."""
        return not self.rows and not self.odd

    def here(self) -> int:
        """Parts that wait for others."""
        return sum(map(len, self.parts.values()))

    def odd_one(self, seq: Id) -> Odd:
        """What is remembered of a row that is odd from now on."""
        odd = self.odd.get(seq)
        if odd is None:
            odd = self.odd[seq] = Odd()
        return odd

    def has_odd(self, seqs: Ids) -> bool:
        """Whether one of these rows is odd."""
        return bool(self.odd) and not self.odd.keys().isdisjoint(seqs)

    def has_known(self, seqs: Ids) -> bool:
        """Whether an earlier life of the run has said its word on one of these rows."""
        return bool(self.known) and not self.known.keys().isdisjoint(seqs)

    def arrive(self, index: int, seqs: Ids, values: list[Any]) -> None:
        """Parts of these rows have come, by the branch of that index."""
        here = self.parts[index]
        n = len(here)
        here.update(zip(seqs, values, strict=True))
        if len(here) - n != len(seqs):
            raise InternalError(f"a part of {seqs[0]} to {seqs[-1]} came twice")

    def tried(self, seq: Id, n: int) -> None:
        """A part of this row took `n` attempts."""
        self.attempts[seq] = self.attempts.get(seq, 1) + n - 1

    def lose(self, seq: Id, index: int, error: BaseException | None, *, cut: bool) -> bool:
        """A part of the row will not come. `cut`: it was interrupted, and comes again in another life of the run. False:
        the word has been said already."""
        odd = self.odd_one(seq)
        if cut:
            odd.cut_off()
        if index in odd.absent:
            raise InternalError(f"part {index} of {seq} ended twice")
        if seq in self.parts[index]:
            raise InternalError(f"part {index} of {seq} has come, and now ended")
        if odd.word is Word.SAID:
            self.heard_of(seq, index)
            return False
        odd.absent[index] = error
        return True

    def heard_of(self, seq: Id, index: int) -> None:
        """A part of a row on which the word has been said. With the last of them, it is forgotten."""
        odd = self.odd[seq]
        if odd.word is not Word.SAID:
            raise InternalError(f"row {seq} still waits for its word")
        if index not in odd.awaited:
            raise InternalError(f"part {index} of {seq} was heard of twice")
        odd.awaited.remove(index)
        if not odd.awaited:
            del self.odd[seq]
            self.attempts.pop(seq, None)

    def name_of(self, seq: Id, index: int) -> Id:
        """What a part of the row is called."""
        odd = self.odd.get(seq)
        return (odd.names.get(index) if odd is not None else None) or part(seq, index, self._terms.ways)

    def is_cut(self, seq: Id) -> bool:
        """A part of it was interrupted: it has no new word in this life, and ends when all of its parts are heard of."""
        return seq in self.odd and self.odd[seq].word is Word.CUT

    # --- who is ready ---

    def whole(self, seqs: Ids) -> Ids:
        """Those of these rows of which all parts are here; none of them is odd."""
        ready, wanted, n = seqs, set(seqs), len(self._columns)
        for at in range(self._lacking, self._lacking + n):
            here = self._columns[at % n]
            if not here.keys() >= wanted:
                self._lacking = at % n
                ready = [seq for seq in ready if seq in here]
                if not ready:
                    break
                wanted = set(ready)
        return ready

    def is_ready(self, seq: Id) -> bool:
        """Whether the word on this row can be said."""
        known, odd = self.known.get(seq), self.odd.get(seq)
        if known is not None and odd is not None and not odd.absent.keys().isdisjoint(known):
            # One of the parts with which it said its word has ended otherwise now.
            del self.known[seq]
            known = None
        if known is not None:
            return all(seq in self.parts[index] for index in known)
        absent = len(odd.absent) if odd is not None else 0
        here = sum(seq in parts_ for parts_ in self.parts.values())
        if odd is not None and odd.word is Word.CUT:
            return here + absent == self._expected
        if here + absent == self._expected or (self._terms.require == "any" and here > 0):
            return True
        # Not even if all the others come.
        return self._expected - absent < self._terms.needed
