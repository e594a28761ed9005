"""From an exception to a verdict: the exception itself, then those inside it, as far as a bound."""

from __future__ import annotations

from .classes import REFUSED_BY_NAME
from .evidence import finding_of
from .reading import DEEPEST, MOST, inside
from .row import HOPE, Finding, Row, Word

UNKNOWN = Row("nothing", (), Word.PERMANENT, "Nothing in the table matches: it may be a mistake in the program.")
NOTHING_FOUND = Finding(UNKNOWN, None)


def judge(error: BaseException) -> Finding:
    """The row of the table that decides about the exception. It never raises, and looks at no more than `MOST` exceptions.

    What the exception says itself comes first, unless it says only that the connection failed (a `general` row): then what
    the exceptions inside it say counts, if they say more. Of a group, the member with the most hope counts (`HOPE`).
    """
    return _judge(error, [], 0) or NOTHING_FOUND


def _judge(error: BaseException, seen: list[BaseException], depth: int) -> Finding | None:
    if depth > DEEPEST or len(seen) >= MOST or any(error is one for one in seen):
        return None
    seen.append(error)
    try:
        own = finding_of(error)
    except BaseException:
        own = None
    if own is not None and not own.row.general and not (own.word is Word.REFUSED and own.retry_after_s is None):
        return own
    members = issubclass(type(error), BaseExceptionGroup)
    best = own
    try:
        for inner in inside(error):
            found = _judge(inner, seen, depth + 1)
            if found is not None:
                best = _hopeful(best, found) if members else _fuller(best, found)
                if not members and best is not None and not best.row.general and best.word is not Word.REFUSED:
                    break
    except BaseException:
        return best
    return best


def _fuller(outer: Finding | None, found: Finding) -> Finding:
    """Of a wrapper and what it wraps: the first that says more than that the connection failed."""
    if outer is None or (outer.row.general and not found.row.general):
        return found
    if outer.word is Word.REFUSED:
        # A wrapper can keep the status alone, and lose the code and the hint that stand in what it wraps.
        if found.word is Word.EXHAUSTED and outer.row is not REFUSED_BY_NAME:
            return found
        if found.word is Word.REFUSED and outer.retry_after_s is None:
            return outer._replace(retry_after_s=found.retry_after_s)
    return outer


def _hopeful(best: Finding | None, found: Finding) -> Finding:
    """Of two members of a group: the one with more hope, and of two that were refused, the one that has to wait longer."""
    if best is None or HOPE[found.word] < HOPE[best.word]:
        return found
    if found.word is best.word and (found.retry_after_s or 0.0) > (best.retry_after_s or 0.0):
        return found
    return best
