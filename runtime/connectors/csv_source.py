"""Rows out of CSV files: the standard library's reader, in front of it whole lines, behind it what is wrong with a row.

Rows are read a block of lines at a time, where each line of it is a row with a value for each column (`_plain_rows`); any
other block goes row by row through the reader (`_by_reader`), which knows where each row began and what is wrong with it.

A file that cannot be what it was said to be is one clear message, before any row: another format, a header that is no
text, a separator that is nowhere in it, columns that have the same name. A line that is no row keeps what stood there,
and goes to quarantine. A quote that is never closed costs the line in which it is opened, not the rest of the file.

This file is long by a few lines: the quick way and the exact one read the same blocks, and each is the other's measure.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain, repeat
from operator import length_hint
from typing import Any

from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow
from headrace.runtime.errors import ConfigError

from .dict_rows import Maker, maker_of_dicts
from .file_source import FileSource, StrPath
from .formats import SEPARATORS, Form, other_separator, separator_of
from .input_file import is_stream
from .line_blocks import LineBlocks, count_lines, split_lines

FIELD_CHARS_MAX = 16 * 1024 * 1024
"""Characters in one CSV field at most; a longer one is most likely a quote that was never closed."""
SAMPLE_LINES = 20
"""Lines that are looked at to see whether a file has another separator."""
PLAIN_CHARS_MAX = 1024 * 1024
"""Of a longer block (a line that long, or what stands behind a quote that is never closed), rows are made one by one."""
_FIRST_LINE = re.compile(r'(?:[^"\r\n]|"[^"]*+")*+')
"""All before the first end of a line that is not in quotes."""
_SPOILED = "\udc80"
"""Stands in a line that is no text, so that its row is known; no text that was decoded has it."""


class CsvSource(FileSource):
    """Rows as dicts, one string a column; the first line has the names of the columns.

    Trailing columns that have no name are left out, as spreadsheets leave them; a row that has a value there goes to
    quarantine. A first line `sep=;` says the separator, as Excel reads it.
    """

    kind = "CSV"

    def __init__(self, path: StrPath, *, delimiter: str = ",", encoding: str = "utf-8") -> None:
        super().__init__(path, encoding)
        if len(delimiter) != 1:
            raise ConfigError(f"{self.name}: delimiter {delimiter!r} is not one character")
        if delimiter in '"\r\n\0' or "\ud800" <= delimiter <= "\udfff":
            raise ConfigError(f"{self.name}: delimiter {delimiter!r} cannot separate fields")
        self._delimiter = delimiter
        self._header: list[str] = []
        self._nameless = 0
        """Trailing columns without a name."""
        self._spoiled = False
        """A line that is no text has been come upon, so rows that the reader gives are looked through."""
        self._values: Iterator[dict[str, str]] | None = None
        """Of a block in which each line is a row: those that are not given yet. `_read` is then the block's end."""
        self._until = 0
        """The lines up to the end of what the reader has been given."""
        self._again = b""
        """What the reader has been given, and is to be read again."""

    def fingerprint(self) -> dict[str, object]:
        return {**super().fingerprint(), "delimiter": self._delimiter, "encoding": self.encoding}

    def fields(self) -> list[str] | None:
        """The names of the columns, so that what refers to them can be checked before anything runs; None where the
        file cannot be looked into beforehand: a stream is read only once."""
        if is_stream(self.path):
            return None
        try:
            self.check()
        except Exception:
            # What is wrong with it is told when it is read.
            return None
        return self._header

    def _lines_read(self) -> int:
        # How many rows of a block have been given, their iterator knows: so nobody need count them one by one.
        return self._read - (length_hint(self._values) if self._values is not None else 0)

    def place(self) -> str:
        return super().place() if self._values is None else f"{self.name}:{self._lines_read()}"

    def check(self) -> None:
        if not is_stream(self.path):
            other = self._other()
            if not isinstance(other, CsvSource):
                raise InternalError("another of the same kind is asked for")
            try:
                other._begin()
                self._header = other._header
            finally:
                other.close()

    def _ends_with_returns(self, head: str) -> bool:
        # In quotes, a carriage return is part of a field.
        found = _FIRST_LINE.match(head)
        end = head[found.end() : found.end() + 2] if found is not None else ""
        return len(end) == 2 and end[0] == "\r" and end[1] != "\n"

    def _begin(self) -> Iterator[object]:
        csv.field_size_limit(FIELD_CHARS_MAX)
        self._spoiled, self._values = False, None
        source, head, self._form = self._look()
        self._input, place = source, self._place
        # Of what is read to find the names of the columns, no digest is wanted where rows begin elsewhere.
        placing, self._placing = self._placing, self._placing and not place
        self._blocks = self._lines_from(source, self._form, None)
        lines, delimiter = self._first_lines(head)
        self._read_header(csv.reader(lines, delimiter=delimiter, strict=True))
        rest = self._at_hand(self._read)
        if place:
            source.close()
            self._input = None
            self._input, _, _ = self._look()
            self._placing = placing
            self._blocks = self._lines_from(self._input, self._form, place)
            self._read, rest = place[1], b""
        return chain.from_iterable(self._rows(rest, delimiter))

    # --- the header ---

    def _first_lines(self, head: bytes) -> tuple[Iterator[str], str]:
        """The lines of the file from its header on, and its separator."""
        text = head[self._form.mark :].decode(self._form.encoding, "replace")
        sample = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[: SAMPLE_LINES + 1]
        lines = chain.from_iterable(self._texts())
        delimiter = self._delimiter
        if said := separator_of(sample[0]):
            if delimiter not in (",", said):
                raise ConfigError(
                    f"{self.name}:1: the line says that {said!r} separates fields, and delimiter={delimiter!r} was asked "
                    "for: leave delimiter= out"
                )
            next(lines)
            self._read, delimiter = 1, said
            del sample[0]
        # What may have been cut off says nothing.
        sample = [line for line in (sample[:-1] or sample) if line]
        if delimiter == "," or delimiter in SEPARATORS:
            other = other_separator(sample, delimiter)
            if other is not None:
                raise ConfigError(
                    f"{self.name}:{self._read + 1}: its fields are not separated by {delimiter!r} but by {other!r}, as it "
                    f"looks: say delimiter={other!r}; or, if it has one column, any that is not in it, such as '\\x1f'"
                )
        return lines, delimiter

    def _read_header(self, reader: Any) -> None:
        before = self._read
        try:
            header = next((fields for fields in reader if fields), None)
        except csv.Error as error:
            raise ConfigError(f"{self.name}:{before + 1}: the header cannot be read: {_reason(error)}") from None
        if header is None:
            what = "holds nothing but empty lines" if before + reader.line_num else "is empty"
            raise ConfigError(f"{self.name}: {what}; a CSV file begins with a line of column names")
        self._read = before + reader.line_num
        if self._blocks is None:
            raise InternalError("it was opened")
        if self._spoiled:
            raw = self._blocks.raw(before, self._read)
            try:
                raw.decode(self._form.encoding)
            except UnicodeDecodeError as error:
                raise ConfigError(
                    f"{self.name}:{self._read}: the header is not {self.encoding}: byte {error.start + 1} is "
                    f"0x{raw[error.start]:02x}; say with encoding= what the file is in, such as encoding='cp1252'"
                ) from None
        self._header, self._nameless = self._names(header)

    def _names(self, header: list[str]) -> tuple[list[str], int]:
        """The names of the columns, and how many trailing ones have none."""
        n = len(header)
        while n and not header[n - 1]:
            n -= 1
        if not n:
            raise ConfigError(f"{self.name}:{self._read}: no column has a name; a CSV file begins with a line of names")
        names, where = header[:n], f"{self.name}:{self._read}"
        nameless = [str(i) for i, name in enumerate(names, 1) if not name]
        if len(nameless) > 1:
            raise ConfigError(
                f"{where}: columns {', '.join(nameless)} have no name, so rows cannot tell them apart: "
                "name them in that line"
            )
        seen: dict[str, int] = {}
        for i, name in enumerate(names, 1):
            if name in seen:
                raise ConfigError(
                    f"{where}: column {name!r} stands there twice, as columns {seen[name]} and {i}: rename one of them"
                )
            seen[name] = i
        return names, len(header) - n

    # --- rows ---

    def _rows(self, block: bytes, delimiter: str) -> Iterator[Iterator[object]]:
        """The rows of the file, block by block; the first is what the header has left of its own."""
        blocks, make = self._blocks, maker_of_dicts(self._header)
        if blocks is None:
            raise InternalError("it was opened")
        new: bytes | None = block
        while new is not None:
            if new:
                rows = self._plain_rows(new, delimiter, make)
                if rows is not None:
                    self._read += len(rows)
                    self._values = iter(rows)
                    yield self._values
                    self._values = None
                else:
                    yield self._by_reader(new, delimiter)
            # While the reader wants a part of it again, that is the next block.
            new, self._again = self._again or blocks.advance(self._read), b""

    def _plain_rows(self, block: bytes, delimiter: str, make: Maker) -> list[dict[str, str]] | None:
        """The rows of a block in which each line is one, with a value for each column; None for any other block.

        Where there is no quote, a line is split at its separators, as the reader would do it, in a third of its time.
        """
        try:
            text = block.decode(self._form.encoding)
        except UnicodeDecodeError:
            return None
        if (
            len(text) > min(PLAIN_CHARS_MAX, csv.field_size_limit())
            or self._form.line_end[:1] == b"\r"
            or self._form.line_end[-1:] == b"\r"
        ):
            return None
        if (returns := text.count("\r")) and text.count("\r\n") == returns:
            text, returns = text.replace("\r\n", "\n"), 0
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        try:
            if '"' in text or returns:
                rows = make(csv.reader(lines, delimiter=delimiter, strict=True))
            elif len(self._header) == 1 and "" in lines:
                return None
            else:
                rows = make(map(str.split, lines, repeat(delimiter)))
        except (csv.Error, ValueError):
            return None
        return rows if len(rows) == len(lines) else None

    def _by_reader(self, block: bytes, delimiter: str) -> Iterator[object]:
        """The rows of a block and, where its last one goes on in the next, of that; or those up to an error after which
        lines are to be read again."""
        header, n = self._header, len(self._header)
        lines = chain.from_iterable(self._texts(block))
        while True:
            reader, before = csv.reader(lines, delimiter=delimiter, strict=True), self._read
            try:
                for fields in reader:
                    self._began, self._read = self._read, before + reader.line_num
                    if len(fields) == n and not self._spoiled:
                        yield dict(zip(header, fields, strict=False))
                    elif fields:
                        yield self._uneven(fields)
                    if self._read >= self._until:
                        return
                return
            except csv.Error as error:
                until = before + reader.line_num
                self._began, self._read = self._read, self._end_of_bad(error, until)
                if self._read < until:
                    self._again = self._at_hand(self._read)
                yield self._no_csv(error, unclosed=self._read < until)
                if self._again or self._read >= self._until:
                    return

    def _end_of_bad(self, error: csv.Error, until: int) -> int:
        """Up to where lines are spoiled by an error. A quote that is never closed spoils its own line only: what
        follows it is read again."""
        unclosed = str(error).startswith(("unexpected end of data", "field larger than"))
        return min(self._read + 1, until) if unclosed else until

    def _at_hand(self, line: int, until: int | None = None) -> bytes:
        if self._blocks is None:
            raise InternalError("it was opened")
        return self._blocks.raw(line, until)

    def _no_csv(self, error: csv.Error, *, unclosed: bool) -> BadRow:
        raw = self._at_hand(self._began, self._read)
        what = "a quote is opened in this line and never closed" if unclosed else _reason(error)
        return self._bad(self._began + 1, f"not CSV: {what}", self._kept(raw))

    def _uneven(self, fields: list[str]) -> object:
        """A row that has another number of fields than the header has names, or that may not be text."""
        line, n = self._began + 1, len(self._header)
        if self._spoiled and any(map(_has_surrogates, fields)):
            raw = self._at_hand(self._began, self._read)
            return self._bad(line, self._no_text(raw), self._kept(raw))
        if len(fields) == n:
            return dict(zip(self._header, fields, strict=True))
        if len(fields) == n + self._nameless:
            filled = [i for i, field in enumerate(fields[n:], n + 1) if field]
            if not filled:
                return dict(zip(self._header, fields, strict=False))
            return self._bad(line, f"column {filled[0]} has no name in the header, and a value here", fields)
        return self._bad(line, f"{len(fields)} fields where the header has {n}", fields)

    # --- lines ---

    def _texts(self, block: bytes = b"") -> Iterator[Iterable[str]]:
        """The lines of a block, and then those of the next ones."""
        blocks: LineBlocks | None = self._blocks
        if blocks is None:
            raise InternalError("it was opened")
        new: bytes | None = block
        self._until = self._read
        while new is not None:
            if new:
                self._until += count_lines(new, self._form.line_end)
                yield self._lines_of(new)
            new = blocks.advance(self._read)

    def _lines_of(self, data: bytes) -> Iterable[str]:
        form = self._form
        try:
            text = data.decode(form.encoding)
        except UnicodeDecodeError:
            self._spoiled = True
            return [_line_or_spoiled(line, form) for line in split_lines(data, form.line_end)]
        if form.line_end[:1] == b"\r" or form.line_end[-1:] == b"\r":
            return _split_at_returns(text)
        # Only there is a line cut at line feeds alone, in C.
        return StringIO(text, newline="\n")


def _split_at_returns(text: str) -> list[str]:
    lines = [line + "\r" for line in text.split("\r")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _line_or_spoiled(line: bytes, form: Form) -> str:
    """A line; where it is not text, what is left of it, so that it is known and its quotes are where they were."""
    try:
        return line.decode(form.encoding)
    except UnicodeDecodeError:
        if len(form.line_end) > 1:
            return f"{_SPOILED}\n"
        text = line.decode("ascii", "surrogateescape").rstrip("\r\n")
        return f"{text}{_SPOILED}\n"


def _reason(error: csv.Error) -> str:
    """What the reader complains of, in words of the file."""
    text = str(error)
    if text.startswith("new-line character"):
        return "a lone carriage return stands in a field that has no quotes around it"
    if text.startswith("unexpected end"):
        return "a quote is opened in this line and never closed"
    if text.startswith("field larger"):
        return f"a field has more than {FIELD_CHARS_MAX:,} characters (FIELD_CHARS_MAX); was a quote never closed?"
    return text


def _has_surrogates(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
