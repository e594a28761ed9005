"""What earlier lives of a run have left to the next one. A run that is new is one that nothing was left to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

import msgspec

from .. import protocol
from ..protocol import Budget, Ended, Lessons, Status
from ..rows.identity import Bundle, Id, rows_of
from ..rows.rowset import RowSet

LASTING = frozenset({Status.DELIVERED, Status.DROPPED, Status.QUARANTINED})
"""Outcomes of rows that need not be done again. Those of a run that failed or was cut short do not last."""


class Recovered(msgspec.Struct, frozen=True):
    """It does what the module says.

    `first`: the oldest row that is to be done; `done`: those after it that are not, as (first, bits). `counts`: of all
    that are done. The source begins with row `row`, which is at `place`; None: at the beginning. Of rows that are to be
    done again: `answers` and ends of calls by stage; `batches` by node; `joins`, with which parts; `parked`,
    with their state and in how many seconds they are due; `written`, by sink. `noted`: what nodes with state have noted.
    `places`: how far each sink has written. `crowd`: as many rows must fit into the window. `again`:
    rows that had this outcome, and are to come again. `learned`: what was found out of each limit.
    """

    first: int = 0
    done: tuple[tuple[int, int], ...] = ()
    counts: Mapping[Status, int] = {}
    row: int = 0
    place: Any = None
    answers: Mapping[str, dict[Id, Answer]] = {}
    batches: Mapping[str, list[Bundle]] = {}
    joins: Mapping[str, dict[Id, tuple[int, ...]]] = {}
    parked: Mapping[str, dict[Id, tuple[Any, float]]] = {}
    written: Mapping[str, set[Id]] = {}
    noted: Mapping[str, Notes] = {}
    places: Mapping[str, Any] = {}
    crowd: int = 0
    again: tuple[tuple[Status, int], ...] = ()
    learned: Mapping[Budget, Lessons] = {}

    @property
    def rows(self) -> int:
        """How many rows are done."""
        return sum(self.counts.values())


class Notes(msgspec.Struct, frozen=True):
    """What a node with state has noted of its rows, as bytes that only it reads (see `protocol.Noted`).

    `turns`: how many rows have had their turn there. `last`: the last ones of them that it needs, in the order of their
    turns, as (turn, who, word). `open`: the words of all rows that are not done, which will come again.
    """

    turns: int = 0
    last: tuple[tuple[int, Id, bytes], ...] = ()
    open: Mapping[Id, bytes] = {}


class Answer(msgspec.Struct, frozen=True):
    """What a call answered, or how the row ended there."""

    value: Any = None
    attempts: int = 1
    ended: Ended | None = None


NEW = Recovered()


class Settlements(msgspec.Struct):
    """Whole rows that are done: all before `first`, of which only the counts are known."""

    first: int = 0
    counts: dict[Status, int] = {}


def past_of(
    settled: Iterable[tuple[Status, int, int]],
    batches: Iterable[tuple[str, Bundle]],
    entries: Iterable[Any],
    before: Settlements | None = None,
) -> Recovered:
    """What a journal amounts to: rows that are `settled`, as (status, first, bits; below 0: not so, after all), `batches`,
    by node, and all else, as `entries`. Of rows that are done nothing is kept. `before`: of rows that `settled` does not
    speak of."""
    done = _Done(before or Settlements())
    for status, first, bits in settled:
        if bits < 0:
            done.remove(first)
        elif status in LASTING:
            done.add(status, first, bits)
    gathered: dict[str, list[Bundle]] = {}
    for node, bundle in batches:
        gathered.setdefault(node, []).append(bundle)
    done.tie([set(rows_of(bundle)) for of in gathered.values() for bundle in of])
    answers: dict[str, dict[Id, Answer]] = {}
    joins: dict[str, dict[Id, tuple[int, ...]]] = {}
    parked: dict[str, dict[Id, tuple[Any, float]]] = {}
    written: dict[str, set[Id]] = {}
    places: dict[str, Any] = {}
    learned: dict[Budget, Lessons] = {}
    noted: dict[str, list[protocol.Noted]] = {}
    row, place = 0, None
    for entry in entries:
        match entry:
            case protocol.Answers(node, seqs, values, attempts):
                tries, of = attempts or {}, answers.setdefault(node, {})
                for seq, value in zip(seqs, values, strict=True):
                    if done.lacks(seq):
                        of[seq] = Answer(value, tries.get(seq, 1))
            case protocol.Ends(node, ended):
                of = answers.setdefault(node, {})
                of.update((e.seq, Answer(ended=e)) for e in ended if e.status in LASTING and done.lacks(e.seq))
            case protocol.Decided(node, seqs, parts):
                words = zip(seqs, parts, strict=True)
                joins.setdefault(node, {}).update((seq, word) for seq, word in words if done.lacks(seq))
            case protocol.Noted(node):
                noted.setdefault(node, []).append(entry)
            case protocol.Parked(node, seq, state, _, after_s):
                if done.lacks(seq):
                    parked.setdefault(node, {})[seq] = (state, after_s)
            case protocol.ReadTo(at, where, _):
                if row <= at <= done.first:
                    row, place = at, where
            case protocol.Settled(what, seqs, sink, where):
                if sink is not None and what in LASTING:
                    written.setdefault(sink, set()).update(filter(done.lacks, seqs))
                    places[sink] = where if where is not None else places.get(sink)
            case protocol.LimitLearned(budget, lessons):
                learned[budget] = lessons
            case (
                protocol.RowsSettled() | protocol.Formed() | protocol.Faulted() | protocol.Cooled() | protocol.Metered()
            ):
                pass
            case _:
                raise AssertionError(f"a journal has no {type(entry).__name__}")
    return Recovered(
        first=done.first,
        done=tuple(done.known.beyond(done.first)),
        counts=done.counts,
        row=row,
        place=place,
        answers=answers,
        batches={node: list(filter(done.lacks, of)) for node, of in gathered.items()},
        joins=joins,
        parked={
            node: {seq: rest for seq, rest in of.items() if seq not in answers.get(node, {})}
            for node, of in parked.items()
        },
        written=written,
        noted={node: _notes(told, done) for node, told in noted.items()},
        places={sink: where for sink, where in places.items() if where is not None},
        again=tuple(done.again),
        learned=learned,
        crowd=len({row for of in answers.values() for seq in of for row in rows_of(seq)}),
    )


def _notes(told: list[protocol.Noted], done: _Done) -> Notes:
    turns = max(each.turn + len(each.seqs) for each in told)
    words = [
        (each.turn + i, seq, word)
        for each in sorted(told, key=lambda each: each.turn)
        for i, (seq, word) in enumerate(zip(each.seqs, each.words, strict=True))
    ]
    return Notes(
        turns=turns,
        last=tuple(words[bisect_left(words, turns - told[-1].reach, key=itemgetter(0)) :]),
        open={seq: word for _, seq, word in words if done.lacks(seq)},
    )


class _Done:
    """Rows that are done, as bits."""

    def __init__(self, before: Settlements) -> None:
        self.first = self._floor = before.first
        self.counts = dict(before.counts)
        self.known = RowSet()
        self.again: list[tuple[Status, int]] = []
        self._records: list[tuple[Status, int, int]] = []

    def add(self, status: Status, first: int, bits: int) -> None:
        # A row that came again with its batch has been settled again.
        first, bits = self.known.without(first, bits)
        if self.known.add(first, bits):
            self._records.append((status, first, bits))
            self.counts[status] = self.counts.get(status, 0) + bits.bit_count()

    def tie(self, together: list[set[int]]) -> None:
        """A row that is done, but is in a batch with one that is not, is to come again, for the batch to be the same."""
        floor, low = self._floor, self._floor
        loose = True
        while loose:
            loose = False
            for rows in together:
                here = [row for row in rows if row >= floor and self.known.has(row)]
                before = [row for row in rows if row < floor]
                if len(here) + len(before) == len(rows):
                    continue
                # Of those before all that was looked at, somebody must look again.
                low = min([low, *before])
                for row in here:
                    loose = True
                    self.again.append((self.remove(row), row))
        self.first = low if low < floor else self.known.after(floor)

    def remove(self, row: int) -> Status:
        self.known.remove(row)
        latest = reversed(self._records)
        status = next(status for status, first, bits in latest if row >= first and bits >> (row - first) & 1)
        self.counts[status] -= 1
        return status

    def lacks(self, of: Id) -> bool:
        """Any of its rows is to be done."""
        return any(row >= self.first and not self.known.has(row) for row in rows_of(of))
