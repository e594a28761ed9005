"""Reading exceptions that other people wrote.

An attribute of a foreign exception can be a property that raises anything, and an exception can hold itself. So every
read is guarded, only plain containers are walked, and what is looked through has a bound.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Set
from typing import Any

DEEPEST = 12
"""So many exceptions inside one another are looked through."""
MOST = 48
"""So many exceptions are looked at for one verdict."""

_INNER = ("reason", "orig", "os_error", "cause", "inner_exception", "original_exception", "error", "exception", "exc")
"""Attributes in which wrappers keep what they wrap: `reason` of urllib and urllib3, `orig` of sqlalchemy, `os_error` of
aiohttp, `cause` of google.api_core, `inner_exception` of azure.core, `original_exception` of prawcore and pymysql."""
_SEVERAL = ("errors", "failed_attempts")
"""Attributes in which wrappers keep all that failed: elastic_transport and cassandra, instructor."""
_WRAPPERS = frozenset({*_INNER, *_SEVERAL, "kwargs", "last_attempt"})
CARRIERS = (
    *_INNER, *_SEVERAL, "kwargs", "last_attempt", "response", "resp", "headers", "status_code", "status", "http_status",
    "errcode", "code", "type", "error_code", "body", "json_body", "details", "error_details", "error_info", "retry_after",
    "seconds", "retryable", "retriable", "is_retryable", "isrecoverable", "should_retry", "grpc_status_code",
)  # fmt: skip
"""All attributes in which an exception can say something that the table knows."""
_ALL = frozenset(CARRIERS)
_OF_CLASS: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
BUGS = (TypeError, AttributeError, NameError, AssertionError, LookupError, ArithmeticError, NotImplementedError)
"""What the interpreter raises for a mistake in a program. Raised while another exception was handled, such a mistake is what
went wrong: the other exception is not looked at, unless it was named with `raise ... from`."""


def attribute(holder: object, name: str) -> Any:
    """An attribute of a foreign object. None if there is none or reading it raises, whatever it raises."""
    try:
        return getattr(holder, name, None)
    except BaseException:
        return None


def carried(error: BaseException) -> Set[str]:
    """The names of `CARRIERS` that the exception may have. Where it answers to any name, all of them.

    Most exceptions carry nothing, and looking thirty attributes up costs more than all the rest.
    """
    kind = type(error)
    of_class = _OF_CLASS.get(kind)
    if of_class is None:
        if hasattr(kind, "__getattr__") or kind.__getattribute__ is not BaseException.__getattribute__:
            of_class = _ALL
        else:
            of_class = frozenset(name for name in CARRIERS if hasattr(kind, name))
        _OF_CLASS[kind] = of_class
    own = error.__dict__
    return of_class | (own.keys() & _ALL) if own else of_class


def inside(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that this one wraps or was raised because of, the nearest first. They may repeat or form a cycle."""
    if issubclass(type(error), BaseExceptionGroup):
        yield from _several(attribute(error, "exceptions"))
    else:
        names = carried(error) & _WRAPPERS
        if names:
            yield from _wrapped(error, names)
    yield from _several(attribute(error, "args"))
    cause = attribute(error, "__cause__")
    if _is_exception(cause):
        yield cause
    elif not attribute(error, "__suppress_context__") and not issubclass(type(error), BUGS):
        context = attribute(error, "__context__")
        if _is_exception(context):
            yield context


def _wrapped(error: BaseException, names: Set[str]) -> Iterator[BaseException]:
    for name in _INNER:
        if name in names:
            inner = attribute(error, name)
            if _is_exception(inner):
                yield inner
    # botocore: EndpointConnectionError(endpoint_url=..., error=...) keeps its arguments by name.
    named = attribute(error, "kwargs") if "kwargs" in names else None
    if type(named) is dict and _is_exception(named.get("error")):
        yield named["error"]
    attempt = _last_attempt_of(error) if "last_attempt" in names else None
    if attempt is not None:
        yield attempt
    for name in _SEVERAL:
        if name in names:
            yield from _several(attribute(error, name))


def _several(held: object) -> Iterator[BaseException]:
    if type(held) is dict:
        held = list(held.values())
    if type(held) in (tuple, list):
        for item in held[:MOST]:  # type: ignore[index]
            if _is_exception(item):
                yield item
            elif item is not None and type(item).__module__ != "builtins":
                inner = attribute(item, "exception")
                if _is_exception(inner):
                    yield inner


def _last_attempt_of(error: BaseException) -> BaseException | None:
    """tenacity.RetryError keeps a future of its last attempt. Only one that is done is asked, so that nothing waits."""
    attempt = attribute(error, "last_attempt")
    if attempt is None:
        return None
    try:
        inner = attempt.exception(0) if attempt.done() is True else None
    except BaseException:
        return None
    return inner if _is_exception(inner) else None


def _is_exception(value: object) -> bool:
    """Of exceptions that are no `Exception`, such as the end of the program, none is looked at."""
    return issubclass(type(value), Exception)
