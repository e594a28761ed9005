"""What an executor's office stands on: threads and clocks, or those of a simulation; and what becomes of offices in a child
process that was forked."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from headrace.actors.gate import Terms

from . import at_exit, governors
from .calls.aio import LoopThread
from .calls.caller_loop import Whose
from .calls.loop_home import LoopHome
from .errors import LoopDied
from .hosts.port import Address
from .hosts.threads import System
from .limits import Limit, Retry

if TYPE_CHECKING:
    from .office import Office


class ExecutorTerms(msgspec.Struct, frozen=True):
    max_workers: int
    prefix: str
    limit: Limit
    retry: Retry | None
    timeout: float | None
    deadline: float | None
    on_unknown: Literal["retry", "quarantine"]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    loop: Whose = "own"


class Ground(Protocol):
    """What an office stands on: what differs from host to host."""

    monotonic: Callable[[], float]

    def actors(self, name: str) -> Any:
        """A `System`."""

    def loop(self, name: str, failed: Callable[[LoopDied], object], context: Context) -> LoopHome:
        """The loop for coroutine functions, on a thread that runs in a copy of `context`. `failed`: called where there will
        be no loop any more."""

    def shared_governor(self, name: str, terms: Terms, user: Address) -> Address:
        """The governor of a limit with a name."""

    def release_governor(self, name: str, user: Address) -> None:
        """This user has done with it."""

    def event(self) -> Any:
        """What a caller waits for: a `threading.Event`, or what has its face."""

    def named(self, name: str) -> threading.Thread:
        """The thread of a worker, which is called so from now on."""

    def opened(self, office: Office) -> None:
        """An office stands here from now on, ..."""

    def left(self, office: Office) -> None:
        """... until now."""


class Threads:
    """The ground of the threads host."""

    monotonic = staticmethod(time.monotonic)

    def actors(self, name: str) -> System:
        return System(name)

    def loop(self, name: str, failed: Callable[[LoopDied], object], context: Context) -> LoopHome:
        return LoopThread(name, failed, context)

    def shared_governor(self, name: str, terms: Terms, user: Address) -> Address:
        return governors.acquire(name, terms, user)

    def release_governor(self, name: str, user: Address) -> None:
        governors.release(name, user)

    def event(self) -> threading.Event:
        return threading.Event()

    def named(self, name: str) -> threading.Thread:
        thread = threading.current_thread()
        thread.name = name
        return thread

    def opened(self, office: Office) -> None:
        _offices.add(office)
        at_exit.note(office)

    def left(self, office: Office) -> None:
        _offices.discard(office)
        at_exit.forget(office)


_offices: weakref.WeakSet[Office] = weakref.WeakSet()


def _after_fork() -> None:
    # The threads are the parent's; a child that waited for them would wait for ever.
    for office in list(_offices):
        office.after_fork()
    _offices.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
