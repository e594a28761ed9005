"""What an answer means: which way a row takes when its node has done with it. One class for each kind of node.

`answers` is what the function said, `rows` what it was asked about: a `filter`, a `route` and a `tap` let the row go on
as it was. Those that call nobody have the rows for answers.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import compress
from typing import Any, Protocol

from .. import protocol
from ..actor import Context, Ref
from ..buffers.backlog import as_seqs
from ..errors import HeadraceError, InternalError
from ..protocol import Ended, Status
from ..rows.identity import Bundle, Column, Id, Ids, children, parted
from .outputs import Outputs, Way

Attempts = dict[Id, int] | None
ONWARD = ""
"""The edge along the main line."""


class NoSuchRoute(HeadraceError, LookupError):
    """A route's function named a branch that is not there."""


class NotAligned(HeadraceError, ValueError):
    """What is to be unbatched is not a list with one value for each row of the batch."""


class Operator(Protocol):
    """How a node lets its rows go."""

    made: int
    """Identities that began here."""

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        """Forget these rows: their node has done with them."""


class Map:
    """`map`: each answer is the row from here on."""

    made = 0

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        outputs.send(ONWARD, seqs, answers, attempts)


class Tap:
    """`tap`: the row goes on, whatever was said."""

    made = 0

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        outputs.send(ONWARD, seqs, rows, attempts)


