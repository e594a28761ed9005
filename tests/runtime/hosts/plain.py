"""The simplest host that there can be: one queue, worked off by whoever waits; what blocks, blocks all; a clock that
jumps to the next timer when nothing else is to do. It shows what a host must be, and that no more than the port is asked
of it."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, NoReturn

from headrace.actors import protocol
from headrace.actors.actor import Actor
from headrace.actors.governor import Governor
from headrace.actors.limits.terms import Terms
from headrace.runtime.errors import ConfigError
from headrace.runtime.hosts.port import Address, Hosted


class PlainTimer:
    """A message that an actor tells itself later."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class PlainAddress:
    """An inbox with two lanes."""

    def __init__(self, host: PlainHost, name: str) -> None:
        self.name = name
        self.ring: Callable[[], None] | None = None
        self.ended = False
        self.carrier: Carrier | None = None
        self.control: deque[Any] = deque()
        self.rows: deque[Any] = deque()
        self._host = host

    def put(self, item: Any, /) -> None:
        if self.ended:
            return
        if self.ring is not None and isinstance(item, protocol.Close):
            self.ring()
        (self.control if item.control else self.rows).append(item)
        self._host.ready.append(self)


class Carrier:
    """Carries one actor, and is its context."""

    def __init__(self, actors: PlainActors, me: PlainAddress, actor: Actor, parent: Any) -> None:
        self.me = me
        self.actor = actor
        self.abandoned = False
        self._actors = actors
        self._host = actors.of
        self._parent = parent
        self._children: dict[Any, Carrier] = {}
        self._stopping = False
        me.carrier = self
        self._guard(lambda: actor.start(self))

    def handle(self, message: Any) -> None:
        if isinstance(message, protocol.StatisticsWanted):
            self.tell(message.reply_to, protocol.Statistics(self.me, self.actor.statistics()))
        else:
            self._guard(lambda: self.actor.receive(message))

    def _guard(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:
            for child in self._children.values():
                child.end()
            if self._parent is not None and not self.abandoned:
                self.tell(self._parent, protocol.Died(self.me, error, self.actor.salvage()))
            self._stopping = True
        if self._stopping:
            self.end()

    def end(self) -> None:
        if not self.me.ended:
            self.me.ended = True
            self.actor.ended()

    # --- the context of the actor ---

    def tell(self, ref: Any, message: Any) -> None:
        ref.put(message)

    def after(self, delay_s: float, message: Any) -> PlainTimer:
        return self._host.after(self.me, delay_s, message)

    def now(self) -> float:
        return self._host.now

    def random(self) -> float:
        return 0.5

    def spawn(self, name: str, actor: Actor) -> PlainAddress:
        address = self._actors.address(name)
        self._children[address] = self._actors.host(address, actor, self.me)
        return address

    def abandon(self, ref: Any, error: BaseException) -> None:
        child = self._children.pop(ref, None)
        if child is not None:
            child.abandoned = True
            child.end()
            self.me.put(protocol.Died(ref, error, child.actor.salvage()))

    def stop(self) -> None:
        self._stopping = True


class PlainActors:
    """A group of actors."""

    def __init__(self, of: PlainHost, name: str) -> None:
        self.of = of
        self.name = name
        self._addresses: list[PlainAddress] = []

    def address(self, name: str, *, shared: bool = False) -> PlainAddress:
        address = PlainAddress(self.of, f"{self.name}.{name}")
        self._addresses.append(address)
        return address

    doorbell = address

    def host(self, address: Any, actor: Actor, parent: Any) -> Carrier:
        return Carrier(self, address, actor, parent)

    def park(self) -> None:
        """Nothing is needed."""

    def ask(self, whom: Sequence[Any], timeout_s: float = 0.0) -> list[Any]:
        return [None if ref.carrier is None or ref.ended else ref.carrier.actor.statistics() for ref in whom]

    def tell(self, name: str, message: object) -> None:
        for address in self._addresses:
            if address.name == f"{self.name}.{name}":
                address.put(message)

    def are_here(self) -> bool:
        return False

    def stop(self, timeout_s: float) -> list[str]:
        for address in self._addresses:
            if address.carrier is not None:
                address.carrier.end()
        return []


class PlainSignal:
    """Whoever waits for it works."""

    def __init__(self, host: PlainHost) -> None:
        self._host = host
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        self._host.work(self.is_set, timeout)
        return self._is_set


class PlainCallback:
    """What it is told goes to a function."""

    def __init__(self, name: str, function: Callable[[Any], object]) -> None:
        self.name = name
        self._function = function

    def put(self, item: Any, /) -> None:
        self._function(item)


class PlainHost:
    """It does what the module says."""

    processes = False

    def __init__(self) -> None:
        self.now = 0.0
        self.ready: deque[Any] = deque()
        self.hosted: list[Hosted] = []
        self._timers: list[tuple[float, int, PlainTimer, PlainAddress, Any]] = []
        self._numbers = itertools.count()
        self._shared: dict[str, tuple[Terms, PlainAddress]] = {}

    def work(self, done: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Until `done`, or nothing is left to do, or so long."""
        until_s = float("inf") if timeout_s is None else self.now + timeout_s
        while not done():
            if self.ready:
                self._step(self.ready.popleft())
            elif self._timers and self._timers[0][0] <= until_s:
                self.now, _, timer, address, message = heapq.heappop(self._timers)
                if not timer.cancelled:
                    address.put(message)
            else:
                return

    def _step(self, next_: Any) -> None:
        if not isinstance(next_, PlainAddress):
            next_()
        elif not next_.ended and next_.carrier is None:
            # It was told something before it lives.
            self.ready.append(next_)
        elif not next_.ended and next_.carrier is not None:
            next_.carrier.handle((next_.control or next_.rows).popleft())

    def after(self, address: PlainAddress, delay_s: float, message: Any) -> PlainTimer:
        timer = PlainTimer()
        heapq.heappush(self._timers, (self.now + delay_s, next(self._numbers), timer, address, message))
        return timer

    # --- the port ---

    def monotonic(self) -> float:
        return self.now

    def actors(self, name: str, context: Context) -> PlainActors:
        return PlainActors(self, name)

    def loop(self, *_: object) -> NoReturn:
        raise ConfigError("this host has no event loop")

    def signal(self) -> PlainSignal:
        return PlainSignal(self)

    def callback(self, name: str, function: Callable[[Any], object]) -> PlainCallback:
        return PlainCallback(name, function)

    def aside(self, name: str, function: Callable[[Any], object]) -> Callable[[Any], object]:
        def give(argument: Any) -> None:
            if argument is not None:
                self.ready.append(lambda: function(argument))

        return give

    def named(self, name: str) -> str:
        return name

    def shared_governor(self, name: str, terms: Terms, user: Address, lessons: Any) -> PlainAddress:
        if name not in self._shared:
            group = PlainActors(self, "shared")
            address = group.address(name)
            group.host(address, Governor(terms, lessons), None)
            self._shared[name] = (terms, address)
        known, address = self._shared[name]
        if known != terms:
            raise ConfigError(f"limit {name!r} is in use with other terms; limits that share a name say the same")
        return address

    def release_governor(self, name: str, user: Address) -> None:
        """It is kept."""

    def retune(self, governor: Address, name: str | None, terms: Terms) -> None:
        governor.put(protocol.SetLimit(terms))
        if name is not None:
            self._shared[name] = (terms, self._shared[name][1])

    def began(self, one: Hosted) -> None:
        self.hosted.append(one)

    def ended(self, one: Hosted) -> None:
        self.hosted.remove(one)
