"""The host in simulation: one thread carries everything, in virtual time (`system.py`), and nothing there blocks for
real."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar, cast

from headrace.actors import protocol
from headrace.actors.governor import Governor
from headrace.actors.limits.terms import Terms

from ...errors import ConfigError, LoopDied
from ..loop_home import LoopHome
from ..port import Address, Hosted, Whose
from .event_loop import VirtualLoopThread
from .system import Signal, Simulation, System

T = TypeVar("T")

ASIDE_S = 0.01
"""What is done aside is another thread's on threads, and comes a little later."""


class SimulatedCallback:
    """What it is told goes to a function, in the step of the one who tells."""

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[[Any], object]) -> None:
        self.name = name
        self._function = function

    def put(self, item: object, /) -> None:
        self._function(item)


class SimulationHost:
    """It does what the module says. `over`: told whenever a run or an executor has ended."""

    processes = False

    def __init__(self, simulation: Simulation, over: Callable[[], object] = lambda: None) -> None:
        self.simulation = simulation
        self.monotonic = simulation.clock
        self._over = over
        self._shared: dict[str, tuple[Terms, Address]] = {}

    def actors(self, name: str, context: Context) -> System:
        return System(self.simulation, name)

    def loop(self, name: str, failed: Callable[[LoopDied], object], context: Context, whose: Whose) -> LoopHome:
        return cast(LoopHome, VirtualLoopThread(self.simulation, name))

    def signal(self) -> Signal:
        return Signal(self.simulation)

    def callback(self, name: str, function: Callable[[Any], object]) -> SimulatedCallback:
        return SimulatedCallback(name, function)

    def aside(self, name: str, function: Callable[[T], object]) -> Callable[[T | None], object]:
        def give(argument: T | None) -> None:
            if argument is not None:
                self.simulation.call_at(self.simulation.now + ASIDE_S, function, argument)

        return give

    def named(self, name: str) -> str:
        return name

    def shared_governor(
        self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None = None
    ) -> Address:
        if name not in self._shared:
            new = self.simulation.address(f"governor-{name}")
            self.simulation.host(new, Governor(terms, lessons), None)
            self._shared[name] = terms, new
        known, address = self._shared[name]
        if known != terms:
            raise ConfigError(f"limit {name!r} is in use with other terms; limits that share a name say the same")
        return address

    def release_governor(self, name: str, user: Address) -> None:
        """A simulation keeps them to its end."""

    def retune(self, governor: Address, name: str | None, terms: Terms) -> None:
        governor.put(protocol.SetLimit(terms))
        if name is not None:
            self._shared[name] = terms, governor

    def began(self, one: Hosted) -> None:
        """Whoever has it in a simulation keeps it himself."""

    def ended(self, one: Hosted) -> None:
        self._over()
