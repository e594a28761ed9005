"""Expressions in files and on the command line: CEL, the Common Expression Language (https://cel.dev), which cannot
loop, change anything, or reach anything but the row.

    risk > 0.8 && country == "SE" ? "review" : "pass"

The fields of the row are its variables. Where the contract of the rows is known, names and types are checked before anything
runs. Needs the extra `expressions`.
"""

from __future__ import annotations

import re
from typing import Any, Union, get_args, get_origin

from ..errors import ConfigError, HeadraceError
from .contracts import fields_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")


class ExpressionError(HeadraceError, ValueError):
    """An expression could not be evaluated for a row."""


class Expression:
    """Called with a row, gives what the expression says of it. Raises `ConfigError` where it is none."""

    def __init__(self, text: str, name: str = "expression") -> None:
        self.text = text
        self.__name__ = name
        # More than its variables, perhaps; never less.
        self._names = tuple(dict.fromkeys(_NAME.findall(_TEXT.sub("", text))))
        self._program = self._compile(None)

    def _compile(self, kinds: dict[str, object] | None) -> Any:
        try:
            from cel_expr_python import cel
        except ImportError:
            raise ConfigError(
                f"the expression {self.text!r} needs the extra 'expressions': pip install 'headrace[expressions]'"
            ) from None
        variables = {name: _type_of(kind, cel.Type) for name, kind in (kinds or {}).items()}
        try:
            return cel.NewEnv(variables=variables).compile(self.text, disable_check=kinds is None)
        except RuntimeError as error:
            raise ConfigError(f"expression {self.text!r}: {_reason(error, kinds)}") from None

    def check(self, kind: object, wanted: tuple[str, ...] = ()) -> None:
        """Against the contract of the rows; `wanted`: types that it may give, by CEL's names. Raises `ConfigError`."""
        program = self._compile(fields_of(kind))
        given = program.return_type().name()
        if wanted and given not in (*wanted, "DYN"):
            expected = " or ".join(wanted).lower()
            raise ConfigError(f"expression {self.text!r}: gives {given.lower()}, where {expected} is expected")
        self._program = program

    def __call__(self, row: object) -> object:
        if isinstance(row, dict):
            data = {name: row[name] for name in self._names if name in row}
        else:
            data = {name: getattr(row, name) for name in self._names if hasattr(row, name)}
        value = self._program.eval(data=data)
        if value.type().name() == "ERROR":
            raise ExpressionError(f"{self.text}: {_said(value.value())}")
        return value.value()


def _said(error: object) -> str:
    missing = re.search(r'No value with name "(\w+)"', str(error))
    return f"the row has no field {missing.group(1)!r}" if missing else str(error)


def _type_of(kind: object, types: Any) -> object:
    """As CEL has it; DYN, whose type shows when it runs, for what it has no type for."""
    simple = {bool: types.BOOL, int: types.INT, float: types.DOUBLE, str: types.STRING, bytes: types.BYTES}
    if kind in simple:
        return simple[kind]
    origin, items = get_origin(kind), get_args(kind)
    if origin is list and items:
        return types.List(_type_of(items[0], types))
    if origin is dict and len(items) == 2:
        return types.Map(_type_of(items[0], types), _type_of(items[1], types))
    if kind is list:
        return types.List(types.DYN)
    if kind is dict:
        return types.Map(types.STRING, types.DYN)
    if origin is Union and len(items) == 1:
        return _type_of(items[0], types)
    return types.DYN


def _reason(error: RuntimeError, kinds: dict[str, object] | None) -> str:
    """The library's message in one line, and the fields that there are where one is unknown."""
    found = re.search(r"<input>:(\d+):(\d+): (.*?)(?: \(in container ''\))?\n", str(error) + "\n")
    if found is None:
        return str(error).splitlines()[0]
    what = found.group(3).partition(" expecting ")[0]
    unknown = re.match(r"undeclared reference to '(\w+)'", what)
    if unknown and kinds is not None:
        import difflib

        near = difflib.get_close_matches(unknown.group(1), kinds, 1)
        what = f"rows have no field {unknown.group(1)!r}; " + (
            f"did you mean {near[0]!r}?" if near else f"they have {', '.join(kinds)}"
        )
    return f"column {found.group(2)}: {what}"
