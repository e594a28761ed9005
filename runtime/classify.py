"""What an exception means for its row: transient, permanent or refused.

By type, by status code and by header, never by the text of a message (L53). The clients' classes are known by shape, so that
none is imported: httpx, requests, aiohttp, openai, anthropic (a status code on the error or its response), botocore (its
`response` dict), sqlalchemy (`connection_invalidated`, `OperationalError`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from headrace.actors.awaitables import at_once
from headrace.actors.identity import Id
from headrace.actors.protocol import Fault, Kind
from headrace.actors.quantities import check_after_s

from .errors import Pending, RateLimited, TransientError
from .quantities import hint_s as usable_hint_s
from .text import remark, told

TRANSIENT_STATUS = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
THROTTLING_CODES = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "SlowDown"}
    | {"RequestThrottled", "RequestLimitExceeded", "ProvisionedThroughputExceededException", "LimitExceededException"}
)
"""Error codes of the AWS API that say: not now."""
TRANSIENT_NAMES = frozenset(
    {"ConnectError", "ReadError", "WriteError", "RemoteProtocolError", "PoolTimeout", "TimeoutException"}
    | {
        "APIConnectionError",
        "APITimeoutError",
        "ClientConnectionError",
        "ServerDisconnectedError",
        "ChunkedEncodingError",
    }
    | {"EndpointConnectionError", "OperationalError", "TransportError", "ConnectTimeout", "ReadTimeout"}
)
"""Classes of clients' own transport errors, which derive from nothing that the standard library knows."""
CLIENT_MODULES = (
    "httpx",
    "httpcore",
    "requests",
    "urllib3",
    "aiohttp",
    "openai",
    "anthropic",
    "botocore",
    "sqlalchemy",
)


class Verdict(NamedTuple):
    """What it is, and the seconds after which the other side said to come again."""

    kind: Kind
    retry_after_s: float | None = None


Classifier = Callable[[BaseException], "Verdict | Kind | str | None"]
"""A user's own: None leaves the decision to Headrace."""


def classify(error: BaseException, own: Classifier | None = None) -> Verdict:
    """The verdict of `own`, if it has one, else Headrace's. Raises what `own` raises."""
    verdict = _own_verdict(error, own) if own is not None else None
    return verdict or _verdict(error)


def _own_verdict(error: BaseException, own: Classifier) -> Verdict | None:
    verdict = at_once("classify=", own(error))
    if verdict is None or isinstance(verdict, Verdict):
        return verdict
    return Verdict(Kind(verdict), retry_after_s(_headers_of(error)))


def _verdict(error: BaseException) -> Verdict:
    """Headrace's own. What an exception's attributes raise when they are asked for is no concern of its row (L72)."""
    try:
        return _by_shape(error)
    except BaseException:
        return Verdict(Kind.PERMANENT)


def _by_shape(error: BaseException) -> Verdict:
    if isinstance(error, RateLimited):
        return Verdict(Kind.REFUSED, usable_hint_s(error.retry_after))
    if isinstance(error, TransientError):
        return Verdict(Kind.TRANSIENT)
    status = _status_of(error)
    if status is not None:
        return _by_status(status, retry_after_s(_headers_of(error)))
    if _aws_code_of(error) in THROTTLING_CODES:
        return Verdict(Kind.REFUSED)
    if isinstance(error, ConnectionError | TimeoutError) or _of(error, "connection_invalidated") is True:
        return Verdict(Kind.TRANSIENT)
    if any(_is_transport_error(cls) for cls in type(error).__mro__):
        return Verdict(Kind.TRANSIENT)
    return Verdict(Kind.PERMANENT)


def fault_of(seq: Id, error: BaseException, own: Classifier | None = None) -> Fault:
    """What the call of a row came to that raised `error`. It never raises.

    Where the user's own classifier raises, or answers with what is no verdict, the row's error stays what it was, and a
    remark on it says what was wrong with the classifier (L19); the row is not tried again.
    """
    if isinstance(error, Pending):
        # A state of the row, and no error, whatever anybody's classifier thinks of it.
        try:
            return Fault(seq, Kind.PENDING, error, check_after_s(error.check_after_s), error.state)
        except BaseException as wrong:
            return Fault(seq, Kind.PERMANENT, wrong)
    try:
        kind, hint = classify(error, own)
        hint_s = usable_hint_s(hint) if hint is not None else None
        return Fault(seq, Kind(kind), error, hint_s)
    except BaseException as of_own:
        # Only a user's own classifier raises.
        remark(error, "classify", f"classify= could not say what that means: it raised {told(of_own)}")
        return Fault(seq, Kind.PERMANENT, error)


def _by_status(status: int, hint_s: float | None) -> Verdict:
    if status == 429 or (status == 503 and hint_s is not None):
        return Verdict(Kind.REFUSED, hint_s)
    if status in TRANSIENT_STATUS:
        return Verdict(Kind.TRANSIENT, hint_s)
    return Verdict(Kind.PERMANENT)


def _is_transport_error(cls: type) -> bool:
    return cls.__name__ in TRANSIENT_NAMES and cls.__module__.split(".")[0] in CLIENT_MODULES


def _of(holder: Any, name: str) -> Any:
    """An attribute of somebody else's object; None where there is none, and where asking for it raises (L72)."""
    try:
        return getattr(holder, name, None)
    except BaseException:
        return None


def _status_of(error: BaseException) -> int | None:
    response = _of(error, "response")
    for holder, name in ((error, "status_code"), (response, "status_code"), (error, "status"), (response, "status")):
        status = _of(holder, name)
        if isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599:
            return status
    if isinstance(response, Mapping):
        metadata = response.get("ResponseMetadata")
        status = metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
        if isinstance(status, int) and _aws_code_of(error) not in THROTTLING_CODES:
            return status
    return None


def _aws_code_of(error: BaseException) -> str | None:
    response = _of(error, "response")
    inner = response.get("Error") if isinstance(response, Mapping) else None
    code = inner.get("Code") if isinstance(inner, Mapping) else None
    return code if isinstance(code, str) else None


def _headers_of(error: BaseException) -> Any:
    headers = _of(_of(error, "response"), "headers")
    return headers if headers is not None else _of(error, "headers")


def retry_after_s(headers: Any, now: Callable[[], float] | None = None) -> float | None:
    """The hint of a Retry-After header; see `hint_s`. None if there is no usable one."""
    get = getattr(headers, "get", None)
    if get is None:
        return None
    try:
        return usable_hint_s(get("retry-after") or get("Retry-After"), now)
    except Exception:
        # The headers of a client that will not be read say nothing; its status code still counts.
        return None
