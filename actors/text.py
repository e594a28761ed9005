"""Text that comes from rows and from other people's errors, made safe for a terminal, a log and a file.

An exception can refuse to say what it is (its `__str__` raises, or returns something that is not text), its message can hold
a lone surrogate that no file takes, and it can hold escape sequences that a terminal would obey (L72, L81).
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS_MAX = 4000
"""A longer message is cut, with a note of its length, so that an error that quotes a whole row does not flood a log."""


class Remark(str):
    """A note that Headrace puts on an exception: where it was raised, and who is to blame. `told` shows it to people.

    An exception has one remark on each subject, so that an object that is raised again and again collects no list of them.
    """

    __slots__ = ("subject",)
    subject: str


def remark(error: BaseException, subject: str, text: str) -> None:
    """Note `text` on any exception, in the place of an earlier remark on the same `subject`. It never raises."""
    made = Remark(text)
    made.subject = subject
    notes = [note for note in _notes_of(error) if not (type(note) is Remark and note.subject == subject)]
    _set_notes(error, [*notes, made])


def add_note(error: BaseException, text: str) -> None:
    """As `error.add_note`, for any exception: also for one whose class refuses attributes, or lies about them."""
    _set_notes(error, [*_notes_of(error), text])


def remarks_of(error: BaseException) -> list[str]:
    """The remarks that Headrace has noted on an exception, oldest first. It never raises."""
    return [str(note) for note in _notes_of(error) if type(note) is Remark]


def _notes_of(error: BaseException) -> list[Any]:
    try:
        # Past a class's own `__getattr__` and `__getattribute__`, which are somebody else's code.
        notes = BaseException.__getattribute__(error, "__notes__")
    except BaseException:
        return []
    return notes if type(notes) is list else []


def _set_notes(error: BaseException, notes: list[Any]) -> None:
    try:
        BaseException.__setattr__(error, "__notes__", notes)
    except BaseException:
        # A property of that name, say. It is left as it is.
        return


def message_of(error: BaseException) -> str:
    """The message of any exception, as text that UTF-8 can hold. It never raises.

    A message that cannot be read is replaced by a sentence that says so. Lone surrogates are written as `\\ud83d`. A message
    of more than `MESSAGE_CHARS_MAX` characters is cut.
    """
    try:
        # `str()` may give an instance of a subclass, whose methods are somebody else's code.
        text = str.__str__(str(error))
        if len(text) > MESSAGE_CHARS_MAX:
            text = f"{text[:MESSAGE_CHARS_MAX]}... ({len(text):,} characters in all)"
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    except BaseException as worse:
        return f"the message cannot be read: __str__ raised {kind_of(worse)}"


def kind_of(error: object) -> str:
    """The name of the type of any exception, or of any object. It never raises: a class may have a metaclass that does.

    >>> kind_of(ValueError("no such city"))
    'ValueError'
    """
    # Past the metaclass's own `__getattribute__`, which is somebody else's code; the name is always an exact string.
    return type.__getattribute__(type(error), "__name__")  # type: ignore[no-any-return]


_SECRET = re.compile(
    r"""(?ix)
    (?P<name>\b(?:proxy-)?authorization|\b(?:x-)?api[-_ ]?key|\bapikey|\bpass(?:word|wd|phrase)|\b\w*secret\w*|
        \b(?:access|auth|refresh|id)?[-_ ]?token|\baccess[-_ ]key(?:[-_ ]id)?|\bsig(?:nature)?|\bkey(?==))
    (?P<between>["']?\s*[:=]\s*["']?(?:bearer\s+|basic\s+)?)
    [^\s"'&,;)}\]]+
    """
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]{8,}")
_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)", re.I)
_KEY = re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|xox[abp]|AKIA|ASIA|AIza)[-_A-Za-z0-9]{12,}")


def without_secrets(text: str) -> str:
    """The text with what looks like a secret replaced by `[secret]`: values of passwords, tokens and keys, of headers that
    authorize, in URLs. It is a net below what users keep out of their errors, and knows common forms only.

        >>> without_secrets("401 for https://api.example/v1?key=abc123")
        '401 for https://api.example/v1?key=[secret]'
    """
    text = _USER_INFO.sub(r"\g<scheme>[secret]", text)
    text = _SECRET.sub(r"\g<name>\g<between>[secret]", text)
    return _KEY.sub("[secret]", _BEARER.sub(r"\1 [secret]", text))


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
    """An exception as one line for people: the name of its type, its message, and what Headrace has remarked on it, with
    nothing that a terminal obeys.

    >>> told(ValueError("no such city"))
    'ValueError: no such city'
    """
    message = message_of(error)
    remarks = "".join(f" ({remark})" for remark in remarks_of(error))
    return visible(f"{kind_of(error)}{': ' if message else ''}{message}{remarks}")
