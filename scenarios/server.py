"""The services of a scenario as a real HTTP server on loopback, a process of its own: `python -m headrace.scenarios.server`.

It reads its services as JSON from the first line of its standard input, prints its port, and ends with its standard input.
`POST /start` begins the scenario's time. `GET /NAME?row=…&key=…` is a call. `GET /counts` tells what was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec

from .outside import Answer, Service
from .script import ServiceTable


class Shop:
    """What all connections of the server share."""

    def __init__(self, tables: list[ServiceTable], seed: int) -> None:
        self.services = {table.name: Service(table, seed, time.time()) for table in tables}
        self.began = time.monotonic()

    def start(self) -> None:
        """Begin the scenario's time now."""
        self.began = time.monotonic()

    def counts(self) -> dict[str, Any]:
        """What every service has counted so far."""
        return {
            name: {"calls": s.calls, "inside_max": s.inside_max, "by_status": {str(k): n for k, n in s.counts.items()}}
            for name, s in self.services.items()
        }


class Connection(asyncio.Protocol):
    """One client's connection; one request at a time."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._http = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._read()

    def _read(self) -> None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._close()
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._target = event.target.decode()
            elif isinstance(event, h11.EndOfMessage):
                self._task = asyncio.ensure_future(self._respond(self._target))
            elif isinstance(event, h11.ConnectionClosed):
                self._close()
                return

    async def _respond(self, target: str) -> None:
        url = urlsplit(target)
        if url.path == "/start":
            self._shop.start()
            self._send(200, {})
            return
        if url.path == "/counts":
            self._send(200, self._shop.counts())
            return
        service = self._shop.services[url.path.strip("/")]
        query = parse_qs(url.query)
        row, key = int(query["row"][0]), int(query["key"][0])
        travel_s = service.travel_s()
        if travel_s:
            await asyncio.sleep(travel_s)
        answer, quotas = service.arrive(time.monotonic() - self._shop.began, row, key)
        try:
            if answer.after_s is None:
                await asyncio.get_running_loop().create_future()
            else:
                await asyncio.sleep(answer.after_s)
        finally:
            service.leave(quotas)
        self._answer(answer, row)

    def _answer(self, answer: Answer, row: int) -> None:
        if answer.status == 0:
            assert self._transport is not None
            self._transport.abort()
            return
        body: Any = answer.body or {"row": row, "tokens": answer.tokens}
        self._send(answer.status, "something else" if answer.nonsense else body, answer.fields)

    def _send(self, status: int, body: Any, headers: list[tuple[str, str]] | None = None) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        data = json.dumps(body).encode()
        fields = [("content-type", "application/json"), ("content-length", str(len(data))), *(headers or [])]
        out = self._http.send(h11.Response(status_code=status, headers=fields))
        out = (
            (out or b"") + (self._http.send(h11.Data(data=data)) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        )
        self._transport.write(out)
        if self._http.our_state is h11.MUST_CLOSE:
            self._close()
            return
        self._http.start_next_cycle()
        self._read()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def serve(tables: list[ServiceTable], seed: int) -> None:
    """Serve until the standard input of this process ends."""
    shop = Shop(tables, seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(shop), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve the services that standard input describes."""
    told = json.loads(sys.stdin.readline())
    tables = msgspec.convert(told["services"], list[ServiceTable])
    asyncio.run(serve(tables, told["seed"]))


if __name__ == "__main__":
    main()
