"""Numbers and keys that come from outside, read in one place before an actor counts with them (L60).

A limit's `cost=` and `key=` and a batch's `size=` are functions of the user; a hint and a time-out come from headers,
exceptions and options. Nothing of that may reach an actor as NaN, as infinity, as text, or as a number that no clock can
hold: a thread that waits for its next timer cannot wait for more than about 292 years, and would end. An answer that cannot
be used is its row's error, `BadAnswer`.

Options are read by `headrace.runtime.quantities`, with the ranges that are stated there.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any

from .text import kind_of

LONGEST_S = 1e9
"""The longest duration, about 31 years, in seconds. Waits of the operating system overflow beyond 9.2e9 seconds."""
HEAVIEST = 1e15
"""The largest weight and size. Sums of larger floats would lose whole units."""
KEY_LENGTH_MAX = 65_536
"""Characters, bytes or bits of a key. Every message about a row carries its key, and every look-up hashes it."""
KEY_DEPTH_MAX = 16
"""Tuples within tuples of a key."""
SHOWN_MAX = 60
"""Characters of a value in a message."""
DAY_S = 86_400.0
"""A row may weigh what its rate lets through in a day; see `weight_of`."""


class BadAnswer(ValueError):
    """A function of the user's (`cost=`, `key=`, `size=`, `Pending`) gave something that cannot be used."""


def finite(value: object) -> float | None:
    """`value` as a float, where it is a finite number: an int, a float, a Decimal, a Fraction, a scalar of numpy.

    None for everything else: NaN, infinity, an integer that no float can hold, a bool, text.
    """
    kind = type(value)
    if kind is not float:
        # Most are plain ints, and asking an abstract class takes microseconds.
        if kind is not int and (kind is bool or not isinstance(value, Real | Decimal)):
            return None
        try:
            value = float(value)  # type: ignore[arg-type]
        except Exception:
            return None
    # The comparison is false for NaN, too.
    return value if -_INFINITY < value < _INFINITY else None  # type: ignore[operator,return-value]


_INFINITY = float("inf")


def bounded_s(seconds: float) -> float:
    """What a timer is set to: negative durations (and NaN) are over at once, longer ones than `LONGEST_S` last so long."""
    if 0.0 <= seconds <= LONGEST_S:
        return seconds
    return LONGEST_S if seconds > LONGEST_S else 0.0


def shown(value: object, *, private: bool = True) -> str:
    """How a message names what came from outside. Its `repr` may raise, may be long, and may hold what is private.

    `private`: of what is no number, only the type is named.
    """
    if private and not (value is None or isinstance(value, bool | int | float | Decimal)):
        return f"a {kind_of(value)}"
    try:
        text = repr(value)
    except Exception:
        return f"a {kind_of(value)} that cannot be shown"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def weight_of(answer: object, most: float = HEAVIEST) -> float:
    """The weight of a row, as `cost=` gave it. Raises `BadAnswer`.

    `most`: what the rate of the limit lets through in a day. A heavier row could be let through alone, on credit, but
    nothing could follow it for more than a day: that is taken for a mistake, and not waited for.
    """
    weight = answer if type(answer) is float else finite(answer)
    if weight is None or not 0.0 <= weight <= most:
        if weight is not None and weight > most:
            raise BadAnswer(
                f"cost= gave {shown(answer)}; the limit's rate lets {most:g} through in a day, so a row that weighs more "
                f"would stop all others for longer than that; split the row, or raise the rate"
            )
        raise BadAnswer(f"cost= gave {shown(answer)}; the cost of a row is a finite number of at least 0")
    return weight


def size_of(answer: object) -> float:
    """The size of a row in bytes, as `size=` gave it. Raises `BadAnswer`."""
    size = float(answer) if type(answer) is int and answer < HEAVIEST else finite(answer)
    if size is None or not 0.0 <= size <= HEAVIEST:
        raise BadAnswer(f"size= gave {shown(answer)}; the size of a row is a number of bytes from 0 to {HEAVIEST:g}")
    return size


def check_after_s(seconds: object) -> float:
    """In how many seconds a row that is `Pending` is to be asked about again; 0 where that time is past.

    A timedelta is understood, too. Raises `BadAnswer` for what is no finite number of at most `LONGEST_S`.
    """
    number = finite(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    if number is None or number > LONGEST_S:
        raise BadAnswer(
            f"Pending({shown(seconds)}): check_after_s is a finite number of seconds, at most {LONGEST_S:.0e} (31 years)"
        )
    return max(0.0, number)


class ObjectKey:
    """A key that is an object of the user's own class, such as a frozen dataclass.

    Actors keep it in their tables, so its hash is asked for once, and an `__eq__` that raises says "another key":
    neither can end the actor that looks it up. An object that is not equal to itself is no key, which `key_of` sees to.
    """

    __slots__ = ("_hash", "key")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self._hash = hash(key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, ObjectKey) or self._hash != other._hash:
            return False
        try:
            return bool(self.key == other.key)
        except BaseException:
            return False

    def __repr__(self) -> str:
        return f"<{type(self.key).__name__}>"


def key_of(answer: Any) -> Hashable:
    """The key of a row, as `key=` gave it, in a form that no table can stumble over. Raises `BadAnswer`."""
    kind = type(answer)
    if kind is str or kind is bytes:
        if len(answer) <= KEY_LENGTH_MAX:
            return answer  # type: ignore[no-any-return]
        raise BadAnswer(f"key= gave {len(answer):,} characters or bytes; a key has {KEY_LENGTH_MAX:,} at most")
    if kind is int:
        if answer.bit_length() <= KEY_LENGTH_MAX:
            return answer  # type: ignore[no-any-return]
        raise BadAnswer(f"key= gave an int of {answer.bit_length():,} bits; a key has {KEY_LENGTH_MAX:,} at most")
    if answer is None or kind is bool:
        return answer  # type: ignore[no-any-return]
    return _key_of_object(answer, kind, 0)


def _key_of_object(answer: Any, kind: type, depth: int) -> Hashable:
    if kind is tuple:
        if depth >= KEY_DEPTH_MAX or len(answer) > KEY_LENGTH_MAX:
            raise BadAnswer(
                f"key= gave a tuple that is too large; a key has {KEY_LENGTH_MAX:,} items at most, and {KEY_DEPTH_MAX} "
                f"tuples within each other"
            )
        return tuple(_item(item, depth + 1) for item in answer)
    try:
        itself = bool(answer == answer)
    except BaseException as error:
        raise _no_key(answer, f"its __eq__ raises {kind_of(error)}") from error
    if not itself:
        raise _no_key(answer, "it is not equal to itself, as NaN is not, so no two rows could share it")
    if kind is float or isinstance(answer, Enum):
        return answer  # type: ignore[no-any-return]
    if isinstance(answer, Integral):
        # A scalar of numpy shares the queue of the int that it equals.
        return key_of(int(answer))
    try:
        return ObjectKey(answer)
    except BaseException as error:
        told = f"it cannot be hashed ({kind_of(error)})"
        raise _no_key(answer, told) from error


def _item(item: Any, depth: int) -> Hashable:
    kind = type(item)
    return _key_of_object(item, kind, depth) if kind is tuple else key_of(item)


def _no_key(answer: object, why: str) -> BadAnswer:
    return BadAnswer(
        f"key= gave a {kind_of(answer)}, which cannot be the key of a row: {why}; "
        f"give text, a number, or a tuple of these"
    )
