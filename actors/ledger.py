"""The ledger: one terminal outcome a row, counted in one place; and the window, which a row leaves when it has one.

Told: `RowsGiven` by the source, `Settled` by sinks and by nodes where rows end, `Start` and `CloseAccount` by the
conductor; the last two by way of the journal, where there is one. Tells: `Demand` to the source, `FlushUpTo` to batches,
`RowsSettled` to the journal, `AccountClosed` and, where too many rows are in quarantine, `Failing` to the conductor.

Promises: the counters are a fold over the outcomes; a row that is settled twice is a bug and fails loudly; rows between the
source's read and their settlement never exceed the window (L30); memory holds only what is open.

What a row became in a graph is settled piece by piece; the row is settled with the last of them, by the worst that became of
any. Where branches meet in a join, it is the join's word that counts: a part that failed is excused if the join could do
without it.
"""

from __future__ import annotations

from typing import assert_never

from . import protocol
from .actor import Actor, Ref
from .errors import HeadraceError, InternalError
from .journaling.recovered import NEW, Recovered
from .protocol import Counts, Message, Status
from .rows.identity import Bundle, Id, Ids, Plain, parent, plain, row_of, span_of
from .rows.rowset import RowSet


class TooManyQuarantined(HeadraceError, RuntimeError):
    """More rows went to quarantine than the run allows."""


SHARE_ROWS_MIN = 100
"""A share of rows in quarantine is judged from so many settled rows on."""

_OF_ROWS = (Status.DELIVERED, Status.DROPPED, Status.QUARANTINED, Status.FAILED, Status.INTERRUPTED)
_GRAVITY = {
    Status.MERGED: 0,
    Status.DROPPED: 1,
    Status.DELIVERED: 2,
    Status.QUARANTINED: 3,
    Status.FAILED: 4,
    Status.INTERRUPTED: 5,
}
"""What counts for a row of which several things became: the gravest."""
_INEXCUSABLE = _GRAVITY[Status.FAILED]


QUICK_S = 0.005
"""Where as many rows as the window holds pass in less, a window that may grow does; where they take four times as long, it
shrinks again."""
LAZY = 32
"""Blocks and ranges of rows that are settled and not yet passed: only then it is worth while to pass them."""


class Settlement:
    """Which rows are settled: all below a mark, and some above it."""

    def __init__(self, mark: int = 0) -> None:
        self._mark = mark
        self._ranges: dict[int, int] = {}
        self._ahead = RowSet()

    @property
    def mark(self) -> int:
        """The oldest row that is not settled."""
        self._advance()
        return self._mark

    def add(self, first: int, last: int) -> None:
        """Settle [first, last)."""
        if first < self._mark or first in self._ranges or self._ahead.has(first):
            raise AssertionError(f"row {first} is settled twice: everything before {self._mark} was")
        if first != self._mark:
            self._ranges[first] = last
            if len(self._ranges) > LAZY:
                self._advance()
            return
        self._move(last)
        if self._ranges:
            self._advance()

    def has(self, row: int) -> bool:
        """It is settled. (One of those that came as a range above the mark is not found.)"""
        return row < self._mark or self._ahead.has(row)

    def add_some(self, first: int, bits: int) -> None:
        """Settle these; see `bits_of`."""
        if first < self._mark or not self._ahead.add(first, bits):
            raise AssertionError(f"a row from {first} on is settled twice: everything before {self._mark} was")
        if len(self._ahead) > LAZY:
            self._advance()

    def _advance(self) -> None:
        while True:
            mark = self._ahead.after(self._mark)
            if mark in self._ranges:
                self._mark = mark
                self._move(self._ranges.pop(mark))
            elif mark == self._mark:
                return
            else:
                self._mark = mark

    def _move(self, mark: int) -> None:
        self._ahead.forget(self._mark, mark)
        self._mark = mark


class _Brood:
    """What became of one row, or of one of its pieces: which of them are settled, as a bitmap, and the gravest outcome."""

    __slots__ = ("outcome", "settled")

    def __init__(self) -> None:
        self.settled = 0
        self.outcome = Status.MERGED


Told = protocol.Settled | protocol.RowsGiven | protocol.CloseAccount | protocol.Start | protocol.Abort


