"""What a journal's file leaves to the next life of a run: only what is not done, and where that begins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.identity import Bundle
from headrace.actors.past import Answer, Past, Settlements, past_of
from headrace.actors.protocol import Ended, Status
from headrace.runtime.errors import Recalled

from .codec import Values, decode_bits, decode_id, decode_ids, decode_span
from .file import JournalFile

_unpack = msgspec.msgpack.decode


class Recovery:
    """Of one run. `values`: how each stage's answers are written down. Raises `Damaged` where something is not what was
    written."""

    def __init__(self, journal: JournalFile, run: int, values: dict[str, Values]) -> None:
        self._journal = journal
        self._db = journal.db
        self._run = run
        self._values = values

    def past(self) -> Past:
        """All of it. What it reads does not grow with the journal."""
        progress = self._journal.progress_of(self._run)
        floor = max(0, progress.mark - progress.reach)
        while True:
            past = past_of(self._outline(floor), self._gathered(floor), self._entries(floor), self._before(floor))
            if past.first >= floor or not floor:
                break
            # A batch ties rows to one that is not done, and they are before all that was looked at.
            floor = max(0, past.first - progress.reach)
        answers = {
            node: {seq: self._again(node, known) for seq, known in of.items()} for node, of in past.answers.items()
        }
        return msgspec.structs.replace(past, answers=answers)

    def _again(self, node: str, known: Answer) -> Answer:
        if known.ended is not None:
            return known
        return Answer(self._values[node].decode(known.value), known.attempts)

    def _before(self, floor: int) -> Settlements:
        """Rows that are done before `floor`, by outcome."""
        counts: dict[Status, int] = {}
        whole = "SELECT status, sum(n) FROM settled WHERE run = ? AND last < ? GROUP BY status"
        for status, n in self._db.execute(whole, (self._run, floor)):
            counts[Status(status)] = n
        for status, first, bits in self._records(floor):
            if bits < 0:
                continue
            n = (bits & ((1 << max(floor - first, 0)) - 1)).bit_count()
            counts[status] = counts.get(status, 0) + n
        return Settlements(floor, counts)

    def _outline(self, floor: int) -> Iterator[tuple[Status, int, int]]:
        for status, first, bits in self._records(floor):
            cut = max(floor - first, 0)
            if bits < 0:
                yield status, first, bits
            elif bits := bits >> cut:
                low = (bits & -bits).bit_length() - 1
                yield status, first + cut + low, bits >> low

    def _records(self, floor: int) -> Iterator[tuple[Status, int, int]]:
        for _, status, first, last, n, packed in self._read("settled", "last >= ?", floor, "rowid"):
            yield Status(status), first, decode_bits(first, last, packed) if n > 0 else -1

    def _gathered(self, floor: int) -> Iterator[tuple[str, Bundle]]:
        for _, node, _, _, members in self._read("batch", "last >= ?", floor, "rowid"):
            bundle = decode_ids(members)[0]
            assert isinstance(bundle, Bundle)
            yield self._journal.name_of(node), bundle

    def _entries(self, floor: int) -> Iterator[Any]:
        read, name_of = self._read, self._journal.name_of
        for _, row, place in read("read", "row >= ?", 0, "row"):
            yield protocol.ReadTo(row, _unpack(place))
        for table in ("answer", "ended", "parked", "word"):
            self._journal.check_around(table, self._run, floor)
        for _, row, node, path, attempts, _, _, value, whole in read("answer", "row >= ?", floor):
            if not whole:
                # What was dropped, or was not to be kept whole, is not known any more.
                continue
            seq = decode_id(row, path)
            yield protocol.Answers(name_of(node), [seq], [value], {seq: attempts})
        for _, row, node, path, attempts, _, status, kind, message in read("ended", "row >= ?", floor):
            error = Recalled(kind, message) if kind is not None else None
            end = Ended(decode_id(row, path), Status(status), error, attempts, None, name_of(node))
            yield protocol.Ends(name_of(node), [end])
        now = time.time()
        for _, row, node, path, due, state in read("parked", "row >= ?", floor):
            yield protocol.Parked(name_of(node), decode_id(row, path), _unpack(state), 0.0, max(0.0, due - now))
        for _, row, node, path, parts in read("word", "row >= ?", floor):
            yield protocol.Decided(name_of(node), [decode_id(row, path)], [tuple(_unpack(parts))])
        # How far each sink had come, however long ago that was.
        latest = "rowid IN (SELECT max(rowid) FROM written WHERE run = ? AND place IS NOT NULL GROUP BY sink)"
        for _, sink, _, _, _, _, place, _ in read("written", latest, self._run):
            yield protocol.Settled(Status.DELIVERED, [], name_of(sink), _unpack(place))
        for _, sink, status, first, last, ids, _, _ in read("written", "last >= ?", floor, "rowid"):
            yield protocol.Settled(Status(status), decode_span(first, last, ids), name_of(sink))

    def _read(self, table: str, where: str, value: int, order: str | None = None) -> Iterator[tuple[Any, ...]]:
        return self._journal.read(table, f"run = ? AND {where}", (self._run, value), order)
