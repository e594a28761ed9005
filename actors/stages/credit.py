"""How many rows a stage asks for: as many as keep its workers busy, in portions that are worth a message.

Rows that rest between attempts, or wait for the journal, are not in the way. Rows that could not go on from here are not
asked for. Tells `Credit` to what stands before the stage.
"""

from __future__ import annotations

from .. import protocol
from ..actor import Context, Ref
from ..edges.outputs import UNLIMITED, Outputs
from ..journaling.stage_record import StageRecord
from .counters import Counters
from .resting import Resting
from .scheduler import Scheduler
from .terms import StageTerms

CHUNKS = 3
"""Chunks that are here for each worker: the one that it has in hand, the next one, and one on its way."""


class StageCredit:
    """It does what the module says. `before`: who is told; None: nobody."""

    def __init__(
        self,
        terms: StageTerms,
        before: Ref | None,
        outputs: Outputs,
        record: StageRecord,
        counters: Counters,
        resting: Resting,
        scheduler: Scheduler,
    ) -> None:
        self._terms = terms
        self._before = before
        self._outputs = outputs
        self._record = record
        self._counters = counters
        self._resting = resting
        self._scheduler = scheduler
        self._context: Context
        self._promised = 0
        """Rows that were asked for and have not come."""
        self._all_have_come = False

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    def came(self, n: int) -> None:
        """So many rows have come."""
        self._promised -= n

    def close(self) -> None:
        """All rows have come: ask for no more."""
        self._all_have_come = True

    def tell(self) -> None:
        """Ask for rows, if so many are wanted that they are worth a message."""
        if self._before is None or self._all_have_come:
            return
        rows = CHUNKS * self._terms.workers * self._scheduler.chunk
        # Rows of a key that must wait shall not keep those of another one away.
        wanted = rows if self._terms.key is None else UNLIMITED
        # Nor shall rows that could not go on from here.
        held = self._record.held
        wanted = min(wanted, self._outputs.room - held)
        n = wanted - (self._counters.here - len(self._resting) - held) - self._promised
        if n > 0 and n * 4 >= wanted:
            self._promised += n
            self._context.tell(self._before, protocol.Credit(n, self._context.me))
