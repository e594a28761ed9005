"""The governors of this process that have a name: shared by whatever names the same limit, ended with the last user.

What one had learned of the other side, the next one of its name begins with: a handler that makes a small run for each
request need not find out each time what is allowed.
"""

from __future__ import annotations

import os
import threading
from contextvars import Context

import msgspec

from headrace.actors import protocol
from headrace.actors.governor import Governor
from headrace.actors.limits.terms import Terms

from ...errors import ConfigError
from ..port import Address
from .dispatcher import Inbox
from .system import Callback, System

NAMES_MAX = 1024
"""Of so many names nobody uses it is kept what was learned; then the oldest is forgotten."""


class _Shared(msgspec.Struct):
    terms: Terms
    system: System
    address: Inbox
    users: list[Address]
    governor: Governor


_mutex = threading.Lock()
_shared: dict[str, _Shared] = {}
_learned: dict[str, protocol.Lessons] = {}


def _after_fork() -> None:
    # The governors' threads are the parent's.
    global _mutex
    _mutex = threading.Lock()
    _shared.clear()
    _learned.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def acquire(name: str, terms: Terms, user: Address, lessons: protocol.Lessons | None = None) -> Inbox:
    """The governor of that name. `user` is told `Died` if it dies. `lessons`: what another process has learned of it, where
    this one has learned nothing. Raises `ConfigError` if the name has other terms."""
    with _mutex:
        known = _shared.get(name)
        if known is None:
            # It outlives the one who happens to come first, whose context it shall not hold.
            system = System("headrace.shared", Context())
            address = system.address(f"governor-{name}")
            governor = Governor(terms, _learned.pop(name, lessons))
            system.host(address, governor, Callback(f"watch-{name}", lambda died: _on_death(name, died)))
            known = _shared[name] = _Shared(terms, system, address, [], governor)
        elif known.terms != terms:
            raise ConfigError(f"limit {name!r} is in use with other terms; limits that share a name say the same")
        known.users.append(user)
        return known.address


def release(name: str, user: Address) -> None:
    """The user is done; the governor ends with its last one."""
    with _mutex:
        known = _shared.get(name)
        if known is None or user not in known.users:
            return
        known.users.remove(user)
        if known.users:
            return
        del _shared[name]
    if known.system.stop(1.0):
        return
    lessons = known.governor.lessons()
    with _mutex:
        # Who came meanwhile has begun without.
        if lessons.priors and name not in _shared:
            _learned.pop(name, None)
            _learned[name] = lessons
            if len(_learned) > NAMES_MAX:
                del _learned[next(iter(_learned))]


def retune(governor: Address, name: str | None, terms: Terms) -> None:
    """Change a limit while it is in use; where it is a shared one, of this name, whoever comes later finds it so."""
    governor.put(protocol.SetLimit(terms))
    with _mutex:
        if name in _shared:
            _shared[name].terms = terms


def _on_death(name: str, died: object) -> None:
    with _mutex:
        known = _shared.pop(name, None)
    if known is not None and isinstance(died, protocol.Died):
        for user in known.users:
            user.put(died)
