"""When to come again, out of headers and details, whatever the clocks (L13)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.actors.protocol import Kind
from headrace.actors.quantities import LONGEST_S
from headrace.runtime import Verdict
from headrace.runtime.verdicts.classify import classify, retry_after_s
from headrace.runtime.verdicts.hints import Headers, asked_s, duration_s, none_left, reset_s, seconds_of

from .shapes import http, shaped

WRONG_BY_S = 86400.0
"""How wrong the other side's clock is."""
THERE = time.time() - WRONG_BY_S
DATE = formatdate(THERE, usegmt=True)


def test_a_date_is_compared_with_the_date_of_the_same_answer_L13() -> None:
    later = formatdate(THERE + 30, usegmt=True)
    assert retry_after_s({"Retry-After": later, "Date": DATE}) == 30.0
    assert retry_after_s({"Retry-After": later}) is None, "by our own clock that was yesterday"
    assert retry_after_s({"Retry-After": later}, now=lambda: int(THERE) + 10) == 20.0
    assert classify(http(429, Retry_After=later, Date=DATE)) == Verdict(Kind.REFUSED, 30.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"Retry-After-Ms": "nonsense", "Retry-After": "2"}, 2.0),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "2.5"}, 2.5),
        ({"RETRY-AFTER": "2"}, 2.0),
        ({"retry-after": 2}, 2.0),
        ((("retry-after", "2"), ("other", b"x")), 2.0),
        ((("grpc-retry-pushback-ms", "300"),), 0.3),
        ({"retry-after": "0"}, None),
        ({"retry-after": "1e12"}, LONGEST_S),
        ({"retry-after": "9" * 5000}, None),
        ({}, None),
        (None, None),
        (7, None),
    ],
)
def test_what_an_answer_asks_for_L13(headers: Any, seconds: float | None) -> None:
    assert asked_s(Headers(headers)) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # OpenAI: two quotas, of which one is used up.
        (
            {
                "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5s",
                "x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s",
            },
            1.5,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s",
            },
            360.0,
        ),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"}, None),
        # GitHub: seconds since 1970, by its own clock.
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(THERE) + 60), "date": DATE}, 60.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((int(THERE) + 60) * 1000), "date": DATE}, 60.0),
        ({"x-ratelimit-reset": "24"}, 24.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "1.25", "x-ratelimit-reset": "nonsense"}, 1.25),
        # Anthropic: a date of RFC 3339.
        (
            {
                "anthropic-ratelimit-requests-remaining": "0", "date": DATE,
                "anthropic-ratelimit-requests-reset": f"{datetime.fromtimestamp(int(THERE) + 9, UTC):%Y-%m-%dT%H:%M:%SZ}",
            },
            9.0,
        ),
        # The IETF's draft, in its three forms.
        ({"RateLimit": '"default";r=0;t=30'}, 30.0),
        ({"RateLimit": '"a, b; c";r=0;t=30, "day";r=12;t=9000'}, 30.0),
        ({"RateLimit": '"burst";r=5;t=1, "day";r=0;t=9000;pk=:cHNk:'}, 9000.0),
        ({"RateLimit": '"default";r=0', "RateLimit-Policy": '"default";q=100;w=60, "other";q=1;w=5'}, 60.0),
        ({"RateLimit": "limit=100, remaining=0, reset=5"}, 5.0),
        ({"RateLimit-Limit": "10", "RateLimit-Remaining": "0", "RateLimit-Reset": "8"}, 8.0),
        ({"RateLimit": '"default";r=3;t=30'}, None),
        ({"RateLimit": '"unclosed;r=0;t=30'}, None),
        ({"RateLimit": ";;;,,,=\"\\"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_when_a_quota_is_whole_again_L13(headers: dict[str, str], seconds: float | None) -> None:
    assert reset_s(Headers(headers)) == seconds
    assert classify(http(429, **{k.replace("-", "_"): v for k, v in headers.items()})) == Verdict(Kind.REFUSED, seconds)


def test_a_time_to_come_again_counts_before_the_reset_of_a_quota() -> None:
    verdict = classify(http(429, Retry_After="2", RateLimit='"default";r=0;t=30'))
    assert verdict.retry_after_s == 2.0
    assert none_left(Headers({"RateLimit": '"default";r=0'}))


def test_google_tells_the_time_in_the_details_of_its_error_L13() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"}]
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert classify(http(429, body)) == Verdict(Kind.REFUSED, 41.0)

    class Delay:
        seconds, nanos = 3, 500_000_000

    class RetryInfo:
        retry_delay = Delay()

    error = shaped("google.api_core.exceptions.ResourceExhausted", code=429, details=[RetryInfo()])
    assert classify(error) == Verdict(Kind.REFUSED, 3.5)


def test_grpc_tells_the_time_in_its_trailing_metadata_L13() -> None:
    delay = b"\x08\x07\x10\x80\xca\xb5\xee\x01"
    info = b"\x0a" + bytes([len(delay)]) + delay
    url = b"type.googleapis.com/google.rpc.RetryInfo"
    packed = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(info)]) + info
    status = b"\x08\x08\x12\x03No.\x1a" + bytes([len(packed)]) + packed
    assert asked_s(Headers((("grpc-status-details-bin", status),))) == 7.5
    for cut in range(len(status)):
        hint = asked_s(Headers((("grpc-status-details-bin", status[:cut]),)))
        assert hint is None or hint <= LONGEST_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("120ms", 0.12),
        ("41s", 41.0),
        ("1d", 86400.0),
        ("", None),
        ("s", None),
        ("1", None),
        ("-1s", None),
        ("1s ", None),
        ("0s", None),
        ("9" * 70 + "s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3, 3.0),
        (2.5, 2.5),
        ("7", 7.0),
        ("6m0s", 360.0),
        (timedelta(seconds=4), 4.0),
        (None, None),
        (True, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), LONGEST_S),
        ([], None),
        ("soon", None),
    ],
)
def test_what_an_attribute_says(value: object, seconds: float | None) -> None:
    assert seconds_of(value) == seconds


names = st.sampled_from(
    [
        "Retry-After",
        "retry-after-ms",
        "Date",
        "RateLimit",
        "RateLimit-Policy",
        "x-ratelimit-reset",
        "x-ratelimit-remaining",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-tokens-reset",
        "grpc-status-details-bin",
    ]
)
texts = (
    st.text(max_size=60) | st.binary(max_size=60) | st.integers() | st.floats() | st.text('"\\;,=rtqw0159.-: ', max_size=60)
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(names, texts))
def test_any_headers_give_a_finite_hint_or_none_L13(headers: dict[str, Any]) -> None:
    held = Headers(headers)
    for hint in (asked_s(held), reset_s(held), retry_after_s(headers)):
        assert hint is None or 0.0 < hint <= LONGEST_S
