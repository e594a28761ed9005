"""One key's share of a stage: the rows that wait on that budget, and the permits that the stage holds for them.

A limit without `key=` has a single queue, None. Permits are counted in rows; where rows have weights, also as credit in
those units: a row starts when both suffice. The weights asked for and the weights started add up to the same sum,
whatever the order, so nothing is overspent and the last row always gets its credit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from ..buffers.backlog import Backlog
from ..errors import InternalError
from ..protocol import Closure, Epoch, Key, Seqs
from ..rows.identity import Id
from .overload import Overload
from .terms import AccountShut
from .witnesses import Witnesses

ROUNDING = 1e-6
"""Credit may be short by this much: weights are floats, added up in another order than they are spent."""
STALE_S = 0.02
"""A permit that waits for a worker is kept so long: as seconds of its rate, what a stated rate lets through at once."""


class Access(Enum):
    """What the governor lets the calls of a queue do, as far as the stage has heard.

    OPEN: they may go out on permits. COOLING: none may, since some were refused. SHUT: none may, since the other side is out
    or the account exhausted. PROBING: after that, one at a time.
    """

    OPEN = auto()
    COOLING = auto()
    SHUT = auto()
    PROBING = auto()


ON_REFUSAL: Mapping[Access, Access] = MappingProxyType({Access.OPEN: Access.COOLING, Access.PROBING: Access.SHUT})
"""A call on a permit of today was refused: the governor is about to close. Elsewhere nothing changes."""
ON_REOPENING: Mapping[Access, Access] = MappingProxyType({Access.PROBING: Access.OPEN, Access.SHUT: Access.COOLING})
"""A probe was answered: no outage any more, though the next cooldown may have begun. Elsewhere nothing changes."""


class KeyQueue:
    """The rows of one key and the permits for them. It has state only; the stage decides."""

    def __init__(self, key: Key, *, weighted: bool) -> None:
        self.key = key
        self.backlog = Backlog()
        self.epoch = Epoch(0)
        self.access = Access.OPEN
        self.given_up: AccountShut | None = None
        """The account has been exhausted for longer than anybody waits."""
        self.scarce = False
        self.held = 0
        self.held_since_s = 0.0
        """When the oldest of them came."""
        self.asked = 0
        self.credit = 0.0
        self.in_flight = 0
        self.withdrawing = False
        """What was asked for is being taken back."""
        self.resting = 0
        """Rows between two attempts: they come back to this queue, so it must stay."""
        self.witnesses = Witnesses()
        """What came of its calls of late: it says whose fault a failure was."""
        self.overload = Overload()
        """What is known of its answers of 503."""
        self._weights: dict[Id, float] | None = {} if weighted else None
        self._unasked: deque[float] = deque()

    # --- what the governor lets it do ---

    @property
    def cooling(self) -> bool:
        """No call may go out."""
        return self.access is Access.COOLING or self.access is Access.SHUT

    @property
    def outage(self) -> bool:
        """The governor is closed, or probes, because the other side is out or the account exhausted."""
        return self.access is Access.SHUT or self.access is Access.PROBING

    def on_refused(self, epoch: Epoch) -> None:
        """A call was refused; the governor will close, if its permit was of today's epoch."""
        if self.epoch == epoch:
            self.access = ON_REFUSAL.get(self.access, self.access)

    def on_closed(self, epoch: Epoch, closure: Closure) -> None:
        """The governor has closed."""
        self.epoch = epoch
        self.access = Access.COOLING if closure is Closure.REFUSED else Access.SHUT

    def on_cooled(self, epoch: Epoch, *, probing: bool) -> None:
        """The governor has opened, for one call at a time where it is `probing`."""
        self.epoch = epoch
        self.access = Access.PROBING if probing else Access.OPEN

    def on_reopened(self) -> None:
        """A probe was answered: neither an outage nor an exhausted account stands in the way."""
        self.access = ON_REOPENING.get(self.access, self.access)
        self.given_up = None

    # --- rows and permits ---

    def append(self, seqs: Seqs, values: list[Any], weights: list[float] | None = None) -> None:
        """Queue rows at the end."""
        if self._weights is not None and weights is not None:
            self._weights.update(zip(seqs, weights, strict=True))
            self._unasked.extend(weights)
        self.backlog.append(seqs, values)

    def weigh(self, seq: Id, weight: float | None) -> None:
        """A row that comes here before it queues."""
        if self._weights is not None and weight is not None:
            self._weights[seq] = weight

    def put_first(self, seq: Id, value: Any) -> None:
        """A row that needs a permit once more."""
        if self._weights is not None:
            self._unasked.append(self._weights[seq])
        self.backlog.put_first(seq, value)

    def forget(self, seq: Id) -> None:
        """The row has left the stage."""
        if self._weights is not None:
            self._weights.pop(seq, None)

    @property
    def may_ask(self) -> bool:
        """Permits can be asked for now. Where they cannot, the queue is looked at again when they can."""
        return not self.cooling and not self.withdrawing

    def ask(self, room: int) -> tuple[int, tuple[float, ...]]:
        """How many permits to ask for now, where `room` rows could start, and their weights."""
        n = min(len(self.backlog), room) - self.held - self.asked
        if n <= 0 or not self.may_ask:
            return 0, ()
        if self._weights is None:
            self.asked += n
            return n, ()
        n = min(n, len(self._unasked))
        self.asked += n
        return n, tuple(self._unasked.popleft() for _ in range(n))

    def grant(self, epoch: Epoch, n: int, credit: float, *, scarce: bool, now: float) -> None:
        if not self.held:
            self.held_since_s = now
        self.epoch = epoch
        self.asked -= n
        self.held += n
        self.credit += credit
        self.scarce = scarce

    def take(self, n: int) -> tuple[Seqs, list[Any]]:
        """Rows that may start now, `n` at most, on permits that are used by this."""
        n = min(n, self.held)
        if self._weights is not None:
            n = min(n, 1) if self._affords_next() else 0
        if n <= 0:
            return range(0), []
        seqs, values = self.backlog.take(n)
        n = len(seqs)
        if self._weights is not None:
            self.credit -= self._weights[seqs[0]]
        self.held -= n
        self.in_flight += n
        return seqs, values

    def _affords_next(self) -> bool:
        if self._weights is None:
            raise InternalError("rows of this queue have weights")
        if not len(self.backlog):
            return False
        weight = self._weights[self.backlog.peek()[0]]
        return weight <= self.credit + ROUNDING * max(1.0, weight)

    def weight_of(self, seqs: Seqs) -> float:
        """What these rows weigh together; 0 where rows have no weight."""
        return 0.0 if self._weights is None else sum(self._weights[seq] for seq in seqs)

    def reserved(self, seq: Id) -> float:
        """What a row weighs; 0 where it has no weight, or has left."""
        return 0.0 if self._weights is None else self._weights.get(seq, 0.0)

    def give_up(self) -> tuple[int, float]:
        """Permits held and not used; they must be told to the governor. Where rows wait, they will be asked for anew."""
        n, credit = self.held, max(self.credit, 0.0)
        self.held = 0
        self.credit = 0.0
        if self._weights is not None:
            self.reask()
        return n, credit

    def reask(self) -> None:
        """Nothing is asked for any more but what is still open: list all weights of the backlog again."""
        if self._weights is not None:
            waiting = self.backlog.seqs()
            self._unasked = deque(self._weights[seq] for seq in waiting[self.asked :])

    def is_stale(self, now: float) -> bool:
        """Permits in hand are slots of time that have gone by: used now, beside new ones, they would be more at once than is
        allowed. (Where rows have weights, they may wait for the rest of one row's.)"""
        return self.scarce and self.held > 0 and self._weights is None and now - self.held_since_s > STALE_S

    @property
    def starved(self) -> bool:
        """Permits in hand whose credit is too small for the next row, and none on the way: give back and ask anew."""
        return self.held > 0 and not self.asked and self._weights is not None and not self._affords_next()

    @property
    def stuck(self) -> bool:
        """As `starved`, but others are on the way, in an order that rows have left since: and perhaps they wait for those in
        hand to come free."""
        waiting = self.held > 0 and self.asked > 0 and not self.in_flight and not self.withdrawing
        return waiting and self._weights is not None and not self._affords_next()

    @property
    def idle(self) -> bool:
        return not (len(self.backlog) or self.held or self.asked or self.in_flight or self.resting)
