"""Where a row stands in the order in which it is read: the values of its cursor and key, as plain data for a journal."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import ConfigError
from ...text import kind_of

_PLAIN = (str, bool, int, float, bytes)
_KINDS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], object]]] = {
    "datetime": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "timedelta": (datetime.timedelta, lambda each: repr(each.total_seconds()), lambda text: _seconds(text)),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "uuid": (uuid.UUID, str, uuid.UUID),
}
"""A datetime is a date, so it comes first."""
_INT_MAX = (1 << 63) - 1


def packed(values: Sequence[object], name: str) -> list[object]:
    """These values as plain data. Raises `ConfigError` for a type that nobody could find again."""
    return [_packed(value, name) for value in values]


def unpacked(data: Sequence[object]) -> tuple[object, ...]:
    """The values that were packed."""
    return tuple(_KINDS[each[0]][2](each[1]) if isinstance(each, list | tuple) else each for each in data)


def _packed(value: object, name: str) -> object:
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, int) and abs(value) > _INT_MAX:
        return ["decimal", str(value)]
    if type(value) in _PLAIN:
        return value
    for kind, (of, text, _) in _KINDS.items():
        if isinstance(value, of):
            return [kind, text(value)]
    raise ConfigError(f"{name}: rows cannot be told apart by a value of the type {kind_of(value)}; name another key=")


def _seconds(text: str) -> datetime.timedelta:
    return datetime.timedelta(seconds=float(text))