class Ledger(Actor):
    """It does what the module says. `batches`: those who hold rows until there are enough. `max_quarantined`: a number
    of rows, or, above 0 and below 1, a share of them. `grows_to`: the window grows to so many rows where they pass in next
    to no time, and is `window` again where they do not."""

    def __init__(
        self,
        window: int,
        source: Ref,
        conductor: Ref,
        batches: tuple[Ref, ...] = (),
        max_quarantined: float | None = None,
        journal: Ref | None = None,
        past: Recovered = NEW,
        grows_to: int = 0,
    ) -> None:
        self._window = self._least = max(window, past.crowd)
        self._most = max(self._window, grows_to)
        self._source = source
        self._batches = batches
        self._conductor = conductor
        self._max_quarantined = max_quarantined
        self._journal = journal
        self._rows = self._settled_rows = self._demanded = self._done = past.rows
        self._pressed = -1
        self._by_status: dict[Status, int] = {**dict.fromkeys(_OF_ROWS, 0), **past.counts}
        self._settled = Settlement(past.first)
        for first, bits in past.done:
            self._settled.add_some(first, bits)
        self._paced_rows, self._paced_at_s = self._settled_rows, 0.0
        """When the pace of rows was looked at last, and how many had passed by then."""
        self._broods: dict[Id, _Brood] = {}
        self._complained = False

    def receive(self, message: Told) -> None:
        match message:
            case protocol.Settled(status, seqs):
                self._on_settled(status, seqs)
            case protocol.RowsGiven(total):
                self._rows = self._done + total
                total = self._rows
                if total > self._demanded:
                    raise InternalError(f"{total} rows given, {self._settled_rows} settled")
                self._press()
            case protocol.CloseAccount(reply_to):
                open_rows = self._rows - self._settled_rows
                self._by_status[Status.INTERRUPTED] += open_rows
                self.context.tell(reply_to, protocol.AccountClosed(self.statistics(), open_rows))
            case protocol.Start():
                self._demand(self._window)
            case protocol.Abort():
                pass
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    # --- outcomes ---

    def _on_settled(self, status: Status, seqs: Ids) -> None:
        if isinstance(seqs, range):
            self._settled.add(seqs.start, seqs.stop)
            self._count(status, seqs)
        elif plain(seqs):
            self._settled.add_some(*span_of(seqs))
            self._count(status, seqs)
        else:
            for seq in seqs:
                self._settle(seq, status)
        self._renew()

    def _settle(self, seq: Id, status: Status) -> None:
        """One of them; and what it came of, if it was the last."""
        while type(seq) is tuple:
            above, index, n = parent(seq)
            brood = self._broods.get(above)
            if brood is None:
                brood = self._broods[above] = self._open(above)
            if brood.settled >> index & 1:
                raise AssertionError(f"{seq} is settled twice")
            brood.settled |= 1 << index
            # The parts of a joined fork have one sibling more: what the join makes of them.
            excused = n < 0 and index != -n and _GRAVITY[status] < _INEXCUSABLE
            if not excused and _GRAVITY[status] > _GRAVITY[brood.outcome]:
                brood.outcome = status
            if brood.settled != (1 << (n if n > 0 else 1 - n)) - 1:
                return
            del self._broods[above]
            seq, status = above, brood.outcome
        if type(seq) is Bundle:
            if seq.bits:
                first = seq.members[0]
                if type(first) is not int:
                    raise InternalError("a batch of plain rows")
                self._settled.add_some(first, seq.bits)
                self._count(status, Plain(seq.members, seq.bits))
                return
            for member in seq.members:
                self._settle(member, status)
            return
        if type(seq) is not int:
            raise InternalError("what the source gave is a plain row")
        self._settled.add(seq, seq + 1)
        self._count(status, range(seq, seq + 1))

    def _open(self, of: Id) -> _Brood:
        if self._settled.has(row_of(of)):
            raise AssertionError(f"a piece of {of} is settled twice")
        return _Brood()

    def _count(self, status: Status, rows: Ids) -> None:
        self._by_status[status] += len(rows)
        self._settled_rows += len(rows)
        if self._journal is not None:
            self.context.tell(self._journal, protocol.RowsSettled(status, rows))
        if status is Status.QUARANTINED and self._max_quarantined is not None:
            self._judge(self._max_quarantined)

    def _judge(self, limit: float) -> None:
        n = self._by_status[Status.QUARANTINED]
        settled = self._settled_rows
        # 0 is a number of rows, none, and not a share that would be judged only later.
        share = 0 < limit < 1
        if share and settled < SHARE_ROWS_MIN:
            return
        if n > (limit * settled if share else limit) and not self._complained:
            self._complained = True
            allowed = f"{limit:.0%} of the rows" if share else f"{limit:.0f} rows"
            error = TooManyQuarantined(f"{n} of {settled} rows are in quarantine; max_quarantined allows {allowed}")
            self.context.tell(self._conductor, protocol.Failing(self.context.me, error))

    # --- the window ---

    def _renew(self) -> None:
        """Rows have left the window: ask for as many, in portions that are worth a message."""
        if self._most > self._least and self._settled_rows - self._paced_rows >= self._window:
            self._fit_to_pace()
        room = self._window - (self._demanded - self._settled_rows)
        if room * 8 >= self._window:
            self._demand(room)
        self._press()

    def _fit_to_pace(self) -> None:
        """As many rows as the window holds have passed: how fast? Rows that take no time are worth no message each; of
        others, no more shall be under way than was said, for whoever takes them may leave."""
        now = self.context.now()
        took_s, self._paced_rows, self._paced_at_s = now - self._paced_at_s, self._settled_rows, now
        if took_s < QUICK_S:
            self._window = min(2 * self._window, self._most)
        elif took_s > 4 * QUICK_S:
            self._window = max(self._window // 2, self._least)

    def _demand(self, n: int) -> None:
        self._demanded += n
        self.context.tell(self._source, protocol.Demand(n))

    def _press(self) -> None:
        """The source can read no more: what is the oldest row waiting for? If for others to fill its batch, in vain."""
        if not self._batches or self._rows < self._demanded:
            return
        room = self._window - (self._demanded - self._settled_rows)
        if room:
            self._demand(room)
        elif self._settled.mark > self._pressed:
            self._pressed = self._settled.mark
            for ref in self._batches:
                self.context.tell(ref, protocol.FlushUpTo(self._pressed))

    def statistics(self) -> Counts:
        return Counts(self._rows, **{status.value: n for status, n in self._by_status.items()})
