"""How rows leave a node: along an edge, or by ending there. One way for all nodes; state only, the node decides.

A row that goes along one edge does not come to those who are behind the others, and one that ends comes to nobody behind the
node. Whoever waits for rows by name (a reorder buffer, a join) is told of that as a gap, at once and by the node where it
happened, so that nothing stalls behind a row that will never come (L42).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import msgspec

from .. import protocol
from ..actor import Context, Ref
from ..buffers.backlog import as_seqs
from ..protocol import Ended, Gaps, Outcomes, Rows, Settled, Status, Traffic
from ..rows.identity import Id, Ids
from .error_tally import ErrorTally

UNLIMITED = 1 << 62


Way = tuple[str, Ids, list[Any]]
"""An edge, and the rows that take it."""


class Port(msgspec.Struct, frozen=True):
    """Where an edge goes. `missed`: who waits for rows by name behind this node, but not behind this edge. `paced`: the
    target says how many rows it can take. `reorders`: it is a reorder buffer."""

    target: Ref
    missed: tuple[Ref, ...] = ()
    paced: bool = False
    reorders: bool = False


class NodeStatistics(msgspec.Struct, frozen=True):
    """What a node that calls nobody counts. `late`: parts that came to a join after it had gone on without them."""

    name: str
    traffic: Traffic
    late: int = 0


class Outputs:
    """The ways out of one node.

    `behind`: who waits for rows by name anywhere behind it. `taker`: the one among them who takes and settles every row's
    outcome. `quarantine`: the sink of rows that end badly. `also`: who is told of the end besides the targets.
    `observers`: are told of what ends. `ledger`: who is told of outcomes: the ledger, or the journal in front of it.
    """

    def __init__(
        self,
        name: str,
        ports: Mapping[str, Port],
        *,
        behind: tuple[Ref, ...] = (),
        taker: Ref | None = None,
        quarantine: Ref | None = None,
        ledger: Ref | None = None,
        also: tuple[Ref, ...] = (),
        observers: Ref | None = None,
        journal: Ref | None = None,
    ) -> None:
        self.name = name
        self._ports = dict(ports)
        self._behind = behind
        self._taker = taker if taker in behind else None
        self._quarantine = quarantine
        self._ledger = ledger
        self._also = also
        self._observers = observers
        self._journal = journal
        # Reorder buffers that rows come to by one edge alone: with its rows, they can be told of all that do not take it.
        self._next_door = {
            port.target: name
            for name, port in self._ports.items()
            if port.reorders
            and port.target is not self._taker
            and all(port.target in other.missed for other in self._ports.values() if other is not port)
        }
        self._rooms = {port.target: 0 for port in self._ports.values() if port.paced}
        self.room = 0 if self._rooms else UNLIMITED
        """Rows that each of the targets can take, less those that were sent."""
        self._sent = dict.fromkeys(self._ports, 0)
        self._ended: dict[Status, int] = {}
        self._gathered: list[Ended] | None = None
        """Rows that have ended, and are told of together with others; None where each is told of at once."""
        self._errors = ErrorTally()
        self._context: Context

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    @property
    def ports(self) -> list[str]:
        """The names of the edges."""
        return list(self._ports)

    def send(self, name: str, seqs: Ids, values: list[Any], attempts: dict[Id, int] | None = None) -> None:
        """Send rows along one edge."""
        self._tell_missed(name, seqs)
        self._send(name, seqs, values, attempts)

    def send_apart(self, of: Ids, ways: list[Way], attempts: dict[Id, int] | None = None) -> None:
        """Rows that were together, along several edges; those of them that take none are dropped."""
        span = of if isinstance(of, range) and self._next_door else None
        next_door = self._next_door if span is not None else {}
        # Gaps first: who waits for these rows can then let all of them go at once.
        for name, seqs, _ in ways:
            self._tell_missed(name, seqs, next_door)
        for name, seqs, values in ways:
            tries = {seq: attempts[seq] for seq in seqs if seq in attempts} if attempts else None
            self._send(name, seqs, values, tries or None, span if name in next_door.values() else None)
        if span is not None and len(ways) < len(self._ports):
            taken = {name for name, _, _ in ways}
            for ref, name in next_door.items():
                if name not in taken:
                    self._context.tell(ref, Gaps(span))

    def _tell_missed(self, name: str, seqs: Ids, but: Container[Ref] = ()) -> None:
        missed = self._ports[name].missed
        if missed:
            gaps = Gaps(seqs)
            for ref in missed:
                if ref not in but:
                    self._context.tell(ref, gaps)

    def _send(
        self,
        name: str,
        seqs: Ids,
        values: list[Any],
        attempts: dict[Id, int] | None = None,
        span: range | None = None,
    ) -> None:
        port = self._ports[name]
        self._sent[name] += len(seqs)
        if port.paced:
            self._spend(port.target, len(seqs))
        self._context.tell(port.target, Rows(seqs, values, attempts, span))

    @property
    def went(self) -> int:
        """Rows that were sent along all edges."""
        return sum(self._sent.values())

    def has(self, name: str) -> bool:
        """Whether there is such an edge."""
        return name in self._ports

    # --- rows that end here ---

    def gather(self) -> None:
        """What ends from now on is told of together, by `tell_gathered`, in the same turn of the actor: when calls of a
        chunk fail, that is one message to each who must know, in the place of one a row."""
        self._gathered = []

    def tell_gathered(self) -> None:
        """Tell of what has ended since `gather`."""
        gathered, self._gathered = self._gathered, None
        if gathered:
            self.end(gathered)

    def end(self, ended: list[Ended], *, recalled: bool = False) -> None:
        """They go no further, and here is why. `recalled`: they did so in an earlier life of the run."""
        if self._gathered is not None and not recalled:
            self._gathered += ended
            return
        for end in ended:
            self._count(end.status, 1)
            if recalled:
                self._errors.recalled += 1
            else:
                self._errors.count(end.status.value, end.error, end.seq, end.attempts)
        tell, outcomes = self._context.tell, Outcomes(ended)
        if self._journal is not None:
            tell(self._journal, protocol.Ends(self.name, ended, self._context.now()))
        for ref in self._behind:
            tell(ref, outcomes)
        if self._observers is not None:
            tell(self._observers, protocol.RowsEnded(ended))
        if self._taker is not None:
            return
        settled: dict[Status, list[Id]] = {}
        bad: list[Ended] = []
        for end in ended:
            if end.status is Status.QUARANTINED and self._quarantine is not None:
                bad.append(end)
            else:
                settled.setdefault(end.status, []).append(end.seq)
        if bad and self._quarantine is not None:
            tell(self._quarantine, Outcomes(bad))
        for status, seqs in settled.items():
            self.report(status, seqs)

    def drop(self, seqs: Ids, values: list[Any], of: Ids = ()) -> None:
        """They go no further, and nothing is wrong with that. `of`: the others go on by `send_apart`."""
        if self._taker is not None:
            self.end([Ended(s, Status.DROPPED, None, 1, v, self.name) for s, v in zip(seqs, values, strict=True)])
            return
        self._count(Status.DROPPED, len(seqs))
        self.tell_gaps(seqs, self._next_door if isinstance(of, range) and of else ())
        self.report(Status.DROPPED, seqs)

    def drop_as(self, dropped: list[Ended]) -> None:
        """The same, with a reason for each, which a journal keeps."""
        if self._taker is not None:
            self.end(dropped)
            return
        if self._journal is not None:
            self._context.tell(self._journal, protocol.Ends(self.name, dropped, self._context.now()))
        self.drop(as_seqs([end.seq for end in dropped]), [])

    def live_on(self, status: Status, n: int) -> None:
        """So many have become others: were split, batched or merged."""
        self._count(status, n)

    def report(self, status: Status, seqs: Ids) -> None:
        """Their outcome, to the ledger alone."""
        if self._ledger is not None:
            self._context.tell(self._ledger, Settled(status, seqs))

    def tell_gaps(self, seqs: Ids, but: Container[Ref] = ()) -> None:
        """They come to nobody behind, but for those who are told otherwise."""
        if self._behind:
            gaps = Gaps(seqs)
            for ref in self._behind:
                if ref not in but:
                    self._context.tell(ref, gaps)

    def finish(self, total: int) -> None:
        """Tell each edge that no more rows will come."""
        end = protocol.EndOfRows(total)
        for port in self._ports.values():
            self._context.tell(port.target, end)
        for ref in self._also:
            self._context.tell(ref, end)

    # --- how many may come ---

    def welcome(self, who: Ref, n: int) -> None:
        """One of the targets can take `n` more rows."""
        if who in self._rooms:
            self._rooms[who] += n
            self.room = min(self._rooms.values())

    def _spend(self, target: Ref, n: int) -> None:
        if len(self._rooms) == 1:
            self.room -= n
            self._rooms[target] = self.room
        else:
            self._rooms[target] -= n
            self.room = min(self._rooms.values())

    # --- what was counted ---

    def _count(self, status: Status, n: int) -> None:
        self._ended[status] = self._ended.get(status, 0) + n

    def traffic(self, came: int, here: int, made: int = 0) -> Traffic:
        """What a node counts, as one."""
        ended = {status.value: n for status, n in self._ended.items()}
        errors, recalled = self._errors.groups(), self._errors.recalled
        return Traffic(came, made, self.went, here, ways=dict(self._sent), errors=errors, recalled=recalled, **ended)
