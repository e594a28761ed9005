"""A sink: gives its writer one batch at a time, and says what is settled when it is written.

Told: `Release`, `Outcomes` and `EndOfRows` by the reorder buffer, `Written` and `WriteFailed` by its writer (a resource that
may block), `Abort` by the conductor. Tells: `Write` to the writer, `Settled` to the ledger and the reorder buffer,
`Drained` or `Failing` to the conductor.

Promises: batches in order, one under way, and none after one that failed; a row is settled only after its writer
said so (L37, L51), and once. What waits here is bounded by the window.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from . import protocol
from .actor import Actor, Ref
from .protocol import Message, Outcomes, Release, Status

BATCH_MAX = 4096
"""Rows in one write at most."""


class SinkStatistics(msgspec.Struct, frozen=True):
    """Rows `written` and `waiting`, in `writes` batches."""

    name: str
    written: int
    waiting: int
    writes: int


Told = (
    Release | Outcomes | protocol.EndOfRows | protocol.Written | protocol.WriteFailed | protocol.Start | protocol.Abort
)


class Sink(Actor):
    """See the module."""

    def __init__(self, name: str, writer: Ref, reorder: Ref, ledger: Ref, conductor: Ref) -> None:
        self._name = name
        self._writer = writer
        self._reorder = reorder
        self._ledger = ledger
        self._conductor = conductor
        self._waiting: list[Release | Outcomes] = []
        self._writing: list[Release | Outcomes] = []
        self._total: int | None = None
        self._aborting = False
        self._over = False
        self._written = 0
        self._writes = 0

    def receive(self, message: Told) -> None:
        match message:
            case protocol.Written():
                self._on_written()
            case Release() | Outcomes():
                if not self._aborting:
                    self._waiting.append(message)
                    self._write()
            case protocol.EndOfRows(total):
                self._total = total
                self._finish_if_done()
            case protocol.WriteFailed(error):
                self._writing = []
                self._waiting = []
                if self._aborting:
                    self._finish_if_done()
                else:
                    # No row is written after one that could not be: the abort that this brings may be long in coming.
                    self._aborting = True
                    self.context.tell(self._conductor, protocol.Failing(self.context.me, error))
            case protocol.Start():
                pass
            case protocol.Abort():
                # What is being written may yet be written; the rest is interrupted.
                self._aborting = True
                self._waiting = []
                self._finish_if_done()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _write(self) -> None:
        if self._writing or not self._waiting:
            return
        rows = 0
        cut = 0
        while cut < len(self._waiting) and rows < BATCH_MAX:
            rows += _rows_in(self._waiting[cut])
            cut += 1
        self._writing, self._waiting = self._waiting[:cut], self._waiting[cut:]
        self._writes += 1
        self.context.tell(self._writer, protocol.Write(self._writing))

    def _on_written(self) -> None:
        assert self._writing, "a writer said `Written` where nothing was to be written"
        for part in self._writing:
            if isinstance(part, Release):
                self._settle(protocol.Settled(Status.DELIVERED, part.seqs))
            else:
                for ended in part.ended:
                    self._settle(protocol.Settled(ended.status, range(ended.seq, ended.seq + 1)))
        self._writing = []
        self._write()
        self._finish_if_done()

    def _settle(self, settled: protocol.Settled) -> None:
        self._written += len(settled.seqs)
        self.context.tell(self._ledger, settled)
        self.context.tell(self._reorder, settled)

    def _finish_if_done(self) -> None:
        ending = self._aborting or self._total is not None
        if ending and not self._writing and not self._waiting and not self._over:
            self._over = True
            self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> SinkStatistics:
        return SinkStatistics(self._name, self._written, sum(map(_rows_in, self._waiting)), self._writes)


def _rows_in(part: Release | Outcomes) -> int:
    return len(part.seqs) if isinstance(part, Release) else len(part.ended)
