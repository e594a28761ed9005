"""Values that are more than plain data, as bytes and back: each comes back as the type that it was (L62).

Plain data (dicts with text as keys, lists, text, bytes, numbers, booleans, None) is msgpack. Everything else is a msgpack
extension whose code says what it is. A dataclass, a msgspec Struct, a named tuple or an Enum is written with the module and
the name of its class, and comes back through that name; no code is written down.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import importlib
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import attrgetter, countOf
from typing import Any

import msgspec

from headrace.runtime.errors import ConfigError

Ext = msgspec.msgpack.Ext

DEPTH_MAX = 200
"""Containers in containers: what is deeper could be written and not be read again."""

_SCALARS = frozenset({str, int, float, bool, type(None), bytes})
_TEXT = frozenset({str})
_encode = msgspec.msgpack.Encoder().encode

TUPLE, _SET, _FROZENSET, _INT, _STR, _DATETIME, _DATE, _TIME, _TIMEDELTA = range(1, 10)
_DECIMAL, _UUID, _COMPLEX, _BYTEARRAY, _PAIRS, _ENUM, _RECORD = range(10, 17)


class Unfit(Exception):
    """A value that cannot be written down. `field`: where in the row it is; `reason`: why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self._way: list[str] = []

    def inside(self, step: str) -> Unfit:
        """The same, seen from one container further out."""
        self._way.append(step)
        return self

    @property
    def field(self) -> str:
        """The path to it, such as `people[3].born`; empty for the value itself."""
        return "".join(reversed(self._way)).removeprefix(".")


def is_plain(value: Any, depth: int = DEPTH_MAX) -> bool:
    """Whether a value is plain data of exactly the built-in types, which msgpack gives back as they were."""
    kind = type(value)
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        items: Any = value.values()
    elif kind is list:
        items = value
        if items and (first := type(items[0])) in _SCALARS and countOf(map(type, items), first) == len(items):
            # Numbers of an embedding: three times as fast as the other way.
            return True
        if depth > 0 and items and countOf(map(type, items), dict) == len(items) and _are_flat(items):
            return True
    else:
        return kind in _SCALARS
    if _SCALARS.issuperset(map(type, items)):
        return True
    return depth > 0 and all(type(each) in _SCALARS or is_plain(each, depth - 1) for each in items)


def _are_flat(rows: list[dict[object, object]]) -> bool:
    """Whether dicts have text as keys and scalars as values, looked at in one go: four times as fast as one by one."""
    return _TEXT.issuperset(map(type, chain.from_iterable(rows))) and _SCALARS.issuperset(
        map(type, chain.from_iterable(map(dict.values, rows)))
    )


