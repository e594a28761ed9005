"""Rows as what a table of a database can hold: a value that would become another one unasked is its row's fault."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ...text import kind_of, visible
from ..json_values import encode, plain, surrogate_in
from ..records import record_of

_PLAIN = frozenset(
    {str, int, float, bool, bytes, type(None), decimal.Decimal, uuid.UUID}
    | {datetime.date, datetime.datetime, datetime.time, datetime.timedelta}
)


class Prepared(NamedTuple):
    """A row that can be written. `at`: its place in the batch."""

    at: int
    names: tuple[str, ...]
    values: tuple[object, ...]


class Columns:
    """The columns of a table, and what is checked of a value of each."""

    def __init__(self, columns: Mapping[str, Any], key: Sequence[str], *, wraps: bool) -> None:
        """`wraps`: values of JSON columns are told to the driver, not to SQLAlchemy."""
        self._names = frozenset(columns)
        self._key = tuple(key)
        self._checks = {name: _checks_of(column.type, wraps=wraps) for name, column in columns.items()}

    def prepared(self, items: Sequence[object]) -> tuple[list[Prepared], dict[int, str]]:
        """(rows that can be written, what is wrong with the others by index)."""
        rows: list[Prepared] = []
        faults: dict[int, str] = {}
        for i, item in enumerate(items):
            record = item if type(item) is dict else record_of(item, "a row of a table")
            row = self._prepared(i, record) if not isinstance(record, str) else record
            if isinstance(row, str):
                faults[i] = row
            else:
                rows.append(row)
        return rows, faults

    def _prepared(self, index: int, record: dict[Any, object]) -> Prepared | str:
        if not record:
            return "a row without any column"
        values = []
        for name, value in record.items():
            check = self._checks.get(name)
            if check is None:
                return f"key {_shown(name)}: is no column of the table that can be written; it has {self._listed()}"
            try:
                values.append(check(value))
            except ValueError as error:
                return f"field {_shown(name)}: {error}"
        for name in self._key:
            if record.get(name) is None:
                return f"field {_shown(name)}: is missing, and is the key"
        return Prepared(index, tuple(record), tuple(values))

    def _listed(self) -> str:
        names = sorted(self._names)
        return ", ".join(map(_shown, names[:20])) + (", ..." if len(names) > 20 else "")


def plain_rows(items: Sequence[object]) -> list[dict[str, object]]:
    """The rows of which a table can be made."""
    records = (item if type(item) is dict else record_of(item, "a row of a table") for item in items)
    return [
        {name: _value(value) for name, value in record.items()}
        for record in records
        if isinstance(record, dict) and record and all(map(_is_name, record))
    ]


def fault_of_first(item: object) -> str:
    """Why no table can be made of a row."""
    record = record_of(item, "a row of a table")
    if isinstance(record, str):
        return record
    bad = next((name for name in record if not _is_name(name)), None)
    return f"key {_shown(bad)}: is no name of a column" if record else "a row without any column"


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name.encode("utf-8", "replace")) <= 63
        and "\x00" not in name
        and surrogate_in(name) is None
    )


def _value(value: object) -> object:
    if isinstance(value, dict | list | tuple | set):
        return [] if isinstance(value, tuple | set) else value
    try:
        return _simple(value)
    except ValueError:
        # Its row is refused; the column is one of text.
        return ""


def _checks_of(kind: object, *, wraps: bool) -> Callable[[object], object]:
    import sqlalchemy as sa

    if isinstance(kind, sa.JSON):
        return _wrapped(kind) if wraps else _json
    if isinstance(kind, sa.ARRAY):
        return lambda value: list(value) if isinstance(value, list | tuple | set) else _simple(value)
    if isinstance(kind, sa.DateTime):
        zoned = bool(kind.timezone)
        return lambda value: _moment(value, zoned=zoned)
    if isinstance(kind, sa.Integer):
        return _whole
    if isinstance(kind, sa.Boolean):
        return _truth
    if isinstance(kind, sa.Uuid):
        return _uuid
    if isinstance(kind, sa.LargeBinary):
        return _bytes
    return _text if isinstance(kind, sa.String) else _simple


def _json(value: object) -> object:
    if value is None:
        return None
    _, fault = encode(value)
    if fault is not None:
        raise ValueError(fault)
    return msgspec.to_builtins(value, enc_hook=plain)


def _wrapped(kind: object) -> Callable[[object], object]:
    from psycopg.types.json import Json

    def wrapped(value: object) -> object:
        if value is None:
            return None
        data, fault = encode(value)
        if fault is not None:
            raise ValueError(fault)
        return Json(None, dumps=lambda _: data.decode())

    return wrapped


def _moment(value: object, *, zoned: bool) -> object:
    if type(value) is datetime.datetime and value.tzinfo is not None and not zoned:
        raise ValueError("a time with a zone, and the column has none: make it UTC and leave the zone out")
    return _simple(value)


def _whole(value: object) -> object:
    if type(value) is float and not value.is_integer():
        raise ValueError("a fraction, and the column has whole numbers")
    if type(value) is decimal.Decimal and value != value.to_integral_value():
        raise ValueError("a fraction, and the column has whole numbers")
    return int(value) if type(value) is float else _simple(value)


def _truth(value: object) -> object:
    if value is None or type(value) is bool:
        return value
    found = _TRUTH.get(str(value).lower()) if type(value) in (str, int) else None
    if found is None:
        raise ValueError("neither true nor false")
    return found


_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _uuid(value: object) -> object:
    if type(value) is not str:
        return _simple(value)
    try:
        return uuid.UUID(value)
    except ValueError:
        raise ValueError("no UUID") from None


def _bytes(value: object) -> object:
    value = _simple(value)
    if value is not None and type(value) is not bytes:
        raise ValueError("no bytes, and the column has bytes")
    return value


def _text(value: object) -> object:
    value = _simple(value)
    if type(value) is str:
        fault = "a NUL, which no text of a database has" if "\x00" in value else surrogate_in(value)
        if fault is not None:
            raise ValueError(fault)
        return value
    if type(value) is bool:
        return "true" if value else "false"
    return value if value is None or type(value) is bytes else str(value)


def _simple(value: object) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, enum.Enum):
        return _simple(value.value)
    data, fault = encode(value)
    if fault is not None:
        raise ValueError(fault)
    try:
        built = msgspec.to_builtins(value, enc_hook=plain)
    except Exception as error:
        raise ValueError(f"it cannot be written as text ({kind_of(error)})") from None
    return built if type(built) in _PLAIN else data.decode()


def _shown(name: object) -> str:
    text = visible(ascii(name))
    return text if len(text) <= 80 else f"{text[:77]}..."
