"""Where every row is, and what becomes of it: checked on each message that rows travel in.

A token is a row of the source, or what became of it in a graph (see `headrace.actors.identity`). At any time it is inside
one node, and leaves it once: along one edge, or by its outcome. What is kept here follows from what is told alone, and from
identities; no actor is asked, and none of the actors' own bookkeeping is used.

This file is long: one account of where each row is, which every message about rows goes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from headrace.actors import protocol
from headrace.actors.dedupe import DedupeTerms
from headrace.actors.joins.terms import JoinTerms
from headrace.actors.journaling.recovered import NEW, Notes, Recovered
from headrace.actors.protocol import Status
from headrace.actors.rows.identity import (
    Bundle,
    Id,
    Ids,
    Place,
    members_of,
    parent,
    part_of,
    places,
    plain,
    row_of,
    show,
)
from headrace.runtime.hosts.simulation.system import Mailbox

from .distinct import Distinct
from .verdict import Invariant

Kind = Literal["source", "stage", "flat_map", "fork", "join", "batch", "unbatch", "reorder", "sink", "quarantine"]
Fail = Callable[[Invariant, str], None]

_ROW_STATUSES = (Status.DELIVERED, Status.DROPPED, Status.QUARANTINED, Status.FAILED, Status.INTERRUPTED)


class NodeTerms(msgspec.Struct, frozen=True):
    """What must be known of a node. `ordered`: a reorder buffer is in front of this sink. `join`: where a fork's
    branches meet."""

    at: Mailbox
    kind: Kind
    join: JoinTerms | None = None
    batch_max: int | None = None
    dedupe: DedupeTerms | None = None


class _Forked:
    """A row at a join. `parts`: those that were sent there; `merged`: those of them that the join says to have used."""

    __slots__ = ("absent", "at_s", "decided", "merged", "parts")

    def __init__(self) -> None:
        self.at_s = 0.0
        """When it was forked."""
        self.parts: set[Id] = set()
        self.merged: set[Id] = set()
        self.absent: set[int] = set()
        self.decided = False


class _Node:
    """What is known to be inside a node."""

    __slots__ = ("forking", "inside", "kind", "members", "over", "rows", "terms", "words", "written")

    def __init__(self, terms: NodeTerms, past: Recovered = NEW) -> None:
        self.words = past.joins.get(terms.at.name, {})
        self.written = past.written.get(terms.at.name, set())
        self.terms = terms
        self.kind = terms.kind
        self.inside: set[Id] = set()
        self.over = False
        self.forking: dict[Id, set[int]] = {}
        self.members: dict[Id, Bundle] = {}
        self.rows: dict[Id, _Forked] = {}


class _Sequence:
    """What one reorder buffer has released, or has been told not to wait for."""

    __slots__ = ("ahead", "broods", "mark")

    def __init__(self, first: int) -> None:
        self.mark = first
        self.ahead: set[int] = set()
        self.broods: dict[Place, set[int]] = {}

    def done(self, at: Place) -> bool:
        """This one has had its turn."""
        if at[0] < self.mark or at[0] in self.ahead:
            return True
        return any(at[i] in self.broods.get(at[:i], ()) for i in range(1, len(at), 2))

    def waits_for(self, at: Place) -> Place | None:
        """One that comes before it and has not had its turn, if any."""
        if self.mark != at[0]:
            return (self.mark,)
        for i in range(1, len(at), 2):
            before = self.broods.get(at[:i], set())
            for index in range(at[i]):
                if index not in before:
                    return (*at[:i], index, at[i + 1])
        return None

    def resolve(self, at: Place) -> None:
        """It has had its turn; and so has what it is the last piece of."""
        while len(at) > 1:
            above, index, n = at[:-2], at[-2], abs(at[-1])
            brood = self.broods.setdefault(above, set())
            brood.add(index)
            if len(brood) < n:
                return
            del self.broods[above]
            at = above
        self.ahead.add(at[0])
        while self.mark in self.ahead:
            self.ahead.remove(self.mark)
            self.mark += 1

    def resolve_rows(self, first: int, last: int) -> None:
        """Rows of the source, [first, last), whose turn it is."""
        if first == self.mark and not self.ahead:
            self.mark = last
        else:
            for row in range(first, last):
                self.resolve((row,))


class _Fates:
    """What became of the rows of one ledger in this life, folded from the outcomes of their pieces."""

    def __init__(self, past: Recovered) -> None:
        self.settled = 0
        self.by_status: dict[Status, int] = dict.fromkeys(_ROW_STATUSES, 0)
        self._mark = past.first
        self._ahead = rows_done(past)
        self._pieces: dict[Id, dict[int, Status]] = {}

    def settle(self, status: Status, seqs: Ids) -> Id | None:
        """One that was settled before, if any."""
        if isinstance(seqs, range) and seqs.start == self._mark and not self._ahead:
            self._mark = seqs.stop
            self.settled += len(seqs)
            self.by_status[status] += len(seqs)
            return None
        for seq in seqs:
            again = self._settle(seq, status)
            if again is not None:
                return again
        return None

    def _settle(self, seq: Id, status: Status) -> Id | None:
        if type(seq) is int:
            if seq < self._mark or seq in self._ahead:
                return seq
            self._ahead.add(seq)
            while self._mark in self._ahead:
                self._ahead.remove(self._mark)
                self._mark += 1
            self.settled += 1
            self.by_status[status] += 1
            return None
        if type(seq) is Bundle:
            for member in seq.members:
                again = self._settle(member, status)
                if again is not None:
                    return again
            return None
        above, index, n = parent(seq)
        pieces = self._pieces.setdefault(above, {})
        if index in pieces:
            return seq
        pieces[index] = status
        if len(pieces) < (n if n > 0 else 1 - n):
            return None
        del self._pieces[above]
        return self._settle(above, _fate(pieces, n))


def _fate(pieces: dict[int, Status], n: int) -> Status:
    """Of pieces, the gravest; of parts, the join's word, unless one was interrupted or has failed the run."""
    outcomes = set(pieces.values())
    for grave in (Status.INTERRUPTED, Status.FAILED):
        if grave in outcomes:
            return grave
    if n < 0:
        return pieces[-n]
    return next(s for s in (Status.QUARANTINED, Status.DELIVERED, Status.DROPPED) if s in outcomes)


