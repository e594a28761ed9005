"""Numbers that no clock can hold, from every place where one comes in (L60)."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace import runtime
from headrace.actors.protocol import Kind
from headrace.runtime import (
    Executor,
    Flow,
    Limit,
    OpenTelemetryObserver,
    Pending,
    Pipeline,
    PrometheusObserver,
    RateLimited,
    Retry,
    Verdict,
)
from headrace.runtime.errors import BadAnswer, ConfigError, RunFailed
from headrace.runtime.journal.options import Journal
from headrace.runtime.limits import parse_rate
from headrace.runtime.pipeline.call_options import CallOptions
from headrace.runtime.pipeline.run_options import RunOptions
from headrace.runtime.quantities import hint_s
from headrace.runtime.run.progress import progress_of

END_S = 30.0
"""A bound on what must end at once: only a hang takes so long."""


def same(x: Any) -> Any:
    return x


def five() -> Flow[Any]:
    return Pipeline().source(range(5))


def ends(pipeline: Flow[Any], **options: Any) -> Any:
    """The report of a run, which must end."""
    run = pipeline.sink(lambda value: None).start(**options)
    try:
        return run.wait_ended(END_S)
    finally:
        run.abort("the test is over")


# --- every option of the public face that takes a number, as its signature says ---


def _executor(**options: Any) -> None:
    with Executor(**options) as executor:
        assert executor.submit(same, 5).result(END_S) == 5


def _batch(timeout: Any) -> None:
    with Executor(2) as executor:
        executor.execute_batch(same, range(5), timeout=timeout)


def _waits(method: str) -> Callable[..., None]:
    def wait(**options: Any) -> None:
        run = five().map(same).start()
        try:
            getattr(run, method)(**options)
        except TimeoutError:
            assert options["timeout"] < 1.0
        finally:
            run.wait(END_S)

    return wait


def _stream(**options: Any) -> None:
    assert len(list(five().map(same).stream(**options))) == 5


async def _call(**options: Any) -> None:
    async with Executor(1) as executor:
        assert await executor.call(same, 1, **options) == 1


# With a time-out of next to nothing no call is ever answered, which is an outage.
PATIENCE: dict[str, Any] = {"retry": 1, "limit": Limit(outage_deadline=0.01)}


def merge(row: Any, parts: Any) -> Any:
    return row


TRIED: dict[str, Callable[..., Any]] = {
    "Limit": lambda **o: ends(five().map(same, limit=Limit("1000/s", **o))),
    "Retry": lambda **o: ends(five().map(same, retry=Retry(**o))),
    "Journal": lambda **o: Journal("never.db", **o),
    "Executor": _executor,
    "Executor.execute_batch": _batch,
    "Executor.call": lambda **o: asyncio.run(_call(**o)),
    "Pipeline": lambda **o: ends(Pipeline(**o).source(range(5)).map(same)),
    "Flow.flat_map": lambda **o: ends(five().flat_map(lambda x: [x], **{**PATIENCE, **o})),
    "Flow.filter": lambda **o: ends(five().filter(bool, **{**PATIENCE, **o})),
    "Flow.tap": lambda **o: ends(five().tap(same, **{**PATIENCE, **o})),
    "Pipeline.source": lambda **o: ends(Pipeline().source(range(5), **o).map(same)),
    "Flow.map": lambda **o: ends(five().map(same, **{**PATIENCE, **o})),
    "Flow.dedupe": lambda **o: ends(five().dedupe(str, **{"within": 2, **o})),
    "Flow.batch": lambda **o: ends(five().batch(**{"count": 2, **o})),
    "Flow.join": lambda **o: ends(five().fork(a=same, b=same).join(**{"merge": merge, **PATIENCE, **o})),
    "Flow.start": lambda **o: ends(five().map(same), **o),
    "Flow.run": lambda **o: five().map(same).run(**o),
    "Flow.run_async": lambda **o: asyncio.run(five().map(same).run_async(**o)),
    "Flow.plan": lambda **o: five().map(same).plan(**o),
    "Flow.stream": _stream,
    "Run.wait": _waits("wait"),
    "Run.wait_ended": _waits("wait_ended"),
    "PrometheusObserver": lambda **o: ends(five(), observers=[PrometheusObserver(**o)]),
    "OpenTelemetryObserver": lambda **o: ends(five(), observers=[OpenTelemetryObserver(**o)]),
    "progress_of": lambda **o: progress_of(stream=__import__("io").StringIO(), **o),
}
"""What tries an option of each public callable: with any value, it ends, or raises `ConfigError`."""
NO_OPTION = {"RateLimited.retry_after", "Pending.check_after_s", "UnwritableRows.rows"}
"""Not options: a number that is only shown, hints and rows of a batch, which have tests of their own."""
RECORDS = {"Outcome", "RunReport", "StageReport", "CallInfo", "Verdict", "ReadResult", "Quota"}
"""What Headrace makes and users read, or the other way round. Protocols are left out, too: users write their methods."""


def _takes_a_number(annotation: str) -> bool:
    return "Callable" not in annotation and re.search(r"\b(int|float|Require)\b", annotation) is not None


def _options_of(owner: str, function: Any) -> list[tuple[str, str]]:
    if hasattr(function, "__struct_fields__"):
        hints = {name: str(kind) for name, kind in function.__annotations__.items()}
        return [(owner, name) for name in function.__struct_fields__ if _takes_a_number(hints[name])]
    of = vars(function).get("__init__", object) if isinstance(function, type) else function
    hints = {name: str(parameter.annotation) for name, parameter in inspect.signature(of).parameters.items()}
    hints |= {name: str(hint) for name, hint in _unpacked(hints.get("options", "")).items()}
    return [
        (owner, name)
        for name, hint in hints.items()
        if name not in ("self", "args", "kwargs") and _takes_a_number(hint)
    ]


def _unpacked(hint: str) -> dict[str, Any]:
    """The options that `**options: Unpack[...]` stands for."""
    for kind in (CallOptions, RunOptions):
        if hint == f"Unpack[{kind.__name__}]":
            return inspect.get_annotations(kind)
    return {}


def _all_options() -> list[tuple[str, str]]:
    found = [*_options_of("progress_of", progress_of), *_options_of("Journal", Journal)]
    for name in runtime.__all__:
        public = getattr(runtime, name)
        if name in RECORDS or not isinstance(public, type) or getattr(public, "_is_protocol", False):
            continue
        found += _options_of(name, public)
        for method, function in inspect.getmembers(public, inspect.isfunction):
            # What a pipeline is asked for beside its source, it is asked for as a flow.
            if not method.startswith("_") and (name != "Pipeline" or method in vars(public)):
                found += _options_of(f"{name}.{method}", function)
    return [(owner, option) for owner, option in dict.fromkeys(found) if f"{owner}.{option}" not in NO_OPTION]


HOSTILE: list[Any] = [
    math.nan, math.inf, -math.inf, -1, 0, -0.0, 1e-300, 5e-324, 1e9, 1.0000001e9, 9.3e9, 1e10, 1e300, 10**400, 2**63,
    2**31, 999_999, True, False, "5", "inf", "", b"5", [], {}, object(), 1j, Decimal("NaN"), Decimal("0.5"),
    Fraction(1, 3), timedelta(seconds=5), None,
]  # fmt: skip
OPTIONS = _all_options()


def test_every_public_option_that_takes_a_number_is_found_and_tried_L60() -> None:
    assert {owner for owner, _ in OPTIONS} <= set(TRIED), "an option is new: say in TRIED how to try it"
    assert {("Limit", "cooldown"), ("Retry", "base"), ("Flow.map", "timeout"), ("Executor", "max_workers"),
            ("Pipeline", "window"), ("Flow.batch", "within"), ("Journal", "within"), ("Run.wait", "timeout"),
            ("Flow.start", "suspend_after"), ("Flow.join", "require")} <= set(OPTIONS)  # fmt: skip


def _raised_by(owner: str, option: str, value: Any) -> Exception | None:
    try:
        TRIED[owner](**{option: value})
    except Exception as error:
        return error
    return None


def _ends_or_is_told(owner: str, option: str, value: Any) -> None:
    error = _raised_by(owner, option, value)
    if isinstance(error, RunFailed | TimeoutError):
        # A time-out of next to nothing: its calls hang, as far as anybody can say.
        assert option in ("timeout", "deadline")
        assert value < 1.0
    elif isinstance(error, ConfigError):
        assert option in str(error) or owner.split(".")[-1] in str(error)
    elif error is not None:
        # The standard library's words, which its own tests hold an executor to.
        assert (type(error), str(error)) == (ValueError, "max_workers must be greater than 0")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{type(value).__name__}-{str(value)[:12]}")
def test_hostile_numbers_are_told_or_taken_whatever_the_option_L60(value: Any) -> None:
    for owner, option in OPTIONS:
        _ends_or_is_told(owner, option, value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(("Flow.map", "timeout"), math.inf)
@given(
    st.sampled_from(OPTIONS),
    st.floats() | st.integers() | st.text() | st.decimals() | st.fractions() | st.none() | st.binary(),
)
def test_any_value_of_any_option_is_told_or_the_run_ends_L60(option: tuple[str, str], value: Any) -> None:
    _ends_or_is_told(*option, value)


@pytest.mark.parametrize("option", ["timeout", "deadline"])
def test_an_option_that_no_clock_can_hold_is_told_with_its_range_and_with_none_L60(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"map: {option}=inf: seconds greater than 0, at most 1e\+09 .*, or None"):
        five().map(same, **{option: math.inf})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "rate", ["1e999/s", "99999999999999999999/s", "0.0000000001/s", "0/s", "-1/s", "inf/s", "nan/s", "", 5, None, b"1/s"]
)  # fmt: skip
def test_a_rate_out_of_range_is_told_L60(rate: Any) -> None:
    with pytest.raises(ConfigError, match=r"limit .*: (a rate|unknown)"):
        parse_rate(rate)


def test_other_kinds_of_numbers_are_numbers_L60() -> None:
    assert five().map(same, timeout=Decimal("2.5"), deadline=Fraction(7, 2)).run().delivered == 5  # type: ignore[call-overload]


# --- hints of the other side ---


class Response:
    def __init__(self, status: int, retry_after: Any) -> None:
        self.status_code = status
        self.headers = {"retry-after": retry_after}


class HttpError(Exception):
    def __init__(self, status: int, retry_after: Any) -> None:
        super().__init__(f"HTTP {status}")
        self.response = Response(status, retry_after)


def once(error: Callable[[], BaseException]) -> Callable[[int], int]:
    """A function whose first call about row 3 fails."""
    failed: list[int] = []

    def call(x: int) -> int:
        if x == 3 and not failed:
            failed.append(x)
            raise error()
        return x

    return call


HINTS: list[Any] = [
    "31536000", "1e300", "1e10", "99999999999999", "nan", "inf", "-5", "soon", "Fri, 31 Dec 9999 23:59:59 GMT", 1e300,
    10**400, math.nan, math.inf, -1, True, b"5", timedelta(days=365), Decimal("1e300"), datetime(9999, 1, 1, tzinfo=UTC),
    object(), [],
]  # fmt: skip


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_a_hint_has_a_ceiling_whatever_came_with_it_L60(status: int) -> None:
    for hint in HINTS:
        call = once(lambda hint=hint: HttpError(status, hint))  # type: ignore[misc]
        limit = Limit(max_hint=0.02, cooldown=0.01)
        assert ends(five().map(call, workers=2, retry=Retry(3, base=0.001), limit=limit)).delivered == 5, hint


def test_retry_after_of_our_own_error_may_be_anything_L60() -> None:
    for hint in (*HINTS, "5"):
        call = once(lambda hint=hint: RateLimited(retry_after=hint))  # type: ignore[misc]
        assert ends(five().map(call, limit=Limit(max_hint=0.02, cooldown=0.01))).delivered == 5, hint


def test_a_classifier_may_say_any_hint_L60() -> None:
    for hint in HINTS:
        retry = Retry(3, base=0.001, classify=lambda error, hint=hint: Verdict(Kind.TRANSIENT, hint))  # type: ignore[misc]
        pipeline = five().map(once(lambda: KeyError("x")), retry=retry, limit=Limit(max_hint=0.02))
        assert ends(pipeline).delivered == 5


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_a_classifier_that_raises_is_the_rows_error_L60(error: type[BaseException]) -> None:
    def classify(of: BaseException) -> str:
        raise error

    report = ends(five().map(once(lambda: KeyError("x")), retry=Retry(3, classify=classify)))
    assert (report.delivered, report.quarantined) == (4, 1)


def test_a_hint_is_seconds_a_date_or_a_span_of_time_L13() -> None:
    assert hint_s("5") == hint_s(5) == hint_s(Decimal(5)) == hint_s(timedelta(seconds=5)) == 5.0
    assert hint_s(datetime(2030, 1, 1, tzinfo=UTC), lambda: datetime(2029, 12, 31, tzinfo=UTC).timestamp()) == 86_400.0
    assert hint_s(math.inf) == hint_s(10**400) == hint_s("1e300") == 1e9
    assert hint_s(math.nan) is hint_s(True) is hint_s(-3) is hint_s("soon") is hint_s(object()) is None


def test_max_hint_0_honours_none() -> None:
    began = time.monotonic()
    call = once(lambda: RateLimited(retry_after=3600.0))
    assert ends(five().map(call, limit=Limit(max_hint=0.0, cooldown=0.01))).delivered == 5
    assert time.monotonic() - began < END_S


# --- answers of the user's functions ---


def test_a_pending_that_says_no_time_is_the_rows_error_L60() -> None:
    values: tuple[Any, ...] = (
        None, "soon", "5", b"5", [], Evil(), math.nan, math.inf, 1e300, 1.0000001e9, 10**400, True,
    )  # fmt: skip
    for value in values:
        report = ends(five().map(once(lambda value=value: Pending(value))))  # type: ignore[arg-type,misc]
        assert (report.delivered, report.quarantined) == (4, 1)
        with pytest.raises(BadAnswer, match="check_after_s is a finite number of seconds"):
            Pending(value)


def test_a_pending_that_is_changed_afterwards_is_read_again_L60() -> None:
    def changed() -> Pending:
        pending = Pending(1.0)
        pending.check_after_s = math.inf
        return pending

    assert ends(five().map(once(changed))).quarantined == 1


class Evil:
    """Cannot be hashed, compared, shown or counted with."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("eq")

    def __hash__(self) -> int:
        raise ValueError("hash")

    def __repr__(self) -> str:
        raise ValueError("repr")

    def __float__(self) -> float:
        raise ValueError("float")


