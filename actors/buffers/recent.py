"""The keys of the last rows that came, within a bound: by them a row is known to be a duplicate of another one.

A key is kept as a digest of 16 bytes, the same in every process for keys that are equal, so that memory does not grow with
the length of keys, and a journal has none of them. State only; `dedupe.py` decides what becomes of a row.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import deque
from collections.abc import Hashable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from math import isfinite
from numbers import Rational, Real
from typing import Any

import msgspec

from ..quantities import BadAnswer, ObjectKey
from ..rows.identity import Id, Place, place, row_of, show
from ..text import kind_of

NAME_CHARS_MAX = 40
"""A row's name is longer where it is a batch; then its first row stands for it."""


class Word(msgspec.Struct, frozen=True, array_like=True):
    """What was found of a row in its turn. `of`: the row that it is a duplicate of; None: of no other. `late`: its turn had
    passed long ago, and its neighbours are forgotten."""

    digest: bytes
    of: str | None = None
    late: bool = False


class _Seen:
    """A key. `first`: the row that was kept; `turn`: of the last row with it; `row`: of the source, of that one."""

    __slots__ = ("first", "row", "turn")

    def __init__(self, first: str, turn: int, row: int) -> None:
        self.first = first
        self.turn = turn
        self.row = row


class Recent:
    """It does what the module says. `within`: so many rows, whatever their keys. `turns`: so many have come before this
    life of the run; `last`: what is known of the last ones of them, as (turn, who, what was found)."""

    def __init__(self, within: int, turns: int = 0, last: Iterable[tuple[int, Id, Word]] = ()) -> None:
        self._within = within
        self.turns = turns
        """Rows that have had their turn."""
        self._seen: dict[bytes, _Seen] = {}
        self._window: deque[tuple[int, bytes, Place | None]] = deque()
        """(turn, key, place) of each; no place, where a row came after its turn had passed."""
        self._highest: Place = ()
        for turn, seq, word in last:
            key, at = self._where(seq, word)
            self._window.append((turn, key, at))
            seen = self._seen.setdefault(key, _Seen(word.of or _name(seq), turn, 0))
            seen.turn, seen.row = turn, row_of(seq)

    def __len__(self) -> int:
        """How many rows are remembered."""
        return len(self._window)

    def _where(self, seq: Id, word: Word) -> tuple[bytes, Place | None]:
        at = place(seq)
        if word.late:
            return b"late" + word.digest, None
        if at <= self._highest:
            return word.digest, None
        self._highest = at
        return word.digest, at

    def pass_over(self, seq: Id) -> None:
        """It had its turn in an earlier life, and comes again."""
        self._highest = max(self._highest, place(seq))

    def take(self, seq: Id, digest: bytes) -> Word:
        """Whether this row is a duplicate of one of the last rows; from now on it is one of them."""
        at = place(seq)
        late = at <= self._highest and self._is_forgotten(at)
        key, on_time = self._where(seq, Word(digest, None, late))
        row, seen = row_of(seq), self._seen.get(key)
        if late and seen is not None and not (_is_one_a_row(seq) and abs(row - seen.row) <= self._within):
            # Where the neighbours are forgotten, only the distance in the source is known, and not that of pieces.
            seen = None
        of = seen.first if seen is not None else None
        if seen is None:
            self._seen[key] = _Seen(_name(seq), self.turns, row)
        else:
            seen.turn, seen.row = self.turns, row
        self._window.append((self.turns, key, on_time))
        self.turns += 1
        self._forget(self.turns - self._within)
        return Word(digest, of, late)

    def _is_forgotten(self, at: Place) -> bool:
        oldest = next((place for _, _, place in self._window if place is not None), None)
        return self.turns > len(self._window) and (oldest is None or at < oldest)

    def _forget(self, turn: int) -> None:
        """Forget the rows before this turn."""
        window, seen = self._window, self._seen
        while window and window[0][0] < turn:
            gone, key, _ = window.popleft()
            if seen[key].turn == gone:
                del seen[key]


