"""Text that comes from rows and from other people's errors, made safe for a terminal, a log and a file.

What the actors need of it is in `headrace.actors.text`; this module has the same names for the runtime, and what needs more
than the actors may know: tracebacks and JSON.
"""

from __future__ import annotations

import json
import re
import traceback

from headrace.actors.text import (
    MESSAGE_CHARS_MAX,
    add_note,
    kind_of,
    message_of,
    remark,
    remarks_of,
    told,
    visible,
)

__all__ = [
    "MESSAGE_CHARS_MAX",
    "add_note",
    "escaped",
    "kind_of",
    "message_of",
    "remark",
    "remarks_of",
    "seconds",
    "told",
    "traceback_of",
    "visible",
    "visible_json",
]

_UNSEEN = re.compile(r"[^ -~]")


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception, its causes and notes, with nothing that a terminal obeys but line feeds. It never
    raises, and cuts long lines."""
    try:
        lines = "".join(traceback.format_exception(error)).split("\n")
    except BaseException:
        return told(error) + "\n"
    return "\n".join(
        visible(line if len(line) <= MESSAGE_CHARS_MAX else f"{line[:MESSAGE_CHARS_MAX]}... ({len(line):,} characters)")
        for line in lines
    )


def visible_json(text: str) -> str:
    """JSON with every character that a terminal would obey written as `\\u` and four digits, which says the same to whoever
    reads it. Line feeds between its parts stay."""
    return _UNSEEN.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    char = found.group()
    if char == "\n" or char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def escaped(value: object) -> str:
    """Any value as ASCII text that every sink can hold. It never raises.

    What JSON can say is written as JSON: lone surrogates as `\\ud83d`, integers of any length, `NaN`. What it cannot say,
    within the value or as a whole, is written as its `repr`.

        >>> escaped({"t": "\\ud83d", "n": 2**70})
        '{"t": "\\\\ud83d", "n": 1180591620717411303424}'
    """
    try:
        return json.dumps(value, default=ascii)
    except Exception:
        pass
    try:
        return ascii(value)
    except Exception as error:
        return f"a {kind_of(value)} that cannot be shown: {kind_of(error)}"


def seconds(s: float) -> str:
    """A duration for people, with three digits that count: `850 µs`, `12.3 ms`, `3.10 s`, `2 min 5 s`, `3 h 12 min`."""
    if s < 0.0005:
        return f"{s * 1e6:.0f} µs" if s >= 5e-7 else "0 s"
    if s < 0.9995:
        return f"{s * 1e3:.3g} ms" if s < 0.0995 else f"{s * 1e3:.0f} ms"
    if s < 59.95:
        return f"{s:.2f} s" if s < 9.995 else f"{s:.1f} s"
    whole = round(s)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
