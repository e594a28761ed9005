"""What wraps an exception is looked through, with a bound, and nothing that an exception does can do harm (L67, L72)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.actors.protocol import Kind
from headrace.runtime import RateLimited, TransientError, Verdict
from headrace.runtime.verdicts.classify import classify, fault_of
from headrace.runtime.verdicts.judge import judge
from headrace.runtime.verdicts.reading import CARRIERS, MOST

from .shapes import http, shaped

T, P, R = Kind.TRANSIENT, Kind.PERMANENT, Kind.REFUSED


def raised(make: Callable[[], Any]) -> BaseException:
    """What the function raises, with the causes and contexts that it gets on its way."""
    try:
        make()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def refuse() -> None:
    raise http(429, Retry_After="7")


def wrapped_with_from() -> None:
    try:
        refuse()
    except OSError as error:
        raise RuntimeError("asking failed") from error


def wrapped_without_from() -> None:
    try:
        refuse()
    except OSError:
        raise RuntimeError("asking failed")  # noqa: B904 (as users write it)


def wrapped_twice() -> None:
    try:
        wrapped_without_from()
    except RuntimeError as error:
        raise ValueError("row 3") from error


def kept_in_an_argument() -> None:
    raise shaped("requests.exceptions.ConnectionError", raised(refuse), bases=(OSError,))


def kept_as_a_reason() -> None:
    raise shaped("urllib3.exceptions.MaxRetryError", reason=raised(refuse))


def kept_as_the_last_attempt() -> None:
    attempt: Future[None] = Future()
    attempt.set_exception(raised(refuse))
    raise shaped("tenacity.RetryError", last_attempt=attempt)


def kept_in_a_group() -> None:
    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(refuse))

    asyncio.run(all_at_once())


@pytest.mark.parametrize(
    "wrapping",
    [
        wrapped_with_from,
        wrapped_without_from,
        wrapped_twice,
        kept_in_an_argument,
        kept_as_a_reason,
        kept_as_the_last_attempt,
        kept_in_a_group,
    ],
)
def test_a_refusal_inside_another_exception_is_a_refusal_L67(wrapping: Callable[[], None]) -> None:
    assert classify(raised(wrapping)) == Verdict(R, 7.0)


def test_what_the_outer_exception_says_itself_comes_first() -> None:
    outer = http(404)
    outer.__cause__ = ConnectionResetError()
    assert classify(outer).kind is P
    own = RateLimited("mine", retry_after=3.0)
    own.__cause__ = http(401)
    assert classify(own) == Verdict(R, 3.0)
    own = RateLimited("mine")
    own.__cause__ = http(429, {"error": {"code": "insufficient_quota"}}, Retry_After="7")
    assert classify(own) == Verdict(R)
    again = TransientError("mine")
    again.__cause__ = http(404)
    assert classify(again) == Verdict(T)


def test_a_wrapper_that_keeps_only_the_status_loses_neither_the_code_nor_the_hint_L71() -> None:
    outer = shaped("litellm.exceptions.RateLimitError", status_code=429)
    outer.__cause__ = http(429, Retry_After="7")
    assert classify(outer) == Verdict(R, 7.0)
    outer.__cause__ = http(429, {"error": {"code": "insufficient_quota"}})
    assert classify(outer).exhausted


def test_a_mistake_in_a_handler_is_a_mistake_unless_it_names_what_it_comes_from() -> None:
    def handler() -> None:
        try:
            raise ConnectionResetError
        except OSError:
            dict[str, int]()["missing"]

    def named() -> None:
        try:
            raise ConnectionResetError
        except OSError as error:
            raise KeyError("row") from error

    def suppressed() -> None:
        try:
            raise ConnectionResetError
        except OSError:
            raise RuntimeError("row") from None

    assert classify(raised(handler)).kind is P
    assert classify(raised(named)).kind is T
    assert classify(raised(suppressed)).kind is P


def test_of_a_group_the_member_with_the_most_hope_counts_L67() -> None:
    def group(*errors: Exception) -> Verdict:
        return classify(ExceptionGroup("several", errors))

    refused, broken, bug = RateLimited(retry_after=2.0), ConnectionResetError(), KeyError("x")
    assert group(bug, broken) == Verdict(T)
    assert group(bug, broken, refused, RateLimited(retry_after=5.0)) == Verdict(R, 5.0)
    assert group(bug, ExceptionGroup("inner", [bug, refused])) == Verdict(R, 2.0)
    assert group(bug, KeyError("y")) == Verdict(P)


def test_a_cycle_of_causes_and_a_long_chain_end_L67() -> None:
    one, two = ValueError("a"), ValueError("b")
    one.__cause__, two.__cause__ = two, one
    assert classify(one) == Verdict(P)
    two.__context__ = ConnectionResetError()
    last: BaseException = ConnectionResetError()
    for _ in range(5):
        outer = RuntimeError()
        outer.__cause__, last = last, outer
    assert classify(last) == Verdict(T)
    for _ in range(10_000):
        outer = RuntimeError()
        outer.__cause__, last = last, outer
    assert classify(last) == Verdict(P)


def test_no_more_exceptions_are_looked_at_than_the_bound_L67() -> None:
    looked = []

    class Endless(Exception):
        @property
        def reason(self) -> Exception:
            looked.append(1)
            return Endless()

        @property
        def cause(self) -> Exception:
            return Endless()

    assert judge(Endless()).row.kind == "nothing"
    assert len(looked) <= 4 * MOST
    assert classify(ExceptionGroup("wide", [ValueError(i) for i in range(10_000)])) == Verdict(P)


class Hostile:
    """An object that answers every question with an exception that no handler expects."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(f"asked for {name}")