def _is_one_a_row(seq: Id) -> bool:
    """It is a row of the source, or a part of one, and no piece of one."""
    return type(seq) is int or (type(seq) is tuple and type(seq[0]) is int and all(n < 0 for n in seq[2::2]))


def _name(seq: Id) -> str:
    name = show(seq)
    return name if len(name) <= NAME_CHARS_MAX else f"{row_of(seq)} and others"


# --- digests ---


def digest_of(key: Hashable) -> bytes:
    """Sixteen bytes of a key, as `key_of` gives it, the same in any process for keys that are equal.

    Raises `BadAnswer` for an object of which nobody could say in another process whether it is the same one.
    """
    return blake2b(_told(key), digest_size=16).digest()


def _told(key: Any) -> bytes:
    """The same bytes for keys that are equal, and others for others."""
    kind = type(key)
    if kind is str:
        return b"s%s" % key.encode("utf-8", "surrogatepass")
    if kind is int or kind is bool:
        return b"i%d" % key
    if kind is bytes:
        return b"b%s" % key
    if key is None:
        return b"n"
    if kind is tuple:
        return _joined(b"t", map(_told, key))
    return _told_of_object(key.key if kind is ObjectKey else key)


def _told_of_object(key: Any) -> bytes:
    if isinstance(key, str):
        return _told(str.__str__(key))
    if isinstance(key, bytes):
        return _told(bytes(key))
    if isinstance(key, Real | Decimal):
        return _told_of_number(key)
    if isinstance(key, tuple):
        return _told(tuple(key))
    if isinstance(key, frozenset):
        return _joined(b"f", sorted(map(_inner, key)))
    if isinstance(key, enum.Enum):
        return _joined(b"e", [_class(key), key.name.encode()])
    if isinstance(key, datetime) and key.utcoffset() is not None:
        return b"z" + key.astimezone(UTC).isoformat().encode()
    if isinstance(key, datetime | date | time | timedelta) or _class(key) in _BY_TEXT:
        return _joined(b"d", [_class(key), str(key).encode()])
    if dataclasses.is_dataclass(key):
        values = [getattr(key, field.name) for field in dataclasses.fields(key) if field.compare]
        return _joined(b"o", [_class(key), *map(_inner, values)])
    if isinstance(key, msgspec.Struct):
        return _joined(b"o", [_class(key), *map(_inner, msgspec.structs.astuple(key))])
    raise BadAnswer(
        f"key= gave a {kind_of(key)}, which cannot be known again in another process; give text, a number, a date, or a "
        f"tuple or frozen dataclass of these"
    )


_BY_TEXT = frozenset({b"uuid.UUID", b"ipaddress.IPv4Address", b"ipaddress.IPv6Address"})
"""Classes whose text says all of an object."""


def _told_of_number(key: Any) -> bytes:
    if isinstance(key, Decimal | Rational):
        whole = Fraction(key) if not isinstance(key, Decimal) or key.is_finite() else None
    else:
        whole = Fraction(float(key)) if isfinite(key) else None
    if whole is None:
        return b"r" + repr(float(key)).encode()
    return b"i%d" % whole if whole.denominator == 1 else b"q%d/%d" % (whole.numerator, whole.denominator)


def _inner(value: Any) -> bytes:
    """Of what is in a frozenset or a dataclass, which nobody has looked through."""
    if isinstance(value, list | dict | set | bytearray):
        raise BadAnswer(f"key= gave an object that holds a {kind_of(value)}, which can change; give what cannot")
    return _told(value)


def _class(key: object) -> bytes:
    return f"{type(key).__module__}.{type(key).__qualname__}".encode()


def _joined(kind: bytes, parts: Iterable[bytes]) -> bytes:
    """With the length of each, so that no two lists of parts are the same bytes."""
    return kind + b"".join(b"%d:%s" % (len(part), part) for part in parts)


__all__ = ["Recent", "Word", "digest_of"]
