"""Answers of 503 that are refusals by a quota: nginx's limit_req and limit_conn give them, unless they are told otherwise.

A server that is overloaded, or out, says 503, too. Five things tell them apart:

- A quota refuses before it does any work: its 503s take less than a third of the time that answers take, in the mean.
- Once, more than one call in four was answered so. Where they are fewer, to call more slowly would gain little.
- Many rows meet with it. One that meets with it again and again is at fault itself.
- Rows are answered in between. Where three closings were in vain, it is an outage (L40).
- It goes away where calls are made more slowly. That, the governor finds out: where such refusals come by chance,
  whatever the rate, they close nothing (L76).

Such a 503 costs its row no attempt: the row is called again after a backoff, and the governor hears of a `doubtful` refusal.
State only; one object belongs to one queue of a stage.
"""

from __future__ import annotations

import msgspec

from ..protocol import Answered, Epoch, Fault, Kind
from ..rows.identity import Id
from .troubles import Troubles

FAST = 1 / 3
"""A quota's 503 takes so much of the time of an answer, at most."""
ENOUGH = 8
"""So many 503s must have come before their mean says something."""
MEAN_OF = 16
"""The means are of about so many calls, the latest."""
SHARE_OF, OFTEN = 32, 1 / 4
"""... and must be so many of about so many calls, once: as long as they are fewer, slower calls would gain little."""
MANY = 3
"""Fewer rows may be at fault themselves."""
IN_VAIN_MAX = 3
"""So often it is closed without that anything is answered in between: for longer, it is an outage."""
OF_ONE_MAX = 10
"""How often one row is refused so, before it counts as a failure of its own."""


class Overload:
    """It does what the module says."""

    __slots__ = ("_answer_s", "_answers", "_epoch", "_in_vain", "_often", "_refusal_s", "_refusals", "_rows", "_share")

    def __init__(self) -> None:
        self._answers = self._refusals = 0
        self._answer_s = self._refusal_s = 0.0
        self._rows: set[Id] = set()
        """The first of those that met with it."""
        self._epoch: Epoch | None = None
        self._share = 0.0
        """Of the latest calls, about how many were answered so."""
        self._often = False
        self._in_vain = 0
        """Epochs that such a 503 has ended since the last answer."""

    def on_answered(self, n: int, took_s: float) -> None:
        """So many calls were answered, after so long each."""
        self._share *= (1.0 - 1.0 / SHARE_OF) ** n
        self._answers = min(self._answers + n, MEAN_OF)
        self._answer_s += (took_s - self._answer_s) * min(1.0, n / self._answers)
        self._in_vain = 0

    def refuses(self, seq: Id, took_s: float, epoch: Epoch, refusals: int) -> bool:
        """The call of this row, on a permit of `epoch`, was answered by a 503 after so long. Whether a quota refused it.
        `refusals`: how often the row was refused before."""
        self._share += (1.0 - self._share) / SHARE_OF
        self._refusals = min(self._refusals + 1, MEAN_OF)
        self._refusal_s += (took_s - self._refusal_s) / self._refusals
        if len(self._rows) < MANY:
            self._rows.add(seq)
        fast = self._refusals >= ENOUGH and self._refusal_s <= FAST * self._answer_s
        self._often = self._often or (fast and self._share > OFTEN)
        if not (fast and self._often) or len(self._rows) < MANY or refusals >= OF_ONE_MAX:
            return False
        if epoch != self._epoch:
            self._epoch = epoch
            self._in_vain += 1
        return self._in_vain <= IN_VAIN_MAX

    def judged(self, answered: Answered, epoch: Epoch, troubles: Troubles) -> Answered:
        """The same answers of calls, of whose faults those are refusals that a quota seems to have given."""
        faults = [self._judged(fault, answered, epoch, troubles) for fault in answered.faults]
        return msgspec.structs.replace(answered, faults=faults)

    def _judged(self, fault: Fault, answered: Answered, epoch: Epoch, troubles: Troubles) -> Fault:
        if not fault.overloaded:
            return fault
        took_s = fault.took_s
        if took_s is None:
            took_s = answered.busy_s / (len(answered.seqs) + len(answered.faults))
        refusals = troubles[fault.seq].refusals if fault.seq in troubles else 0
        if not self.refuses(fault.seq, took_s, epoch, refusals):
            return fault
        return msgspec.structs.replace(fault, kind=Kind.REFUSED)