class HostileError(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt(f"asked for {name}")


class NotReadyError(Exception):
    @property
    def response(self) -> Any:
        raise RuntimeError("The request instance has not been set.")


def test_attributes_that_raise_say_nothing_L72() -> None:
    assert classify(HostileError("x")) == Verdict(P)
    assert classify(shaped("acme.Error", response=Hostile(), body=Hostile(), code=Hostile())) == Verdict(P)
    late = NotReadyError("x")
    late.__cause__ = ConnectionResetError()
    assert classify(late) == Verdict(T)
    around = shaped("acme.Error", reason=HostileError("x"))
    around.__cause__ = RateLimited(retry_after=1.0)
    assert classify(around) == Verdict(R, 1.0)


def test_a_last_attempt_that_is_not_done_is_not_waited_for() -> None:
    assert classify(shaped("tenacity.RetryError", last_attempt=Future())) == Verdict(P)


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
    | st.sampled_from(["429", "insufficient_quota", "Throttling", "7", "Wed, 21 Oct 2015 07:28:00 GMT", 429, 401, 503])
    | st.builds(Hostile) | st.builds(HostileError) | st.builds(ConnectionResetError) | st.builds(lambda: len)
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "code", "Error", "details", "Retry-After", "reason"]), inner, max_size=4
        )
        | st.builds(
            lambda held: type("Held", (), held)(), st.dictionaries(st.sampled_from(CARRIERS), inner, max_size=4)
        )
        | st.builds(
            lambda held: shaped("acme.Inner", **held), st.dictionaries(st.sampled_from(CARRIERS), inner, max_size=4)
        )
    ),
    max_leaves=12,
)
paths = st.sampled_from(
    [
        "acme.Error",
        "requests.HTTPError",
        "psycopg.OperationalError",
        "pymongo.errors.OperationFailure",
        "grpc.RpcError",
        "ssl.SSLError",
        "socket.gaierror",
        "pymysql.OperationalError",
        "google.api_core.exceptions.Aborted",
        "aiohttp.X",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(paths, st.dictionaries(st.sampled_from(CARRIERS), values, max_size=5), st.booleans())
def test_any_exception_has_a_verdict_L72(path: str, fields: dict[str, Any], system: bool) -> None:
    error = shaped(path, bases=(OSError,) if system else (Exception,), **fields)
    with contextlib.suppress(AttributeError, TypeError):
        error.__cause__ = fields.get("cause")
    verdict = classify(error)
    assert verdict.kind in (T, P, R, Kind.EXHAUSTED)
    assert verdict.retry_after_s is None or 0.0 < verdict.retry_after_s < float("inf")
    assert fault_of(0, error).error is error
