"""What happened, step by step: hashed, kept for the last steps, and written to a file where that is wanted.

An entry says when, from whom, to whom, what; told to people, also which rows, and never what is in a row. A file has one
entry a line, as JSON: [seconds, from, to, message, details].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from operator import attrgetter
from typing import Any, BinaryIO

import msgspec

from headrace.actors import protocol
from headrace.actors.protocol import Outcomes, Rows, Seqs
from headrace.actors.rows.identity import Id, show

KEPT = 4
"""The last so many times that the log was spilt, for the story of a breach."""


class Call(msgspec.Struct, frozen=True):
    """A call of user code has begun."""

    stage: str
    row: Any
    attempt: int


class Reply(msgspec.Struct, frozen=True):
    """What the outside said to it."""

    stage: str
    row: Any
    what: str


class Fault(msgspec.Struct, frozen=True):
    """A scripted fault, in the history."""

    what: str


def _rows(message: Any) -> tuple[Any, ...]:
    seqs: Seqs = message.seqs
    return (_name(seqs[0]), len(seqs)) if seqs else (-1, 0)


def _name(seq: Id) -> int | str:
    return seq if type(seq) is int else show(seq)


def _nothing(_: Any) -> tuple[Any, ...]:
    return ()


def _error(error: BaseException | None) -> str:
    return type(error).__name__ if error is not None else ""


def _parts(batch: list[Rows | Outcomes]) -> int:
    return sum(len(part.seqs) if isinstance(part, Rows) else len(part.ended) for part in batch)


Detail = Callable[[Any], Any]
DETAILS: dict[type, Detail] = {
    protocol.Rows: _rows,
    protocol.Outcomes: lambda m: (_name(m.ended[0].seq) if m.ended else -1, len(m.ended)),
    protocol.RowsEnded: lambda m: (_name(m.ended[0].seq) if m.ended else -1, len(m.ended)),
    protocol.Gaps: _rows,
    protocol.Forked: _rows,
    protocol.FlushUpTo: attrgetter("seq"),
    protocol.EndOfRows: attrgetter("total"),
    protocol.Demand: attrgetter("n"),
    protocol.Credit: attrgetter("n"),
    protocol.Read: attrgetter("n"),
    protocol.ReadDone: lambda m: (len(m.values), int(m.ended)),
    protocol.ReadFailed: lambda m: (_error(m.error),),
    protocol.Register: _nothing,
    protocol.Unregister: _nothing,
    protocol.PermitsWanted: attrgetter("n"),
    protocol.PermitsGranted: attrgetter("n", "epoch"),
    protocol.PermitsReturned: attrgetter("n"),
    protocol.WishesWithdrawn: _nothing,
    protocol.WishesForgotten: attrgetter("n"),
    protocol.CallsEnded: attrgetter("used", "answered"),
    protocol.LimitHit: attrgetter("epoch"),
    protocol.TurnedAway: attrgetter("epoch", "n"),
    protocol.CooldownBegan: lambda m: (m.epoch, m.closure.value),
    protocol.CooldownEnded: lambda m: (m.epoch, int(m.probing)),
    protocol.Reopened: attrgetter("epoch"),
    protocol.OutageOverdue: _nothing,
    protocol.AccountGivenUp: attrgetter("since_s"),
    protocol.Assign: lambda m: (m.id, _name(m.seqs[0]), len(m.seqs)),
    protocol.Answered: lambda m: (m.id, len(m.seqs), len(m.faults), len(m.unstarted)),
    protocol.Recall: _nothing,
    protocol.CancelCalls: _nothing,
    protocol.Write: lambda m: (_parts(m.batch),),
    protocol.Written: _nothing,
    protocol.OutOfTurn: _rows,
    protocol.WriteFailed: lambda m: (_error(m.error),),
    protocol.Settled: lambda m: (m.status.value, _name(m.seqs[0]), len(m.seqs)),
    protocol.Answers: lambda m: (m.node, *_rows(m)),
    protocol.Kept: attrgetter("n"),
    protocol.Ends: lambda m: (m.node, len(m.ended)),
    protocol.Faulted: lambda m: (m.node, len(m.faults)),
    protocol.Parked: lambda m: (m.node, _name(m.seq)),
    protocol.Resting: lambda m: (-1 if m.parked is None else m.parked,),
    protocol.Cooled: attrgetter("node", "until_s"),
    protocol.Formed: lambda m: (m.node, len(m.bundles)),
    protocol.Decided: lambda m: (m.node, len(m.seqs)),
    protocol.ReadTo: attrgetter("row"),
    protocol.RowsSettled: lambda m: (m.status.value, *_rows(m)),
    protocol.Commit: lambda m: (len(m.entries),),
    protocol.Committed: _nothing,
    protocol.CommitFailed: lambda m: (_error(m.error),),
    protocol.Submit: lambda m: (len(m.values),),
    protocol.EndOfSubmits: _nothing,
    protocol.Withdraw: _nothing,
    protocol.Retract: _rows,
    protocol.Waited: lambda m: (m.place, m.status.value),
    protocol.Deliver: _nothing,
    protocol.DeliveryDone: _nothing,
    protocol.Open: _nothing,
    protocol.Opened: lambda m: (_error(m.error),),
    protocol.Close: lambda m: (int(m.complete),),
    protocol.Closed: lambda m: (_error(m.error),),
    protocol.Start: _nothing,
    protocol.Drain: _nothing,
    protocol.Abort: _nothing,
    protocol.Drained: _nothing,
    protocol.Died: lambda m: (m.who.name, _error(m.error)),
    protocol.Failing: lambda m: (_error(m.error),),
    protocol.RowsGiven: attrgetter("total"),
    protocol.CloseAccount: _nothing,
    protocol.MakeDurable: _nothing,
    protocol.MadeDurable: _nothing,
    protocol.AccountClosed: attrgetter("open_rows"),
    protocol.RunEnded: lambda m: (m.state.value,),
    protocol.StatisticsWanted: _nothing,
    protocol.Statistics: _nothing,
    protocol.SetLimit: _nothing,
    Call: attrgetter("stage", "row", "attempt"),
    Reply: attrgetter("stage", "row", "what"),
    Fault: attrgetter("what"),
    protocol.LearnedWanted: _nothing,
    protocol.Learned: lambda m: len(m.lessons.priors),
    protocol.LimitLearned: attrgetter("budget.name"),
    protocol.Metered: lambda m: (m.node, *sorted(m.spent)),
    protocol.Noted: lambda m: (m.node, m.turn, len(m.seqs)),
}
"""What an entry says of each message. Timers' messages are private to their actors: their kind says enough."""
KINDS = {kind: i for i, kind in enumerate(DETAILS, 2)}
TIMER = 1


