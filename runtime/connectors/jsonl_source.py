"""Rows out of JSON Lines files: one JSON value a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from headrace.actors.errors import InternalError
from headrace.runtime.errors import ConfigError

from .file_source import FileSource, StrPath
from .line_blocks import split_lines


class JsonlSource(FileSource):
    """Rows as whatever JSON value stands on a line; empty lines are no rows.

    A line that is no JSON goes to quarantine with what stands there.
    """

    kind = "JSON Lines"

    def __init__(self, path: StrPath, *, encoding: str = "utf-8") -> None:
        super().__init__(path, encoding)
        self._values: Any = None
        """Of a block in which every line is a value: those that are not given yet. `_read` is then the block's end."""

    def fingerprint(self) -> dict[str, object]:
        other = {"encoding": self.encoding} if self.encoding != "utf-8" else {}
        return {**super().fingerprint(), **other}

    def place(self) -> str:
        return f"{self.name}:{self._lines_read()}"

    def _lines_read(self) -> int:
        # How many values of a block have been given, their iterator knows: so nobody need count them one by one.
        return self._read - (self._values.__length_hint__() if self._values is not None else 0)

    def _begin(self) -> Iterator[object]:
        self._input, head, self._form = self._look()
        text = head[self._form.mark :].decode(self._form.encoding, "replace")
        first = text.lstrip().split("\n", 1)
        if first[0].strip() in ("[", "{") and len(first) > 1:
            raise ConfigError(
                f"{self.name}:1: is one JSON value over several lines, and JSON Lines has one value a line; "
                "read an array with sources.json, or the type json"
            )
        self._blocks = self._lines_from(self._input, self._form, self._place)
        self._read = self._place[1] if self._place else 0
        self._values = None
        return chain.from_iterable(self._rows())

    def _rows(self) -> Iterator[Iterator[object]]:
        """The values of the file, block by block."""
        if self._blocks is None:
            raise InternalError("it was opened")
        decode = msgspec.json.Decoder().decode
        while (new := self._blocks.advance(self._read)) is not None:
            first = self._read + 1
            try:
                values = [decode(line) for line in self._split(new)]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield self._one_by_one(split_lines(new, self._form.line_end), first)
                continue
            self._read += len(values)
            self._values = iter(values)
            yield self._values
            self._values = None

    def _split(self, data: bytes) -> Sequence[bytes | str]:
        """Lines that JSON can be decoded from."""
        form = self._form
        if form.encoding == "utf-8":
            lines: list[Any] = data.split(form.line_end)
        else:
            text, end = data.decode(form.encoding), form.line_end.decode(form.encoding)
            lines = text.split(end)
        if not lines[-1]:
            lines.pop()
        return lines

    def _one_by_one(self, lines: list[bytes], first: int) -> Iterator[Any]:
        """Of lines some of which are empty, or no JSON."""
        encoding = self._form.encoding
        decode = msgspec.json.Decoder().decode
        for self._read, raw in enumerate(lines, first):
            try:
                text = raw.decode(encoding)
                if not text.strip():
                    continue
                value = decode(text)
            except UnicodeDecodeError:
                yield self._bad(self._read, f"not JSON: {self._no_text(raw)}", self._kept(raw))
            except (msgspec.DecodeError, RecursionError) as error:
                yield self._bad(self._read, f"not JSON: {error}", self._kept(raw))
            else:
                yield value
