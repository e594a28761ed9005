"""What an executor needs of its host, threads or a simulation; and what becomes of executors in a child process that was
forked."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, Literal, Protocol

import msgspec

from headrace.actors.limits.gate import Terms

from ..calls.caller_loop import Whose
from ..calls.coroutines import LoopThread
from ..calls.loop_home import LoopHome
from ..errors import LoopDied
from ..hosts.port import Address
from ..hosts.threads.system import System
from ..limits import Limit, Retry
from ..process import at_exit
from ..run import shared_limits as governors


class Begun(at_exit.Unfinished, Protocol):
    """An executor that has begun, as its host sees it."""

    def after_fork(self) -> None:
        """This is a child process that was forked: the threads are the parent's, and whoever waits here is told."""


class ExecutorTerms(msgspec.Struct, frozen=True):
    max_workers: int
    prefix: str
    limit: Limit
    retry: Retry | None
    timeout: float | None
    deadline: float | None
    on_unknown: Literal["retry", "quarantine"]
    initializer: Callable[..., object] | None
    initargs: tuple[object, ...]
    loop: Whose = "own"


class ExecutorHost(Protocol):
    """What differs from host to host."""

    monotonic: Callable[[], float]

    def actors(self, name: str) -> Any:
        """The `System` that carries the actors of the executor."""

    def loop(self, name: str, failed: Callable[[LoopDied], object], context: Context) -> LoopHome:
        """The loop for coroutine functions, on a thread that runs in a copy of `context`. `failed`: called where there will
        be no loop any more."""

    def shared_governor(self, name: str, terms: Terms, user: Address) -> Address:
        """The governor of a limit with a name."""

    def release_governor(self, name: str, user: Address) -> None:
        """This user has done with it."""

    def event(self) -> object:
        """What a caller waits for: a `threading.Event`, or what has its face."""

    def named(self, name: str) -> threading.Thread:
        """The thread of a worker, which is called so from now on."""

    def opened(self, core: Begun) -> None:
        """An executor has begun here."""

    def left(self, core: Begun) -> None:
        """It has ended."""


class ThreadsHost:
    """The host of the threads host."""

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

    def opened(self, core: Begun) -> None:
        _cores.add(core)
        at_exit.note(core)

    def left(self, core: Begun) -> None:
        _cores.discard(core)
        at_exit.forget(core)


_cores: weakref.WeakSet[Begun] = weakref.WeakSet()


def _after_fork() -> None:
    # The threads are the parent's; a child that waited for them would wait for ever.
    for core in list(_cores):
        core.after_fork()
    _cores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
