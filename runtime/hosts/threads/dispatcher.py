"""A thread that carries actors: one, or several that never wait for anything but their next message.

An inbox has two lanes, rows and control; control messages overtake rows (L48). Inboxes whose actors share a thread share
its lanes, so that what one of them tells another wakes nobody. Timers belong to the thread that waits for the next message:
there is no timer thread.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from headrace.actors import protocol
from headrace.actors.quantities import bounded_s

monotonic = time.monotonic


class Lanes:
    """What waits for one thread, with the inbox that it was put into; filled from any thread."""

    __slots__ = ("control", "rows")

    def __init__(self) -> None:
        # Three to four times the messages of a `queue.Queue`.
        self.rows: SimpleQueue[Any] = SimpleQueue()
        self.control: deque[Any] = deque()

    def put(self, inbox: Inbox, item: Any) -> None:
        """Never blocks. What is no protocol message (an envelope of pykka's) takes the control lane."""
        if getattr(item, "control", True):
            self.control.append((inbox, item))
            # Wakes the thread, which looks at the control lane before each message.
            self.rows.put(None)
        else:
            self.rows.put((inbox, item))

    def get(self, timeout: float | None = None) -> Any:
        """The next (inbox, message), control first; None where there was only a wake-up. Raises `queue.Empty` after
        `timeout` seconds."""
        if self.control:
            return self.control.popleft()
        return self.rows.get(timeout=timeout)

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        return not self.control and self.rows.empty()

    def drain(self) -> list[tuple[Inbox, Any]]:
        """Take all that waits."""
        taken: list[tuple[Inbox, Any]] = []
        while self.control:
            taken.append(self.control.popleft())
        while not self.rows.empty():
            got = self.rows.get_nowait()
            if got is not None:
                taken.append(got)
        return taken


class Inbox:
    """An actor's inbox, and its address. `lanes`: those of its thread."""

    __slots__ = ("ended", "lanes", "name")

    def __init__(self, name: str = "?", lanes: Lanes | None = None) -> None:
        self.name = name
        self.lanes = lanes if lanes is not None else Lanes()
        self.ended = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def put(self, item: Any, /) -> None:
        """Never blocks."""
        self.lanes.put(self, item)

    # What else pykka wants of an inbox; the messages are fetched by the dispatcher.

    def get(self) -> Any:
        """The next message."""
        got = self.lanes.get()
        return got[1] if got is not None else None

    def empty(self) -> bool:
        """Nothing waits for its thread."""
        return self.lanes.empty


class Timer:
    """A message that comes later, if it is not cancelled."""

    __slots__ = ("cancelled", "message")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not come."""
        self.cancelled = True


class Member(Protocol):
    """Who carries one actor. Neither method raises."""

    ended: bool

    @property
    def me(self) -> Inbox:
        """The inbox of the actor."""

    def begin(self) -> None:
        """The first thing that happens on the thread."""

    def handle(self, message: Any) -> None:
        """One message; `ended` says whether it was the last."""

    def perish(self, error: BaseException) -> None:
        """Its thread cannot go on: it ends, and tells its parent so. Called on that thread."""


class _Join(protocol.Control, frozen=True):
    member: Any


class Dispatcher:
    """It does what the module says. `mutex` guards who is a member: it is the one of those who start threads."""

    def __init__(self, lanes: Lanes, mutex: threading.Lock) -> None:
        self.lanes = lanes
        self.thread: threading.Thread
        """The one that it runs on, given by who started it."""
        self._mutex = mutex
        self._n = 0
        self._members: dict[Inbox, Member] = {}
        self._early: dict[Inbox, list[Any]] = {}
        self._timers: list[tuple[float, int, Timer, Member]] = []
        self._number = itertools.count()

    def join(self, member: Member) -> bool:
        """One more, whose inbox has these lanes. True: it is the only one, and a thread is to `run`. The mutex is held."""
        self._n += 1
        self.lanes.put(member.me, _Join(member))
        return self._n == 1

    def after(self, member: Member, delay_s: float, message: Any) -> Timer:
        """Have it handle a message later. Called by its own actor."""
        timer = Timer(message)
        heapq.heappush(self._timers, (monotonic() + bounded_s(delay_s), next(self._number), timer, member))
        return timer

    def leave_unstarted(self, member: Member) -> None:
        """It had joined, and no thread could be started for it. The mutex is held."""
        self._n -= 1
        member.ended = member.me.ended = True

    def run(self) -> None:
        """Until all have ended. Whatever ends this thread before that ends its members, who tell their parents (L60)."""
        try:
            self._dispatch()
        except BaseException as error:
            self._collapse(error)

    def _collapse(self, error: BaseException) -> None:
        """End all who live here, and those who have joined and not begun."""
        self._timers.clear()
        while True:
            for member in list(self._members.values()):
                member.perish(error)
                if self._leave(member):
                    return
            for _, message in self.lanes.drain():
                if isinstance(message, _Join):
                    message.member.perish(error)
                    if self._leave(message.member):
                        return
            with self._mutex:
                # Who joins does so under the mutex, and has then put his word into the lanes.
                if not self._n or (not self._members and self.lanes.empty):
                    self._n = 0
                    return

    def _dispatch(self) -> None:
        get, members, timers = self.lanes.get, self._members, self._timers
        while True:
            if timers:
                due_s = timers[0][0] - monotonic()
                if due_s <= 0.0:
                    _, _, timer, member = heapq.heappop(timers)
                    if not timer.cancelled and not member.ended:
                        member.handle(timer.message)
                        if member.ended and self._leave(member):
                            return
                    continue
                try:
                    got = get(due_s)
                except Empty:
                    continue
            else:
                got = get()
            if got is None:
                continue
            inbox, message = got
            member = members.get(inbox)  # type: ignore[assignment]
            if member is None:
                member = self._enter(inbox, message)
            else:
                member.handle(message)
            if member is not None and member.ended and self._leave(member):
                return
            # While all wait for the next one, nobody's row shall live on in here.
            got = message = None

    def _enter(self, inbox: Inbox, message: Any) -> Member | None:
        """A message for one who has not begun, or who has ended."""
        if not isinstance(message, _Join):
            if not inbox.ended:
                self._early.setdefault(inbox, []).append(message)
            return None
        member: Member = message.member
        if member.ended:
            # No thread could be started for it, and it was given up.
            return None
        self._members[inbox] = member
        member.begin()
        for early in self._early.pop(inbox, ()):
            if not member.ended:
                member.handle(early)
        return member

    def _leave(self, member: Member) -> bool:
        """It has ended; whether it was the last one."""
        self._members.pop(member.me, None)
        self._timers[:] = [timer for timer in self._timers if timer[3] is not member]
        heapq.heapify(self._timers)
        with self._mutex:
            self._n -= 1
            return not self._n
