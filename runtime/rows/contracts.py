"""What a row is made of: said by a type, or inferred from the first rows; then held to.

A contract converts only where rows come in, where `"12"` may become 12; what does not fit goes to quarantine with the
path of the field and what was expected. Further on, the annotations of functions are compared with it before anything
runs.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from headrace.actors.protocol import BadRow

from ..errors import BadInput, ConfigError

INFER = "infer"
INFER_ROWS = 100
"""Rows that an inferred contract is taken from."""

_INT = re.compile(r"-?(0|[1-9][0-9]{0,999})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?")
"""A number with a plus or with zeros before it is a code, and stays text."""


class Contract:
    """Rows of one type: a msgspec Struct, a dataclass or a TypedDict. Raises `ConfigError` for any other type."""

    def __init__(self, kind: object) -> None:
        if not is_record(kind):
            name = getattr(kind, "__name__", repr(kind))
            raise ConfigError(f'rows={name}: a msgspec Struct, a dataclass, a TypedDict or "infer" is expected')
        self.kind = kind
        self._optional = tuple(name for name, each in fields_of(kind).items() if _may_be_empty(each))
        """Where text is empty, as in a column of a CSV file, it stands for None."""

    @property
    def name(self) -> str:
        """The name of the type."""
        return str(getattr(self.kind, "__name__", self.kind))

    def convert(self, row: object) -> Any:
        """The row as the contract has it. Raises `BadInput` that says where it does not fit, and what was expected."""
        if isinstance(self.kind, type) and not is_typeddict(self.kind) and isinstance(row, self.kind):
            return row
        if self._optional and isinstance(row, dict):
            row = {k: None if v == "" and k in self._optional else v for k, v in row.items()}
        try:
            held = msgspec.convert(row, self.kind, strict=False)
        except msgspec.ValidationError as error:
            raise BadInput(f"not a {self.name}: {_where(error)}") from None
        if is_typeddict(self.kind) and isinstance(row, dict) and len(row) > len(held):
            # More than the contract speaks of stays as it is.
            return {**row, **held}
        return held

    @staticmethod
    def infer(rows: list[Any]) -> Contract | None:
        """Of rows that are dicts, as they come; None where they are not.

        Text becomes a number, or true or false, only where each of these rows says it as it would be written back: so
        `007`, `1.10`, `+46`, `1e5` and `TRUE` stay text. A later text in such a column that would be written back otherwise
        does not fit: `convert` raises `BadInput`.
        """
        if not rows or not all(isinstance(row, dict) for row in rows):
            return None
        names = list(dict.fromkeys(name for row in rows for name in row))
        kinds: dict[str, object] = {}
        exact: dict[str, Callable[[str], object]] = {}
        for name in names:
            values = [row[name] for row in rows if name in row]
            kind, reads = _kind_of(values)
            kinds[name] = kind if len(values) == len(rows) else NotRequired[kind]
            if reads is not None:
                exact[name] = reads
        return _Inferred(TypedDict("Row", kinds), exact)  # type: ignore[operator]


class _Inferred(Contract):
    """A contract that was taken from rows. `exact`: how the text of a column reads; None where it would be written back
    otherwise."""

    def __init__(self, kind: object, exact: dict[str, Callable[[str], object]]) -> None:
        super().__init__(kind)
        self._exact = tuple(exact.items())

    def convert(self, row: object) -> object:
        if not isinstance(row, dict):
            return super().convert(row)
        read: dict[str, object] = {}
        for name, reads in self._exact:
            text = row.get(name)
            if isinstance(text, str) and (text or name not in self._optional):
                value = reads(text)
                if value is None:
                    if not _is_like_a_value(text):
                        # The usual message says that it is no such value at all.
                        super().convert(row)
                    raise BadInput(
                        f"not a {self.name}: field {name!r}: {text!r} would be written back in another way; the rows before "
                        "it had values there that would not: name the type of the rows with rows="
                    )
                read[name] = value
        held = super().convert({**row, **read})
        # In a column of fractions, a whole number stays whole, so that it is written back as it was.
        held.update(read)
        return held


def hold(
    rows: Iterable[object],
    contract: Contract | str,
    place: Callable[[], str],
    bad: Callable[[str, str, object], BadRow],
) -> Iterator[object]:
    """Rows, held to a contract, or to what is inferred from the first of them. `place` says where the row stands that was
    taken last; `bad` makes what stands in the place of a row that does not fit, of its place, what is wrong, and the row."""
    iterator = iter(rows)
    if isinstance(contract, str):
        # These are taken before they are held, so their places are noted.
        first = [(row, place()) for row in islice(iterator, INFER_ROWS)]
        inferred = Contract.infer([row for row, _ in first if not isinstance(row, BadRow)])
        if inferred is None:
            yield from (row for row, _ in first)
            yield from iterator
            return
        contract = inferred
        for row, where in first:
            yield _held(row, contract, lambda where=where: where, bad)  # type: ignore[misc]
    for row in iterator:
        yield _held(row, contract, place, bad)


def _held(
    row: object, contract: Contract, place: Callable[[], str], bad: Callable[[str, str, object], BadRow]
) -> object:
    if isinstance(row, BadRow):
        return row
    try:
        return contract.convert(row)
    except BadInput as error:
        return bad(place(), str(error), row)


def _where(error: msgspec.ValidationError) -> str:
    """`field "n": expected int, got "twelve"`, of msgspec's message."""
    text = str(error)
    what, _, path = text.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    what = what.replace("`", "")
    what = what[:1].lower() + what[1:]
    return f"field {path!r}: {what}" if path else what


