"""The conductor: a run's life, from the first `Open` to the last `Closed`.

    NEW → OPENING → RUNNING → CLOSING → ENDED
                       ↓ Drain  ↑
                    DRAINING ---+
    Where there is a journal and all rows came through, SETTLING comes before CLOSING.
    any of them, on Abort or Failing → ABANDONING (something is still opening) or ABORTING → CLOSING

and then the run is COMPLETED, DRAINED (the source was stopped before its end), ABORTED, SUSPENDED or FAILED.

Told: `Start`, `Drain`, `Abort` by the caller; `Opened`, `Closed` by resources; `Drained`, `Failing`, `MadeDurable` and
`AccountClosed` by actors; `Died` by the host. Tells: `Open`, `Close` to resources; `Start`, `Drain`, `Abort` to actors;
`MakeDurable` to the journal; `Unregister` to the governors of stages that died; `RunEnded` to the caller.

Promises: resources open one after another, and each one that was opened (also when a later one's opening failed, L21)
is closed once (L17, L18), in the reverse order. No output is closed as complete before the journal has all of it. The first
error is the run's; what goes wrong afterwards is a note on
it (L19). One terminal state, entered once (L20), reached in time whatever is dead or hangs: every step has a deadline.

This file is long by a few lines: it is one state machine, and each of its steps has a deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import assert_never

import msgspec

from . import protocol
from .actor import Actor, Ref
from .errors import HeadraceError, InternalError
from .protocol import Counts, Message, State
from .states import StateMachine, Table
from .text import add_note, told


class LifeTerms(msgspec.Struct, frozen=True):
    """Deadlines in seconds. `drain_s` None: as long as it takes. `settle_s`: for the journal's last commits.
    `suspend_s`: of a run with only pending rows left."""

    open_s: float = 60.0
    drain_s: float | None = None
    abort_s: float = 5.0
    close_s: float = 5.0
    settle_s: float = 60.0
    suspend_s: float | None = None


class ActorDied(HeadraceError, RuntimeError):
    """An actor of the run ended on its own: a bug, or somebody stopped it."""


class Overdue(HeadraceError, TimeoutError):
    """A step of the run's life took longer than its deadline."""


class Phase(Enum):
    """What a conductor waits for.

    NEW: for `Start`. OPENING: for a resource to open. ABANDONING: the same, though the run has been aborted. RUNNING: for
    the end of all rows. DRAINING: the same, though the source gives no more. SETTLING: for the journal, since all rows are
    written. ABORTING: for all to stop. CLOSING: for a resource to close, or the account. ENDED: for nothing.
    """

    NEW = auto()
    OPENING = auto()
    ABANDONING = auto()
    RUNNING = auto()
    DRAINING = auto()
    SETTLING = auto()
    ABORTING = auto()
    CLOSING = auto()
    ENDED = auto()


PHASES: Table[Phase] = MappingProxyType(
    {
        Phase.NEW: frozenset({Phase.OPENING, Phase.CLOSING}),
        Phase.OPENING: frozenset({Phase.ABANDONING, Phase.RUNNING, Phase.CLOSING}),
        Phase.ABANDONING: frozenset({Phase.CLOSING}),
        Phase.RUNNING: frozenset({Phase.DRAINING, Phase.SETTLING, Phase.ABORTING, Phase.CLOSING}),
        Phase.DRAINING: frozenset({Phase.ABORTING, Phase.CLOSING}),
        Phase.SETTLING: frozenset({Phase.CLOSING}),
        Phase.ABORTING: frozenset({Phase.CLOSING}),
        Phase.CLOSING: frozenset({Phase.ENDED}),
        Phase.ENDED: frozenset(),
    }
)
_SHOWN: Mapping[Phase, State] = MappingProxyType(
    {
        Phase.OPENING: State.OPENING,
        Phase.RUNNING: State.RUNNING,
        Phase.DRAINING: State.DRAINING,
        Phase.CLOSING: State.CLOSING,
    }
)
"""How the run stands then, to those who look at it; in the other phases, as it did before."""


class _Lull(protocol.Control, frozen=True):
    number: int


class _StepOverdue(protocol.Control, frozen=True):
    step: int


Told = (
    protocol.Start
    | protocol.Drain
    | protocol.Abort
    | protocol.Opened
    | protocol.Closed
    | protocol.Drained
    | protocol.Failing
    | protocol.Died
    | protocol.AccountClosed
    | protocol.MadeDurable
    | protocol.Resting
    | _Lull
    | _StepOverdue
)