class Filter:
    """`filter`: what was said no to is dropped."""

    made = 0

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        try:
            said = list(map(bool, answers))
        except BaseException:
            # Somebody's answer is neither yes nor no, and says so by an error of its own.
            self._one_by_one(outputs, seqs, answers, rows, attempts)
            return
        if all(said):
            outputs.send(ONWARD, seqs, rows, attempts)
            return
        others = [not each for each in said]
        dropped, kept = parted(seqs, (others, said))
        outputs.drop(dropped, list(compress(rows, others)), seqs)
        outputs.send_apart(seqs, [(ONWARD, kept, list(compress(rows, said)))] if kept else [], attempts)

    def _one_by_one(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        for seq, answer, row in zip(seqs, answers, rows, strict=True):
            try:
                said = bool(answer)
            except BaseException as error:
                tries = (attempts or {}).get(seq, 1)
                outputs.end([Ended(seq, Status.QUARANTINED, error, tries, row, outputs.name)])
                continue
            if said:
                outputs.send_apart([seq], [(ONWARD, [seq], [row])], attempts)
            else:
                outputs.drop([seq], [row])


class Switch:
    """`route`: the answer names the branch; None is the main line."""

    made = 0

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        kinds = set(map(type, answers))
        distinct = set(answers) if kinds <= _NAMES or kinds <= _YES_OR_NO else None
        if distinct is None or (None in distinct and ONWARD in distinct):
            # Answers of several types may name the same branch, and some cannot be the name of anything.
            answers = _named(answers)
            distinct = set(answers)
        said = sorted(distinct, key=answers.index)
        if len(said) == 1:
            # A chunk that goes one way costs nothing a row.
            self._leave(outputs, seqs, [(branch_of_answer(answers[0]), seqs, rows)], attempts)
            return
        if len(said) == 2:
            # The others are the rest, and the way on is quickest to tell.
            one = said.index(None) if None in said else 0
            choices: list[list[bool]] = [[], []]
            choices[one] = _all_of(said[one], answers)
            choices[1 - one] = [not each for each in choices[one]]
        else:
            choices = [_all_of(name, answers) for name in said]
        ways: list[Way] = [
            (branch_of_answer(name), ids, list(compress(rows, chosen)))
            for name, ids, chosen in zip(said, parted(seqs, choices), choices, strict=True)
        ]
        self._leave(outputs, seqs, ways, attempts)

    def _leave(self, outputs: Outputs, seqs: Ids, ways: list[Way], attempts: Attempts) -> None:
        there = [way for way in ways if outputs.has(way[0])]
        if len(there) != len(ways):
            # Those that end here are told one by one.
            seqs = []
        outputs.send_apart(seqs, there, attempts)
        for way in ways:
            if not outputs.has(way[0]):
                self._end(outputs, *way, attempts)

    def _end(self, outputs: Outputs, port: str, seqs: Ids, rows: list[Any], attempts: Attempts) -> None:
        known = ", ".join(repr(port) for port in outputs.ports if port != ONWARD)
        onward = "; None goes on" if outputs.has(ONWARD) else ""
        error = NoSuchRoute(f"no branch of {outputs.name!r} is named {port!r}; there are {known}{onward}")
        tries = attempts or {}
        outputs.end(
            [
                Ended(seq, Status.QUARANTINED, error, tries.get(seq, 1), row, outputs.name)
                for seq, row in zip(seqs, rows, strict=True)
            ]
        )


_NAMES = {str, type(None)}
_YES_OR_NO = {bool, type(None)}
"""Types of answers which name each branch in one way only, but for None and the empty name, which are the same."""


def _named(answers: list[Any]) -> list[Any]:
    """The branch that each of them names. Answers are few objects as a rule, so each object is asked once."""
    objects = {id(each): each for each in answers}
    names = {key: branch_of_answer(each) for key, each in objects.items()}
    return [names[id(each)] for each in answers]


def _all_of(name: Any, answers: list[Any]) -> list[bool]:
    if name is None:
        return [each is None for each in answers]
    return [each == name for each in answers]


def branch_of_answer(said: Any) -> str:
    """A branch, by what a route's function said: a name, None, yes or no, a member of an enum."""
    if said is None:
        return ONWARD
    # By its type: `isinstance` also asks the object what it is, which is its own code.
    if type(said) is bool:
        return "true" if said else "false"
    try:
        return str.__str__(str(said.value) if issubclass(type(said), enum.Enum) else str(said))
    except BaseException:
        return f"a {type(said).__name__}"


class Split:
    """`flat_map`: the answer is a list, each item of which is a row of its own from here on."""

    def __init__(self) -> None:
        self.made = 0

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        ids: list[Id] = []
        pieces: list[Any] = []
        tries: dict[Id, int] = {}
        none: list[Id] = []
        split = 0
        for seq, items in zip(seqs, answers, strict=True):
            n = len(items)
            if n == 1:
                # One for one: it is the same row still.
                ids.append(seq)
                pieces.append(items[0])
                if attempts and seq in attempts:
                    tries[seq] = attempts[seq]
                continue
            if not n:
                none.append(seq)
                continue
            young = children(seq, n)
            split += 1
            self.made += n
            ids.extend(young)
            pieces.extend(items)
            if attempts and seq in attempts:
                tries.update(dict.fromkeys(young, attempts[seq]))
        outputs.live_on(Status.SPLIT, split)
        if none:
            outputs.drop(none, [None] * len(none))
        if ids:
            outputs.send(ONWARD, as_seqs(ids), pieces, tries or None)


class Unbatch:
    """`unbatch`: the rows of a batch go on under their own names."""

    def __init__(self) -> None:
        self.made = 0

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        ids: list[Id] = []
        apart: list[Any] = []
        bad: list[Ended] = []
        for seq, items in zip(seqs, answers, strict=True):
            values = _listed(items)
            error = self._wrong(seq, items, values, outputs.name)
            if error is None:
                if not isinstance(seq, Bundle):
                    raise InternalError("what is unbatched is a batch")
                if values is None:
                    raise InternalError("a batch has its values")
                ids.extend(seq.members)
                apart.extend(values)
            else:
                tries = (attempts or {}).get(seq, 1)
                bad.append(Ended(seq, Status.QUARANTINED, error, tries, items, outputs.name))
        if bad:
            outputs.end(bad)
        if ids:
            outputs.live_on(Status.SPLIT, len(seqs) - len(bad))
            self.made += len(ids)
            outputs.send(ONWARD, as_seqs(ids), apart, None)

    def _wrong(self, seq: Id, items: Any, values: Sequence[Any] | None, name: str) -> NotAligned | None:
        if not isinstance(seq, Bundle):
            raise InternalError("only a batch can be unbatched, which is seen to when a pipeline is built")
        n = len(seq.members)
        if values is None:
            return NotAligned(
                f"{name}: {type(items).__name__} where a list of {n} values was expected, one for each row"
            )
        if len(values) != n:
            return NotAligned(f"{name}: {len(values)} values for the {n} rows of the batch; return one for each row")
        return None


def _listed(items: Any) -> Sequence[Any] | None:
    """The values of a list or a tuple; None for anything else. What a subclass says of its length does not count."""
    if type(items) is list or type(items) is tuple:
        return items
    if issubclass(type(items), list):
        return list.copy(items)
    return tuple.__getitem__(items, slice(None)) if issubclass(type(items), tuple) else None


class Fork:
    """`fork`: each branch gets a part. `join`: where their ways meet again, if they do."""

    def __init__(self, branches: Sequence[str], join: Ref | None) -> None:
        self._branches = tuple(branches)
        self._join = join
        self._context: Context
        self.made = 0

    def start(self, context: Context) -> None:
        """Give it the outputs of its node, before the first row."""
        self._context = context

    def leave(self, outputs: Outputs, seqs: Ids, answers: list[Any], rows: list[Any], attempts: Attempts) -> None:
        n = len(self._branches)
        if self._join is not None:
            self._context.tell(self._join, protocol.Forked(seqs, rows))
        outputs.live_on(Status.SPLIT, len(seqs))
        self.made += n * len(seqs)
        changeable = not _CHANGEABLE.isdisjoint(map(type, rows))
        for i, name in enumerate(self._branches):
            ids = Column(seqs, i, n if self._join is None else -n)
            tries: dict[Id, int] = {}
            if attempts:
                tries = {ids[at]: attempts[seq] for at, seq in enumerate(seqs) if seq in attempts}
            outputs.send(name, ids, list(map(own, rows)) if changeable else rows, tries or None)


_CHANGEABLE = {dict, list, set}


def own(row: Any) -> Any:
    """A branch's own copy of what people change in place: a shallow one of a dict, a list or a set."""
    return row.copy() if type(row) in _CHANGEABLE else row
