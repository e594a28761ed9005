"""Scenarios played for real: threads, a real HTTP server that refuses, the same expectations."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from headrace.scenarios.figures import Figures, misses
from headrace.scenarios.real import TIMES, play_real, service_of, start_service, tolerant, unsupported
from headrace.scenarios.script import SCRIPTS, ExpectTable, Script, ServiceTable, find, read
from headrace.scenarios.soak import soak_real

SHORT = (
    "ten_refused_at_once",
    "closing_fails",
    "code_that_misbehaves",
    "executor_aborted",
    "keys_with_budgets_of_their_own",
    "batches_on_a_loop",
    "sink_breaks",
)


@pytest.mark.parametrize("name", SHORT)
def test_what_holds_in_simulation_holds_for_real(name: str) -> None:
    figures, missed = play_real(read(find(name)))
    # How long things take here says how busy the machine is.
    assert [what for what in missed if not what.startswith(TIMES)] == [], figures


def test_what_cannot_be_had_for_real_says_why() -> None:
    reasons = {path.stem: unsupported(read(path)) for path in SCRIPTS.glob("*.toml")}
    assert reasons["a_week"] == "a week"
    assert reasons["everybody_is_late"] == "nobody can hold a thread"
    assert sum(reason is None for reason in reasons.values()) >= 50


def service(**table: object) -> Script:
    return Script(shows="a service by itself", service=[msgspec.convert({"name": "api", **table}, ServiceTable)])


def test_the_service_really_refuses_breaks_and_is_out() -> None:
    script = service(
        latency=0.0,
        quota=[{"per_s": 1000.0, "burst": 3.0}],
        retry_after="seconds",
        hint=2.0,
        trouble=[{"with": "reset", "rows": [1]}, {"with": 404, "rows": [2]}, {"with": "nonsense", "rows": [3]}],
    )
    with service_of(script) as url, httpx.Client(trust_env=False) as client:
        start_service(url)
        with pytest.raises(httpx.TransportError):
            client.get(f"{url}/api", params={"row": 1, "key": 0})
        assert client.get(f"{url}/api", params={"row": 2, "key": 0}).status_code == 404
        assert client.get(f"{url}/api", params={"row": 3, "key": 0}).json() == "something else"
        counts = client.get(f"{url}/counts").json()["api"]
        assert counts["by_status"] == {"0": 1, "404": 1, "200": 1}


def test_the_service_keeps_its_quota_and_its_hint() -> None:
    script = service(latency=0.0, quota=[{"kind": "fixed", "calls": 2, "every": 60.0}], retry_after="date", hint=5.0)
    with service_of(script) as url, httpx.Client(trust_env=False) as client:
        start_service(url)
        answers = [client.get(f"{url}/api", params={"row": n, "key": 0}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"].endswith("GMT")


def test_the_service_tells_its_quotas_by_a_clock_of_its_own_and_calls_take_their_time_to_arrive() -> None:
    script = service(
        latency=0.0,
        travel=0.3,
        headers="ietf",
        clock=-3600.0,
        tokens=[10, 10],
        quota=[
            {"kind": "fixed", "calls": 2, "every": 60.0, "offset": 59.8},
            {"unit": "tokens", "per_s": 1, "burst": 100},
        ],
    )
    with service_of(script) as url, httpx.Client(trust_env=False) as client:
        start_service(url)
        # Sent in the first window, which ends after 0.2 s, and counted in the second.
        answers = [client.get(f"{url}/api", params={"row": n, "key": 0}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    told = [answer.headers["ratelimit"].split(", ") for answer in answers]
    assert [calls.split(";")[1] for calls, _ in told] == ["r=1", "r=0", "r=0"]
    assert told[0][1].startswith('"tokens-1";r=90;')
    assert answers[0].json()["tokens"] == 10.0
    sent = parsedate_to_datetime(answers[0].headers["date"]).timestamp()
    assert sent < time.time() - 3000.0


def test_refusals_come_faster_than_answers_for_real() -> None:
    script = service(latency=1.0, refusal_latency=0.0, quota=[{"kind": "concurrency", "calls": 1}])

    async def go(url: str) -> list[int]:
        async with httpx.AsyncClient(trust_env=False) as client:
            calls = [client.get(f"{url}/api", params={"row": row, "key": 0}) for row in range(2)]
            return [(await call).status_code for call in asyncio.as_completed(calls)]

    with service_of(script) as url:
        start_service(url)
        assert asyncio.run(go(url)) == [429, 200]


def test_a_call_that_is_given_up_leaves_its_place() -> None:
    script = service(
        latency=0.0, quota=[{"kind": "concurrency", "calls": 1}], trouble=[{"with": "silence", "rows": [0]}]
    )

    async def go(url: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.TimeoutException):
                await client.get(f"{url}/api", params={"row": 0, "key": 0}, timeout=0.2)
            for _ in range(50):
                answer = await client.get(f"{url}/api", params={"row": 1, "key": 0})
                if answer.status_code == 200:
                    return 200
                await asyncio.sleep(0.02)
            return answer.status_code

    with service_of(script) as url:
        start_service(url)
        assert asyncio.run(go(url)) == 200


def test_tolerances_widen_counts_and_times_and_never_outcomes() -> None:
    wide = tolerant(ExpectTable(state="completed", delivered=100, elapsed=[1.0, 2.0], refusals=10, inbox=3))
    assert misses(wide, Figures(state="completed", delivered=100, elapsed=2.9, refusals=14)) == []
    assert misses(wide, Figures(state="completed", delivered=99, elapsed=2.0, refusals=10)) == [
        "delivered is 99, expected 100"
    ]


def test_a_soak_for_real_is_sampled_and_judged(tmp_path: Path) -> None:
    script = read(find("a_week"))
    every = msgspec.structs.replace(script.source, every=0.02)
    quick = msgspec.structs.replace(script.service[0], latency=0.01, outage=[])
    soaked = soak_real(msgspec.structs.replace(script, source=every, service=[quick]), 4.0)
    assert soaked.report.state == "drained"
    assert soaked.report.interrupted == 0
    assert len(soaked.samples) >= 200
    assert all(sample.balanced for sample in soaked.samples)
    assert [f.what for f in soaked.findings if not f.well and "permit" in f.what] == []
