"""A join: brings the parts of a forked row together again, and goes on without those that do not come in time.

Told: `Forked` by its fork, `Rows` and `EndOfRows` by the ends of the branches, `Gaps` and `Outcomes` by the nodes in
the branches, `Start` and `Abort` by the conductor. Tells: `Rows`, `Outcomes` and `EndOfRows` by its exits, `Settled` of
the parts to the ledger, `Failing` and `Drained` to the conductor.

Promises: one word on each forked row, as soon as it can be said: with what it needs, or without it at the deadline,
which begins when the row is forked and does not wait for another row to come (L39). No part is forgotten: one that
comes after the word is late, is counted, and goes where the user said. What is kept of a row is kept until each of its
parts has been heard of, and is bounded by the window with it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .backlog import as_seqs
from .exits import Exits, NodeStatistics
from .identity import Id, Ids, members_of, merged, parent, part_of
from .outlets import ONWARD
from .protocol import Ended, Message, Status

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


class PartsMissing(RuntimeError):
    """A row lacks parts that its join requires."""


class Parts(dict[str, Any]):
    """The parts of one row, by branch. `missing`: why the others are not there: their error; None where there is none (it
    was dropped, or went elsewhere, or is not here yet)."""

    def __init__(self, here: dict[str, Any], missing: dict[str, BaseException | None]) -> None:
        super().__init__(here)
        self.missing = missing


class Merging(msgspec.Struct, frozen=True):
    """What a join gives to the one who merges: the row as it was forked, and its parts."""

    row: Any
    parts: Parts


class _Open:
    """A row of which not every part has been heard of."""

    __slots__ = ("absent", "arrived", "attempts", "decided", "ids", "known", "pure", "row")

    def __init__(self) -> None:
        self.known = False
        """Its fork has told of it."""
        self.row: Any = None
        self.arrived: dict[int, Any] = {}
        self.ids: list[Id] = []
        self.absent: dict[int, BaseException | None] = {}
        self.attempts = 1
        self.decided = False
        self.pure = True
        """Nothing of its parts went elsewhere."""

    def has(self, index: int) -> bool:
        """This part has been heard of."""
        return index in self.arrived or index in self.absent


class _CheckDeadlines(protocol.Control, frozen=True):
    pass


Told = (
    protocol.Forked
    | protocol.Rows
    | protocol.Gaps
    | protocol.Outcomes
    | protocol.EndOfRows
    | protocol.Appetite
    | protocol.Start
    | protocol.Abort
    | _CheckDeadlines
)


class Join(Actor):
    """See the module. `exits`: of what it makes; `late`: of parts that come too late. `inputs`: edges that end here,
    the fork's own word counted."""

    def __init__(self, terms: JoinTerms, exits: Exits, late: Exits, conductor: Ref, inputs: int) -> None:
        self._terms = terms
        self._exits = exits
        self._late_exits = late
        self._conductor = conductor
        self._inputs = inputs
        self._expected = len(terms.branches)
        self._rows: dict[Id, _Open] = {}
        self._deadlines: deque[tuple[float, Ids]] = deque()
        self._total = 0
        self._over = False
        self._needed = _needed_of(terms)
        self._came = 0
        self._here = 0
        self._made = 0
        self._late = 0
        # What is said in one turn goes as one message.
        self._made_seqs: list[Id] = []
        self._made_values: list[Merging | Parts] = []
        self._made_attempts: dict[Id, int] = {}
        self._merged: list[Id] = []
        self._merged_apart: list[Id] = []
        self._ended: list[Ended] = []
        self._late_seqs: list[Id] = []
        self._late_values: list[Any] = []

    def start(self, context: Context) -> None:
        super().start(context)
        self._exits.start(context)
        self._late_exits.start(context)

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
                        self._on_absent(member, end.error)
            case protocol.EndOfRows(total):
                self._inputs -= 1
                self._total = total
            case _CheckDeadlines():
                self._on_check_deadlines()
            case protocol.Start() | protocol.Appetite():
                pass
            case protocol.Abort():
                self._leave()
                return
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)
        self._say()
        if not self._inputs and not self._rows:
            self._exits.finish(self._total)
            self._late_exits.finish(self._total)
            self._leave()

    # --- what is told ---

    def _on_forked(self, seqs: Ids, values: list[Any]) -> None:
        for seq, value in zip(seqs, values, strict=True):
            row = self._row(seq)
            row.known = True
            row.row = value
            self._decide_if_possible(seq, row)
        if self._terms.within_s is not None:
            self._deadlines.append((self.context.now() + self._terms.within_s, seqs))
            if len(self._deadlines) == 1:
                self.context.after(self._terms.within_s, _CheckDeadlines())

    def _row(self, seq: Id) -> _Open:
        row = self._rows.get(seq)
        if row is None:
            row = self._rows[seq] = _Open()
        return row

    def _on_rows(self, seqs: Ids, values: list[Any], attempts: dict[Id, int] | None) -> None:
        self._came += len(seqs)
        for seq, value in zip(seqs, values, strict=True):
            part = part_of(seq)
            of, index, _ = parent(part)
            row = self._row(of)
            assert not row.has(index), f"part {seq} came twice"
            if row.decided:
                row.absent[index] = None
                self._late_seqs.append(seq)
                self._late_values.append(value)
                self._forget_if_known(of, row)
                continue
            row.arrived[index] = value
            row.ids.append(seq)
            row.pure = row.pure and part == seq
            self._here += 1
            if attempts and seq in attempts:
                row.attempts += attempts[seq] - 1
            self._decide_if_possible(of, row)

    def _on_absent(self, seq: Id, error: BaseException | None) -> None:
        of, index, _ = parent(part_of(seq))
        row = self._row(of)
        assert not row.has(index), f"part {seq} ended twice"
        row.absent[index] = error
        if row.decided:
            self._forget_if_known(of, row)
        else:
            self._decide_if_possible(of, row)

    def _on_check_deadlines(self) -> None:
        now = self.context.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, seqs = self._deadlines.popleft()
            for seq in seqs:
                row = self._rows.get(seq)
                if row is not None and not row.decided:
                    self._decide(seq, row)
        if self._deadlines:
            self.context.after(self._deadlines[0][0] - now, _CheckDeadlines())

    # --- the word ---

    def _decide_if_possible(self, seq: Id, row: _Open) -> None:
        if not row.known:
            return
        require = self._terms.require
        heard = len(row.arrived) + len(row.absent)
        if heard == self._expected or (require == "any" and row.arrived):
            self._decide(seq, row)
        elif self._expected - len(row.absent) < self._needed:
            # Not even if all the others come.
            self._decide(seq, row)

    def _decide(self, seq: Id, row: _Open) -> None:
        row.decided = True
        here = len(row.arrived)
        self._here -= here
        self._made += 1
        made = seq
        self._merged += row.ids
        if here != self._terms.ways or not row.pure:
            # Parts, or parts of those, that went elsewhere are settled there; so that the row is settled with the last of
            # them, what came of it is one more of them.
            made = merged(seq, self._terms.ways)
            self._merged_apart += row.ids
        merging = self._merging(row)
        if here >= self._needed:
            self._made_seqs.append(made)
            self._made_values.append(merging.parts if self._terms.bare else merging)
            if row.attempts > 1:
                self._made_attempts[made] = row.attempts
        else:
            self._end(made, merging, row.attempts)
        row.row = None
        row.ids = []
        self._forget_if_known(seq, row)

    def _say(self) -> None:
        if self._merged:
            merged_, self._merged = self._merged, []
            self._exits.live_on(Status.MERGED, len(merged_))
            self._late_exits.tell_gaps(merged_)
        if self._merged_apart:
            apart, self._merged_apart = self._merged_apart, []
            self._exits.report(Status.MERGED, apart)
        if self._made_seqs:
            seqs, values, attempts = self._made_seqs, self._made_values, self._made_attempts
            self._made_seqs, self._made_values, self._made_attempts = [], [], {}
            self._exits.send(ONWARD, as_seqs(seqs), values, attempts or None)
        if self._ended:
            ended, self._ended = self._ended, []
            self._exits.end(ended)
            failed = next((end.error for end in ended if end.status is Status.FAILED), None)
            if failed is not None:
                self.context.tell(self._conductor, protocol.Failing(self.context.me, failed))

        if self._late_seqs:
            seqs, values = self._late_seqs, self._late_values
            self._late_seqs, self._late_values = [], []
            self._late += len(seqs)
            if self._late_exits.has(LATE):
                self._late_exits.send(LATE, seqs, values)
            else:
                self._late_exits.live_on(Status.DROPPED, len(seqs))
                self._late_exits.report(Status.DROPPED, seqs)

    def _merging(self, row: _Open) -> Merging:
        names = self._terms.branches
        here = {name: row.arrived[index] for index, name in names.items() if index in row.arrived}
        missing = {name: row.absent.get(index) for index, name in names.items() if index not in row.arrived}
        return Merging(row.row, Parts(here, missing))

    def _end(self, made: Id, merging: Merging, attempts: int) -> None:
        missing = merging.parts.missing
        why = ", ".join(
            f"{name} ({type(error).__name__}: {error})" if error is not None else f"{name} (not here)"
            for name, error in missing.items()
        )
        n = len(merging.parts)
        error = PartsMissing(f"{n} of {self._expected} parts came, {self._needed} are required; missing: {why}")
        error.__cause__ = next((e for e in missing.values() if e is not None), None)
        status = _STATUS_OF[self._terms.on_missing]
        self._ended.append(Ended(made, status, error, attempts, merging.row, self._terms.name))

    def _forget_if_known(self, seq: Id, row: _Open) -> None:
        if len(row.arrived) + len(row.absent) == self._expected:
            del self._rows[seq]

    def _leave(self) -> None:
        self._over = True
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> NodeStatistics:
        traffic, late = self._exits.traffic(self._came, self._here, self._made), self._late_exits.traffic(0, 0)
        traffic = msgspec.structs.replace(
            traffic,
            went=traffic.went + late.went,
            dropped=traffic.dropped + late.dropped,
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
