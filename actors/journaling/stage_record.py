"""A stage's share of the journal: what it tells, what earlier lives of the run have told, and what waits to be durable.

State only; the stage decides. Where there is no journal, nothing is known, nothing is told and nothing waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .. import protocol
from ..actor import Context, Ref
from ..errors import InternalError
from ..protocol import Ended, Fault, Seqs
from ..rows.identity import Id
from .recovered import Answer


class Known(msgspec.Struct):
    """Rows that came, by what is known of them: nothing (`rest`), their `answers`, how they `ended`, or that they are
    pending: with their state, and in how many seconds they are to be asked about."""

    rest: tuple[list[Id], list[Any]]
    answered: tuple[list[Id], list[Any], list[Any]]
    """Who, what was answered, and to what."""
    attempts: dict[Id, int]
    ended: list[Ended]
    pending: list[tuple[Id, Any, Any, float]]
    """Who, its value, the state, the seconds."""


UNKEPT_MAX = 10
"""When so many answers of a stage cannot be kept and none could be, its function is to blame, and no single row."""


class NothingKept(Exception):
    """No answer of a stage can be kept in the journal, so that each call would be paid for in vain."""


class Unkept(msgspec.Struct, frozen=True):
    """An answer that cannot be kept in the journal. `index`: its place among those that came with it; `error`: why."""

    index: int
    error: Exception


class Leaving(msgspec.Struct, frozen=True):
    """Rows that go on when their answers are durable."""

    seqs: Seqs
    values: list[Any]
    rows: list[Any]
    attempts: dict[Id, int] | None


def _as_it_is(value: Any) -> Any:
    return value


class Encoders(msgspec.Struct, frozen=True):
    """How an answer, and the state of a pending row, are written down. Whoever gets a value next may change it, so this is
    done before."""

    answer: Callable[[Any], Any] = _as_it_is
    state: Callable[[Any], Any] = _as_it_is


class StageRecord:
    """It does what the module says. `known`: answers of an earlier life; `parked`: rows that were pending in it, with
    their state and when they are due. `holds`: rows go on only when their answers are durable."""

    def __init__(
        self,
        stage: str,
        journal: Ref | None = None,
        keeps: Encoders | None = None,
        known: Mapping[Id, Answer] | None = None,
        parked: Mapping[Id, tuple[Any, float]] | None = None,
        *,
        holds: bool = False,
    ) -> None:
        self._stage = stage
        self._journal = journal
        self._keeps = keeps or Encoders()
        self._known = dict(known or {})
        self._parked = dict(parked or {})
        self._leaving: deque[Leaving] | None = deque() if holds and journal is not None else None
        self._context: Context
        self._unkept_first: int | None = 0
        """Answers that could not be kept, while none has been; None from the first one on that was kept."""
        self.held = 0
        """Rows whose answers are not durable yet, and which wait for that."""

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    # --- what was told in earlier lives ---

    @property
    def remembers(self) -> bool:
        """Something is known of rows that may come."""
        return bool(self._known or self._parked)

    def recall(self, seqs: Seqs, values: list[Any]) -> Known:
        """What is known of these rows, which is then forgotten (L26)."""
        found = Known(([], []), ([], [], []), {}, [], [])
        for seq, value in zip(seqs, values, strict=True):
            known = self._known.pop(seq, None)
            if known is None:
                parked = self._parked.pop(seq, None)
                if parked is not None:
                    found.pending.append((seq, value, *parked))
                else:
                    found.rest[0].append(seq)
                    found.rest[1].append(value)
            elif known.ended is not None:
                found.ended.append(msgspec.structs.replace(known.ended, value=value))
            else:
                for column, each in zip(found.answered, (seq, known.value, value), strict=True):
                    column.append(each)
                if known.attempts > 1:
                    found.attempts[seq] = known.attempts
        return found

    # --- what is told ---

    def keep(self, values: list[Any]) -> tuple[list[Any], list[Unkept]]:
        """The answers as the journal keeps them, and those among them that it cannot keep, in whose place None stands (L62).

        Raises `NothingKept` where no answer of this stage could be kept so far, and too many could not.
        """
        if self._journal is None:
            return values, []
        keep = self._keeps.answer
        try:
            kept = list(map(keep, values))
        except Exception:
            kept, unkept = self._keep_each(values)
        else:
            unkept = []
        if self._unkept_first is not None and values:
            self._unkept_first = self._unkept_first + len(unkept) if len(unkept) == len(values) else None
            if self._unkept_first is not None and self._unkept_first >= UNKEPT_MAX:
                first = unkept[0].error
                raise NothingKept(
                    f"stage {self._stage!r}: none of its first {self._unkept_first} answers can be kept: {first}"
                ) from first
        return kept, unkept

    def _keep_each(self, values: list[Any]) -> tuple[list[Any], list[Unkept]]:
        kept: list[Any] = []
        unkept: list[Unkept] = []
        for index, value in enumerate(values):
            try:
                kept.append(self._keeps.answer(value))
            except Exception as error:
                kept.append(None)
                unkept.append(Unkept(index, error))
        return kept, unkept

    def answered(
        self,
        seqs: Seqs,
        values: list[Any],
        kept: list[Any],
        rows: list[Any],
        attempts: dict[Id, int] | None,
        took_s: float,
    ) -> bool:
        """These rows were answered so, and the journal is to keep the answers as `kept`. False: they wait here until that
        is durable."""
        if self._journal is None:
            return True
        reply_to = self._context.me if self._leaving is not None else None
        answers = protocol.Answers(self._stage, seqs, kept, attempts, self._context.now(), took_s, reply_to)
        self._context.tell(self._journal, answers)
        if self._leaving is None:
            return True
        self._leaving.append(Leaving(seqs, values, rows, attempts))
        self.held += len(seqs)
        return False

    def kept(self, n: int) -> list[Leaving]:
        """The oldest `n` answers are durable; who may go on."""
        if self._leaving is None:
            raise InternalError("a journal answers only whom it was told to")
        gone = [self._leaving.popleft() for _ in range(n)]
        self.held -= sum(len(leaving.seqs) for leaving in gone)
        return gone

    def answered_last(self, seqs: Seqs, values: list[Any]) -> None:
        """Nobody goes on with it in this life, but it was paid for (L26)."""
        if self._journal is None or not seqs:
            return
        kept, unkept = self._keep_each(values)
        if unkept:
            # The run has its error. What cannot be kept is called again in the next life, and told then.
            bad = {each.index for each in unkept}
            seqs = [seq for index, seq in enumerate(seqs) if index not in bad]
            kept = [each for index, each in enumerate(kept) if index not in bad]
        if kept:
            self._context.tell(self._journal, protocol.Answers(self._stage, seqs, kept, None, self._context.now()))

    def failed(self, faults: list[Fault], took_s: float) -> None:
        """Write down calls that did not answer."""
        if self._journal is not None:
            self._context.tell(self._journal, protocol.Faulted(self._stage, faults, self._context.now(), took_s))

    def metered(self, spent: tuple[protocol.Spent, ...]) -> None:
        """Calls took so much; told before what came of them, so that no answer is kept without what it cost."""
        if self._journal is not None and spent:
            self._context.tell(self._journal, protocol.Metered(self._stage, {each.unit: each.amount for each in spent}))

    def parked(self, seq: Id, state: Any, after_s: float) -> None:
        """This row is pending. Raises what its state raises where that cannot be kept."""
        if self._journal is not None:
            kept, now = self._keeps.state(state), self._context.now()
            self._context.tell(self._journal, protocol.Parked(self._stage, seq, kept, now, after_s))

    def cooled(self, until_s: float, closure: protocol.Closure) -> None:
        """Write down that the governor of the stage has closed."""
        if self._journal is not None:
            self._context.tell(self._journal, protocol.Cooled(self._stage, self._context.now(), until_s, closure))
