"""Plays a scenario for real: on threads, in real time, against a real HTTP service in a process of its own.

The same file, the same stand-ins for source and sinks, the same expectations; what a real clock and a real scheduler add is
allowed for by the tolerances below. What needs a message to be seen, or an actor to die in the middle of a call, cannot be
had for real and is left out by `unsupported`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from headrace.actors import protocol
from headrace.runtime.executor.executor import Executor
from headrace.runtime.run.report import RunReport
from headrace.runtime.run.run import Run, core_of

from .callers import Callers
from .figures import Figures, figures_of, merged, misses
from .history import Call
from .outside import HttpStatus, Told
from .play import executor_function, plan_of
from .script import ExpectTable, FaultTable, Script
from .stand_ins import Diary, Transport
from .units import Bounds

TIMES = ("elapsed", "of_ideal", "abort_s")
COUNTS = (
    "calls",
    "refusals",
    "refused",
    "cooldowns",
    "outages",
    "retries",
    "late",
    "lost",
    "calls_per_row",
    "answered",
)
TIMES_FROM, TIMES_TO, TIMES_MORE_S = 0.85, 1.25, 0.75
"""Times may be so much shorter, longer, and so many seconds longer than expected."""
COUNTS_FROM, COUNTS_TO, COUNTS_MORE = 0.7, 1.4, 3.0
"""The same of counts of calls, refusals and cooldowns. Outcomes of rows have no tolerance but what `[real.expect]` says."""
NOT_SEEN = ("inbox", "messages_per_row")
"""Only a simulation sees these."""
SEED = 1


def unsupported(script: Script) -> str | None:
    """Why a scenario cannot be played for real, if it cannot."""
    if script.real.skip is not None:
        return script.real.skip
    for fault in script.fault:
        if fault.what in ("hold", "pause", "double"):
            return f"nobody can {fault.what} a thread"
        if fault.what == "kill" and fault.actor == "worker":
            return "no thread can be killed in the middle of a call"
        if fault.when not in (None, "Call"):
            return "messages between threads are not watched"
    return None


def play_real(script: Script) -> tuple[Figures, list[str]]:
    """The figures, and what was not as expected."""
    notes: list[Callable[[Any], None]] = []

    def note(what: Any) -> None:
        for each in notes:
            each(what)

    diary = Diary(note)
    with service_of(script) as url:
        transport = Ways(url, script)
        start_service(url)
        if script.executor is not None:
            figures = _play_executor(script, diary, transport)
        else:
            figures = _play_runs(script, diary, transport, notes)
        counts = httpx.get(f"{url}/counts", trust_env=False).json()
        transport.end()
        figures.in_flight = max((c["inside_max"] for c in counts.values()), default=0)
    expect = tolerant(script.expect)
    missed = misses(merged(expect, script.real.expect), figures)
    if script.executor is None:
        diary.check()
    missed.extend(f"{name}: {what}" for name, what in diary.complaints)
    return figures, missed


def start_service(url: str) -> None:
    """Let the scenario's time begin now."""
    httpx.post(f"{url}/start", trust_env=False)


@contextmanager
def service_of(script: Script, seed: int = SEED) -> Iterator[str]:
    """The service's process, and its address."""
    told = json.dumps({"services": msgspec.to_builtins(script.service), "seed": seed})
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.scenarios.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(told + "\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the scenario's service did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class HttpTransport:
    """The way to a real service, by HTTP."""

    def __init__(self, url: str, workers: int) -> None:
        self._url = url
        # Calls that were given up keep their connections.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=workers)
        # Time-outs are Headrace's business here.
        self._client = httpx.Client(limits=limits, timeout=None, trust_env=False)
        self._async_client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)

    async def close_async(self) -> None:
        """Close the connections of the loop."""
        await self._async_client.aclose()

    def end(self) -> None:
        """Those of the threads; calls that still hang in one end with it."""
        self._client.close()

    def call(self, row: int, key: int) -> Told:
        return self._told(self._client.get(self._url, params={"row": row, "key": key}), row)

    async def call_async(self, row: int, key: int) -> Told:
        return self._told(await self._async_client.get(self._url, params={"row": row, "key": key}), row)

    def _told(self, response: httpx.Response, row: int) -> Told:
        if response.status_code >= 400:
            raise HttpStatus(response.status_code, list(response.headers.items()), response.json())
        answer = response.json()
        if answer["row"] != row:
            raise TypeError("the answer of another row")
        return Told(response.headers, answer["tokens"])


class Ways:
    """The ways to a scenario's services."""

    def __init__(self, url: str, script: Script) -> None:
        self._url = url
        self._workers = max((stage.workers for stage in script.stage), default=1)
        if script.executor is not None:
            self._workers = script.executor.workers
        self._made: list[HttpTransport] = []

    def __call__(self, name: str) -> Transport | None:
        if name == "none":
            return None
        self._made.append(HttpTransport(f"{self._url}/{name}", self._workers))
        return self._made[-1]

    async def close_async(self) -> None:
        """On the loop that made the calls."""
        for transport in self._made:
            await transport.close_async()

    def end(self) -> None:
        """Take no more calls, and wait for those under way."""
        for transport in self._made:
            transport.end()


