"""A FastAPI application as people write one: `uvicorn tests.real.application:app`.

One aiohttp session, which lives on uvicorn's loop, serves single requests by an executor and whole jobs by a pipeline; both
share a limit by its name. What becomes of every call is written to the file LEDGER, a line each, for the test to add up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from headrace.runtime import Executor, Limit, Pipeline

UPSTREAM = os.environ["UPSTREAM"]
LEDGER = os.environ["LEDGER"]
RATE = 20
SHARED = Limit(f"{RATE}/s", burst=1, name="upstream")


def write(what: str, **more: Any) -> None:
    """A line of the ledger."""
    with open(LEDGER, "a") as file:
        file.write(json.dumps({"what": what, **more}) + "\n")


class Application:
    """What the lifespan makes, and the endpoints."""

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self.background: list[asyncio.Task[None]] = []
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self.session,
            Executor(16, limit=SHARED, loop="caller") as self.executor,
            Executor(16, loop="caller") as self.unlimited,
        ):
            yield
            for task in self.background:
                task.cancel()
            await asyncio.gather(*self.background, return_exceptions=True)
            write("lifespan ended")

    async def ask(self, row: int, ms: int = 5) -> int:
        params = {"job": "application", "row": str(row), "ms": str(ms)}
        async with self.session.get(UPSTREAM, params=params, raise_for_status=True) as response:
            return int(await response.text())

    async def one(self, row: int) -> dict[str, float]:
        """A single call: how long it waited for the limit that it shares."""
        began = time.monotonic()
        await self.executor.call(self.ask, row, deadline=30.0)
        return {"row": row, "s": time.monotonic() - began}

    async def many(self, rows: int, workers: int) -> StreamingResponse:
        """A whole job, as its rows are done."""
        pipeline = Pipeline("many").source(range(rows)).map(self.ask, workers=workers, limit=SHARED)

        async def lines() -> AsyncIterator[str]:
            async for outcome in pipeline.stream(loop="caller"):
                yield f"{outcome.value}\n"

        return StreamingResponse(lines())

    async def slow(self, row: int, ms: int) -> int:
        """A call that takes long."""
        write("called", row=row)
        try:
            answer = await self.unlimited.call(self.ask, row, ms)
        except BaseException as error:
            write("not answered", row=row, why=type(error).__name__)
            raise
        write("answered", row=row)
        return answer

    async def start(self, rows: int) -> str:
        """A job in the background, which nobody waits for."""
        self.background.append(asyncio.create_task(self._job(rows)))
        return "started"

    async def _job(self, rows: int) -> None:
        pipeline = Pipeline("job").source(range(rows)).map(self.ask, workers=8, limit=Limit("50/s"))
        try:
            async for outcome in pipeline.stream(loop="caller"):
                write("row", row=outcome.value)
        except BaseException as error:
            write("job stopped", why=type(error).__name__)
            raise
        write("job done")


application = Application()
app = FastAPI(lifespan=application.lifespan)
app.get("/one/{row}")(application.one)
app.get("/many", response_model=None)(application.many)
app.get("/slow/{row}")(application.slow)
app.get("/start")(application.start)
