"""Answers that are still to be awaited, where nobody can (L68)."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from headrace.actors.awaitables import at_once


async def later() -> str:
    """An answer that comes only when it is awaited."""
    return "late"


@pytest.mark.parametrize("answer", [None, 5, "text", ["a"], {"k": 1}, object])
def test_an_answer_that_is_there_is_the_answer(answer: Any) -> None:
    assert at_once("key=", answer) is answer


def test_a_coroutine_that_nobody_can_await_is_told_and_closed_so_that_python_does_not_warn_of_it_L68() -> None:
    coroutine = later()
    with pytest.raises(
        TypeError, match="key= gave a coroutine, which nobody awaits; it needs a function that is not async"
    ):
        at_once("key=", coroutine)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del coroutine


def test_what_closing_it_raises_is_nobody_s_concern_L68() -> None:
    class Awaited:
        def __await__(self) -> Any:
            raise AssertionError("nobody awaits it")

        def close(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(TypeError, match="cost= gave a Awaited"):
        at_once("cost=", Awaited())
