"""Calls of an executor in worker processes: what is sent of a task, and what a process makes of it.

The function is pickled with each task, with the state that it has then. One of a module is sent by its name, which costs
little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.actors.awaitables import at_once

from ..calls.processes import log
from ..calls.processes.child import Job
from ..calls.processes.pool import Pool
from ..calls.processes.wire import dump, load

if TYPE_CHECKING:
    from .terms import ExecutorTerms


class RemoteTask:
    """A call as a process has it. `pairs`: what is set in its context, pickled."""

    __slots__ = ("args", "function", "kwargs", "pairs")

    def __init__(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], pairs: list[bytes]
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.pairs = pairs


class Caller:
    """What an executor has in each process: it is prepared by the user's initializer, and makes the calls."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[object, ...]) -> None:
        self._initializer = initializer
        self._initargs = initargs

    def prepare(self) -> None:
        """Call the initializer, if there is one."""
        if self._initializer is not None:
            at_once("initializer=", self._initializer(*self._initargs))

    def __call__(self, task: RemoteTask) -> object:
        for pair in task.pairs:
            variable, value = load(pair)
            variable.set(value)
        return task.function(*task.args, **task.kwargs)


def pool_for(terms: ExecutorTerms, name: str, failed: Callable[[BaseException], object]) -> Pool:
    """The processes of an executor. `failed`: told of what no further process can mend. Raises `ConfigError`."""
    caller = Caller(terms.initializer, terms.initargs)
    classify = terms.retry.classify if terms.retry is not None else None
    functions = dump((caller, caller, classify, terms.limit.headers))
    job = Job(functions, [], name, terms.timeout, terms.memory, log.levels())
    return Pool(f"executor {name!r}", dump(job), f"{name}.processes", failed)
