"""The one place where calls are made, for the stages of pipelines and of executors.

A kind of call is a function here: it says how a stage is to hand out its calls (`Dispatch`), and makes the object behind
which one worker makes them (`Calls`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.actors.actor import Ref
from headrace.actors.stages.dispatch import CHUNK_MAX, Dispatch
from headrace.actors.worker import Calls, Worker

from ..hosts.loop_home import LoopHome
from ..verdicts.classify import Classifier
from .coroutines import LoopCalls
from .threads import ThreadCalls

if TYPE_CHECKING:
    from ..verdicts.quotas import Reader
    from .processes.pool import Pool


class CallTerms(msgspec.Struct, frozen=True):
    """What calls must know, of whatever kind they are.

    `prefix`: of their keys. `timeout_s`: seconds for an attempt. `loop`: where answers are awaited (L68). `context`: each
    call runs in a copy of it (L73); `context_of`: of that which its row bears. `reader`: of headers. `set_up`: called once
    on each worker's thread, before its first call.
    """

    function: Callable[..., Any]
    prefix: str
    loop: Callable[[], LoopHome]
    timeout_s: float | None = None
    classifier: Classifier | None = None
    context: Context | None = None
    context_of: Callable[[object], Context] | None = None
    reader: Reader | None = None
    monotonic: Callable[[], float] = time.monotonic
    set_up: Callable[[], None] | None = None


class CallMaker(msgspec.Struct, frozen=True):
    """How a stage hands out its calls, and what one of its workers makes them with."""

    dispatch: Dispatch
    new: Callable[[], Calls]

    def worker(self, stage: Ref) -> Worker:
        """A worker for this stage, which is not hosted yet."""
        return Worker(stage, self.new())


def calls_in_threads(terms: CallTerms, chunk: int = CHUNK_MAX) -> CallMaker:
    """Calls of plain functions, each on its worker's thread; `chunk`: rows that may stand behind one another in a worker."""

    def new() -> Calls:
        return ThreadCalls(
            terms.function,
            terms.prefix,
            terms.timeout_s,
            terms.classifier,
            terms.set_up,
            terms.monotonic,
            terms.loop,
            terms.context,
            terms.reader,
        )

    return CallMaker(Dispatch.in_threads(chunk), new)


def calls_in_processes(pool: Pool, timeout_s: float | None, begin: Callable[[Any], object] | None = None) -> CallMaker:
    """Calls of plain functions, each worker's in a process of the pool's. `begin`: called with each row before it is sent;
    what it raises is the row's error."""
    # Most runs have none.
    from .processes.calls import ProcessCalls

    return CallMaker(Dispatch.in_processes(), lambda: ProcessCalls(pool, timeout_s, begin))


def calls_on_a_loop(terms: CallTerms, calls: int) -> CallMaker:
    """Calls of coroutine functions, `calls` of them at once, on one loop."""

    def new() -> Calls:
        return LoopCalls(
            terms.loop(),
            terms.function,
            calls,
            terms.prefix,
            terms.timeout_s,
            terms.classifier,
            context=terms.context,
            context_of=terms.context_of,
            reader=terms.reader,
        )

    return CallMaker(Dispatch.on_a_loop(calls), new)
