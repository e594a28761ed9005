"""Who is who: the identity of a row, and of all that becomes of it in a graph.

    5                   the row at place 5 of the source
    (5, 0, 3)           the first of three that it was split into, or that a fork made of it
    (5, 0, 3, 1, 2)     the second of two that came of that one
    (5, 0, -3)          the first of three parts whose branches meet again in a join
    (5, 3, -3)          what the join made of those, where not each of them ended in it; where they all did, it is 5
    Bundle((5, 6, 9))   a batch of three rows, which stands where the first of them stood

An identity tells how many siblings it has. So who orders, and who keeps the account, can see from any one of them what else
there is to come, in whatever order they hear of them, and nobody need be told of a split beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat
from typing import Any, TypeAlias, overload

import msgspec

from ..errors import InternalError
from .rowset import bits_of, bits_of_flags

Place: TypeAlias = tuple[int, ...]
"""Where something stands in the order of the source; compared as tuples are."""


class Bundle(msgspec.Struct, frozen=True, cache_hash=True):
    """A batch: the identities of its rows, in their order. What becomes of it becomes of them."""

    members: tuple[Id, ...]
    bits: int = 0
    """A bit for each of them, from the first one on, where all are known to be plain rows; see `frontier.py`."""


Path: TypeAlias = tuple[Any, ...]
"""A row or a batch, and for each fork and each split under it an index and the number of siblings."""
Id: TypeAlias = int | Path | Bundle
Ids: TypeAlias = Sequence[Id]
"""A `range` where they are contiguous plain rows, else a list."""


class Column(Sequence[Id]):
    """The identities of what has the same index under each of some rows: a fork's parts along one branch. It costs
    nothing to make and to slice, as a `range` of plain rows does."""

    __slots__ = ("branch", "n", "of")

    def __init__(self, of: Ids, branch: int, n: int) -> None:
        self.of = of
        self.branch = branch
        self.n = n

    def __len__(self) -> int:
        return len(self.of)

    def __iter__(self) -> Iterator[Id]:
        if plain(self.of):
            return zip(self.of, repeat(self.branch), repeat(self.n), strict=False)
        return (_under(of, self.branch, self.n) for of in self.of)

    @overload
    def __getitem__(self, at: int) -> Id: ...
    @overload
    def __getitem__(self, at: slice) -> Column: ...
    def __getitem__(self, at: int | slice) -> Id | Column:
        if isinstance(at, slice):
            return Column(self.of[at], self.branch, self.n)
        return _under(self.of[at], self.branch, self.n)

    def __repr__(self) -> str:
        return f"Column({self.of!r}, {self.branch}, {self.n})"


class Plain(list[Id]):
    """Plain rows in their order, known to be that by how the list was made; any other must be looked through. `bits`: one
    for each of them, from the first one on, where it is known, else 0."""

    __slots__ = ("bits",)

    def __init__(self, rows: Iterable[Id], bits: int = 0) -> None:
        super().__init__(rows)
        self.bits = bits


def span_of(rows: Sequence[Any]) -> tuple[int, int]:
    """The first of some plain rows, and the bits of all."""
    if type(rows) is Plain and rows.bits:
        first: Any = rows[0]
        return first, rows.bits
    return bits_of(rows)


def _under(of: Id, index: int, n: int) -> Path:
    return (*of, index, n) if type(of) is tuple else (of, index, n)


def children(of: Id, n: int) -> list[Id]:
    """The identities of `n` that something is split into."""
    return [_under(of, i, n) for i in range(n)]


def part(of: Id, index: int, n: int) -> Id:
    """The identity of one of the `n` parts of something whose branches meet again."""
    return _under(of, index, -n)


def parts(of: Id, n: int) -> list[Id]:
    """The identities of all of them."""
    return [_under(of, i, -n) for i in range(n)]


def merged(of: Id, n: int) -> Id:
    """What a join made of the `n` parts of something, not each of which ended in it."""
    return _under(of, n, -n)


def parent(of: Id) -> tuple[Id, int, int]:
    """(what it came of, its index, how many siblings there are, itself counted). `of` is a path."""
    if type(of) is not tuple:
        raise InternalError("only a path has a parent")
    *head, index, n = of
    above: Id = head[0] if len(head) == 1 else tuple(head)
    return above, index, n


def part_of(of: Id) -> Id:
    """The part that this one is of, whatever joins within its branch have made of it."""
    while type(of) is tuple and of[-2] == -of[-1]:
        of = parent(of)[0]
    return of


def members_of(of: Id) -> Iterator[Id]:
    """Itself, or of a batch those who are in it."""
    if type(of) is Bundle:
        for member in of.members:
            yield from members_of(member)
    else:
        yield of


def places(of: Id) -> list[Place]:
    """The place where it stands, and those of the other rows that are in it."""
    if type(of) is int:
        return [(of,)]
    if type(of) is Bundle:
        return [place for member in of.members for place in places(member)]
    if type(of) is not tuple:
        raise InternalError("an identity that is no number is a path")
    first, *others = places(of[0])
    pairs = of[1:]
    for at in range(0, len(pairs), 2):
        if pairs[at] != -pairs[at + 1]:
            # What a join made stands where that stood of which it was made.
            first += pairs[at : at + 2]
    return [first, *others]


def place(of: Id) -> Place:
    """Where a row stands in the order of the source."""
    return (of,) if type(of) is int else places(of)[0]


def rows_of(of: Id) -> Iterator[int]:
    """The rows of the source that are in it."""
    if type(of) is int:
        yield of
    elif type(of) is Bundle:
        for member in of.members:
            yield from rows_of(member)
    else:
        if type(of) is not tuple:
            raise InternalError("an identity that is no number is a path")
        yield from rows_of(of[0])


def row_of(of: Id) -> int:
    """The row of the source that it came of; of a batch, the first one."""
    return of if type(of) is int else next(rows_of(of))


def branch_of(of: Id) -> tuple[int, ...]:
    """The path of forks and outputs under its row, as indices: empty for a plain row, and for a batch."""
    return tuple(place(of)[1::2]) if type(of) is tuple else ()


def show(of: Id) -> str:
    """For people and for keys: `5`, `5.0.1`, `5+6+9`."""
    if type(of) is int:
        return str(of)
    if type(of) is Bundle:
        return "+".join(map(show, of.members))
    if type(of) is not tuple:
        raise InternalError("an identity that is no number is a path")
    return ".".join([show(of[0]), *map(str, of[1::2])])


def plain(ids: Ids) -> bool:
    """All of them are plain rows."""
    kind = type(ids)
    if kind is range or kind is Plain:
        return True
    return kind is not Column and set(map(type, ids)) <= _PLAIN


_PLAIN = {int}


def parted(ids: Ids, choices: Sequence[Sequence[bool]]) -> list[list[Id]]:
    """For each of the choices, those of them that are chosen."""
    if type(ids) is not range:
        return [(Plain if type(ids) is Plain else list)(compress(ids, chosen)) for chosen in choices]
    rows: list[Id] = list(ids)
    apart: list[list[Id]] = []
    for chosen in choices:
        bits = bits_of_flags(bytes(chosen))
        # From the first one on.
        apart.append(Plain(compress(rows, chosen), bits >> max((bits & -bits).bit_length() - 1, 0)))
    return apart