class Tokens:
    """The rows of all runs and executors of a world."""

    def __init__(self, fail: Fail, now: Callable[[], float]) -> None:
        self._fail = fail
        self._now = now
        self._nodes: dict[Mailbox, _Node] = {}
        self._sequences: dict[Mailbox, _Sequence] = {}
        self._fates: dict[Mailbox, _Fates] = {}
        self._ledger_of: dict[Mailbox, Mailbox] = {}
        self._journals: dict[Mailbox, Recovered] = {}
        self._takers: set[Mailbox] = set()
        self._writing: dict[Mailbox, set[Id]] = {}
        self._written: dict[Mailbox, set[Id]] = {}
        self._distinct: dict[Mailbox, Distinct] = {}

    def watch_run(
        self,
        ledger: Mailbox,
        nodes: list[NodeTerms],
        taker: Mailbox | None,
        journal: Mailbox | None = None,
        past: Recovered = NEW,
    ) -> None:
        """A run takes part. `taker`: who takes all outcomes, where somebody does. `journal`: who stands in front of the
        ledger; `past`: what earlier lives have left."""
        self._fates[ledger] = _Fates(past)
        if journal is not None:
            self._journals[journal] = past
        for terms in nodes:
            self._nodes[terms.at] = _Node(terms, past)
            if terms.kind == "reorder":
                self._sequences[terms.at] = _Sequence(past.first)
            elif terms.kind == "source":
                self._ledger_of[terms.at] = ledger
            elif terms.dedupe is not None:
                notes = past.noted.get(terms.dedupe.name, Notes())
                self._distinct[terms.at] = Distinct(terms.at.name, terms.dedupe, notes, self._fail)
        if taker is not None:
            self._takers.add(taker)

    def watch_stage(self, stage: Mailbox) -> None:
        """The stage of an executor takes part."""
        self._nodes[stage] = _Node(NodeTerms(stage, "stage"))

    def inside(self, at: Mailbox) -> set[Id]:
        """What is inside a node."""
        return self._nodes[at].inside

    def is_over(self, at: Mailbox) -> bool:
        """Whether a node has passed on the end."""
        return self._nodes[at].over

    def fates(self, ledger: Mailbox) -> _Fates:
        """What has become of its rows."""
        return self._fates[ledger]

    # --- rows move ---

    def on_given(self, source: Mailbox, rows: Iterable[int]) -> None:
        """Note the rows that the source has given."""
        self._nodes[source].inside.update(rows)

    def on_rows(self, now: float, sender: Mailbox, ref: Any, message: protocol.Rows) -> None:
        seqs = message.seqs
        if message.attempts and not message.attempts.keys() <= set(seqs):
            self._fail(Invariant.ISOLATED, f"{sender.name} tells attempts of rows that are not among {_span(seqs)}")
        before = self._nodes.get(sender)
        if before is not None:
            self._go(sender, before, seqs)
        if self._distinct:
            if sender in self._distinct:
                self._distinct[sender].go(seqs)
            if ref in self._distinct:
                self._distinct[ref].come(seqs, message.values)
        after = self._nodes.get(ref)
        if after is not None:
            if message.span is not None:
                self._on_missed(ref, sorted(set(message.span).difference(seqs)))
            self._come(ref, after, seqs)

    def on_out_of_turn(self, now: float, sender: Mailbox, ref: Any, message: protocol.OutOfTurn) -> None:
        before, after = self._nodes.get(sender), self._nodes.get(ref)
        if before is not None and after is not None:
            self._go(sender, before, message.seqs)
            self._come(ref, after, message.seqs)

    def _go(self, name: Mailbox, node: _Node, seqs: Ids) -> None:
        match node.kind:
            case "stage" | "source":
                self._leave(name, node, seqs)
            case "flat_map":
                self._go_split(name, node, seqs)
            case "fork":
                self._go_forked(name, node, seqs)
            case "batch":
                for bundle in seqs:
                    assert type(bundle) is Bundle
                    if node.terms.batch_max is not None and len(bundle.members) > node.terms.batch_max:
                        self._fail(Invariant.BOUNDED, f"{name.name} gives a batch of {len(bundle.members)} rows")
                    self._leave(name, node, list(bundle.members))
            case "unbatch":
                for seq in seqs:
                    whole = node.members.pop(seq, None)
                    if whole is None:
                        self._fail(Invariant.ONCE, f"{name.name} gives row {show(seq)}, which is in no batch there")
                    elif not any(member in node.members for member in whole.members):
                        self._leave(name, node, [whole])
            case "join":
                for seq in seqs:
                    if seq in node.inside:
                        self._go_late(name, node, seq)
                    else:
                        self._say_word(name, node, seq, well=True)
            case "reorder":
                self._leave(name, node, seqs)
                self._release(name, seqs)
            case other:
                raise AssertionError(f"no row goes on from a {other}")

    def _come(self, name: Mailbox, node: _Node, seqs: Ids) -> None:
        inside = node.inside
        n = len(inside)
        inside.update(seqs)
        if len(inside) - n != len(seqs):
            self._fail(Invariant.ONCE, f"a row of {_span(seqs)} comes to {name.name} once more")
        if node.kind in _SIMPLE:
            return
        if node.kind == "unbatch":
            for bundle in seqs:
                if type(bundle) is Bundle:
                    node.members.update(dict.fromkeys(bundle.members, bundle))
        elif node.kind == "join":
            for seq in seqs:
                of, index, _ = parent(part_of(seq))
                row = node.rows.setdefault(of, _Forked())
                if index in row.absent:
                    self._fail(
                        Invariant.ONCE, f"part {show(seq)} comes to {name.name}, which was told that it will not"
                    )
                row.parts.add(seq)

    def _leave(self, name: Mailbox, node: _Node, seqs: Ids) -> None:
        if len(seqs) == 1 and seqs[0] in node.inside:
            node.inside.remove(seqs[0])
            return
        n = len(node.inside)
        node.inside.difference_update(seqs)
        if n - len(node.inside) != len(seqs):
            self._fail(Invariant.ONCE, f"a row of {_span(seqs)} leaves {name.name} once more")

    def _go_split(self, name: Mailbox, node: _Node, seqs: Ids) -> None:
        pieces: dict[Id, list[int]] = {}
        promised: dict[Id, int] = {}
        same: list[Id] = []
        for seq in seqs:
            if seq in node.inside:
                # One for one: it is the same row still.
                same.append(seq)
                continue
            of, index, promised[of] = parent(seq)
            pieces.setdefault(of, []).append(index)
        self._leave(name, node, same)
        for of, indices in pieces.items():
            if indices != list(range(promised[of])):
                what = f"{name.name} splits row {show(of)} into {indices} of {promised[of]}"
                self._fail(Invariant.ACCOUNTED, what)
        self._leave(name, node, list(pieces))

    def _go_forked(self, name: Mailbox, node: _Node, seqs: Ids) -> None:
        for seq in seqs:
            of, index, n = parent(seq)
            sent = node.forking.setdefault(of, set())
            if index in sent or of not in node.inside:
                self._fail(Invariant.ONCE, f"{name.name} sends part {show(seq)} once more")
            sent.add(index)
            if len(sent) == abs(n):
                del node.forking[of]
                self._leave(name, node, [of])

    # --- joins ---

    def on_forked(self, now: float, sender: Mailbox, ref: Any, message: protocol.Forked) -> None:
        rows = self._nodes[ref].rows
        for seq in message.seqs:
            rows.setdefault(seq, _Forked()).at_s = now

    def _say_word(self, name: Mailbox, node: _Node, seq: Id, well: bool, cut: bool = False) -> None:
        """A join has decided on a row; or has ended it, since a part of it was interrupted."""
        terms = node.terms.join
        assert terms is not None
        of, apart = seq, False
        if seq not in node.rows and type(seq) is tuple and seq[-2:] == (terms.ways, -terms.ways):
            of, apart = parent(seq)[0], True
        row = node.rows.get(of)
        if row is None or row.decided:
            self._fail(Invariant.JOINED, f"{name.name} says its word on row {show(of)} once more")
            return
        row.decided = True
        if of in node.words or cut:
            # Said in an earlier life, whatever has come in this one.
            if not apart:
                self._leave(name, node, list(row.parts))
                row.merged = row.parts
            self._forget(node, of, row)
            return
        here = len(row.merged if apart else row.parts)
        needed = {"all": len(terms.branches), "any": 1, "best": 0}.get(str(terms.require), terms.require)
        assert isinstance(needed, int)
        if well != (here >= needed):
            said = "goes on" if well else "is ended"
            self._fail(Invariant.JOINED, f"row {show(of)} {said} in {name.name} with {here} parts of {needed} required")
        heard = here + len(row.absent) >= len(terms.branches)
        in_vain = len(terms.branches) - len(row.absent) < needed
        overdue = terms.within_s is not None and self._now() >= row.at_s + terms.within_s
        if not (heard or in_vain or overdue or (terms.require == "any" and here)):
            self._fail(Invariant.JOINED, f"{name.name} does not wait for the parts of row {show(of)} that may yet come")
        if not apart:
            if here != terms.ways or any(part_of(part) != part for part in row.parts):
                self._fail(
                    Invariant.JOINED, f"row {show(of)} leaves {name.name} as whole, with {here} of {terms.ways} parts"
                )
            self._leave(name, node, list(row.parts))
            row.merged = row.parts
        self._forget(node, of, row)

    def _go_late(self, name: Mailbox, node: _Node, seq: Id) -> None:
        of, index, _ = parent(part_of(seq))
        row = node.rows.get(of)
        if row is None or not row.decided:
            self._fail(Invariant.JOINED, f"{name.name} lets part {show(seq)} go before its word on the row")
            return
        self._leave(name, node, [seq])
        row.absent.add(index)
        self._forget(node, of, row)

    def _miss(self, name: Mailbox, node: _Node, seqs: Ids) -> None:
        """A join is told that these will not come."""
        for seq in (member for whole in seqs for member in members_of(whole)):
            of, index, _ = parent(part_of(seq))
            row = node.rows.setdefault(of, _Forked())
            if index in row.absent or any(parent(part_of(part))[1] == index for part in row.parts):
                self._fail(Invariant.ONCE, f"{name.name} is told that part {show(seq)} will not come, and has it")
            row.absent.add(index)
            self._forget(node, of, row)

    def _forget(self, node: _Node, of: Id, row: _Forked) -> None:
        terms = node.terms.join
        assert terms is not None
        if row.decided and len(row.merged) + len(row.absent) == len(terms.branches):
            del node.rows[of]

    # --- order ---

    def _release(self, name: Mailbox, seqs: Ids) -> None:
        sequence = self._sequences[name]
        if isinstance(seqs, range) and len(seqs) > 1:
            first = self._turn(name, sequence, (seqs[0],))
            if first:
                sequence.resolve_rows(seqs[0], seqs[-1] + 1)
            return
        for seq in seqs:
            own, *others = places(seq)
            if not self._turn(name, sequence, own):
                return
            sequence.resolve(own)
            for other in others:
                if not sequence.done(other):
                    sequence.resolve(other)

    def _turn(self, name: Mailbox, sequence: _Sequence, at: Place) -> bool:
        if sequence.done(at):
            self._fail(Invariant.ORDERED, f"{name.name} releases {at} after what comes behind it")
            return False
        waiting = sequence.waits_for(at)
        if waiting is not None:
            self._fail(
                Invariant.ORDERED,
                f"{name.name} releases {at} before {waiting}, of which nobody said that it will not come",
            )
            return False
        return True

    def _gap(self, name: Mailbox, seqs: Ids) -> None:
        sequence = self._sequences[name]
        for seq in seqs:
            own, *others = places(seq)
            if sequence.done(own):
                self._fail(Invariant.ORDERED, f"{name.name} is told that {show(seq)} will not come, which had its turn")
            sequence.resolve(own)
            for other in others:
                if not sequence.done(other):
                    sequence.resolve(other)

    # --- rows that end, or go elsewhere ---

    def on_gaps(self, now: float, sender: Mailbox, ref: Any, message: protocol.Gaps) -> None:
        self._on_missed(ref, message.seqs)

    def _on_missed(self, ref: Any, seqs: Ids) -> None:
        node = self._nodes.get(ref)
        if node is None or node.kind == "sink" or not seqs:
            return
        if node.kind == "join":
            self._miss(ref, node, seqs)
            return
        if not node.inside.isdisjoint(seqs):
            self._fail(Invariant.ONCE, f"{ref.name} is told that a row of {_span(seqs)} will not come, and has it")
        self._gap(ref, seqs)

    def on_outcomes(self, now: float, sender: Mailbox, ref: Any, message: protocol.Outcomes) -> None:
        seqs = [ended.seq for ended in message.ended]
        after = self._nodes.get(ref)
        before = self._nodes.get(sender)
        if after is None:
            # The desk of an executor; or somebody who only watches.
            if before is not None and before.terms.kind == "stage":
                self._leave(sender, before, seqs)
            return
        if ref in self._takers or after.kind in ("quarantine", "sink"):
            if before is not None:
                self._end(sender, before, seqs)
            self._come(ref, after, seqs)
        else:
            self._on_missed(ref, seqs)

    def _end(self, name: Mailbox, node: _Node, seqs: Ids, cut: bool = False) -> None:
        """Somebody else answers for these from now on; or, where they are `cut`, nobody in this life."""
        if node.kind == "reorder":
            self._leave(name, node, seqs)
            self._release(name, seqs)
            return
        if node.kind == "unbatch":
            for seq in seqs:
                if type(seq) is Bundle:
                    for member in seq.members:
                        node.members.pop(member, None)
        if node.kind != "join":
            self._leave(name, node, seqs)
            return
        for seq in seqs:
            if seq in node.inside and cut:
                # A part of a row of which another one was interrupted.
                of, index, _ = parent(part_of(seq))
                self._leave(name, node, [seq])
                node.rows[of].absent.add(index)
            elif seq in node.inside:
                self._go_late(name, node, seq)
            else:
                self._say_word(name, node, seq, well=False, cut=cut)

    def on_settled(self, now: float, sender: Mailbox, ref: Any, message: protocol.Settled) -> None:
        seqs, status = message.seqs, message.status
        fates = self._fates.get(ref)
        if fates is not None:
            again = fates.settle(status, seqs)
            if again is not None:
                invariant = Invariant.ONCE if status is Status.DELIVERED else Invariant.ACCOUNTED
                self._fail(invariant, f"row {show(again)} has an outcome, and is now {status.value}")
        elif ref not in self._journals:
            return
        node = self._nodes.get(sender)
        if node is None:
            return
        if status is Status.DROPPED and sender in self._distinct:
            self._distinct[sender].drop(seqs)
        if status is Status.DELIVERED or node.kind == "quarantine":
            written = self._written.get(sender, set())
            new = [seq for seq in seqs if seq not in node.written]
            if status is not Status.INTERRUPTED and not written.issuperset(new):
                self._fail(Invariant.ONCE, f"{sender.name} calls {_span(seqs)} {status.value}, which was not written")
            written.difference_update(new)
        if node.kind == "join" and status is Status.MERGED:
            for seq in seqs:
                node.rows[parent(part_of(seq))[0]].merged.add(seq)
            self._leave(sender, node, seqs)
        elif node.kind in ("sink", "quarantine"):
            self._leave(sender, node, seqs)
        else:
            self._end(sender, node, seqs, status is Status.INTERRUPTED)

    def on_end_of_rows(self, now: float, sender: Mailbox, ref: Any, message: protocol.EndOfRows) -> None:
        node = self._nodes.get(sender)
        if node is None:
            return
        node.over = True
        left = len(node.inside) + len(node.forking) + sum(not row.decided for row in node.rows.values())
        if left:
            self._fail(Invariant.ACCOUNTED, f"{sender.name} says its end with {left} rows inside")

    # --- writers ---

    def on_write(self, now: float, sender: Mailbox, ref: Any, message: protocol.Write) -> None:
        if self._writing.get(sender):
            self._fail(Invariant.ORDERED, f"{sender.name} has two writes under way")
        rows: set[Id] = set()
        for part in message.batch:
            if isinstance(part, protocol.Rows):
                rows.update(part.seqs)
            else:
                rows.update(ended.seq for ended in part.ended)
        self._writing[sender] = rows

    def on_written(self, now: float, sender: Mailbox, ref: Any, message: protocol.Written) -> None:
        self._written[ref] = self._writing.pop(ref, set()).difference(message.unwritable or ())

    def on_write_failed(self, now: float, sender: Mailbox, ref: Any, message: protocol.WriteFailed) -> None:
        self._writing.pop(ref, None)


def rows_done(past: Recovered) -> set[int]:
    """Rows after the first that is to be done that are not to be done."""
    return {first + i for first, bits in past.done for i in range(bits.bit_length()) if bits >> i & 1}


_SIMPLE = frozenset({"stage", "reorder", "sink", "quarantine", "flat_map", "fork", "batch"})
"""Kinds of nodes where a row is inside, and that is all."""


def _span(seqs: Ids) -> str:
    return show(seqs[0]) if len(seqs) == 1 else f"{show(seqs[0])} to {show(seqs[-1])}"


def rows_in(seq: Id, value: Any, id_of: Callable[[Any], int]) -> list[tuple[int, int]]:
    """(row, what its value says that it is) of all rows in it, where values can be told by what they hold."""
    if type(seq) is Bundle:
        if not isinstance(value, list) or len(value) != len(seq.members):
            return []
        return [pair for member, each in zip(seq.members, value, strict=True) for pair in rows_in(member, each, id_of)]
    return [(row_of(seq), id_of(value))] if plain([seq]) else []


__all__ = ["NodeTerms", "Tokens", "rows_done"]
