"""The time-outs of calls on a loop: whose time is over, what is cancelled, and how much is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.runtime.calls.timeouts import SPARE, STUBBORN_S, Timeouts


class Call:
    def __init__(self) -> None:
        self.over = False
        self.cut: int | None = None


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A loop without calls, whose time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[..., Any], tuple[Any, ...], Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any) -> Handle:
        handle = Handle()
        self.timers.append((when, callback, args, handle))
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any) -> Handle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= until]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now, callback, args, handle = first
            if not handle.cancelled:
                callback(*args)
        self.now = until


class Task:
    """As far as it can be cancelled."""

    def __init__(self) -> None:
        self.times = 0

    def cancelling(self) -> int:
        return self.times

    def cancel(self) -> None:
        self.times += 1

    def uncancel(self) -> int:
        self.times -= 1
        return self.times


class Watch:
    def __init__(self) -> None:
        self.loop = Loop()
        self.given_up: list[Call] = []
        self.timeouts: Timeouts[Call] = Timeouts(
            lambda: self.loop,  # type: ignore[arg-type, return-value]
            10.0,
            lambda task, call: self.given_up.append(call),
        )

    def begins(self) -> tuple[Call, Any]:
        call, task = Call(), Task()
        self.timeouts.watch(call, task, self.loop.now)  # type: ignore[arg-type]
        return call, task


def test_one_timer_serves_all_calls_and_cancels_those_whose_time_is_over() -> None:
    watch = Watch()
    calls = [watch.begins()]
    watch.loop.pass_time(4.0)
    calls += [watch.begins(), watch.begins()]
    assert len(watch.loop.timers) == 1
    calls[1][0].over = True
    watch.loop.pass_time(6.0)
    assert [task.times for _, task in calls] == [1, 0, 0]
    watch.loop.pass_time(4.0)
    assert [task.times for _, task in calls] == [1, 0, 1]


def test_a_call_that_goes_on_although_it_was_cancelled_is_given_up() -> None:
    watch = Watch()
    stubborn, _ = watch.begins()
    obedient, _ = watch.begins()
    watch.loop.pass_time(10.0)
    obedient.over = True
    watch.loop.pass_time(STUBBORN_S)
    assert watch.given_up == [stubborn]


def test_of_calls_that_are_over_few_are_remembered_although_one_is_slow() -> None:
    watch = Watch()
    watch.begins()
    for _ in range(10_000):
        call, _ = watch.begins()
        call.over = True
    assert len(watch.timeouts._due) <= 2 * SPARE


@pytest.mark.parametrize(
    ("error", "others", "expected"),
    [
        (asyncio.CancelledError(), 0, True),
        (asyncio.CancelledError(), 1, False),
        (TimeoutError(), 0, True),
        (ValueError(), 0, False),
    ],
)
def test_what_a_cancelled_call_raises_is_its_time_out_unless_somebody_else_has_cancelled_it_too(
    error: BaseException, others: int, expected: bool
) -> None:
    watch = Watch()
    call, task = watch.begins()
    assert not watch.timeouts.expired(call, task, error), "its time is not over"
    watch.loop.pass_time(10.0)
    task.times += others
    assert watch.timeouts.expired(call, task, error) is expected
    assert task.times == others, "what was cancelled here is not cancelled any more"


def test_a_call_that_answers_in_spite_of_it_leaves_its_task_as_it_was() -> None:
    watch = Watch()
    call, task = watch.begins()
    watch.loop.pass_time(10.0)
    watch.timeouts.passed(call, task)
    assert task.times == 0


def test_nobody_looks_after_the_end() -> None:
    watch = Watch()
    _, task = watch.begins()
    watch.timeouts.stop()
    watch.loop.pass_time(100.0)
    assert task.times == 0
