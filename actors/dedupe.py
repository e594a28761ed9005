"""A dedupe: drops each row whose key one of the last rows has had.

Told: `Rows`, `OutOfTurn` and `EndOfRows` by the reorder buffer in front of it, `Start` and `Abort` by the conductor. Tells:
`Noted` to the journal; `Rows`, `Outcomes`, `Gaps` and `EndOfRows` by its outputs, `Drained` to the conductor.

Who owns what. The reorder buffer owns the order: rows come here in the order of the source, so that of those with one key
the first is kept, whatever the order in which workers answered. This actor owns what it remembers (`buffers/recent.py`): the
keys of the last `within` rows that came, dropped ones among them, so that memory is bounded. It holds no row, and a row that
does not come here (it was dropped, or went another way) is not counted.

Promises: no two rows that are within so many rows of each other go on with one key, also over several lives of a run, and
the first of them is not lost. What was found of a row is told to the journal before anybody else hears of the row. A row
that was not done when its process was killed comes again, gets the same word again, and is not counted again. A row whose
key cannot be used is quarantined, and is not counted.

In a graph. Behind a route or in a branch of a fork it sees the rows of that branch; parts and pieces are rows of their own,
and so is a batch. A part that it drops is told to the join as one that will not come.

A row that is told to be out of turn, since one before it was interrupted, is interrupted: it may yet be a duplicate of that
one. A row that `headrace retry` brings back, and whose word is not known any more, comes after its turn. It is compared with
the rows that are remembered, and, if its neighbours are forgotten, with the others that came back like it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .awaitables import at_once
from .buffers.backlog import as_seqs
from .buffers.recent import Recent, Word, digest_of
from .edges.operators import ONWARD
from .edges.outputs import NodeStatistics, Outputs
from .errors import HeadraceError
from .journaling.recovered import Notes
from .protocol import Ended, Message, Status
from .quantities import key_of
from .rows.identity import Id, Ids

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Word).decode


class Duplicate(HeadraceError, ValueError):
    """A row was dropped, for an earlier one has its key. `of`: which one, such as `7`, or `7.0` for a piece of it."""

    def __init__(self, of: str) -> None:
        super().__init__(f"duplicate of row {of}")
        self.of = of

    def __reduce__(self) -> tuple[type[Duplicate], tuple[str]]:
        return Duplicate, (self.of,)


class DedupeTerms(msgspec.Struct, frozen=True):
    """What the user said of a dedupe. `within`: so many rows are remembered."""

    name: str
    key: Callable[[Any], Hashable]
    within: int


Told = protocol.Rows | protocol.OutOfTurn | protocol.EndOfRows | protocol.Credit | protocol.Start | protocol.Abort


class Dedupe(Actor):
    """It does what the module says. `notes`: what it noted in earlier lives of the run; `ended`: rows that ended here in
    them."""

    def __init__(
        self,
        terms: DedupeTerms,
        outputs: Outputs,
        conductor: Ref,
        journal: Ref | None = None,
        notes: Notes | None = None,
        ended: Mapping[Id, Ended] | None = None,
    ) -> None:
        notes = notes or Notes()
        self._terms = terms
        self._outputs = outputs
        self._conductor = conductor
        self._journal = journal
        self._open = dict(notes.open)
        self._ended = dict(ended or {})
        self._recent = Recent(terms.within, notes.turns, ((turn, seq, _decode(word)) for turn, seq, word in notes.last))
        self._came = 0
        self._over = False

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)

    def receive(self, message: Told) -> None:
        if self._over:
            return
        match message:
            case protocol.Rows(seqs, values, attempts):
                self._came += len(seqs)
                self._on_rows(seqs, values, attempts or {})
            case protocol.OutOfTurn(seqs):
                self._came += len(seqs)
                name = self._terms.name
                self._outputs.end([Ended(seq, Status.INTERRUPTED, None, 1, None, name) for seq in seqs])
            case protocol.EndOfRows(total):
                self._outputs.finish(total)
                self._leave()
            case protocol.Start() | protocol.Credit():
                pass
            case protocol.Abort():
                self._leave()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _on_rows(self, seqs: Ids, values: list[Any], attempts: dict[Id, int]) -> None:
        turn, name = self._recent.turns, self._terms.name
        noted: list[tuple[Id, Word]] = []
        kept: list[tuple[Id, Any]] = []
        dropped: list[Ended] = []
        bad: list[Ended] = []
        again: list[Ended] = []
        for seq, value in zip(seqs, values, strict=True):
            ended = self._ended.pop(seq, None)
            if ended is not None:
                (dropped if ended.status is Status.DROPPED else again).append(
                    msgspec.structs.replace(ended, value=value)
                )
                continue
            word = self._word_again(seq)
            if word is None:
                try:
                    digest = digest_of(key_of(at_once("key=", self._terms.key(value))))
                except BaseException as error:
                    bad.append(Ended(seq, Status.QUARANTINED, error, attempts.get(seq, 1), value, name))
                    continue
                word = self._recent.take(seq, digest)
                noted.append((seq, word))
            if word.of is None:
                kept.append((seq, value))
            else:
                dropped.append(Ended(seq, Status.DROPPED, Duplicate(word.of), attempts.get(seq, 1), value, name))
        self._note(turn, noted)
        if again:
            self._outputs.end(again, recalled=True)
        if bad:
            self._outputs.end(bad)
        if dropped:
            self._outputs.drop_as(dropped)
        if len(kept) == len(seqs):
            self._outputs.send(ONWARD, seqs, values, attempts or None)
        elif kept:
            tries = {seq: attempts[seq] for seq, _ in kept if seq in attempts}
            self._outputs.send(ONWARD, as_seqs([seq for seq, _ in kept]), [value for _, value in kept], tries or None)

    def _word_again(self, seq: Id) -> Word | None:
        """What was found of this row in an earlier life, if it had its turn there."""
        word = self._open.pop(seq, None) if self._open else None
        if word is None:
            return None
        self._recent.pass_over(seq)
        return _decode(word)

    def _note(self, turn: int, noted: list[tuple[Id, Word]]) -> None:
        if noted and self._journal is not None:
            seqs, words = as_seqs([seq for seq, _ in noted]), [_encode(word) for _, word in noted]
            self.context.tell(self._journal, protocol.Noted(self._terms.name, turn, seqs, words, self._terms.within))

    def _leave(self) -> None:
        self._over = True
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> NodeStatistics:
        return NodeStatistics(self._terms.name, self._outputs.traffic(self._came, 0, 0))
