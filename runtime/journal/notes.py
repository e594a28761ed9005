"""What nodes with state have noted of their rows (`protocol.Noted`), as records: written down, and forgotten when it is not
needed any more.

It is needed for the last rows that had their turn, as many as a node asks for; for rows that are not done; and for those
that may come again: rows in quarantine, and what batches tie to them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.protocol import Status
from headrace.actors.rows.identity import Id, rows_of
from headrace.actors.rows.rowset import RowSet

from .records import HeldRecords, Progress
from .values.codec import decode_id

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.decode


class Noted:
    """Of one run. What changes something is called within a transaction."""

    def __init__(self, journal: HeldRecords, run: int) -> None:
        self._journal = journal
        self._run = run
        self._notes: dict[int, deque[tuple[int, int, int, int]]] = {}
        """What each node has noted, as (turn of the first row, how many, the first and the last row of the source)."""
        self._needed: dict[int, int] = {}
        """From which turn on each of them needs what it noted, whether the rows are done or not."""
        self._again = RowSet()
        """Rows that may be tried again, or a part of them, or one that is in a batch with them."""

    def know(self, progress: Progress) -> None:
        """Look at what earlier lives have left. What could have been forgotten in them, and was not, stays."""
        notes = list(self._journal.read("noted", self._run))
        for _, number, turn, _, _, _, words, reach in notes:
            self._needed[number] = turn + len(_unpack(words)) - reach
        floor = progress.mark
        for _, number, turn, first, last, _, words, _ in notes:
            n = len(_unpack(words))
            if turn + n > self._needed[number] or last >= progress.mark - progress.reach:
                self._notes.setdefault(number, deque()).append((turn, n, first, last))
                floor = min(floor, first)
        if self._notes:
            for _, row, _, path, _, _, status, _, _ in self._journal.read_on(
                "ended", self._run, floor - progress.reach
            ):
                if status == Status.QUARANTINED.value:
                    self.may_come_again(decode_id(row, path), progress.reach)

    def may_come_again(self, of: Id, reach: int) -> None:
        """These rows are in quarantine. `reach`: the rows of a batch are less than that apart."""
        near = 2 * reach
        for row in rows_of(of):
            first = max(0, row - near)
            self._again.add(first, (1 << (row + near - first + 1)) - 1)

    def record(self, number: int, entry: protocol.Noted, first: int, last: int, ids: bytes | None) -> tuple[Any, ...]:
        """What is to be written down. `number`: of the node; `first`, `last`, `ids`: who the rows are."""
        n = len(entry.seqs)
        self._notes.setdefault(number, deque()).append((entry.turn, n, first, last))
        self._needed[number] = entry.turn + n - entry.reach
        return (self._run, number, entry.turn, first, last, ids, _pack(entry.words), entry.reach)

    def forget(self, progress: Progress, before: int) -> None:
        """Forget what is not needed any more of rows before this one, which are done."""
        for number, notes in self._notes.items():
            while notes and notes[0][0] + notes[0][1] <= self._needed[number] and notes[0][3] < before:
                turn, _, first, last = notes.popleft()
                every = (1 << (last - first + 1)) - 1
                if self._again.without(first, every)[1].bit_count() == every.bit_count():
                    self._journal.remove(progress, "noted", (self._run, number, turn))
