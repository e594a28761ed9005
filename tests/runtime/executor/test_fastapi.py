"""A real application (L80): FastAPI with its own aiohttp session and httpx client, an executor, and clients that hang up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from headrace.runtime import Executor, Limit, Pipeline, Retry

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra dev)")
fastapi = pytest.importorskip("fastapi", reason="FastAPI is not installed (extra dev)")
httpx = pytest.importorskip("httpx", reason="httpx is not installed (extra dev)")

from aiohttp import web  # noqa: E402
from fastapi import Request  # noqa: E402

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """What the application asks: a service on the loopback, which refuses every seventh call."""
    calls = 0

    async def score(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return web.json_response(int(request.query["row"]) * 2)

    app = web.Application()
    app.router.add_get("/score", score)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield "http://127.0.0.1:{}/score".format(*runner.addresses[0][1:2])
    finally:
        await runner.cleanup()


class Application:
    """The application, and what its lifespan makes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cancelled = asyncio.Event()
        self.hanging = asyncio.Event()
        self.app = fastapi.FastAPI(lifespan=self.lifespan)
        self.app.get("/aiohttp/{row}")(self.of_aiohttp)
        self.app.get("/httpx/{row}")(self.of_httpx)
        self.app.get("/many")(self.many)
        self.app.get("/whose")(self.whose)
        self.app.get("/hang")(self.hang)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as self.session, httpx.AsyncClient(trust_env=False) as self.client:
            limit = Limit(concurrency=4)
            async with Executor(4, limit=limit, retry=Retry(3), loop="caller") as self.executor:
                yield

    async def ask_by_session(self, row: int) -> int:
        async with self.session.get(self.url, params={"row": row}) as response:
            response.raise_for_status()
            return int(await response.json())

    async def ask_by_client(self, row: int) -> int:
        response = await self.client.get(self.url, params={"row": row})
        response.raise_for_status()
        return int(response.json())

    async def of_aiohttp(self, row: int) -> int:
        return await self.executor.call(self.ask_by_session, row, deadline=30.0)

    async def of_httpx(self, row: int) -> int:
        return await self.executor.call(self.ask_by_client, row, deadline=30.0)

    async def many(self) -> list[int]:
        pipeline = Pipeline().source(range(30)).map(self.ask_by_session, workers=5)
        return [outcome.value async for outcome in pipeline.stream(loop="caller")]

    async def whose(self, request: Request) -> Any:
        request_id.set(request.headers["x-request-id"])

        async def see() -> str | None:
            return request_id.get()

        return [await self.executor.call(see), await self.executor.call(request_id.get)]

    async def hang(self) -> None:
        async def hang() -> None:
            self.hanging.set()
            try:
                await asyncio.sleep(3600)
            finally:
                self.cancelled.set()

        await self.executor.call(hang)


Application.whose.__annotations__["request"] = Request


def test_the_session_of_an_application_works_in_its_calls_L80() -> None:
    async def main() -> None:
        async with upstream() as url:
            application = Application(url)
            transport = httpx.ASGITransport(app=application.app)
            async with (
                application.app.router.lifespan_context(application.app),
                httpx.AsyncClient(transport=transport, base_url="http://app") as browser,
            ):
                # It has been used on this loop, as any warm client has.
                assert await application.ask_by_session(1) == 2
                assert await application.ask_by_client(1) == 2

                async def get(path: str, **options: Any) -> Any:
                    response = await browser.get(path, timeout=60.0, **options)
                    assert response.status_code == 200, response.text
                    return response.json()

                rows = range(24)
                assert await asyncio.gather(*(get(f"/aiohttp/{row}") for row in rows)) == [2 * row for row in rows]
                assert await asyncio.gather(*(get(f"/httpx/{row}") for row in rows)) == [2 * row for row in rows]
                assert await get("/many") == [2 * row for row in range(30)]
                seen = [get("/whose", headers={"x-request-id": f"r{n}"}) for n in range(10)]
                assert await asyncio.gather(*seen) == [[f"r{n}", f"r{n}"] for n in range(10)]
                hanging = asyncio.create_task(browser.get("/hang", timeout=60.0))
                await application.hanging.wait()
                hanging.cancel()
                await asyncio.wait_for(application.cancelled.wait(), 30.0)
                assert await get("/aiohttp/7") == 14
                assert application.executor.stats().refusals > 0

    asyncio.run(main())
