"""Quotas of real servers, each with its limit stated, stated three times too high, and not at all (L74).

How near Headrace comes is told in a table, beside the budgets, which hold in virtual time: here a busy machine decides, too.
What is asserted is what no load excuses.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.runtime import Limit

from . import nginx
from .jobs import HEADER, Figures, Job, Quota, played
from .tables import note

SECONDS = float(os.environ.get("HEADRACE_SERVERS_FOR", "8"))
TITLE = "quotas of real servers"
IN_VAIN = 0.35
"""So many calls are made in vain at most, for each row that is answered: more is no search."""


def rated(
    server: str,
    quota: Quota,
    known: str,
    unknown: str,
    path: str,
    said: float = nginx.RATE,
    asked: dict[str, str] | None = None,
) -> Iterator[Job]:
    """A rate, which is stated as is `said` of the server, stated wrongly, and not stated."""
    for per_s, budget in ((said, known), (3 * said, unknown)):
        yield Job(server, f"{per_s:g}/s", Limit(f"{per_s:g}/s"), quota, path, asked or {}, budget)
    yield Job(server, "nothing", None, quota, path, asked or {}, unknown)


def counted_at_once(server: str, quota: Quota, path: str) -> Iterator[Job]:
    """Likewise a number of calls in flight."""
    n = quota.at_once
    assert n is not None
    for stated in (n, 3 * n):
        yield Job(server, f"{stated} at once", Limit(concurrency=stated), quota, path, {}, "0.95, 1 %")
    yield Job(server, "nothing", None, quota, path, {}, "0.95, 1 %")


EVEN = Quota(nginx.RATE)
FAST = Quota(1000 / math.ceil(1000 / nginx.FAST))
"""Its clock has milliseconds: calls that are evenly spaced come in each four of them, and not each three and a third."""
SAVED = Quota(nginx.RATE, 20)
AT_ONCE = Quota(nginx.AT_ONCE / 0.1, at_once=nginx.AT_ONCE, ms=100)
NGINX = {
    "burst": [*rated("nginx, burst=20 nodelay", SAVED, "0.97, 0.2 %", "0.97, 1 %", "burst")],
    "burst_and_hint": [*rated("nginx, burst=20 nodelay, hint 1 s", SAVED, "0.97, 0.2 %", "0.9, 1 %", "burst_and_hint")],
    "queue": [*rated("nginx, burst=20", SAVED, "0.97, 0.2 %", "0.97, 1 %", "queue")],
    "no_burst": [*rated("nginx, no burst, 100 r/s", EVEN, "0.95, 0.2 %", "0.9, 1 %", "no_burst")],
    "no_burst_fast": [*rated("nginx, no burst, 300 r/s", FAST, "0.95, 0.2 %", "0.9, 1 %", "no_burst_fast", nginx.FAST)],
    "as_shipped": [*rated("nginx, burst=20 nodelay, 503", SAVED, "", "", "as_shipped")],
    "at_once": [*counted_at_once("nginx, 10 at once", AT_ONCE, "at_once")],
    "at_once_as_shipped": [*counted_at_once("nginx, 10 at once, 503", AT_ONCE, "at_once_as_shipped")],
}
BUCKET = [*rated("bucket of 5", Quota(100, 5), "0.97, 0.2 %", "0.97, 1 %", "ask", asked={"per_s": "100", "burst": "5"})]
HINTING = {"per_s": "100", "burst": "5", "hint": "0.05"}
BUCKET_AND_HINT = [*rated("bucket of 5, hint 50 ms", Quota(100, 5), "0.97, 0.2 %", "0.9, 1 %", "ask", asked=HINTING)]
USED = 0.3
"""So much of the quota is used even on a machine that has much else to do; half and more on one that has not."""
USED_LESS = {"no_burst": 0.1, "no_burst_fast": 0.1, "burst_and_hint": 0.2}
"""... or so much, where a call that comes a millisecond early is refused, and where each refusal asks for a whole second."""


def at_once(jobs: list[Job], port: int, upstream: int) -> list[Figures]:
    """All three at the same time: each has a quota of its own."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: played(job, port, upstream, SECONDS), jobs))


def check(found: list[Figures], used: float = USED) -> None:
    note(TITLE, HEADER, *(figures.line() for figures in found))
    for job, report, out, counts in found:
        assert report.state.value == "completed", report
        assert out == list(range(report.rows)), f"{job.name}: a row is lost, doubled or out of order"
        assert (counts.rows, counts.answers) == (len(out), len(out)), f"{job.name}: an answer was paid for twice"
        if job.quota.at_once is not None:
            assert counts.most_at_once <= job.quota.at_once
    for figures in found:
        assert figures.refused <= IN_VAIN * len(figures.out), figures.line()
        assert figures.share >= used, figures.line()


@pytest.mark.parametrize("name", NGINX)
def test_each_row_is_delivered_once_and_in_order_whatever_nginx_refuses_L74(
    name: str, nginx_port: int, upstream: int
) -> None:
    check(at_once(NGINX[name], nginx_port, upstream), USED_LESS.get(name, USED))


@pytest.mark.parametrize("jobs", [BUCKET, BUCKET_AND_HINT], ids=["bucket", "bucket_and_hint"])
def test_each_row_is_delivered_once_and_in_order_whatever_a_bucket_refuses_L74(jobs: list[Job], upstream: int) -> None:
    check(at_once(jobs, upstream, upstream))
