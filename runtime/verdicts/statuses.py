"""The table of HTTP statuses (RFC 9110, section 15; the registry of IANA; what providers use beyond it).

A status of 4xx that has no row means that the request is wrong: permanent, as does a redirection that a client
raises. One of 5xx that has no row counts as a 500, as RFC 9110, section 15, asks.
"""

from __future__ import annotations

from .row import Row, Word, by_value

STATUS = "HTTP status"

STATUSES = (
    Row(STATUS, (429,), Word.REFUSED, "Too Many Requests (RFC 6585, section 4)."),
    Row(STATUS, (420,), Word.REFUSED, "Twitter's and Telegram's older word for 429."),
    Row(STATUS, (509,), Word.REFUSED, "Bandwidth limit exceeded, as Apache modules and hosters send it."),
    Row(
        STATUS,
        (401,),
        Word.EXHAUSTED,
        "The credentials are missing or wrong (RFC 9110, 15.5.2), and all calls use them.",
    ),
    Row(STATUS, (402,), Word.EXHAUSTED, "Payment Required: providers send it when no credit is left."),
    Row(
        STATUS,
        (407,),
        Word.EXHAUSTED,
        "The proxy wants other credentials (RFC 9110, 15.5.8), and all calls go through it.",
    ),
    Row(STATUS, (408,), Word.TRANSIENT, "Request Timeout: the client may repeat the request (RFC 9110, 15.5.9)."),
    Row(STATUS, (421,), Word.TRANSIENT, "Misdirected: it may be repeated over another connection (RFC 9110, 15.5.20)."),
    Row(STATUS, (425,), Word.TRANSIENT, "Too Early: it may be repeated without early data (RFC 8470, section 5.2)."),
    Row(STATUS, (500,), Word.TRANSIENT, "The server met something unexpected (RFC 9110, 15.6.1)."),
    Row(STATUS, (502, 503, 504), Word.TRANSIENT, "A gateway or an overloaded server (RFC 9110, 15.6.3 to 15.6.5)."),
    Row(
        STATUS,
        (520, 521, 522, 523, 524, 525, 527, 530),
        Word.TRANSIENT,
        "Cloudflare cannot reach the server behind it.",
    ),
    Row(STATUS, (529,), Word.TRANSIENT, "Overloaded, as Anthropic and others send it."),
    Row(
        STATUS,
        (501, 505, 506, 510),
        Word.PERMANENT,
        "The server will never do this (RFC 9110, 15.6.2; RFC 2295; RFC 2774).",
    ),
    Row(STATUS, (508,), Word.PERMANENT, "The server found an endless loop in what was asked (RFC 5842, section 7.2)."),
)
OTHER_4XX = Row(
    STATUS, ("other 4xx", "3xx"), Word.PERMANENT, "The request is wrong, and will be wrong again (RFC 9110, 15.5)."
)
OTHER_5XX = Row(
    STATUS, ("other 5xx",), Word.TRANSIENT, "A status that is not known counts as x00 (RFC 9110, section 15)."
)

HEADER = "HTTP status and header"
ASKED_BACK = Row(
    HEADER,
    ("403, 413, 503, 529 with Retry-After", "UNAVAILABLE of gRPC with RetryInfo or a pushback"),
    Word.REFUSED,
    "The server names the time to come again (RFC 9110, 10.2.3); GitHub's secondary limits send it with 403.",
)
NONE_LEFT = Row(
    HEADER,
    ("403 with x-ratelimit-remaining: 0",),
    Word.REFUSED,
    "GitHub's primary limit answers 403 and sends this header.",
)
SHOULD_RETRY = Row(
    HEADER,
    ("409 with x-should-retry: true",),
    Word.TRANSIENT,
    "OpenAI, Anthropic and Stripe send it for a conflict that passes, such as a lock.",
)
SHOULD_NOT_RETRY = Row(
    HEADER,
    ("5xx with x-should-retry: false",),
    Word.PERMANENT,
    "OpenAI, Anthropic and Stripe say that a retry is in vain.",
)

_INDEX = by_value(STATUSES)


def row_of_status(status: int) -> Row | None:
    """The row of a status from 400 to 599; None for another, which is no error."""
    row = _INDEX.get(status)
    if row is not None:
        return row
    if 300 <= status <= 499:
        return OTHER_4XX
    return OTHER_5XX if 500 <= status <= 599 else None
