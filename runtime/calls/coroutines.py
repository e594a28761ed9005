"""Calls of coroutine functions: one loop on a thread of its own, thousands in flight.

A slot is a task that takes row after row, so that a steady stream costs no task a row. Each call runs in a copy of the
context of whoever wants it: where one has set something in its slot's context, or the next one comes from somebody else,
another slot takes the slot's place (L73). Answers that come in one turn of the loop are told together.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.actors import protocol
from headrace.actors.actor import Ref
from headrace.actors.errors import InternalError
from headrace.actors.protocol import Answered, Fault, Heard, Kind
from headrace.actors.rows.identity import Id, row_of, show
from headrace.actors.stages.terms import AttemptTimedOut
from headrace.actors.worker import Progress, Tell

from ..errors import LoopDied
from ..hosts.loop_home import LoopHome
from ..hosts.threads.loop_thread import LoopThread as LoopThread
from ..verdicts.classify import Classifier, fault_of
from .awaiting import is_settled, settled
from .contexts import differ
from .current import CallInfo, Ear, _current
from .timeouts import Timeouts

if TYPE_CHECKING:
    from ..verdicts.quotas import Reader


def runs_on_a_loop(function: Callable[..., object]) -> bool:
    """Whether it is a coroutine function, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method's kind is asked for, not whether it is there
    )


class _Call:
    """A row in hand of `calls`. When it is called itself, it gives what `current_call` gives. `ear`: where its code has
    asked for that. `over`: what its code leaves behind is heard by nobody."""

    __slots__ = ("attempt", "base", "began", "calls", "cut", "deadline", "ear", "id", "over", "seq", "state", "value")

    def __init__(
        self, id_: int, seq: Id, value: object, attempt: int, state: object, calls: LoopCalls, base: Context
    ) -> None:
        self.id = id_
        self.seq = seq
        self.value = value
        self.attempt = attempt
        self.state = state
        self.calls = calls
        self.base = base
        self.began = 0.0
        self.deadline: float | None = None
        self.ear: Ear | None = None
        self.over = False
        self.cut: int | None = None
        """See `Timed`."""

    def __call__(self) -> CallInfo:
        if self.ear is None and not self.over:
            self.ear = self.calls.ear_of(self)
        key = f"{self.calls.prefix}:{show(self.seq)}"
        return CallInfo(key, row_of(self.seq), self.attempt, self.deadline, self.state, self.ear)


class _Slot:
    """What one task of a worker has in hand. `lost`: its loop has broken, and its row has been answered for. `begun`: its
    task has had its first turn."""

    __slots__ = ("begun", "call", "context", "lost")

    def __init__(self, call: _Call) -> None:
        self.call: _Call | None = call
        self.context = call.base.copy()
        self.lost = False
        self.begun = False


APART_S = 0.001
"""Of calls that end together and take less, it is told what they took together."""
_Done = tuple[list[Id], list[object], list[Fault], list[float], list[float]]
"""Rows that were answered, with what, those that were not, and how long each of the one and of the other took."""


