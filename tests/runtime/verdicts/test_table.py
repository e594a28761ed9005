"""What stands in the table: what networks, databases, services and clients say, and what it means (L53, L66, L71)."""

from __future__ import annotations

import errno
import os
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import urllib.error
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.actors.protocol import Kind
from headrace.runtime import Verdict
from headrace.runtime.verdicts import table
from headrace.runtime.verdicts.classify import classify
from headrace.runtime.verdicts.codes import row_of_code
from headrace.runtime.verdicts.row import Row, Word, by_value
from headrace.runtime.verdicts.statuses import row_of_status

from .shapes import http, shaped

T, P, R, X = Kind.TRANSIENT, Kind.PERMANENT, Kind.REFUSED, Kind.EXHAUSTED


def test_every_row_says_what_it_matches_and_why() -> None:
    for row in table.rows():
        assert row.why.endswith("."), row
        assert row.kind, row
    text = table.as_text()
    assert "insufficient_quota" in text
    assert "ECONNREFUSED" in text


def test_a_value_stands_in_one_row_only() -> None:
    with pytest.raises(AssertionError, match="'a' stands in two rows"):
        by_value([Row("x", ("a",), Word.REFUSED, "One."), Row("x", ("a",), Word.TRANSIENT, "Two.")])


@settings(deadline=None)
@given(st.integers(300, 599))
def test_every_status_of_an_error_has_a_row_L66(status: int) -> None:
    row = row_of_status(status)
    assert row is not None
    assert classify(http(status)).kind in (T, P, R, X)
    assert row_of_status(200) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, T) for name in ("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH")],
        *[(name, T) for name in ("ENETUNREACH", "ENETDOWN", "EMFILE", "ENFILE", "ENOBUFS", "EADDRNOTAVAIL", "EAGAIN")],
        *[(name, P) for name in ("ENOENT", "EACCES", "EPERM", "EISDIR", "ENOSPC", "EINVAL")],
    ],
)
def test_the_operating_system_says_what_it_is_L66(name: str, kind: Kind) -> None:
    number = getattr(errno, name)
    assert classify(OSError(number, os.strerror(number))).kind is kind
    # urllib, requests and others keep it inside.
    assert classify(urllib.error.URLError(OSError(number, "x"))).kind is kind
    assert classify(shaped("acme.NetworkError", OSError(number, "x"))).kind is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("EAI_AGAIN", T), ("EAI_NONAME", T), ("EAI_FAIL", T), ("EAI_BADFLAGS", P), ("EAI_SERVICE", P), ("EAI_FAMILY", P)],
)
def test_the_resolver_says_what_it_is_L66(name: str, kind: Kind) -> None:
    assert classify(socket.gaierror(getattr(socket, name), "x")).kind is kind


