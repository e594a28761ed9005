"""What an answer means: which way a row takes when its node has done with it. One class for each kind of node.

The answers of a `filter` and of a `route` come as pairs, (what was said, the row), since the row goes on as it was;
those of a `flat_map` as lists. See `runtime/calls/answers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import itemgetter, not_
from typing import Any, Protocol

from . import protocol
from .actor import Context, Ref
from .exits import Exits
from .identity import Bundle, Id, Ids, children, parts
from .protocol import Ended, Status

Attempts = dict[Id, int] | None
ONWARD = ""
"""The edge along the main line."""


class NoSuchRoute(LookupError):
    """A route's function named a branch that is not there."""


class NotAligned(ValueError):
    """What is to be unbatched is not a list with one value for each row of the batch."""


class Outlet(Protocol):
    """How a node lets its rows go."""

    made: int
    """Identities that began here."""

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        """These rows are done with."""


class Onward:
    """`map`: each answer is the row from here on."""

    made = 0

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        exits.send(ONWARD, seqs, values, attempts)


_said = itemgetter(0)
_row = itemgetter(1)


class Sieve:
    """`filter`: what was said no to is dropped."""

    made = 0

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        said = list(map(bool, map(_said, values)))
        rows = list(map(_row, values))
        if all(said):
            exits.send(ONWARD, seqs, rows, attempts)
            return
        others = list(map(not_, said))
        exits.drop(list(compress(seqs, others)), list(compress(rows, others)))
        kept = list(compress(seqs, said))
        if kept:
            exits.send(ONWARD, kept, list(compress(rows, said)), attempts)


class Switch:
    """`route`: the answer names the branch; None is the main line."""

    made = 0

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        said = list(map(_said, values))
        first = said[0]
        if said.count(first) == len(said):
            # A chunk that goes one way costs nothing a row.
            self._send(exits, first, seqs, list(map(_row, values)), attempts)
            return
        ways: dict[str | None, tuple[list[Id], list[Any]]] = {}
        for seq, (name, row) in zip(seqs, values, strict=True):
            way = ways.get(name)
            if way is None:
                way = ways[name] = ([], [])
            way[0].append(seq)
            way[1].append(row)
        for name, (ids, rows) in ways.items():
            self._send(exits, name, ids, rows, attempts)

    def _send(self, exits: Exits, name: str | None, seqs: Ids, rows: list[Any], attempts: Attempts) -> None:
        port = ONWARD if name is None else name
        if exits.has(port):
            exits.send(port, seqs, rows, attempts)
            return
        known = ", ".join(repr(port) for port in exits.ports if port != ONWARD)
        onward = "; None goes on" if exits.has(ONWARD) else ""
        error = NoSuchRoute(f"no branch of {exits.name!r} is named {name!r}; there are {known}{onward}")
        tries = attempts or {}
        exits.end(
            [
                Ended(seq, Status.QUARANTINED, error, tries.get(seq, 1), row, exits.name)
                for seq, row in zip(seqs, rows, strict=True)
            ]
        )


class Split:
    """`flat_map`: the answer is a list, each item of which is a row of its own from here on."""

    def __init__(self) -> None:
        self.made = 0

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        ids: list[Id] = []
        rows: list[Any] = []
        tries: dict[Id, int] = {}
        none: list[Id] = []
        for seq, items in zip(seqs, values, strict=True):
            if not items:
                none.append(seq)
                continue
            young = children(seq, len(items))
            ids.extend(young)
            rows.extend(items)
            if attempts and seq in attempts:
                tries.update(dict.fromkeys(young, attempts[seq]))
        if none:
            exits.drop(none, [None] * len(none))
        if ids:
            exits.live_on(Status.SPLIT, len(seqs) - len(none))
            self.made += len(ids)
            exits.send(ONWARD, ids, rows, tries or None)


class Unbundle:
    """`unbatch`: the rows of a batch go on under their own names."""

    def __init__(self) -> None:
        self.made = 0

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        ids: list[Id] = []
        rows: list[Any] = []
        bad: list[Ended] = []
        for seq, items in zip(seqs, values, strict=True):
            error = self._wrong(seq, items, exits.name)
            if error is None:
                assert isinstance(seq, Bundle)
                ids.extend(seq.members)
                rows.extend(items)
            else:
                tries = (attempts or {}).get(seq, 1)
                bad.append(Ended(seq, Status.QUARANTINED, error, tries, items, exits.name))
        if bad:
            exits.end(bad)
        if ids:
            exits.live_on(Status.SPLIT, len(seqs) - len(bad))
            self.made += len(ids)
            exits.send(ONWARD, ids, rows, None)

    def _wrong(self, seq: Id, items: Any, name: str) -> NotAligned | None:
        assert isinstance(seq, Bundle), "only a batch can be unbatched, which is seen to when a pipeline is built"
        n = len(seq.members)
        if not isinstance(items, Sequence) or isinstance(items, str | bytes):
            return NotAligned(
                f"{name}: {type(items).__name__} where a list of {n} values was expected, one for each row"
            )
        if len(items) != n:
            return NotAligned(f"{name}: {len(items)} values for the {n} rows of the batch; return one for each row")
        return None


def own(value: Any) -> Any:
    """A branch's own copy of what people change in place: a shallow one of dicts, lists and sets."""
    kind = type(value)
    if kind is dict or kind is list or kind is set:
        return value.copy()
    return value


class Fork:
    """`fork`: each branch gets a part. `join`: where their ways meet again, if they do."""

    def __init__(self, branches: Sequence[str], join: Ref | None, own: Callable[[Any], Any] = own) -> None:
        self._branches = tuple(branches)
        self._join = join
        self._own = own
        self._context: Context
        self.made = 0

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context

    def leave(self, exits: Exits, seqs: Ids, values: list[Any], attempts: Attempts) -> None:
        n = len(self._branches)
        if self._join is not None:
            self._context.tell(self._join, protocol.Forked(seqs, values))
        brood = [parts(seq, n) for seq in seqs] if self._join is not None else [children(seq, n) for seq in seqs]
        exits.live_on(Status.SPLIT, len(seqs))
        self.made += n * len(seqs)
        for i, name in enumerate(self._branches):
            ids = [young[i] for young in brood]
            tries: dict[Id, int] = {}
            if attempts:
                tries = {young[i]: attempts[seq] for seq, young in zip(seqs, brood, strict=True) if seq in attempts}
            exits.send(name, ids, list(map(self._own, values)), tries or None)
