"""Calls in a worker process: one worker's, which has one process at a time.

An assignment is sent whole, and told in parts as they come. Where the process ends in between, whatever the cause, the
answers that it had written are told; the call that it was in is unknown, as are those that it had ended less than 0.1 ms
before; all others were not begun. The next assignment gets a new process. A call that takes longer than its time-out is
ended by ending its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from headrace.actors import protocol
from headrace.actors.actor import Ref
from headrace.actors.protocol import Answered, Fault, Kind
from headrace.actors.rows.identity import Id
from headrace.actors.stages.terms import AttemptTimedOut
from headrace.actors.worker import Progress, Tell

from ...errors import BadInput, ProcessDied, name_of
from ...text import message_of, told
from .pool import Pool, RemoteTraceback, error_of
from .process import Process
from .wire import Word, dump, load

Packed = list[tuple[int, int, bytes]]
"""The rows of an assignment as they are sent: index of the first, how many, pickle."""


class _Work:
    """An assignment in hand. `at`: the index of the first row that has not been told, nor been found unfit to be sent."""

    __slots__ = ("assign", "at", "left", "tell", "unfit", "worker")

    def __init__(self, assign: protocol.Assign, worker: Ref, tell: Tell) -> None:
        self.assign = assign
        self.worker = worker
        self.tell = tell
        self.at = 0
        self.left = len(assign.values)
        self.unfit: set[int] = set()


class ProcessCalls:
    """One worker's calls. `timeout_s`: of one attempt. `begins`: called with each row before it is sent; what it raises is
    the row's error."""

    def __init__(
        self, pool: Pool, timeout_s: float | None = None, begins: Callable[[Any], object] | None = None
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._begins = begins
        self._work: dict[int, _Work] = {}
        self._process: Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._unsent: list[tuple[Word, bytes]] = []
        self._watching: asyncio.TimerHandle | None = None
        self._overdue: tuple[int, int] | None = None
        self._over = False

    # --- on the worker's thread ---

    def begin(self, assign: protocol.Assign, worker: Ref, tell: Tell) -> None:
        gone = _withdrawn(assign, self._begins) if self._begins is not None else {}
        if gone:
            packed, faults = _one_by_one(assign, [i for i in range(len(assign.values)) if i not in gone])
            faults += gone.items()
        else:
            packed, faults = _packed(assign, range(len(assign.values)))
        self._pool.home.call_soon(self._begin, _Work(assign, worker, tell), packed, faults)

    def recall(self) -> None:
        self._pool.home.call_soon(self._recall)

    def cancel(self) -> None:
        self._pool.home.call_soon(self._end)

    def progress(self) -> Progress | None:
        return None

    def dispose(self) -> None:
        self._pool.home.call_soon(self._end)

    # --- on the loop ---

    def _begin(self, work: _Work, packed: Packed, faults: list[tuple[int, Fault]]) -> None:
        if self._over or self._pool.broken or self._pool.closed:
            # Nobody waits for it: the run is about to end.
            return
        self._work[work.assign.id] = work
        for first, rows, blob in packed:
            self._send(Word.WORK, dump((work.assign.id, first, rows, blob)))
        if faults:
            self._tell_unfit(work, faults)
        self._watch()

    def _recall(self) -> None:
        if self._process is not None:
            self._process.send(Word.RECALL)

    def _send(self, word: Word, body: bytes) -> None:
        if self._process is not None:
            self._process.send(word, body)
            return
        self._unsent.append((word, body))
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        try:
            process = await self._pool.begin(self)
        except OSError as error:
            self._starting = None
            self._on_lost(f"cannot be started: {told(error)}", None)
            return
        self._starting = None
        if process.over:
            return
        self._process = process
        unsent, self._unsent = self._unsent, []
        for word, body in unsent:
            process.send(word, body)
        if self._over:
            process.kill()

    def _end(self) -> None:
        self._over = True
        self._unwatch()
        if self._process is None:
            return
        if self._work:
            self._process.kill()
        else:
            # It is closed with the others.
            self._process.owner = self._pool

    # --- what the process says ---

    def heard(self, process: Process, word: Word, body: bytes) -> None:
        match word:
            case Word.PART:
                self._on_part(*load(body))
            case Word.RETURNED:
                id_, first, end = load(body)
                self._give_back(self._work[id_], range(first, end))
            case Word.UNREAD:
                self._on_unread(*load(body))
            case _:
                self._pool.general(process, word, body)

    def died(self, process: Process, how: str) -> None:
        begun = process.page.read()
        self._process = None
        self._pool.gone(process, how)
        self._on_lost(f"(process {process.pid}) {how}", (begun.id, begun.row))

    def _on_part(self, id_: int, first: int, rows: int, packed: bytes) -> None:
        work = self._work[id_]
        try:
            seqs, values, said, heard, busy_s = load(packed)
        except Exception as error:
            # The process could read them, but it is another one.
            wrong = BadInput(f"the answer of a worker process cannot be read: {name_of(error)}: {message_of(error)}")
            wrong.__cause__ = error
            lost = [Fault(seq, Kind.PERMANENT, wrong) for seq in work.assign.seqs[first : first + rows]]
            seqs, values, said, heard, busy_s = [], [], [(fault, None) for fault in lost], (), 0.0
        faults = []
        for fault, trace in said:
            if trace is not None and fault.error.__cause__ is None:
                fault.error.__cause__ = RemoteTraceback(trace)
            faults.append(fault)
        work.at = first + rows
        self._tell(work, rows, seqs, values, faults, (), busy_s, heard)

    def _give_back(self, work: _Work, rows: range) -> None:
        """These rows were not begun."""
        seqs = [work.assign.seqs[index] for index in rows if index not in work.unfit]
        work.at = rows.stop
        self._tell(work, len(seqs), [], [], [], seqs)

    def _on_unread(self, id_: int, first: int, rows: int, said: Any) -> None:
        work, error = self._work[id_], error_of(said)
        if rows > 1:
            packed, faults = _one_by_one(work.assign, range(first, first + rows))
            for at, n, blob in packed:
                self._send(Word.WORK, dump((id_, at, n, blob)))
            if faults:
                self._tell_unfit(work, faults)
            return
        wrong = BadInput(
            f"the row cannot be read in a worker process: {name_of(error)}: {message_of(error)}; give plain data to the "
            f"stage, or objects that can be pickled"
        )
        wrong.__cause__ = error
        self._tell_unfit(work, [(first, Fault(work.assign.seqs[first], Kind.PERMANENT, wrong))])

    def _tell_unfit(self, work: _Work, faults: list[tuple[int, Fault]]) -> None:
        work.unfit.update(index for index, _ in faults)
        self._tell(work, len(faults), [], [], [fault for _, fault in faults])

    def _tell(
        self,
        work: _Work,
        rows: int,
        seqs: list[Id],
        values: list[object],
        faults: list[Fault],
        unstarted: Any = (),
        busy_s: float = 0.0,
        heard: Any = (),
    ) -> None:
        work.left -= rows
        if not work.left:
            del self._work[work.assign.id]
        work.tell(Answered(work.assign.id, work.worker, seqs, values, faults, unstarted, not work.left, busy_s, heard))

    # --- its end ---

    def _on_lost(self, how: str, begun: tuple[int, int] | None) -> None:
        overdue, self._overdue = self._overdue, None
        self._unsent.clear()
        self._unwatch()
        for work in list(self._work.values()):
            first = work.at
            if begun is not None and begun[0] == work.assign.id and begun[1] >= first:
                late = overdue == begun
                self._tell_lost(work, range(first, begun[1] + 1), how, late=late)
                first = begun[1] + 1
            if work.left:
                self._give_back(work, range(first, len(work.assign.seqs)))

    def _tell_lost(self, work: _Work, rows: range, how: str, *, late: bool) -> None:
        """The fate of these calls is unknown: the last was under way, the others had ended a moment before."""
        faults = []
        for index in rows:
            if index in work.unfit:
                continue
            seq = work.assign.seqs[index]
            if late and index == rows[-1]:
                slow = AttemptTimedOut(f"no answer within {self._timeout_s:g} s; its worker process was ended")
                faults.append(Fault(seq, Kind.UNKNOWN, slow))
            else:
                died = ProcessDied(f"the worker process of {self._pool.stage} {how} while it called this row")
                faults.append(Fault(seq, Kind.UNKNOWN, died, crashed=True))
        self._tell(work, len(faults), [], [], faults)

    # --- time ---

    def _unwatch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _watch(self) -> None:
        """See to it that a call that takes too long is ended."""
        if self._timeout_s is None or self._watching is not None or not self._work:
            return
        self._watching = asyncio.get_running_loop().call_later(self._timeout_s, self._look)

    def _look(self) -> None:
        self._watching = None
        process, timeout_s = self._process, self._timeout_s
        if timeout_s is None or not self._work:
            return
        loop = asyncio.get_running_loop()
        if process is None:
            self._watching = loop.call_later(timeout_s, self._look)
            return
        begun = process.page.read()
        work = self._work.get(begun.id)
        left_s = timeout_s
        if work is not None and begun.row >= work.at:
            left_s = begun.at_s + timeout_s - loop.time()
            if left_s <= 0.0:
                self._overdue = (begun.id, begun.row)
                process.kill()
                return
        self._watching = loop.call_later(left_s, self._look)


def _withdrawn(assign: protocol.Assign, begins: Callable[[Any], object]) -> dict[int, Fault]:
    """The rows that are not to be called any more, by their index."""
    gone: dict[int, Fault] = {}
    for index, value in enumerate(assign.values):
        try:
            begins(value)
        except BaseException as error:
            gone[index] = Fault(assign.seqs[index], Kind.PERMANENT, error)
    return gone


def _packed(assign: protocol.Assign, rows: range) -> tuple[Packed, list[tuple[int, Fault]]]:
    """These rows as they are sent, and what is wrong with those that cannot be."""
    try:
        return [(rows.start, len(rows), _blob(assign, rows))], []
    except Exception:
        return _one_by_one(assign, rows)


def _one_by_one(assign: protocol.Assign, rows: Iterable[int]) -> tuple[Packed, list[tuple[int, Fault]]]:
    packed: Packed = []
    faults: list[tuple[int, Fault]] = []
    for index in rows:
        try:
            packed.append((index, 1, _blob(assign, range(index, index + 1))))
        except Exception as error:
            wrong = BadInput(
                f"the row, of type {type(assign.values[index]).__name__}, cannot be sent to a worker process: "
                f"{name_of(error)}: {message_of(error)}; give plain data to the stage, or objects that can be pickled"
            )
            wrong.__cause__ = error
            faults.append((index, Fault(assign.seqs[index], Kind.PERMANENT, wrong)))
    return packed, faults


def _blob(assign: protocol.Assign, rows: range) -> bytes:
    seqs, values = assign.seqs[rows.start : rows.stop], assign.values[rows.start : rows.stop]
    attempts, states = assign.attempts, assign.states
    if len(rows) < len(assign.values):
        attempts = {seq: attempts[seq] for seq in seqs if seq in attempts} if attempts else None
        states = {seq: states[seq] for seq in seqs if seq in states} if states else None
    return dump((seqs, values, attempts, states))
