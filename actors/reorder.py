"""The reorder buffer: puts rows back into the order of the source, in front of a sink or another node that wants them so.

Told: `Rows` and `EndOfRows` by what stands before it, `Gaps` and `Outcomes` by any node before it, `Start` and `Abort`
by the conductor. Tells: `Rows` and `EndOfRows` to the sink, `Outcomes` too where the sink takes every outcome,
`Drained` to the conductor.

Promises: the sink sees rows in source order, the pieces of a row by branch and then by output; a row that ended or went
elsewhere leaves a gap that is told, never guessed, so that nothing behind it stalls (L42).
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from . import protocol
from .actor import Actor, Ref
from .buffers.resequencer import Order
from .buffers.wait_clock import WaitClock
from .protocol import Message, Status


class ReorderStatistics(msgspec.Struct, frozen=True):
    """`buffered` rows wait for one before them. `waited_s`: seconds in which some did."""

    buffered: int
    buffered_max: int
    next: int
    waited_s: float = 0.0


Told = protocol.Rows | protocol.Gaps | protocol.Outcomes | protocol.EndOfRows | protocol.Start | protocol.Abort


class Reorder(Actor):
    """It does what the module says. `whole`: the sink takes every row's outcome, not only the rows that are well.
    `first`: with which row the run begins. `again`: it has a journal, so a row that failed or was interrupted may yet
    be well in another life, and what is behind it is not written before it."""

    def __init__(self, sink: Ref, conductor: Ref, *, whole: bool = False, first: int = 0, again: bool = False) -> None:
        self._sink = sink
        self._conductor = conductor
        self._whole = whole
        self._again = again
        self._order = Order(first)
        self._cut = False
        """A row was interrupted whose turn it was."""
        self._buffered_max = 0
        self._waits = WaitClock()
        self._total: int | None = None
        self._over = False

    def receive(self, message: Told) -> None:
        if self._over:
            return
        match message:
            case protocol.Rows(seqs, values, attempts, span):
                self._order.put(seqs, values, attempts, span)
                self._buffered_max = max(self._buffered_max, self._order.waiting)
                self._release()
            case protocol.Gaps(seqs):
                self._order.gap(seqs)
                self._release()
            case protocol.Outcomes(ended) if not self._whole and not self._again:
                # Why they ended is told to nobody behind: they are gaps, all at once.
                self._order.gap([end.seq for end in ended])
                self._release()
            case protocol.Outcomes(ended):
                for end in ended:
                    if self._again and end.status is Status.FAILED:
                        # The run is over: its turn never comes.
                        continue
                    self._order.end(end, told=self._whole or (self._again and end.status is Status.INTERRUPTED))
                self._release()
            case protocol.EndOfRows(total):
                self._total = total
                self._finish_if_done()
            case protocol.Start():
                pass
            case protocol.Abort():
                self._over = True
                self._waits.end(self.context)
                self.context.tell(self._conductor, protocol.Drained(self.context.me))
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _release(self) -> None:
        for part in self._order.take():
            if not self._whole and isinstance(part, protocol.Outcomes):
                self._cut = True
            elif self._cut and isinstance(part, protocol.Rows):
                self.context.tell(self._sink, protocol.OutOfTurn(part.seqs))
            else:
                self.context.tell(self._sink, part)
        if self._order.waiting:
            self._waits.begin(self.context)
        else:
            self._waits.end(self.context)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._total is not None and self._order.next == self._total and not self._over:
            self._over = True
            self.context.tell(self._sink, protocol.EndOfRows(self._total))
            self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> ReorderStatistics:
        waited_s = self._waits.seconds(self.context)
        return ReorderStatistics(self._order.waiting, self._buffered_max, self._order.next, waited_s)
