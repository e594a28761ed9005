"""Text that comes from rows and from other people's errors, made safe for a terminal, a log and a file.

An exception can refuse to say what it is (its `__str__` raises, or returns something that is not text), its message can hold
a lone surrogate that no file takes, and it can hold escape sequences that a terminal would obey (L72, L81).
"""

from __future__ import annotations

MESSAGE_CHARS_MAX = 4000
"""A longer message is cut, with a note of its length, so that an error that quotes a whole row does not flood a log."""


class Remark(str):
    """A note that Headrace puts on an exception: where it was raised, and who is to blame. `told` shows it to people.

    An exception has one remark on each subject, so that an object that is raised again and again collects no list of them.
    """

    __slots__ = ("subject",)
    subject: str


def remark(error: BaseException, subject: str, text: str) -> None:
    """Note `text` on any exception, in the place of an earlier remark on the same `subject`. It never raises: an exception
    that takes no notes (a frozen dataclass, say) is left as it is."""
    made = Remark(text)
    made.subject = subject
    try:
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            notes[:] = [note for note in notes if not (type(note) is Remark and note.subject == subject)]
        BaseException.add_note(error, made)
    except BaseException:
        return


def add_note(error: BaseException, text: str) -> None:
    """Add a note to any exception. It never raises: an exception that takes no notes is left as it is."""
    try:
        BaseException.add_note(error, text)
    except BaseException:
        return


def caused_by(error: BaseException, cause: BaseException | None) -> None:
    """Set the `__cause__` of any exception, also of one whose class refuses that its attributes are set."""
    BaseException.__setattr__(error, "__cause__", cause)


def remarks_of(error: BaseException) -> list[str]:
    """The remarks that Headrace has noted on an exception, oldest first. It never raises."""
    try:
        notes = getattr(error, "__notes__", None)
        return [str(note) for note in notes if type(note) is Remark] if isinstance(notes, list) else []
    except BaseException:
        return []


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
    """An exception as one line for people: the name of its type, its message, and what Headrace has remarked on it, with
    nothing that a terminal obeys.

    >>> told(ValueError("no such city"))
    'ValueError: no such city'
    """
    remarks = "".join(f" ({remark})" for remark in remarks_of(error))
    return visible(f"{type(error).__name__}: {message_of(error)}{remarks}")
