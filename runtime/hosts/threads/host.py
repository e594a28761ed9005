"""The host on threads: pykka carries the actors (`system.py`), the clock is the machine's, and what blocks has a thread."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
from typing import Any, TypeVar

from headrace.actors import protocol
from headrace.actors.limits.terms import Terms

from ...errors import LoopDied
from ...process import at_exit
from ..loop_home import LoopHome
from ..port import Address, Hosted, Whose
from . import shared_limits
from .caller_loop import CallerLoop
from .dispatcher import Inbox
from .loop_thread import LoopThread
from .starting import started
from .system import Callback, System

T = TypeVar("T")


class ThreadsHost:
    """It does what the module says. There is one for a process."""

    processes = True
    monotonic = staticmethod(time.monotonic)

    def actors(self, name: str, context: Context) -> System:
        return System(name, context)

    def loop(self, name: str, failed: Callable[[LoopDied], object], context: Context, whose: Whose) -> LoopHome:
        return CallerLoop(name, failed) if whose == "caller" else LoopThread(name, failed, context)

    def signal(self) -> threading.Event:
        return threading.Event()

    def callback(self, name: str, function: Callable[[Any], object]) -> Callback:
        return Callback(name, function)

    def aside(self, name: str, function: Callable[[T], object]) -> Callable[[T | None], object]:
        # The thread is started here, since none can be started at the end: of the interpreter, or of what the system allows
        # (L60).
        given: SimpleQueue[T | None] = SimpleQueue()
        started(_wait_and_call, name, given, function)
        return given.put

    def named(self, name: str) -> threading.Thread:
        thread = threading.current_thread()
        thread.name = name
        return thread

    def shared_governor(self, name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None) -> Inbox:
        return shared_limits.acquire(name, terms, user, lessons)

    def release_governor(self, name: str, user: Address) -> None:
        shared_limits.release(name, user)

    def retune(self, governor: Address, name: str | None, terms: Terms) -> None:
        shared_limits.retune(governor, name, terms)

    def began(self, one: Hosted) -> None:
        _hosted.add(one)
        at_exit.note(one)

    def ended(self, one: Hosted) -> None:
        _hosted.discard(one)
        at_exit.forget(one)


def _wait_and_call(given: SimpleQueue[T | None], function: Callable[[T], object]) -> None:
    argument = given.get()
    if argument is not None:
        function(argument)


THREADS = ThreadsHost()
_hosted: weakref.WeakSet[Hosted] = weakref.WeakSet()


def _after_fork() -> None:
    # The threads are the parent's; a child that waited for them would wait for ever.
    for one in list(_hosted):
        one.after_fork()
    _hosted.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
