"""A relay: a node without calls of its own; what comes leaves at once by its operator (`fork`, `unbatch`).

Told: `Rows` and `EndOfRows` by what stands before it, `Credit` by what stands after it, `Start` and `Abort` by the
conductor. Tells: `Rows`, `Outcomes` and `EndOfRows` to what stands after it, `Credit` to what stands before it,
`Drained` to the conductor.

Promises: it holds no row, and asks for no more than each of its branches has room for.
"""

from __future__ import annotations

from typing import assert_never

from . import protocol
from .actor import Actor, Context, Ref
from .edges.operators import Fork, Operator
from .edges.outputs import UNLIMITED, NodeStatistics, Outputs
from .protocol import Message

Told = protocol.Rows | protocol.EndOfRows | protocol.Credit | protocol.Start | protocol.Abort


class Relay(Actor):
    """It does what the module says. `inputs`: edges that end here; `before`: who is told how many rows can come."""

    def __init__(
        self, outputs: Outputs, operator: Operator, conductor: Ref, inputs: int = 1, before: Ref | None = None
    ) -> None:
        self._outputs = outputs
        self._operator = operator
        self._conductor = conductor
        self._inputs = inputs
        self._before = before
        self._promised = 0
        self._came = 0
        self._total = 0
        self._over = False

    def start(self, context: Context) -> None:
        super().start(context)
        self._outputs.start(context)
        if isinstance(self._operator, Fork):
            self._operator.start(context)

    def receive(self, message: Told) -> None:
        if self._over:
            return
        match message:
            case protocol.Rows(seqs, values, attempts):
                self._came += len(seqs)
                self._promised -= len(seqs)
                self._operator.leave(self._outputs, seqs, values, values, attempts)
            case protocol.Credit(n, who):
                self._outputs.welcome(who, n)
                self._tell_credit()
            case protocol.EndOfRows(total):
                self._inputs -= 1
                if not self._inputs:
                    self._outputs.finish(total)
                    self._leave()
            case protocol.Start():
                self._tell_credit()
            case protocol.Abort():
                self._leave()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _tell_credit(self) -> None:
        if self._before is None:
            return
        n = min(self._outputs.room, UNLIMITED) - self._promised
        if n > 0:
            self._promised += n
            self.context.tell(self._before, protocol.Credit(n, self.context.me))

    def _leave(self) -> None:
        self._over = True
        self.context.tell(self._conductor, protocol.Drained(self.context.me))

    def statistics(self) -> NodeStatistics:
        return NodeStatistics(self._outputs.name, self._outputs.traffic(self._came, 0, self._operator.made))
