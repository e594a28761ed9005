"""Calls on a loop: what is assigned is called, whenever it comes."""

from __future__ import annotations

import queue
from typing import Any

from tests.actors.fake import Name

from headrace.actors.protocol import Answered, Assign
from headrace.runtime.calls.aio import LoopCalls, LoopThread


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
            # The slot will find nothing to do in its first turn; the next assignment comes right after that turn.
            calls._give_back()
            thread.loop.call_soon(calls._start, Assign(2, [1], ["b"]))

        thread.call_soon(in_one_turn)
        assert list(answers.get(timeout=5.0).unstarted) == [0]
        assert answers.get(timeout=5.0).values == ["b"], "it was never called"
    finally:
        thread.stop(1.0)
