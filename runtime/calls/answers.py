"""What kinds of nodes make of a function's answer, inside the call, so that what goes wrong there is the call's error.

map        the answer is the row from here on
filter     a pair: whether the row stays, the row
route      a pair: the name of the branch, the row
flat_map   a list, of an iterable's items
tap        the row, whatever the answer was
merge      the answer for a row and its parts
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Literal

from headrace.actors.join import Merging

from .aio import runs_on_a_loop

Kind = Literal["map", "filter", "route", "flat_map", "tap", "merge"]
Function = Callable[[Any], Any]


def answering(kind: Kind, function: Function) -> Function:
    """`function` as a node of this kind calls it; a coroutine function again where it was one."""
    if kind == "map":
        return function
    if kind == "flat_map" and inspect.isasyncgenfunction(function):
        return _items_of_generator(function)
    return (_ON_A_LOOP if runs_on_a_loop(function) else _ON_A_THREAD)[kind](function)


def on_a_loop(kind: Kind, function: Function) -> bool:
    """Whether its calls run on the loop."""
    return runs_on_a_loop(function) or (kind == "flat_map" and inspect.isasyncgenfunction(function))


def _name_of(said: Any) -> str | None:
    """A branch, by what a route's function said: a name, None, a member of an enum, or yes and no."""
    if said is None or type(said) is str:
        return said
    if isinstance(said, bool):
        return "true" if said else "false"
    return str(said.value) if isinstance(said, enum.Enum) else str(said)


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


def _filter(function: Function) -> Function:
    return lambda row: (function(row), row)


def _route(function: Function) -> Function:
    return lambda row: (_name_of(function(row)), row)


def _flat_map(function: Function) -> Function:
    return lambda row: _items(function(row))


def _tap(function: Function) -> Function:
    def call(row: Any) -> Any:
        function(row)
        return row

    return call


def _merge(function: Callable[[Any, Any], Any]) -> Function:
    def call(merging: Merging) -> Any:
        return function(merging.row, merging.parts)

    return call


def _async_filter(function: Function) -> Function:
    async def call(row: Any) -> Any:
        return await function(row), row

    return call


def _async_route(function: Function) -> Function:
    async def call(row: Any) -> Any:
        return _name_of(await function(row)), row

    return call


def _async_flat_map(function: Function) -> Function:
    async def call(row: Any) -> Any:
        return _items(await function(row))

    return call


def _async_tap(function: Function) -> Function:
    async def call(row: Any) -> Any:
        await function(row)
        return row

    return call


def _async_merge(function: Callable[[Any, Any], Any]) -> Function:
    async def call(merging: Merging) -> Any:
        return await function(merging.row, merging.parts)

    return call


_ON_A_THREAD: dict[Kind, Callable[..., Function]] = {
    "filter": _filter,
    "route": _route,
    "flat_map": _flat_map,
    "tap": _tap,
    "merge": _merge,
}
_ON_A_LOOP: dict[Kind, Callable[..., Function]] = {
    "filter": _async_filter,
    "route": _async_route,
    "flat_map": _async_flat_map,
    "tap": _async_tap,
    "merge": _async_merge,
}
