"""Rows as JSON that reads back as it was: what JSON cannot hold is its row's fault, and is never written as another value.

Written as msgspec does: dates, times, UUIDs, decimals and bytes (base64) as text, enumerations as their value, tuples and
sets as lists, Structs and dataclasses as objects; besides, paths and subclasses of text as text, what counts as an integer
(`__index__`) as a number, and any mapping as an object. Refused: NaN and the infinities, lone surrogates (the standard for
interchange, RFC 7493, forbids them, and most readers do), keys that are no text, objects of other types, values that contain
themselves or lie too deep.

The encoder refuses some of these and writes others as something else (NaN as null, the key 1 as "1"). So a batch is encoded
as a whole, and then looked at as cheaply as it allows: where all types are known, by their types; else by reading it back.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import operator
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from ..text import kind_of

DEPTH_MAX = 400
"""Lists and objects within each other at most, where a row is looked at more closely."""


def plain(value: Any) -> object:
    """What a value is written as that msgspec does not know. Raises `TypeError`."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(type(value), "__index__"):
        return operator.index(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"an object of the type {kind_of(value)}")


_TEXT = frozenset({str})
_LISTS = frozenset({list, tuple, set, frozenset})
_SCALARS = frozenset(
    {
        *(str, int, float, bool, type(None), msgspec.UnsetType),
        *(bytes, datetime.datetime, datetime.date, datetime.time, decimal.Decimal, uuid.UUID),
    }
)
"""Types of which each value is written as one of its own."""
_encoder = msgspec.json.Encoder(enc_hook=plain)
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_decoder = msgspec.json.Decoder()


def encode_lines(rows: list[object]) -> tuple[bytes, dict[int, str]]:
    """(one line for each row that can be written, what is wrong with the others by index)."""
    try:
        data = _encode_lines(rows)
    except Exception:
        return _one_by_one(rows)
    if _is_table(rows, data) or _is_faithful(rows, data) or _reads_back(rows, data):
        return data, {}
    return _one_by_one(rows)


def encode(value: object) -> tuple[bytes, str | None]:
    """(JSON, None), or (nothing, what is wrong with the value)."""
    data, faults = encode_lines([value])
    return data[:-1], faults.get(0)


def _is_table(rows: list[Any], data: bytes) -> bool:
    """Whether `_is_faithful` would say so of rows that are dicts of scalars, as most are: looked at in one go, in a third of
    the time. Anything else is looked at there."""
    if set(map(type, rows)) != {dict} or not _TEXT.issuperset(map(type, set().union(*rows))):
        return False
    kinds = set(map(type, chain.from_iterable(map(dict.values, rows))))
    return _SCALARS.issuperset(kinds) and (float not in kinds or b"null" not in data)


def _is_faithful(rows: list[object], data: bytes) -> bool:
    """Whether these are made of nothing but types that are written as they are, with text as keys, and no null is a number
    that JSON does not have. Looked at level by level: what lies within each other is looked at together."""
    nulls = b"null" in data
    level: list[object] = rows
    for _ in range(DEPTH_MAX):
        kinds = set(map(type, level))
        if nulls and float in kinds and not all(map(math.isfinite, [each for each in level if type(each) is float])):
            return False
        kinds -= _SCALARS
        if not kinds:
            return True
        parts: list[Iterable[object]] = []
        for kind in kinds:
            inside: list[Any] = [each for each in level if type(each) is kind]
            if kind is dict:
                if not _TEXT.issuperset(map(type, set().union(*inside))):
                    return False
                parts += map(dict.values, inside)
            elif kind in _LISTS:
                parts += inside
            elif issubclass(kind, msgspec.Struct):
                parts += map(msgspec.structs.astuple, inside)
            else:
                return False
        level = list(chain.from_iterable(parts))
    return False


def _reads_back(rows: list[object], data: bytes) -> bool:
    """Whether reading gives what was written, as far as equality tells: a tuple is not equal to its list."""
    try:
        return bool(_decoder.decode_lines(data) == msgspec.to_builtins(rows, enc_hook=plain))
    except Exception:
        return False


def _one_by_one(rows: Sequence[object]) -> tuple[bytes, dict[int, str]]:
    lines: list[bytes] = []
    faults: dict[int, str] = {}
    for i, row in enumerate(rows):
        try:
            line = _encode(row)
        except Exception as error:
            faults[i] = fault_of(row) or f"it cannot be written as JSON ({kind_of(error)})"
            continue
        if not _is_faithful([row], line + b"\n") and not _reads_back([row], line + b"\n"):
            fault = fault_of(row)
            if fault is not None:
                faults[i] = fault
                continue
        lines.append(line)
    lines.append(b"")
    return b"\n".join(lines), faults


def fault_of(row: object) -> str | None:
    """The first thing in a row that JSON cannot hold: where it is, and what; None where nothing is found."""
    todo: list[tuple[object, str, int]] = [(row, "", 0)]
    while todo:
        value, path, depth = todo.pop()
        if depth > DEPTH_MAX:
            return f"field {_cut(path)!r}: lists and objects within each other, more than {DEPTH_MAX} deep"
        fault = _fault_here(value)
        if fault is not None:
            return f"field {_cut(path)!r}: {fault}" if path else fault
        todo.extend(reversed([(each, path + step, depth + 1) for step, each in _within(value)]))
    return None


def _fault_here(value: object) -> str | None:
    if isinstance(value, str):
        return surrogate_in(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{float(value)} is no number of JSON"
    if isinstance(value, Mapping):
        return next((fault for key in value if (fault := _fault_of_key(key)) is not None), None)
    if isinstance(value, list | tuple | set | frozenset | msgspec.Struct) or dataclasses.is_dataclass(value):
        return None
    try:
        _decoder.decode(_encode(value))
    except RecursionError:
        return "lists and objects within each other, too deep"
    except ValueError as error:
        return str(error).partition(";")[0]
    except Exception as error:
        told = str(error) if isinstance(error, TypeError) else kind_of(error)
        return f"{told} has no form in JSON"
    return None


def _fault_of_key(key: object) -> str | None:
    if not isinstance(key, str):
        return f"a key of the type {type(key).__name__}; the keys of JSON are text"
    return surrogate_in(key)


def surrogate_in(text: str) -> str | None:
    """What is wrong with a text that no encoding can hold; None where nothing is."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"a lone surrogate, \\u{ord(text[error.start]):04x}, at character {error.start}"
    return None


def _within(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield _step(key), each
    elif isinstance(value, list | tuple | set | frozenset):
        for i, each in enumerate(value):
            yield f"[{i}]", each
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            each = getattr(value, name)
            if each is not msgspec.UNSET:
                yield f".{name}", each
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name)


def _step(key: object) -> str:
    text = str(key)
    return f".{text}" if text.isidentifier() and text.isascii() else f"[{text!a}]"


def _cut(path: str) -> str:
    path = path.removeprefix(".")
    return path if len(path) <= 120 else f"{path[:80]}...{path[-30:]}"
