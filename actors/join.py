"""A join: brings the parts of a forked row together again, and goes on without those that do not come in time.

Told: `Forked` by its fork, `Rows` and `EndOfRows` by the ends of the branches, `Gaps` and `Outcomes` by the nodes in
the branches, `Start` and `Abort` by the conductor. Tells: `Rows`, `Outcomes` and `EndOfRows` by its outputs, `Settled` of
the parts to the ledger, `Failing` and `Drained` to the conductor.

Promises: one word on each forked row, as soon as it can be said: with what it needs, or without it at the deadline,
which begins when the row is forked and does not wait for another row to come (L39). No part is forgotten: one that
comes after the word is late, is counted, and goes where the user said. What is kept of a row is kept until each of its
parts has been heard of, and is bounded by the window with it.

What it remembers of rows is in `joins/waiting.py`, what it says in a turn in `joins/words.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, assert_never

from . import protocol
from .actor import Actor, Context, Ref, Timer
from .edges.outputs import NodeStatistics, Outputs
from .joins.terms import JoinTerms, Parts
from .joins.waiting import Waiting, Word
from .joins.words import Words
from .protocol import Message, Status
from .rows.identity import Column, Id, Ids, members_of, merged, parent, part_of
from .states import StateMachine, Table


class JoinState(Enum):
    """Whether rows are brought together here: until all have had their word, or the run is aborted."""

    WORKING = auto()
    GONE = auto()


STATES: Table[JoinState] = MappingProxyType(
    {JoinState.WORKING: frozenset({JoinState.GONE}), JoinState.GONE: frozenset()}
)


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
        # That all parts of a row come follows from the rows alone; with a deadline, it does not.
        self._whole_is_word = terms.require != "all" or terms.within_s is not None
        self._conductor = conductor
        self._inputs = inputs
        self._waiting = Waiting(terms, known or {})
        self._words = Words(terms, outputs, late, conductor, journal)
        self._deadlines: deque[tuple[float, Ids]] = deque()
        self._timer: Timer | None = None
        """Of the next deadline."""
        self._life = StateMachine("a join", STATES, JoinState.WORKING)
        self._total = 0
        self._came = 0

    def start(self, context: Context) -> None:
        super().start(context)
        self._words.start(context)

    def receive(self, message: Told) -> None:
        if self._life.now is JoinState.GONE:
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
                        self._on_absent(member, end.error, cut=end.status is Status.INTERRUPTED)
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
        self._words.say()
        if not self._inputs and self._waiting.is_empty:
            self._words.finish(self._total)
            self._leave()

    # --- what is told ---

    def _on_forked(self, seqs: Ids, values: list[Any]) -> None:
        waiting = self._waiting
        if self._terms.within_s is not None:
            while self._deadlines and waiting.rows.keys().isdisjoint(self._deadlines[0][1]):
                # All of them have had their word: a long deadline shall not be a long memory.
                self._deadlines.popleft()
            self._deadlines.append((self.context.now() + self._terms.within_s, seqs))
            if self._timer is None:
                self._timer = self.context.after(self._terms.within_s, _CheckDeadlines())
        waiting.rows.update(zip(seqs, values, strict=True))
        # Nothing says that a part cannot be here before.
        if any(waiting.parts.values()) or waiting.odd:
            self._check(seqs)

    def _on_rows(self, seqs: Ids, values: list[Any], attempts: dict[Id, int] | None) -> None:
        self._came += len(seqs)
        if attempts:
            for seq, n in attempts.items():
                self._waiting.tried(parent(part_of(seq))[0], n)
        if isinstance(seqs, Column):
            self._arrive(seqs.branch, seqs.of, values)
            return
        branches: dict[int, tuple[list[Id], list[Any]]] = {}
        for seq, value in zip(seqs, values, strict=True):
            name = part_of(seq)
            of, index, _ = parent(name)
            if name != seq:
                self._waiting.odd_one(of).names[index] = seq
            branch = branches.setdefault(index, ([], []))
            branch[0].append(of)
            branch[1].append(value)
        for index, (ofs, parts_) in branches.items():
            self._arrive(index, ofs, parts_)

    def _arrive(self, index: int, seqs: Ids, values: list[Any]) -> None:
        """Parts of these rows, by the branch of that index."""
        if self._waiting.has_odd(seqs):
            seqs, values = self._without_late(index, seqs, values)
            if not seqs:
                return
        self._waiting.arrive(index, seqs, values)
        self._check(seqs)

    def _without_late(self, index: int, seqs: Ids, values: list[Any]) -> tuple[list[Id], list[Any]]:
        in_time: tuple[list[Id], list[Any]] = ([], [])
        for seq, value in zip(seqs, values, strict=True):
            odd = self._waiting.odd.get(seq)
            if odd is not None and odd.word is Word.SAID:
                self._words.late(self._waiting.name_of(seq, index), value)
                self._waiting.heard_of(seq, index)
            else:
                in_time[0].append(seq)
                in_time[1].append(value)
        return in_time

    def _on_absent(self, seq: Id, error: BaseException | None, *, cut: bool = False) -> None:
        """`cut`: it was interrupted, and comes again in another life of the run."""
        of, index, _ = parent(part_of(seq))
        if self._waiting.lose(of, index, error, cut=cut):
            self._check([of])

    def _on_check_deadlines(self) -> None:
        now, waiting = self.context.now(), self._waiting
        while self._deadlines and self._deadlines[0][0] <= now:
            _, seqs = self._deadlines.popleft()
            for seq in seqs:
                if seq in waiting.rows and seq not in waiting.known and not waiting.is_cut(seq):
                    self._decide(seq)
        self._timer = None
        if self._deadlines:
            self._timer = self.context.after(self._deadlines[0][0] - now, _CheckDeadlines())

    # --- the word ---

    def _check(self, seqs: Ids) -> None:
        """Say the word on those of these rows on which it can be said."""
        waiting = self._waiting
        if self._terms.require == "any" or waiting.has_odd(seqs) or waiting.has_known(seqs):
            for seq in seqs:
                if seq in waiting.rows and waiting.is_ready(seq):
                    self._decide(seq)
            return
        ready = waiting.whole(seqs)
        if ready:
            self._decide_whole(ready)

    def _decide_whole(self, seqs: Ids) -> None:
        """On rows of which all parts are here, and nothing is odd: column by column."""
        waiting = self._waiting
        rows = list(map(waiting.rows.pop, seqs))
        parts = {index: list(map(here.pop, seqs)) for index, here in waiting.parts.items()}
        self._words.whole(seqs, rows, parts, waiting.attempts, decided=self._whole_is_word)

    def _decide(self, seq: Id) -> None:
        """On one row, with what is here of it."""
        waiting, words, branches = self._waiting, self._words, self._terms.branches
        row = waiting.rows.pop(seq)
        here = {index: parts_.pop(seq) for index, parts_ in waiting.parts.items() if seq in parts_}
        known = waiting.known.pop(seq, None)
        late = {index: here.pop(index) for index in set(here) - set(known)} if known is not None else {}
        names = [waiting.name_of(seq, index) for index in here]
        made = merged(seq, self._terms.ways)
        if known is None and waiting.is_cut(seq):
            del waiting.odd[seq]
            words.interrupt(made, row, dict(zip(names, here.values(), strict=True)), waiting.attempts.pop(seq, 1))
            return
        if known is None:
            words.decide(seq, tuple(here))
        odd = waiting.odd.get(seq)
        # Parts, or parts of those, that went elsewhere are settled there; so that the row is settled with the last of them,
        # what came of it is one more of them.
        apart = len(here) != self._terms.ways or (odd is not None and not odd.names.keys().isdisjoint(here))
        words.merge(names, apart=apart)
        absent = odd.absent if odd is not None else {}
        values = Parts({branches[index]: value for index, value in here.items()})
        if len(here) != len(branches):
            values.missing = {name: absent.get(i) for i, name in branches.items() if i not in here}
        awaited = set(branches) - here.keys() - absent.keys()
        self._await(seq, awaited, late)
        attempts = waiting.attempts.pop(seq, 1)
        (words.go_on if len(here) >= self._terms.needed else words.lack)(made if apart else seq, row, values, attempts)

    def _await(self, seq: Id, awaited: set[int], late: dict[int, Any]) -> None:
        """The word on the row is said; these of its parts have not been heard of. `late`: those that are here, and came
        after the word in the earlier life."""
        waiting = self._waiting
        if not awaited:
            waiting.odd.pop(seq, None)
            return
        waiting.odd_one(seq).say(awaited)
        for index in sorted(late):
            self._words.late(waiting.name_of(seq, index), late[index])
            waiting.heard_of(seq, index)

    def _leave(self) -> None:
        self._life.go(JoinState.GONE)
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> NodeStatistics:
        return self._words.statistics(self._came, self._waiting.here())