class Moody:
    """Has another hash each time."""

    def __init__(self) -> None:
        self._n = 0

    def __hash__(self) -> int:
        self._n += 1
        return self._n

    def __eq__(self, other: object) -> bool:
        return self is other


def quitting(row: Any) -> Any:
    raise SystemExit


COSTS: list[Any] = [math.nan, math.inf, -1, 1e300, 10**400, "5", "abc", None, True, [], Evil(), 1j, Decimal("NaN")]


def test_a_cost_that_is_none_is_its_rows_error_L60() -> None:
    for cost in COSTS:
        limit = Limit("500000 tokens/s", cost=lambda row, cost=cost: cost if row == 3 else 1)
        report = ends(five().map(same, limit=limit))
        assert (report.delivered, report.quarantined) == (4, 1)


def test_a_cost_above_the_burst_is_let_through_alone_and_paid_for_afterwards() -> None:
    # The burst is 200 tokens; 1,000 cost a tenth of a second of the rate.
    limit = Limit("10000 tokens/s", cost=lambda row: 1000 if row == 0 else 1e-9)
    assert ends(five().map(same, limit=limit)).delivered == 5


def test_functions_that_quit_end_no_thread_of_ours_L60() -> None:
    for pipeline in (
        five().map(same, limit=Limit("500 tokens/s", cost=quitting)),
        five().map(same, limit=Limit(concurrency=2, key=quitting)),
        five().batch(2, key=quitting),
        five().batch(max_bytes=10, size=quitting),
    ):
        assert ends(pipeline).quarantined == 5


