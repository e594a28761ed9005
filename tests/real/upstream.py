"""What stands behind nginx, and a token bucket of its own: `python -m tests.real.upstream`, a process that prints its port.

It counts for itself, and shares no line with the model of the scenarios. `GET /ask?job=…&row=…&ms=…` is answered after so
many milliseconds; with `per_s`, `burst` and perhaps `hint`, a token bucket refuses what is too much of that job. `GET
/counts?job=…` tells how often each row was answered, and how many were here at once. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from urllib.parse import parse_qsl, urlsplit


class Job:
    """All calls of one job."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.inside = self.inside_max = self.refused = 0
        self._filled_at: float | None = None
        self._tokens = 0.0

    def admits(self, per_s: float, burst: float) -> bool:
        """A token bucket, full when the job begins."""
        now = time.monotonic()
        if self._filled_at is None:
            self._filled_at, self._tokens = now, burst
        self._tokens = min(burst, self._tokens + (now - self._filled_at) * per_s)
        self._filled_at = now
        if self._tokens < 1.0:
            self.refused += 1
            return False
        self._tokens -= 1.0
        return True

    def told(self) -> dict[str, int]:
        """For the test."""
        return {
            "rows": len(self.answered),
            "answers": self.answered.total(),
            "most_at_once": self.inside_max,
            "refused": self.refused,
        }


class Upstream:
    """What the real servers pass calls on to, and what counts them."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request after another."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                url = urlsplit(head.split(b" ", 2)[1].decode())
                writer.write(await self._answer(url.path, dict(parse_qsl(url.query))))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, asked: dict[str, str]) -> bytes:
        job = self._jobs.setdefault(asked["job"], Job())
        if path == "/counts":
            return response(200, json.dumps(job.told()))
        if "per_s" in asked and not job.admits(float(asked["per_s"]), float(asked["burst"])):
            return response(429, "slow down", asked.get("hint"))
        job.inside += 1
        job.inside_max = max(job.inside_max, job.inside)
        try:
            await asyncio.sleep(float(asked["ms"]) / 1000)
        finally:
            job.inside -= 1
        job.answered[asked["row"]] += 1
        return response(200, asked["row"])


def response(status: int, body: str, retry_after: str | None = None) -> bytes:
    """The whole of an HTTP response."""
    hint = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    return f"HTTP/1.1 {status} As It Is\r\n{hint}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def serve() -> None:
    """Serve until standard input ends."""
    server = await asyncio.start_server(Upstream().connected, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
