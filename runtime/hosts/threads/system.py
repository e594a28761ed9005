"""Actors on threads: pykka carries each, on a thread of its own, or of several that never wait.

What differs from a plain `pykka.ThreadingActor`, and why:

- Inboxes and the loop are those of `dispatcher.py`: quicker, with lanes and timers.
- No BaseException leaves an actor: pykka would stop every actor of the process (L31). A death goes to the parent, as
  `protocol.Died`, with what the dead actor had finished.
- The actors are not in pykka's registry, where the application's `ActorRegistry.stop_all()` would end them unawares.
  An `_ActorStop` that reaches one all the same is a death like any other.
- Threads are daemons: a call that never comes back must not keep the interpreter from ending (L34).
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any

import pykka
from loguru import logger
from pykka.messages import _ActorStop

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.errors import HeadraceError

from ...errors import CannotStartThread
from ...text import traceback_of
from ..port import Address
from .dispatcher import Dispatcher, Inbox, Lanes, Timer, monotonic
from .starting import started

ANSWER_S = 2.0
"""An actor answers a question about its statistics within this time, or is left out."""


class Stopped(HeadraceError, RuntimeError):
    """Somebody outside the run stopped one of its actors."""


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

    def __init__(self, name: str, function: Callable[[Any], object]) -> None:
        self.name = name
        self._function = function

    def put(self, item: Any, /) -> None:
        self._function(item)


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
        self._receive = actor.receive
        self._children: dict[Inbox, Host] = {}
        self.ended = False
        self.abandoned = False
        # Both are given by the system, before anything else happens here.
        self.dispatcher: Dispatcher
        self.thread: threading.Thread

    # --- pykka's hooks for implementors of hosts ---

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def _start_actor_loop(self) -> None:
        self._system.begin(self)

    # --- on the dispatcher's thread ---

    def begin(self) -> None:
        """The first thing that happens on its thread."""
        try:
            self._actor.start(self)
        except BaseException as error:
            self._die(error)
        if self.ended:
            self._end()

    def handle(self, message: Any) -> None:
        """Handle one message."""
        try:
            if type(message) in _OF_THE_HOST:
                self._on_host_message(message)
            else:
                self._receive(message)
        except BaseException as error:
            self._die(error)
        if self.ended:
            self._end()

    def _on_host_message(self, message: Any) -> None:
        if isinstance(message, protocol.StatisticsWanted):
            self.tell(message.reply_to, protocol.Statistics(self._inbox, self._actor.statistics()))
        elif isinstance(message, _STOP):
            self.ended = True
        else:
            if isinstance(message.message, _ActorStop):
                if message.reply_to is not None:
                    message.reply_to.set(None)
                raise Stopped(f"{self._inbox.name} was stopped from outside, by way of pykka")
            raise Stopped(f"{self._inbox.name} was told {type(message.message).__name__} from outside, by way of pykka")

    def perish(self, error: BaseException) -> None:
        """End the actor, since its thread cannot go on."""
        if not self.ended:
            self._die(error)
            self._end()

    def _die(self, error: BaseException) -> None:
        self.ended = True
        try:
            self._tell_of_death(error)
        except BaseException as worse:
            # Nobody can be told: who waits for this actor has a deadline of its own.
            _log(f"the death of {self._inbox.name} could not be told", worse)
        _log(f"{self._inbox.name} died", error)

    def _tell_of_death(self, error: BaseException) -> None:
        # Nobody is left to tell them anything.
        for child in self._children.values():
            child.me.put(_STOP())
        if self._parent is None or self.abandoned:
            return
        try:
            salvage = self._actor.salvage()
        except BaseException as worse:
            _log(f"{self._inbox.name} left no salvage", worse)
            salvage = None
        self.tell(self._parent, protocol.Died(self._inbox, error, salvage))

    def _end(self) -> None:
        self._inbox.ended = True
        self.actor_stopped.set()
        try:
            self._actor.ended()
        except BaseException as error:
            _log(f"{self._inbox.name} did not end cleanly", error)
        self._system.remove(self)

    # --- the context of the actor ---

    @property
    def me(self) -> Inbox:
        return self._inbox

    def tell(self, ref: Ref, message: Any) -> None:
        ref.put(message)  # type: ignore[attr-defined]

    def after(self, delay_s: float, message: Any) -> Timer:
        return self.dispatcher.after(self, delay_s, message)

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
        self._inbox.put(protocol.Died(ref, error, host._actor.salvage()))

    def stop(self) -> None:
        self.ended = True


def _log(what: str, error: BaseException) -> None:
    """For whoever looks for a fault of ours. It never raises."""
    with contextlib.suppress(BaseException):
        logger.debug("{}: {}", what, traceback_of(error))


_OF_THE_HOST = frozenset({protocol.StatisticsWanted, _STOP, pykka._envelope.Envelope})


def _parked(work: SimpleQueue[Callable[[], None] | None]) -> None:
    loop = work.get()
    if loop is not None:
        loop()


class System:
    """The actors of one run (or executor): started together, ended together."""

    def __init__(self, name: str, context: Context | None = None) -> None:
        """`context`: each thread runs in a copy of it, whoever has it started; by default, it is the caller's."""
        self.name = name
        self._context = context if context is not None else copy_context()
        self._hosts: set[Host] = set()
        self._parked: deque[tuple[threading.Thread, SimpleQueue[Callable[[], None] | None]]] = deque()
        self._ended = False
        self._mutex = threading.Lock()
        self._shared = Dispatcher(Lanes(), self._mutex)

    def address(self, name: str, *, shared: bool = False) -> Inbox:
        """The address of an actor that is yet to be hosted. `shared`: on one thread with all others of that kind."""
        return Inbox(f"{self.name}.{name}", self._shared.lanes if shared else None)

    def doorbell(self, name: str) -> Doorbell:
        """The address of an actor that `Close` must wake."""
        return Doorbell(f"{self.name}.{name}")

    def host(self, address: Inbox, actor: Actor, parent: Ref | None) -> Host:
        """Start `actor` on its thread. Raises `CannotStartThread`."""
        host = Host(self, address, actor, parent)
        # Not by pykka's `start`, which would put it into the registry.
        host._start_actor_loop()
        return host

    def park(self) -> None:
        """Start a thread for an actor that is yet to come. At the interpreter's end no more can be started (Python 3.12),
        but actors may still be needed then. Raises `CannotStartThread`."""
        work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        with self._mutex:
            if not self._ended:
                self._parked.append((started(_parked, f"{self.name}.parked", work, context=self._context), work))

    def begin(self, host: Host) -> None:
        """Give an actor its thread, so that `stop` either sees it running or not at all."""
        shared = host.me.lanes is self._shared.lanes
        host.dispatcher = dispatcher = self._shared if shared else Dispatcher(host.me.lanes, self._mutex)
        with self._mutex:
            if dispatcher.join(host):
                try:
                    dispatcher.thread = self._thread(dispatcher.run, f"{self.name}.shared" if shared else host.me.name)
                except CannotStartThread:
                    dispatcher.leave_unstarted(host)
                    raise
            host.thread = dispatcher.thread
            self._hosts.add(host)
            ended = self._ended
        if ended:
            # Born while the others were being ended.
            host.me.put(_STOP())

    def _thread(self, run: Callable[[], None], name: str) -> threading.Thread:
        if self._parked:
            thread, work = self._parked.popleft()
            thread.name = name
            work.put(run)
        else:
            thread = started(run, name, context=self._context)
        return thread

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
            if host.thread is threading.current_thread():
                continue
            host.thread.join(0.0 if host.abandoned else max(0.0, deadline - monotonic()))
            # Others on the thread of one that hangs may have ended all the same.
            if host.thread.is_alive() and not host.ended:
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

    def are_here(self) -> bool:
        """Whether one of the actors lives on this thread."""
        thread = threading.current_thread()
        with self._mutex:
            return any(host.thread is thread for host in self._hosts)

    @property
    def threads(self) -> int:
        """Threads of this system that live."""
        with self._mutex:
            return len(self._hosts)
