"""What a call says that it was told, of quotas and of costs, reaches its limit and the run's report."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime import (
    ConfigError,
    Executor,
    Limit,
    Pipeline,
    Quota,
    Refill,
    Retry,
    TransientError,
    current_call,
)
from headrace.runtime.limits import parse_rate
from headrace.runtime.verdicts.quotas import QUOTAS_MAX, quotas_of
from headrace.scenarios.testing import simulate

try:
    CaseInsensitiveDict: Any = importlib.import_module("requests.structures").CaseInsensitiveDict
except ImportError:
    CaseInsensitiveDict = dict

DATE = {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}
EPOCH_S = 1_800_000_000
OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:02Z",
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "39000",
    "anthropic-ratelimit-input-tokens-reset": "2027-01-15T08:00:30Z",
    **DATE,
}
GITHUB = {
    "X-RateLimit-Limit": "5000",
    "X-RateLimit-Remaining": "4987",
    "X-RateLimit-Reset": str(EPOCH_S + 1350),
    "X-RateLimit-Used": "13",
    "X-RateLimit-Resource": "core",
    **DATE,
}
IETF = {
    "RateLimit": '"burst";r=49;t=2, "daily";r=990;t=3600',
    "RateLimit-Policy": '"burst";q=50;w=10, "daily";q=1000;w=86400;qu="tokens"',
}


def told(held: object) -> list[tuple[str, float, float, float | None, Refill]]:
    return [(q.unit, q.remaining, q.reset_s, q.limit, q.refill) for q in quotas_of(held)]


def test_openai_s_headers_are_two_buckets() -> None:
    assert told(OPENAI) == [
        ("calls", 59, 1.0, 60, Refill.CONTINUOUS),
        ("tokens", 149984, 360.0, 150000, Refill.CONTINUOUS),
    ]


def test_anthropic_s_dates_are_compared_with_the_date_of_the_same_answer() -> None:
    assert told(ANTHROPIC) == [
        ("calls", 49, 2.0, 50, Refill.CONTINUOUS),
        ("input_tokens", 39000, 30.0, 40000, Refill.CONTINUOUS),
    ]


def test_github_s_seconds_of_the_epoch_are_too() -> None:
    assert told(GITHUB) == [("calls", 4987, 1350.0, 5000, Refill.UNSAID)]
    assert "core" in quotas_of(GITHUB)[0].name, "its resources have quotas of their own"


def test_the_ietf_s_fields_tell_of_several_quotas_and_their_windows() -> None:
    assert told(IETF) == [
        ("calls", 49, 2.0, 50, Refill.UNSAID),
        ("tokens", 990, 3600.0, 1000, Refill.UNSAID),
    ]
    assert [q.window_s for q in quotas_of(IETF)] == [10.0, 86400.0]
    # Revision 7, and the fields of the revisions before it.
    assert told({"RateLimit": "limit=100, remaining=50, reset=5"}) == [("calls", 50, 5.0, 100, Refill.UNSAID)]
    earlier = {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "20", "RateLimit-Reset": "30"}
    assert told(earlier) == [("calls", 20, 30.0, 100, Refill.UNSAID)]


@pytest.mark.parametrize("headers", [OPENAI, ANTHROPIC, GITHUB, IETF])
def test_the_headers_of_every_client_are_read_alike(headers: dict[str, str]) -> None:
    plain = told(headers)
    assert plain
    assert told(httpx.Headers(headers)) == plain
    assert told({name.upper().encode(): value.encode() for name, value in headers.items()}) == plain
    assert told(list(headers.items())) == plain
    assert told(CaseInsensitiveDict(headers)) == plain


NO_QUOTA = [
    {},
    None,
    7,
    {"x-ratelimit-remaining": "5"},
    {"x-ratelimit-remaining": "many", "x-ratelimit-reset": "5"},
    {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "soon"},
    {"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "5"},
    {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "inf"},
    {"RateLimit": '"a";r=5'},
    {"RateLimit": ";;;,,,"},
]


@pytest.mark.parametrize("held", NO_QUOTA, ids=range(len(NO_QUOTA)))
def test_what_cannot_be_read_tells_nothing_and_is_no_error_L60(held: object) -> None:
    assert told(held) == []


@given(
    st.dictionaries(
        st.sampled_from([*OPENAI, *ANTHROPIC, *GITHUB, *IETF]),
        st.text(max_size=40) | st.integers() | st.binary(),
        max_size=8,
    )
)
def test_nothing_that_headers_hold_is_more_than_can_be_counted_with_L60(held: dict[str, Any]) -> None:
    quotas = quotas_of(held)
    assert len(quotas) <= QUOTAS_MAX
    for quota in quotas:
        assert 0 <= quota.remaining < float("inf")
        assert 0 <= quota.reset_s <= 1e9


def test_a_dialect_of_one_s_own_is_asked_first() -> None:
    def mine(headers: Mapping[str, str]) -> list[Quota] | None:
        left = headers.get("x-left")
        return [Quota("calls", float(left), 10.0, refill=Refill.WINDOW)] if left is not None else None

    assert quotas_of({"x-left": "5", **OPENAI}, mine)[0].remaining == 5
    assert len(quotas_of(OPENAI, mine)) == 2
    assert quotas_of({"x-left": "nan"}, mine) == ()
    with pytest.raises(ConfigError, match="headers= is a int; a function of headers or the name of a dialect"):
        Limit(headers=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="spread= is a str"):
        Limit(spread="yes")  # type: ignore[arg-type]


# --- in a run -------------------------------------------------------------------------------------------------------------


class Server:
    """Takes `limit` calls in each window, tells in headers how it stands, and counts what it has to refuse."""

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float]) -> None:
        self.limit, self.window_s, self.clock = limit, window_s, clock
        self.refused = 0
        self._window, self._taken = -1, 0
        self._lock = threading.Lock()

    def answer(self) -> httpx.Response:
        with self._lock:
            now = self.clock()
            window = int(now / self.window_s)
            if window != self._window:
                self._window, self._taken = window, 0
            well = self._taken < self.limit
            self._taken += well
            self.refused += not well
            left_s = (window + 1) * self.window_s - now
            headers = {"x-left": str(self.limit - self._taken), "x-left-for": str(left_s)}
            return httpx.Response(200 if well else 429, headers=headers)


def left(headers: Mapping[str, str]) -> list[Quota]:
    return [Quota("calls", float(headers["x-left"]), float(headers["x-left-for"]), 20.0, refill=Refill.WINDOW)]


@pytest.mark.parametrize("on", ["threads", "loop"])
def test_a_quota_that_is_told_is_kept_to_before_anything_is_refused_L74(on: str) -> None:
    # Looked up anew each time: virtual in the simulation.
    server = Server(20, 5.0, lambda: time.monotonic())

    def ask(row: int) -> int:
        time.sleep(0.05)
        current_call().headers(server.answer().headers)
        return row

    async def ask_async(row: int) -> int:
        await asyncio.sleep(0.05)
        current_call().headers(server.answer().headers)
        return row

    out: list[int] = []
    limit = Limit(headers=left)
    function: Any = ask if on == "threads" else ask_async
    report = simulate(
        Pipeline().source(range(110)).map(function, workers=8, limit=limit).sink(out.append), seed=3
    ).report
    assert out == list(range(110))
    assert (server.refused, report.calls) == (0, 110)
    # Five windows after the first, which has begun at any time.
    assert 20.0 <= report.elapsed_s <= 31.0


def test_what_calls_spend_is_in_the_report_retries_included() -> None:
    def ask(row: int) -> int:
        call = current_call()
        call.spent(tokens=10, images=0.5)
        call.spent(tokens=1)
        if row == 3 and call.attempt == 1:
            raise TransientError("try again")
        return row

    report = Pipeline().source(range(10)).map(ask, workers=4, retry=Retry(3, base=0.0)).sink(lambda _: None).run()
    assert report.spent == {"tokens": 121, "images": 5.5}
    assert "121 tokens" in str(report)
    assert report.to_dict()["spent"] == {"tokens": 121, "images": 5.5}


def test_an_executor_s_report_has_it_too() -> None:
    async def ask_async(row: int) -> int:
        current_call().spent(tokens=row)
        return row

    def ask(row: int) -> int:
        current_call().spent(tokens=row)
        return row

    with Executor(max_workers=4) as executor:
        assert list(executor.map(ask, range(5))) == list(range(5))
        assert [executor.submit(ask_async, row).result() for row in range(5)] == list(range(5))
        assert executor.stats().spent == {"tokens": 20}


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "12", None])
def test_an_amount_that_is_none_is_the_call_s_error_L60(amount: Any) -> None:
    def ask(row: int) -> int:
        current_call().spent(tokens=amount)
        return row

    report = Pipeline().source(range(2)).map(ask, workers=1, on_error="drop").sink(lambda _: None).run()
    assert (report.dropped, report.spent) == (2, {})


def test_a_cost_known_afterwards_slows_the_rate_down_by_what_it_was_more() -> None:
    def ask(row: int) -> int:
        time.sleep(0.01)
        current_call().spent(tokens=100)
        return row

    def run(limit: Limit) -> float:
        return simulate(Pipeline().source(range(50)).map(ask, workers=4, limit=limit).sink(lambda _: None)).elapsed_s

    # 50 rows of 100 tokens at 1,000 a second, whatever they were thought to take.
    assert run(Limit("1000 tokens/s", cost=lambda row: 100)) == pytest.approx(5.0, abs=0.3)
    assert run(Limit("1000 tokens/s", cost=lambda row: 20)) == pytest.approx(5.0, abs=0.5)
    assert run(Limit("1000 tokens/s", cost=lambda row: 500)) == pytest.approx(5.0, abs=1.0)
    assert parse_rate("200000 Tokens/min").name == "tokens"


def test_what_is_said_after_the_call_or_outside_of_one_is_heard_by_nobody() -> None:
    kept: list[Any] = []

    def ask(row: int) -> int:
        kept.append(current_call())
        return row

    report = Pipeline().source(range(2)).map(ask, workers=1).sink(lambda _: None).run()
    for call in kept:
        call.spent(tokens=1)
        call.headers(OPENAI)
    assert report.spent == {}