class Participants(msgspec.Struct):
    """Who takes part, each list in the direction of the rows."""

    resources: list[Ref]
    source: Ref
    line: list[Ref]
    """Nodes and reorder buffers: those that drain."""
    ledger: Ref
    """Who closes the account: the ledger, or the journal in front of it."""
    others: list[Ref]
    """Those that are only told of start and end: the run's own governors, and the ledger behind a journal."""
    stages: dict[Ref, Ref] = {}
    """Those who may have pending rows, each with the governor that gives it permits."""
    keeper: Ref | None = None
    """Who keeps the journal: it was open before the run began, and is closed after all else."""


class Conductor(Actor):
    """Owns the life of one run; the module says how."""

    def __init__(self, caller: Ref, terms: LifeTerms) -> None:
        self._caller = caller
        self._terms = terms
        self._cast: Participants | None = None
        self._early: list[protocol.Died] = []  # Deaths while the run was being put together.
        self._dead: set[Ref] = set()  # They are told to close, since all are, and not waited for.
        self._phase = StateMachine("a conductor", PHASES, Phase.NEW)
        self._state = State.NEW
        self._outcome = State.COMPLETED
        self._opened: list[Ref] = []
        self._to_open: list[Ref] = []
        self._to_close: list[Ref] = []
        self._pending: Ref | None = None
        self._drained: set[Ref] = set()
        self._errors: list[BaseException] = []
        self._notes: list[str] = []
        self._counts = Counts()
        self._step = 0
        self._resting: dict[Ref, int] = {}
        self._lull = 0
        self._in_lull = False

    def set_participants(self, cast: Participants) -> None:
        """Before `Start`: the actors exist only after their conductor does."""
        self._cast = cast

    @property
    def _all(self) -> Participants:
        if self._cast is None:
            raise InternalError("a conductor is given its cast before it starts")
        return self._cast

    def receive(self, message: Told) -> None:
        if self._state.terminal:
            return
        match message:
            case protocol.Drained(who):
                self._drained.add(who)
                self._close_if_drained()
                self._look_for_lull()
            case protocol.Resting(who, parked):
                if parked is None:
                    self._resting.pop(who, None)
                else:
                    self._resting[who] = parked
                self._look_for_lull()
            case _Lull(number):
                if number == self._lull and self._in_lull and self._is_on():
                    parked = sum(self._resting.values())
                    self._abort(None, f"suspended: {parked} rows are pending; resume the run later", State.SUSPENDED)
            case protocol.Start():
                self._on_start()
            case protocol.Opened(resource, error):
                self._on_opened(resource, error)
            case protocol.Closed(resource, error):
                self._on_closed(resource, error)
            case protocol.Drain():
                self._on_drain()
            case protocol.Abort(reason, error):
                self._abort(error, reason, State.ABORTED)
            case protocol.Failing(_, error, drain):
                self._on_failing(error, drain=drain)
            case protocol.Died() if self._cast is None:
                self._early.append(message)
            case protocol.Died(who, error):
                self._on_died(who, error)
            case protocol.MadeDurable():
                if self._phase.now is Phase.SETTLING:
                    self._close()
            case protocol.AccountClosed(counts, open_rows):
                self._on_account_closed(counts, open_rows)
            case _StepOverdue(step):
                if step == self._step:
                    self._on_overdue()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _go(self, phase: Phase) -> None:
        self._phase.go(phase)
        self._state = _SHOWN.get(phase, self._state)

    def _is_on(self) -> bool:
        """Rows go through, and nobody has said that they shall not."""
        return self._phase.now is Phase.RUNNING or self._phase.now is Phase.DRAINING

    # --- opening ---

    def _on_start(self) -> None:
        if self._phase.now is Phase.NEW:
            self._go(Phase.OPENING)
            self._to_open = list(self._all.resources)
        while self._early:
            self.receive(self._early.pop(0))
        if self._phase.now is Phase.OPENING:
            self._open_next()

    def _open_next(self) -> None:
        if not self._to_open:
            self._go(Phase.RUNNING)
            self._begin_step(None)
            for ref in (self._all.ledger, *self._all.others, *self._all.line, self._all.source):
                self.context.tell(ref, protocol.Start())
            return
        self._pending = self._to_open.pop(0)
        self._begin_step(self._terms.open_s)
        self.context.tell(self._pending, protocol.Open(self.context.me))

    def _on_opened(self, resource: Ref, error: BaseException | None) -> None:
        if error is None:
            self._opened.append(resource)
        if resource != self._pending:
            # Came after its deadline, or during an abort: it is open, so it is closed with the others.
            if error is None and self._phase.now is Phase.CLOSING:
                self._to_close.append(resource)
            return
        self._pending = None
        if self._phase.now is Phase.ABANDONING:
            if error is not None:
                self._blame(error)
            self._close()
        elif error is not None:
            self._abort(error, None, State.FAILED)
        elif self._phase.now is Phase.OPENING:
            self._open_next()

    # --- ending ---

    def _on_drain(self) -> None:
        match self._phase.now:
            case Phase.RUNNING:
                self._go(Phase.DRAINING)
                self._outcome = State.DRAINED
                self._begin_step(self._terms.drain_s)
                self.context.tell(self._all.source, protocol.Drain())
            case Phase.NEW | Phase.OPENING:
                self._abort(None, "drained before it began", State.DRAINED)
            case _:
                # It must not take the place of an abort, whose deadline would be forgotten.
                pass

    def _on_failing(self, error: BaseException, *, drain: bool) -> None:
        if not drain or not self._is_on():
            self._abort(error, None, State.FAILED)
            return
        # The others may finish what they have, and then it is over.
        self._blame(error)
        if self._phase.now is Phase.RUNNING:
            self._on_drain()
        self._outcome = State.FAILED

    def _look_for_lull(self) -> None:
        """Nothing is left to do but to ask again about rows that are pending."""
        suspend_s = self._terms.suspend_s
        if suspend_s is None or not self._is_on():
            return
        lull = (
            (self._all.source in self._drained or self._all.source in self._resting)
            and all(ref in self._resting or ref in self._drained for ref in self._all.stages)
            and any(self._resting.values())
        )
        if lull and not self._in_lull:
            self._lull += 1
            self.context.after(suspend_s, _Lull(self._lull))
        self._in_lull = lull

    def _close_if_drained(self) -> None:
        aborting = self._phase.now is Phase.ABORTING
        if not aborting and not self._is_on():
            return
        awaited = self._all.line if aborting else [self._all.source, *self._all.line]
        if not all(ref in self._drained for ref in awaited):
            return
        if self._outcome is State.COMPLETED and self._all.keeper is not None:
            self._go(Phase.SETTLING)
            self._begin_step(self._terms.settle_s)
            self.context.tell(self._all.ledger, protocol.MakeDurable(self.context.me))
        else:
            self._close()

    def _abort(self, error: BaseException | None, reason: str | None, outcome: State) -> None:
        if error is not None:
            self._blame(error)
        if reason is not None:
            self._notes.append(reason)
        if self._phase.now in (Phase.ABANDONING, Phase.ABORTING, Phase.CLOSING):
            return
        self._outcome = outcome
        if self._phase.now is Phase.SETTLING:
            # All others have ended already.
            self._close()
            return
        if self._phase.now in (Phase.NEW, Phase.OPENING):
            if self._pending is None:
                self._close()
            else:
                # It may open yet, and is then to be closed.
                self._go(Phase.ABANDONING)
                self._begin_step(self._terms.abort_s)
            return
        self._go(Phase.ABORTING)
        self._begin_step(self._terms.abort_s)
        for ref in (self._all.source, *self._all.line):
            self.context.tell(ref, protocol.Abort(reason or "the run failed"))

    def _blame(self, error: BaseException) -> None:
        """First error first: later ones are notes on it (L19)."""
        if not self._errors:
            self._errors.append(error)
        elif error is not self._errors[0]:
            self._notes.append(f"then: {told(error)}")

    def _on_died(self, who: Ref, error: BaseException) -> None:
        died = ActorDied(f"{who.name} died: {told(error)}")
        died.__cause__ = error
        self._dead.add(who)
        self._discharge(who)
        if who == self._pending and self._phase.now in (Phase.OPENING, Phase.ABANDONING):
            self._on_opened(who, died)
        elif who in self._to_close or who == self._pending:
            self._blame(died)
            self._on_closed(who, None)
        elif self._phase.now is not Phase.CLOSING:
            self._abort(died, None, State.FAILED)
            self._drained.add(who)
            self._close_if_drained()
        else:
            self._blame(died)

    def _discharge(self, stage: Ref) -> None:
        """A stage that cannot say so itself is gone: others may have its permits, where they share a governor (L16)."""
        governor = self._all.stages.get(stage)
        if governor is not None:
            self.context.tell(governor, protocol.Unregister(stage))

    def _close(self) -> None:
        self._go(Phase.CLOSING)
        self._to_close = list(self._opened)
        self._close_next()

    def _close_next(self) -> None:
        if not self._to_close:
            self._pending = None
            self._begin_step(self._terms.abort_s)
            complete = self._outcome is State.COMPLETED
            self.context.tell(self._all.ledger, protocol.CloseAccount(self.context.me, complete))
            return
        self._pending = self._to_close.pop()
        self._begin_step(self._terms.close_s)
        complete = self._outcome is State.COMPLETED
        self.context.tell(self._pending, protocol.Close(self.context.me, complete))
        if self._pending in self._dead:
            self._close_next()

    def _on_closed(self, resource: Ref, error: BaseException | None) -> None:
        if error is not None:
            # Fails nothing that had succeeded (L17), but is not hidden either.
            self._notes.append(f"closing {resource.name}: {told(error)}")
        if resource == self._pending and self._phase.now is Phase.CLOSING:
            if resource == self._all.keeper:
                self._finish()
            else:
                self._close_next()

    def _on_account_closed(self, counts: Counts, open_rows: int) -> None:
        self._counts = counts
        if open_rows and self._outcome in (State.COMPLETED, State.DRAINED):
            self._blame(AssertionError(f"{open_rows} rows have no outcome at the end of a run that went well"))
            self._outcome = State.FAILED
        self._close_keeper()

    def _close_keeper(self) -> None:
        if self._errors and self._outcome in (State.COMPLETED, State.DRAINED):
            # Somebody died, or the journal could not keep the last of it, while all was being closed.
            self._outcome = State.FAILED
        keeper = self._all.keeper
        if keeper is None:
            self._finish()
            return
        self._pending = keeper
        self._begin_step(self._terms.close_s)
        self.context.tell(keeper, protocol.Close(self.context.me, self._outcome is State.COMPLETED))
        if keeper in self._dead:
            self._finish()

    def _finish(self) -> None:
        self._go(Phase.ENDED)
        self._state = self._outcome
        self._begin_step(None)
        for stage in [ref for ref in self._all.stages if ref not in self._drained]:
            self._discharge(stage)
        for note in self._notes:
            for error in self._errors:
                add_note(error, note)
        self.context.tell(
            self._caller, protocol.RunEnded(self._state, self._counts, list(self._errors), list(self._notes))
        )

    # --- time ---

    def _begin_step(self, deadline_s: float | None) -> None:
        self._step += 1
        if deadline_s is not None:
            self.context.after(deadline_s, _StepOverdue(self._step))

    def _on_overdue(self) -> None:
        match self._phase.now:
            case Phase.OPENING | Phase.ABANDONING as phase:
                if self._pending is None:
                    raise InternalError("a step is awaited")
                name = self._pending.name
                self._pending = None
                if phase is Phase.OPENING:
                    error = Overdue(f"{name} was not open within {self._terms.open_s:g} s")
                    self._abort(error, None, State.FAILED)
                else:
                    self._notes.append(f"{name} was still opening at the end")
                    self._close()
            case Phase.ABORTING:
                self._notes.append(f"did not end within {self._terms.abort_s:g} s: {self._undrained()}")
                self._close()
            case Phase.SETTLING:
                error = Overdue(f"the journal has not kept the last rows within {self._terms.settle_s:g} s")
                self._abort(error, None, State.FAILED)
            case Phase.DRAINING:
                error = Overdue(f"not drained within {self._terms.drain_s:g} s: {self._undrained()}")
                self._abort(error, None, State.FAILED)
            case Phase.CLOSING if self._pending is not None:
                name = self._pending.name
                self._notes.append(f"closing {name} took longer than {self._terms.close_s:g} s")
                if self._pending == self._all.keeper:
                    self._finish()
                else:
                    self._close_next()
            case Phase.CLOSING:
                self._notes.append("the ledger did not answer; the counts are missing")
                self._close_keeper()
            case _:
                pass

    def _undrained(self) -> str:
        return ", ".join(ref.name for ref in self._all.line if ref not in self._drained)

    def statistics(self) -> State:
        return self._state
