"""What a function may ask about the call it is in."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import msgspec


class CallInfo(msgspec.Struct, frozen=True):
    """The call that is under way.

    `key` is the same in every attempt of the same row, and for no other row: send it as an idempotency key. `attempt`
    counts from 1. `deadline` is the attempt's end in seconds of `time.monotonic()`, None without a time-out. `state`:
    what the last call of the row left by raising `Pending`; None in the first.
    """

    key: str
    seq: int
    attempt: int
    deadline: float | None
    state: Any = None


_current: ContextVar[Callable[[], CallInfo]] = ContextVar("headrace_call")


def current_call() -> CallInfo:
    """The call that this code runs in. Raises `LookupError` outside of one.

    def charge(card):
        return client.charge(card, idempotency_key=current_call().key)
    """
    return _current.get()()
