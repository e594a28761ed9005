"""Reading exceptions that other people wrote.

An attribute of a foreign exception can be a property that raises anything, and an exception can hold itself. So every
read is guarded, only plain containers are walked, and what is looked through has a bound.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
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
CARRIERS = (
    *_INNER, *_SEVERAL, "kwargs", "last_attempt", "response", "resp", "headers", "status_code", "status", "http_status",
    "errcode", "code", "type", "error_code", "body", "json_body", "details", "error_details", "error_info", "retry_after",
    "seconds", "retryable", "retriable", "is_retryable", "isrecoverable", "should_retry", "grpc_status_code",
)  # fmt: skip
"""All attributes in which an exception can say something that the table knows."""
_CLASS_SAYS_MORE: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
BUGS = (TypeError, AttributeError, NameError, AssertionError, LookupError, ArithmeticError, NotImplementedError)
"""What the interpreter raises for a mistake in a program. Raised while another exception was handled, such a mistake is what
went wrong: the other exception is not looked at, unless it was named with `raise ... from`."""


def attribute(holder: object, name: str) -> Any:
    """An attribute of a foreign object. None if there is none or reading it raises, whatever it raises."""
    try:
        return getattr(holder, name, None)
    except BaseException:
        return None


def says_more(error: BaseException) -> bool:
    """Whether the exception can carry more than its arguments, its cause and what OSError has.

    Most exceptions carry nothing, and looking thirty attributes up costs more than all the rest.
    """
    kind = type(error)
    of_class = _CLASS_SAYS_MORE.get(kind)
    if of_class is None:
        of_class = any(hasattr(kind, name) for name in (*CARRIERS, "__getattr__")) or (
            kind.__getattribute__ is not BaseException.__getattribute__
        )
        _CLASS_SAYS_MORE[kind] = of_class
    return of_class or bool(error.__dict__)


def inside(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that this one wraps or was raised because of, the nearest first. They may repeat or form a cycle."""
    if issubclass(type(error), BaseExceptionGroup):
        yield from _several(attribute(error, "exceptions"))
    elif says_more(error):
        for name in _INNER:
            inner = attribute(error, name)
            if _is_exception(inner):
                yield inner
        # botocore: EndpointConnectionError(endpoint_url=..., error=...) keeps its arguments by name.
        named = attribute(error, "kwargs")
        if type(named) is dict and _is_exception(named.get("error")):
            yield named["error"]
        attempt = _last_attempt_of(error)
        if attempt is not None:
            yield attempt
        for name in _SEVERAL:
            yield from _several(attribute(error, name))
    yield from _several(attribute(error, "args"))
    cause = attribute(error, "__cause__")
    if _is_exception(cause):
        yield cause
    elif not attribute(error, "__suppress_context__") and not issubclass(type(error), BUGS):
        context = attribute(error, "__context__")
        if _is_exception(context):
            yield context


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
