"""Actors in simulation: one thread, a seeded scheduler, a virtual clock.

The same actors as on threads, and the same bytes of code behind the ports. What the threads host promises is kept, and
nothing more: an inbox has two lanes, control overtakes rows, each lane is first in, first out, a timer that is due
comes before both, and between two messages anything else may happen. The scheduler picks whose step is next; time stands
still while anybody has something to do, but for what the schedule says (see `schedule.py`), and then jumps to the next
event. The same seed gives the same run, to the byte.

A handler that may block (`Actor.blocks`: it calls user code) has a greenlet of its own, which `sleep` and `Signal.wait`
suspend in virtual time; its actor is busy meanwhile, as a thread in a call would be.

This file is long: inboxes, carriers and the scheduler are one machine, whose inner loop reaches into all three
and is what the speed of everything above depends on.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from headrace.actors.errors import InternalError

try:
    from greenlet import GreenletExit, getcurrent, greenlet
except ImportError as missing:
    raise ImportError("the simulation needs the extra 'scenarios': pip install 'headrace[scenarios]'") from missing

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.quantities import bounded_s

from .policies import Schedule, picker_of

STALL = 0.1
"""The chance that time passes between two looks of an actor at the clock, where there is lag."""
SPILL = 512
"""Steps between two looks at the history and at the bounds."""
FOREVER = float("inf")
ENDINGS = 100
"""How often a handler that is suspended is told that the simulation is over; user code may not hear the first time."""


class Stuck(RuntimeError):
    """A simulation that takes more steps than it is allowed: its actors talk and talk while no time passes."""


class Killed(RuntimeError):
    """A fault has ended this actor."""


class Watcher(Protocol):
    """Who sees all that happens. `told` and `received` are by message type: (now, sender, receiver, message)."""

    told: dict[type, Callable[[float, Mailbox, Any, Any], None]]
    received: dict[type, Callable[[float, Mailbox, Mailbox, Any], None]]
    log: list[tuple[float, int, int, Any]]
    """Every step is appended: (now, sender's number, receiver's number, message)."""

    def spill(self) -> None:
        """Deal with the log, and empty it."""


class Mailbox:
    """An actor's inbox, and its address."""

    __slots__ = ("carrier", "control", "name", "number", "ring", "rows", "simulation")

    def __init__(self, simulation: Simulation, name: str, number: int) -> None:
        self.simulation = simulation
        self.name = name
        self.number = number
        self.control: deque[tuple[Mailbox, Any]] = deque()
        self.rows: deque[tuple[Mailbox, Any]] = deque()
        self.carrier: Carrier | None = None
        self.ring: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def put(self, item: Any, /) -> None:
        """Put something in from outside the actors."""
        self.simulation.deliver([(self.simulation.outside, self, item)])


