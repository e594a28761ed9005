"""Calls are made in one place, and what is called pickles where the user's function does."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from headrace.actors.joins.terms import Merging, Parts
from headrace.actors.stages.dispatch import Dispatch
from headrace.runtime.calls.answers import Kind, answering
from headrace.runtime.calls.making import CallTerms, calls_in_threads, calls_on_a_loop
from headrace.runtime.calls.threads import ThreadCalls


def twice(row: Any) -> Any:
    return [row, row]


async def twice_later(row: Any) -> Any:
    return (row, row)


async def twice_by_and_by(row: Any) -> AsyncIterator[Any]:
    yield row
    yield row


def together(row: Any, parts: Any) -> Any:
    return (row, dict(parts))


async def together_later(row: Any, parts: Any) -> Any:
    return (row, dict(parts))


MERGING = Merging("r", Parts(a=1))


@pytest.mark.parametrize(
    ("kind", "function", "given", "expected"),
    [
        ("map", twice, 1, [1, 1]),
        ("flat_map", twice, 1, [1, 1]),
        ("flat_map", twice_later, 1, [1, 1]),
        ("flat_map", twice_by_and_by, 1, [1, 1]),
        ("merge", together, MERGING, ("r", {"a": 1})),
        ("merge", together_later, MERGING, ("r", {"a": 1})),
    ],
)
def test_what_a_node_calls_pickles_and_calls_the_same(
    kind: Kind, function: Callable[..., Any], given: Any, expected: Any
) -> None:
    again = pickle.loads(pickle.dumps(answering(kind, function)))
    answer = again(given)
    assert (asyncio.run(answer) if asyncio.iscoroutine(answer) else answer) == expected


def no_loop() -> Any:
    raise AssertionError("plain functions need no loop")


def test_the_port_says_how_its_calls_are_handed_out() -> None:
    terms = CallTerms(twice, "test", no_loop)
    assert calls_in_threads(terms).dispatch == Dispatch(slots=1, depth=0, chunk=512, blocking=True)
    assert calls_on_a_loop(terms, 80).dispatch == Dispatch(slots=80, depth=10, chunk=1 << 30, blocking=False)
    assert type(calls_in_threads(terms, chunk=1).new()) is ThreadCalls


@pytest.mark.parametrize(("slots", "calls", "workers"), [(1, 16, 16), (16, 16, 1), (4, 10, 3), (8, 1, 1)])
def test_as_many_workers_as_the_calls_need(slots: int, calls: int, workers: int) -> None:
    assert Dispatch(slots=slots, depth=0, chunk=1, blocking=False).workers(calls) == workers
