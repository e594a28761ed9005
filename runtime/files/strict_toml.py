"""Tables of a TOML file, read strictly: every mistake is told at once, each with its key and its line."""

from __future__ import annotations

import codecs
import difflib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct

from ..errors import ConfigError
from ..text import visible

_BAD = object()
"""In the place of a value that is none."""


class Reading:
    """One file while it is read: its mistakes, and where they are."""

    def __init__(self, path: Path, text: str) -> None:
        """Raises `ConfigError` where the text is not TOML."""
        self.path = path
        self._lines = _lines_of(text)
        self.mistakes: list[tuple[int, str]] = []
        try:
            self.data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            where = f"{path}:{line.group(1)}" if line else f"{path}"
            raise ConfigError(f"{where}: not TOML: {error}") from None

    @classmethod
    def of(cls, path: Path) -> Reading:
        """Raises `ConfigError` where the file cannot be read."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file") from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:1024]:
            raise ConfigError(f"{path}: is not UTF-8 (it looks like UTF-16, or is no text): save it as UTF-8")
        try:
            # A mark in front, as some editors write it, is no part of the text.
            return cls(path, data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(
                f"{path}:{line}: is not UTF-8 (byte 0x{data[error.start]:02x}): save it as UTF-8, as TOML files are"
            ) from None

    def check(self) -> None:
        """Raises `ConfigError` with all mistakes that were noted, one line for each."""
        if self.mistakes:
            raise ConfigError("\n".join(what for _, what in sorted(self.mistakes, key=lambda m: m[0])))

    def note(self, key: str, what: str) -> None:
        """Note a mistake, to be told together with all others."""
        line = self._line_of(key)
        where = visible(f"{self.path}:{line}" if line else f"{self.path}")
        self.mistakes.append((line, f"{where}: {visible(key)}: {what}" if key else f"{where}: {what}"))

    def _line_of(self, key: str) -> int:
        """The line of a key, or of the nearest table around it; 0 where there is none."""
        while key:
            if key in self._lines:
                return self._lines[key]
            # Shorter each time, whatever a quoted key is made of.
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return 0

    def table(self, kind: type[Struct], data: object, key: str) -> Any:
        """`data` as a `kind`. All mistakes are noted, and the default, or None, stands in the place of
        what is wrong."""
        if not isinstance(data, dict):
            self.note(key, f"expected a table, got {_kind_of(data)}")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for name in data:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
                self.note(_join(key, name), f"unknown key; {hint}")
        for name, field in fields.items():
            at = _join(key, name)
            if name not in data:
                if field.required:
                    self.note(at, "is missing")
                    values[field.name] = None
                continue
            value = self._value(field.type, data[name], at)
            if value is not _BAD or field.required:
                values[field.name] = None if value is _BAD else value
        return kind(**values)

    def _value(self, kind: object, value: object, key: str) -> object:
        item = _struct_of_list(kind)
        if item is not None:
            if isinstance(value, dict):
                # [sink] is one of them.
                return [self.table(item, value, key)]
            if not isinstance(value, list):
                self.note(key, f"expected [[{key}]] tables, got {_kind_of(value)}")
                return _BAD
            return [self.table(item, each, f"{key}[{i}]") for i, each in enumerate(value)]
        tables = [k for k in _alternatives(kind) if isinstance(k, type) and issubclass(k, Struct)]
        if tables and (isinstance(value, dict) or len(_alternatives(kind)) == 1 or _only_optional(kind)):
            return self.table(tables[0], value, key)
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self.note(key, f"{_lower(str(error))}; it is {value!r}")
            return _BAD

    def attempt(self, key: str, function: Callable[[], object]) -> Any:
        """What `function` gives; a ConfigError is noted."""
        try:
            return function()
        except ConfigError as error:
            self.note(key, str(error))
            return None


def _lines_of(text: str) -> dict[str, int]:
    """The line of each table and key. What the parser does not tell is read off the text, for messages only."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.\-\" ]+?)\s*\]\]?\s*(#.*)?$", line):
            name = header.group(2).replace('"', "").replace(" ", "")
            if header.group(1) == "[[":
                counts[name] = counts.get(name, -1) + 1
                table = f"{name}[{counts[name]}]"
            else:
                # `[stage.limit]` belongs to the last `[[stage]]`.
                head, _, rest = name.partition(".")
                table = f"{head}[{counts[head]}].{rest}" if rest and head in counts else name
            lines.setdefault(table, number)
        elif key := re.match(r"\s*([\w\-]+|\"[^\"]+\")\s*=", line):
            lines.setdefault(_join(table, key.group(1).strip('"')), number)
    return lines


def _alternatives(kind: Any) -> tuple[object, ...]:
    arguments = getattr(kind, "__args__", None)
    return tuple(arguments) if arguments and not isinstance(kind, type) and get_origin(kind) is not list else (kind,)


def _struct_of_list(kind: object) -> type[Struct] | None:
    """The table of a list of tables."""
    for alternative in _alternatives(kind):
        item = get_args(alternative)[:1] if get_origin(alternative) is list else ()
        if item and isinstance(item[0], type) and issubclass(item[0], Struct):
            return item[0]
    return None


def _only_optional(kind: object) -> bool:
    return len([k for k in _alternatives(kind) if k is not type(None)]) == 1


def _join(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _kind_of(value: object) -> str:
    return {str: "a string", int: "a number", float: "a number", bool: "true or false", list: "a list"}.get(
        type(value), type(value).__name__
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
