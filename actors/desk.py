"""The desk: takes calls from many callers at once, and sees to it that each one is answered.

Told: `Submit` and `Withdraw` by callers, `Rows` and `Outcomes` by its stages, `DeliveryDone` by repliers, `EndOfSubmits`
by the executor, `Failing` and `Drained` by stages, `Died` by the host. Tells: `Rows`, `Retract` and `EndOfRows` to stages,
`Deliver` to repliers, `Unregister` to the governor of a stage that died, `Failing` and `Drained` to the executor.

Promises: each submission gets its own rows and no other's (L07); submissions take turns, so that a small one does not wait
for a large one to end; one that is withdrawn frees its share (L08). Answers are given by a replier, so that a waiter that
blocks stops no work; where a replier is slow, another one is hired.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Ref, Timer
from .protocol import Message, Outcomes, Rows, Status, Waited
from .rows.identity import Id
from .states import StateMachine, Table

CLERK_SLOW_S = 0.01
"""A delivery that takes longer may be blocked by a waiter: the next one goes to another replier."""


class Line(msgspec.Struct, frozen=True):
    """One stage of the desk, and who gives it permits. `room`: rows that wait or run in it at most; None: all there are
    (keyed limits need to see the rows of every key)."""

    stage: Ref
    governor: Ref
    room: int | None


class DeskStatistics(msgspec.Struct, frozen=True):
    """`waiting` rows have not gone to a stage yet, `open` ones are there. Of the others, `delivered` were answered well,
    `failed` with an error, and `withdrawn` were cancelled by whoever had submitted them, or nobody waited for their end."""

    submissions: int
    rows: int
    answered: int
    waiting: int
    open: int
    repliers: int
    delivered: int = 0
    failed: int = 0
    withdrawn: int = 0


class DeskState(Enum):
    """How far the life of a desk has come.

    TAKING: callers come. ENDING: nobody comes any more, but some are not answered. ENDED: all are, and the stages know
    that no row will come. DRAINED: the stages have left.
    """

    TAKING = auto()
    ENDING = auto()
    ENDED = auto()
    DRAINED = auto()


STATES: Table[DeskState] = MappingProxyType(
    {
        DeskState.TAKING: frozenset({DeskState.ENDING}),
        DeskState.ENDING: frozenset({DeskState.ENDED}),
        DeskState.ENDED: frozenset({DeskState.DRAINED}),
        DeskState.DRAINED: frozenset(),
    }
)


class _ReplierSlow(protocol.Control, frozen=True):
    pass


class _Submission(msgspec.Struct):
    stage: Ref
    waiter: Ref
    values: list[Any]
    unanswered: int
    given: int = 0
    withdrawn: bool = False


class Replier(Actor):
    """Tells waiters; the only one whom they can keep waiting."""

    blocks = True

    def __init__(self, desk: Ref) -> None:
        self._desk = desk

    def receive(self, message: protocol.Deliver) -> None:
        match message:
            case protocol.Deliver(answers):
                answers.reverse()
                while answers:
                    # What was told is the waiter's alone: nothing of it stays here while the others are told.
                    self.context.tell(*answers.pop())
                self.context.tell(self._desk, protocol.DeliveryDone(self.context.me))
            case _:
                self._unknown(message)


Told = (
    protocol.Submit
    | protocol.Withdraw
    | Rows
    | Outcomes
    | protocol.EndOfRows
    | protocol.DeliveryDone
    | protocol.EndOfSubmits
    | protocol.Drained
    | protocol.Failing
    | protocol.Died
    | _ReplierSlow
)


class Desk(Actor):
    """It does what the module says. `repliers`: at most so many."""

    def __init__(self, core: Ref, lines: list[Line], repliers: int) -> None:
        self._core = core
        self._lines = {line.stage: line for line in lines}
        self._queues: dict[Ref, deque[_Submission]] = {line.stage: deque() for line in lines}
        self._fed = {line.stage: 0 for line in lines}
        self._submissions: dict[Ref, _Submission] = {}
        self._open: dict[Id, tuple[_Submission, int]] = {}
        self._next = 0
        self._answers: list[tuple[Ref, Waited]] = []
        self._repliers_max = repliers
        self._repliers: list[Ref] = []
        self._idle_repliers: list[Ref] = []
        self._timer: Timer | None = None
        """Of a delivery that may be slow."""
        self._life = StateMachine("a desk", STATES, DeskState.TAKING)
        self._drained: set[Ref] = set()
        self._waiting = 0
        self._taken = 0
        self._rows = 0
        self._answered = 0
        self._delivered = 0
        self._failed = 0
        self._withdrawn = 0

    def receive(self, message: Told) -> None:
        match message:
            case protocol.Submit(stage, values, waiter):
                submission = _Submission(stage, waiter, values, len(values))
                self._submissions[waiter] = submission
                self._queues[stage].append(submission)
                self._waiting += len(values)
                self._taken += 1
                self._rows += len(values)
                self._feed(stage)
            case Rows(seqs, values, attempts):
                tries = attempts or {}
                for seq, value in zip(seqs, values, strict=True):
                    self._answer(seq, Status.DELIVERED, value, None, tries.get(seq, 1))
                self._go_on()
            case Outcomes(ended):
                for end in ended:
                    self._answer(end.seq, end.status, end.value, end.error, end.attempts)
                self._go_on()
            case protocol.DeliveryDone(replier):
                self._idle_repliers.append(replier)
                self._deliver()
                self._end_if_done()
            case protocol.Withdraw(waiter):
                self._on_withdraw(waiter)
            case _ReplierSlow():
                self._timer = None
                if self._answers and not self._idle_repliers and len(self._repliers) < self._repliers_max:
                    self._hire()
                    self._deliver()
                elif self._answers:
                    self._watch()
            case protocol.EndOfSubmits():
                self._life.go(DeskState.ENDING)
                self._end_if_done()
            case protocol.Drained(who):
                self._drained.add(who)
                self._end_if_done()
            case protocol.Failing():
                self.context.tell(self._core, message)
            case protocol.Died(who, error):
                line = self._lines.get(who)
                if line is not None:
                    # Others may have its permits, where they share a governor (L16).
                    self.context.tell(line.governor, protocol.Unregister(who))
                self.context.tell(self._core, protocol.Failing(who, error))
            case protocol.EndOfRows():
                pass
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    # --- to the stages ---

    def _go_on(self) -> None:
        for stage in self._lines:
            self._feed(stage)
        self._deliver()
        self._end_if_done()

    def _feed(self, stage: Ref) -> None:
        """Rows to the stage, as far as there is room, from each submission in turn."""
        queue = self._queues[stage]
        room = self._lines[stage].room
        free = self._waiting if room is None else room - self._fed[stage]
        first = self._next
        values: list[Any] = []
        while queue and free > 0:
            submission = queue.popleft()
            if submission.withdrawn:
                continue
            share = max(1, free // (len(queue) + 1))
            begin = submission.given
            part = submission.values[begin : begin + share]
            for place in range(begin, begin + len(part)):
                self._open[self._next] = (submission, place)
                self._next += 1
            values.extend(part)
            free -= len(part)
            self._waiting -= len(part)
            submission.given += len(part)
            if submission.given < len(submission.values):
                queue.append(submission)
            else:
                # The stage has them now; what is answered shall not be held here.
                submission.values = []
        if values:
            self._fed[stage] += len(values)
            self.context.tell(stage, Rows(range(first, self._next), values))

    def _on_withdraw(self, waiter: Ref) -> None:
        submission = self._submissions.pop(waiter, None)
        if submission is None:
            return
        submission.withdrawn = True
        left = max(0, len(submission.values) - submission.given)
        self._waiting -= left
        self._withdrawn += left
        submission.values = []
        seqs = [seq for seq, (whose, _) in self._open.items() if whose is submission]
        if seqs:
            self.context.tell(submission.stage, protocol.Retract(seqs))
        self._end_if_done()

    # --- to the waiters ---

    def _answer(self, seq: Id, status: Status, value: Any, error: BaseException | None, attempts: int) -> None:
        submission, place = self._open.pop(seq)
        self._fed[submission.stage] -= 1
        self._answered += 1
        if submission.withdrawn:
            self._withdrawn += 1
            return
        if status is Status.DELIVERED:
            self._delivered += 1
        else:
            self._failed += 1
        self._answers.append((submission.waiter, Waited(place, status, value, error, attempts)))
        submission.unanswered -= 1
        if not submission.unanswered:
            del self._submissions[submission.waiter]

    def _deliver(self) -> None:
        if not self._answers:
            return
        if not self._idle_repliers:
            if self._repliers:
                self._watch()
                return
            self._hire()
        replier = self._idle_repliers.pop()
        answers, self._answers = self._answers, []
        self.context.tell(replier, protocol.Deliver(answers))

    def _hire(self) -> None:
        replier = self.context.spawn(f"replier_{len(self._repliers)}", Replier(self.context.me))
        self._repliers.append(replier)
        self._idle_repliers.append(replier)

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self.context.after(CLERK_SLOW_S, _ReplierSlow())

    # --- the end ---

    def _end_if_done(self) -> None:
        if self._life.now is DeskState.TAKING or self._waiting or self._open or self._answers:
            return
        if self._life.now is DeskState.ENDING:
            self._life.go(DeskState.ENDED)
            for stage in self._lines:
                self.context.tell(stage, protocol.EndOfRows(self._next))
        drained = len(self._drained) == len(self._lines) and len(self._idle_repliers) == len(self._repliers)
        if drained and self._life.now is DeskState.ENDED:
            self._life.go(DeskState.DRAINED)
            self.context.tell(self._core, protocol.Drained(self.context.me))

    def statistics(self) -> DeskStatistics:
        return DeskStatistics(
            self._taken,
            self._rows,
            self._answered,
            self._waiting,
            len(self._open),
            len(self._repliers),
            self._delivered,
            self._failed,
            self._withdrawn,
        )
