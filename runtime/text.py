"""Text that comes from rows and from other people's errors, made safe for a terminal, a log and a file.

An exception can refuse to say what it is (its `__str__` raises, or returns something that is not text), its message can hold
a lone surrogate that no file takes, and it can hold escape sequences that a terminal would obey (L72, L81).
"""

from __future__ import annotations

import json
from typing import Any

MESSAGE_CHARS_MAX = 4000
"""A longer message is cut, with a note of its length, so that an error that quotes a whole row does not flood a log."""


def message_of(error: BaseException) -> str:
    """The message of any exception, as text that UTF-8 can hold. It never raises.

    A message that cannot be read is replaced by a sentence that says so. Lone surrogates are written as `\\ud83d`. A message
    of more than `MESSAGE_CHARS_MAX` characters is cut.
    """
    try:
        text = str(error)
        if len(text) > MESSAGE_CHARS_MAX:
            text = f"{text[:MESSAGE_CHARS_MAX]}... ({len(text):,} characters in all)"
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    except BaseException as worse:
        return f"the message cannot be read: __str__ raised {type(worse).__name__}"


def visible(text: str, *, multiline: bool = False) -> str:
    """The text with every character that a terminal would obey, or that nobody can see, written as an escape.

    An escape character becomes the four characters `\\x1b`, a right-to-left override `\\u202e`. With `multiline`, line feeds
    stay; otherwise they become `\\n`, so that a value cannot forge a line of a log.

        >>> visible("\\x1b[2Jgone")
        '\\\\x1b[2Jgone'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or (multiline and char == "\n") else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def told(error: BaseException) -> str:
    """An exception as one line for people: the name of its type and its message, with nothing that a terminal obeys.

    >>> told(ValueError("no such city"))
    'ValueError: no such city'
    """
    return f"{type(error).__name__}: {visible(message_of(error))}"


def escaped(value: Any) -> str:
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
        return f"a {type(value).__name__} that cannot be shown: {type(error).__name__}"