@pytest.mark.parametrize("key", [math.nan, float("nan"), [], {}, Evil(), "x" * 100_000, (1, [])],
                         ids=lambda key: type(key).__name__)  # fmt: skip
def test_a_key_that_is_none_is_its_rows_error_L60(key: Any) -> None:
    keyed = five().map(same, limit=Limit(concurrency=1, key=lambda row: key if row == 3 else row))
    assert ends(keyed).quarantined == 1
    batched = five().batch(2, key=lambda row: key if row == 3 else 1)
    assert ends(batched).quarantined == 1


@pytest.mark.parametrize("make", [Moody, object], ids=lambda make: make.__name__)
def test_a_key_that_is_another_one_for_each_row_holds_nothing_up_L60(make: Callable[[], Any]) -> None:
    limit = Limit(concurrency=1, key=lambda row: make())
    assert ends(Pipeline().source(range(50)).map(same, workers=4, limit=limit)).delivered == 50


@pytest.mark.parametrize("size", [math.nan, math.inf, -1, "abc", None, 1e300, 10**400, True], ids=str)
def test_a_size_that_is_none_is_its_rows_error_L60(size: Any) -> None:
    report = ends(five().batch(max_bytes=10, size=lambda row: size if row == 3 else 1))
    assert report.quarantined == 1
