"""What is measured, each in a process of its own: `python -m tests.benchmarks.cases NAME` prints one JSON object.

`figure` is a ratio against a peer or an ideal in the same run, `budget` what it must reach, `at_least` its direction.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.runtime import Flow, Limit, Pipeline, RateLimited


def same(x: int) -> int:
    return x


def _us_a_row(build: Callable[[Flow[Any]], Flow[Any]], n: int = 300_000) -> float:
    began = time.perf_counter()
    build(Pipeline().source(range(n))).run()
    return (time.perf_counter() - began) / n * 1e6


def _against_a_map(
    function: Callable[[int], Any], build: Callable[[Flow[Any]], Flow[Any]], budget: float
) -> dict[str, Any]:
    # Side by side, in turns: the machine's pace changes.
    pairs = [(_us_a_row(lambda p: p.map(function)), _us_a_row(build)) for _ in range(5)]
    plain, ours = min(a for a, _ in pairs), min(b for _, b in pairs)
    return result(ours / plain, budget, f"{ours:.2f} µs a row against {plain:.2f}", at_least=False)


def _one_in_five(x: int) -> str | None:
    return "review" if x % 5 == 0 else None


def route_and_batch() -> dict[str, Any]:
    """Rows through a route, one in five to a sink of its own, and the others by hundreds; against a map by the function
    that the route asks."""
    return _against_a_map(
        _one_in_five, lambda p: p.route(_one_in_five, review=lambda f: f.sink(_nowhere)).batch(100), 2.0
    )


def _nowhere(row: Any) -> None:
    return None


def fork_and_join() -> dict[str, Any]:
    """No-op rows through a fork into three and a join, both sinks ordered; against a plain map."""
    return _against_a_map(same, lambda p: p.fork(a=_on, b=_on, c=_on).join(), 5.0)


def _on(flow: Any) -> Any:
    return flow


class Server:
    """A token bucket that refuses, in this process."""

    def __init__(self, per_s: float = 200.0, burst: float = 20.0) -> None:
        self.per_s, self.burst = per_s, burst
        self._tokens, self._at = burst, time.monotonic()
        self._mutex = threading.Lock()
        self.refused = self.allowed = 0

    def call(self, x: int) -> int:
        time.sleep(0.02)
        with self._mutex:
            now = time.monotonic()
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s)
            self._at = now
            if self._tokens < 1.0:
                self.refused += 1
                raise RateLimited
            self._tokens -= 1.0
            self.allowed += 1
            return x


def known_quota() -> dict[str, Any]:
    """200/s stated, 50 workers, calls of 20 ms, 3,000 rows; the share of the quota that was used."""
    server = Server()
    began = time.monotonic()
    Pipeline().source(range(3000)).map(server.call, workers=50, limit="200/s").run()
    share = 3000 / 200.0 / (time.monotonic() - began)
    made = result(share, 0.97, f"{server.refused} refused")
    made["met"] = made["met"] and server.refused == 0
    return made


def _unknown(workers: int) -> dict[str, Any]:
    server = Server()
    rows = 6020
    began = time.monotonic()
    report = Pipeline().source(range(rows)).map(server.call, workers=workers).run()
    elapsed = time.monotonic() - began
    refused = server.refused / (server.refused + server.allowed)
    share = (rows - server.burst) / server.per_s / elapsed
    made = result(share, 0.95, f"{elapsed:.1f} s, {refused:.2%} refused (1 % allowed), {report.cooldowns} cooldowns")
    made["met"] = made["met"] and refused <= 0.01 and report.delivered == rows
    return made


def unknown_quota_50() -> dict[str, Any]:
    """200/s, burst 20, not stated; 50 workers, calls of 20 ms, 30 s; the share of the quota that was used."""
    return _unknown(50)


def unknown_quota_1000() -> dict[str, Any]:
    """The same with 1,000 workers."""
    return _unknown(1000)


def storm() -> dict[str, Any]:
    """L52: 3,000 rows, 50 workers, 20 ms a call, 200/s and burst 20, nothing configured; seconds, of 16 at most."""
    server = Server()
    began = time.monotonic()
    report = Pipeline().source(range(3000)).map(server.call, workers=50).run()
    elapsed = time.monotonic() - began
    refused = server.refused / (server.refused + server.allowed)
    made = result(elapsed, 16.0, f"{refused:.2%} refused (1 % allowed), {report.quarantined} failed", at_least=False)
    made["met"] = made["met"] and refused <= 0.01 and report.delivered == 3000
    return made


def _peak_kib(rows: int) -> int:
    script = (
        "import resource\nfrom headrace.runtime import Pipeline\n"
        f"Pipeline().source(range({rows})).map(lambda x: x, workers=16).run()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def memory() -> dict[str, Any]:
    """Peak resident memory, 5,000,000 rows against 100,000: the difference in MB."""
    few, many = _peak_kib(100_000), _peak_kib(5_000_000)
    return result((many - few) / 1024, 10.0, f"{few / 1024:.1f} MB and {many / 1024:.1f} MB", at_least=False)


def idle() -> dict[str, Any]:
    """CPU of a pipeline whose source is quiet for 3 s, as a share of a core."""
    quiet = threading.Event()

    def rows() -> Any:
        yield 1
        quiet.wait(10)

    run = Pipeline().source(rows()).map(same).start()
    time.sleep(0.5)
    before = time.process_time()
    time.sleep(3.0)
    share = (time.process_time() - before) / 3.0
    quiet.set()
    run.wait()
    return result(share * 100, 0.1, "percent of a core", at_least=False)


def imports() -> dict[str, Any]:
    """`import headrace.runtime` against importing pykka, msgspec and loguru alone."""

    def seconds(code: str) -> float:
        best = float("inf")
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            best = min(best, time.perf_counter() - began)
        return best

    bare = seconds("pass")
    three = seconds("import pykka, msgspec, loguru") - bare
    ours = seconds("import headrace.runtime") - bare
    used = seconds("from headrace.runtime import Pipeline") - bare
    text = f"{ours * 1000:.0f} ms against {three * 1000:.0f} ms; {used * 1000:.0f} ms with `Pipeline`, loaded when used"
    return result(ours / three, 1.4, text, at_least=False)


def latency_of_the_first_answer() -> dict[str, Any]:
    """From `start` to the first delivered row, calls of 20 ms: as a multiple of the call."""
    first: list[float] = []

    def note(_: int) -> None:
        first.append(time.monotonic())

    def call(x: int) -> int:
        time.sleep(0.02)
        return x

    began = time.monotonic()
    Pipeline().source(range(200)).map(call).sink(note).run()
    return result((first[0] - began) / 0.02, 2.0, f"{(first[0] - began) * 1000:.1f} ms", at_least=False)


def simulation() -> dict[str, Any]:
    """Messages, timers and calls in simulation for a second of CPU, every invariant checked: the median of all scenarios."""
    from headrace.runtime.hosts.simulation.policies import Schedule
    from headrace.scenarios.play import play
    from headrace.scenarios.script import LONG, SCRIPTS, read

    rates: dict[str, float] = {}
    for path in sorted(SCRIPTS.glob("*.toml")):
        if path.stem in LONG:
            continue
        script, entries = read(path), 0
        began = time.process_time()
        while (took_s := time.process_time() - began) < 0.1:
            entries += play(script, 1, schedule=Schedule()).entries
        rates[path.stem] = entries / took_s
    least, most = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    text = f"{len(rates)} scenarios; {least} {rates[least]:,.0f}/s, {most} {rates[most]:,.0f}/s"
    return result(statistics.median(rates.values()), 250_000, text)


def thousand_seeds() -> dict[str, Any]:
    """1,000 seeds of a storm of 200 rows (`ten_refused_at_once`) on two processes: seconds."""
    from headrace.scenarios.explore import explore
    from headrace.scenarios.script import find

    began = time.monotonic()
    played = list(explore([find("ten_refused_at_once")], 0, 1000, 2))
    took = time.monotonic() - began
    made = result(took, 60.0, f"{sum(p.steps for p in played):,} steps", at_least=False)
    made["met"] = made["met"] and len(played) == 1000 and all(p.well for p in played)
    return made


def simulated_week() -> dict[str, Any]:
    """A week of one row a second, every invariant checked: seconds."""
    from headrace.scenarios.script import find, read
    from headrace.scenarios.soak import soak

    soaked = soak(read(find("a_week")), 7 * 86_400.0)
    held = soaked.findings[0]
    made = result(soaked.took_s, 60.0, f"{soaked.report.delivered:,} rows, {held.figures}", at_least=False)
    made["met"] = made["met"] and soaked.well
    return made


_RESUME = """
import resource, sys, time
from pathlib import Path
from headrace.runtime import Pipeline, RunFailed, sources
folder, n, stop = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "stop"
began, first = time.perf_counter(), []
def call(x):
    if not first:
        first.append(time.perf_counter() - began)
    if stop and x == n - 100:
        raise ValueError("stop")
    return x
