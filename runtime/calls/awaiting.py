"""Answers of plain functions that are still to be awaited (L68): they are awaited on the run's event loop.

A lambda around a coroutine function, a decorated one, a method of a client behind `__getattr__`: what they give is a
coroutine, and the call has not been made yet. Whoever calls a user's function on a thread passes its answer through
`Awaiting.settled`, so that the call is made, within the same attempt and on the same permit, before anything counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from types import AsyncGeneratorType
from typing import Any

from headrace.actors.awaitables import NOT_AWAITABLE, discard, is_awaitable
from headrace.actors.stages.terms import AttemptTimedOut

NESTED_MAX = 16
"""A coroutine that gives a coroutine that gives another is followed so far."""

Loop = Callable[[], Any]
"""Gives the run's `LoopHome`, which is made when it is first asked for."""


def is_settled(value: object) -> bool:
    """Whether an answer is a value as it stands; the others are for `Awaiting.settled` or `settled`."""
    return type(value) in NOT_AWAITABLE or not (is_awaitable(value) or type(value) is AsyncGeneratorType)


async def settled_iterable(value: Any) -> Any:
    """As `settled`, where an asynchronous generator is welcome."""
    for _ in range(NESTED_MAX):
        if not is_awaitable(value):
            return value
        value = await value
    discard(value)
    raise TypeError(f"the function gave a coroutine that gave another one, {NESTED_MAX} times over")


async def settled(value: object) -> object:
    """What an answer gives when it is awaited, and what that gives in turn. Raises `TypeError` for an asynchronous
    generator, of which a function that gives one row for one can make nothing."""
    if is_settled(value):
        return value
    value = await settled_iterable(value)
    if type(value) is AsyncGeneratorType:
        raise TypeError("the function gave an asynchronous generator, which gives rows one by one: use flat_map for it")
    return value


async def collected(rows: AsyncIterable[object]) -> list[object]:
    """All that an asynchronous iterable gives."""
    return [await settled(row) for row in [row async for row in rows]]


async def settled_list(rows: Iterable[object]) -> list[object]:
    """All that an iterable gives, each awaited, one after the other."""
    return [await settled(row) for row in rows]


class Awaiting:
    """Awaits, on the run's loop and from another thread, what functions give. `timeout_s`: for one answer."""

    __slots__ = ("_loop", "_timeout_s")

    def __init__(self, loop: Loop | None, timeout_s: float | None = None) -> None:
        self._loop = loop
        self._timeout_s = timeout_s

    def settled(self, value: object) -> object:
        """The answer, awaited where it must be. Raises what it raises, `AttemptTimedOut` when it takes too long, and
        `TypeError` where there is no loop to await it on."""
        if is_settled(value):
            return value
        if self._loop is None:
            discard(value)
            raise TypeError(
                f"the function gave a {type(value).__name__}, which nobody awaits here; give an async function"
            )
        try:
            thread = self._loop()
        except BaseException:
            # No thread can be started any more: at least the coroutine is not left behind with a warning.
            discard(value)
            raise
        given, error = thread.run(self._outcome(value))
        if error is not None:
            raise error
        return given

    async def _outcome(self, value: object) -> tuple[object, BaseException | None]:
        """The value or the error, as a value: what derives from `BaseException` alone would end the loop (L69)."""
        try:
            if self._timeout_s is None:
                return await settled(value), None
            async with asyncio.timeout(self._timeout_s) as scope:
                return await settled(value), None
        except BaseException as error:
            if self._timeout_s is not None and isinstance(error, TimeoutError) and scope.expired():
                late = AttemptTimedOut(f"no answer within {self._timeout_s:g} s")
                late.__cause__ = error
                return None, late
            return None, error
