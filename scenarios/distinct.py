"""What goes on from a dedupe, and what does not: checked on the rows that come to it, in their order, by their keys.

Of a run that is new all is known: which of its rows are duplicates follows from those that have come. In another life of a
run, a row that had its turn in an earlier one may be either; and of the first rows after it, the one that they are a
duplicate of may have come in that life. A row that comes after its turn has passed may be either as well, and so may those
that have its key: how far it was from others is not known any more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from headrace.actors import protocol
from headrace.actors.buffers.recent import digest_of
from headrace.actors.dedupe import DedupeTerms
from headrace.actors.journaling.recovered import Notes
from headrace.actors.protocol import Status
from headrace.actors.quantities import key_of
from headrace.actors.rows.identity import Id, Place, place, show
from headrace.runtime.graph.nodes.dedupe import DedupePlan
from headrace.runtime.graph.plan import Plan

from .verdict import Invariant


class Distinct:
    """What has come to one dedupe. `notes`: what earlier lives have left."""

    def __init__(self, name: str, terms: DedupeTerms, notes: Notes, fail: Callable[[Invariant, str], None]) -> None:
        self._name = name
        self._terms = terms
        self._fail = fail
        self._known = set(notes.open)
        self._before = notes.turns
        self._last: dict[Hashable, int] = {}
        self._unsure: dict[Hashable, int] = {}
        """Keys of rows that came after their turn, and when."""
        self._highest: Place = max((place(seq) for _, seq, _ in notes.last), default=())
        self._came = 0
        self._duplicate: dict[Id, bool | None] = {}
        """Of the rows inside: whether they are; None: it may be either."""

    def come(self, seqs: Iterable[Id], values: Iterable[Any]) -> None:
        """These have come, in this order."""
        for seq, value in zip(seqs, values, strict=True):
            at_place = place(seq)
            late, self._highest = at_place <= self._highest, max(self._highest, at_place)
            if seq in self._known:
                self._duplicate[seq] = None
                continue
            try:
                key = key_of(self._terms.key(value))
                digest_of(key)
            except BaseException:
                # It is the row's fault, and the row is not counted.
                self._duplicate[seq] = None
                continue
            at, within = self._came, self._terms.within
            self._came += 1
            if late:
                self._duplicate[seq] = None
                self._unsure[key] = at
                continue
            last, unsure = self._last.get(key), self._unsure.get(key)
            self._last[key] = at
            if last is not None and at - last <= within:
                self._duplicate[seq] = True
            elif (self._before and at < within) or (unsure is not None and at - unsure <= within):
                # Within its bound there may be rows of earlier lives, or such as came after their turn.
                self._duplicate[seq] = None
            else:
                self._duplicate[seq] = False

    def go(self, seqs: Iterable[Id]) -> None:
        """Note that these rows go on."""
        for seq in seqs:
            if self._duplicate.pop(seq, None) is True:
                self._fail(Invariant.DISTINCT, f"{self._name} lets row {show(seq)} go on, which is a duplicate")

    def drop(self, seqs: Iterable[Id]) -> None:
        """Note that these rows are dropped."""
        for seq in seqs:
            if self._duplicate.pop(seq, None) is False:
                self._fail(Invariant.DISTINCT, f"{self._name} drops row {show(seq)}, which is the first with its key")


class DistinctInAll:
    """The same over all lives of a run, seen from outside: which rows came to its dedupes, and where they ended for good."""

    def __init__(self) -> None:
        self._nodes: dict[str, DedupePlan] = {}
        self._keys: dict[str, dict[Id, Hashable]] = {}

    def watch(self, plan: Plan, watch: Callable[[type, Callable[[Any, Any, Any], None]], None]) -> None:
        """A life begins. `watch`: as `World.watch`."""
        self._nodes = {node.name: node for node in plan.nodes if isinstance(node, DedupePlan)}

        def look(_: Any, ref: Any, rows: protocol.Rows) -> None:
            node = self._nodes.get(ref.name)
            if node is not None:
                self._keys.setdefault(node.name, {}).update(zip(rows.seqs, map(node.key, rows.values), strict=True))

        if self._nodes:
            watch(protocol.Rows, look)

    def complaint(self, entries: Iterable[object]) -> str | None:
        """What is wrong when the run is done, by all that became durable."""
        written: set[Id] = set()
        dropped: dict[str, dict[Id, str]] = {}
        for entry in entries:
            if isinstance(entry, protocol.Settled) and entry.sink is not None and entry.status is Status.DELIVERED:
                written.update(entry.seqs)
            elif isinstance(entry, protocol.Ends):
                told = {end.seq: str(end.error) for end in entry.ended if end.status is Status.DROPPED}
                dropped.setdefault(entry.node, {}).update(told)
        for name, node in self._nodes.items():
            complaint = self._of(node, written, dropped.get(name, {}))
            if complaint is not None:
                return f"{name}: {complaint}"
        return None

    def _of(self, node: DedupePlan, written: set[Id], dropped: dict[Id, str]) -> str | None:
        keys, last = self._keys.get(node.name, {}), dict[Hashable, int]()
        # Of pieces and parts there may be several between two rows of the source.
        for seq in sorted(seq for seq in keys if type(seq) is int):
            of = dropped.get(seq)
            if of is None and seq in written:
                before = last.get(keys[seq])
                if before is not None and seq - before <= node.within:
                    return f"{seq} was written, and so was {before}, which has its key"
                last[keys[seq]] = seq
            elif of is not None and of.rpartition(" ")[2].isdecimal():
                first = int(of.rpartition(" ")[2])
                if first not in keys:
                    # It came as a batch, which is called by its first row.
                    continue
                if first >= seq or keys[first] != keys[seq] or first in dropped:
                    return f"{seq} was dropped as a {of}, which did not go on before it with its key"
        return None
