"""Types, status codes and headers decide, never a text."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.protocol import Kind
from headrace.runtime import RateLimited, TransientError, Verdict
from headrace.runtime.verdicts.classify import classify, retry_after_s


def http(status: int, **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://x")
    response = httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=request)
    return httpx.HTTPStatusError("said no", request=request, response=response)


def shaped(module: str, name: str, **fields: Any) -> BaseException:
    """An error of a client that is not installed, by its shape."""
    error: BaseException = type(name, (Exception,), {"__module__": module})()
    for field, value in fields.items():
        setattr(error, field, value)
    return error


class Response:
    def __init__(self, status: int, **headers: str) -> None:
        self.status_code = status
        self.headers = {k.replace("_", "-"): v for k, v in headers.items()}


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (http(429, retry_after="3"), Verdict(Kind.REFUSED, 3.0)),
        (http(429), Verdict(Kind.REFUSED)),
        (http(503, retry_after="1.5"), Verdict(Kind.REFUSED, 1.5)),
        (http(503), Verdict(Kind.TRANSIENT, overloaded=True)),
        (http(502), Verdict(Kind.TRANSIENT)),
        (http(500), Verdict(Kind.TRANSIENT)),
        (http(400), Verdict(Kind.PERMANENT)),
        (http(404), Verdict(Kind.PERMANENT)),
        (httpx.ConnectError("refused"), Verdict(Kind.TRANSIENT)),
        (httpx.ReadTimeout("slow"), Verdict(Kind.TRANSIENT)),
        (shaped("requests.exceptions", "HTTPError", response=Response(429, Retry_After="7")), Verdict(Kind.REFUSED, 7.0)),
        (shaped("requests.exceptions", "ChunkedEncodingError"), Verdict(Kind.TRANSIENT)),
        (shaped("aiohttp.client_exceptions", "ClientResponseError", status=429, headers={"Retry-After": "2"}),
         Verdict(Kind.REFUSED, 2.0)),
        (shaped("aiohttp.client_exceptions", "ServerDisconnectedError"), Verdict(Kind.TRANSIENT)),
        (shaped("openai", "RateLimitError", status_code=429, response=Response(429, retry_after="20")),
         Verdict(Kind.REFUSED, 20.0)),
        (shaped("openai", "APIConnectionError"), Verdict(Kind.TRANSIENT)),
        (shaped("openai", "BadRequestError", status_code=400), Verdict(Kind.PERMANENT)),
        (shaped("anthropic", "APIStatusError", status_code=529), Verdict(Kind.TRANSIENT)),
        (shaped("botocore.exceptions", "ClientError", response={"Error": {"Code": "ThrottlingException"},
                "ResponseMetadata": {"HTTPStatusCode": 400}}), Verdict(Kind.REFUSED)),
        (shaped("botocore.exceptions", "ClientError", response={"Error": {"Code": "NoSuchKey"},
                "ResponseMetadata": {"HTTPStatusCode": 404}}), Verdict(Kind.PERMANENT)),
        (shaped("sqlalchemy.exc", "OperationalError"), Verdict(Kind.TRANSIENT)),
        (shaped("sqlalchemy.exc", "DBAPIError", connection_invalidated=True), Verdict(Kind.TRANSIENT)),
        (shaped("my.own", "OperationalError"), Verdict(Kind.PERMANENT)),
        (ConnectionResetError(), Verdict(Kind.TRANSIENT)),
        (TimeoutError(), Verdict(Kind.TRANSIENT)),
        (RateLimited(retry_after=4.0), Verdict(Kind.REFUSED, 4.0)),
        (TransientError(), Verdict(Kind.TRANSIENT)),
        (KeyError("x"), Verdict(Kind.PERMANENT)),
    ],
)  # fmt: skip
def test_errors_are_known_by_their_shape(error: BaseException, verdict: Verdict) -> None:
    assert classify(error) == verdict


@given(st.text() | st.sampled_from(["Expected 4290 tokens", "429", "quota exceeded", "rate limit", "HTTP 503"]))
def test_no_text_makes_a_refusal_L53(text: str) -> None:
    assert classify(ValueError(text)) == Verdict(Kind.PERMANENT)
    assert classify(RuntimeError(text, 429)) == Verdict(Kind.PERMANENT)


@pytest.mark.parametrize("hint", ["", "-5", "nan", "inf", "soon", "1e999", "0", "\x00", "Wed, 99 Foo 2999"])
def test_a_hint_that_is_none_L13(hint: str) -> None:
    assert retry_after_s({"Retry-After": hint}) is None


def test_a_hint_that_is_a_date_L13() -> None:
    hint = retry_after_s({"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    assert hint is not None
    assert 28 < hint <= 30
    assert retry_after_s({"Retry-After": formatdate(time.time() - 30, usegmt=True)}) is None


@given(st.text())
def test_any_header_is_read_or_not_but_never_an_error(text: str) -> None:
    hint = retry_after_s({"Retry-After": text})
    assert hint is None or hint > 0


def test_the_users_own_word_comes_first() -> None:
    assert classify(KeyError(), lambda error: "transient").kind is Kind.TRANSIENT
    assert classify(http(400, retry_after="9"), lambda error: Kind.REFUSED) == Verdict(Kind.REFUSED, 9.0)
    assert classify(http(429), lambda error: None).kind is Kind.REFUSED
