"""The reorder buffer: puts rows back into the order of the source, and owns the window.

Told: `Rows` and `EndOfRows` by the last stage, `Outcomes` by any stage and the source, `Settled` by sinks, `Start` and
`Abort` by the conductor. Tells: `Release` to the sink, `Outcomes` of rows in quarantine to the quarantine sink (or, where
the sink takes every outcome, to that), `Settled` to the ledger for rows that no sink takes, `Demand` to the source,
`Drained` to the conductor.

Promises: the sink sees rows in source order; a row that ended elsewhere leaves a gap that is told, never guessed, so that
nothing behind it stalls (L42); rows between the source's read and their settlement never exceed the window (L30).
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Ref
from .protocol import Ended, Message, Seqs, Status

Run = tuple[list[Any], dict[int, int] | None]


class ReorderStatistics(msgspec.Struct, frozen=True):
    """`buffered` rows wait for one before them; `in_window` are between source and settlement."""

    window: int
    in_window: int
    in_window_max: int
    buffered: int
    buffered_max: int
    next: int


Told = protocol.Rows | protocol.Outcomes | protocol.Settled | protocol.EndOfRows | protocol.Start | protocol.Abort


class Reorder(Actor):
    """See the module. `whole`: the sink takes every row's outcome, not only the rows that are well."""

    def __init__(
        self,
        window: int,
        source: Ref,
        sink: Ref,
        quarantine: Ref | None,
        ledger: Ref,
        conductor: Ref,
        whole: bool = False,
        ordered: bool = True,
    ) -> None:
        self._window = window
        self._source = source
        self._sink = sink
        self._quarantine = sink if whole else quarantine
        self._whole = whole
        self._ordered = ordered
        self._ledger = ledger
        self._conductor = conductor
        self._next = 0
        self._runs: dict[int, Run | Ended] = {}
        self._buffered = 0
        self._buffered_max = 0
        self._open = 0
        self._open_max = 0
        self._owed = 0
        self._total: int | None = None
        self._over = False

    def receive(self, message: Told) -> None:
        if self._over:
            return
        match message:
            case protocol.Rows(seqs, values, attempts):
                self._on_rows(seqs, values, attempts)
            case protocol.Settled(_, seqs):
                self._settle(len(seqs))
            case protocol.Outcomes(ended):
                self._on_outcomes(ended)
            case protocol.Start():
                self._open = self._open_max = self._window
                self.context.tell(self._source, protocol.Demand(self._window))
            case protocol.EndOfRows(total):
                self._total = total
                self._finish_if_done()
            case protocol.Abort():
                self._over = True
                self.context.tell(self._conductor, protocol.Drained(self.context.me))
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _on_rows(self, seqs: Seqs, values: list[Any], attempts: dict[int, int] | None) -> None:
        if not self._ordered:
            self.context.tell(self._sink, protocol.Release(seqs, values, attempts))
            self._next += len(seqs)
            self._finish_if_done()
            return
        if isinstance(seqs, range):
            self._keep(seqs[0], (values, attempts), len(values))
        else:
            for first, last in runs_of(seqs):
                self._keep(seqs[first], (values[first:last], attempts), last - first)
        self._release()

    def _on_outcomes(self, ended: list[Ended]) -> None:
        if not self._ordered:
            for end in ended:
                self._pass_gap(end)
            self._next += len(ended)
            self._finish_if_done()
            return
        for end in ended:
            self._keep(end.seq, end, 1)
        self._release()

    def _keep(self, first: int, run: Run | Ended, n: int) -> None:
        assert first >= self._next, f"row {first} ended twice: {self._next} was next"
        assert first not in self._runs, f"row {first} ended twice"
        self._runs[first] = run
        self._buffered += n
        self._buffered_max = max(self._buffered_max, self._buffered)

    def _release(self) -> None:
        """Everything from the next row on, as far as it is here, in as few messages as may be."""
        values: list[Any] = []
        attempts: dict[int, int] = {}
        first = self._next
        while (run := self._runs.pop(self._next, None)) is not None:
            if isinstance(run, Ended):
                self._pass_values(first, values, attempts)
                values, attempts = [], {}
                self._next += 1
                self._buffered -= 1
                first = self._next
                self._pass_gap(run)
                continue
            more, tries = run
            self._next += len(more)
            self._buffered -= len(more)
            if tries:
                attempts.update(tries)
            if values:
                values.extend(more)
            else:
                # The list is a message's: never extended in place.
                values = list(more)
        self._pass_values(first, values, attempts)
        self._finish_if_done()

    def _pass_values(self, first: int, values: list[Any], attempts: dict[int, int]) -> None:
        if values:
            seqs = range(first, first + len(values))
            self.context.tell(self._sink, protocol.Release(seqs, values, attempts or None))

    def _pass_gap(self, ended: Ended) -> None:
        taken = self._whole or ended.status is Status.QUARANTINED
        if taken and self._quarantine is not None:
            self.context.tell(self._quarantine, protocol.Outcomes([ended]))
            return
        self.context.tell(self._ledger, protocol.Settled(ended.status, range(ended.seq, ended.seq + 1)))
        self._settle(1)

    def _settle(self, n: int) -> None:
        """Rows have left the window: ask for as many, in portions that are worth a message."""
        self._open -= n
        self._owed += n
        if self._total is None and (self._owed * 8 >= self._window or self._owed >= self._open):
            self._open += self._owed
            self._open_max = max(self._open_max, self._open)
            assert self._open <= self._window, f"{self._open} rows in a window of {self._window}"
            self.context.tell(self._source, protocol.Demand(self._owed))
            self._owed = 0

    def _finish_if_done(self) -> None:
        if self._total is not None and self._next == self._total and not self._over:
            self._over = True
            self.context.tell(self._sink, protocol.EndOfRows(self._total))
            if self._quarantine is not None and self._quarantine is not self._sink:
                self.context.tell(self._quarantine, protocol.EndOfRows(self._total))
            self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> ReorderStatistics:
        return ReorderStatistics(
            self._window, self._open, self._open_max, self._buffered, self._buffered_max, self._next
        )


def runs_of(seqs: Seqs) -> list[tuple[int, int]]:
    """The contiguous runs of `seqs`, as [first, last) positions in it."""
    runs = []
    first = 0
    for i in range(1, len(seqs)):
        if seqs[i] != seqs[i - 1] + 1:
            runs.append((first, i))
            first = i
    if len(seqs):
        runs.append((first, len(seqs)))
    return runs