class LoopCalls:
    """One worker's calls, `slots` of them in flight at most."""

    def __init__(
        self,
        thread: LoopHome,
        function: Callable[[Any], Awaitable[object]],
        slots: int,
        prefix: str,
        timeout_s: float | None = None,
        classifier: Classifier | None = None,
        context: Context | None = None,
        context_of: Callable[[Any], Context] | None = None,
        reader: Reader | None = None,
    ) -> None:
        """`context`: each call runs in a copy of it, or of an empty one; `context_of`: of that which its row bears (L73).
        `reader`: of headers."""
        self._reader = reader
        self._thread = thread
        self._context = context or Context()
        self._context_of = context_of
        self._function = function
        self._slots = slots
        self.prefix = prefix
        self._timeout_s = timeout_s
        self._timeouts: Timeouts[_Call] | None = None
        if timeout_s is not None:
            self._timeouts = Timeouts(lambda: thread.loop, timeout_s, self._give_up)
        self._classifier = classifier
        self._queue: deque[_Call] = deque()
        # In the order of their births, which the hash of a set's members does not keep.
        self._tasks: dict[asyncio.Task[None], _Slot] = {}
        self._left_behind: dict[asyncio.Task[None], None] = {}
        self._done: dict[int, _Done] = {}
        self._heard: dict[int, list[Heard]] = {}
        self._busy_s = 0.0
        self._apart = False
        """One of those that have ended took long enough for each to be told by itself."""
        self._cancelled = False
        self._worker: Ref | None = None
        self._tell: Tell | None = None
        thread.at_death(self._on_loop_died)

    def begin(self, assign: protocol.Assign, worker: Ref, tell: Tell) -> None:
        self._worker, self._tell = worker, tell
        self._thread.call_soon(self._start, assign)

    def _start(self, assign: protocol.Assign) -> None:
        attempts, states = assign.attempts or {}, assign.states or {}
        base, context_of = self._context, self._context_of
        for seq, value in zip(assign.seqs, assign.values, strict=True):
            if context_of is not None:
                base = context_of(value)
            self._queue.append(_Call(assign.id, seq, value, attempts.get(seq, 1), states.get(seq), self, base))
        if self._thread.dead:
            self._give_back()
            return
        for _ in range(min(self._slots - len(self._tasks), len(assign.seqs))):
            self._hire()

    async def _serve(self, slot: _Slot) -> None:
        queue, function, timeouts, context = self._queue, self._function, self._timeouts, slot.context
        monotonic = self._thread.loop.time
        slot.begun = True
        call = slot.call
        if call is None:
            raise InternalError("a slot is made for a call")
        base = call.base
        while True:
            began = monotonic()
            call.began = began
            if self._timeout_s is not None:
                call.deadline = began + self._timeout_s
            _current.set(call)
            before = copy_context()
            result: object
            try:
                if timeouts is None:
                    result = await function(call.value)
                    if not is_settled(result):
                        result = await settled(result)
                else:
                    result = await self._timed(timeouts, call)
            except asyncio.CancelledError as error:
                task = _this_task()
                if self._thread.left_alone(task) and not self._cancelled:
                    self._thread.perish()
                elif not call.over:
                    self._note(call, Fault(call.seq, Kind.UNKNOWN, error), began)
                raise
            except BaseException as error:
                if self._thread.over or slot.lost:
                    # Closed from outside, with nobody left who could be told.
                    raise
                result = fault_of(call.seq, error, self._classifier)
            if call.over:
                # Its row has been answered for it; this slot has a successor.
                return
            slot.call = None
            self._note(call, result, began)
            if not queue:
                return
            if queue[0].base is not base or differ(context, before):
                self._tasks.pop(_this_task(), None)
                self._hire()
                return
            slot.call = call = queue.popleft()

    async def _timed(self, timeouts: Timeouts[_Call], call: _Call) -> object:
        task = _this_task()
        timeouts.watch(call, task, call.began)
        try:
            result = await self._function(call.value)
            if not is_settled(result):
                result = await settled(result)
        except BaseException as error:
            if not timeouts.expired(call, task, error):
                raise
            late = AttemptTimedOut(f"no answer within {self._timeout_s:g} s")
            late.__cause__ = error
            return Fault(call.seq, Kind.UNKNOWN, late)
        timeouts.passed(call, task)
        return result

    def _give_up(self, task: asyncio.Task[None], call: _Call) -> None:
        """The coroutine goes on although it was cancelled: leave it to itself, and put another slot in its place."""
        self._tasks.pop(task, None)
        self._left_behind[task] = None
        task.add_done_callback(lambda done: self._left_behind.pop(done, None))
        late = AttemptTimedOut(f"no answer within {self._timeout_s:g} s, and cancelling the coroutine has not ended it")
        self._note(call, Fault(call.seq, Kind.UNKNOWN, late), self._thread.loop.time())
        if self._queue:
            self._hire()

    def _hire(self) -> None:
        """A slot for the next call."""
        slot = _Slot(self._queue.popleft())
        task = self._thread.task(self._serve(slot), slot.context)
        self._tasks[task] = slot
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and self._thread.left_alone(task) and not self._cancelled:
            self._thread.perish()
        slot = self._tasks.pop(task, None)
        if slot is not None and slot.call is not None and not slot.begun:
            # It was cancelled before its first turn.
            self._tell_unstarted({slot.call.id: [slot.call.seq]})
        if self._queue and len(self._tasks) < self._slots and not self._thread.over:
            # They came after it had seen that there was nothing to do, and before this.
            self._hire()

    def _note(self, call: _Call, result: object, began: float) -> None:
        if not self._done:
            self._thread.loop.call_soon(self._flush)
        took_s = self._thread.loop.time() - began
        part = self._done.get(call.id)
        if part is None:
            part = self._done[call.id] = ([], [], [], [], [])
        if type(result) is Fault:
            # Others may be told of with it that took much longer: a refusal comes at once, an answer in its time.
            alone = result.kind is Kind.REFUSED or result.overloaded
            part[2].append(msgspec.structs.replace(result, took_s=took_s) if alone else result)
            part[4].append(took_s)
        else:
            part[0].append(call.seq)
            part[1].append(result)
            part[3].append(took_s)
        call.over = True
        if call.ear is not None:
            if call.ear.heard:
                self._heard.setdefault(call.id, []).extend(call.ear.heard)
            call.ear = None
        self._busy_s += took_s
        if took_s > APART_S:
            self._apart = True

    def _flush(self) -> None:
        if self._worker is None:
            raise InternalError("who has calls has a worker")
        if self._tell is None:
            raise InternalError("who has calls can tell of them")
        done, self._done = self._done, {}
        told, self._heard = self._heard, {}
        n = sum(len(part[0]) + len(part[2]) for part in done.values())
        each_s, self._busy_s = self._busy_s / n, 0.0
        apart, self._apart = self._apart, False
        for id_, (seqs, values, faults, took, lost) in done.items():
            busy_s = each_s * (len(seqs) + len(faults))
            heard = tuple(told.get(id_, ())) if told else ()
            times_s = (*took, *lost) if apart else ()
            self._tell(Answered(id_, self._worker, seqs, values, faults, (), False, busy_s, heard, times_s))

    def _on_loop_died(self, died: LoopDied) -> None:
        """Nothing that is under way comes back: answer for it. Called on the loop's thread."""
        if self._done:
            self._flush()
        faults: dict[int, list[Fault]] = {}
        for task, slot in self._tasks.items():
            slot.lost = True
            # It has been answered for, so nobody need complain of it.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if slot.call is None:
                continue
            if not slot.begun:
                self._queue.append(slot.call)
            else:
                faults.setdefault(slot.call.id, []).append(Fault(slot.call.seq, Kind.UNKNOWN, died))
        self._tasks.clear()
        self._left_behind.clear()
        self._give_back()
        if self._worker is None or self._tell is None:
            return
        for id_, lost in faults.items():
            self._tell(Answered(id_, self._worker, [], [], lost, (), False, 0.0))

    def ear_of(self, call: _Call) -> Ear:
        """For what the code of a call under way says."""
        return Ear(call.seq, call.began, self._thread.loop.time, self._reader)

    def recall(self) -> None:
        self._thread.call_soon(self._give_back)

    def _give_back(self) -> None:
        back: dict[int, list[Id]] = {}
        while self._queue:
            call = self._queue.popleft()
            back.setdefault(call.id, []).append(call.seq)
        self._tell_unstarted(back)

    def _tell_unstarted(self, back: dict[int, list[Id]]) -> None:
        if self._worker is None or self._tell is None:
            return
        for id_, seqs in back.items():
            self._tell(Answered(id_, self._worker, [], [], [], seqs, False, 0.0))

    def cancel(self) -> None:
        self._thread.call_soon(self._cancel_all)

    def _cancel_all(self) -> None:
        self._cancelled = True
        self._queue.clear()
        if self._timeouts is not None:
            self._timeouts.stop()
        for task in [*self._tasks, *self._left_behind]:
            task.cancel()

    def progress(self) -> Progress | None:
        return None

    def dispose(self) -> None:
        self.cancel()


def _this_task() -> asyncio.Task[Any]:
    """The task of the slot that runs here."""
    task = asyncio.current_task()
    if task is None:
        raise InternalError("a slot is a task")
    return task
