"""What the workers of a stage have in hand: each assignment from the moment it is given to the answer of its last row.

State only; the stage decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..actor import Ref
from ..errors import InternalError
from ..protocol import Answered, Epoch, Fault, Kind, Seqs
from ..rows.identity import Id
from ..worker import Progress
from .dispatch import Dispatch
from .key_queue import KeyQueue


class Assignment(msgspec.Struct):
    """Rows that a worker was told to call about, on permits of an epoch."""

    worker: Ref
    queue: KeyQueue
    epoch: Epoch
    seqs: Seqs
    values: list[Any]
    since_s: float = 0.0
    """When the oldest of its permits came."""
    open: set[Id] | None = None
    """Rows not yet answered; None as long as no part of it was."""
    by_seq: dict[Id, Any] | None = None

    def rows_of(self, seqs: Seqs) -> list[Any]:
        """What was asked about these of its rows."""
        if self.by_seq is None:
            self.by_seq = dict(zip(self.seqs, self.values, strict=True))
        return [self.by_seq[seq] for seq in seqs]

    def value_of(self, seq: Id) -> Any:
        """What was asked about this one."""
        return self.values[self.seqs.index(seq)]


class Assignments:
    """Those of one stage. `in_flight`: their rows that are not answered. `most`: assignments that were under way at once.
    `late`: answers that nobody waited for (L05)."""

    def __init__(self) -> None:
        self._under_way: dict[int, Assignment] = {}
        self._next = 1
        self.in_flight = 0
        self.in_flight_max = 0
        self.most = 0
        self.late = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[Assignment]:
        return iter(self._under_way.values())

    def get(self, id_: int) -> Assignment | None:
        """None if all of it was answered."""
        return self._under_way.get(id_)

    def begin(self, worker: Ref, queue: KeyQueue, seqs: Seqs, values: list[Any]) -> int:
        """The number of a new one."""
        id_ = self._next
        self._next += 1
        self._under_way[id_] = Assignment(worker, queue, queue.epoch, seqs, values, queue.held_since_s)
        self.in_flight += len(seqs)
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        self.most = max(self.most, len(self._under_way))
        return id_

    def settle(self, answered: Answered) -> tuple[Assignment, Answered] | None:
        """Whose answer that is, and what of it is news; None where nobody waits for it any more."""
        assignment = self._under_way.get(answered.id)
        if assignment is None:
            self.late += len(answered.seqs) + len(answered.faults)
            return None
        if assignment.open is not None:
            answered = self._news(answered, assignment.open)
        seqs, faults, unstarted = answered.seqs, answered.faults, answered.unstarted
        gone = len(seqs) + len(faults) + len(unstarted)
        if answered.complete and assignment.open is None:
            if gone != len(assignment.seqs):
                raise InternalError("an assignment's answer must name each of its rows once")
            del self._under_way[answered.id]
        else:
            if assignment.open is None:
                assignment.open = set(assignment.seqs)
            assignment.open.difference_update(seqs, (fault.seq for fault in faults), unstarted)
            if not assignment.open:
                del self._under_way[answered.id]
        self.in_flight -= gone
        assignment.queue.in_flight -= gone
        return assignment, answered

    def _news(self, answered: Answered, open_rows: set[Id]) -> Answered:
        """A part of an assignment's answer, less what another part has told: an answer that comes twice counts once."""
        faults = answered.faults
        if open_rows.issuperset(answered.seqs) and (not faults or open_rows.issuperset(f.seq for f in faults)):
            return answered
        new = [(s, v) for s, v in zip(answered.seqs, answered.values, strict=True) if s in open_rows]
        new_faults = [fault for fault in faults if fault.seq in open_rows]
        self.late += len(answered.seqs) + len(faults) - len(new) - len(new_faults)
        return msgspec.structs.replace(
            answered,
            seqs=[s for s, _ in new],
            values=[v for _, v in new],
            faults=new_faults,
            unstarted=[s for s in answered.unstarted if s in open_rows],
            heard=tuple(heard for heard in answered.heard if heard.seq in open_rows),
            times_s=(),
        )

    def of(self, worker: Ref) -> list[int]:
        """Those that this worker has in hand."""
        return [id_ for id_, assignment in self._under_way.items() if assignment.worker == worker]

    def drop(self, worker: Ref | None = None) -> None:
        """Nobody waits for them any more: those of a worker, or all."""
        for id_ in self.of(worker) if worker is not None else list(self._under_way):
            del self._under_way[id_]

    def inherited(self, id_: int, error: BaseException, salvage: Progress | None, dispatch: Dispatch) -> Answered:
        """What a lost worker leaves: its results stand, the call it was in is unknown, the rest was not begun. A worker with
        several calls in flight at once leaves no results, and any of its calls may have been under way."""
        assignment = self._under_way[id_]
        unanswered = assignment.open
        done: list[Id] = []
        values: list[Any] = []
        faults: list[Fault] = []
        results = salvage.results if salvage is not None and salvage.id == id_ else None
        for seq, result in zip(assignment.seqs, results or (), strict=False):
            if unanswered is not None and seq not in unanswered:
                # It was told before.
                continue
            if isinstance(result, Fault):
                faults.append(result)
            else:
                done.append(seq)
                values.append(result)
        rest: list[Id] = [
            seq for seq in assignment.seqs[len(results or ()) :] if unanswered is None or seq in unanswered
        ]
        if results is None and not dispatch.blocking:
            faults.extend(Fault(seq, Kind.UNKNOWN, error) for seq in rest)
            rest = []
        elif rest:
            faults.append(Fault(rest[0], Kind.UNKNOWN, error))
            rest = rest[1:]
        return Answered(id_, assignment.worker, done, values, faults, rest, complete=False, busy_s=0.0)
