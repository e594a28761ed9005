"""What some kinds of nodes make of a function's answer within the call, so that what goes wrong there is the call's error:
a `flat_map` needs a list, of whatever iterable it was; a `merge` gives the row and its parts.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Literal

from headrace.actors.join import Merging

from .aio import runs_on_a_loop

Kind = Literal["map", "filter", "route", "flat_map", "tap", "merge"]
Function = Callable[..., Any]


def answering(kind: Kind, function: Function) -> Function:
    """`function` as a node of this kind calls it; a coroutine function again where it was one."""
    if kind == "flat_map":
        if inspect.isasyncgenfunction(function):
            return _items_of_generator(function)
        return _async_flat_map(function) if runs_on_a_loop(function) else _flat_map(function)
    if kind == "merge":
        return _async_merge(function) if runs_on_a_loop(function) else _merge(function)
    return function


def on_a_loop(kind: Kind, function: Function) -> bool:
    """Whether its calls run on the loop."""
    return runs_on_a_loop(function) or (kind == "flat_map" and inspect.isasyncgenfunction(function))


def _items(answer: Any) -> list[Any]:
    if isinstance(answer, str | bytes | Mapping) or not isinstance(answer, Iterable):
        raise TypeError(
            f"flat_map: {type(answer).__name__} where an iterable of rows was expected; return [row] for one row"
        )
    return list(answer)


def _items_of_generator(function: Callable[[Any], AsyncIterable[Any]]) -> Function:
    async def call(row: Any) -> list[Any]:
        return [item async for item in function(row)]

    return call


def _flat_map(function: Function) -> Function:
    return lambda row: _items(function(row))


def _merge(function: Callable[[Any, Any], Any]) -> Function:
    def call(merging: Merging) -> Any:
        return function(merging.row, merging.parts)

    return call


def _async_flat_map(function: Function) -> Function:
    async def call(row: Any) -> Any:
        return _items(await function(row))

    return call


def _async_merge(function: Callable[[Any, Any], Any]) -> Function:
    async def call(merging: Merging) -> Any:
        return await function(merging.row, merging.parts)

    return call
