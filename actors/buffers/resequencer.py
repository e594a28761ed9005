"""Rows on their way back into the order of the source: what has come, what will not, and whose turn it is.

Plain rows are kept by their number, which is cheap. What a row was split into is kept as a tree, in which each one knows how
many siblings it has (`identity.py`), so that its pieces can go as soon as their turn has come.
"""

from __future__ import annotations

from typing import Any

from ..errors import InternalError
from ..protocol import Ended, Outcomes, Rows
from ..rows.identity import Bundle, Id, Ids, Place, Plain, places, plain, span_of
from ..rows.rowset import RowSet


class _Gap:
    """A row that will not come."""


_GAP = _Gap()


class _Row:
    __slots__ = ("id", "value")

    def __init__(self, id_: Id, value: Any) -> None:
        self.id = id_
        self.value = value


_Chunk = tuple[Ids, list[Any], int]
"""Rows of one span: those that have come, their values, the length of the span."""


class _Tree:
    """Pieces of one row. `n`: how many; 0 as long as nobody has said so."""

    __slots__ = ("kids", "n", "next")

    def __init__(self) -> None:
        self.n = 0
        self.next = 0
        self.kids: dict[int, _Row | _Gap | Ended | _Tree] = {}


class _Parcel:
    """What is released together, as few messages as may be."""

    def __init__(self) -> None:
        self.parts: list[Rows | Outcomes] = []
        self.seqs: list[Id] = []
        self.values: list[Any] = []
        self.plain = True
        self.bits = 0
        """Of its rows, where they are known without looking."""

    def extend(self, seqs: Ids, values: list[Any]) -> None:
        """Append a chunk of rows."""
        if not seqs:
            return
        known = type(seqs) is range or (type(seqs) is Plain and seqs.bits)
        if not self.seqs:
            self.bits = span_of(seqs)[1] if known else 0
        elif known and self.bits:
            first, bits = span_of(seqs)
            self.bits |= bits << (first - self.seqs[0])  # type: ignore[operator]
        else:
            self.bits = 0
        self.seqs.extend(seqs)
        self.values.extend(values)

    def seal(self, attempts: dict[Id, int]) -> None:
        if not self.seqs:
            return
        tries = {seq: attempts.pop(seq) for seq in self.seqs if seq in attempts} if attempts else None
        seqs = self.seqs
        first, last = seqs[0], seqs[-1]
        ids: Ids = seqs
        if self.plain and type(first) is int and type(last) is int:
            ids = range(first, last + 1) if last - first + 1 == len(seqs) else Plain(seqs, self.bits)
        self.parts.append(Rows(ids, self.values, tries or None))
        self.seqs, self.values = [], []
        self.plain = True
        self.bits = 0


