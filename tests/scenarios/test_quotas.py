"""What a scenario's server counts and tells is what the servers of this world do."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors.limits.pace import small_burst
from headrace.runtime.verdicts.hints import Headers, none_left, reset_s
from headrace.scenarios.ceiling import BETWEEN_S, Ceiling
from headrace.scenarios.dialects import Dialect, date_field, quota_fields
from headrace.scenarios.outside import Service
from headrace.scenarios.quotas import Quota, QuotaTable, Standing, TokenBucket, quota_of
from headrace.scenarios.script import ServiceTable
from headrace.scenarios.verdict import Invariant

WALL_S = 1_800_000_000.25
TABLES = (
    QuotaTable("bucket", per_s=5.0, burst=1.0),
    QuotaTable("bucket", per_s=2.0, burst=7.0),
    QuotaTable("fixed", calls=4, every=1.5, offset=123.7),
    QuotaTable("sliding", calls=4, every=1.5),
)
windows = st.sampled_from(TABLES)
gaps = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60)


def admitted(table: QuotaTable, steps: list[float]) -> tuple[list[float], list[float], Quota]:
    """When calls came in, when others were refused, and the quota as it is afterwards."""
    quota, now = quota_of(table), 0.0
    let_in: list[float] = []
    refused: list[float] = []
    for step in steps:
        now += step
        (let_in if quota.take(now) else refused).append(now)
    return let_in, refused, quota


@given(windows, gaps)
def test_no_span_of_time_has_more_calls_than_the_quota_and_none_is_refused_that_fits(
    table: QuotaTable, steps: list[float]
) -> None:
    let_in, refused, _ = admitted(table, steps)
    match table.kind:
        case "bucket":
            assert table.per_s is not None
            for i, first in enumerate(let_in):
                for j, last in enumerate(let_in[i:], 1):
                    assert j <= table.burst + (last - first) * table.per_s + 1e-6
        case "fixed":
            assert table.calls is not None

            def window(at: float) -> int:
                return int((at + table.offset) / table.every)

            assert all(of(let_in, window, window(at)) <= table.calls for at in let_in)
            assert all(of(let_in, window, window(at)) == table.calls for at in refused)
        case _:
            for at in refused:
                assert sum(at - table.every < then <= at for then in let_in) == table.calls


def of(times: list[float], window: object, number: int) -> int:
    assert callable(window)
    return sum(window(at) == number for at in times)


@given(windows, gaps)
def test_what_it_says_remains_can_be_had_at_once_and_no_more(table: QuotaTable, steps: list[float]) -> None:
    _, _, quota = admitted(table, steps)
    now = sum(steps)
    standing = quota.standing(now)
    assert standing is not None
    for _ in range(int(standing.remaining + 1e-9)):
        assert quota.take(now)
    assert not quota.take(now)
    after = quota.standing(now)
    assert after is not None
    assert after.reset_s > 0
    assert quota.take(now + after.reset_s + 1e-6), "after the reset there is something"


def test_a_quota_of_tokens_counts_what_calls_take() -> None:
    quota = TokenBucket(QuotaTable(per_s=100.0, burst=500.0, unit="tokens"))
    assert quota.take(0.0, 400.0)
    assert not quota.take(0.0, 200.0)
    assert quota.standing(0.0) == Standing(500.0, 100.0, 4.0, 5.0)
    assert quota.take(1.0, 200.0)


def test_a_clock_with_steps_lets_in_what_comes_evenly_by_whole_steps_only() -> None:
    # As nginx counts, without a burst: 300 a second that are evenly spaced are 250.
    table = QuotaTable(per_s=300.0, burst=1.0, tick=0.001)
    let_in, refused, _ = admitted(table, [1 / 300] * 3000)
    assert len(refused) >= 1000
    let_in, refused, _ = admitted(table, [0.004] * 1000)
    assert (len(let_in), refused) == (1000, [])
    at_any_time = msgspec.structs.replace(table, tick=0.0)
    assert admitted(at_any_time, [1 / 300 + 1e-9] * 1000)[1] == []


def test_what_comes_too_fast_for_a_queue_waits_for_its_turn_and_is_refused_where_there_is_no_place() -> None:
    quota = quota_of(QuotaTable("queue", per_s=10.0, burst=3.0))
    waits = []
    for _ in range(3):
        assert quota.take(0.0)
        waits.append(quota.wait_s)
    assert waits == pytest.approx([0.0, 0.1, 0.2])
    assert not quota.take(0.05)
    assert quota.take(0.1)
    assert quota.wait_s == pytest.approx(0.2)
    assert quota.take(5.0)
    assert quota.wait_s == 0.0
    service = Service(ServiceTable(latency=1.0, quota=[QuotaTable("queue", per_s=10.0, burst=3.0)]), 0)
    assert [service.arrive(0.0, row, 0)[0].after_s for row in range(3)] == pytest.approx([1.0, 1.1, 1.2])


def test_a_service_may_refuse_as_one_that_is_out_does() -> None:
    service = Service(ServiceTable(refuses_with=503, quota=[QuotaTable(per_s=1.0, burst=1.0)]), 0)
    taken, refused = (service.arrive(0.0, row, 0)[0] for row in range(2))
    assert (taken.status, taken.many, refused.status, refused.many) == (200, False, 503, True)


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "github", "ietf"])
@given(reset=st.floats(0.01, 5000.0), skew=st.sampled_from([0.0, -180.0, 420.0, 86_400.0]))
def test_what_a_refusal_tells_is_read_by_the_runtime_whatever_the_clocks(
    dialect: Dialect, reset: float, skew: float
) -> None:
    used_up = Standing(100.0, 0.0, reset, 5000.0)
    fields = quota_fields(dialect, [("calls", used_up)], WALL_S + skew)
    headers = Headers([*fields, date_field(WALL_S + skew)])
    assert none_left(headers)
    said = reset_s(headers)
    # Resets are rounded up, and a Date down, to whole seconds.
    assert said is not None
    assert reset - 1e-6 <= said <= reset + 2.0


@pytest.mark.parametrize(("seconds", "text"), [(0.02, "20ms"), (1.5, "1.5s"), (360.0, "6m0s"), (3723.5, "1h2m3.5s")])
def test_openai_s_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    told = dict(quota_fields("openai", [("tokens", Standing(9.0, 4.0, seconds, 60.0))], WALL_S))
    assert told == {
        "x-ratelimit-limit-tokens": "9",
        "x-ratelimit-remaining-tokens": "4",
        "x-ratelimit-reset-tokens": text,
    }


def test_the_ietf_s_fields_tell_of_all_quotas_and_the_others_of_the_scarcest() -> None:
    told = [("calls", Standing(100.0, 50.0, 3.2, 10.0)), ("calls", Standing(500.0, 20.0, 29.0, 30.0))]
    assert quota_fields("ietf", told, WALL_S) == [
        ("ratelimit", '"calls";r=50;t=4, "calls-1";r=20;t=29'),
        ("ratelimit-policy", '"calls";q=100;w=10, "calls-1";q=500;w=30'),
    ]
    assert dict(quota_fields("github", told, WALL_S))["x-ratelimit-remaining"] == "20"


def test_answers_and_refusals_carry_headers_and_refusals_take_their_own_time() -> None:
    table = ServiceTable(
        latency=2.0,
        refusal_latency=0.01,
        headers="github",
        clock=420.0,
        retry_after="date",
        hint=5.0,
        quota=[QuotaTable("fixed", calls=1, every=60.0, offset=50.0)],
    )
    service = Service(table, 0, WALL_S)
    taken, refused = (service.arrive(1.0, row, 0)[0] for row in range(2))
    assert (taken.after_s, refused.after_s) == (2.0, 0.01)
    assert dict(taken.fields)["x-ratelimit-remaining"] == "0"
    assert dict(refused.fields)["retry-after"].endswith("GMT")
    said = reset_s(Headers(refused.fields))
    assert said is not None
    assert 9.0 <= said <= 11.0, "its own clock is what its dates are compared with"
    assert service.over_quota == 1


def test_a_call_that_travels_arrives_later_and_changes_nothing_else_of_a_seed() -> None:
    plain = Service(ServiceTable(latency={"uniform": [0.0, 1.0]}), 7)  # type: ignore[arg-type]
    assert plain.travel_s() == 0.0


# --- the ceiling ----------------------------------------------------------------------------------------------------------


def breaches(
    arrivals: Iterable[float], quotas: list[QuotaTable], burst: float = 1.0, refused: bool = False
) -> list[Invariant]:
    """Of a stated rate of 10 a second."""
    found: list[Invariant] = []
    ceiling = Ceiling("api", 10.0, burst, 0, quotas, lambda invariant, what: found.append(invariant))
    for at in arrivals:
        ceiling.arrived(at, 0, refused)
    return found


def test_what_keeps_to_a_stated_rate_breaks_nothing_and_what_comes_early_does_L74() -> None:
    assert breaches([n * 0.1 for n in range(50)], []) == []
    assert breaches([0.0, 0.1 - BETWEEN_S / 2, 0.2], []) == []
    assert breaches([0.0, 0.05], []) == [Invariant.CEILING]
    assert breaches([0.0, 0.05], [], burst=1.5) == []
    assert breaches([n * 0.09 for n in range(20)], []) != []


def test_a_server_that_takes_what_is_stated_may_not_have_to_refuse_L74() -> None:
    same = QuotaTable("bucket", per_s=10.0, burst=1.5)
    assert breaches([0.0], [same], refused=True) == [Invariant.CEILING]
    assert breaches([0.0], [same], burst=small_burst(100.0), refused=True) == []
    bare = QuotaTable("bucket", per_s=10.0, burst=1.0)
    assert breaches([0.0], [bare], refused=True) == [], "a call that is a microsecond early is refused there"
    smaller = QuotaTable("bucket", per_s=9.0, burst=50.0)
    assert breaches([0.0], [same, smaller], refused=True) == []
    window = QuotaTable("fixed", calls=102, every=10.0)
    assert breaches([0.0], [window], refused=True) == [Invariant.CEILING]
    assert breaches([0.0], [QuotaTable("sliding", calls=100, every=10.0)], refused=True) == []
