"""What an exception means for its row: transient, permanent, refused or exhausted.

The user's own `Retry(classify=)` is asked first, then the classifiers of installed packages, then the table in
`verdicts`. The table goes by types, statuses, codes, numbers and headers, never by the text of a message (L53), and
looks through causes, groups and wrapped attempts (L67). It knows the clients' exceptions by shape and by name, and
imports none of them (L66).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from headrace.actors.awaitables import at_once
from headrace.actors.errors import InternalError
from headrace.actors.protocol import Fault, Kind
from headrace.actors.quantities import LONGEST_S, check_after_s
from headrace.actors.rows.identity import Id

from ..errors import Pending, ProcessDied, RateLimited
from ..quantities import hint_s
from ..text import message_of, remark, told, visible
from .plugins import classifiers
from .reading import attribute

if TYPE_CHECKING:
    from .row import Finding


class Verdict(NamedTuple):
    """What an exception means for its row; `Retry(classify=...)` may give one.

    Args:
        kind: What becomes of the row.
        retry_after_s: Seconds after which the other side said to come again, or None.
        exhausted: The other side takes no call of this account for long: no credit, a daily quota that is used up, or a key
            that it does not accept. It is the same as `kind` being `Kind.EXHAUSTED`.
        words: Of an exhausted account, the provider's own code and message.
        overloaded: The other side has too much to do, and does not say when to come again, as HTTP 503. Where that is said
            fast, and other rows are answered, it is taken for a refusal: nginx refuses so.
    """

    kind: Kind
    retry_after_s: float | None = None
    exhausted: bool = False
    words: str | None = None
    overloaded: bool = False


Classifier = Callable[[BaseException], Verdict | Kind | str | None]
"""A user's own: a `Verdict`, one of the words of `WORDS`, or None, which leaves the decision to Headrace."""

WORDS = ("transient", "permanent", "refused", "exhausted")
"""What a classifier may say of an exception in one word."""
OVERLOADED = 503
"""Service Unavailable: the status of an overloaded server (RFC 9110, 15.6.4), and with which nginx refuses."""
WORDS_CHARS_MAX = 500
"""So much of what a provider says of an exhausted account is kept."""


def classify(error: BaseException, own: Classifier | None = None) -> Verdict:
    """The verdict of `own`, if it has one, else that of an installed package's classifier, else Headrace's.

    Raises `ValueError` if a classifier returns a word that is none of `WORDS`, and whatever `own` raises.

        >>> classify(ConnectionResetError()).kind
        <Kind.TRANSIENT: 'transient'>
    """
    said = at_once("classify=", own(error)) if own is not None else None
    if said is None:
        said = classifiers.asked(error)
    if said is not None:
        return said if isinstance(said, Verdict) else _of_word(said, error)
    if issubclass(type(error), RateLimited):
        # The table says the same, but a pipeline that is refused a thousand times a second meets these most.
        after_s = attribute(error, "retry_after")
        if type(after_s) is float and 0.0 < after_s <= LONGEST_S:
            return Verdict(Kind.REFUSED, after_s)
    return _of_finding(_judge(error), error)


def fault_of(seq: Id, error: BaseException, own: Classifier | None = None) -> Fault:
    """What the call of a row came to that raised `error`. It never raises.

    Where the user's own classifier raises, or answers with what is no verdict, the row's error stays what it was, and a
    remark on it says what was wrong with the classifier (L19); the row is not tried again. Where the other side takes no
    call of this account for long, the fault has the provider's words, and a remark says so (L71).
    """
    # Not isinstance, which asks the exception for its class where the type says no, and that can raise anything (L72).
    if issubclass(type(error), Pending):
        if not isinstance(error, Pending):
            raise InternalError("only Pending is judged so")
        # A state of the row, and no error, whatever anybody's classifier thinks of it.
        try:
            return Fault(seq, Kind.PENDING, error, check_after_s(error.check_after_s), error.state)
        except BaseException as wrong:
            return Fault(seq, Kind.PERMANENT, wrong)
    if issubclass(type(error), ProcessDied):
        return Fault(seq, Kind.UNKNOWN, error, crashed=True)
    try:
        verdict = classify(error, own)
        kind = Kind.EXHAUSTED if verdict.exhausted else Kind(verdict.kind)
        after_s = hint_s(verdict.retry_after_s)
        words = None
        if kind is Kind.EXHAUSTED:
            words = visible(str(verdict.words or message_of(error)))[:WORDS_CHARS_MAX]
        overloaded = bool(verdict.overloaded) and kind is Kind.TRANSIENT
        fault = Fault(seq, kind, error, after_s, words=words, overloaded=overloaded)
    except BaseException as of_own:
        # Only a user's own classifier raises.
        remark(error, "classify", f"classify= could not say what that means: it raised {told(of_own)}")
        return Fault(seq, Kind.PERMANENT, error)
    if kind is Kind.EXHAUSTED:
        again = f"; it says to come again after {after_s:g} s" if after_s is not None else ""
        remark(error, "exhausted", f"the other side takes no call of this account for long: {words}{again}")
    return fault


def retry_after_s(headers: object, now: Callable[[], float] | None = None) -> float | None:
    """The hint of a Retry-After header (RFC 9110, section 10.2.3): seconds or a date. None if there is no usable one.

    `headers`: a mapping of any client. A date is compared with the `Date` of the same headers where there is one, else with
    `now`, in seconds since 1970.
    """
    from .hints import retry_after_s as read

    return read(headers, now)


def _judge(error: BaseException) -> Finding | None:
    """What the table says. None: the table cannot be loaded, because this machine has no file descriptor left."""
    # The table is loaded when the first call fails: it takes a tenth of the time of all that a short run imports.
    try:
        from .judge import judge
    except OSError:
        return None
    return judge(error)


def _of_finding(found: Finding | None, error: BaseException) -> Verdict:
    if found is None:
        # Descriptors come back when other calls end, and what this call failed with is most probably the same lack.
        return Verdict(Kind.TRANSIENT)
    if found.word == "exhausted":
        return _exhausted(found.retry_after_s, found.words or f"{found.value}: {message_of(error)}")
    overloaded = found.value == OVERLOADED and found.word == "transient"
    return Verdict(Kind(found.word.value), found.retry_after_s, overloaded=overloaded)


def _of_word(said: Kind | str, error: BaseException) -> Verdict:
    """A classifier decides what the exception is; when to come again, the exception says itself."""
    found = _judge(error)
    after_s = found.retry_after_s if found is not None else None
    if said == "exhausted":
        return _exhausted(after_s, message_of(error))
    if not isinstance(said, Kind) and said not in WORDS:
        raise ValueError(
            f"A classifier returned {said!r}; it must return a Verdict, one of {', '.join(WORDS)}, or None."
        )
    return Verdict(Kind(said), after_s)


def _exhausted(after_s: float | None, words: str) -> Verdict:
    return Verdict(Kind.EXHAUSTED, after_s, True, words[:WORDS_CHARS_MAX])
