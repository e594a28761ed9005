"""Calls of coroutine functions: one loop on a thread of its own, thousands in flight.

A slot is a task that takes row after row, so that a steady stream costs no task a row. Answers that come in one turn of the
loop are told together.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.actors import protocol
from headrace.actors.actor import Ref
from headrace.actors.identity import Id, row_of, show
from headrace.actors.protocol import Answered, Fault, Heard, Kind
from headrace.actors.stage_terms import AttemptTimedOut
from headrace.actors.worker import Progress, Tell

from ..call import CallInfo, Ear, _current
from ..classify import Classifier, fault_of
from ..errors import LoopDied
from .awaiting import is_settled, settled
from .loop_thread import LoopThread as LoopThread

if TYPE_CHECKING:
    from ..verdicts.quotas import Reader

STUBBORN_S = 1.0
"""A coroutine that has not ended so long after it was cancelled is left to itself."""


def runs_on_a_loop(function: Callable[..., Any]) -> bool:
    """Whether it is a coroutine function, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method's kind is asked for, not whether it is there
    )


class _Call(NamedTuple):
    id: int
    seq: Id
    value: Any
    attempt: int
    state: Any = None


class _Slot:
    """What one task of a worker has in hand. `lost`: its loop has broken, and its row has been answered for. `ear`: of the
    call, where it has asked for it."""

    __slots__ = ("call", "ear", "lost")

    def __init__(self) -> None:
        self.call: _Call | None = None
        self.ear: Ear | None = None
        self.lost = False