class Event:
    """Something that happens at a time; also a timer."""

    __slots__ = ("arguments", "cancelled", "function")

    def __init__(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _Begin(protocol.Control, frozen=True):
    """The first thing an actor does."""


class _Stop(protocol.Control, frozen=True):
    """The last message of an actor."""


class _GoesOn(protocol.Control, frozen=True):
    """What a handler was waiting for has come."""


_BEGIN, _STOP, _GOES_ON = _Begin(), _Stop(), _GoesOn()


class Carrier:
    """Carries one actor, and is its context."""

    __slots__ = (
        "_greenlet",
        "_left_behind",
        "_simulation",
        "abandoned",
        "actor",
        "awaited",
        "busy",
        "children",
        "dies_in_call",
        "doomed",
        "ended",
        "error",
        "family",
        "fired",
        "held",
        "in_greenlet",
        "me",
        "number",
        "parent",
        "pending",
        "priority",
        "resumed",
        "slot",
        "stopping",
        "tell",
    )

    def __init__(
        self, simulation: Simulation, mailbox: Mailbox, actor: Actor, parent: Any, family: list[Carrier]
    ) -> None:
        self._simulation = simulation
        self.family = family
        self.me = mailbox
        self.actor = actor
        self.parent = parent
        self.number = mailbox.number
        self.priority = simulation.priority()
        self.slot = -1
        self.fired: deque[Any] = deque([_BEGIN])
        self.pending: list[tuple[Mailbox, Any, Any]] = []
        self.children: dict[Mailbox, Carrier] = {}
        self.stopping = self.ended = self.abandoned = False
        self.doomed: BaseException | None = None
        self.dies_in_call = False
        self.held = 0
        self.busy = False
        self.resumed = False
        self.awaited: object = None
        self.error: BaseException | None = None
        self._greenlet: greenlet | None = None
        self._left_behind: greenlet | None = None
        self.in_greenlet = actor.blocks
        append = simulation.outbox.append
        # What the context is asked for most: bound as tightly as can be.
        self.tell: Callable[[Any, Any], None] = lambda ref, message: append((mailbox, ref, message))

    @property
    def has_work(self) -> bool:
        if self.ended:
            return False
        if self.doomed is not None and (not self.busy or self.dies_in_call):
            return True
        if self.held:
            return False
        if self.pending:
            return True
        if self.busy:
            return self.resumed
        return bool(self.fired or self.me.control or self.me.rows)

    def statistics(self) -> object:
        """What the actor counts; None where it has not begun."""
        return self.actor.statistics() if hasattr(self.actor, "context") else None

    # --- a message ---

    def on_host_message(self, message: Any) -> None:
        if message is _BEGIN:
            self.actor.start(self)
        elif message is _STOP:
            self.stopping = True
        else:
            self.tell(message.reply_to, protocol.Statistics(self.me, self.actor.statistics()))

    def receive_in_greenlet(self, message: Any) -> None:
        self.busy = True
        own = self._greenlet
        if own is None or own.dead:
            own = self._greenlet = greenlet(self._serve)
        own.switch(message)
        if self.error is not None:
            self._raise_error()

    def _serve(self, message: Any) -> None:
        # Whoever switches here last is the one to go back to.
        while True:
            try:
                if type(message) in _OF_THE_HOST:
                    self.on_host_message(message)
                else:
                    self.actor.receive(message)
            except BaseException as error:
                self.error = error
            self.busy = False
            message = self._simulation.hub.switch()

    def go_on(self) -> None:
        """Resume the handler that was suspended."""
        self.resumed = False
        if self._greenlet is None:
            raise InternalError("what goes on has been suspended")
        self._greenlet.switch()
        if self.error is not None:
            self._raise_error()

    def end_in_greenlet(self, last_words: Callable[[Carrier], None]) -> None:
        """`last_words` may block; the call that is under way, if any, never comes back."""
        if self._greenlet is not None:
            self._left_behind = self._greenlet
        self._greenlet = greenlet(last_words)
        self._greenlet.switch(self)

    def _raise_error(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    def dispose(self) -> None:
        """The simulation is over: end a handler that is suspended."""
        for own in (self._greenlet, self._left_behind):
            for _ in range(ENDINGS):
                if own is None or own.dead:
                    break
                own.throw(GreenletExit)
        self._greenlet = self._left_behind = None

    # --- the context of the actor ---

    def after(self, delay_s: float, message: Any) -> Event:
        return self._simulation.call_at(self._simulation.now + bounded_s(delay_s), self._fire, message)

    def _fire(self, message: Any) -> None:
        if not self.ended:
            self.fired.append(message)
            self._simulation.wake(self)

    def now(self) -> float:
        return self._simulation.look(self)

    def random(self) -> float:
        return self._simulation.random()

    def spawn(self, name: str, actor: Actor) -> Mailbox:
        prefix = self.me.name.rpartition(".")[0]
        mailbox = self._simulation.address(f"{prefix}.{name}" if prefix else name)
        self.children[mailbox] = self._simulation.host(mailbox, actor, self.me, self.family)
        return mailbox

    def abandon(self, ref: Ref, error: BaseException) -> None:
        carrier = self.children.pop(ref, None)  # type: ignore[call-overload]
        if carrier is None or carrier.abandoned:
            return
        carrier.abandoned = True
        carrier.me.put(_STOP)
        self._simulation.outbox.append((self.me, self.me, protocol.Died(ref, error, carrier.actor.salvage())))

    def stop(self) -> None:
        self.stopping = True


_OF_THE_HOST = frozenset({_Begin, _Stop, protocol.StatisticsWanted})


class Signal:
    """What a handler waits for, in virtual time."""

    __slots__ = ("_is_set", "_simulation", "_waiting")

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._is_set = False
        self._waiting: list[tuple[Carrier, object]] = []

    def set(self) -> None:
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for carrier, token in waiting:
            self._simulation.resume(carrier, token)

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is set, or so many seconds. False: it was not."""
        if not self._is_set:
            waiter = (self._simulation.current, object())
            self._waiting.append(waiter)
            self._simulation.suspend(waiter[1], timeout)
            if not self._is_set:
                self._waiting.remove(waiter)
        return self._is_set


class System:
    """The actors of one run or executor, among all that a simulation carries; the face is that of `threads.System`."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.simulation = simulation
        self.name = name
        self.carriers: list[Carrier] = []

    def address(self, name: str, *, shared: bool = False) -> Mailbox:
        return self.simulation.address(f"{self.name}.{name}" if self.name else name)

    doorbell = address

    def host(self, address: Any, actor: Actor, parent: Any) -> Carrier:
        return self.simulation.host(address, actor, parent, self.carriers)

    def park(self) -> None:
        """There are no threads to be had in advance."""

    def ask(self, whom: Sequence[Any], timeout_s: float = 0.0) -> list[Any]:
        """The statistics of each."""
        return [ref.carrier.statistics() if ref.carrier is not None else None for ref in whom]

    def stop(self, timeout_s: float) -> list[str]:
        """End all actors; those that are in a call end when it comes back."""
        for carrier in self.carriers:
            if not carrier.ended:
                carrier.me.put(_STOP)
        return []

    def are_here(self) -> bool:
        return False

    def tell(self, name: str, message: object) -> None:
        whole = f"{self.name}.{name}" if self.name else name
        for carrier in self.carriers:
            if carrier.me.name == whole and not carrier.ended:
                carrier.me.put(message)


def _forget(_: object) -> None:
    """The log of a simulation that nobody watches."""


class Simulation:
    """It does what the module says. `random` is the actors' own; the schedule has another one, so that it can be changed
    alone."""

    def __init__(self, seed: int = 0, schedule: Schedule | None = None) -> None:
        self.seed = seed
        self.schedule = schedule if schedule is not None else Schedule.of(seed)
        self.now = 0.0
        self.random = Random(f"{seed}:actors").random
        self.outbox: list[tuple[Mailbox, Any, Any]] = []
        self.carriers: list[Carrier] = []
        self.hub = getcurrent()
        self.steps = 0
        self.switches = 0
        self.closed = False
        self.depth_max = 0
        """Messages in one inbox at most, as far as was looked."""
        self._watcher: Watcher | None = None
        self._watch: dict[type, Callable[[float, Mailbox, Any, Any], None]] = {}
        self._chance = Random(f"{seed}:steps")
        self._stalls = Random(f"{seed}:stalls").random if self.schedule.lag else None
        self._looker: Carrier | None = None
        self._looked_at = 0.0
        self._picker = picker_of(self.schedule, self._chance)
        self._ready: list[Carrier] = []
        self._events: list[tuple[float, int, Event]] = []
        self._number = 0
        self._addresses: list[Mailbox] = []
        self._finished = False
        self._closers: list[Callable[[], object]] = []
        self._current: Carrier | None = None
        self.outside = self.address("outside")

    def watch(self, watcher: Watcher) -> None:
        """Let somebody see all that happens."""
        self._watcher = watcher
        self._watch = watcher.told

    # --- who takes part ---

    def address(self, name: str) -> Mailbox:
        """The address of an actor that is yet to be hosted."""
        mailbox = Mailbox(self, name, len(self._addresses))
        self._addresses.append(mailbox)
        return mailbox

    def host(self, address: Mailbox, actor: Actor, parent: Any, family: list[Carrier] | None = None) -> Carrier:
        """Let `actor` live at `address`. It, and its children, are noted in `family`."""
        family = family if family is not None else []
        carrier = address.carrier = Carrier(self, address, actor, parent, family)
        family.append(carrier)
        self.carriers.append(carrier)
        self.wake(carrier)
        return carrier

    def names(self) -> list[str]:
        """Of all mailboxes, by their numbers."""
        return [mailbox.name for mailbox in self._addresses]

    def priority(self) -> float:
        """Of a new actor, for pct."""
        return self._chance.random()

    @property
    def living(self) -> int:
        """How many actors have not ended."""
        return sum(not carrier.ended for carrier in self.carriers)

    # --- time ---

    def clock(self) -> float:
        """Virtual monotonic seconds."""
        return self.now

    def look(self, carrier: Carrier) -> float:
        """What an actor reads off the clock: where there is lag, its thread may have lost its core since it last looked,
        also within one handler."""
        if self._stalls is not None:
            again = carrier is self._looker and self.now == self._looked_at
            if again and self._stalls() < STALL:
                self.now += self._stalls() * self.schedule.lag_s
            self._looker, self._looked_at = carrier, self.now
        return self.now

    def call_at(self, when_s: float, function: Callable[..., object], *arguments: Any) -> Event:
        """Something that happens outside at a time."""
        event = Event(function, arguments)
        self._number += 1
        heapq.heappush(self._events, (when_s, self._number, event))
        return event

    def jump(self, seconds: float) -> None:
        """The process stood still for so long: all that is due meanwhile is due at once."""
        self.now += seconds

    # --- handlers that block ---

    @property
    def current(self) -> Carrier:
        """The actor whose step it is."""
        if self._current is None:
            raise InternalError("it is nobody's step")
        return self._current

    def sleep(self, seconds: float) -> None:
        """Suspend the handler that this is called in."""
        self.suspend(object(), max(0.0, seconds))

    def suspend(self, token: object, timeout_s: float | None) -> None:
        """Until `resume` is called with this token, or so long."""
        if self.closed:
            raise GreenletExit
        carrier = self._current
        if carrier is None or getcurrent() is self.hub:
            name = carrier.me.name if carrier is not None else "who is outside the actors"
            raise RuntimeError(f"{name} must not block: it is no actor whose handler may take long")
        carrier.awaited = token
        event = None
        if timeout_s is not None:
            event = self.call_at(self.now + timeout_s, self.resume, carrier, token)
        loop = asyncio._get_running_loop()
        if loop is None:
            self.hub.switch()
        else:
            asyncio._set_running_loop(None)
            self.hub.switch()
            asyncio._set_running_loop(loop)
        if event is not None:
            event.cancelled = True
        if self.closed:
            raise GreenletExit

    def resume(self, carrier: Carrier, token: object) -> None:
        """What a handler was waiting for has come."""
        if carrier.awaited is not token:
            return
        carrier.awaited = None
        carrier.resumed = True
        if carrier.ended:
            self.call_at(self.now, self._go_on_ending, carrier)
        else:
            self.wake(carrier)

    def _go_on_ending(self, carrier: Carrier) -> None:
        """What `Actor.ended` does may take time, too."""
        self._current = carrier
        carrier.go_on()
        self._current = None
        self._flush()

    # --- faults ---

    def kill(self, carrier: Carrier, error: BaseException | None = None, *, in_call: bool = False) -> None:
        """End an actor: between two messages or, where it runs elsewhere (`in_call`), in the middle of its handler."""
        if not carrier.ended:
            carrier.dies_in_call = in_call
            carrier.doomed = error or Killed(f"{carrier.me.name} was killed")
            self.wake(carrier)

    def hold(self, carrier: Carrier, seconds: float) -> None:
        """An actor gets no turn for so long: what it is told waits."""
        carrier.held += 1
        self._rest(carrier)
        self.call_at(self.now + seconds, self._unhold, carrier)

    def _unhold(self, carrier: Carrier) -> None:
        carrier.held -= 1
        if not carrier.held and carrier.has_work:
            self._ready_now(carrier)

    # --- the scheduler ---

    @property
    def busy(self) -> bool:
        """Whether something is yet to happen."""
        return bool(self._ready or self._events)

    def finish(self) -> None:
        """`run` returns after this step."""
        self._finished = True

    def run(self, until_s: float = FOREVER, steps_max: int | None = None) -> bool:
        """Until `finish`, or until nothing is left to do or happens before `until_s`. True: it was finished."""
        ready, events, watcher = self._ready, self._events, self._watcher
        random, picker, step_s = self._chance.random, self._picker, self.schedule.step_s
        received = watcher.received if watcher is not None else {}
        log = watcher.log.append if watcher is not None else _forget
        steps_max = steps_max if steps_max is not None else 1 << 62
        preempt, deliver, outbox = self.schedule.preempt, self.deliver, self.outbox
        self._finished = False
        steps = self.steps
        look_at = steps + SPILL
        while not self._finished:
            if events and events[0][0] <= self.now:
                self._happen()
            n = len(ready)
            if not n:
                if not self._advance(until_s):
                    break
                continue
            if picker is not None:
                carrier = ready[picker.pick(ready)]
            else:
                carrier = ready[int(random() * n)] if n > 1 else ready[0]
            steps += 1
            if steps >= look_at:
                self.steps = steps
                look_at = steps + SPILL
                self._look_around(steps_max)
            if step_s:
                self.now += step_s
            if carrier is not self._current:
                self.switches += 1
                self._current = carrier
            me = carrier.me
            if carrier.doomed is not None and (not carrier.busy or carrier.dies_in_call):
                self._die(carrier, carrier.doomed)
            elif carrier.pending:
                outbox.extend(carrier.pending)
                carrier.pending = []
            else:
                sender = me
                message: Any
                if carrier.resumed:
                    message = _GOES_ON
                elif carrier.fired:
                    message = carrier.fired.popleft()
                elif me.control:
                    sender, message = me.control.popleft()
                else:
                    sender, message = me.rows.popleft()
                log((self.now, sender.number, me.number, message))
                kind = type(message)
                if kind in received:
                    received[kind](self.now, sender, me, message)
                try:
                    if message is _GOES_ON:
                        carrier.go_on()
                    elif carrier.in_greenlet:
                        carrier.receive_in_greenlet(message)
                    elif kind in _OF_THE_HOST:
                        carrier.on_host_message(message)
                    else:
                        carrier.actor.receive(message)
                except BaseException as error:
                    self._die(carrier, error)
                else:
                    if carrier.stopping and not carrier.busy:
                        self._end(carrier)
            if outbox:
                if preempt:
                    self._flush(carrier)
                else:
                    deliver(outbox)
                    outbox.clear()
            if carrier.ended or carrier.held or carrier.pending or carrier.doomed is not None:
                if not carrier.has_work:
                    self._rest(carrier)
            elif carrier.busy:
                if not carrier.resumed:
                    self._rest(carrier)
            elif not (me.rows or me.control or carrier.fired) and (slot := carrier.slot) >= 0:
                # As `_rest`, which takes a call.
                other = ready.pop()
                if other is not carrier:
                    ready[slot] = other
                    other.slot = slot
                carrier.slot = -1
        self.steps = steps
        self._current = None
        if watcher is not None:
            watcher.spill()
        return self._finished

    def _look_around(self, steps_max: int) -> None:
        if self._watcher is not None:
            self._watcher.spill()
        self.depth_max = max(self.depth_max, max((len(c.me.rows) + len(c.me.control) for c in self._ready), default=0))
        if self.steps > steps_max:
            busiest = ", ".join(sorted({carrier.me.name for carrier in self._ready}))
            raise Stuck(f"{steps_max:,} steps, and no end: {busiest} have something to do at {self.now:.6f} s")

    def _happen(self) -> None:
        """Let what is due happen."""
        events = self._events
        while events and events[0][0] <= self.now:
            event = heapq.heappop(events)[2]
            if not event.cancelled:
                event.function(*event.arguments)

    def _advance(self, until_s: float) -> bool:
        """Nobody has anything to do: on to the next event. False if there is none in time."""
        events = self._events
        while events and events[0][2].cancelled:
            heapq.heappop(events)
        if not events:
            return False
        when_s = events[0][0]
        if when_s > until_s:
            self.now = until_s
            return False
        self.now = max(self.now, when_s)
        return True

    def wake(self, carrier: Carrier) -> None:
        """It may have something to do."""
        if carrier.slot >= 0 or not carrier.has_work:
            return
        schedule = self.schedule
        if schedule.lag and self._chance.random() < schedule.lag:
            carrier.held += 1
            self.call_at(self.now + self._chance.random() * schedule.lag_s, self._unhold, carrier)
            return
        self._ready_now(carrier)

    def _ready_now(self, carrier: Carrier) -> None:
        if carrier.slot < 0:
            carrier.slot = len(self._ready)
            self._ready.append(carrier)

    def _rest(self, carrier: Carrier) -> None:
        slot = carrier.slot
        if slot < 0:
            return
        last = self._ready.pop()
        if last is not carrier:
            self._ready[slot] = last
            last.slot = slot
        carrier.slot = -1

    def _flush(self, of: Carrier | None = None) -> None:
        """What was told in this step arrives, all of it or, where the schedule says so, only the first part."""
        outbox = list(self.outbox)
        self.outbox.clear()
        preempt = self.schedule.preempt
        if preempt and of is not None and not of.ended and self._chance.random() < preempt:
            cut = int(self._chance.random() * len(outbox))
            of.pending = outbox[cut:]
            outbox = outbox[:cut]
        self.deliver(outbox)

    def deliver(self, told: list[tuple[Mailbox, Any, Any]]) -> None:
        """Put the messages that were told into their inboxes."""
        watch, lag, ready = self._watch, self.schedule.lag, self._ready
        now = self.now
        for sender, ref, message in told:
            kind = type(message)
            if kind in watch:
                watch[kind](now, sender, ref, message)
            if type(ref) is not Mailbox:
                ref.put(message)
                continue
            if message.control:
                ref.control.append((sender, message))
                if ref.ring is not None and kind is protocol.Close:
                    ref.ring()
            else:
                ref.rows.append((sender, message))
            carrier = ref.carrier
            if carrier is None or carrier.slot >= 0 or carrier.busy or carrier.held or carrier.ended:
                continue
            if lag:
                self.wake(carrier)
            else:
                carrier.slot = len(ready)
                ready.append(carrier)

    # --- the end ---

    def at_close(self, function: Callable[[], object]) -> None:
        """Call this when the simulation is closed."""
        self._closers.append(function)

    def _die(self, carrier: Carrier, error: BaseException) -> None:
        carrier.doomed = None
        self.outbox.extend(carrier.pending)
        carrier.pending = []
        for child in carrier.children.values():
            child.me.put(_STOP)
        if carrier.parent is not None and not carrier.abandoned:
            self.outbox.append((carrier.me, carrier.parent, protocol.Died(carrier.me, error, carrier.actor.salvage())))
        self._end(carrier)

    def _end(self, carrier: Carrier) -> None:
        carrier.ended = True
        carrier.awaited = None
        if carrier.actor.blocks:
            carrier.end_in_greenlet(self._let_end)
        else:
            self._let_end(carrier)

    def _let_end(self, carrier: Carrier) -> None:
        try:
            carrier.actor.ended()
        except BaseException as error:
            if not isinstance(error, Exception | GreenletExit):
                raise

    def close(self) -> None:
        """Let go of everything: handlers that are still suspended end now."""
        self.closed = True
        self.now = FOREVER
        for carrier in self.carriers:
            self._current = carrier
            carrier.dispose()
        for closer in self._closers:
            closer()
        self._current = None
        self.outbox.clear()
