"""What the first bytes of a file say that it is: the mark of an encoding, a compressed or binary format, a separator.

Nothing is guessed silently. What can be read without doubt is read (a byte order mark, gzip, `sep=;`); everything else
that is not the text that was asked for is told, with what it looks like and the option or the command that makes it
readable.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from headrace.runtime.errors import ConfigError

_MARKS = (
    # The mark of UTF-16 is the beginning of that of UTF-32.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_OF_NAMES = ("idna", "punycode")
"""Encodings of the names of hosts, in which no file is written."""
_UNPACK = "unpack it first, or pipe it in: {} | headrace run ... with path = '-'"
_CALL = "call it {}, and it is unpacked while it is read; or unpack it first: {}"
_EXPORT = "export it as CSV or JSON Lines first"
_FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (b"BZh", "a bzip2 file", _CALL.format(".bz2", "bunzip2 FILE")),
    (b"\xfd7zXZ\x00", "an xz file", _CALL.format(".xz", "unxz FILE")),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _CALL.format(".zst", "unzstd FILE")),
    (b"\x04\x22\x4d\x18", "an lz4 file", _UNPACK.format("lz4cat FILE")),
    (b"\x1f\x8b", "a gzip file", _CALL.format(".gz", "gunzip FILE")),
    (b"\x1f\x9d", "a compress (.Z) file", _UNPACK.format("zcat FILE")),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first: unzip FILE"),
    (b"PK\x05\x06", "an empty ZIP archive", "unpack it first: unzip FILE"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or another ExecutorCore file", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", "read a table of it: sources.sql, or the type sql"),
    (b"PAR1", "a Parquet file", "read it as Parquet: sources.parquet, or the type parquet"),
    (b"ARROW1", "an Arrow file", _EXPORT),
    (b"FEA1", "a Feather file", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\x80\x04\x95", "a Python pickle", _EXPORT),
    (b"\x80\x05\x95", "a Python pickle", _EXPORT),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS in the place of the file",
        "fetch the file itself: git lfs pull",
    ),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"\x89PNG", "a PNG picture", "it holds no rows"),
    (b"\xff\xd8\xff", "a JPEG picture", "it holds no rows"),
    (b"GIF8", "a GIF picture", "it holds no rows"),
    (b"\x7fELF", "a program", "it holds no rows"),
)
_AMBIGUOUS = {b"BZh", b"PAR1", b"ARROW1", b"FEA1", b"GIF8"}
"""Words that a line of names could begin with, too; so a control character must follow."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_JSON = re.compile(rb"\s*(\[\s*)?\{\s*\"")
_PAGE = re.compile(rb"\s*<(\?xml|!doctype|html)", re.IGNORECASE)

_SEP = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", "^": "carets", "~": "tildes"}
"""Separators that a file may have in the place of commas, and what they are called."""


class Form(NamedTuple):
    """How the bytes of a file become lines of text."""

    encoding: str
    """A codec that leaves a byte order mark alone."""
    line_end: bytes
    """What a line ends with; its length is that of one character's unit."""
    mark: int
    """Bytes of the byte order mark, which are no part of the first line."""


def text_encoding(encoding: str) -> str:
    """The plain name of a text encoding. Raises `ConfigError` where it is none that lines can be read in.

    >>> text_encoding("UTF8"), text_encoding("utf-8-sig"), text_encoding("latin1")
    ('utf-8', 'utf-8', 'iso8859-1')
    """
    try:
        known = codecs.lookup(encoding)
    except Exception:
        raise ConfigError(f"unknown encoding {encoding!r}; such as 'utf-8', 'cp1252' or 'utf-16' are known") from None
    name = {"utf-8-sig": "utf-8"}.get(known.name, known.name)
    try:
        # Codecs such as rot13, base64 or punycode are none in which a file can be read line by line.
        plain = _markless(name)
        whole, parts = "id,n\nx".encode(plain), "id,n\n".encode(plain) + "x".encode(plain)
        end = "\n".encode(plain)
        if (
            known.name not in _OF_NAMES
            and whole == parts
            and whole.decode(plain) == "id,n\nx"
            and len(end) in (1, 2, 4)
        ):
            return name
    except (LookupError, UnicodeError, TypeError, AssertionError):
        pass
    raise ConfigError(f"encoding={encoding!r} is no encoding of text; such as 'utf-8', 'cp1252' or 'utf-16' are")


def _markless(encoding: str) -> str:
    """The codec for text whose byte order mark is gone, or that never had one."""
    return f"{encoding}-le" if encoding in ("utf-16", "utf-32") else encoding


def form_of(head: bytes, encoding: str) -> Form:
    """How a file that begins with `head` is read, where `encoding` (a name of `text_encoding`) was asked for.

    A byte order mark wins over UTF-8, which is the default, and over a UTF of the same family. Raises `ConfigError`
    where it contradicts another encoding.
    """
    for mark, marked in _MARKS:
        if head.startswith(mark):
            if encoding not in ("utf-8", marked, marked[:6]):
                raise ConfigError(
                    f"begins with the byte order mark of {marked}, and encoding={encoding!r} was asked for: "
                    f"leave encoding= out, or remove the mark"
                )
            return Form(marked, "\n".encode(marked), len(mark))
    plain = _markless(encoding)
    return Form(plain, "\n".encode(plain), 0)


def refuse_other_formats(head: bytes, form: Form, kind: str) -> None:
    """Raises `ConfigError` where a file that begins with `head` is not text. `kind`: what it should be, such as
    "CSV"."""
    for magic, what, mend in _FORMATS:
        if head.startswith(magic) and (magic not in _AMBIGUOUS or _CONTROL.search(head[:64])):
            if magic.startswith(b"PK"):
                what, mend = _in_zip(head, what, mend)
            raise ConfigError(f"looks like {what}, not {kind}; {mend}")
    if head[257:262] == b"ustar":
        raise ConfigError(f"looks like a tar archive, not {kind}; unpack it first: tar xf FILE")
    if _PAGE.match(head):
        raise ConfigError(f"looks like an HTML or XML document, not {kind}; was it downloaded without signing in?")
    if kind == "CSV" and _JSON.match(head[form.mark :]):
        raise ConfigError(
            "looks like JSON, not CSV: read it as JSON Lines (sources.jsonl, or the type jsonl), a value a line, or as an "
            "array (sources.json, or the type json)"
        )
    if len(form.line_end) == 1 and not form.mark:
        _refuse_nul(head, form, kind)


def _in_zip(head: bytes, what: str, mend: str) -> tuple[str, str]:
    if b"xl/" in head or b"[Content_Types].xml" in head:
        return "an Excel workbook (.xlsx)", _EXPORT
    if b"mimetypeapplication/vnd.oasis" in head:
        return "an OpenDocument file (.ods)", _EXPORT
    return what, mend


def _refuse_nul(head: bytes, form: Form, kind: str) -> None:
    """Text that has NUL bytes in its first line is in an encoding of two or four bytes a character, or is no text."""
    line = head.partition(form.line_end)[0]
    if b"\x00" not in line:
        return
    sample = head[:256]
    zeros = [sample[i::4].count(0) * 4 >= len(sample) * 0.9 for i in range(4)]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if len(sample) >= 4 and sum(zeros) == 3:
        guess = "utf-32-be" if zeros[0] else "utf-32-le"
    elif len(sample) >= 4 and odd > 4 * even:
        guess = "utf-16-le"
    elif len(sample) >= 4 and even > 4 * odd:
        guess = "utf-16-be"
    else:
        raise ConfigError(
            f"line 1: byte {line.index(0) + 1} is NUL: it is no text, so not {kind}; was the file cut off or overwritten?"
        )
    raise ConfigError(f"looks like {guess} without a byte order mark: say encoding={guess!r}")


_QUOTED = re.compile(r'"[^"]*"?')
"""A field between quotes, or as much of it as stands on a line."""


def separator_of(first_line: str) -> str | None:
    """The separator that a first line such as `sep=;` names, as Excel reads it; None for any other line."""
    found = _SEP.fullmatch(first_line)
    return found.group(1) if found else None


def other_separator(lines: list[str], delimiter: str) -> str | None:
    """The separator that these first lines have consistently, where their header has no `delimiter`; else None.

    What stands between quotes separates nothing.
    """
    lines = [_QUOTED.sub("", line) for line in lines]
    if not lines or delimiter in lines[0]:
        return None
    for separator in sorted((*SEPARATORS, ","), key=lines[0].count, reverse=True):
        n = lines[0].count(separator)
        if n and separator != delimiter and all(line.count(separator) == n for line in lines):
            return separator
    return None
