"""What runs in a worker process: it prepares the function, calls it with the rows that come, and tells what comes of them.

The main thread calls; another one reads the socket, so that a process whose run was killed ends at once, whatever it is
calling. Answers go out after every 0.1 ms of calls: what a process that is killed has done before is then known. A row that
has had an attempt before goes alone, so that what kills the process is known, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextvars import Context
from queue import SimpleQueue
from typing import Any

import msgspec

from headrace.actors.awaitables import is_awaitable
from headrace.actors.protocol import Answered, Assign, Fault, Kind

from ...errors import Recalled, name_of
from ...text import message_of
from ..strategies import call_hook
from ..threads import ThreadCalls
from . import log
from .page import Page
from .parent import die_with
from .wire import Frames, Word, dump, frame, is_plain, load

TELL_S = 1e-4
"""Answers wait so long for others to go with them."""
GIVE_BACK_S = 0.05
"""After so long, what is left of an assignment goes back: its calls have become slower than it was cut for."""


class Job(msgspec.Struct, frozen=True):
    """What a process is for.

    `functions`: what is called, the object that it is made of, which may have `prepare` and `close`, the classifier, and the
    reader of headers, pickled together. `context`: pickled pairs of variables and values. `prefix`: of the keys of calls.
    `timeout_s`: of one attempt. `memory`: bytes that the process may take. `levels`: of the log.
    """

    functions: bytes
    context: list[bytes]
    prefix: str
    timeout_s: float | None
    memory: int | None
    levels: log.Levels


class RemoteError(Recalled):
    """An error of a worker process that cannot be sent as it is. `kind`: the name of its type."""


def main(fd: int, page_fd: int, parent: int) -> None:
    """The whole life of the process; it ends the process."""
    # Ctrl-C on the terminal is the run's, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(fd, False)
    os.set_inheritable(page_fd, False)
    die_with(parent)
    status = 1
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _Process(socket.socket(fileno=fd), Page(page_fd)).live()
        status = 0
    # Threads and exit handlers of the function's own are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Process:
    def __init__(self, sock: socket.socket, page: Page) -> None:
        self._sock = sock
        self._page = page
        self._mutex = threading.Lock()
        self._inbox: SimpleQueue[tuple[Word, bytes]] = SimpleQueue()
        self._got = 0
        self._recalled = 0
        """So many frames of work have come, and so many of these were called back. Written by the reading thread."""
        self._done = 0
        self._id = self._index = 0
        self._calls: Any = None

    def live(self) -> None:
        threading.Thread(target=self._read, name="headrace-reader", daemon=True).start()
        word, body = self._inbox.get()
        assert_set_up(word)
        try:
            strategy = self._set_up(load(body))
        except BaseException as error:
            self._send(Word.FAILED, told_of(error))
            return
        self._send(Word.READY)
        while True:
            word, body = self._inbox.get()
            if word is Word.FINISH:
                self._finish(strategy)
                return
            self._done += 1
            self._work(body)

    def _read(self) -> None:
        frames = Frames()
        while True:
            try:
                data = self._sock.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                # The run is gone: whatever is called here is called for nobody.
                os._exit(1)
            for word, body in frames.feed(data):
                if word is Word.RECALL:
                    self._recalled = self._got
                else:
                    self._got += word is Word.WORK
                    self._inbox.put((word, body))

    def _send(self, word: Word, value: object = None) -> None:
        data = frame(word, dump(value))
        # The log speaks from any thread of the function's.
        with self._mutex:
            self._sock.sendall(data)

    # --- the function ---

    def _set_up(self, job: Job) -> object:
        if job.memory is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (job.memory, job.memory))
        log.forward(job.levels, lambda line: self._send(Word.LOGGED, line))
        function, strategy, classifier, reader = load(job.functions)
        context = Context()
        for pair in job.context:
            variable, value = load(pair)
            context.run(variable.set, value)
        call_hook(strategy, "prepare", settled)
        note, clock = self._page.note, time.monotonic

        def counted(value: object) -> object:
            note(self._id, self._index, clock())
            self._index += 1
            return function(value)

        self._calls = ThreadCalls(counted, job.prefix, job.timeout_s, classifier, context=context, reader=reader)
        return strategy

    def _finish(self, strategy: object) -> None:
        try:
            call_hook(strategy, "close", settled)
        except BaseException as error:
            self._send(Word.CLOSED, told_of(error))
        else:
            self._send(Word.CLOSED)

    # --- the calls ---

    def _work(self, body: bytes) -> None:
        id_, first, rows, packed = load(body)
        try:
            seqs, values, attempts, states = load(packed)
        except BaseException as error:
            self._send(Word.UNREAD, (id_, first, rows, told_of(error)))
            return
        n, at, size = len(values), 0, 1
        until = time.monotonic() + GIVE_BACK_S
        while at < n:
            if self._done <= self._recalled or (at and time.monotonic() > until):
                self._send(Word.RETURNED, (id_, first + at, first + n))
                return
            if attempts and attempts.get(seqs[at], 1) > 1:
                size = 1
            elif attempts:
                size = next((k for k in range(1, size) if at + k < n and attempts.get(seqs[at + k], 1) > 1), size)
            self._id, self._index = id_, first + at
            began = time.monotonic()
            done, refused = self._call(
                Assign(id_, seqs[at : at + size], values[at : at + size], attempts, states), first + at
            )
            at += done
            if refused and at < n:
                self._send(Word.RETURNED, (id_, first + at, first + n))
                return
            size = min(2 * size, 1024) if time.monotonic() - began < TELL_S / 2 else max(1, size // 2)

    def _call(self, assign: Assign, first: int) -> tuple[int, bool]:
        """(how many rows have been called, whether the last of them was refused)."""
        parts: list[Answered] = []
        self._calls.begin(assign, self._page, parts.append)
        done, refused = 0, False
        for part in parts:
            faults = [sendable(fault) for fault in part.faults]
            rows = len(part.values) + len(faults)
            told = (part.seqs, part.values, faults, part.heard, part.busy_s)
            self._send(Word.PART, (assign.id, first + done, rows, self._packed(told)))
            done += rows
            refused = refused or any(f.kind in (Kind.REFUSED, Kind.EXHAUSTED) for f in part.faults)
        return done, refused

    def _packed(self, told: tuple[Any, ...]) -> bytes:
        try:
            data = dump(told)
            if not is_plain(data):
                load(data)
        except BaseException:
            data = dump(self._one_by_one(told))
        return data

    def _one_by_one(self, told: tuple[Any, ...]) -> tuple[Any, ...]:
        """The answers that can be sent, and faults for the others."""
        seqs, values, faults, heard, busy_s = told
        well, answers, faults = [], [], list(faults)
        for seq, value in zip(seqs, values, strict=True):
            try:
                load(dump(value))
            except BaseException as error:
                wrong = TypeError(
                    f"the answer, of type {type(value).__name__}, cannot be sent from a worker process: {name_of(error)}: "
                    f"{message_of(error)}"
                )
                faults.append((Fault(seq, Kind.PERMANENT, wrong), None))
            else:
                well.append(seq)
                answers.append(value)
        return well, answers, faults, heard, busy_s


def assert_set_up(word: Word) -> None:
    """Raises `ValueError` unless this is the first frame of a process."""
    if word is not Word.SET_UP:
        raise ValueError(f"a process begins with SET_UP, not with {word.name}")


def settled(answer: object) -> object:
    """What a hook gives, awaited if need be, on a loop for it alone."""
    if not is_awaitable(answer):
        return answer

    async def wait() -> object:
        return await answer  # type: ignore[misc]

    return asyncio.run(wait())


def sendable(fault: Fault) -> tuple[Fault, str | None]:
    """The fault, with an error that another process can read, and the error's traceback as text."""
    error = fault.error
    trace = "".join(traceback.format_exception(error)) if error.__traceback__ is not None else None
    try:
        load(dump(fault))
    except BaseException:
        state = fault.state
        try:
            load(dump(state))
        except BaseException:
            state = None
        fault = msgspec.structs.replace(fault, error=_stand_in(error), state=state)
    return fault, trace


def told_of(error: BaseException) -> tuple[BaseException, str | None]:
    """An error that another process can read, and its traceback as text."""
    fault, trace = sendable(Fault(0, Kind.PERMANENT, error))
    return fault.error, trace


def _stand_in(error: BaseException) -> BaseException:
    stand_in = RemoteError(name_of(error), message_of(error))
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, str):
            stand_in.add_note(note)
    return stand_in