def test_tls_that_is_cut_is_tried_again_and_a_certificate_is_not_L66() -> None:
    assert classify(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")).kind is T
    assert classify(ssl.SSLZeroReturnError(6, "closed")).kind is T
    # The errno of an SSLError is a number of OpenSSL, which happens to be EPERM.
    refused = ssl.SSLCertVerificationError(1, "x")
    assert classify(refused).kind is P
    wrong = ssl.SSLError(1, "x")
    wrong.reason = "WRONG_VERSION_NUMBER"
    assert classify(wrong).kind is P
    # The client says only that there was no connection; what is inside says that there will be none.
    outer = shaped("httpx.ConnectError", bases=(shaped_class("httpx.TransportError"),))
    outer.__cause__ = refused
    assert classify(outer).kind is P


def shaped_class(path: str) -> type:
    return type(shaped(path))


@pytest.mark.parametrize(
    ("state", "kind", "exhausted"),
    [
        ("08006", T, False),
        ("40001", T, False),
        ("40P01", T, False),
        ("53300", R, False),
        ("57P01", T, False),
        ("57P04", P, False),
        ("55P03", T, False),
        ("23505", P, False),
        ("42P01", P, False),
        ("28P01", X, True),
    ],
)
def test_sqlstate_says_what_it_is_L66(state: str, kind: Kind, exhausted: bool) -> None:
    for field in ("sqlstate", "pgcode"):
        error = shaped("psycopg.errors.OperationalError", "text")
        setattr(error, field, state)
        assert classify(error)[0:4:2] == (kind, exhausted)
        around = shaped("sqlalchemy.exc.OperationalError", orig=error)
        assert classify(around)[0:4:2] == (kind, exhausted), "the driver's word comes before the wrapper's class"
    assert classify(shaped("pyodbc.OperationalError", state, "text"))[0:4:2] == (kind, exhausted)


def test_a_driver_that_says_nothing_has_no_connection_L66() -> None:
    assert classify(shaped("psycopg.OperationalError", "the connection is closed")).kind is T
    assert classify(shaped("psycopg.ProgrammingError", "the cursor is closed")).kind is P
    assert classify(shaped("pymysql.err.OperationalError", 2013, "Lost connection")).kind is T
    assert classify(shaped("pymysql.err.OperationalError", 1054, "Unknown column")).kind is P
    assert classify(shaped("pymysql.err.OperationalError", 1045, "Access denied")).exhausted
    assert classify(shaped("pymysql.err.OperationalError", 1040, "Too many connections")).kind is R


def test_a_busy_sqlite_is_tried_again_L66() -> None:
    with sqlite3.connect(":memory:") as connection, pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT * FROM there_is_no_such_table")
    connection.close()
    assert classify(caught.value).kind is P
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY_SNAPSHOT
    assert classify(busy).kind is T


def test_mongodb_says_what_it_is_by_code_and_label_L66() -> None:
    failed = "pymongo.errors.OperationFailure"
    assert classify(shaped(failed, code=11600)).kind is T
    assert classify(shaped(failed, code=429)).kind is P, "a code of MongoDB is no status"
    assert classify(shaped(failed, code=251, _error_labels={"TransientTransactionError"})).kind is T
    assert classify(shaped(failed, code=18)).exhausted
    assert classify(shaped(failed, code=16500)).kind is R


class _Code:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("UNAVAILABLE", T), ("DEADLINE_EXCEEDED", T), ("RESOURCE_EXHAUSTED", R), ("INTERNAL", T), ("NOT_FOUND", P)],
)
def test_grpc_says_what_it_is_L66(name: str, kind: Kind) -> None:
    assert classify(shaped("grpc.RpcError", code=lambda: _Code(name))).kind is kind
    assert classify(shaped("grpclib.exceptions.GRPCError", status=_Code(name))).kind is kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (http(401), "401"),
        (http(402), "402"),
        (shaped("openai.RateLimitError", status_code=429, code="insufficient_quota", body={"message": "No."}), "No."),
        (http(429, {"error": {"code": "billing_hard_limit_reached", "message": "No."}}), "billing_hard_limit_reached: No."),
        (http(403, {"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}), "dailyLimitExceeded"),
        (http(400, {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}), "API_KEY_INVALID"),
        (
            http(429, {"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"violations": [{"quotaId": "APerDay"}]}]}}),
            "APerDay",
        ),
        (shaped("anthropic.BadRequestError", status_code=400, body={"error": {"type": "billing_error"}}), "billing_error"),
        (
            shaped("botocore.exceptions.ClientError", response={"Error": {"Code": "ExpiredToken", "Message": "No."}}),
            "ExpiredToken: No.",
        ),
        (shaped("stripe.StripeError", http_status=401, code="api_key_expired"), "api_key_expired"),
        (shaped("slack_sdk.errors.SlackApiError", response=type("R", (), {"data": {"error": "account_inactive"}})()),
         "account_inactive"),
        (shaped("redis.exceptions.AuthenticationError", bases=(ConnectionError,)), "redis.AuthenticationError"),
        (shaped("botocore.exceptions.NoCredentialsError", "Unable to locate"), "Unable to locate"),
    ],
)  # fmt: skip
def test_an_account_that_is_shut_is_exhausted_in_the_providers_words_L71(error: BaseException, words: str) -> None:
    verdict = classify(error)
    assert (verdict.kind, verdict.exhausted) == (X, True)
    assert verdict.words is not None
    assert words in verdict.words


def test_a_code_comes_before_the_status_L71() -> None:
    throttled = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert classify(shaped("botocore.exceptions.ClientError", response=throttled)) == Verdict(R)
    assert classify(http(403, {"error": {"errors": [{"reason": "rateLimitExceeded"}]}})).kind is R
    # Stripe answers 402 to a declined card, which is the row's own matter.
    assert classify(shaped("stripe.CardError", http_status=402)) == Verdict(P)
    assert classify(http(402, {"error": {"type": "card_error"}})) == Verdict(P)


def test_a_status_with_a_header_L13() -> None:
    assert classify(http(403)) == Verdict(P)
    assert classify(http(403, Retry_After="7")) == Verdict(R, 7.0)
    assert classify(http(403, x_ratelimit_remaining="0")) == Verdict(R)
    assert classify(http(403, x_ratelimit_remaining="9")) == Verdict(P)
    assert classify(http(413, Retry_After="7")) == Verdict(R, 7.0)
    assert classify(http(529, Retry_After="7")) == Verdict(R, 7.0)
    assert classify(http(500, Retry_After="7")) == Verdict(T, 7.0)
    assert classify(http(409)) == Verdict(P)
    assert classify(http(409, x_should_retry="true")) == Verdict(T)
    assert classify(http(500, x_should_retry="false")) == Verdict(P)


def test_a_quota_that_is_told_with_every_answer_makes_no_refusal_of_a_fault() -> None:
    assert classify(http(500, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="9s")) == Verdict(T)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (shaped("telegram.error.RetryAfter", retry_after=3), Verdict(R, 3.0)),
        (shaped("telethon.errors.FloodWaitError", seconds=3, code=420), Verdict(R, 3.0)),
        (shaped("github.RateLimitExceededException", status=403), Verdict(R)),
        (shaped("acme.TooBusy", retry_after=2.5), Verdict(R, 2.5)),
        (shaped("acme.TooBusy", retry_after="soon"), Verdict(P)),
        (shaped("kafka.errors.NodeNotReadyError", retriable=True), Verdict(T)),
        (shaped("acme.Odd", retryable="yes"), Verdict(P)),
        (shaped("acme.Odd", code=429), Verdict(P)),
        (shaped("telegram.error.BadRequest", bases=(shaped_class("telegram.error.NetworkError"),)), Verdict(P)),
        (shaped("requests.exceptions.InvalidURL", bases=(OSError,)), Verdict(P)),
        (shaped("aiohttp.client_exceptions.ClientPayloadError"), Verdict(T)),
        (shaped("urllib3.exceptions.ProtocolError", "x"), Verdict(T)),
        (shaped("my.requests.ConnectionError"), Verdict(P)),
    ],
)
def test_classes_and_attributes_of_clients_L66(error: BaseException, verdict: Verdict) -> None:
    assert classify(error) == verdict


@settings(deadline=None)
@given(
    st.sampled_from(["insufficient_quota", "Throttling", "rate_limit", "401"]), st.sampled_from([ValueError, OSError])
)
def test_a_code_in_a_message_is_a_text_L53(text: str, kind: type[Exception]) -> None:
    for error in (kind(text), kind(text, text), shaped("acme.Error", text, message=text, detail=text)):
        assert classify(error) == Verdict(P)


@settings(deadline=None)
@given(st.text())
def test_only_what_stands_in_the_table_is_a_code_L53(text: str) -> None:
    known = row_of_code(text)
    assert (classify(shaped("acme.Error", code=text)) == Verdict(P)) is (known is None or known.word is Word.PERMANENT)


def test_an_exception_of_the_language_is_a_mistake_in_the_program() -> None:
    for error in (KeyError("x"), ValueError("x"), TypeError(), RecursionError(), MemoryError(), StopIteration(3)):
        assert classify(error) == Verdict(P)


def test_a_body_that_is_still_to_be_read_is_left_alone() -> None:
    class Unread:
        status_code = 429
        headers: dict[str, Any] = {}  # noqa: RUF012 (as a client has it)
        _content = False

        @property
        def content(self) -> bytes:
            raise AssertionError("reading this would wait for the network")

    assert classify(shaped("requests.exceptions.HTTPError", response=Unread())) == Verdict(R)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (subprocess.TimeoutExpired("convert", 5.0), T),
        (subprocess.CalledProcessError(1, "convert"), P),
        (smtplib.SMTPDataError(450, b"mailbox busy"), T),
        (smtplib.SMTPConnectError(421, b"too many connections"), T),
        (smtplib.SMTPDataError(550, b"no such user"), P),
        (smtplib.SMTPSenderRefused(452, b"full", "a@b"), T),
    ],
)
def test_what_the_standard_library_says_of_programs_and_mail_L66(error: Exception, kind: Kind) -> None:
    assert classify(error).kind is kind
