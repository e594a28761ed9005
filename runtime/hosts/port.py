"""The port between runs and executors and what carries them: threads (`threads/host.py`), the simulation
(`simulation/host.py`), or a host that a test makes.

A host carries actors, each with its context (`actors/actor.py`: tell, timers, clock, random numbers, children), and gives
to whoever stands outside of them what is needed there: a clock, a loop for coroutines, something to wait for, a place
where what blocks may be done. The cores of a run (`run/core.py`) and of an executor (`executor/core.py`) know this and
nothing else of where they are, so that what is tried in simulation is what runs on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Literal, Protocol, TypeVar

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.limits.terms import Terms

from ..errors import LoopDied
from .loop_home import LoopHome

T = TypeVar("T")

Whose = Literal["own", "caller"]
"""`own`: an event loop of the run, on a thread of its own. `caller`: the one that runs where the run is started."""


class Address(Ref, Protocol):
    """A ref that can be told something from outside the actors."""

    def put(self, item: Any, /) -> None:
        """Put something into the inbox. It never blocks."""


class Bell(Address, Protocol):
    """The address of an actor whose handler may wait for something outside: `Close` rings, so that it waits no longer."""

    ring: Callable[[], None] | None


class Actors(Protocol):
    """The actors of one run or executor: begun together, ended together."""

    name: str

    def address(self, name: str, *, shared: bool = False) -> Address:
        """The address of an actor that is yet to be hosted. `shared`: it never waits for anything but messages and calls
        nobody's code, so it may have its thread together with others of that kind."""

    def doorbell(self, name: str) -> Bell:
        """The same of one that `Close` must wake."""

    def host(self, address: Any, actor: Actor, parent: Any) -> object:
        """Let `actor` live at `address`; its death comes to `parent` as `protocol.Died`."""

    def park(self) -> None:
        """Have all that one more actor needs ready: at the interpreter's end it could not be had any more."""

    def ask(self, whom: Sequence[Any], timeout_s: float = ...) -> list[Any]:
        """The statistics of each, None for one that has not begun, does not answer in time, or has ended."""

    def tell(self, name: str, message: object) -> None:
        """Tell the actor of that name something; without effect where there is none."""

    def are_here(self) -> bool:
        """Whether this is called by one of them, who would wait for itself."""

    def stop(self, timeout_s: float) -> list[str]:
        """End them all; the names of those that are still in a call after so long."""


class Signal(Protocol):
    """What somebody waits for; as a `threading.Event`."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Hosted(Protocol):
    """A run or an executor that has begun, as its host sees it."""

    pid: int

    def wind_up(self, *, hurried: bool) -> None:
        """The process is about to end: begin to end. `hurried`: somebody has pressed Ctrl-C. Returns at once."""

    def wait_wound_up(self, *, hurried: bool) -> None:
        """Wait for the end, within a bound, and say on standard error what is to be said."""

    def cut_short(self) -> None:
        """End at once, whatever is under way."""

    def after_fork(self) -> None:
        """This is a child process that was forked: what carries it is the parent's, and whoever waits here is told."""


class Host(Protocol):
    """It does what the module says. All methods may be called from outside the actors, and from any thread. `processes`:
    functions can be called in processes of their own; where they cannot, they are called as plain functions are."""

    processes: bool

    def monotonic(self) -> float:
        """Seconds, by the clock that the actors go by."""

    def actors(self, name: str, context: Context) -> Actors:
        """A group of actors that is empty yet. `context`: their threads run in copies of it."""

    def loop(self, name: str, failed: Callable[[LoopDied], object], context: Context, whose: Whose) -> LoopHome:
        """An event loop for coroutines, on a thread that runs in a copy of `context`, or the caller's. `failed`: called
        where there will be no loop any more."""

    def signal(self) -> Signal:
        """What somebody outside the actors waits for."""

    def callback(self, name: str, function: Callable[[Any], object]) -> Address:
        """A ref outside the actors: what it is told goes to a function, where it is told."""

    def aside(self, name: str, function: Callable[[T], object]) -> Callable[[T | None], object]:
        """Get ready to call a function that may block, apart from the actors: with what is returned here it is given its
        argument, and called once, soon. None: it is not called at all. Raises `CannotStartThread`."""

    def named(self, name: str) -> object:
        """Called in a worker: who it is, as others see it, and what it is called from now on."""

    def shared_governor(self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None) -> Address:
        """The governor of a limit with a name, which others may use too. `user` is told `Died` if it dies. `lessons`: what
        earlier lives have found out. Raises `ConfigError` where the name has other terms."""

    def release_governor(self, name: str, user: Address) -> None:
        """This user has done with the governor of that name."""

    def retune(self, governor: Address, name: str | None, terms: Terms) -> None:
        """Change a limit while it is in use; where it is a shared one, of this name, whoever comes later finds it so."""

    def began(self, one: Hosted) -> None:
        """A run or an executor has begun here. It is kept by whoever uses it, not by the host."""

    def ended(self, one: Hosted) -> None:
        """It has ended, so that nobody need wait for it."""
