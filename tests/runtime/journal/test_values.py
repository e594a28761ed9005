"""Values in a journal: each comes back as the type that it was, or its row is told (L62)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
import zoneinfo
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.options import REDACTED, Journal
from headrace.runtime.journal.values.columns import Partial, Unkept, Values
from headrace.runtime.journal.values.typed import DEPTH_MAX
from headrace.runtime.journal.values.view import view


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: int
    right: Any


class Score(msgspec.Struct):
    n: int
    of: Any


@dataclasses.dataclass(slots=True)
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass
class Doubled:
    n: int

    def __post_init__(self) -> None:
        self.n *= 2


class Adds(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n += 1


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return math.copysign(1.0, a) == math.copysign(1.0, b) and (a == b or (a != a and b != b))
    if isinstance(a, dt.datetime):
        return a == b and repr(a) == repr(b)
    if isinstance(a, msgspec.Struct):
        return same(msgspec.structs.asdict(a), msgspec.structs.asdict(b))
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    return bool(a == b)


VALUES: list[Any] = [
    (1, [2, (3,)]),
    {"a": {1, 2}, "b": frozenset({"x"})},
    b"\x00\xff",
    bytearray(b"ab"),
    dt.datetime(2024, 2, 29, 12, 30, 1, 5),
    dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
    dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Stockholm")),
    dt.date(1, 1, 1),
    dt.time(23, 59, 59, 999999),
    dt.timedelta(days=-3, microseconds=7),
    decimal.Decimal("1.10"),
    decimal.Decimal("NaN"),
    uuid.UUID(int=7),
    complex(1, -2),
    Colour.RED,
    Size.SMALL,
    Rights.READ | Rights.WRITE,
    1 << 70,
    -(1 << 2000),
    {1: "a", (2, 3): "b", None: "c", False: "d", b"e": 1.5},
    {"nan": math.nan, "inf": -math.inf, "zero": -0.0},
    "lone \ud83d surrogate",
    {"lone \ud83d key": 1},
    Pair(1, (2,)),
    Score(1, {"deep": [Point(1, (2, Colour.RED))]}),
    [Point(1), Point(2, Score(3, None))],
    Doubled(4),
    Adds(4),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_a_value_comes_back_as_the_type_that_it_was_L62(value: Any) -> None:
    values = Values("work")
    # For the first row and for the millionth: nothing depends on how many there were before.
    for each in (value, {"n": value}, [value, 1]):
        data = values.encode(each)
        assert isinstance(data, bytes)
        back = values.decode(data)
        if isinstance(value, decimal.Decimal):
            assert repr(back) == repr(each)
        else:
            assert same(back, each), back
        msgspec.json.encode(view(data))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=4) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers() | st.text(max_size=2), max_size=3)
        | st.builds(Point, st.integers(), inner)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_whatever_a_row_is_made_of_it_comes_back_L62(value: Any) -> None:
    values = Values("work")
    data = values.encode(value)
    assert isinstance(data, bytes)
    assert same(values.decode(data), value) or isinstance(value, Point)
    assert repr(values.decode(data)) == repr(value) or "frozenset" in repr(value)


class Odd(str):
    pass


def deep(n: int) -> Any:
    value: Any = 1
    for _ in range(n):
        value = [value]
    return value


def local() -> Any:
    @dataclasses.dataclass
    class Here:
        n: int

    return Here(1)


def marked() -> Any:
    row = Doubled(1)
    row.note = "by hand"  # type: ignore[attr-defined]
    return row


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"a": [1, {"b": object()}]}, "a[1].b", "is a object"),
        (Odd("x"), "", "Odd"),
        ({"a": OrderedDict(b=1)}, "a", "OrderedDict"),
        (deep(DEPTH_MAX + 5), "[0]" * DEPTH_MAX, "nested more than 200 deep"),
        ({"a": local()}, "a", "define it at the top of a module"),
        (Point(1, marked()), "y", "attributes that are no fields: 'note'"),
        ({"when": dt.datetime(2024, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})())}, "when", "time zone"),
        ({"a": lambda: 1}, "a", "is a function"),
    ],
)
def test_what_cannot_come_back_names_its_field_and_why_L62(value: Any, field: str, reason: str) -> None:
    with pytest.raises(Unkept) as told:
        Values("work").encode(value)
    assert (told.value.stage, told.value.field) == ("work", field)
    assert reason in told.value.reason
    assert "stage 'work' cannot be kept in the journal" in str(told.value)


def test_a_class_that_a_function_defines_comes_back_where_it_says_that_it_returns_it() -> None:
    row = local()
    kind: Any = type(row)
    values = Values("work", list[kind])
    data = values.encode([row])
    assert isinstance(data, bytes)
    assert values.decode(data) == [row]


def test_fields_of_records_are_redacted_too() -> None:
    values = Values("work", options=Journal("run.db", redact=("of.x",)))
    part = values.encode(Score(1, [Point(2, 3)]))
    assert isinstance(part, Partial)
    assert part.data is not None
    assert view(part.data) == {"n": 1, "of": [{"x": REDACTED, "y": 3}]}
    assert isinstance(values.encode(Score(1, [{"z": 3}])), bytes)


def test_a_class_that_is_gone_is_named() -> None:
    data = Values("work").encode(Point(1))
    assert isinstance(data, bytes)
    gone = data.replace(b"Point", b"Paint")
    with pytest.raises(ConfigError, match="Paint of the module"):
        Values("work").decode(gone)
    assert view(gone) == {"x": 1, "y": None}
