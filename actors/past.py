"""What earlier lives of a run have left to the next one. A run that is new is one that nothing was left to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from . import protocol
from .frontier import Frontier, bits_of
from .identity import Bundle, Id, Ids, rows_of
from .protocol import Ended, Status

LASTING = frozenset({Status.DELIVERED, Status.DROPPED, Status.QUARANTINED})
"""Outcomes of rows that need not be done again. Those of a run that failed or was cut short do not last."""


class Past(msgspec.Struct, frozen=True):
    """See the module.

    `first`: the oldest row that is to be done; `done`: those after it that are not, as (first, bits). `counts`: of all
    that are done. The source begins with row `row`, which is at `place`; None: at the beginning. Of rows that are to be
    done again: `answers` and ends of calls by stage; `batches` by node; `joins`, with which parts; `written`, by sink.
    `places`: how far each sink has written. `crowd`: as many rows must fit into the window.
    """

    first: int = 0
    done: tuple[tuple[int, int], ...] = ()
    counts: Mapping[Status, int] = {}
    row: int = 0
    place: Any = None
    answers: Mapping[str, dict[Id, Answer]] = {}
    batches: Mapping[str, list[Bundle]] = {}
    joins: Mapping[str, dict[Id, tuple[int, ...]]] = {}
    written: Mapping[str, set[Id]] = {}
    places: Mapping[str, Any] = {}
    crowd: int = 0

    @property
    def rows(self) -> int:
        """How many are done."""
        return sum(self.counts.values())


class Answer(msgspec.Struct, frozen=True):
    """What a call answered, or how the row ended there."""

    value: Any = None
    attempts: int = 1
    ended: Ended | None = None


NEW = Past()


class Settlements(msgspec.Struct):
    """Whole rows that are done, by outcome: all that a `Past` needs of those before `first`."""

    first: int = 0
    counts: dict[Status, int] = {}


def past_of(entries: Iterable[Any], before: Settlements | None = None) -> Past:
    """What these entries of a journal, in their order, amount to. `before`: of rows that they do not speak of."""
    before = before or Settlements()
    status: dict[int, Status] = {}
    answers: dict[str, dict[Id, Answer]] = {}
    batches: dict[str, list[Bundle]] = {}
    joins: dict[str, dict[Id, tuple[int, ...]]] = {}
    written: dict[str, set[Id]] = {}
    places: dict[str, Any] = {}
    reads: list[tuple[int, Any]] = [(0, None)]
    for entry in entries:
        match entry:
            case protocol.Answers(node, seqs, values, attempts):
                tries = attempts or {}
                of = answers.setdefault(node, {})
                for seq, value in zip(seqs, values, strict=True):
                    of[seq] = Answer(value, tries.get(seq, 1))
            case protocol.Ends(node, ended):
                of = answers.setdefault(node, {})
                of.update((end.seq, Answer(ended=end)) for end in ended if end.status in LASTING)
            case protocol.Formed(node, bundles):
                batches.setdefault(node, []).extend(bundles)  # type: ignore[arg-type]
            case protocol.Decided(node, seqs, parts):
                joins.setdefault(node, {}).update(zip(seqs, parts, strict=True))
            case protocol.ReadTo(row, place, _):
                reads.append((row, place))
            case protocol.Settled(what, seqs, sink, place):
                if sink is not None and what in LASTING:
                    written.setdefault(sink, set()).update(seqs)
                    if place is not None:
                        places[sink] = place
            case protocol.RowsSettled(what, seqs):
                if what in LASTING:
                    status.update(dict.fromkeys(_rows(seqs), what))
            case _:
                raise AssertionError(f"a journal has no {type(entry).__name__}")
    _tie(status, [bundle for of in batches.values() for bundle in of])
    counts = dict(before.counts)
    for what in status.values():
        counts[what] = counts.get(what, 0) + 1
    known = Frontier()
    for row in status:
        known.add(row, 1)
    first = known.after(before.first)
    # What is tied to a row that is to be done is counted with it, wherever it stands.
    later = sorted(row for row in status if row > first)
    place_of = max((read for read in reads if read[0] <= first), key=lambda read: read[0])
    todo = _Todo(first, set(later))
    return Past(
        first=first,
        done=(bits_of(later),) if later else (),
        counts=counts,
        row=place_of[0],
        place=place_of[1],
        answers={node: {i: a for i, a in of.items() if todo.has(i)} for node, of in answers.items()},
        batches={node: [bundle for bundle in of if todo.has(bundle)] for node, of in batches.items()},
        joins={node: {i: p for i, p in of.items() if todo.has(i)} for node, of in joins.items()},
        written={sink: {i for i in of if todo.has(i)} for sink, of in written.items()},
        places=places,
        crowd=len({row for of in answers.values() for i in of if todo.has(i) for row in rows_of(i)}),
    )


def _rows(seqs: Ids) -> Iterator[int]:
    for seq in seqs:
        assert type(seq) is int, "whole rows"
        yield seq


def _tie(status: dict[int, Status], bundles: list[Bundle]) -> None:
    """A row that is done, but is in a batch with one that is not, is to come again, for the batch to be the same."""
    together = [set(rows_of(bundle)) for bundle in bundles]
    loose = True
    while loose:
        tied = [rows for rows in together if not status.keys() >= rows and not status.keys().isdisjoint(rows)]
        for row in {row for rows in tied for row in rows}:
            status.pop(row, None)
        loose = bool(tied)


class _Todo:
    """Rows that are to be done."""

    def __init__(self, first: int, done: set[int]) -> None:
        self._first = first
        self._done = done

    def has(self, of: Id) -> bool:
        """Any of its rows is."""
        return any(row >= self._first and row not in self._done for row in rows_of(of))
