"""A service that is slow, flaky and rate-limited, on loopback: `python -m headrace.scenarios.examples.service`.

`GET /locate?id=…&lat=…&lon=…` answers with a geohash and a UTM zone, after 20 to 200 ms. It allows 200 calls a second (a
token bucket of 20; 429 with Retry-After beyond), is out for 2 s once (503), and takes one id in a hundred for bad (400).
`GET /counts` tells what it has answered, by status. It prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import http.server
import json
import random
import sys
import threading
import time
import zlib
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"


class Quota:
    """A token bucket, in real time."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = self._tokens = burst
        self._at = time.monotonic()
        self._mutex = threading.Lock()

    def take(self) -> bool:
        with self._mutex:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
            self._at = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


class Service(http.server.ThreadingHTTPServer):
    """What all requests to the service share."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options = options
        self.quota = Quota(options.rate, options.burst)
        self.counts: Counter[int] = Counter()
        self.first_call: float | None = None
        self.mutex = threading.Lock()

    @property
    def out(self) -> bool:
        """Whether it is in its outage."""
        with self.mutex:
            now = time.monotonic()
            if self.first_call is None:
                self.first_call = now
            since = now - self.first_call - self.options.outage_after
        return bool(0.0 <= since < self.options.outage)

    def decide(self, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """The status and the body of an answer."""
        if self.out:
            return 503, {"error": "out of order"}
        if not self.quota.take():
            return 429, {"error": "too many calls"}
        time.sleep(random.uniform(*self.options.latency))
        id_ = query["id"][0]
        if zlib.crc32(id_.encode()) % 100 < self.options.bad_percent:
            return 400, {"error": f"cannot locate {id_!r}"}
        lat, lon = float(query["lat"][0]), float(query["lon"][0])
        return 200, {"geohash": geohash(lat, lon), "utm_zone": utm_zone(lat, lon)}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Service
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/counts":
            self._answer(200, {str(status): n for status, n in self.server.counts.items()})
            return
        status, body = self.server.decide(parse_qs(url.query))
        with self.server.mutex:
            self.server.counts[status] += 1
        self._answer(status, body)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Do nothing: calls are counted, not logged."""


def geohash(lat: float, lon: float, length: int = 9) -> str:
    """The geohash of a place (G. Niemeyer, 2008): bits of longitude and latitude in turn, in base 32."""
    ranges = [[-180.0, 180.0], [-90.0, 90.0]]
    bits = 0
    for i in range(5 * length):
        low_high, value = ranges[i % 2], (lon, lat)[i % 2]
        middle = (low_high[0] + low_high[1]) / 2
        upper = value >= middle
        low_high[0 if upper else 1] = middle
        bits = bits << 1 | upper
    return "".join(BASE32[bits >> (5 * i) & 31] for i in reversed(range(length)))


def utm_zone(lat: float, lon: float) -> str:
    """The UTM zone with its latitude band; empty beyond the zones."""
    if not -80.0 <= lat <= 84.0:
        return ""
    band = "CDEFGHJKLMNPQRSTUVWXX"[int((lat + 80) // 8)]
    if band == "V" and 3.0 <= lon < 12.0:
        return "32V"
    if band == "X" and 0.0 <= lon < 42.0:
        for border, zone in ((9.0, 31), (21.0, 33), (33.0, 35), (42.0, 37)):
            if lon < border:
                return f"{zone}X"
    return f"{min(60, int((lon + 180) // 6) + 1)}{band}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A service that is slow, flaky and rate-limited, on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second")
    parser.add_argument("--burst", type=float, default=20.0)
    parser.add_argument("--outage", type=float, default=2.0, help="seconds")
    parser.add_argument("--outage-after", type=float, default=6.0, help="seconds after the first call")
    parser.add_argument("--bad-percent", type=int, default=1, help="rows answered 400")
    parser.add_argument("--latency", type=float, nargs=2, default=(0.02, 0.2), help="seconds, from and to")
    service = Service(parser.parse_args(argv))
    print(service.server_address[1], flush=True)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    sys.stdin.read()
    service.shutdown()


if __name__ == "__main__":
    main()
