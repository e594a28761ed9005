"""What happened, step by step: hashed, kept for the last steps, and written to a file where that is wanted.

An entry says when, from whom, to whom, what, and which rows; never what is in a row. In a file it is a msgpack array
[microseconds, from, to, kind, ...]; the first object of the file names the kinds, and an entry of kind 0 an actor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, BinaryIO

import msgspec

from headrace.actors import protocol
from headrace.actors.protocol import Outcomes, Release, Seqs

KEPT = 4000
"""The last steps, for the story of a breach."""


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
    """A scripted fault."""

    what: str


def _rows(seqs: Seqs) -> tuple[Any, ...]:
    n = len(seqs)
    return (seqs[0], n) if n else (-1, 0)


def _error(error: BaseException | None) -> str:
    return type(error).__name__ if error is not None else ""


def _parts(batch: list[Release | Outcomes]) -> int:
    return sum(len(part.seqs) if isinstance(part, Release) else len(part.ended) for part in batch)


Detail = Callable[[Any], tuple[Any, ...]]
DETAILS: dict[type, Detail] = {
    protocol.Rows: lambda m: _rows(m.seqs),
    protocol.Outcomes: lambda m: (m.ended[0].seq if m.ended else -1, len(m.ended)),
    protocol.EndOfRows: lambda m: (m.total,),
    protocol.Demand: lambda m: (m.n,),
    protocol.Appetite: lambda m: (m.n,),
    protocol.Read: lambda m: (m.n,),
    protocol.ReadDone: lambda m: (len(m.values), int(m.ended)),
    protocol.ReadFailed: lambda m: (_error(m.error),),
    protocol.Enlist: lambda m: (),
    protocol.Discharge: lambda m: (),
    protocol.PermitsWanted: lambda m: (m.n,),
    protocol.PermitsGranted: lambda m: (m.n, m.epoch),
    protocol.PermitsReturned: lambda m: (m.n,),
    protocol.CallsEnded: lambda m: (m.used, m.answered, len(m.failed)),
    protocol.LimitHit: lambda m: (m.epoch,),
    protocol.CooldownBegan: lambda m: (m.epoch, m.closure.value),
    protocol.CooldownEnded: lambda m: (m.epoch, int(m.probing)),
    protocol.Reopened: lambda m: (m.epoch,),
    protocol.OutageOverdue: lambda m: (),
    protocol.Assign: lambda m: (m.id, *_rows(m.seqs)),
    protocol.Answered: lambda m: (m.id, *_rows(m.seqs), len(m.faults), len(m.unstarted)),
    protocol.Recall: lambda m: (),
    protocol.CancelCalls: lambda m: (),
    protocol.Release: lambda m: _rows(m.seqs),
    protocol.Write: lambda m: (_parts(m.batch),),
    protocol.Written: lambda m: (),
    protocol.WriteFailed: lambda m: (_error(m.error),),
    protocol.Settled: lambda m: (m.status.value, *_rows(m.seqs)),
    protocol.Submit: lambda m: (len(m.values),),
    protocol.EndOfSubmits: lambda m: (),
    protocol.Withdraw: lambda m: (),
    protocol.Retract: lambda m: _rows(m.seqs),
    protocol.Waited: lambda m: (m.place, m.status.value),
    protocol.Deliver: lambda m: (),
    protocol.DeliveryDone: lambda m: (),
    protocol.Open: lambda m: (),
    protocol.Opened: lambda m: (_error(m.error),),
    protocol.Close: lambda m: (int(m.complete),),
    protocol.Closed: lambda m: (_error(m.error),),
    protocol.Start: lambda m: (),
    protocol.Drain: lambda m: (),
    protocol.Abort: lambda m: (),
    protocol.Drained: lambda m: (),
    protocol.Died: lambda m: (m.who.name, _error(m.error)),
    protocol.Failing: lambda m: (_error(m.error),),
    protocol.RowsGiven: lambda m: (m.total,),
    protocol.CloseAccount: lambda m: (),
    protocol.AccountClosed: lambda m: (m.open_rows,),
    protocol.RunEnded: lambda m: (m.state.value,),
    protocol.StatisticsWanted: lambda m: (),
    protocol.Statistics: lambda m: (),
    protocol.SetLimit: lambda m: (),
    Call: lambda m: (m.stage, m.row, m.attempt),
    Reply: lambda m: (m.stage, m.row, m.what),
    Fault: lambda m: (m.what,),
}
"""What an entry says of each message. Timers' messages are private to their actors: their kind says enough."""
KINDS = {kind: i for i, kind in enumerate(DETAILS, 2)}
NAMED, TIMER = 0, 1


class History:
    """See the module. `log` is filled by the simulation; entries are (now, from, to, message)."""

    def __init__(self, name_of: Callable[[int], str], file: BinaryIO | None = None) -> None:
        self.log: list[tuple[float, int, int, Any]] = []
        self.entries = 0
        self._name_of = name_of
        self._named: set[int] = set()
        self._file = file
        self._hash = blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder().encode
        self._last: deque[tuple[Any, ...]] = deque(maxlen=KEPT)
        if file is not None:
            names = {i: kind.__name__ for kind, i in KINDS.items()} | {NAMED: "name", TIMER: "timer"}
            file.write(self._encode(names))

    def spill(self) -> None:
        """Encode what is in the log, and empty it."""
        details, kinds = DETAILS, KINDS
        entries: list[tuple[Any, ...]] = []
        for now, sender, receiver, message in self.log:
            kind = type(message)
            if kind in kinds:
                entries.append((int(now * 1e6), sender, receiver, kinds[kind], *details[kind](message)))
            else:
                entries.append((int(now * 1e6), sender, receiver, TIMER, kind.__name__))
        self.entries += len(entries)
        self.log.clear()
        self._last.extend(entries)
        self._hash.update(self._encode(entries))
        if self._file is not None:
            self._write(self._file, entries)

    def _write(self, file: BinaryIO, entries: list[tuple[Any, ...]]) -> None:
        for entry in entries:
            for number in entry[1:3]:
                if number not in self._named:
                    self._named.add(number)
                    file.write(self._encode((0, number, number, NAMED, self._name_of(number))))
            file.write(self._encode(entry))

    @property
    def digest(self) -> str:
        """The same for the same history, on any Python, in any process."""
        return self._hash.hexdigest()

    def last(self, n: int) -> list[str]:
        """The last `n` steps, as lines to be read."""
        names = {i: kind.__name__ for kind, i in KINDS.items()}
        lines = []
        for at, sender, receiver, kind, *detail in list(self._last)[-n:]:
            whom, who = self._name_of(receiver), self._name_of(sender)
            said = " ".join(str(d) for d in (detail[1:] if kind == TIMER else detail))
            if kind == TIMER:
                line = f"{whom}: {detail[0].lstrip('_')}"
            else:
                line = f"{who} → {whom}: {names[kind]} {said}".rstrip()
            lines.append(f"{at / 1e6:>12.6f}  {line}")
        return lines