class Types:
    """Writes values down and reads them back. `local`: classes that have no name to be found by, such as those that a
    function defines and says that it returns."""

    def __init__(self, local: Iterable[type] = ()) -> None:
        self._local = {(kind.__module__, kind.__qualname__): kind for kind in local}
        self._shapes: dict[type, Callable[[object, int], object]] = {}
        self._decoder = msgspec.msgpack.Decoder(ext_hook=self._read)

    def encode(self, value: object) -> bytes:
        """Encode any value. Raises `Unfit`."""
        try:
            return _encode(self._told(value, DEPTH_MAX))
        except (RecursionError, MemoryError):
            raise Unfit(f"is nested more than {DEPTH_MAX} deep") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise Unfit(f"cannot be written: {error}") from None

    def decode(self, data: bytes) -> object:
        """The value again. Raises `msgspec.MsgspecError`, and `ConfigError` where its class is not there any more."""
        return self._decoder.decode(data)

    # --- written ---

    def _told(self, value: Any, depth: int) -> object:
        """The value, of plain data and extensions."""
        kind = type(value)
        if kind in _SCALARS:
            return _scalar(value, kind)
        if depth <= 0:
            raise Unfit(f"is nested more than {DEPTH_MAX} deep")
        if kind is list:
            return self._items(value, depth)
        if kind is dict:
            return self._dict(value, depth)
        write = _WRITERS.get(kind)
        if write is not None:
            return write(self, value, depth)
        shape = self._shapes.get(kind)
        if shape is None:
            shape = self._shapes[kind] = self._shape_of(kind)
        return shape(value, depth)

    def _items(self, values: Iterable[object], depth: int) -> list[object]:
        told = []
        for index, each in enumerate(values):
            try:
                told.append(self._told(each, depth - 1))
            except Unfit as unfit:
                raise unfit.inside(f"[{index}]") from None
        return told

    def _fields(self, values: Iterable[tuple[str, object]], depth: int) -> dict[str, object]:
        told = {}
        for name, each in values:
            try:
                told[name] = self._told(each, depth - 1)
            except Unfit as unfit:
                raise unfit.inside(f".{name}") from None
        return told

    def _dict(self, value: dict[Any, object], depth: int) -> object:
        if _TEXT.issuperset(map(type, value)) and all(map(_is_utf8, value)):
            return self._fields(value.items(), depth)
        pairs = []
        for key, each in value.items():
            try:
                pairs.append([self._told(key, depth - 1), self._told(each, depth - 1)])
            except Unfit as unfit:
                raise unfit.inside(f"[{key!r}]") from None
        return Ext(_PAIRS, _encode(pairs))

    def _packed(self, code: int, values: Iterable[object], depth: int) -> Ext:
        return Ext(code, _encode(self._items(values, depth)))

    def _shape_of(self, kind: type) -> Callable[[Any, int], object]:
        """How instances of a class are written. Raises `Unfit`."""
        if issubclass(kind, enum.Enum):
            name = self._name_of(kind)
            return lambda value, depth: Ext(_ENUM, _encode([*name, *_member(self, value, depth)]))
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            name, fields = self._name_of(kind), kind._fields
            return lambda value, depth: self._record(name, zip(fields, value, strict=True), depth)
        if issubclass(kind, msgspec.Struct):
            names = kind.__struct_fields__
        elif dataclasses.is_dataclass(kind):
            names = tuple(field.name for field in dataclasses.fields(kind))
        elif hasattr(kind, "__attrs_attrs__"):
            names = tuple(field.name for field in kind.__attrs_attrs__)
        else:
            raise Unfit(_advice(kind))
        if issubclass(kind, str | int | float | bytes | list | dict | set | frozenset | tuple):
            raise Unfit(_advice(kind))
        return self._record_shape(kind, names)

    def _record_shape(self, kind: type, names: tuple[str, ...]) -> Callable[[object, int], object]:
        name, known = self._name_of(kind), frozenset(names)

        def write(value: object, depth: int) -> object:
            more = getattr(value, "__dict__", None)
            if more and not known.issuperset(more):
                raise Unfit(
                    f"is a {kind.__name__} with attributes that are no fields: {sorted(set(more) - known)[0]!r}"
                )
            try:
                pairs = [(each, getattr(value, each)) for each in names]
            except AttributeError as error:
                raise Unfit(f"is a {kind.__name__} without one of its fields: {error.name!r}") from None
            return self._record(name, pairs, depth)

        return write

    def _record(self, name: tuple[str, str], fields: Iterable[tuple[str, object]], depth: int) -> Ext:
        return Ext(_RECORD, _encode([*name, self._fields(fields, depth)]))

    def _name_of(self, kind: type) -> tuple[str, str]:
        """By what a class is found again."""
        name = kind.__module__, kind.__qualname__
        if self._local.get(name) is kind:
            return name
        try:
            found = attrgetter(name[1])(sys.modules[name[0]])
        except (KeyError, AttributeError):
            found = None
        if found is not kind:
            raise Unfit(
                f"is a {kind.__name__}, a class that cannot be found again as {name[1]!r} in the module {name[0]!r}; "
                f"define it at the top of a module"
            )
        return name

    # --- read ---

    def _read(self, code: int, data: memoryview) -> object:
        body = bytes(data)
        match code:
            case 15:
                module, qualname, member, number = self._decoder.decode(body)
                kind = self._class(module, qualname)
                return kind[member] if member is not None else kind(number)
            case 16:
                module, qualname, fields = self._decoder.decode(body)
                return _rebuilt(self._class(module, qualname), fields)
            case _:
                return READERS[code](self._decoder.decode, body)

    def _class(self, module: str, qualname: str) -> Any:
        kind: object = self._local.get((module, qualname))
        if kind is None:
            try:
                kind = attrgetter(qualname)(sys.modules.get(module) or importlib.import_module(module))
            except (ImportError, AttributeError):
                raise ConfigError(f"an answer is a {qualname} of the module {module!r}, which is not there") from None
        fits = isinstance(kind, type) and (
            issubclass(kind, msgspec.Struct | enum.Enum | tuple)
            or dataclasses.is_dataclass(kind)
            or hasattr(kind, "__attrs_attrs__")
        )
        if not fits:
            raise ConfigError(f"an answer is a {qualname} of the module {module!r}, which is no record any more")
        return kind


def _scalar(value: Any, kind: type) -> object:
    if kind is str:
        return value if _is_utf8(value) else Ext(_STR, value.encode("utf-8", "surrogatepass"))
    if kind is int and not -(1 << 63) <= value < 1 << 64:
        return Ext(_INT, hex(value).encode())
    return value


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _member(types: Types, value: enum.Enum, depth: int) -> tuple[str | None, object]:
    """An Enum by its name; a combination of flags, which may have none, by its number."""
    name = value.name
    if name is not None and type(value).__members__.get(name) is value:
        return name, None
    return None, types._told(value.value, depth - 1)


