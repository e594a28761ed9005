"""Which rows of a stage start: on permits that are asked for and held lane by lane, with workers that are hired when there
is need of them.

The talk with the governor and the workers is here, and the state that it is about; what becomes of rows, the stage decides.

How rows are cut: calls on threads get chunks of about `CHUNK_S` of work, one row where calls are slow; calls on a loop
get as many rows as have permits, since each is on its own there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .. import protocol
from ..actor import Actor, Context, Ref
from ..awaitables import at_once
from ..protocol import Answered, Key, Message, Seqs
from ..quantities import key_of, weight_of
from ..rows.identity import Id
from .assignments import Assignment, Assignments
from .key_queue import KeyQueue
from .terms import AttemptTimedOut, StageTerms
from .workforce import Workforce

CHUNK_S = 0.001
"""Work in one assignment to a thread, about."""

Described = tuple[dict[Id, int] | None, dict[Id, Any] | None]
"""Of rows that had trouble: which attempt this is, and the state that they left."""


class CheckOverdue(protocol.Control, frozen=True):
    """To the stage, from itself: a time-out may have passed."""


class Scheduler:
    """See the module. `room`: how many results have somewhere to go; `described`: what a worker is told of rows that had
    trouble."""

    def __init__(
        self,
        terms: StageTerms,
        governor: Ref,
        new_worker: Callable[[Ref], Actor],
        room: Callable[[], int],
        described: Callable[[Seqs], Described],
    ) -> None:
        self._terms = terms
        self._governor = governor
        self._new_worker = new_worker
        self._room_after = room
        self._described = described
        self._lanes: dict[Key, KeyQueue] = {}
        self._launchable: dict[Key, KeyQueue] = {}
        self._hungry: dict[Key, KeyQueue] = {}
        """Lanes with rows for which no permit was asked: no worker was free."""
        self._overdue: deque[tuple[float, int]] = deque()
        self._call_s = 0.0
        self._context: Context
        self.crew = Workforce(1 if terms.concurrent else terms.workers)
        self.assignments = Assignments()
        self.chunk = 1
        """Rows of one assignment."""
        self.calls = 0
        self.busy_s = 0.0

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context
        self._tell(self._governor, protocol.Register(context.me))

    # --- lanes ---

    @property
    def lanes(self) -> list[KeyQueue]:
        """Those that there are."""
        return list(self._lanes.values())

    def lane(self, key: Key) -> KeyQueue:
        """The one of that key."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = KeyQueue(key, self._terms.weigh is not None)
        return lane

    def lane_of(self, value: Any) -> tuple[KeyQueue, float | None]:
        """The lane of a row, and what it weighs there. Raises what the functions for that raise, and `BadAnswer`."""
        terms = self._terms
        key = key_of(at_once("key=", terms.key(value))) if terms.key else None
        weight = weight_of(at_once("cost=", terms.weigh(value)), terms.weight_max) if terms.weigh else None
        return self.lane(key), weight

    # --- permits ---

    def pump(self, lane: KeyQueue) -> None:
        """Start what may start, then ask for what could."""
        if lane.held:
            self._launch(lane)
            if lane.starved:
                self.give_back(lane)
            elif lane.stuck:
                lane.withdrawing = True
                self._tell(self._governor, protocol.WishesWithdrawn(self._context.me, lane.key))
                self.give_back(lane)
        n, weights = lane.ask(self._room(lane))
        if n:
            self._tell(self._governor, protocol.PermitsWanted(self._context.me, n, lane.key, weights))
        else:
            self.give_back_unused(lane)
        if lane.key is None:
            return
        if len(lane.backlog) > lane.held + lane.asked:
            self._hungry[lane.key] = lane
        else:
            self._hungry.pop(lane.key, None)
            if lane.idle:
                self._lanes.pop(lane.key, None)

    def pump_all(self) -> None:
        """Something has changed for every lane."""
        for lane in self.lanes:
            self.pump(lane)

    def pump_others(self, just_pumped: KeyQueue) -> None:
        """A worker has come free: let the lanes that hold permits use it, or those ask that could not before."""
        if self._launchable:
            for lane in list(self._launchable.values()):
                if lane is not just_pumped:
                    self.pump(lane)
        if self._hungry:
            free = len(self.crew.idle) + self.crew.to_hire
            if self._terms.concurrent:
                free = self._terms.workers - self.assignments.in_flight
            for key in list(self._hungry)[: max(free, 0)]:
                # One that is hungry still goes to the end.
                self.pump(self._hungry.pop(key))

    def give_back(self, lane: KeyQueue) -> None:
        """Permits that cannot be used now."""
        n, credit = lane.give_up()
        if n:
            self._launchable.pop(lane.key, None)
            self._tell(self._governor, protocol.PermitsReturned(self._context.me, n, lane.key, credit))

    def give_back_unused(self, lane: KeyQueue) -> None:
        """The same, where rows have gone that they were for."""
        if lane.held and not len(lane.backlog):
            self.give_back(lane)

    def leave(self) -> None:
        """The stage is done."""
        for lane in self.lanes:
            self.give_back(lane)
        self._tell(self._governor, protocol.Unregister(self._context.me))

    def on_granted(self, granted: protocol.PermitsGranted) -> None:
        """Told by the governor."""
        lane = self.lane(granted.key)
        if granted.epoch < lane.epoch or lane.cooling:
            # Sent before the cooldown began and overtaken by it: void, and given back unused.
            lane.asked -= granted.n
            self._tell(self._governor, protocol.PermitsReturned(self._context.me, granted.n, lane.key, granted.cost))
            lane.reask()
            return
        lane.grant(granted.epoch, granted.n, granted.cost, granted.paced, self._context.now())
        self.pump(lane)

    def on_wishes_forgotten(self, forgotten: protocol.WishesForgotten) -> None:
        """Told by the governor."""
        lane = self.lane(forgotten.key)
        lane.withdrawing = False
        lane.asked -= forgotten.n
        lane.reask()
        self.pump(lane)

    def on_cooldown_began(self, began: protocol.CooldownBegan) -> None:
        """Told by the governor."""
        lane = self.lane(began.key)
        lane.epoch = began.epoch
        lane.cooling = True
        lane.outage = began.closure is not protocol.Closure.REFUSED
        self.give_back(lane)
        if self._terms.concurrent:
            for worker in self.crew.members:
                self._tell(worker, protocol.Recall())

    def on_cooldown_ended(self, ended: protocol.CooldownEnded) -> None:
        """Told by the governor."""
        lane = self.lane(ended.key)
        lane.epoch = ended.epoch
        lane.cooling = False
        lane.outage = ended.probing
        self.pump(lane)

    # --- calls begin ---

    def _room(self, lane: KeyQueue) -> int:
        """Rows that could start now; where permits are plenty, a set ahead, so that no worker waits for one."""
        after = self._room_after() - self.assignments.in_flight
        if self._terms.concurrent:
            ahead = 0 if lane.scarce else self._margin()
            return min(self._terms.workers + ahead - self.assignments.in_flight, after)
        idle = len(self.crew.idle) + self.crew.to_hire
        return min((idle if lane.scarce else idle + self._terms.workers) * self.chunk, after)

    def _margin(self) -> int:
        """Rows that wait inside a loop, so that a slot that comes free starts its next call at once."""
        return self._terms.workers // 8

    def _launch(self, lane: KeyQueue) -> None:
        if lane.cooling:
            return
        if lane.scarce and lane.is_stale(self._context.now()):
            self.give_back(lane)
            return
        crew = self.crew
        while lane.held and len(lane.backlog):
            if not crew.idle:
                if crew.to_hire <= 0:
                    break
                self._hire()
            n, in_flight = self.chunk, self.assignments.in_flight
            if self._terms.concurrent:
                n = self._terms.workers + (0 if lane.scarce else self._margin()) - in_flight
            # So that what stands after it has room for their results.
            n = min(n, self._room_after() - in_flight)
            if n <= 0 or not self._assign(crew.idle[-1], lane, n):
                break
            if not self._terms.concurrent:
                crew.idle.pop()
        if lane.held and len(lane.backlog):
            self._launchable[lane.key] = lane
        else:
            self._launchable.pop(lane.key, None)

    def _hire(self) -> None:
        name = f"{self._terms.name}_{self.crew.born}"
        self.crew.welcome(self._context.spawn(name, self._new_worker(self._context.me)))

    def _assign(self, worker: Ref, lane: KeyQueue, n: int) -> bool:
        seqs, values = lane.take(n)
        n = len(seqs)
        if not n:
            return False
        id_ = self.assignments.begin(worker, lane, seqs, values)
        self._tell(worker, protocol.Assign(id_, seqs, values, *self._described(seqs)))
        if self._terms.timeout_s is not None and not self._terms.concurrent:
            self._overdue.append((self._context.now() + self._terms.timeout_s, id_))
            if len(self._overdue) == 1:
                self._context.after(self._terms.timeout_s, CheckOverdue())
        return True

    # --- calls end ---

    def settle(self, answered: Answered) -> tuple[Assignment, Answered] | None:
        """Whose answer that is, and what of it is news; None where nobody waits for it. Its worker is free."""
        found = self.assignments.settle(answered)
        if found is None:
            return None
        _, answered = found
        if answered.complete and not self._terms.concurrent:
            self.crew.idle.append(answered.worker)
        ended = len(answered.seqs) + len(answered.faults)
        self.calls += ended
        self.busy_s += answered.busy_s
        if not self._terms.concurrent and ended:
            self._learn_pace(answered.busy_s / ended)
        return found

    def _learn_pace(self, call_s: float) -> None:
        # Slower calls are believed at once, faster ones by and by: a chunk that is too long delays its first answer.
        self._call_s = call_s if call_s > self._call_s else 0.5 * self._call_s + 0.5 * call_s
        fitting = int(CHUNK_S / self._call_s) if self._call_s > 0 else self._terms.chunk_max
        self.chunk = max(1, min(self.chunk * 2, fitting, self._terms.chunk_max))

    def check_overdue(self) -> None:
        """Give up on workers whose call takes too long."""
        now = self._context.now()
        while self._overdue and self._overdue[0][0] <= now:
            _, id_ = self._overdue.popleft()
            assignment = self.assignments.get(id_)
            if assignment is not None:
                error = AttemptTimedOut(f"no answer within {self._terms.timeout_s:g} s")
                self._context.abandon(assignment.worker, error)
        if self._overdue:
            self._context.after(self._overdue[0][0] - now, CheckOverdue())

    def cancel_calls(self) -> None:
        """End what is under way, as far as that can be done."""
        for worker in self.crew.members:
            self._tell(worker, protocol.CancelCalls())

    def _tell(self, ref: Ref, message: Message) -> None:
        self._context.tell(ref, message)
