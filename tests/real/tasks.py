"""Tasks of celery, whose executor is made and used before its pool of processes is forked."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import Any

from headrace.runtime import Executor, Limit, Pipeline

url = os.environ["BROKER"]
app: Any = import_module("celery").Celery("tasks", broker=url, backend=url)
app.conf.broker_connection_retry_on_startup = True
executor = Executor(4, limit=Limit("500/s", name="upstream"), retry=3)


def add(x: int) -> int:
    return x + 1


async def add_on_a_loop(x: int) -> int:
    return x + 1


def sleep(x: int) -> int:
    time.sleep(1.0)
    return x + 1


assert executor.submit(add, 1).result() == 2
assert executor.submit(add_on_a_loop, 1).result() == 2


def by_executor(x: int) -> tuple[int, int, int]:
    """Which process it was, and the answers of a thread and of a loop."""
    by_thread, by_loop = executor.submit(add, x), executor.submit(add_on_a_loop, x)
    return os.getpid(), by_thread.result(timeout=20), by_loop.result(timeout=20)


def by_pipeline(x: int) -> tuple[int, list[int]]:
    """Likewise a run of its own, under the limit of the same name."""
    out: list[int] = []
    pipeline = Pipeline("in a task").source(range(x)).map(add, limit=Limit("500/s", name="upstream"))
    pipeline.sink(out.append).run()
    return os.getpid(), out


def slowly(x: int) -> int:
    """Is under way when the worker is asked to end."""
    return executor.submit(sleep, x).result(timeout=20)


by_executor_task = app.task(name="by_executor")(by_executor)
by_pipeline_task = app.task(name="by_pipeline")(by_pipeline)
slowly_task = app.task(name="slowly")(slowly)
