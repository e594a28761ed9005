"""The worker processes of one stage: prepared, lent to its workers, closed.

All of it runs on the thread of a loop that is the processes' own; nobody else's code runs there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context
from typing import Any

from loguru import logger

from headrace.actors.errors import InternalError

from ...errors import LoopDied, ProcessDied
from ...hosts.threads.loop_thread import LoopThread
from ...text import message_of, remark, told
from . import log
from .process import Process
from .wire import Word, load

CLOSE_S = 10.0
"""Seconds that a process may take to close its function and end."""
STOP_S = 1.0
"""Seconds that the thread of the processes may take to end, once these have ended."""
STILLBORN_MAX = 3
"""So many processes in a row that end before they are ready fail the run."""


class RemoteTraceback(Exception):
    """Where an error was raised in a worker process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Pool:
    """Processes for one job.

    `stage`: whose it is, in logs and errors. `job`: a pickled `Job`. `name`: of the thread that listens to them. `failed`:
    told once of what no further process can mend.
    """

    def __init__(self, stage: str, job: bytes, name: str, failed: Callable[[BaseException], object]) -> None:
        self.stage = stage
        self._job = job
        self._name = name
        self._home: LoopThread | None = None
        self._failed = failed
        self._all: dict[Process, None] = {}
        self._spare: list[Process] = []
        self._ready: set[Process] = set()
        self._waiting: dict[Process, asyncio.Future[BaseException | None]] = {}
        """Who waits for the function to be prepared, or closed."""
        self._empty: asyncio.Future[None] | None = None
        """Who waits for the last of them to have ended."""
        self._stillborn = 0
        self.broken = False
        self.closed = False
        """No process is started any more."""

    # --- from any thread ---

    @property
    def home(self) -> LoopThread:
        """The loop of the processes, once the pool is open."""
        if self._home is None:
            raise InternalError("a pool is opened before there are calls")
        return self._home

    def listen(self) -> None:
        """Be ready for calls, which start processes. Raises `CannotStartThread`."""
        self._home = LoopThread(self._name, self._failed, Context())

    def open(self) -> None:
        """Start the first process, and wait until its function is prepared. Raises what `prepare` raises, `ProcessDied`,
        `OSError` and `CannotStartThread`."""
        self.listen()
        try:
            error = self.home.run(self._open())
            if isinstance(error, BaseException):
                raise error
        except BaseException:
            with contextlib.suppress(LoopDied):
                self.home.run(self._end_all())
            self.home.stop(STOP_S)
            raise

    def close(self) -> None:
        """Close the function in each process, and wait until they have ended. Raises what a `close` raises."""
        try:
            errors = self.home.run(self._close())
        finally:
            self.home.stop(STOP_S)
        if not isinstance(errors, list) or not errors:
            return
        if len(errors) == 1:
            raise errors[0]
        raise BaseExceptionGroup("; ".join(map(message_of, errors)), errors)

    # --- on the loop ---

    async def _open(self) -> BaseException | None:
        process = await self.begin(self)
        error = await self._word_of(process)
        if error is None:
            self._spare.append(process)
        return error

    async def begin(self, owner: Any) -> Process:
        """A process that gets the job now, if none is to spare. Raises `OSError`."""
        if self._spare:
            process = self._spare.pop()
            process.owner = owner
            return process
        process = Process(owner)
        self._all[process] = None
        await process.connect()
        process.send(Word.SET_UP, self._job)
        return process

    def _word_of(self, process: Process) -> asyncio.Future[BaseException | None]:
        word = self._waiting[process] = asyncio.get_running_loop().create_future()
        return word

    async def _close(self) -> list[BaseException]:
        errors: list[BaseException] = []
        words = {process: self._word_of(process) for process in self._all if process in self._ready}
        for process in list(self._all):
            process.owner = self
            if process in words:
                process.send(Word.FINISH)
            else:
                process.kill()
        if words:
            await asyncio.wait(words.values(), timeout=CLOSE_S)
        for process, word in words.items():
            if not word.done():
                errors.append(TimeoutError(f"close() in a worker process of {self.stage} took more than {CLOSE_S:g} s"))
                process.kill()
            elif (error := word.result()) is not None:
                errors.append(error)
        await self._end_all()
        return errors

    async def _end_all(self) -> None:
        """Kill what there is, and wait until it has ended."""
        self.closed = True
        for process in list(self._all):
            process.kill()
        if self._all:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def general(self, process: Process, word: Word, body: bytes) -> None:
        """What a process says that is not about a call."""
        match word:
            case Word.READY:
                self._stillborn = 0
                self._ready.add(process)
                self._settle(process, None)
            case Word.FAILED:
                error = error_of(load(body))
                remark(error, "process", f"raised in a worker process of {self.stage} before its first call")
                if not self._settle(process, error):
                    self._give_up(error)
            case Word.CLOSED:
                said = load(body)
                self._settle(process, error_of(said) if said is not None else None)
            case Word.LOGGED:
                with contextlib.suppress(Exception):
                    log.write(load(body), self.stage, process.pid)
            case _:
                raise InternalError(f"a worker process said {word.name} where it has no work")

    def _settle(self, process: Process, error: BaseException | None) -> bool:
        waiting = self._waiting.pop(process, None)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(error)
        return True

    def gone(self, process: Process, how: str) -> None:
        """Note that a process has ended."""
        self._all.pop(process, None)
        if not self._all and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        was_ready = process in self._ready
        self._ready.discard(process)
        if process in self._spare:
            self._spare.remove(process)
        if was_ready:
            self._settle(process, None)
            return
        died = ProcessDied(f"a worker process of {self.stage} {how} before it was ready")
        if self._settle(process, died):
            return
        self._stillborn += 1
        if self._stillborn >= STILLBORN_MAX:
            self._give_up(died)

    def _give_up(self, error: BaseException) -> None:
        if self.broken:
            return
        self.broken = True
        logger.error("no worker process of {} can be had: {}", self.stage, told(error))
        self._failed(error)

    # --- as the owner of those that nobody has ---

    def heard(self, process: Process, word: Word, body: bytes) -> None:
        self.general(process, word, body)

    def died(self, process: Process, how: str) -> None:
        self.gone(process, how)


def error_of(said: tuple[BaseException, str | None]) -> BaseException:
    """The error of a pair that a process has sent, with the traceback as its cause."""
    error, trace = said
    if trace is not None and error.__cause__ is None:
        error.__cause__ = RemoteTraceback(trace)
    return error
