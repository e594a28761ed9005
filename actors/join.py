"""A join: brings the parts of a forked row together again, and goes on without those that do not come in time.

Told: `Forked` by its fork, `Rows` and `EndOfRows` by the ends of the branches, `Gaps` and `Outcomes` by the nodes in
the branches, `Start` and `Abort` by the conductor. Tells: `Rows`, `Outcomes` and `EndOfRows` by its outputs, `Settled` of
the parts to the ledger, `Failing` and `Drained` to the conductor.

Promises: one word on each forked row, as soon as it can be said: with what it needs, or without it at the deadline,
which begins when the row is forked and does not wait for another row to come (L39). No part is forgotten: one that
comes after the word is late, is counted, and goes where the user said. What is kept of a row is kept until each of its
parts has been heard of, and is bounded by the window with it.

This file is long: what is remembered of a row whose parts are missing reaches into each of its decisions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .buffers.backlog import as_seqs
from .edges.operators import ONWARD
from .edges.outputs import NodeStatistics, Outputs
from .errors import HeadraceError, InternalError
from .protocol import Ended, Message, Status
from .rows.identity import Column, Id, Ids, members_of, merged, parent, part, part_of
from .text import told

LATE = "late"
"""The edge of parts that come too late."""

Require = Literal["all", "any", "best"] | int


class JoinTerms(msgspec.Struct, frozen=True):
    """What the user said of a join.

    `branches`: those that meet here, by their index in the fork, which has `ways` in all. `require`: `all` parts;
    `any`, the first that comes; so many of those that come; `best`, whatever comes. `within_s`: seconds from the fork
    on, None: as long as it takes. `on_missing`: what becomes of a row that lacks parts. `bare`: nobody merges, so the
    parts are the row.
    """

    name: str
    branches: dict[int, str]
    ways: int
    require: Require = "all"
    within_s: float | None = None
    on_missing: Literal["quarantine", "drop", "fail"] = "quarantine"
    bare: bool = False


T = TypeVar("T")


class PartsMissing(HeadraceError, RuntimeError):
    """A row lacks parts that its join requires."""


class Parts(dict[str, T]):
    """The parts of one row, by branch. `missing`: why the others are not there: their error; None where there is none (it
    was dropped, or went elsewhere, or is not here yet)."""

    missing: Mapping[str, BaseException | None] = MappingProxyType({})


class Merging(msgspec.Struct, frozen=True):
    """What a join gives to the one who merges: the row as it was forked, and its parts."""

    row: Any
    parts: Parts[Any]


class _Odd:
    """What is remembered of a row that is not as most rows are: that lacks a part, or goes on before the last one came."""

    __slots__ = ("absent", "awaited", "cut", "names")

    def __init__(self) -> None:
        self.absent: dict[int, BaseException | None] = {}
        self.names: dict[int, Id] = {}
        """Of parts of which something went elsewhere: what they are called since."""
        self.awaited: set[int] | None = None
        """Once the word has been said: those that have not been heard of."""
        self.cut = False
        """A part was interrupted, and comes again in another life of the run."""


class _CheckDeadlines(protocol.Control, frozen=True):
    pass


Told = (
    protocol.Forked
    | protocol.Rows
    | protocol.Gaps
    | protocol.Outcomes
    | protocol.EndOfRows
    | protocol.Credit
    | protocol.Start
    | protocol.Abort
    | _CheckDeadlines
)


class Join(Actor):
    """It does what the module says. `outputs`: of what it makes; `late`: of parts that come too late. `inputs`: edges
    that end here, the fork's own word counted. `known`: the words of an earlier life of the run."""

    def __init__(
        self,
        terms: JoinTerms,
        outputs: Outputs,
        late: Outputs,
        conductor: Ref,
        inputs: int,
        journal: Ref | None = None,
        known: Mapping[Id, tuple[int, ...]] | None = None,
    ) -> None:
        self._terms = terms
        self._journal = journal
        # That all parts of a row come follows from the rows alone; with a deadline, it does not.
        self._whole_is_word = terms.require != "all" or terms.within_s is not None
        self._known = dict(known or {})
        """The words of an earlier life of the run: with which parts."""
        self._decided: list[tuple[Id, tuple[int, ...]]] = []
        self._outputs = outputs
        self._late_outputs = late
        self._conductor = conductor
        self._inputs = inputs
        self._expected = len(terms.branches)
        self._needed = _needed_of(terms)
        self._rows: dict[Id, Any] = {}
        """Forked, and no word has been said."""
        self._parts: dict[int, dict[Id, Any]] = {index: {} for index in terms.branches}
        """Those that wait for the others, by branch."""
        self._odd: dict[Id, _Odd] = {}
        self._attempts: dict[Id, int] = {}
        self._deadlines: deque[tuple[float, Ids]] = deque()
        self._watching = False
        self._total = 0
        self._over = False
        self._came = 0
        self._made = 0
        self._late = 0
        # What is said in one turn goes as one message.
        self._made_seqs: list[Id] = []
        self._made_values: list[Merging | Parts[Any]] = []
        self._made_attempts: dict[Id, int] = {}
        self._merged = 0
        self._merged_names: list[Id] = []
        self._merged_apart: list[Id] = []
        self._ended: list[Ended] = []
        self._cut_off: list[Ended] = []
        """Parts of rows that were interrupted."""
        self._late_seqs: list[Id] = []
        self._late_values: list[Any] = []

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)
        self._late_outputs.start(context)

    def receive(self, message: Told) -> None:
        if self._over:
            return
        match message:
            case protocol.Rows(seqs, values, attempts):
                self._on_rows(seqs, values, attempts)
            case protocol.Forked(seqs, values):
                self._on_forked(seqs, values)
            case protocol.Gaps(seqs):
                for seq in seqs:
                    for member in members_of(seq):
                        self._on_absent(member, None)
            case protocol.Outcomes(ended):
                for end in ended:
                    for member in members_of(end.seq):
                        self._on_absent(member, end.error, end.status is Status.INTERRUPTED)
            case protocol.EndOfRows(total):
                self._inputs -= 1
                self._total = total
            case _CheckDeadlines():
                self._on_check_deadlines()
            case protocol.Start() | protocol.Credit():
                pass
            case protocol.Abort():
                self._leave()
                return
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)
        self._say()
        if not self._inputs and not self._rows and not self._odd:
            self._outputs.finish(self._total)
            self._late_outputs.finish(self._total)
            self._leave()

    # --- what is told ---

    def _on_forked(self, seqs: Ids, values: list[Any]) -> None:
        if self._terms.within_s is not None:
            while self._deadlines and self._rows.keys().isdisjoint(self._deadlines[0][1]):
                # All of them have had their word: a long deadline shall not be a long memory.
                self._deadlines.popleft()
            self._deadlines.append((self.context.now() + self._terms.within_s, seqs))
            if not self._watching:
                self._watching = True
                self.context.after(self._terms.within_s, _CheckDeadlines())
        self._rows.update(zip(seqs, values, strict=True))
        # Nothing says that a part cannot be here before.
        if any(self._parts.values()) or self._odd:
            self._check(seqs)

    def _on_rows(self, seqs: Ids, values: list[Any], attempts: dict[Id, int] | None) -> None:
        self._came += len(seqs)
        if attempts:
            for seq, n in attempts.items():
                of = parent(part_of(seq))[0]
                self._attempts[of] = self._attempts.get(of, 1) + n - 1
        if isinstance(seqs, Column):
            self._arrive(seqs.branch, seqs.of, values)
            return
        branches: dict[int, tuple[list[Id], list[Any]]] = {}
        for seq, value in zip(seqs, values, strict=True):
            name = part_of(seq)
            of, index, _ = parent(name)
            if name != seq:
                self._odd_one(of).names[index] = seq
            branch = branches.setdefault(index, ([], []))
            branch[0].append(of)
            branch[1].append(value)
        for index, (ofs, parts_) in branches.items():
            self._arrive(index, ofs, parts_)

    def _arrive(self, index: int, seqs: Ids, values: list[Any]) -> None:
        """Parts of these rows, by the branch of that index."""
        if self._odd and not self._odd.keys().isdisjoint(seqs):
            seqs, values = self._without_late(index, seqs, values)
            if not seqs:
                return
        here = self._parts[index]
        n = len(here)
        here.update(zip(seqs, values, strict=True))
        if len(here) - n != len(seqs):
            raise InternalError(f"a part of {seqs[0]} to {seqs[-1]} came twice")
        self._check(seqs)

    def _without_late(self, index: int, seqs: Ids, values: list[Any]) -> tuple[list[Id], list[Any]]:
        in_time: tuple[list[Id], list[Any]] = ([], [])
        for seq, value in zip(seqs, values, strict=True):
            odd = self._odd.get(seq)
            if odd is not None and odd.awaited is not None:
                self._late_seqs.append(odd.names.get(index) or part(seq, index, self._terms.ways))
                self._late_values.append(value)
                self._heard_of(seq, index)
            else:
                in_time[0].append(seq)
                in_time[1].append(value)
        return in_time

    def _on_absent(self, seq: Id, error: BaseException | None, cut: bool = False) -> None:
        """`cut`: it was interrupted, and comes again in another life of the run."""
        of, index, _ = parent(part_of(seq))
        odd = self._odd_one(of)
        odd.cut = odd.cut or cut
        if index in odd.absent:
            raise InternalError(f"part {seq} ended twice")
        if of in self._parts[index]:
            raise InternalError(f"part {seq} has come, and now ended")
        if odd.awaited is not None:
            self._heard_of(of, index)
            return
        odd.absent[index] = error
        self._check([of])

    def _odd_one(self, seq: Id) -> _Odd:
        odd = self._odd.get(seq)
        if odd is None:
            odd = self._odd[seq] = _Odd()
        return odd

    def _heard_of(self, seq: Id, index: int) -> None:
        """A part of a row on which the word has been said. With the last of them, it is forgotten."""
        awaited = self._odd[seq].awaited
        if awaited is None:
            raise InternalError(f"row {seq} still waits for its word")
        if index not in awaited:
            raise InternalError(f"part {index} of {seq} was heard of twice")
        awaited.remove(index)
        if not awaited:
            del self._odd[seq]
            self._attempts.pop(seq, None)

    def _on_check_deadlines(self) -> None:
        now = self.context.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, seqs = self._deadlines.popleft()
            for seq in seqs:
                if seq in self._rows and seq not in self._known and not self._is_cut(seq):
                    self._decide(seq)
        self._watching = bool(self._deadlines)
        if self._deadlines:
            self.context.after(self._deadlines[0][0] - now, _CheckDeadlines())

    # --- the word ---

    def _is_cut(self, seq: Id) -> bool:
        """A part of it was interrupted: it has no new word in this life, and ends when all of its parts are heard of."""
        return seq in self._odd and self._odd[seq].cut

    def _check(self, seqs: Ids) -> None:
        """Say the word on those of these rows on which it can be said."""
        odd = self._odd and not self._odd.keys().isdisjoint(seqs)
        if odd or (self._known and not self._known.keys().isdisjoint(seqs)):
            for seq in seqs:
                if seq in self._rows and self._is_ready(seq):
                    self._decide(seq)
            return
        ready: Ids = seqs
        if self._terms.require == "any":
            for seq in seqs:
                if seq in self._rows and self._is_ready(seq):
                    self._decide(seq)
            return
        for here in (self._rows, *self._parts.values()):
            if not (here.keys() >= set(ready)):
                ready = [seq for seq in ready if seq in here]
                if not ready:
                    return
        self._decide_whole(ready)

    def _is_ready(self, seq: Id) -> bool:
        known, odd = self._known.get(seq), self._odd.get(seq)
        if known is not None and odd is not None and not odd.absent.keys().isdisjoint(known):
            # One of the parts with which it said its word has ended otherwise now.
            del self._known[seq]
            known = None
        if known is not None:
            return all(seq in self._parts[index] for index in known)
        absent = len(odd.absent) if odd is not None else 0
        here = sum(seq in parts_ for parts_ in self._parts.values())
        if odd is not None and odd.cut:
            return here + absent == self._expected
        if here + absent == self._expected or (self._terms.require == "any" and here > 0):
            return True
        # Not even if all the others come.
        return self._expected - absent < self._needed

    def _decide_whole(self, seqs: Ids) -> None:
        """On rows of which all parts are here, and nothing is odd: column by column."""
        rows = list(map(self._rows.pop, seqs))
        if self._journal is not None and self._whole_is_word:
            whole = tuple(self._parts)
            self._decided += [(seq, whole) for seq in seqs]
        names = list(self._terms.branches.values())
        columns = [list(map(here.pop, seqs)) for here in self._parts.values()]
        values = [Parts(zip(names, each, strict=True)) for each in zip(*columns, strict=True)]
        n = len(seqs)
        ways = self._terms.ways
        if ways != self._expected:
            for seq in seqs:
                self._merged_apart += [part(seq, index, ways) for index in self._parts]
            self._made_seqs += [merged(seq, ways) for seq in seqs]
        else:
            self._made_seqs += seqs
        if self._late_outputs.has(LATE):
            self._merged_names += [part(seq, index, ways) for seq in seqs for index in self._parts]
        self._made += n
        self._merged += n * self._expected
        if self._terms.bare:
            self._made_values += values
        else:
            self._made_values += map(Merging, rows, values)
        if self._attempts:
            for seq, made in zip(seqs, self._made_seqs[-n:], strict=True):
                if seq in self._attempts:
                    self._made_attempts[made] = self._attempts.pop(seq)

    def _decide(self, seq: Id) -> None:
        """On one row, with what is here of it."""
        row = self._rows.pop(seq)
        ways, branches = self._terms.ways, self._terms.branches
        here = {index: parts_.pop(seq) for index, parts_ in self._parts.items() if seq in parts_}
        known = self._known.pop(seq, None)
        late = {index: here.pop(index) for index in set(here) - set(known)} if known is not None else {}
        cut = known is None and self._is_cut(seq)
        if known is None and self._journal is not None and not cut:
            self._decided.append((seq, tuple(here)))
        odd = self._odd.get(seq) or _Odd()
        names = [odd.names.get(index) or part(seq, index, ways) for index in here]
        if cut:
            self._interrupt(seq, row, dict(zip(names, here.values(), strict=True)))
            return
        made = seq
        if len(here) != ways or not odd.names.keys().isdisjoint(here):
            # Parts, or parts of those, that went elsewhere are settled there; so that the row is settled with the last of
            # them, what came of it is one more of them.
            made = merged(seq, ways)
            self._merged_apart += names
        self._made += 1
        self._merged += len(here)
        self._merged_names += names
        values = Parts({branches[index]: value for index, value in here.items()})
        if len(here) != self._expected:
            values.missing = {name: odd.absent.get(i) for i, name in branches.items() if i not in here}
        awaited = set(branches) - here.keys() - odd.absent.keys()
        if awaited:
            self._odd_one(seq).awaited = awaited
            for index in sorted(late):
                # In the earlier life it came after the word.
                self._late_seqs.append(odd.names.get(index) or part(seq, index, ways))
                self._late_values.append(late[index])
                self._heard_of(seq, index)
        else:
            self._odd.pop(seq, None)
        attempts = self._attempts.pop(seq, 1)
        if len(here) < self._needed:
            self._end(made, row, values, attempts)
            return
        self._made_seqs.append(made)
        self._made_values.append(values if self._terms.bare else Merging(row, values))
        if attempts > 1:
            self._made_attempts[made] = attempts

    def _interrupt(self, seq: Id, row: Any, parts_: dict[Id, Any]) -> None:
        """It comes again in another life of the run, and so do its parts, whatever would have become of them."""
        name, attempts = self._terms.name, self._attempts.pop(seq, 1)
        del self._odd[seq]
        self._made += 1
        self._cut_off += [Ended(each, Status.INTERRUPTED, None, 1, value, name) for each, value in parts_.items()]
        self._ended.append(Ended(merged(seq, self._terms.ways), Status.INTERRUPTED, None, attempts, row, name))

    def _say(self) -> None:
        if self._decided and self._journal is not None:
            decided, self._decided = self._decided, []
            words = protocol.Decided(self._terms.name, [seq for seq, _ in decided], [parts for _, parts in decided])
            self.context.tell(self._journal, words)
        if self._merged:
            self._outputs.live_on(Status.MERGED, self._merged)
            self._merged = 0
            names, self._merged_names = self._merged_names, []
            if names:
                self._late_outputs.tell_gaps(names)
        if self._merged_apart:
            apart, self._merged_apart = self._merged_apart, []
            self._outputs.report(Status.MERGED, apart)
        if self._cut_off:
            cut_off, self._cut_off = self._cut_off, []
            self._late_outputs.end(cut_off)
        if self._made_seqs:
            seqs, values, attempts = self._made_seqs, self._made_values, self._made_attempts
            self._made_seqs, self._made_values, self._made_attempts = [], [], {}
            self._outputs.send(ONWARD, as_seqs(seqs), values, attempts or None)
        if self._ended:
            ended, self._ended = self._ended, []
            self._outputs.end(ended)
            failed = next((end.error for end in ended if end.status is Status.FAILED), None)
            if failed is not None:
                self.context.tell(self._conductor, protocol.Failing(self.context.me, failed))
        if self._late_seqs:
            seqs, values = self._late_seqs, self._late_values
            self._late_seqs, self._late_values = [], []
            self._late += len(seqs)
            if self._late_outputs.has(LATE):
                self._late_outputs.send(LATE, seqs, values)
            else:
                self._late_outputs.live_on(Status.DROPPED, len(seqs))
                self._late_outputs.report(Status.DROPPED, seqs)

    def _end(self, made: Id, row: Any, values: Parts[Any], attempts: int) -> None:
        missing = values.missing
        why = ", ".join(
            f"{name} ({told(error)})" if error is not None else f"{name} (not here)" for name, error in missing.items()
        )
        error = PartsMissing(
            f"{len(values)} of {self._expected} parts came, {self._needed} are required; missing: {why}"
        )
        error.__cause__ = next((e for e in missing.values() if e is not None), None)
        status = _STATUS_OF[self._terms.on_missing]
        self._ended.append(Ended(made, status, error, attempts, row, self._terms.name))

    def _leave(self) -> None:
        self._over = True
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> NodeStatistics:
        here = sum(map(len, self._parts.values()))
        traffic, late = self._outputs.traffic(self._came, here, self._made), self._late_outputs.traffic(0, 0)
        traffic = msgspec.structs.replace(
            traffic,
            went=traffic.went + late.went,
            dropped=traffic.dropped + late.dropped,
            interrupted=traffic.interrupted + late.interrupted,
            ways={**traffic.ways, **late.ways},
        )
        return NodeStatistics(self._terms.name, traffic, self._late)


def _needed_of(terms: JoinTerms) -> int:
    match terms.require:
        case "all":
            return len(terms.branches)
        case "any":
            return 1
        case "best":
            return 0
        case n:
            return n


_STATUS_OF = {"quarantine": Status.QUARANTINED, "fail": Status.FAILED, "drop": Status.DROPPED}
