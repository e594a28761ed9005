"""What one exception says of itself, apart from the exceptions inside it.

In this order: a database's own code, a provider's code, a class that says it all, the HTTP status with its headers,
the status of gRPC, TLS, the resolver and the operating system, `retry_after` and `retryable` attributes, a class that
says only that the connection failed. The text of a message is never read (L53), except to repeat a provider's words
about an exhausted account.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import msgspec

from ..text import message_of
from . import statuses
from .classes import SMTP_LATER, row_of_class
from .codes import row_of_code, row_of_quota
from .databases import FAMILIES, database_finding
from .hints import Headers, asked_s, duration_message_s, duration_s, none_left, reset_s, seconds_of
from .network import row_of_errno, row_of_grpc, row_of_resolver, row_of_tls
from .reading import attribute, carried
from .row import HOPE, Finding, Row, Word

FLAG = "attribute"
ASKS_BACK = Row(
    FLAG, ("retry_after",), Word.REFUSED, "The exception carries the seconds after which the call may be repeated."
)
RETRYABLE = Row(
    FLAG,
    ("retryable", "retriable", "is_retryable", "isrecoverable", "should_retry"),
    Word.TRANSIENT,
    "The client says itself that the call may be repeated: google.auth, Kafka's clients, oracledb, stripe.",
)
FLAGS = (ASKS_BACK, RETRYABLE)
_FLAGS = frozenset({*ASKS_BACK.values, *RETRYABLE.values, "seconds"})

_READ_BODY = frozenset({400, 401, 402, 403, 409, 429, 503, 529})
"""Statuses under which providers put different things, so that the code in the body counts, or whose words are repeated."""
BODY_BYTES_MAX = 64 * 1024
NODES_MAX = 128
"""So many fields of an answer are searched for a code."""
_CODE_KEYS = ("code", "type", "status", "reason", "Code", "error", "quotaId", "quota_limit", "errorCode")
_NESTED_KEYS = ("error", "errors", "Error", "details", "extensions", "metadata", "violations", "error_info")
_HTTP_CODE = ("urllib", "google", "googleapiclient", "tornado", "gspread", "werkzeug")
"""Modules whose exceptions keep the HTTP status in `code`. Elsewhere an integer of that name can be anything."""


class _Facts(NamedTuple):
    """What is true of all exceptions of one class."""

    row: tuple[Row, str] | None
    family: str | None
    modules: frozenset[str]
    names: frozenset[str]


_FACTS: weakref.WeakKeyDictionary[type, _Facts] = weakref.WeakKeyDictionary()


def finding_of(error: BaseException) -> Finding | None:
    """The row of the table that the exception itself matches, or None. The exceptions inside it are not looked at."""
    facts = _facts_of(type(error))
    names = carried(error)
    found: Finding | None = None
    if facts.family is not None:
        found = database_finding(facts.family, error)
    elif names and not names <= _FLAGS:
        found = _of_http(error, facts) or _of_grpc(error, facts)
    if found is None and facts.row is not None and not facts.row[0].general:
        found = Finding(*facts.row, _attribute_hint_s(error, facts) if names else None)
    if found is None and "smtplib" in facts.modules:
        code = attribute(error, "smtp_code")
        found = Finding(SMTP_LATER, code) if type(code) is int and 400 <= code < 500 else None
    if found is None and issubclass(type(error), OSError):
        found = _of_system(error, facts)
    if found is None and names:
        found = _of_flags(error)
    if found is None and facts.row is not None:
        found = Finding(*facts.row)
    return found


def _facts_of(kind: type) -> _Facts:
    facts = _FACTS.get(kind)
    if facts is None:
        tops = [cls.__module__.partition(".")[0] for cls in kind.__mro__]
        family = next((FAMILIES[top] for top in tops if top in FAMILIES), None)
        facts = _Facts(row_of_class(kind), family, frozenset(tops), frozenset(cls.__name__ for cls in kind.__mro__))
        _FACTS[kind] = facts
    return facts


# --- HTTP -----------------------------------------------------------------------------------------------------------------


def _of_http(error: BaseException, facts: _Facts) -> Finding | None:
    response = attribute(error, "response")
    if response is None:
        response = attribute(error, "resp")
    status = _status_of(error, response, facts)
    said = _Said(error, response, status)
    found = said.finding()
    if found is None and facts.row is not None and not facts.row[0].general:
        found = Finding(*facts.row)
    if found is None:
        row = statuses.row_of_status(status) if status is not None else None
        if row is None:
            return None
        found = Finding(row, status)
    if found.word is Word.PERMANENT and found.row.kind == statuses.STATUS:
        # google.api_core gives a status of HTTP to an ABORTED of gRPC, which is a conflict that passes.
        row = row_of_grpc(_name_of(attribute(error, "grpc_status_code")))
        found = Finding(row, _name_of(attribute(error, "grpc_status_code"))) if row is not None else found
    headers = _headers_of(error, response)
    asked = asked_s(headers) if headers is not None else None
    if asked is None:
        asked = said.retry_delay_s or _attribute_hint_s(error, facts)
    found = _by_headers(found, status, headers, asked)
    if found.word in (Word.REFUSED, Word.EXHAUSTED) and asked is None and headers is not None:
        asked = reset_s(headers)
    words = _words(found, error, said) if found.word is Word.EXHAUSTED else None
    return found._replace(retry_after_s=asked, words=words)


def _by_headers(found: Finding, status: int | None, headers: Headers | None, asked: float | None) -> Finding:
    """A header can say more than the status or the code: when to come again, whether to come again."""
    if found.word in (Word.EXHAUSTED, Word.REFUSED) or status is None:
        return found
    if status in (403, 413, 503, 529) and asked is not None:
        return Finding(statuses.ASKED_BACK, status)
    if headers is None:
        return found
    if status == 403 and none_left(headers):
        return Finding(statuses.NONE_LEFT, status)
    wanted = headers.text("x-should-retry") or headers.text("stripe-should-retry")
    if wanted == "true" and status == 409:
        return Finding(statuses.SHOULD_RETRY, status)
    if wanted == "false" and status >= 500:
        return Finding(statuses.SHOULD_NOT_RETRY, status)
    return found


def _status_of(error: BaseException, response: object, facts: _Facts) -> int | None:
    """A status of 300 to 599. A status below says that the answer as such was well; a client can raise all the same."""
    for holder, name in (
        (error, "status_code"), (response, "status_code"), (error, "status"), (response, "status"), (error, "http_status")
    ):  # fmt: skip
        found = _as_status(attribute(holder, name)) if holder is not None else None
        if found is not None:
            return found
    if type(response) is dict:
        metadata = response.get("ResponseMetadata")
        return _as_status(metadata.get("HTTPStatusCode")) if type(metadata) is dict else None
    if not facts.modules.isdisjoint(_HTTP_CODE):
        return _as_status(attribute(error, "code"))
    return _as_status(attribute(error, "errcode"))


def _as_status(value: object) -> int | None:
    if isinstance(value, int) and type(value) is not bool:
        status = int(value)
        return status if 300 <= status <= 599 else None
    return None


def _headers_of(error: BaseException, response: object) -> Headers | None:
    held = attribute(response, "headers") if response is not None else None
    if held is None and type(response) is dict:
        metadata = response.get("ResponseMetadata")
        held = metadata.get("HTTPHeaders") if type(metadata) is dict else None
    elif held is None and isinstance(response, dict):
        # httplib2's answer is itself a dictionary of its headers.
        held = dict(response)
    if held is None:
        held = attribute(error, "headers")
    return Headers(held) if held is not None else None


def _attribute_hint_s(error: BaseException, facts: _Facts) -> float | None:
    """`retry_after` of any exception; telethon calls it `seconds`."""
    named = seconds_of(attribute(error, "retry_after"))
    return named or (seconds_of(attribute(error, "seconds")) if "telethon" in facts.modules else None)


# --- codes ----------------------------------------------------------------------------------------------------------------


class _Said:
    """What a provider put into the fields of its answer: codes, the delay of a RetryInfo, a message to repeat."""

    def __init__(self, error: BaseException, response: object, status: int | None) -> None:
        self._found: Finding | None = None
        self._left = NODES_MAX
        self.retry_delay_s: float | None = None
        self.message: str | None = None
        for name in ("code", "type", "status", "reason", "error_code"):
            # aiohttp warns of its own `code`, which is the status.
            if name != "code" or not hasattr(type(error), "code"):
                self._read_code(attribute(error, name), None)
        for name in ("error", "body", "json_body", "details", "error_details", "errors", "error_info"):
            held = attribute(error, name)
            if held is not None:
                self._read(held, 0)
        if type(response) is dict:
            self._read(response.get("Error"), 0)
        elif response is not None:
            data = attribute(response, "data")
            if type(data) is dict:
                self._read(data, 0)
            elif status in _READ_BODY:
                self._read_body(response)

    def finding(self) -> Finding | None:
        return self._found

    def _read_code(self, value: object, key: str | None) -> None:
        if not isinstance(value, str) or len(value) > 100:
            return
        value = str(value)
        row = row_of_quota(value) if key in ("quotaId", "quota_limit") else row_of_code(value)
        if row is not None and (self._found is None or HOPE[row.word] < HOPE[self._found.word]):
            self._found = Finding(row, value)

    def _read(self, held: object, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > 6:
            return
        if type(held) is dict:
            self._read_mapping(held, depth)
        elif type(held) in (list, tuple):
            for item in held[:NODES_MAX]:  # type: ignore[index]
                self._read(item, depth + 1)
        elif isinstance(held, str):
            self._read_code(held, None)
        elif held is not None and not issubclass(type(held), BaseException) and type(held).__module__ != "builtins":
            for name in ("code", "type", "reason"):
                self._read_code(attribute(held, name), None)
            delay = attribute(held, "retry_delay")
            if delay is not None:
                self.retry_delay_s = self.retry_delay_s or duration_message_s(delay)

    def _read_mapping(self, held: dict[object, object], depth: int) -> None:
        for key in _CODE_KEYS:
            self._read_code(held.get(key), key)
        message = held.get("message") or held.get("Message")
        if self.message is None and type(message) is str:
            self.message = message
        delay = held.get("retryDelay")
        if delay is not None:
            self.retry_delay_s = self.retry_delay_s or duration_s(delay)
        for key in _NESTED_KEYS:
            inner = held.get(key)
            if type(inner) in (dict, list):
                self._read(inner, depth + 1)

    def _read_body(self, response: object) -> None:
        """The body of an answer, where its client has it in memory. One that is still to be read is left alone."""
        try:
            body = vars(response).get("_content")
        except TypeError:
            return
        if type(body) is bytes and len(body) <= BODY_BYTES_MAX and body[:1] in (b"{", b"["):
            try:
                self._read(msgspec.json.decode(body), 0)
            except msgspec.DecodeError:
                return


def _words(found: Finding, error: BaseException, said: _Said) -> str:
    message = said.message if said.message is not None else message_of(error)
    return f"{found.value}: {message}"[:500]


# --- gRPC, the system, the rest -------------------------------------------------------------------------------------------


def _of_grpc(error: BaseException, facts: _Facts) -> Finding | None:
    if "grpc" not in facts.modules and "grpclib" not in facts.modules:
        return None
    code = attribute(error, "code")
    try:
        name = _name_of(code() if callable(code) else code or attribute(error, "status"))
        metadata = attribute(error, "trailing_metadata")
        headers = Headers(tuple(metadata() or ())) if callable(metadata) else Headers(())
    except BaseException:
        return None
    row = row_of_grpc(name)
    if row is None:
        return None
    asked = asked_s(headers)
    if name == "UNAVAILABLE" and asked is not None:
        row = statuses.ASKED_BACK
    words = f"{name}: {message_of(error)}"[:500] if row.word is Word.EXHAUSTED else None
    return Finding(row, name, asked, words)


def _name_of(status: object) -> str:
    """The name of a member of grpc.StatusCode."""
    name = attribute(status, "name")
    return name if type(name) is str else ""


def _of_system(error: BaseException, facts: _Facts) -> Finding | None:
    number = attribute(error, "errno")
    if "ssl" in facts.modules and "SSLError" in facts.names:
        # Its errno is a number of OpenSSL, as the resolver's is one of getaddrinfo(3).
        reason = attribute(error, "reason")
        return Finding(row_of_tls(reason if isinstance(reason, str) else None), reason)
    if type(number) is not int:
        return None
    if "gaierror" in facts.names:
        return Finding(row_of_resolver(number), number)
    row = row_of_errno(number)
    return Finding(row, number) if row is not None else None


def _of_flags(error: BaseException) -> Finding | None:
    after_s = seconds_of(attribute(error, "retry_after"))
    if after_s is not None:
        return Finding(ASKS_BACK, "retry_after", after_s)
    for name in RETRYABLE.values:
        if attribute(error, name) is True:
            return Finding(RETRYABLE, name)
    return None
