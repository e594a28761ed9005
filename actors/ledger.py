"""The ledger: one terminal outcome a row, counted in one place.

Told: `RowsGiven` by the source, `Settled` by sinks and the reorder buffer, `CloseAccount` by the conductor. Tells:
`AccountClosed` and, where too many rows are in quarantine, `Failing` to the conductor.

Promises: the counters are a fold over the outcomes; a row that is settled twice is a bug and fails loudly; memory holds
only the rows that are settled ahead of the oldest open one.
"""

from __future__ import annotations

from typing import assert_never

from . import protocol
from .actor import Actor, Ref
from .protocol import Counts, Message, Seqs, Status


class TooManyQuarantined(RuntimeError):
    """More rows went to quarantine than the run allows."""


SHARE_ROWS_MIN = 100
"""A share of rows in quarantine is judged from so many settled rows on."""


class Settlement:
    """Which rows are settled: all below a mark, and some ranges above it."""

    def __init__(self) -> None:
        self._mark = 0
        self._ranges: dict[int, int] = {}

    def add(self, first: int, last: int) -> None:
        """Settle [first, last)."""
        if first < self._mark:
            raise AssertionError(f"row {first} is settled twice: everything before {self._mark} was")
        if first != self._mark:
            if first in self._ranges:
                raise AssertionError(f"row {first} is settled twice")
            self._ranges[first] = last
            return
        self._mark = last
        while self._mark in self._ranges:
            self._mark = self._ranges.pop(self._mark)


Told = protocol.Settled | protocol.RowsGiven | protocol.CloseAccount | protocol.Start | protocol.Abort


class Ledger(Actor):
    """See the module. `max_quarantined`: a number of rows, or a share of them below 1."""

    def __init__(self, conductor: Ref, max_quarantined: float | None = None) -> None:
        self._conductor = conductor
        self._max_quarantined = max_quarantined
        self._rows = 0
        self._by_status: dict[Status, int] = dict.fromkeys(Status, 0)
        self._settled = Settlement()
        self._complained = False

    def receive(self, message: Told) -> None:
        match message:
            case protocol.Settled(status, seqs):
                self._on_settled(status, seqs)
            case protocol.RowsGiven(total):
                self._rows = total
            case protocol.CloseAccount(reply_to):
                open_rows = self._rows - sum(self._by_status.values())
                self._by_status[Status.INTERRUPTED] += open_rows
                self.context.tell(reply_to, protocol.AccountClosed(self.statistics(), open_rows))
            case protocol.Start() | protocol.Abort():
                pass
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _on_settled(self, status: Status, seqs: Seqs) -> None:
        self._by_status[status] += len(seqs)
        if isinstance(seqs, range):
            self._settled.add(seqs.start, seqs.stop)
        else:
            for seq in seqs:
                self._settled.add(seq, seq + 1)
        if status is Status.QUARANTINED and self._max_quarantined is not None:
            self._judge(self._max_quarantined)

    def _judge(self, limit: float) -> None:
        n = self._by_status[Status.QUARANTINED]
        settled = sum(self._by_status.values())
        if limit < 1 and settled < SHARE_ROWS_MIN:
            return
        if n > (limit * settled if limit < 1 else limit) and not self._complained:
            self._complained = True
            allowed = f"{limit:.0%} of the rows" if limit < 1 else f"{limit:.0f} rows"
            error = TooManyQuarantined(f"{n} of {settled} rows are in quarantine; max_quarantined allows {allowed}")
            self.context.tell(self._conductor, protocol.Failing(self.context.me, error))

    def statistics(self) -> Counts:
        return Counts(self._rows, **{status.value: n for status, n in self._by_status.items()})