def _play_runs(
    script: Script, diary: Diary, transport: Callable[[str], Transport | None], notes: list[Callable[[Any], None]]
) -> Figures:
    runs = [Run(plan_of(script, i, diary, threading.Event, transport)) for i in range(script.pipeline.runs)]
    began = time.monotonic()
    faults = RealFaults(runs, script.fault, notes)
    reports: list[RunReport] = [run.wait_ended(script.until) for run in runs]
    ended = time.monotonic()
    faults.stop()
    figures = figures_of(reports, script)
    errors = [run.error for run in runs if run.error is not None]
    figures.error = type(errors[0]).__name__ if errors else None
    if faults.aborted_at is not None:
        figures.abort_s = began + max(report.elapsed_s for report in reports) - faults.aborted_at
        figures.abort_s = min(figures.abort_s, ended - faults.aborted_at)
    return figures


class RealFaults:
    """Those faults that can be had for real."""

    def __init__(self, runs: list[Run], tables: list[FaultTable], notes: list[Callable[[Any], None]]) -> None:
        self._runs = runs
        self._drains = 0
        self._timers: list[threading.Timer] = []
        self._stopped = False
        self.aborted_at: float | None = None
        for table in tables:
            if table.at is not None:
                for i in range(table.times):
                    self._later(table.at + i * table.every, table)
            else:
                notes.append(self._counting(table))

    def _counting(self, table: FaultTable) -> Callable[[Any], None]:
        seen = 0

        def count(what: Any) -> None:
            nonlocal seen
            if isinstance(what, Call) and (table.stage is None or what.stage == table.stage):
                seen += 1
                if table.nth <= seen < table.nth + table.times:
                    self._later(table.after, table)

        return count

    def _later(self, seconds: float, table: FaultTable) -> None:
        timer = threading.Timer(seconds, self._strike, (table,))
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _strike(self, table: FaultTable) -> None:
        if self._stopped:
            return
        match table.what:
            case "drain":
                self._drains += 1
                for run in self._runs:
                    run.drain() if self._drains == 1 else run.abort("drained twice")
                if self._drains == 2:
                    self.aborted_at = self.aborted_at or time.monotonic()
            case "abort":
                self.aborted_at = self.aborted_at or time.monotonic()
                for run in self._runs:
                    run.abort("aborted by the scenario")
            case "limit":
                for run in self._runs:
                    for stage in run.stages:
                        run.set_limit(table.limit or "", stage)
            case "stats":
                for run in self._runs:
                    run.stats()
            case _:
                for run in self._runs:
                    core_of(run).tell(table.actor or "", _Poison())

    def stop(self) -> None:
        """Start no more of them."""
        self._stopped = True
        for timer in self._timers:
            timer.cancel()


class _Poison(protocol.Control, frozen=True):
    """No actor knows it: who is told, dies."""


class _Process:
    """The callers of this process, on threads."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._threads: list[threading.Thread] = []

    def executor(self, **options: Any) -> Executor:
        return Executor(**options)

    def person(self, name: str, script: Callable[[], object]) -> None:
        thread = threading.Thread(target=script, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def event(self) -> threading.Event:
        return threading.Event()

    def now(self) -> float:
        return time.monotonic() - self._began

    def wait(self, until_s: float) -> int:
        """How many still wait after `until_s` seconds."""
        for thread in self._threads:
            thread.join(max(0.0, until_s - self.now()))
        return sum(thread.is_alive() for thread in self._threads)


def _play_executor(script: Script, diary: Diary, transport: Ways) -> Figures:
    assert script.executor is not None, "an executor's scenario"
    crowd = _Process()
    callers = Callers(crowd, script.executor, executor_function(script.executor, transport, diary))
    waiting = crowd.wait(min(script.until, 120.0))
    report = callers.executor.stats()
    if script.executor.on == "loop" and not waiting:
        callers.executor.submit(transport.close_async).result(5.0)
    callers.executor.shutdown(wait=waiting == 0)
    figures = figures_of([report], script)
    figures.state = None
    figures.answered = callers.answered
    figures.elapsed = callers.ended_at
    if script.executor.abort_at is not None:
        figures.abort_s = callers.ended_at - script.executor.abort_at
    diary.complaints.extend((invariant.name, what) for invariant, what in callers.complaints)
    if waiting:
        diary.complaints.append(("ANSWERED", f"{waiting} callers still wait"))
    return figures


def tolerant(expect: ExpectTable) -> ExpectTable:
    """The same expectations, with the tolerances of reality."""
    wider: dict[str, Any] = dict.fromkeys(NOT_SEEN)
    for name in TIMES:
        bounds = getattr(expect, name)
        if bounds is not None:
            low, high = _span(bounds)
            wider[name] = [low * TIMES_FROM, high * TIMES_TO + (TIMES_MORE_S if name != "of_ideal" else 0.15)]
    for name in COUNTS:
        bounds = getattr(expect, name)
        if bounds is not None:
            low, high = _span(bounds)
            wider[name] = [
                low * COUNTS_FROM,
                high * COUNTS_TO + (COUNTS_MORE if name not in ("refused", "calls_per_row") else 0.05),
            ]
    if expect.in_flight is not None:
        low, high = _span(expect.in_flight)
        wider["in_flight"] = [low * COUNTS_FROM, high]
    return msgspec.structs.replace(expect, **wider)


def _span(bounds: Bounds) -> tuple[float, float]:
    return (bounds[0], bounds[1]) if isinstance(bounds, list) else (bounds, bounds)
