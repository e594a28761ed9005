"""A job of Headrace against a real quota, for some seconds, and its figures."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

from headrace.runtime import Limit, Pipeline, RunReport


class Asking:
    """Calls one URL for each row, by aiohttp."""

    def __init__(self, url: str, asked: dict[str, str]) -> None:
        self._url, self._asked = url, asked

    async def prepare(self) -> None:
        aiohttp = import_module("aiohttp")
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), raise_for_status=True)

    async def __call__(self, row: int) -> int:
        async with self._session.get(self._url, params={**self._asked, "row": str(row)}) as response:
            return int(await response.text())

    async def close(self) -> None:
        await self._session.close()


class Quota(NamedTuple):
    """What a server allows: `per_s` calls a second, of which `saved` at once after a pause; or `at_once`, of `ms` each."""

    per_s: float
    saved: float = 0.0
    at_once: int | None = None
    ms: int = 20

    def ideal_s(self, rows: int) -> float:
        """Seconds that so many rows take who knows all of it."""
        return max(0.0, rows - self.saved) / self.per_s + (0.0 if self.at_once else self.ms / 1000)


class Job(NamedTuple):
    """`server`: what the table calls it. `stated`: likewise. `budget`: of DESIGN.md, where there is one."""

    server: str
    stated: str
    limit: Limit | None
    quota: Quota
    path: str
    asked: dict[str, str]
    budget: str
    workers: int = 64

    @property
    def name(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in f"{self.server}-{self.stated}")


class Counts(NamedTuple):
    """As the upstream counts: how many rows it answered, how often, and how many at once at most."""

    rows: int
    answers: int
    most_at_once: int
    refused: int


class Figures(NamedTuple):
    """What came of a job."""

    job: Job
    report: RunReport
    out: list[int]
    counts: Counts

    @property
    def share(self) -> float:
        """Of what was allowed."""
        return self.job.quota.ideal_s(len(self.out)) / self.report.elapsed_s

    @property
    def refused(self) -> int:
        """Calls that had to be made again: a 503 is one, too."""
        return self.report.calls - self.report.rows

    def line(self) -> str:
        """Of the table."""
        report = self.report
        share = f"{self.refused / report.calls:.2%}"
        numbers = f"{self.share:>6.2f}{share:>9}{report.cooldowns:>10}{len(self.out):>7,}{report.elapsed_s:>7.1f}"
        return f"{numbers}   {self.job.budget:<16}{self.job.server}; {self.job.stated}"


HEADER = f"{'share':>6}{'refused':>9}{'cooldowns':>10}{'rows':>7}{'s':>7}   {'budget':<16}server; what was stated"


def numbers_for(seconds: float) -> Iterator[int]:
    """Rows for so long."""
    until = time.monotonic() + seconds
    row = 0
    while time.monotonic() < until:
        yield row
        row += 1


def played(job: Job, port: int, upstream: int, seconds: float) -> Figures:
    """The job, with rows for so long, to its end."""
    out: list[int] = []
    asking = Asking(f"http://127.0.0.1:{port}/{job.path}", {"job": job.name, "ms": str(job.quota.ms), **job.asked})
    pipeline = Pipeline(job.name, window=2 * job.workers).source(numbers_for(seconds))
    report = pipeline.map(asking, workers=job.workers, limit=job.limit).sink(out.append).run()
    return Figures(job, report, out, counted(upstream, job.name))


def counted(upstream: int, job: str) -> Counts:
    """What the upstream has counted of a job."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{upstream}/counts?job={job}", timeout=20) as response:
        return Counts(**json.load(response))