class LoopCalls:
    """One worker's calls, `slots` of them in flight at most."""

    def __init__(
        self,
        thread: LoopThread,
        function: Callable[[Any], Awaitable[Any]],
        slots: int,
        prefix: str,
        timeout_s: float | None = None,
        classifier: Classifier | None = None,
        reader: Reader | None = None,
    ) -> None:
        self._reader = reader
        self._thread = thread
        self._function = function
        self._slots = slots
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._classifier = classifier
        self._queue: deque[_Call] = deque()
        # In the order of their births, which the hash of a set's members does not keep.
        self._tasks: dict[asyncio.Task[None], _Slot] = {}
        self._left_behind: dict[asyncio.Task[None], None] = {}
        self._done: dict[int, tuple[list[Id], list[Any], list[Fault]]] = {}
        self._heard: dict[int, list[Heard]] = {}
        self._busy_s = 0.0
        self._worker: Ref | None = None
        self._tell: Tell | None = None
        thread.at_death(self._on_loop_died)

    def begin(self, assign: protocol.Assign, worker: Ref, tell: Tell) -> None:
        self._worker, self._tell = worker, tell
        self._thread.call_soon(self._start, assign)

    def _start(self, assign: protocol.Assign) -> None:
        attempts, states = assign.attempts or {}, assign.states or {}
        self._queue.extend(
            _Call(assign.id, seq, value, attempts.get(seq, 1), states.get(seq))
            for seq, value in zip(assign.seqs, assign.values, strict=True)
        )
        for _ in range(min(self._slots - len(self._tasks), len(assign.seqs))):
            self._hire()

    async def _serve(self, slot: _Slot) -> None:
        queue, function, timeout_s = self._queue, self._function, self._timeout_s
        monotonic = self._thread.loop.time
        while queue:
            slot.call = call = queue.popleft()
            began = monotonic()
            deadline = None if timeout_s is None else began + timeout_s
            _current.set(
                lambda call=call, deadline=deadline, began=began: self._info(slot, call, deadline, began)  # type: ignore[misc]
            )
            result: Any
            try:
                if timeout_s is None:
                    result = await function(call.value)
                    if not is_settled(result):
                        result = await settled(result)
                else:
                    result = await self._timed(call, timeout_s)
            except asyncio.CancelledError as error:
                if asyncio.current_task() not in self._left_behind:
                    self._note(call, Fault(call.seq, Kind.UNKNOWN, error), began, slot)
                raise
            except BaseException as error:
                if self._thread.over or slot.lost:
                    # Closed from outside, with nobody left who could be told.
                    raise
                result = fault_of(call.seq, error, self._classifier)
            if timeout_s is not None and asyncio.current_task() in self._left_behind:
                # Its row has been answered for it; this slot has a successor.
                return
            slot.call = None
            self._note(call, result, began, slot)

    async def _timed(self, call: _Call, timeout_s: float) -> Any:
        scope = asyncio.timeout(timeout_s)
        task = asyncio.current_task()
        assert task is not None, "a slot is a task"
        backup = self._thread.loop.call_later(timeout_s + STUBBORN_S, self._give_up, task, call, timeout_s)
        try:
            async with scope:
                return await settled(await self._function(call.value))
        except TimeoutError as error:
            if not scope.expired():
                raise
            late = AttemptTimedOut(f"no answer within {timeout_s:g} s")
            late.__cause__ = error
            return Fault(call.seq, Kind.UNKNOWN, late)
        finally:
            backup.cancel()

    def _give_up(self, task: asyncio.Task[None], call: _Call, timeout_s: float) -> None:
        """The coroutine goes on although it was cancelled: leave it to itself, and put another slot in its place."""
        slot = self._tasks.pop(task, None) or _Slot()
        self._left_behind[task] = None
        task.add_done_callback(lambda done: self._left_behind.pop(done, None))
        late = AttemptTimedOut(f"no answer within {timeout_s:g} s, and cancelling the coroutine has not ended it")
        self._note(call, Fault(call.seq, Kind.UNKNOWN, late), self._thread.loop.time(), slot)
        if self._queue:
            self._hire()

    def _hire(self) -> None:
        slot = _Slot()
        task = self._thread.loop.create_task(self._serve(slot))
        self._tasks[task] = slot
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if self._queue and len(self._tasks) < self._slots and not self._thread.over:
            # They came after it had seen that there was nothing to do, and before this.
            self._hire()

    def _note(self, call: _Call, result: Any, began: float, slot: _Slot) -> None:
        if not self._done:
            self._thread.loop.call_soon(self._flush)
        part = self._done.get(call.id)
        if part is None:
            part = self._done[call.id] = ([], [], [])
        if type(result) is Fault:
            part[2].append(result)
        else:
            part[0].append(call.seq)
            part[1].append(result)
        if slot.ear is not None:
            if slot.ear.heard:
                self._heard.setdefault(call.id, []).extend(slot.ear.heard)
            slot.ear = None
        self._busy_s += self._thread.loop.time() - began

    def _flush(self) -> None:
        assert self._worker is not None
        assert self._tell is not None
        done, self._done = self._done, {}
        told, self._heard = self._heard, {}
        n = sum(len(part[0]) + len(part[2]) for part in done.values())
        each_s, self._busy_s = self._busy_s / n, 0.0
        for id_, (seqs, values, faults) in done.items():
            busy_s = each_s * (len(seqs) + len(faults))
            heard = tuple(told.get(id_, ())) if told else ()
            self._tell(Answered(id_, self._worker, seqs, values, faults, (), False, busy_s, heard))

    def _on_loop_died(self, died: LoopDied) -> None:
        """Nothing that is under way comes back: answer for it. Called on the loop's thread."""
        if self._done:
            self._flush()
        faults: dict[int, list[Fault]] = {}
        for slot in self._tasks.values():
            slot.lost = True
            if slot.call is not None:
                faults.setdefault(slot.call.id, []).append(Fault(slot.call.seq, Kind.UNKNOWN, died))
        self._tasks.clear()
        self._left_behind.clear()
        self._give_back()
        if self._worker is None or self._tell is None:
            return
        for id_, lost in faults.items():
            self._tell(Answered(id_, self._worker, [], [], lost, (), False, 0.0))

    def _info(self, slot: _Slot, call: _Call, deadline: float | None, began: float) -> CallInfo:
        # What asks after the end of the call (a task that it left) is heard by nobody.
        ear = slot.ear if slot.call is call else None
        if ear is None and slot.call is call:
            ear = slot.ear = Ear(call.seq, began, self._thread.loop.time, self._reader)
        return CallInfo(f"{self._prefix}:{show(call.seq)}", row_of(call.seq), call.attempt, deadline, call.state, ear)

    def recall(self) -> None:
        self._thread.call_soon(self._give_back)

    def _give_back(self) -> None:
        if self._worker is None or self._tell is None:
            return
        back: dict[int, list[Id]] = {}
        while self._queue:
            call = self._queue.popleft()
            back.setdefault(call.id, []).append(call.seq)
        for id_, seqs in back.items():
            self._tell(Answered(id_, self._worker, [], [], [], seqs, False, 0.0))

    def cancel(self) -> None:
        self._thread.call_soon(self._cancel_all)

    def _cancel_all(self) -> None:
        self._queue.clear()
        for task in [*self._tasks, *self._left_behind]:
            task.cancel()

    def progress(self) -> Progress | None:
        return None

    def dispose(self) -> None:
        self.cancel()
