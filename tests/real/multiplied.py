"""A program that uses multiprocessing: `python -m tests.real.multiplied fork|spawn|forkserver`. It prints what came of it.

Its executor is made when the module is imported, and used before any other process is begun. Under fork the children have it
from their parent; under spawn and forkserver they import the module, and have one of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from headrace.runtime import Executor, Limit, Pipeline

executor = Executor(4, limit=Limit("500/s", name="shared"), retry=3)


def add(x: int) -> int:
    return x + 1


async def add_on_a_loop(x: int) -> int:
    return x + 1


def by_executor(x: int) -> int:
    """On a thread, and then on a loop."""
    return executor.submit(add_on_a_loop, executor.submit(add, x).result(timeout=20)).result(timeout=20)


def by_pipeline(x: int) -> int:
    """A run of the child's own."""
    out: list[int] = []
    Pipeline("child").source(range(x)).map(add, limit=Limit("500/s", name="shared")).sink(out.append).run()
    return sum(out)


def begin_in(ready: Any) -> None:
    """A child that is in the middle of a call when it is ended."""
    executor.submit(add, 1).result(timeout=20)
    future = executor.submit(time.sleep, 60)
    ready.set()
    future.result()


def main(method: str) -> None:
    """It does what the module says."""
    context: Any = multiprocessing.get_context(method)
    assert by_executor(1) == 3
    with context.Pool(2) as pool:
        print("pool", pool.map(by_executor, range(8)), pool.map(by_pipeline, [10, 20]))
    with context.Pool(1, maxtasksperchild=1) as pool:
        print("replaced", pool.map(by_executor, range(3), chunksize=1))
    with ProcessPoolExecutor(2, mp_context=context) as processes:
        print("futures", list(processes.map(by_executor, range(8))))
    ready = context.Event()
    child = context.Process(target=begin_in, args=(ready,))
    child.start()
    assert ready.wait(20)
    began = time.monotonic()
    child.terminate()
    child.join(20)
    print("ended", child.exitcode, time.monotonic() - began < 5.0)
    # A pipeline whose calls go to other processes.
    out: list[int] = []
    with context.Pool(2) as pool:
        run = Pipeline("parent").source(range(20)).map(lambda x: pool.apply(by_executor, (x,)), workers=4)
        report = run.sink(out.append).run()
    print("calls", report.delivered, out == [x + 2 for x in range(20)])
    print("parent", by_executor(5), os.getpid() == multiprocessing.current_process().pid)


if __name__ == "__main__":
    main(sys.argv[1])
