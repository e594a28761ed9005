"""Which rows of a stage start: on permits that are asked for and held queue by queue, with workers that are hired when there
is need of them.

The talk with the governor and the workers is here, and the state that it is about; what becomes of rows, the stage decides.

How rows are cut: calls on threads get chunks of about 1 ms of work, one row where calls are slow; calls on a loop
get as many rows as have permits, since each is on its own there.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from .. import protocol
from ..actor import Actor, Context, Ref, Timer
from ..awaitables import at_once
from ..protocol import Answered, Key, Message
from ..quantities import key_of, weight_of
from .assignments import Assignment, Assignments
from .key_queue import KeyQueue
from .latencies import Latencies
from .terms import AttemptTimedOut, StageTerms
from .troubles import Troubles
from .workforce import Workforce

SHARES = 5
"""A fifth of the work of an assignment is worth waking another worker for."""
LOOK_AGAIN_S = 0.005
"""Keys that have asked for permits and got none for so long wait for their time: others may ask meanwhile."""


class LookAgain(protocol.Control, frozen=True):
    """To the stage, from itself: keys that have asked wait for their time, and others have not asked yet."""


class CheckOverdue(protocol.Control, frozen=True):
    """To the stage, from itself: a time-out may have passed."""


class Scheduler:
    """It does what the module says. `room`: how many results have somewhere to go; `troubles`: those of the rows, which
    workers are told of."""

    def __init__(
        self,
        terms: StageTerms,
        governor: Ref,
        new_worker: Callable[[Ref], Actor],
        room: Callable[[], int],
        troubles: Troubles,
    ) -> None:
        self._terms = terms
        self._dispatch = terms.dispatch
        # The time of an attempt begins with that of its assignment.
        self._work_s = min(terms.dispatch.work_s, (terms.timeout_s or math.inf) / 8)
        self._ahead = terms.workers if terms.dispatch.blocking else terms.dispatch.depth
        """Assignments for which permits are asked beyond those that could begin, where permits are plenty."""
        self._governor = governor
        self._new_worker = new_worker
        self._room_after = room
        self._troubles = troubles
        self._queues: dict[Key, KeyQueue] = {}
        # Ordered dictionaries, whose heads are taken in constant time; to find the head of a plain one costs a pass over all
        # that was taken before.
        self._launchable: OrderedDict[Key, KeyQueue] = OrderedDict()
        """Queues with rows and the permits for them: no worker was free, or what stands after the stage had no room."""
        self._hungry: OrderedDict[Key, KeyQueue] = OrderedDict()
        """Queues with rows for which no permit was asked: others that had asked were to be served first."""
        self._asking: set[Key] = set()
        """Keys that have asked, and may be served any moment."""
        self._look: Timer | None = None
        self._overdue: deque[tuple[float, int]] = deque()
        self._call_s = 0.0
        self._least = 1
        """Rows of one assignment, where fewer would be too little work."""
        self._context: Context
        self.workforce = Workforce(terms.dispatch.workers(terms.workers))
        self.assignments = Assignments()
        self.chunk = 1
        """Rows of one assignment."""
        self.calls = 0
        self.busy_s = 0.0
        self.latencies = Latencies()

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context
        self._tell(self._governor, protocol.Register(context.me))

    # --- queues ---

    @property
    def queues(self) -> list[KeyQueue]:
        """The queues that there are."""
        return list(self._queues.values())

    def queue(self, key: Key) -> KeyQueue:
        """The queue of that key."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = KeyQueue(key, weighted=self._terms.weigh is not None)
        return queue

    def queue_of(self, value: Any) -> tuple[KeyQueue, float | None]:
        """The queue of a row, and what it weighs there. Raises what the functions for that raise, and `BadAnswer`."""
        terms = self._terms
        key = key_of(at_once("key=", terms.key(value))) if terms.key else None
        weight = weight_of(at_once("cost=", terms.weigh(value)), terms.weight_max) if terms.weigh else None
        return self.queue(key), weight

    # --- permits ---

    def pump(self, queue: KeyQueue) -> None:
        """Start what may start, then ask for what could."""
        if queue.held:
            self._launch(queue)
            if queue.starved:
                self.give_back(queue)
            elif queue.stuck:
                queue.withdrawing = True
                self._tell(self._governor, protocol.WishesWithdrawn(self._context.me, queue.key))
                self.give_back(queue)
        n, weights = queue.ask(self._room(queue))
        if n:
            self._tell(self._governor, protocol.PermitsWanted(self._context.me, n, queue.key, weights))
        else:
            self.give_back_unused(queue)
        if queue.key is None:
            return
        if n:
            self._asking.add(queue.key)
        if len(queue.backlog) > queue.held + queue.asked and queue.may_ask:
            self._hungry[queue.key] = queue
        else:
            self._hungry.pop(queue.key, None)
            if queue.idle:
                self._queues.pop(queue.key, None)

    def queue_up(self, queue: KeyQueue) -> None:
        """Rows have come to a queue, which waits for its turn to ask for permits; `pump_others` is to follow."""
        self._hungry.setdefault(queue.key, queue)

    def look_again(self) -> None:
        """Those that have asked wait for their time: let others ask."""
        self._look = None
        self._asking.clear()
        self.pump_others()

    def pump_all(self) -> None:
        """There is room after the stage, which may have been what queues waited for."""
        if self._terms.key is None:
            for queue in self.queues:
                self.pump(queue)
        else:
            self.pump_others()

    def pump_others(self) -> None:
        """A worker has come free: let the queues that hold permits use it, or those ask that could not before.

        There may be as many queues as rows, so they take turns, from the head on: only as many are looked at as there are
        free workers, and only so many ask as the workers can soon serve. A permit that is held for longer is given back.
        """
        if self._terms.key is None:
            return
        launchable, hungry, asking = self._launchable, self._hungry, self._asking
        for _ in range(min(self._free(), len(launchable))):
            self.pump(launchable.popitem(last=False)[1])
            if not launchable:
                break
        wanted = self._free() + self._ahead
        for _ in range(len(hungry)):
            if len(asking) + len(launchable) >= wanted:
                break
            # One that is hungry still goes to the end.
            self.pump(hungry.popitem(last=False)[1])
        if hungry and asking and self._look is None:
            self._look = self._context.after(LOOK_AGAIN_S, LookAgain())

    def give_back(self, queue: KeyQueue) -> None:
        """Permits that cannot be used now."""
        n, credit = queue.give_up()
        if n:
            self._launchable.pop(queue.key, None)
            since_s = queue.held_since_s
            self._tell(self._governor, protocol.PermitsReturned(self._context.me, n, queue.key, credit, since_s))

    def give_back_unused(self, queue: KeyQueue) -> None:
        """The same, where rows have gone that they were for."""
        if queue.held and not len(queue.backlog):
            self.give_back(queue)

    def leave(self) -> None:
        """Unregister from the governor: the stage has done with all rows."""
        for queue in self.queues:
            self.give_back(queue)
        self._tell(self._governor, protocol.Unregister(self._context.me))

    def on_granted(self, granted: protocol.PermitsGranted) -> None:
        """Take permits that the governor has granted."""
        queue = self.queue(granted.key)
        self._asking.discard(queue.key)
        if granted.epoch < queue.epoch or queue.cooling:
            # Sent before the cooldown began and overtaken by it: void, and given back unused.
            queue.asked -= granted.n
            self._tell(self._governor, protocol.PermitsReturned(self._context.me, granted.n, queue.key, granted.cost))
            queue.reask()
            return
        queue.grant(granted.epoch, granted.n, granted.cost, scarce=granted.paced, now=self._context.now())
        self.pump(queue)

    def on_wishes_forgotten(self, forgotten: protocol.WishesForgotten) -> None:
        """Note that the governor will not grant what was asked for."""
        queue = self.queue(forgotten.key)
        queue.withdrawing = False
        queue.asked -= forgotten.n
        queue.reask()
        self.pump(queue)

    def on_cooldown_began(self, began: protocol.CooldownBegan) -> None:
        """Give back the permits that a cooldown has made void."""
        queue = self.queue(began.key)
        queue.on_closed(began.epoch, began.closure)
        self.give_back(queue)
        if not self._dispatch.blocking:
            for worker in self.workforce.members:
                self._tell(worker, protocol.Recall())

    def on_cooldown_ended(self, ended: protocol.CooldownEnded) -> None:
        """Ask for permits again."""
        queue = self.queue(ended.key)
        queue.on_cooled(ended.epoch, probing=ended.probing)
        self.pump(queue)

    # --- calls begin ---

    def _room(self, queue: KeyQueue) -> int:
        """Rows that could start now; where permits are plenty, a set ahead, so that no worker waits for one."""
        after = self._room_after() - self.assignments.in_flight
        return min((self._free() + (0 if queue.scarce else self._ahead)) * self.chunk, after)

    def _free(self) -> int:
        """Assignments of workers that could begin now; where each row is on its own in a worker, these are slots."""
        if self._dispatch.blocking:
            return len(self.workforce.idle) + self.workforce.to_hire
        return self._terms.workers - self.assignments.in_flight

    def _launch(self, queue: KeyQueue) -> None:
        if queue.cooling:
            return
        if queue.scarce and queue.is_stale(self._context.now()):
            self.give_back(queue)
            return
        workforce, blocking = self.workforce, self._dispatch.blocking
        affords = True
        while queue.held and len(queue.backlog):
            if not workforce.idle:
                if workforce.to_hire <= 0:
                    break
                self._hire()
            n, in_flight = self.chunk, self.assignments.in_flight
            if n > self._least:
                # All share in what there is, unless it is so little work that waking another one would cost more.
                n = min(n, max(self._least, len(queue.backlog) // (len(workforce.idle) + workforce.to_hire)))
            if not blocking:
                n = min(self._free() + (0 if queue.scarce else self._ahead), self._dispatch.chunk)
            # So that what stands after it has room for their results.
            n = min(n, self._room_after() - in_flight)
            if n <= 0:
                break
            affords = self._assign(workforce.idle[-1], queue, n)
            if not affords:
                break
            if blocking:
                workforce.idle.pop()
        if affords and queue.held and len(queue.backlog):
            self._launchable[queue.key] = queue
        else:
            self._launchable.pop(queue.key, None)

    def _hire(self) -> None:
        name = f"{self._terms.name}_{self.workforce.born}"
        self.workforce.welcome(self._context.spawn(name, self._new_worker(self._context.me)))

    def _assign(self, worker: Ref, queue: KeyQueue, n: int) -> bool:
        seqs, values = queue.take(n)
        n = len(seqs)
        if not n:
            return False
        id_ = self.assignments.begin(worker, queue, seqs, values)
        self._tell(worker, protocol.Assign(id_, seqs, values, *self._troubles.described(seqs)))
        if self._terms.timeout_s is not None and self._dispatch.blocking and not self._dispatch.times_out:
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
        if answered.complete and self._dispatch.blocking:
            self.workforce.idle.append(answered.worker)
        ended = len(answered.seqs) + len(answered.faults)
        self.calls += ended
        self.busy_s += answered.busy_s
        if ended:
            if answered.busy_s:
                self.latencies.add(answered, ended)
            elif answered.faults and self._terms.timeout_s is not None:
                lost = [fault.seq for fault in answered.faults if type(fault.error) is AttemptTimedOut]
                self.latencies.add_lost(lost, self._terms.timeout_s)
            if self._dispatch.blocking:
                self._learn_pace(answered.busy_s / ended)
        return found

    def _learn_pace(self, call_s: float) -> None:
        # Slower calls are believed at once, faster ones by and by: a chunk that is too long delays its first answer.
        self._call_s = call_s if call_s > self._call_s else 0.5 * self._call_s + 0.5 * call_s
        fitting = int(self._work_s / self._call_s) if self._call_s > 0 else self._dispatch.chunk
        self.chunk = max(1, min(self.chunk * 2, fitting, self._dispatch.chunk))
        self._least = max(1, fitting // SHARES)

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
        for worker in self.workforce.members:
            self._tell(worker, protocol.CancelCalls())

    def _tell(self, ref: Ref, message: Message) -> None:
        self._context.tell(ref, message)
