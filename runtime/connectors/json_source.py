"""Rows out of a file that is one JSON array: its values, one by one, however the array is spread over lines.

A place within it could not be gone back to without reading what is before, so a run that is resumed reads it from its start,
and what is done is skipped. What is wrong with an array may be anywhere, so it ends the reading, with the place.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

import msgspec

from ..errors import ConfigError, SourceChanged
from .file_source import FileSource, StrPath

CHUNK = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")
_AFTER = (" ", "\t", "\r", "\n", ",", "]")
_SCANNER = json.JSONDecoder()


class JsonSource(FileSource):
    """The values of a JSON array."""

    kind = "JSON"
    placed = False

    def __init__(self, path: StrPath, *, encoding: str = "utf-8") -> None:
        super().__init__(path, encoding)

    def fingerprint(self) -> dict[str, object]:
        other = {"encoding": self.encoding} if self.encoding != "utf-8" else {}
        return {**super().fingerprint(), "format": "json", **other}

    def place(self) -> str:
        return f"{self.name}: value {self._read}"

    def _begin(self) -> Iterator[object]:
        source, head, form = self._look()
        self._input = source
        text = head[form.mark :].decode(form.encoding, "replace").lstrip()
        if text and not text.startswith("["):
            raise ConfigError(
                f"{self.name}: begins with {text[:1]!r}, and is no JSON array; one value a line is JSON Lines:"
                " sources.jsonl, or the type jsonl"
            )
        return self._rows(form.encoding, form.mark)

    def _rows(self, encoding: str, mark: int) -> Iterator[object]:
        decode, number = msgspec.json.decode, 0
        text = _Text(self, encoding, mark)
        if not text.begins():
            return
        while (found := text.value()) is not None:
            number += 1
            self._read = number
            try:
                yield decode(found)
            except (msgspec.DecodeError, RecursionError) as error:
                yield self._bad(number, f"not JSON: {error}", found[:1000])
        if (rest := text.rest()) is not None:
            raise SourceChanged(f"{self.name}: is no JSON array: after value {number}, {rest}")


class _Text:
    """The text of an array, of which values are taken one by one."""

    def __init__(self, source: JsonSource, encoding: str, mark: int) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._text = ""
        self._at = 0
        self._ended = False
        self._first = True
        self._wrong: str | None = None
        self._skip = mark

    def _more(self) -> bool:
        """Whether there is more text now."""
        if self._ended:
            return False
        data: bytes = self._source._input.read(CHUNK) if self._source._input is not None else b""
        data, self._skip = data[self._skip :], max(0, self._skip - len(data))
        self._ended = not data and not self._skip
        try:
            new = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise SourceChanged(
                f"{self._source.name}: has bytes that are not {self._source.encoding} after value {self._source._read}"
                f" ({error.reason})"
            ) from None
        self._text, self._at = self._text[self._at :] + new, 0
        return True

    def _next(self) -> str:
        """The next character that is no space; none at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found is not None else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def begins(self) -> bool:
        """Whether an array begins here; a file of nothing is one without values."""
        if self._next() != "[":
            return False
        self._at += 1
        return True

    def value(self) -> str | None:
        """The text of the next value; None where there is none."""
        char = self._next()
        if char == "]":
            self._at += 1
            extra = self._next()
            self._wrong = f"there is more than an array, {extra!r}" if extra else None
            return None
        if not self._first:
            if char != ",":
                self._wrong = (
                    f"a comma is expected, and {char!r} stands there" if char else "it ends: was it cut short?"
                )
                return None
            self._at += 1
            char = self._next()
        self._first = False
        return self._scan()

    def _scan(self) -> str | None:
        while True:
            try:
                _, end = _SCANNER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if isinstance(error, ValueError) and self._more():
                    continue
                self._wrong = str(error).partition(":")[0] if self._text[self._at :] else "it ends: was it cut short?"
                return None
            # A number may go on in what has not been read.
            if self._text[end : end + 1] not in _AFTER and self._more():
                continue
            found, self._at = self._text[self._at : end], end
            return found

    def rest(self) -> str | None:
        """What is wrong with the array; None where nothing is."""
        return self._wrong