class Order:
    """It does what the module says. A row that ends twice, or comes and ends, is a bug and fails loudly."""

    def __init__(self, first: int = 0) -> None:
        self.next = first
        self.waiting = 0
        """Rows that wait for one before them."""
        self._chunks: dict[int, _Chunk] = {}
        self._known = RowSet()
        """Single rows that have come, or will not."""
        self._rows: dict[int, Any] = {}
        """Those of them that have come; ..."""
        self._names: dict[int, Id] = {}
        """... by another name than their place: batches, and what a join made."""
        self._ends: dict[int, Ended] = {}
        """Of the others: why, where that is to be told."""
        self._trees: dict[int, _Tree] = {}
        self._attempts: dict[Id, int] = {}

    # --- what is told ---

    def put(
        self, seqs: Ids, values: list[Any], attempts: dict[Id, int] | None = None, span: range | None = None
    ) -> None:
        """These have come; of the rows of `span`, no others will."""
        if attempts:
            self._attempts.update(attempts)
        self.waiting += len(seqs)
        if isinstance(seqs, range) and span is None:
            span = seqs
        if span is not None:
            self._put_chunk(span, seqs, values)
        elif plain(seqs):
            self._know(*span_of(seqs))
            self._rows.update(zip(seqs, values, strict=True))  # type: ignore[arg-type]
        else:
            for seq, value in zip(seqs, values, strict=True):
                if type(seq) is Bundle and seq.bits:
                    self._put_bundle(seq, value)
                else:
                    self._put_any(seq, _Row(seq, value))

    def gap(self, seqs: Ids) -> None:
        """Note that these rows will not come."""
        if isinstance(seqs, range):
            self._put_chunk(seqs, (), [])
        elif plain(seqs):
            self._know(*span_of(seqs))
        else:
            for seq in seqs:
                self._put_any(seq, _GAP)

    def end(self, ended: Ended, *, told: bool) -> None:
        """This one will not come; where its end is `told`, it is told when its turn has come."""
        self._put_any(ended.seq, ended if told else _GAP)

    def _put_chunk(self, span: range, seqs: Ids, values: list[Any]) -> None:
        self._new(span.start)
        self._chunks[span.start] = (seqs, values, len(span))

    def _know(self, first: int, bits: int) -> None:
        if first < self.next or not self._known.add(first, bits):
            raise AssertionError(f"a row from {first} on ended twice: {self.next} was next")

    def _put_bundle(self, bundle: Bundle, value: Any) -> None:
        """A batch of plain rows: it stands at the place of the first one, and the others are in it."""
        first = bundle.members[0]
        if type(first) is not int:
            raise InternalError("a batch of plain rows")
        self._know(first, bundle.bits)
        self._rows[first] = value
        self._names[first] = bundle

    def _put_any(self, seq: Id, what: _Row | _Gap | Ended) -> None:
        if type(seq) is int:
            self._put_one(seq, what)
            return
        own, *others = places(seq)
        self._plant(own, what)
        for other in others:
            # Each piece of a batch tells of all rows that were in it. None of them has passed: they stand behind its first.
            self._plant(other, _GAP, again=True)

    def _put_one(self, seq: int, what: _Row | _Gap | Ended) -> None:
        self._new(seq)
        self._known.add(seq, 1)
        if isinstance(what, _Row):
            self._rows[seq] = what.value
            if what.id != seq:
                self._names[seq] = what.id
        elif isinstance(what, Ended):
            self._ends[seq] = what

    def _new(self, seq: int) -> None:
        if seq < self.next or self._known.has(seq) or seq in self._chunks or seq in self._trees:
            raise AssertionError(f"row {seq} ended twice: {self.next} was next")

    def _plant(self, at: Place, what: _Row | _Gap | Ended, *, again: bool = False) -> None:
        seq = at[0]
        if len(at) == 1:
            if again and self._known.has(seq):
                return
            self._put_one(seq, what)
            return
        if seq < self.next:
            raise AssertionError(f"a piece of row {seq} ended twice: {self.next} was next")
        tree = self._trees.setdefault(seq, _Tree())
        for i in range(1, len(at) - 2, 2):
            tree.n = abs(at[i + 1])
            kid = tree.kids.setdefault(at[i], _Tree())
            if not isinstance(kid, _Tree):
                if again:
                    return
                raise AssertionError(f"a piece of row {seq} ended twice")
            tree = kid
        index, tree.n = at[-2], abs(at[-1])
        if index < tree.next or index in tree.kids:
            if again:
                return
            raise AssertionError(f"a piece of row {seq} ended twice")
        tree.kids[index] = what

    # --- whose turn it is ---

    def take(self) -> list[Rows | Outcomes]:
        """Everything from the next row on, as far as it has come."""
        n = self.next
        if len(self._chunks) == 1 and n in self._chunks and not (self._known or self._trees):
            return self._take_chunk(self._chunks.pop(n))
        parcel = _Parcel()
        while True:
            last = self._known.after(n)
            if last != n:
                self._take_known(range(n, last), parcel)
                n = last
            elif n in self._chunks:
                seqs, values, length = self._chunks.pop(n)
                parcel.extend(seqs, values)
                self._known.forget(n, n + length)
                n += length
            elif n in self._trees and self._harvest(self._trees[n], parcel):
                del self._trees[n]
                self._known.forget(n, n + 1)
                n += 1
            else:
                break
        self.next = n
        return self._sealed(parcel)

    def _take_known(self, span: range, parcel: _Parcel) -> None:
        """Single rows, a whole span at once."""
        begin = span.start
        for at in sorted(filter(span.__contains__, self._ends)) if self._ends else ():
            self._pick(range(begin, at), parcel)
            self._tell_end(parcel, self._ends.pop(at))
            begin = at + 1
        self._pick(range(begin, span.stop), parcel)

    def _pick(self, span: range, parcel: _Parcel) -> None:
        """Those of a span that have come."""
        rows, names = self._rows, self._names
        if len(rows) * 4 < len(span):
            # Few of them have come: batches, for instance.
            seqs = sorted(filter(span.__contains__, rows))
        else:
            seqs = list(filter(rows.__contains__, span))
        if not seqs:
            return
        parcel.bits = 0
        parcel.values.extend(map(rows.pop, seqs))
        if names:
            parcel.plain = False
            parcel.seqs.extend([names.pop(seq, seq) for seq in seqs])
        else:
            parcel.seqs.extend(seqs)

    def _sealed(self, parcel: _Parcel) -> list[Rows | Outcomes]:
        parcel.seal(self._attempts)
        self.waiting -= sum(len(part.seqs) for part in parcel.parts if isinstance(part, Rows))
        return parcel.parts

    def _take_chunk(self, chunk: _Chunk) -> list[Rows | Outcomes]:
        seqs, values, length = chunk
        self.next += length
        self.waiting -= len(seqs)
        if not seqs:
            return []
        tries: dict[Id, int] = {}
        if self._attempts:
            tries = {seq: self._attempts.pop(seq) for seq in seqs if seq in self._attempts}
        return [Rows(seqs, values, tries or None)]

    def _harvest(self, tree: _Tree, parcel: _Parcel) -> bool:
        """Pieces whose turn it is; whether that was the last one."""
        while not tree.n or tree.next < tree.n:
            kid = tree.kids.get(tree.next)
            if kid is None:
                return False
            if isinstance(kid, _Row):
                parcel.plain = False
                parcel.seqs.append(kid.id)
                parcel.values.append(kid.value)
            elif isinstance(kid, Ended):
                self._tell_end(parcel, kid)
            elif isinstance(kid, _Tree) and not self._harvest(kid, parcel):
                return False
            del tree.kids[tree.next]
            tree.next += 1
        return True

    def _tell_end(self, parcel: _Parcel, ended: Ended) -> None:
        parcel.seal(self._attempts)
        parcel.parts.append(Outcomes([ended]))
