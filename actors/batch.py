"""A batch: gathers rows until there are enough of them, or until the first of them has waited long enough.

Told: `Rows` and `EndOfRows` by what stands before it, `FlushUpTo` by the ledger, `Start` and `Abort` by the conductor.
Tells: `Rows` of bundles, `Outcomes` and `EndOfRows` by its outputs, `Drained` to the conductor.

Promises: no row waits longer than it may, also where no other row comes (L39); what is left at the end goes on; a batch that
holds the row on which the whole window waits goes at once, full or not, so that batches by key cannot stall a run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .awaitables import at_once
from .edges.operators import ONWARD
from .edges.outputs import NodeStatistics, Outputs
from .protocol import Ended, Message, Status
from .quantities import key_of, size_of
from .rows.identity import Bundle, Id, Ids, Plain, place, plain, rows_of, span_of
from .rows.rowset import bits_of


class BatchTerms(msgspec.Struct, frozen=True):
    """What the user said of a batch; whichever comes first. `within_s`: seconds since its first row came. `key`: of a row;
    each has a batch of its own. `size`: of a row, in bytes."""

    name: str
    count: int | None = None
    bytes_max: int | None = None
    within_s: float | None = None
    key: Callable[[Any], Hashable] | None = None
    size: Callable[[Any], int] | None = None


class _Open:
    __slots__ = ("bits", "bytes", "number", "seqs", "sorted", "values")

    def __init__(self, number: int) -> None:
        self.number = number
        self.sorted = True
        """Its rows are plain ones, in their order, ..."""
        self.bits = 0
        """... and these; see `bits_of`."""
        self.bytes = 0.0
        self.seqs: list[Id] = []
        self.values: list[Any] = []


class _Due(protocol.Control, frozen=True):
    """The first row of this batch has waited long enough."""

    key: Hashable
    number: int


Told = (
    protocol.Rows | protocol.EndOfRows | protocol.Credit | protocol.FlushUpTo | protocol.Start | protocol.Abort | _Due
)


class Batch(Actor):
    """It does what the module says. `inputs`: edges that end here. `known`: batches of an earlier life of the run."""

    def __init__(
        self,
        terms: BatchTerms,
        outputs: Outputs,
        conductor: Ref,
        inputs: int = 1,
        journal: Ref | None = None,
        known: Iterable[Bundle] = (),
    ) -> None:
        self._terms = terms
        self._journal = journal
        self._known = {member: bundle for bundle in known for member in bundle.members}
        """Rows that were in a batch in an earlier life of the run, and are to be in the same one again."""
        self._again: dict[Bundle, dict[Id, Any]] = {}
        self._formed: list[Id] = []
        self._outputs = outputs
        self._conductor = conductor
        self._inputs = inputs
        self._open: dict[Hashable, _Open] = {}
        self._born = 0
        self._pressed = -1
        self._came = 0
        self._here = 0
        self._over = False
        self._bundles: list[Id] = []
        self._gathered: list[Any] = []

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)

    def receive(self, message: Told) -> None:
        if self._over:
            return
        match message:
            case protocol.Rows(seqs, values, _):
                self._came += len(seqs)
                self._here += len(seqs)
                if self._known:
                    seqs, values = self._without_known(seqs, values)
                if self._terms.key is None and self._terms.size is None:
                    self._fill(seqs, values)
                else:
                    self._sort(seqs, values)
                if self._pressed >= 0:
                    self._let_go(self._pressed)
            case protocol.FlushUpTo(seq):
                self._pressed = seq
                self._let_go(seq)
            case _Due(key, number):
                batch = self._open.get(key)
                if batch is not None and batch.number == number:
                    self._flush(key)
            case protocol.EndOfRows(total):
                self._inputs -= 1
                if not self._inputs:
                    for key in list(self._open):
                        self._flush(key)
                    self._say()
                    self._interrupt()
                    self._outputs.finish(total)
                    self._leave()
            case protocol.Start() | protocol.Credit():
                pass
            case protocol.Abort():
                self._leave()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)
        self._say()

    # --- rows come ---

    def _fill(self, seqs: Ids, values: list[Any]) -> None:
        """Without keys and sizes: as many at once as fit."""
        begin, n = 0, len(seqs)
        count = self._terms.count or n
        first, bits = span_of(seqs) if type(seqs) is range or type(seqs) is Plain else (0, 0)
        while begin < n:
            batch = self._batch(None)
            end = min(n, begin + max(1, count - len(batch.seqs)))
            some: Sequence[Any] = seqs[begin:end]
            batch.sorted = bool(batch.sorted and bits and not (batch.seqs and batch.seqs[-1] > some[0]))
            if batch.sorted:
                piece = bits >> (some[0] - first) & ((1 << (some[-1] - some[0] + 1)) - 1)
                batch.bits |= piece << (some[0] - batch.seqs[0] if batch.seqs else 0)
            batch.seqs.extend(some)
            batch.values.extend(values[begin:end])
            begin = end
            if self._terms.count and len(batch.seqs) >= self._terms.count:
                self._flush(None)

    def _sort(self, seqs: Ids, values: list[Any]) -> None:
        terms = self._terms
        bad: list[Ended] = []
        for seq, value in zip(seqs, values, strict=True):
            try:
                key = key_of(at_once("key=", terms.key(value))) if terms.key is not None else None
                size = size_of(at_once("size=", terms.size(value))) if terms.size is not None else 0.0
            except BaseException as error:
                bad.append(Ended(seq, Status.QUARANTINED, error, 1, value, terms.name))
                continue
            batch = self._batch(key)
            if terms.bytes_max is not None and batch.seqs and batch.bytes + size > terms.bytes_max:
                self._flush(key)
                batch = self._batch(key)
            batch.sorted = False
            batch.seqs.append(seq)
            batch.values.append(value)
            batch.bytes += size
            full = terms.count is not None and len(batch.seqs) >= terms.count
            if full or (terms.bytes_max is not None and batch.bytes >= terms.bytes_max):
                self._flush(key)
        if bad:
            self._here -= len(bad)
            self._outputs.end(bad)

    def _batch(self, key: Hashable) -> _Open:
        batch = self._open.get(key)
        if batch is None:
            self._born += 1
            batch = self._open[key] = _Open(self._born)
            if self._terms.within_s is not None:
                self.context.after(self._terms.within_s, _Due(key, batch.number))
        return batch

    # --- batches go ---

    def _flush(self, key: Hashable) -> None:
        batch = self._open.pop(key)
        seqs, values = batch.seqs, batch.values
        if batch.sorted:
            self._gather(seqs, values, batch.bits)
            return
        try:
            ordered = sorted(seqs)  # type: ignore[type-var]
            # Numbers cannot be sorted among anything else.
            bits = bits_of(ordered)[1] if type(ordered[0]) is int else 0
        except TypeError:
            ordered, bits = sorted(seqs, key=place), 0
        if ordered != seqs:
            by_seq = dict(zip(seqs, values, strict=True))
            seqs, values = ordered, [by_seq[seq] for seq in ordered]
        self._gather(seqs, values, bits)

    def _gather(self, seqs: list[Id], values: list[Any], bits: int) -> None:
        self._here -= len(seqs)
        self._outputs.live_on(Status.BATCHED, len(seqs))
        bundle = Bundle(tuple(seqs), bits)
        if self._journal is not None:
            self._formed.append(bundle)
        self._bundles.append(bundle)
        self._gathered.append(values)

    def _say(self) -> None:
        """What has been gathered in one turn goes as one message."""
        if self._formed and self._journal is not None:
            formed, self._formed = self._formed, []
            self.context.tell(self._journal, protocol.Formed(self._terms.name, formed))
        if self._bundles:
            bundles, gathered = self._bundles, self._gathered
            self._bundles, self._gathered = [], []
            self._outputs.send(ONWARD, bundles, gathered)

    def _without_known(self, seqs: Ids, values: list[Any]) -> tuple[list[Id], list[Any]]:
        rest: tuple[list[Id], list[Any]] = ([], [])
        for seq, value in zip(seqs, values, strict=True):
            bundle = self._known.pop(seq, None)
            if bundle is None:
                rest[0].append(seq)
                rest[1].append(value)
                continue
            here = self._again.setdefault(bundle, {})
            here[seq] = value
            if len(here) == len(bundle.members):
                del self._again[bundle]
                self._here -= len(here)
                self._outputs.live_on(Status.BATCHED, len(here))
                self._bundles.append(bundle)
                self._gathered.append([here[member] for member in bundle.members])
        return rest

    def _interrupt(self) -> None:
        """A drain may come before all rows of a batch of an earlier life have: another time, then."""
        name, waiting = self._terms.name, list(self._again.values())
        cut = [Ended(seq, Status.INTERRUPTED, None, 1, row, name) for here in waiting for seq, row in here.items()]
        if cut:
            self._here -= len(cut)
            self._outputs.end(cut)

    def _let_go(self, row: int) -> None:
        """Of the batches that hold it."""
        for key in [k for k, batch in self._open.items() if _holds(batch.seqs, row)]:
            self._flush(key)

    def _leave(self) -> None:
        self._over = True
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> NodeStatistics:
        return NodeStatistics(self._terms.name, self._outputs.traffic(self._came, self._here, self._outputs.went))


def _holds(seqs: list[Id], row: int) -> bool:
    return row in seqs if plain(seqs) else any(row in rows_of(seq) for seq in seqs)
