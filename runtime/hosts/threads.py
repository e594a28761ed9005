"""Actors on threads: pykka carries each, one thread an actor.

What differs from a plain `pykka.ThreadingActor`, and why:

- The inbox is a `queue.SimpleQueue` (3 to 4 times the messages of pykka's default) with a second lane for control
  messages, which overtake rows (L48). An actor's timers belong to its own inbox, so there is no timer thread.
- No BaseException leaves the loop: pykka would stop every actor of the process (L31). A death goes to the parent, as
  `protocol.Died`, with what the dead actor had finished.
- The actors are not in pykka's registry, where the application's `ActorRegistry.stop_all()` would end them unawares.
  An `_ActorStop` that reaches one all the same is a death like any other.
- Threads are daemons: a call that never comes back must not keep the interpreter from ending (L34).
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import pykka
from loguru import logger
from pykka.messages import _ActorStop

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref

from .port import Address

ANSWER_S = 2.0
"""An actor answers a question about its statistics within this time, or is left out."""

monotonic = time.monotonic


class Stopped(RuntimeError):
    """Somebody outside the run stopped one of its actors."""


class Inbox:
    """An actor's inbox, and its address: two lanes, filled from any thread."""

    __slots__ = ("_control", "_rows", "ended", "name")

    def __init__(self, name: str = "?") -> None:
        self.name = name
        self.ended = False
        self._rows: SimpleQueue[Any] = SimpleQueue()
        self._control: deque[Any] = deque()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def put(self, item: Any, /) -> None:
        """Never blocks. What is no protocol message (an envelope of pykka's) takes the control lane."""
        if getattr(item, "control", True):
            self._control.append(item)
            # Wakes the actor, which looks at the control lane before each message.
            self._rows.put(None)
        else:
            self._rows.put(item)

    def get(self, timeout: float | None = None) -> Any:
        """The next message, control first; None where there was only a wake-up. Raises `queue.Empty` after `timeout`."""
        if self._control:
            return self._control.popleft()
        return self._rows.get(timeout=timeout)

    def empty(self) -> bool:
        return not self._control and self._rows.empty()


class Doorbell(Inbox):
    """The inbox of an actor whose handler may wait for something outside: `Close` rings, so that it waits no longer."""

    __slots__ = ("ring",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ring: Callable[[], None] | None = None

    def put(self, item: Any, /) -> None:
        if self.ring is not None and isinstance(item, protocol.Close):
            self.ring()
        super().put(item)


class Callback:
    """A ref outside the actors: what it is told goes to a function, in the thread of the one who tells."""

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[[Any], None]) -> None:
        self.name = name
        self._function = function

    def put(self, item: Any, /) -> None:
        self._function(item)


class _Timer:
    __slots__ = ("cancelled", "message")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _STOP(protocol.Control, frozen=True):
    pass


class Host(pykka.ThreadingActor):
    """Carries one actor, and is its context."""

    use_daemon_thread = True

    def __init__(self, system: System, inbox: Inbox, actor: Actor, parent: Ref | None) -> None:
        super().__init__()
        self._system = system
        self._actor = actor
        self._parent = parent
        # The address is older than the actor: others were given it before this one could be made.
        self._inbox = self.actor_inbox = self.actor_ref.actor_inbox = inbox
        self._timers: list[tuple[float, int, _Timer]] = []
        self._children: dict[Inbox, Host] = {}
        self._stopping = False
        self.abandoned = False
        self.thread: threading.Thread | None = None
        self._number = itertools.count()

    # --- pykka's hooks for implementors of hosts ---

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def _start_actor_loop(self) -> None:
        self._system.begin(self)

    def _actor_loop(self) -> None:
        try:
            self._actor.start(self)
            self._loop()
        except BaseException as error:
            self._die(error)
        finally:
            self.actor_stopped.set()
            self._end()

    def _loop(self) -> None:
        inbox = self._inbox
        receive = self._actor.receive
        get = inbox.get
        while not self._stopping:
            if self._timers:
                due_s = self._timers[0][0] - monotonic()
                if due_s <= 0.0:
                    timer = heapq.heappop(self._timers)[2]
                    if not timer.cancelled:
                        receive(timer.message)
                    continue
                try:
                    message = get(due_s)
                except Empty:
                    continue
            else:
                message = get()
            if message is None:
                continue
            if type(message) in _OF_THE_HOST:
                self._on_host_message(message)
            else:
                receive(message)
            # While this actor waits for the next one, nobody's row shall live on in it.
            message = None

    def _on_host_message(self, message: Any) -> None:
        if isinstance(message, protocol.StatisticsWanted):
            self.tell(message.reply_to, protocol.Statistics(self._inbox, self._actor.statistics()))
        elif isinstance(message, _STOP):
            self._stopping = True
        else:
            if isinstance(message.message, _ActorStop):
                if message.reply_to is not None:
                    message.reply_to.set(None)
                raise Stopped(f"{self._inbox.name} was stopped from outside, by way of pykka")
            raise Stopped(f"{self._inbox.name} was told {type(message.message).__name__} from outside, by way of pykka")

    def _die(self, error: BaseException) -> None:
        logger.opt(exception=error).debug("{} died", self._inbox.name)
        # Nobody is left to tell them anything.
        for child in self._children.values():
            child.me.put(_STOP())
        if self._parent is not None and not self.abandoned:
            self.tell(self._parent, protocol.Died(self._inbox, error, self._actor.estate()))

    def _end(self) -> None:
        self._inbox.ended = True
        try:
            self._actor.ended()
        except BaseException as error:
            logger.opt(exception=error).debug("{} did not end cleanly", self._inbox.name)
        self._system.remove(self)

    # --- the context of the actor ---

    @property
    def me(self) -> Inbox:
        return self._inbox

    def tell(self, ref: Ref, message: Any) -> None:
        ref.put(message)  # type: ignore[attr-defined]

    def after(self, delay_s: float, message: Any) -> _Timer:
        timer = _Timer(message)
        heapq.heappush(self._timers, (monotonic() + delay_s, next(self._number), timer))
        return timer

    def now(self) -> float:
        return monotonic()

    def random(self) -> float:
        return random.random()

    def spawn(self, name: str, actor: Actor) -> Inbox:
        host = self._system.host(self._system.address(name), actor, self._inbox)
        self._children[host.me] = host
        return host.me

    def abandon(self, ref: Ref, error: BaseException) -> None:
        host = self._children.pop(ref, None)  # type: ignore[call-overload]
        if host is None or host.abandoned:
            return
        host.abandoned = True
        host.me.put(_STOP())
        self._inbox.put(protocol.Died(ref, error, host._actor.estate()))

    def stop(self) -> None:
        self._stopping = True


