"""Any table comes back as it was written, and any bytes at all become rows, bad rows or one clear message (L89)."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.actors.protocol import BadRow
from headrace.runtime import ConfigError, sources
from headrace.runtime.connectors import csv_source, dict_rows, line_blocks

# A file is written for each, so fewer than usual; the machine may be busy.
few = settings(max_examples=40, deadline=None)

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037", "shift_jis"]


FOLDER = tempfile.mkdtemp(prefix="headrace-")


def taken(source: Any, place: Any = None, limit: int | None = None) -> list[Any]:
    """The rows that a source gives, read as a run with a journal reads them."""
    source.resume(place)
    try:
        rows: list[Any] = []
        ended = False
        while not ended and (limit is None or len(rows) < limit):
            values, ended, bad = source.read(3 if limit is None else min(3, limit - len(rows)))
            assert bad == sum(isinstance(value, BadRow) for value in values)
            rows += values
        source.last = source.tell()
        return rows
    finally:
        source.close()


def taken_or_told(source: Any) -> list[Any] | None:
    """The rows; None where the file is refused by name."""
    told = ""
    try:
        return taken(source)
    except ConfigError as error:
        told = str(error)
    assert told.startswith(str(source.path))
    return None


def written(data: bytes, name: str = "in.csv") -> Path:
    path = Path(FOLDER) / name
    path.write_bytes(data)
    return path


NAMES = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
    unique=True,
)
CELLS = st.text(st.characters(codec="utf-8") | st.sampled_from('",;\t\r\n \0\x0b\x85\u2028'), max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    names = draw(NAMES)
    return names, draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=6))


@few
@given(
    tables(),
    st.sampled_from([",", ";", "\t", "|", "\x1f"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
)
@example((["a", "b"], [["x\ry", "1"], ["tail\r", "2"]]), ",", "\n", "utf-8")
@example((["a"], [["\u0a0a\u0a00"], ["\u0d0a"]]), ",", "\r\n", "utf-16-le")
def test_a_table_of_any_dialect_that_is_read_comes_back_equal(
    table: tuple[list[str], list[list[str]]], delimiter: str, line_end: str, encoding: str
) -> None:
    names, cells = table
    text = io.StringIO(newline="")
    # Older Pythons leave a lone carriage return without quotes.
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([names, *cells])
    path = written(text.getvalue().encode(encoding))
    source: Any = sources.csv(path, delimiter=delimiter, encoding=encoding)
    expected = [dict(zip(names, row, strict=True)) for row in cells]
    assert taken(source) == expected
    if n := len(cells) // 2:
        # And from any row on, where a run was ended there.
        assert taken(source, limit=n) == expected[:n]
        assert source.verify(source.last) is None
        assert taken(source, place=source.last) == expected[n:]


def kept(values: list[Any]) -> str:
    """All text that rows and bad rows hold, one after another."""
    parts = []
    for value in values:
        raw = value.raw if isinstance(value, BadRow) else value
        parts.append(raw if isinstance(raw, str) else "".join(map(str, raw.values() if isinstance(raw, dict) else raw)))
    return "".join(parts)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


HOSTILE = st.lists(
    st.sampled_from([b'"', b",", b"\n", b"\r", b"\r\n", b"ab", b"x", b"\xff", b"\xc3\xa5", b"\0", b";", b'""', b" "])
    | st.binary(max_size=3)
).map(b"".join)


@few
@given(HOSTILE, st.sampled_from(ENCODINGS))
@example(b'a,b\n1,"x\n2,y\n3,z\n', "utf-8")
@example(b'a,b\n1,"x\n2,"y\n3,z\n4,"\n', "utf-8")
@example(b'a\n"\xff\n', "utf-8")
@example(b"a,b\n\xff\n", "utf-16-le")
def test_any_bytes_are_rows_bad_rows_or_one_clear_message(data: bytes, encoding: str) -> None:
    path = written(b"a,b\n" + data if encoding == "utf-8" and not data.startswith(b"\xff") else data)
    source = sources.csv(path, encoding=encoding)
    values = taken_or_told(source)
    if values is None:
        return
    for value in values:
        if isinstance(value, BadRow):
            assert value.raw not in (None, [], "")
            assert str(value.error).startswith(f"{path}:")
    if encoding == "utf-8":
        # Nothing is lost: whatever is a letter or a digit is in a row or in what is kept of a line that is none.
        assert letters(kept(values)) == letters(data.decode("utf-8", "backslashreplace"))


LINES = st.lists(
    st.sampled_from(
        [b"1,2", b"three,4", b'"5",6', b'"7\n8",9', b"10", b"11,12,13", b"", b"1,\xff", b'14,"open', b"a\rb,15"]
    ),
    max_size=12,
)


def rows_and_places(path: Path) -> list[Any]:
    """Each row, or what is wrong with it, with where it stands and where the next one begins."""
    source: Any = sources.csv(path)
    source.resume(None)
    told: list[Any] = []
    ended = False
    try:
        while not ended:
            values, ended, _ = source.read(1)
            told += [
                ((value.raw, str(value.error)) if isinstance(value, BadRow) else value, source.place(), source.tell())
                for value in values
            ]
    finally:
        source.close()
    return told


@few
@given(
    st.sampled_from([b"a,b", b"a"]),
    LINES,
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from([1, 8, 30, 1 << 16]),
    st.sampled_from([0, 32]),
)
@example(b"a,b", [b"1,2"] * 5, b"\n", False, 8, 0)
@example(b"a", [b"10", b"", b"10"], b"\n", True, 1 << 16, 32)
@example(b"a,b", [b'"5",6', b'"7\n8",9', b"1,2"], b"\n", True, 8, 32)
@example(b"a,b", [b'14,"open', b"1,2", b"three,4"], b"\r\n", True, 30, 0)
def test_blocks_of_rows_are_what_the_reader_gives_row_by_row(
    header: bytes, lines: list[bytes], line_end: bytes, ended: bool, block_bytes: int, compiled: int
) -> None:
    path = written(line_end.join([header, *lines]) + (line_end if ended else b""), "blocks.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_blocks, "BLOCK_BYTES", block_bytes)
        patch.setattr(dict_rows, "COMPILED_COLUMNS_MAX", compiled)
        in_blocks = rows_and_places(path)
        patch.setattr(csv_source, "PLAIN_CHARS_MAX", -1)
        assert in_blocks == rows_and_places(path)


@few
@given(HOSTILE, st.sampled_from(ENCODINGS))
@example(b'{"a": 1}\r{"a": 2}\r', "utf-8")
@example(b"[" * 3000 + b"\n1\n", "utf-8")
def test_any_bytes_are_json_bad_rows_or_one_clear_message(data: bytes, encoding: str) -> None:
    path = written(data, "in.jsonl")
    values = taken_or_told(sources.jsonl(path, encoding=encoding))
    if values is None:
        return
    for value in values:
        if isinstance(value, BadRow):
            assert isinstance(value.raw, str)
            assert value.raw
    if encoding == "utf-8" and b"\r" not in data:
        lines = [line for line in data.split(b"\n") if line.decode("utf-8", "replace").strip()]
        assert len(values) == len(lines)


@few
@given(st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5)) | st.integers()))
def test_json_lines_in_any_encoding_come_back_equal(values: list[Any]) -> None:
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    for encoding, blank in itertools.product(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"], ["", "\n\n"]):
        try:
            path = written((blank + text).encode(encoding), "in.jsonl")
        except UnicodeEncodeError:
            return
        source: Any = sources.jsonl(path, encoding=encoding)
        assert taken(source) == values
        if n := len(values) // 2:
            taken(source, limit=n)
            assert taken(source, place=source.last) == values[n:]