# It names what differs from life to life, and is the same work.
call.version = "1"
pipeline = Pipeline("resume").source(sources.jsonl(folder / "in.jsonl")).map(call, retry=1, on_error="fail")
try:
    pipeline.run(journal=folder / "run.db")
except RunFailed:
    assert stop
print(first[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _resumed(n: int) -> tuple[float, int]:
    """(seconds to the first call, peak KiB) of the second life of a run of so many rows that broke just before its end."""
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "in.jsonl").open("w") as file:
            # Not at once: a child's peak begins with what its parent had.
            file.writelines(f"{i}\n" for i in range(n))
        command = [sys.executable, "-c", _RESUME, folder, str(n)]
        subprocess.run([*command, "stop"], check=True, capture_output=True)
        told = subprocess.run([*command, "go on"], check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), int(told[1])


def resume() -> dict[str, Any]:
    """From `run` to the first call, where the journal has 1,000,000 rows: seconds."""
    few, many = _resumed(100_000), _resumed(1_000_000)
    more_mb = (many[1] - few[1]) / 1024
    made = result(
        many[0], 2.0, f"{few[0]:.2f} s of 100,000 rows; {more_mb:+.1f} MB of memory (10 allowed)", at_least=False
    )
    made["met"] = made["met"] and more_mb <= 10
    return made


def _cpu_at_100_000_a_second(*observers: Any) -> float:
    """Seconds of CPU for three seconds of rows at this rate."""
    began = time.process_time()
    report = Pipeline().source(range(300_000)).map(same, workers=4, limit=Limit("100000/s")).run(observers=observers)
    assert report.delivered == 300_000
    return time.process_time() - began


def observers() -> dict[str, Any]:
    """What metrics for Prometheus and traces for OpenTelemetry cost at 100,000 rows a second; against a run without them."""
    from opentelemetry.sdk.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from headrace.runtime import OpenTelemetryObserver, PrometheusObserver

    pairs = []
    for _ in range(5):
        provider = TracerProvider()
        both = (PrometheusObserver(CollectorRegistry()), OpenTelemetryObserver(provider=provider))
        pairs.append((_cpu_at_100_000_a_second(), _cpu_at_100_000_a_second(*both)))
    # Of each the least, since others may use the machine, too.
    more = min(with_them for _, with_them in pairs) - min(without for without, _ in pairs)
    # As a share of one core, for the three seconds that the rows took.
    return result(1.0 + more / 3.0, 1.05, f"{more / 3.0:.2%} of a core", at_least=False)


def result(figure: float, budget: float, text: str, *, at_least: bool = True) -> dict[str, Any]:
    met = figure >= budget if at_least else figure <= budget
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "figure": figure,
        "budget": budget,
        "at_least": at_least,
        "met": met,
        "text": text,
        "peak_mb": round(peak, 1),
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    case.__name__: case
    for case in (
        route_and_batch,
        fork_and_join,
        known_quota,
        unknown_quota_50,
        unknown_quota_1000,
        storm,
        memory,
        resume,
        idle,
        observers,
        imports,
        latency_of_the_first_answer,
        simulation,
        thousand_seeds,
        simulated_week,
    )
}
QUICK = ("route_and_batch", "fork_and_join", "idle", "imports", "latency_of_the_first_answer")
"""Those that take seconds."""

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]]()))
