"""pyarrow, imported when it is used, and rows in its types: a value that would become another one is its row's fault."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import uuid
from collections.abc import Sequence
from typing import Any, get_args, get_origin

import msgspec

from ...errors import ConfigError
from ...rows.contracts import fields_of, is_record
from ...text import kind_of, visible
from ..json_values import fault_of, plain

_NATIVE = (bytes, datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)
"""Types that Arrow has, too."""
_EXACT: dict[str, frozenset[type]] = {
    "string": frozenset({str, type(None)}),
    "large_string": frozenset({str, type(None)}),
    "int64": frozenset({int, type(None)}),
    "double": frozenset({float, type(None)}),
    "bool": frozenset({bool, type(None)}),
    "binary": frozenset({bytes, type(None)}),
}
"""Types of values that a column takes as they are; of others it is seen whether they read back."""


def pyarrow() -> tuple[Any, Any]:
    """(pyarrow, pyarrow.parquet). Raises `ConfigError` without the extra."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ConfigError("Parquet needs the extra 'parquet': pip install 'headrace[parquet]'") from None
    return pyarrow, parquet


def record(item: object) -> dict[str, object] | str:
    """A row as a dict; or what is wrong with it."""
    if type(item) is not dict:
        try:
            item = msgspec.to_builtins(item, builtin_types=_NATIVE, enc_hook=plain)
        except Exception:
            return fault_of(item) or f"a row of a Parquet file is a dict or a struct, not {kind_of(item)}"
        if type(item) is not dict:
            return f"a row of a Parquet file is a dict or a struct, not {kind_of(item)}"
    bad = next((name for name in item if type(name) is not str), None)
    return f"key {visible(ascii(bad))[:80]}: is no text" if bad is not None else item