# --- types ----------------------------------------------------------------------------------------------------------------


def is_record(kind: object) -> bool:
    """It has fields by name: a msgspec Struct, a dataclass or a TypedDict."""
    return isinstance(kind, type) and (
        issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or is_typeddict(kind)
    )


def fields_of(kind: Any) -> dict[str, object]:
    """The types of a record's fields, by name."""
    hints = get_type_hints(kind)
    if is_typeddict(kind):
        return hints
    if issubclass(kind, msgspec.Struct):
        return {name: hints[name] for name in kind.__struct_fields__}
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _may_be_empty(kind: object) -> bool:
    """It may be None, and is no text."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    return type(None) in kinds and str not in kinds


def _kind_of(values: list[Any]) -> tuple[object, Callable[[str], object] | None]:
    """A type for all of these; of text, what it reads as, and how."""
    if all(isinstance(value, str) for value in values):
        said = [value for value in values if value != ""]
        for kind, reads in ((int, _int_of), (float, _number_of), (bool, _bool_of)):
            if said and all(reads(text) is not None for text in said):
                return (kind if len(said) == len(values) else kind | None), reads
        return str, None
    kinds = {type(value) for value in values}
    optional = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) != 1 or (kind := kinds.pop()) not in (int, float, bool, str):
        return Any, None
    return (kind | None if optional else kind), None


def _int_of(text: str) -> int | None:
    """A whole number that is written back as it is read."""
    return int(text) if _INT.fullmatch(text) and text != "-0" else None


def _number_of(text: str) -> float | None:
    """A number that is written back as it is read: in a column of fractions, a whole one is whole."""
    if not text.isascii() or not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    # A whole number would become `1.0`; an infinite one is written `inf`.
    return value if repr(value) == text else _int_of(text)


def _is_like_a_value(text: str) -> bool:
    """Whether it could be meant as a number, or as true or false."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True


def _bool_of(text: str) -> bool | None:
    """A truth value of text, as JSON writes it."""
    return {"true": True, "false": False}.get(text)


# --- functions ------------------------------------------------------------------------------------------------------------


class Signature(msgspec.Struct, frozen=True):
    """What a function says of the rows that it takes and gives; None where it says nothing."""

    takes: object
    gives: object


def signature_of(function: object) -> Signature:
    """Of a function, or of an object's `__call__`, by its annotations."""
    call = function if _code_of(function) is not None else type(function).__call__
    try:
        hints = get_type_hints(call)
    except BaseException:
        # Annotations that cannot be resolved say nothing.
        return Signature(None, None)
    code = _code_of(call)
    names = list(code.co_varnames[: code.co_argcount]) if code is not None else []
    if names[:1] == ["self"]:
        names = names[1:]
    return Signature(hints.get(names[0]) if names else None, _awaited(hints.get("return")))


def _code_of(function: object) -> types.CodeType | None:
    """The code of a function; None for any other object, whatever it answers when it is asked."""
    try:
        code = getattr(function, "__code__", None)
    except BaseException:
        return None
    return code if isinstance(code, types.CodeType) else None


def _awaited(kind: object) -> object:
    """What comes of an answer of this type: a coroutine that a plain function gives is awaited (L68)."""
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Awaitable):
        return get_args(kind)[-1] if get_args(kind) else None
    return None if isinstance(kind, type) and issubclass(kind, collections.abc.Awaitable) else kind


def item_of(kind: object) -> object:
    """The type of the items of a list or an iterable; None where nothing is said."""
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Iterable | collections.abc.AsyncIterable):
        items = get_args(kind)
        return items[0] if items else None
    return None


def complaint(given: object, taken: object) -> str | None:
    """Why rows of the one type cannot be given to a function that takes the other; None where they can, or nobody knows."""
    if get_origin(taken) is Annotated:
        taken = get_args(taken)[0]
    alternatives = get_args(taken) if get_origin(taken) in (Union, types.UnionType) else (taken,)
    if given is None or any(_fits(given, each) for each in alternatives):
        return None
    return f"it takes {_name(taken)}, and rows are {_name(given)} there"


def _fits(given: object, taken: object) -> bool:
    if taken in (None, Any, object) or not isinstance(_plain(taken), type):
        return True
    plain, kind = _plain(given), _plain(taken)
    if not isinstance(plain, type):
        return True
    if is_typeddict(plain):
        plain = dict
    if is_typeddict(kind):
        # Two of them may have the same fields; that is for a type checker to say.
        return issubclass(plain, dict)
    # Protocols and abstract classes are for a type checker to say, too.
    return issubclass(plain, kind) or getattr(kind, "_is_protocol", False) or (plain is int and kind is float)


def _plain(kind: object) -> Any:
    return get_origin(kind) or kind


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
