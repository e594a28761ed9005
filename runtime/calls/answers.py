"""What some kinds of nodes make of a function's answer within the call, so that what goes wrong there is the call's error:
a `flat_map` needs a list, of whatever iterable it was; a `merge` gives the row and its parts.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

from headrace.actors.awaitables import ITERABLE_COROUTINE, NOT_AWAITABLE, is_awaitable
from headrace.actors.joins.terms import Merging

from ..errors import ConfigError
from .awaiting import collected, is_settled, settled_iterable, settled_list
from .coroutines import runs_on_a_loop

Kind = Literal["map", "filter", "route", "flat_map", "tap", "merge"]
Function = Callable[..., Any]


def answering(kind: Kind, function: Function) -> Function:
    """`function` as a node of this kind calls it; a coroutine function where it was one, and picklable
    where it was."""
    if kind == "flat_map":
        if inspect.isasyncgenfunction(function):
            return partial(_items_of_generator, function)
        return partial(_async_flat_map if runs_on_a_loop(function) else _flat_map, function)
    if kind == "merge":
        return partial(_async_merge if runs_on_a_loop(function) else _merge, function)
    return function


def check_function(kind: Kind, function: Function) -> None:
    """Raises `ConfigError` for a function of which a node of this kind can make nothing."""
    if kind != "flat_map" and inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"{kind}: an asynchronous generator function gives rows one by one, not one answer: use flat_map"
        )
    if kind != "flat_map" and is_generator_function(function):
        raise ConfigError(
            f"{kind}: a generator function gives rows one by one, and nothing of it is run before they are asked for: use "
            "flat_map, or return one answer"
        )


def is_generator_function(function: object) -> bool:
    """Whether its calls give generators, of which nothing is run by the call; not those that can be awaited."""
    for each in (function, getattr(type(function), "__call__", None)):  # noqa: B004 - its code is what is asked for
        # A decorator that collects what such a function gives is another function, and is not looked through.
        if inspect.isgeneratorfunction(each):
            code = getattr(each, "__code__", None)
            return code is None or not code.co_flags & ITERABLE_COROUTINE
    return False


def check_answers_at_once(kind: str, option: str, function: Any) -> None:
    """Raises `ConfigError` for a coroutine function where the answer is needed at once. `option`: what it was given as."""
    if function is not None and (runs_on_a_loop(function) or inspect.isasyncgenfunction(function)):
        raise ConfigError(
            f"{kind}: {option}: an async function, whose answer nobody awaits here; give one that is not async, or let a "
            f"stage before this one put what it needs into the row"
        )


def on_a_loop(kind: Kind, function: Function) -> bool:
    """Whether its calls run on the loop."""
    return runs_on_a_loop(function) or (kind == "flat_map" and inspect.isasyncgenfunction(function))


def _items(answer: object) -> Any:
    """The rows of an answer as a list, or a coroutine that gives them where something is still to be awaited (L68)."""
    if type(answer) is not list:
        if is_awaitable(answer):
            return _awaited_items(answer)
        if isinstance(answer, AsyncIterable) and not isinstance(answer, Iterable):
            return collected(answer)
    if isinstance(answer, str | bytes | Mapping) or not isinstance(answer, Iterable):
        raise TypeError(
            f"flat_map: {type(answer).__name__} where an iterable of rows was expected; return [row] for one row"
        )
    rows = list(answer)
    settled = NOT_AWAITABLE.issuperset(map(type, rows)) or all(map(is_settled, rows))
    return rows if settled else settled_list(rows)


async def _awaited_items(answer: object) -> list[object]:
    items = _items(await settled_iterable(answer))
    return items if type(items) is list else await items


# Functions of this module with the user's function bound to them, so that they pickle wherever the user's does.


async def _items_of_generator(function: Callable[[object], AsyncIterable[object]], row: object) -> list[object]:
    return await collected(function(row))


def _flat_map(function: Function, row: object) -> object:
    return _items(function(row))


async def _async_flat_map(function: Function, row: object) -> object:
    items = _items(await function(row))
    return items if type(items) is list else await items


def _merge(function: Callable[[object, object], object], merging: Merging) -> object:
    return function(merging.row, merging.parts)


async def _async_merge(function: Callable[[object, object], Any], merging: Merging) -> Any:
    return await function(merging.row, merging.parts)
