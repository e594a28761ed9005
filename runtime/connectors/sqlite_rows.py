"""Rows as what a table of an SQLite database can hold, so that they read back as they were."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import msgspec

from ..text import kind_of
from .json_values import encode, plain, surrogate_in
from .records import record_of
from .sqlite_shape import fold

_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1


def alike(items: list[Any]) -> tuple[tuple[str, ...], list[tuple[object, ...]]] | None:
    """(keys, values of each row) of rows with the same keys, whose values a database holds as they are; None where anything
    about one of them is to be looked at. What a database does not take is not looked for."""
    kinds = set(map(type, items))
    try:
        if kinds != {dict}:
            if len(kinds) != 1 or not issubclass(kinds.pop(), msgspec.Struct):
                return None
            items = msgspec.to_builtins(items, builtin_types=(bytes,))
        keys = set(map(tuple, items))
        if len(keys) != 1:
            return None
        names: tuple[str, ...] = keys.pop()
        rows = list(map(tuple, map(dict.values, items)))
        types = set(map(type, chain.from_iterable(rows)))
        if not names or not _PLAIN.issuperset(types) or set(map(type, names)) != {str}:
            return None
        if float in types:
            cells = list(chain.from_iterable(rows))
            # SQLite has no NaN, and stores NULL for it.
            if any(map(operator.ne, cells, cells)):
                return None
    except (TypeError, ValueError, RecursionError):
        return None
    return names, rows


def values_of(item: object, columns: Mapping[str, str] | None, key: Iterable[str]) -> dict[str, object] | str:
    """What is to be written of a row, by column, or what is wrong with it. `columns`: those of the table, by their folded
    names; None where it is to be made of this row. `key`: columns that may not be missing."""
    row = record_of(item, "a row of a table")
    if isinstance(row, str):
        return row
    if not row:
        return "a row without columns"
    values: dict[str, object] = {}
    known: dict[str, str] = {}
    for name, value in row.items():
        fault = _fault_of_name(name) if columns is None or type(name) is not str else None
        if fault is None and columns is not None and fold(name) not in columns:
            fault = f"is no column of the table that can be written; it has {_listed(columns.values())}"
        if fault is None and fold(name) in known:
            fault = f"is the same column as {_shown(known[fold(name)])}"
        if fault is not None:
            return f"key {_shown(name)}: {fault}"
        known[fold(name)] = name
        values[name], fault = _value(value)
        if fault is not None:
            return f"field {_shown(name)}: {fault}"
    for name in key:
        if values.get(known.get(fold(name), "")) is None:
            return f"field {_shown(name)}: is missing, and is the key"
    return values


def _value(value: Any) -> tuple[object, str | None]:
    """(what is stored, None), or (None, what is wrong with it)."""
    kind = type(value)
    if kind is str:
        return value, surrogate_in(value)
    if kind is int:
        return value, None if _INT_MIN <= value <= _INT_MAX else "an integer of more than 64 bits"
    if kind is float:
        return value, None if value == value else "nan, for which SQLite would store NULL"
    if kind in _PLAIN:
        return value, None
    data, fault = encode(value)
    if fault is not None:
        return None, fault
    try:
        built = msgspec.to_builtins(value, enc_hook=plain)
    except Exception as error:
        return None, f"it cannot be written as text ({kind_of(error)})"
    return _value(built) if type(built) in _PLAIN else (data.decode(), None)


def _fault_of_name(name: object) -> str | None:
    if type(name) is not str:
        return "is no text"
    if "\x00" in name:
        return "a name with a NUL cannot be said to SQLite"
    return surrogate_in(name)


def _listed(names: Iterable[str]) -> str:
    listed = list(map(_shown, names))
    return ", ".join(listed[:20]) + (", ..." if len(listed) > 20 else "")


def _shown(name: object) -> str:
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
