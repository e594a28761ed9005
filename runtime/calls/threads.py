"""Calls of sync functions, on the thread of their worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Context
from types import GeneratorType
from typing import TYPE_CHECKING

from headrace.actors import protocol
from headrace.actors.actor import Ref
from headrace.actors.protocol import Answered, Fault, Heard, Kind
from headrace.actors.rows.identity import Id, row_of, show
from headrace.actors.worker import Progress, Tell

from ..verdicts.classify import Classifier, fault_of
from .awaiting import Awaiting, Loop, is_settled
from .contexts import differ
from .current import CallInfo, Ear, _current

if TYPE_CHECKING:
    from ..verdicts.quotas import Reader

SLICE_S = 0.02
"""After so long, a worker gives back what is left of a chunk: its calls have become slower than the chunk was cut for."""
PART_S = 0.005
"""After so long, a worker tells what it has done of a chunk, and goes on with the rest."""


class ThreadCalls:
    """One worker's calls; `begin` returns when they are done."""

    def __init__(
        self,
        function: Callable[[object], object],
        prefix: str,
        timeout_s: float | None = None,
        classifier: Classifier | None = None,
        set_up: Callable[[], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        loop: Loop | None = None,
        context: Context | None = None,
        reader: Reader | None = None,
    ) -> None:
        """`set_up` is called once, on the worker's thread, before its first call. `loop`: where answers are awaited that a
        plain function gives as a coroutine (L68); without it, they are an error of their rows. `context`: each call runs in
        a copy of it (L73), or of an empty one. `reader`: of headers."""
        self._monotonic = monotonic
        self._set_up = set_up
        self._function = function
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._classifier = classifier
        self._awaiting = Awaiting(loop, timeout_s)
        self._assign: protocol.Assign | None = None
        self._results: list[object] = []
        self._began = 0.0
        self._reader = reader
        self._ears: dict[Id, Ear] = {}
        """Of the calls of the assignment in hand that have asked for it."""
        self._base = (context or Context()).copy()
        self._base.run(_current.set, self._info)
        self._context = self._base.copy()

    def begin(self, assign: protocol.Assign, worker: Ref, tell: Tell) -> None:
        if self._set_up is not None:
            set_up, self._set_up = self._set_up, None
            set_up()
        results: list[object] = []
        self._results = results
        self._assign = assign
        faults: list[Fault] = []
        told = 0
        told_at = began = self._began = self._monotonic()
        while self._context.run(self._call, assign, results, faults, told_at + PART_S):
            if differ(self._context, self._base):
                # What one row's call has set there is nothing to the next one's (L73).
                self._context = self._base.copy()
            now = self._monotonic()
            if now - began > SLICE_S:
                break
            if now - told_at > PART_S:
                tell(self._answered(assign, worker, told, faults, now - told_at, last=False))
                faults = []
                told, told_at = len(results), now
        if differ(self._context, self._base):
            self._context = self._base.copy()
        last = self._answered(assign, worker, told, faults, self._monotonic() - told_at, last=True)
        self._assign = None
        self._results = []
        tell(last)

    def _answered(
        self, assign: protocol.Assign, worker: Ref, told: int, faults: list[Fault], busy_s: float, *, last: bool
    ) -> Answered:
        """What is done of the assignment, less the first `told` rows. `faults`: of the others. `last`: no other part
        follows."""
        results, done = self._results, len(self._results)
        seqs: protocol.Seqs = assign.seqs
        if told or done < len(seqs):
            seqs, results = seqs[told:done], results[told:]
        answers = results
        if faults:
            well = [(s, v) for s, v in zip(seqs, results, strict=True) if type(v) is not Fault]
            seqs, answers = [s for s, _ in well], [v for _, v in well]
        heard = self._heard() if self._ears else ()
        unstarted = assign.seqs[done:] if last else ()
        times_s = _times_of(results, busy_s) if busy_s > 2 * PART_S and done - told > 1 else ()
        return Answered(assign.id, worker, seqs, answers, faults, unstarted, last, busy_s, heard, times_s)

    def _call(self, assign: protocol.Assign, results: list[object], faults: list[Fault], stop_at: float) -> bool:
        """Call, one after another, the rows that have no result yet. True: there are more, but a call has changed the
        context, or it is time to tell; else all are done, or a call was refused and the others must wait."""
        function, append, values = self._function, results.append, assign.values
        monotonic, context, base = self._monotonic, self._context, self._base
        # The type of the last answer: others of this type need not be looked at for coroutines. Most functions have one.
        plain: type | None = None
        changed = False
        n = len(values)
        while len(results) < n and not changed:
            try:
                for value in values[len(results) :] if results else values:
                    answer = function(value)
                    if type(answer) is not plain:
                        if is_settled(answer):
                            plain = type(answer) if type(answer) is not GeneratorType else None
                        else:
                            answer = self._awaiting.settled(answer)
                    append(answer)
                    try:
                        # As `differ`; 15 ns a row, since a context that nobody has changed has the table of its original.
                        changed = context != base
                    except BaseException:
                        changed = True
                    if changed or monotonic() > stop_at:
                        break
                else:
                    break
            except BaseException as error:
                fault = fault_of(assign.seqs[len(results)], error, self._classifier)
                faults.append(fault)
                append(fault)
                changed = differ(context, base)
                if fault.kind is Kind.REFUSED or fault.kind is Kind.EXHAUSTED:
                    return False
            if monotonic() > stop_at:
                break
        return len(results) < n

    def _info(self) -> CallInfo:
        assign = self._assign
        if assign is None:
            raise LookupError("no call is under way here")
        seq = assign.seqs[len(self._results)]
        attempt = (assign.attempts or {}).get(seq, 1)
        deadline = self._began + self._timeout_s if self._timeout_s is not None else None
        state = (assign.states or {}).get(seq)
        ear = self._ears.get(seq)
        if ear is None:
            # When a call of a chunk begins, nobody looks at the clock: not before the chunk.
            ear = self._ears[seq] = Ear(seq, self._began, self._monotonic, self._reader)
        return CallInfo(f"{self._prefix}:{show(seq)}", row_of(seq), attempt, deadline, state, ear)

    def _heard(self) -> tuple[Heard, ...]:
        ears, self._ears = self._ears, {}
        return tuple(heard for ear in ears.values() for heard in ear.heard)

    def recall(self) -> None:
        """Nothing to give back: what is in hand is being called."""

    def cancel(self) -> None:
        """A thread cannot be interrupted; its stage abandons it."""

    def progress(self) -> Progress | None:
        assign = self._assign
        return None if assign is None else Progress(assign.id, list(self._results))

    def dispose(self) -> None:
        self._assign = None
        self._results = []


def _times_of(results: list[object], busy_s: float) -> tuple[float, ...]:
    """About how long each call of a part took, where all but the last one were made within `PART_S`: so it is the last that
    was slow. Those that were answered come first."""
    before = len(results) - 1
    each_s = min(PART_S, busy_s / 2.0) / (before + 1)
    times = [each_s] * before + [busy_s - before * each_s]
    well = [took for took, result in zip(times, results, strict=True) if type(result) is not Fault]
    return (*well, *(took for took, result in zip(times, results, strict=True) if type(result) is Fault))
