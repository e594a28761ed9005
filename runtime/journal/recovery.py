"""What a journal leaves to the next life of a run: only what is not done, and where that begins."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from headrace.actors import protocol
from headrace.actors.errors import InternalError
from headrace.actors.journaling.recovered import Answer, Recovered, Settlements, past_of
from headrace.actors.protocol import Ended, Status
from headrace.actors.rows.identity import Bundle
from headrace.runtime.errors import Recalled

from .port import Bound
from .records import Records
from .values.codec import decode_bits, decode_id, decode_ids, decode_span
from .values.columns import Values
from .values.learned import STALE_S, decode_priors

_unpack = msgspec.msgpack.decode


class Recovery:
    """Of one run. `values`: how each stage's answers are written down. Raises `Damaged` where something is not what was
    written."""

    def __init__(self, journal: Records, run: int, values: dict[str, Values]) -> None:
        self._journal = journal
        self._run = run
        self._values = values

    def past(self) -> Recovered:
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
            # Of a node that is gone, or has another name now, nobody will ask.
            node: {seq: self._again(node, known) for seq, known in of.items()}
            for node, of in past.answers.items()
            if node in self._values or all(known.ended is not None for known in of.values())
        }
        return msgspec.structs.replace(past, answers=answers)

    def _again(self, node: str, known: Answer) -> Answer:
        if known.ended is not None:
            return known
        return Answer(self._values[node].decode(known.value), known.attempts)

    def _before(self, floor: int) -> Settlements:
        """Rows that are done before `floor`, by outcome."""
        counts: dict[Status, int] = {}
        for _, what, _, _, n, _ in self._journal.read("settled", self._run, Bound("last", "<", floor)):
            counts[Status(what)] = counts.get(Status(what), 0) + n
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
        for _, status, first, last, n, packed in self._journal.read("settled", self._run, Bound("last", ">=", floor)):
            yield Status(status), first, decode_bits(first, last, packed) if n > 0 else -1

    def _gathered(self, floor: int) -> Iterator[tuple[str, Bundle]]:
        for _, node, _, _, members in self._journal.read("batch", self._run, Bound("last", ">=", floor)):
            bundle = decode_ids(members)[0]
            if not isinstance(bundle, Bundle):
                raise InternalError("what was formed is a batch")
            yield self._journal.name_of(node), bundle

    def _entries(self, floor: int) -> Iterator[object]:
        read, name_of = self._journal.read_on, self._journal.name_of
        for _, row, place in sorted(self._journal.read("read", self._run), key=lambda found: found[1]):
            yield protocol.ReadTo(row, _unpack(place))
        for _, row, node, path, attempts, _, _, value, whole in read("answer", self._run, floor):
            if not whole:
                # What was dropped, or was not to be kept whole, is not known any more.
                continue
            seq = decode_id(row, path)
            yield protocol.Answers(name_of(node), [seq], [value], {seq: attempts})
        for _, row, node, path, attempts, _, status, kind, message in read("ended", self._run, floor):
            error = Recalled(kind, message) if kind is not None else None
            end = Ended(decode_id(row, path), Status(status), error, attempts, None, name_of(node))
            yield protocol.Ends(name_of(node), [end])
        now = self._journal.reader.now()
        for _, row, node, path, due, state in read("parked", self._run, floor):
            name = name_of(node)
            yield protocol.Parked(name, decode_id(row, path), Values(name).decode(state), 0.0, max(0.0, due - now))
        for _, row, node, path, parts in read("word", self._run, floor):
            yield protocol.Decided(name_of(node), [decode_id(row, path)], [tuple(_unpack(parts))])
        for _, node, turn, first, last, ids, words, reach in self._journal.read("noted", self._run):
            yield protocol.Noted(name_of(node), turn, decode_span(first, last, ids), _unpack(words), reach)
        places: dict[int, bytes] = {}
        for _, sink, status, first, last, ids, place, _ in self._journal.read("written", self._run):
            if place is not None:
                places[sink] = place
            if last >= floor:
                yield protocol.Settled(Status(status), decode_span(first, last, ids), name_of(sink))
        # How far each sink had come, however long ago that was.
        for sink, place in places.items():
            yield protocol.Settled(Status.DELIVERED, [], name_of(sink), _unpack(place))
        for _, name, shared, at, stated, told in self._journal.read("learned", self._run):
            if now - at <= STALE_S:
                lessons = protocol.Lessons(stated, decode_priors(told, now - time.monotonic()))
                yield protocol.LimitLearned(protocol.Budget(name_of(name), bool(shared)), lessons)
