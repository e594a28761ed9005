"""A WSGI application whose executor is made, and used, before gunicorn forks its workers: `gunicorn --preload`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from headrace.runtime import Executor, Limit, Pipeline

executor = Executor(4, limit=Limit("500/s", name="upstream"), retry=3)


def add(x: int) -> int:
    return x + 1


async def add_on_a_loop(x: int) -> int:
    return x + 1


def sleep(x: int) -> int:
    time.sleep(1.0)
    return x + 1


def piped(x: int) -> int:
    out: list[int] = []
    Pipeline("in a worker").source([x]).map(add, limit=Limit("500/s", name="upstream")).sink(out.append).run()
    return out[0]


WORK: dict[str, Callable[[int], int]] = {
    "/thread": lambda x: executor.submit(add, x).result(timeout=20),
    "/loop": lambda x: executor.submit(add_on_a_loop, x).result(timeout=20),
    "/batch": lambda x: sum(outcome.value for outcome in executor.execute_batch(add, range(x), timeout=20)),
    "/pipeline": piped,
    "/slow": lambda x: executor.submit(sleep, x).result(timeout=20),
}
# The master uses it, so that it has threads when it forks.
assert executor.submit(add, 1).result() == 2
assert executor.submit(add_on_a_loop, 1).result() == 2


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the process that did it, and what came of it."""
    x = int(parse_qs(environ["QUERY_STRING"])["x"][0])
    body = f"{os.getpid()} {WORK[environ['PATH_INFO']](x)}".encode()
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return [body]
