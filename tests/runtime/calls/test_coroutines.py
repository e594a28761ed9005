"""Calls on a loop: what is assigned is called, whenever it comes."""

from __future__ import annotations

import queue
from contextvars import ContextVar, copy_context
from typing import Any

from tests.actors.fake import Name

from headrace.actors.protocol import Answered, Assign
from headrace.runtime.calls.coroutines import LoopCalls, LoopThread


async def same(row: Any) -> Any:
    return row


def test_what_comes_between_the_end_of_a_slot_s_work_and_of_its_task_is_called() -> None:
    thread = LoopThread("test-loop")
    answers: queue.SimpleQueue[Answered] = queue.SimpleQueue()
    try:
        calls = LoopCalls(thread, same, 1, "test")
        calls._worker, calls._tell = Name("worker"), answers.put

        def in_one_turn() -> None:
            calls._start(Assign(1, [0], ["a"]))
            # The slot will have nothing more to do after its first turn; the next assignment comes right after that turn.
            thread.loop.call_soon(calls._start, Assign(2, [1], ["b"]))

        thread.call_soon(in_one_turn)
        assert answers.get(timeout=5.0).values == ["a"]
        assert answers.get(timeout=5.0).values == ["b"], "it was never called"
    finally:
        thread.stop(1.0)


def test_a_slot_takes_no_call_of_somebody_else_L73() -> None:
    whose: ContextVar[str] = ContextVar("whose")

    async def see(row: Any) -> str:
        return whose.get()

    contexts = [copy_context() for _ in range(3)]
    for context, name in zip(contexts, "abc", strict=True):
        context.run(whose.set, name)
    thread = LoopThread("test-loop")
    answers: queue.SimpleQueue[Answered] = queue.SimpleQueue()
    try:
        calls = LoopCalls(thread, see, 1, "test", context_of=lambda row: row)
        calls.begin(Assign(1, range(6), contexts + contexts), Name("worker"), answers.put)
        seen: list[Any] = []
        while len(seen) < 6:
            seen += answers.get(timeout=5.0).values
        assert seen == ["a", "b", "c"] * 2
    finally:
        thread.stop(1.0)


def test_what_was_cancelled_before_its_slot_had_its_turn_did_not_begin() -> None:
    thread = LoopThread("test-loop")
    answers: queue.SimpleQueue[Answered] = queue.SimpleQueue()
    try:
        calls = LoopCalls(thread, same, 1, "test")
        calls._worker, calls._tell = Name("worker"), answers.put

        def in_one_turn() -> None:
            calls._start(Assign(1, [0, 1], ["a", "b"]))
            calls._cancel_all()

        thread.call_soon(in_one_turn)
        assert list(answers.get(timeout=5.0).unstarted) == [0]
    finally:
        thread.stop(1.0)
