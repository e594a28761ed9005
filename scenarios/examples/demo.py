"""The main job, on real input: 3,500 airports through a service that refuses, fails and is out for a while.

`make demo`, or `python -m headrace.scenarios.examples.demo --out out`. The service is a process of its own on loopback;
what it allows is not told to the pipeline, which finds out (state it with `--limit 200/s`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from headrace import Limit, Pipeline, Retry, RunFailed, sinks, sources

HERE = Path(__file__).parent
QUOTA_PER_S = 200.0


class Locate:
    """The call: one HTTP client for the run, opened before the first call and closed after the last."""

    def __init__(self, url: str, in_flight: int) -> None:
        self._url = url
        self._in_flight = in_flight

    async def prepare(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=self._in_flight, max_keepalive_connections=self._in_flight)
        self._client = httpx.AsyncClient(base_url=self._url, limits=limits, timeout=None)

    async def __call__(self, airport: dict[str, str]) -> dict[str, Any]:
        query = {"id": f"{airport['icao']}/{airport['iata']}", "lat": airport["lat"], "lon": airport["lon"]}
        response = await self._client.get("/locate", params=query)
        response.raise_for_status()
        return {"iata": airport["iata"], "name": airport["name"], **response.json()}

    async def close(self) -> None:
        await self._client.aclose()


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit status: 0, or 1 where the run failed."""
    parser = argparse.ArgumentParser(description="The main job, on real input.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for what comes out")
    parser.add_argument("--limit", help="state the quota, such as 200/s; otherwise it is found out")
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "headrace.scenarios.examples.service"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        url = f"http://127.0.0.1:{int(service.stdout.readline())}"
        try:
            return _run(url, options)
        finally:
            service.stdin.close()


def _run(url: str, options: argparse.Namespace) -> int:
    run = (
        Pipeline("airports")
        .source(sources.csv(HERE / "airports.csv"))
        .map(
            Locate(url, options.in_flight),
            name="locate",
            workers=options.in_flight,
            limit=Limit(options.limit) if options.limit else None,
            retry=Retry(5),
            timeout=10.0,
        )
        .sink(sinks.jsonl(options.out / "airports.jsonl"))
        .quarantine(sinks.jsonl(options.out / "quarantine.jsonl"))
        .start(progress=True)
    )
    try:
        report = run.wait()
    except RunFailed as failed:
        print(failed.report)
        print(failed, file=sys.stderr)
        return 1
    print(report)
    rate = report.stages[0].calls.answered / report.elapsed_s
    share = f"{rate / QUOTA_PER_S:.0%}"
    print(f"  rate          {rate:>7.1f}/s of a quota of {QUOTA_PER_S:.0f}/s ({share}), the outage of 2 s included")
    governor = report.stages[0].limit
    if governor is not None:
        while_open = report.stages[0].calls.answered / max(report.elapsed_s - governor.cooled_s, 0.001)
        found_out = "" if options.limit else " and to finding out the rate"
        print(
            f"  the rest went to {governor.cooled_s:.1f} s in which the limit was closed (the outage, and a second for each "
            f"refusal){found_out};\n  while it was open: {while_open:.0f}/s"
        )
    with urllib.request.urlopen(f"{url}/counts", timeout=10) as response:
        counts = json.load(response)
    print("  the service's own count: " + ", ".join(f"{n:,} × {status}" for status, n in sorted(counts.items())))
    print(f"  results in {options.out / 'airports.jsonl'}, reasons in {options.out / 'quarantine.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
