"""Rows on their way back into the order of the source: what has come, what will not, and whose turn it is.

Plain rows are kept by their number, which is cheap. What a row was split into is kept as a tree, in which each one knows how
many siblings it has (`identity.py`), so that its pieces can go as soon as their turn has come.
"""

from __future__ import annotations

from typing import Any

from .identity import Id, Ids, Place, places, plain
from .protocol import Ended, Outcomes, Rows


class _Gap:
    """It will not come."""


_GAP = _Gap()


class _Row:
    __slots__ = ("id", "value")

    def __init__(self, id_: Id, value: Any) -> None:
        self.id = id_
        self.value = value


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

    def seal(self, attempts: dict[Id, int]) -> None:
        if not self.seqs:
            return
        tries = {seq: attempts.pop(seq) for seq in self.seqs if seq in attempts} if attempts else None
        self.parts.append(Rows(_as_ids(self.seqs), self.values, tries or None))
        self.seqs, self.values = [], []


class Order:
    """See the module. A row that ends twice, or comes and ends, is a bug and fails loudly."""

    def __init__(self) -> None:
        self.next = 0
        self.waiting = 0
        """Rows that wait for one before them."""
        self._chunks: dict[int, list[Any]] = {}
        self._rows: dict[int, Any] = {}
        self._gaps: dict[int, Ended | None] = {}
        self._trees: dict[int, _Tree] = {}
        self._attempts: dict[Id, int] = {}

    # --- what is told ---

    def put(self, seqs: Ids, values: list[Any], attempts: dict[Id, int] | None) -> None:
        """These have come."""
        if attempts:
            self._attempts.update(attempts)
        self.waiting += len(seqs)
        if isinstance(seqs, range):
            self._new(seqs[0])
            self._chunks[seqs[0]] = values
        elif plain(seqs):
            self._put_plain(seqs, values)
        else:
            for seq, value in zip(seqs, values, strict=True):
                self._put_any(seq, _Row(seq, value))

    def _put_plain(self, seqs: Ids, values: list[Any]) -> None:
        rows = self._rows
        n = len(rows)
        rows.update(zip(seqs, values, strict=True))  # type: ignore[arg-type]
        if len(rows) - n != len(seqs) or min(seqs) < self.next or not self._gaps.keys().isdisjoint(seqs):  # type: ignore[type-var, operator]
            raise AssertionError(f"a row of {seqs[0]} to {seqs[-1]} ended twice: {self.next} was next")

    def gap(self, seqs: Ids) -> None:
        """These will not come."""
        if plain(seqs):
            gaps = self._gaps
            n = len(gaps)
            gaps.update(dict.fromkeys(seqs))  # type: ignore[arg-type]
            if len(gaps) - n != len(seqs) or min(seqs) < self.next or not self._rows.keys().isdisjoint(seqs):  # type: ignore[type-var, operator]
                raise AssertionError(f"a row of {seqs[0]} to {seqs[-1]} ended twice: {self.next} was next")
            return
        for seq in seqs:
            self._put_any(seq, _GAP)

    def end(self, ended: Ended, told: bool) -> None:
        """This one will not come; where its end is `told`, it is told when its turn has come."""
        self._put_any(ended.seq, ended if told else _GAP)

    def _put_any(self, seq: Id, what: _Row | _Gap | Ended) -> None:
        if type(seq) is int:
            self._new(seq)
            if isinstance(what, _Row):
                self._rows[seq] = what.value
            else:
                self._gaps[seq] = what if isinstance(what, Ended) else None
            return
        own, *others = places(seq)
        self._plant(own, what)
        for other in others:
            # Each piece of a batch tells of all rows that were in it.
            self._plant(other, _GAP, again=True)

    def _new(self, seq: int) -> None:
        if seq < self.next or seq in self._rows or seq in self._gaps or seq in self._chunks or seq in self._trees:
            raise AssertionError(f"row {seq} ended twice: {self.next} was next")

    def _plant(self, at: Place, what: _Row | _Gap | Ended, again: bool = False) -> None:
        seq = at[0]
        if len(at) == 1:
            if again and (seq < self.next or seq in self._gaps):
                return
            self._new(seq)
            if isinstance(what, _Row):
                # A batch, or what a join made: it has another name than its place.
                tree = self._trees[seq] = _Tree()
                tree.n = 1
                tree.kids[0] = what
            else:
                self._gaps[seq] = what if isinstance(what, Ended) else None
            return
        if seq < self.next:
            if again:
                return
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
        chunk = self._chunks.get(n)
        if chunk is not None and len(self._chunks) == 1 and not (self._rows or self._gaps or self._trees):
            del self._chunks[n]
            return self._take_chunk(n, chunk)
        parcel = _Parcel()
        rows, gaps, chunks, seqs, values = self._rows, self._gaps, self._chunks, parcel.seqs, parcel.values
        while True:
            if n in rows:
                seqs.append(n)
                values.append(rows.pop(n))
                n += 1
            elif n in gaps:
                ended = gaps.pop(n)
                if ended is not None:
                    self._tell_end(parcel, ended)
                    seqs, values = parcel.seqs, parcel.values
                n += 1
            elif n in chunks:
                chunk = chunks.pop(n)
                seqs.extend(range(n, n + len(chunk)))
                values.extend(chunk)
                n += len(chunk)
            elif n in self._trees:
                done = self._harvest(self._trees[n], parcel)
                seqs, values = parcel.seqs, parcel.values
                if not done:
                    break
                del self._trees[n]
                n += 1
            else:
                break
        self.next = n
        parcel.seal(self._attempts)
        self.waiting -= sum(len(part.seqs) for part in parcel.parts if isinstance(part, Rows))
        return parcel.parts

    def _take_chunk(self, n: int, chunk: list[Any]) -> list[Rows | Outcomes]:
        self.next = n + len(chunk)
        self.waiting -= len(chunk)
        seqs = range(n, self.next)
        tries: dict[Id, int] = {}
        if self._attempts:
            tries = {seq: self._attempts.pop(seq) for seq in seqs if seq in self._attempts}
        return [Rows(seqs, chunk, tries or None)]

    def _harvest(self, tree: _Tree, parcel: _Parcel) -> bool:
        """Pieces whose turn it is; whether that was the last one."""
        while not tree.n or tree.next < tree.n:
            kid = tree.kids.get(tree.next)
            if kid is None:
                return False
            if isinstance(kid, _Row):
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


def _as_ids(seqs: list[Id]) -> Ids:
    first, last = seqs[0], seqs[-1]
    if type(first) is int and type(last) is int and last - first + 1 == len(seqs) and plain(seqs):
        return range(first, last + 1)
    return seqs