def simple(value: object) -> object:
    """A value in types that Arrow knows. Raises `ValueError`."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)) or kind in _NATIVE:
        return value
    if isinstance(value, dict):
        return {str(key): simple(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [simple(each) for each in value]
    if isinstance(value, set | frozenset):
        return [simple(each) for each in value]
    if isinstance(value, uuid.UUID | os.PathLike):
        return str(value)
    if isinstance(value, enum.Enum):
        return simple(value.value)
    try:
        return msgspec.to_builtins(value, builtin_types=_NATIVE, enc_hook=plain)
    except Exception:
        raise ValueError(fault_of(value) or f"an object of the type {kind_of(value)}") from None


def schema_of(rows: Sequence[dict[str, object]]) -> object:
    """The types of the first rows: of each column, that of the values that are there; text where there are none."""
    arrow, _ = pyarrow()
    fields = []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = []
        for row in rows:
            try:
                values.append(simple(row.get(name)))
            except (ValueError, RecursionError):
                continue
        fields.append(arrow.field(name, _type_of(arrow, [each for each in values if each is not None])))
    return arrow.schema(fields)


def _type_of(arrow: Any, values: list[Any]) -> Any:
    if not values:
        return arrow.string()
    if all(type(each) is decimal.Decimal and each.is_finite() for each in values):
        return arrow.decimal128(38, max(0, *(-int(each.as_tuple().exponent) for each in values), 0))
    try:
        return _settled(arrow, arrow.array(values).type)
    except Exception:
        # They differ: the first one decides, and others are the faults of their rows.
        try:
            return _settled(arrow, arrow.array(values[:1]).type)
        except Exception:
            return arrow.string()


def _settled(arrow: Any, kind: Any) -> object:
    """A type without what nobody could write: of a list of nothing, text."""
    types = arrow.types
    if types.is_null(kind):
        return arrow.string()
    if types.is_list(kind):
        return arrow.list_(_settled(arrow, kind.value_type))
    if types.is_struct(kind):
        if not kind.num_fields:
            return arrow.map_(arrow.string(), arrow.string())
        return arrow.struct([arrow.field(each.name, _settled(arrow, each.type)) for each in kind])
    if types.is_timestamp(kind):
        return arrow.timestamp("us", kind.tz and str(kind.tz))
    return kind


def as_schema(said: object, name: str) -> object:
    """The schema that a user gave: one of pyarrow, or a type of rows. Raises `ConfigError`."""
    arrow, _ = pyarrow()
    if isinstance(said, arrow.Schema):
        return said
    if is_record(said):
        return arrow.schema([arrow.field(each, _of_hint(arrow, kind, name)) for each, kind in fields_of(said).items()])
    raise ConfigError(
        f"{name}: schema={visible(repr(said))[:80]}: a pyarrow.Schema, a msgspec Struct, a dataclass or a TypedDict is"
        " expected"
    )


def streamable(schema: Any) -> Any:
    """The schema of a stream of such rows, one batch of which can be taken away: without dictionaries that they share."""
    arrow, _ = pyarrow()
    return arrow.schema([arrow.field(each.name, _plain(arrow, each.type), each.nullable) for each in schema])


def _plain(arrow: Any, kind: Any) -> object:
    types = arrow.types
    if types.is_dictionary(kind):
        return _plain(arrow, kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return arrow.list_(_plain(arrow, kind.value_type))
    if types.is_struct(kind):
        return arrow.struct([arrow.field(each.name, _plain(arrow, each.type), each.nullable) for each in kind])
    return kind


def _of_hint(arrow: Any, hint: object, name: str) -> object:
    kinds = [each for each in get_args(hint) if each is not type(None)]
    origin = get_origin(hint)
    if origin in (list, set, tuple, frozenset):
        return arrow.list_(_of_hint(arrow, kinds[0] if kinds else str, name))
    if origin is dict:
        return arrow.map_(_of_hint(arrow, kinds[0], name), _of_hint(arrow, kinds[1], name))
    if origin is not None and kinds:
        return _of_hint(arrow, kinds[0], name)
    if is_record(hint):
        return arrow.struct([arrow.field(each, _of_hint(arrow, kind, name)) for each, kind in fields_of(hint).items()])
    table = {
        str: arrow.string(),
        int: arrow.int64(),
        float: arrow.float64(),
        bool: arrow.bool_(),
        bytes: arrow.binary(),
        datetime.datetime: arrow.timestamp("us", "UTC"),
        datetime.date: arrow.date32(),
        datetime.time: arrow.time64("us"),
        datetime.timedelta: arrow.duration("us"),
        decimal.Decimal: arrow.decimal128(38, 9),
        uuid.UUID: arrow.string(),
    }
    if hint not in table:
        raise ConfigError(
            f"{name}: schema: nobody knows how {visible(repr(hint))[:80]} is written; give a pyarrow.Schema"
        )
    return table[hint]


def batch_of(rows: Sequence[tuple[int, dict[str, object]]], schema: Any) -> tuple[Any, dict[int, str]]:
    """(the rows that fit as a record batch, what is wrong with the others by their number)."""
    faults: dict[int, str] = {}
    names = set(schema.names)
    fit: list[tuple[int, dict[str, object]]] = []
    for i, row in rows:
        stray = next((name for name in row if name not in names), None)
        if stray is not None:
            faults[i] = f"key {visible(ascii(stray))[:80]}: is no column; there are {', '.join(schema.names[:20])}"
        else:
            fit.append((i, row))
    while True:
        columns: list[object] = []
        bad: dict[int, str] = {}
        for field in schema:
            column, wrong = _column([(i, row.get(field.name)) for i, row in fit], field)
            columns.append(column)
            for i, what in wrong.items():
                bad.setdefault(i, f"field {visible(ascii(field.name))[:80]}: {what}")
        if not bad:
            arrow, _ = pyarrow()
            return arrow.RecordBatch.from_arrays(columns, schema=schema), faults
        faults |= bad
        fit = [(i, row) for i, row in fit if i not in bad]


def _column(values: list[tuple[int, object]], field: Any) -> tuple[object, dict[int, str]]:
    """(a column of these values, what is wrong with some of them)."""
    arrow, _ = pyarrow()
    plain_values = [value for _, value in values]
    exact = _EXACT.get(str(field.type))
    if exact is not None and exact.issuperset(map(type, plain_values)) and (field.nullable or None not in plain_values):
        try:
            return arrow.array(plain_values, field.type), {}
        except Exception:
            # One of them is too large, or a text without a form.
            pass
    faults = {i: what for i, value in values if (what := _fault_of(value, field)) is not None}
    if faults:
        return None, faults
    return arrow.array([simple(value) for value in plain_values], field.type), {}


def _fault_of(value: object, field: Any) -> str | None:
    arrow, _ = pyarrow()
    if value is None:
        return None if field.nullable else "is missing, and may not be"
    try:
        value = simple(value)
        [back] = arrow.array([value], field.type).to_pylist()
    except RecursionError:
        return "lists and objects within each other, too deep"
    except UnicodeError:
        return "a text with a lone surrogate, which no encoding can hold"
    except ValueError as error:
        what = str(error).splitlines()[0] if type(error) is ValueError else "it does not fit"
        return f"{what}; the column has the type {field.type}"
    except Exception as error:
        return f"it does not fit ({kind_of(error)}); the column has the type {field.type}"
    if _same(value, back):
        return None
    return f"it would not read back as it is; the column has the type {field.type}"


def _same(value: object, back: object) -> bool:
    if isinstance(value, dict):
        if isinstance(back, list):
            back = dict(back)
        if not isinstance(back, dict) or not back.keys() >= value.keys():
            return False
        return all(_same(value.get(name), each) for name, each in back.items())
    if isinstance(value, list):
        return isinstance(back, list) and len(back) == len(value) and all(map(_same, value, back))
    if isinstance(value, float) and math.isnan(value):
        return isinstance(back, float) and math.isnan(back)
    if isinstance(value, bool) is not isinstance(back, bool):
        return False
    return bool(value == back)