def _rebuilt(kind: Any, fields: dict[str, object]) -> object:
    """A record with these fields, without what its constructor would do anew."""
    if issubclass(kind, tuple):
        if fields.keys() != set(kind._fields):
            raise ConfigError(f"an answer is a {kind.__name__} with other fields than that has now")
        return tuple.__new__(kind, [fields[name] for name in kind._fields])
    if issubclass(kind, msgspec.Struct):
        if fields.keys() != set(kind.__struct_fields__):
            raise ConfigError(f"an answer is a {kind.__name__} with other fields than that has now")
        return _struct(kind, fields)
    made = object.__new__(kind)
    for name, each in fields.items():
        object.__setattr__(made, name, each)
    return made


def _struct(kind: Any, fields: dict[str, object]) -> object:
    # A Struct cannot be made without its constructor.
    made = kind(**fields)
    for name, each in fields.items():
        if getattr(made, name) is not each:
            # Its `__post_init__` made something else of what was already the end of that.
            msgspec.structs.force_setattr(made, name, each)
    return made


def _advice(kind: type) -> str:
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"is a {name}; let the function return plain data, a dataclass or a msgspec Struct"


# --- types of the standard library ---------------------------------------------------------------------------------------


def _zone(value: dt.datetime | dt.time) -> str | None:
    """The name of a time zone that has one; None for a fixed offset, which ISO 8601 writes."""
    zone = value.tzinfo
    if zone is None or type(zone) is dt.timezone:
        return None
    key = getattr(zone, "key", None)
    if type(zone).__module__ == "zoneinfo" and isinstance(key, str):
        return key
    raise Unfit(f"has a time zone that has no name to be found by, a {type(zone).__module__}.{type(zone).__qualname__}")


def _moment(code: int) -> Callable[[Types, object, int], Ext]:
    def write(_: Types, value: Any, depth: int) -> Ext:
        zone = _zone(value)
        local = value if zone is None else value.replace(tzinfo=None)
        return Ext(code, _encode([local.isoformat(), zone, value.fold, value.tzinfo is dt.UTC]))

    return write


def _at(kind: Any) -> Callable[[Callable[[bytes], object], bytes], object]:
    def read(decode: Callable[[bytes], Any], body: bytes) -> object:
        text, zone, fold, utc = decode(body)
        value = kind.fromisoformat(text)
        if zone is not None:
            # It takes as long to import as half of the journal, and few rows have one.
            from zoneinfo import ZoneInfo

            value = value.replace(tzinfo=ZoneInfo(zone))
        elif utc:
            value = value.replace(tzinfo=dt.UTC)
        return value.replace(fold=fold)

    return read


def _text_of(code: int, text: Callable[[Any], str] = str) -> Callable[[Types, object, int], Ext]:
    return lambda _, value, depth: Ext(code, text(value).encode())


_WRITERS: Mapping[type, Callable[[Types, Any, int], object]] = {
    tuple: lambda types, value, depth: types._packed(TUPLE, value, depth),
    set: lambda types, value, depth: types._packed(_SET, value, depth),
    frozenset: lambda types, value, depth: types._packed(_FROZENSET, value, depth),
    dt.datetime: _moment(_DATETIME),
    dt.date: _text_of(_DATE, dt.date.isoformat),
    dt.time: _moment(_TIME),
    dt.timedelta: lambda _, value, depth: Ext(_TIMEDELTA, _encode([value.days, value.seconds, value.microseconds])),
    decimal.Decimal: _text_of(_DECIMAL),
    uuid.UUID: lambda _, value, depth: Ext(_UUID, value.bytes),
    complex: lambda _, value, depth: Ext(_COMPLEX, _encode([value.real, value.imag])),
    bytearray: lambda _, value, depth: Ext(_BYTEARRAY, bytes(value)),
}

READERS: Mapping[int, Callable[[Callable[[bytes], Any], bytes], Any]] = {
    TUPLE: lambda decode, body: tuple(decode(body)),
    _SET: lambda decode, body: set(decode(body)),
    _FROZENSET: lambda decode, body: frozenset(decode(body)),
    _INT: lambda _, body: int(body, 16),
    _STR: lambda _, body: body.decode("utf-8", "surrogatepass"),
    _DATETIME: _at(dt.datetime),
    _DATE: lambda _, body: dt.date.fromisoformat(body.decode()),
    _TIME: _at(dt.time),
    _TIMEDELTA: lambda decode, body: dt.timedelta(*decode(body)),
    _DECIMAL: lambda _, body: decimal.Decimal(body.decode()),
    _UUID: lambda _, body: uuid.UUID(bytes=body),
    _COMPLEX: lambda decode, body: complex(*decode(body)),
    _BYTEARRAY: lambda _, body: bytearray(body),
    _PAIRS: lambda decode, body: dict(decode(body)),
}