_OF_THE_HOST = frozenset({protocol.StatisticsWanted, _STOP, pykka._envelope.Envelope})


def _parked(work: SimpleQueue[Callable[[], None] | None]) -> None:
    loop = work.get()
    if loop is not None:
        loop()


class System:
    """The actors of one run (or executor): started together, ended together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._hosts: set[Host] = set()
        self._parked: deque[tuple[threading.Thread, SimpleQueue[Callable[[], None] | None]]] = deque()
        self._ended = False
        self._mutex = threading.Lock()

    def address(self, name: str) -> Inbox:
        """The address of an actor that is yet to be hosted."""
        return Inbox(f"{self.name}.{name}")

    def doorbell(self, name: str) -> Doorbell:
        """The address of an actor that `Close` must wake."""
        return Doorbell(f"{self.name}.{name}")

    def host(self, address: Inbox, actor: Actor, parent: Ref | None) -> Host:
        """Start `actor` on a thread of its own."""
        host = Host(self, address, actor, parent)
        # Not by pykka's `start`, which would put it into the registry.
        host._start_actor_loop()
        return host

    def park(self) -> None:
        """Start a thread for an actor that is yet to come. At the interpreter's end no more can be started (Python 3.12),
        but actors may still be needed then."""
        work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        thread = threading.Thread(target=_parked, args=(work,), name=f"{self.name}.parked", daemon=True)
        with self._mutex:
            if not self._ended:
                thread.start()
                self._parked.append((thread, work))

    def begin(self, host: Host) -> None:
        """Give an actor its thread, so that `stop` either sees it running or not at all."""
        with self._mutex:
            if self._parked:
                host.thread, work = self._parked.popleft()
                host.thread.name = host.me.name
                work.put(host._actor_loop)
            else:
                host.thread = threading.Thread(target=host._actor_loop, name=host.me.name, daemon=True)
                host.thread.start()
            self._hosts.add(host)
            ended = self._ended
        if ended:
            # Born while the others were being ended.
            host.me.put(_STOP())

    def remove(self, host: Host) -> None:
        with self._mutex:
            self._hosts.discard(host)

    def stop(self, timeout_s: float) -> list[str]:
        """End all actors; the names of those whose thread is still in a call after `timeout_s`."""
        with self._mutex:
            self._ended = True
            hosts = list(self._hosts)
            parked, self._parked = self._parked, deque()
        for host in hosts:
            host.me.put(_STOP())
        for thread, work in parked:
            work.put(None)
            thread.join(timeout_s)
        deadline = monotonic() + timeout_s
        hung = []
        for host in hosts:
            assert host.thread is not None
            if host.thread is threading.current_thread():
                continue
            host.thread.join(0.0 if host.abandoned else max(0.0, deadline - monotonic()))
            if host.thread.is_alive():
                host.abandoned = True
                hung.append(host.me.name)
        return hung

    def ask(self, whom: Sequence[Address], timeout_s: float = ANSWER_S) -> list[Any]:
        """The statistics of each, None for one that does not answer in time or has ended."""
        asked = [ref for ref in whom if not getattr(ref, "ended", False)]
        if not asked:
            return [None] * len(whom)
        answers: dict[Any, Any] = {}
        complete = threading.Event()

        def note(message: Any) -> None:
            answers[message.who] = message.statistics
            if len(answers) == len(asked):
                complete.set()

        reply_to = Callback("statistics", note)
        for ref in asked:
            ref.put(protocol.StatisticsWanted(reply_to))
        complete.wait(timeout_s)
        return [answers.get(ref) for ref in whom]

    def tell(self, name: str, message: Any) -> None:
        """Tell the actor of that name something; without effect where there is none."""
        with self._mutex:
            whom = [host.me for host in self._hosts if host.me.name == f"{self.name}.{name}"]
        for inbox in whom:
            inbox.put(message)

    def is_mine(self, thread: threading.Thread) -> bool:
        """Whether one of the actors lives on `thread`."""
        with self._mutex:
            return any(host.thread is thread for host in self._hosts)

    @property
    def threads(self) -> int:
        """Threads of this system that live."""
        with self._mutex:
            return len(self._hosts)