class _Codes(dict[type, int]):
    def __missing__(self, kind: type) -> int:
        return TIMER


_CODES = _Codes(KINDS)


class History:
    """It does what the module says. `log` is filled by the simulation; entries are (now, from, to, message)."""

    def __init__(self, name_of: Callable[[int], str], file: BinaryIO | None = None, hashed: bool = True) -> None:
        self.log: list[tuple[float, int, int, Any]] = []
        self.entries = 0
        self._name_of = name_of
        self._file = file
        self._hashed = hashed
        self._hash = blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder().encode
        self._last: deque[list[tuple[float, int, int, Any]]] = deque(maxlen=KEPT)

    def spill(self) -> None:
        """Hash what is in the log, keep it for a while, and empty the log."""
        entries = self.log.copy()
        self.log.clear()
        self.entries += len(entries)
        self._last.append(entries)
        if self._hashed:
            codes = _CODES
            self._hash.update(self._encode([(at, who, whom, codes[type(what)]) for at, who, whom, what in entries]))
        if self._file is not None:
            for at, who, whom, what in entries:
                named = (at, self._name_of(who), self._name_of(whom), type(what).__name__.lstrip("_"), _detail(what))
                self._file.write(msgspec.json.encode(named) + b"\n")

    def seal(self, outcome: Any) -> None:
        """What all of it came to belongs to the hash, too."""
        self._hash.update(self._encode(outcome))

    @property
    def digest(self) -> str:
        """The same for the same history, on any Python, in any process."""
        return self._hash.hexdigest()

    def last(self, n: int) -> list[str]:
        """The last `n` steps, as lines to be read."""
        lines = []
        for at, sender, receiver, what in [entry for entries in self._last for entry in entries][-n:]:
            whom, who = self._name_of(receiver), self._name_of(sender)
            said = f"{type(what).__name__.lstrip('_')} {' '.join(map(str, _detail(what)))}".rstrip()
            line = f"{who} → {whom}: {said}" if type(what) in KINDS else f"{whom}: {said}"
            lines.append(f"{at:>12.6f}  {line}")
        return lines


def _detail(what: Any) -> tuple[Any, ...]:
    of_kind: Detail = DETAILS.get(type(what), _nothing)
    detail = of_kind(what)
    return detail if isinstance(detail, tuple) else (detail,)
