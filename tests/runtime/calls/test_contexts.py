"""Whose context is it (L73): each call runs in a copy of that of whoever wanted it, and nothing that another call has set is
seen there; so it is for sync and async functions, in pipelines and executors, on threads and in the simulation."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any

import pytest

from headrace.runtime import Executor, Limit, Pipeline, Retry, current_call
from headrace.scenarios.testing import simulate

WAIT_S = 30.0
ROWS = 600

tenant: ContextVar[Any] = ContextVar("tenant", default=None)


@pytest.fixture(autouse=True)
def _nothing_is_left_set() -> Iterator[None]:
    token = tenant.set("the application's")
    yield
    tenant.reset(token)


def ask(row: int) -> Any:
    seen = tenant.get()
    if row % 3 == 0:
        tenant.set(f"of row {row}")
    if row % 30 == 0:
        raise ValueError(seen)
    return seen


async def ask_async(row: int) -> Any:
    seen = tenant.get()
    await asyncio.sleep(0)
    return ask(row) if tenant.get() == seen else "another call has set it meanwhile"


def hidden(row: int) -> Any:
    return ask_async(row)


FUNCTIONS: dict[str, Callable[[int], Any]] = {"sync": ask, "async": ask_async, "hidden": hidden}
functions = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def seen_by(outcomes: Any) -> set[Any]:
    return {str(outcome.error) if outcome.error else outcome.value for outcome in outcomes}


@functions
@pytest.mark.parametrize("workers", [1, 16])
def test_each_row_of_a_pipeline_sees_what_its_starter_has_set_and_nothing_else_L73(function: Any, workers: int) -> None:
    stream = Pipeline().source(range(ROWS)).map(function, workers=workers, retry=1).stream()
    assert seen_by(stream) == {"the application's"}
    assert tenant.get() == "the application's"


@functions
@pytest.mark.parametrize("seed", range(4))
def test_so_it_is_in_the_simulation_L73(function: Any, seed: int) -> None:
    seen: list[Any] = []
    pipeline = Pipeline().source(range(1, 60)).map(function, workers=3, retry=1, on_error="drop").sink(seen.append)
    simulate(pipeline, seed=seed)
    assert set(seen) == {"the application's"}


@functions
def test_each_call_of_an_executor_sees_what_its_submitter_has_set_L73(function: Any) -> None:
    def as_tenant(name: str, work: Callable[[], Any]) -> Any:
        context = copy_context()
        context.run(tenant.set, name)
        return context.run(work)

    with Executor(3) as executor:
        futures = {row: as_tenant(f"tenant {row}", partial(executor.submit, function, row)) for row in range(1, 30)}
        assert {row: future.result(WAIT_S) for row, future in futures.items()} == {
            row: f"tenant {row}" for row in range(1, 30)
        }
        batches = [as_tenant(name, lambda: executor.execute_batch(function, range(ROWS), WAIT_S)) for name in "ab"]
    assert list(map(seen_by, batches)) == [{"a"}, {"b"}]


@functions
def test_another_attempt_begins_where_the_first_one_did_L73(function: Any) -> None:
    def twice(row: int) -> Any:
        if current_call().attempt == 1:
            tenant.set("of the first attempt")
            raise ConnectionError
        return function(row)

    with Executor(2, retry=Retry(2, base=0.001)) as executor:
        assert executor.submit(twice, 1).result(WAIT_S) == "the application's"
    [outcome] = Pipeline().source([1]).map(twice, workers=1, retry=Retry(2, base=0.001)).stream()
    assert outcome.value == "the application's"


def test_whoever_starts_the_run_decides_not_whoever_built_it_L73() -> None:
    seen: list[Any] = []
    pipeline = Pipeline().source(range(3)).map(ask).sink(seen.append)
    context = copy_context()
    context.run(tenant.set, "the starter's")
    context.run(lambda: pipeline.start().wait(WAIT_S))
    assert seen == ["the starter's"] * 2


class Everything:
    """Each function that a pipeline may be given, telling what it sees."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def look(self, where: str, answer: Any) -> Any:
        self.seen[where] = tenant.get()
        tenant.set(f"of {where}")
        return answer

    def __call__(self, row: int) -> int:
        if self.look("call", current_call().attempt) == 1:
            raise LookupError
        return row

    def prepare(self) -> None:
        self.look("prepare", None)

    async def close(self) -> None:
        self.look("close", None)

    def rows(self) -> Iterator[int]:
        self.look("source", None)
        yield 1

    async def rows_async(self) -> AsyncIterator[int]:
        self.look("source", None)
        yield 1


@pytest.mark.parametrize("source", [Everything.rows, Everything.rows_async])
def test_all_that_a_run_calls_sees_what_its_starter_has_set_L73(source: Any) -> None:
    every = Everything()
    limit = Limit("1000 t/s", key=lambda row: every.look("key", row), cost=lambda row: every.look("cost", 1))
    run = (
        Pipeline()
        .source(source(every))
        .map(every, limit=limit, retry=Retry(2, base=0.001, classify=lambda e: every.look("classify", "transient")))
        .filter(lambda row: every.look("filter", True))
        .route(lambda row: every.look("route", None), elsewhere=lambda flow: flow.sink(lambda row: None))
        .batch(1, key=lambda row: every.look("batch-key", row))
        .sink(lambda row: every.look("sink", None))
        .start()
    )
    done = threading.Event()
    run.add_done_callback(lambda report: every.look("callback", None))
    run.add_done_callback(lambda report: done.set())
    assert run.wait(WAIT_S).delivered == 1
    assert done.wait(WAIT_S)
    wheres = ["source", "prepare", "key", "cost", "call", "filter", "route", "batch-key", "sink", "callback"]
    assert {where: every.seen.get(where) for where in wheres} == dict.fromkeys(wheres, "the application's")
    # These two belong to what came before them.
    assert (every.seen["close"], every.seen["classify"]) == ("of prepare", "of call")


async def _keep(seen: list[Any], row: Any, pause: bool) -> None:
    if pause:
        await asyncio.sleep(0)
    seen.append(tenant.get())
    tenant.set(f"of row {row}")


@pytest.mark.parametrize("kind", ["plain", "coroutine", "coroutine that pauses", "now and then"])
@pytest.mark.parametrize("role", ["sink", "quarantine"])
def test_a_function_that_is_a_sink_sees_nothing_that_another_row_has_set_L73(kind: str, role: str) -> None:
    seen: list[Any] = []

    def keep(row: Any) -> Any:
        if kind == "plain" or (kind == "now and then" and len(seen) % 3):
            seen.append(tenant.get())
            tenant.set(f"of row {row}")
            return None
        return _keep(seen, row, kind.endswith("pauses"))

    def fail(row: int) -> None:
        raise ValueError(row)

    pipeline = Pipeline().source(range(50))
    if role == "sink":
        pipeline.map(lambda row: row).sink(keep).run()
    else:
        pipeline.map(fail).sink(lambda row: None).quarantine(keep).run()
    assert seen == ["the application's"] * 50


def test_an_option_of_an_executor_sees_what_the_submitter_has_set_L73() -> None:
    seen: list[Any] = []

    def key(row: int) -> None:
        seen.append(tenant.get())
        tenant.set("of a key")

    with Executor(2, limit=Limit(concurrency=2, key=key)) as executor:
        assert [o.value for o in executor.execute_batch(lambda row: row, range(5), WAIT_S)] == [*range(5)]
    assert seen == ["the application's"] * 5


class Rude:
    """Cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1


def test_what_is_set_may_refuse_to_be_compared_L73() -> None:
    tenant.set(Rude())
    mine = tenant.get()

    def call(row: int) -> bool:
        seen = tenant.get() is mine
        tenant.set(Rude())
        return seen

    async def call_async(row: int) -> bool:
        return call(row)

    for function in (call, call_async):
        outcomes = list(Pipeline().source(range(50)).map(function, workers=2).stream())
        assert [(outcome.value, outcome.error) for outcome in outcomes] == [(True, None)] * 50


def test_a_task_that_outlives_its_call_knows_its_own_call_L73() -> None:
    late: list[asyncio.Task[int]] = []

    async def later() -> int:
        while len(late) < 5:
            await asyncio.sleep(0)
        return current_call().seq

    async def call(row: int) -> int:
        late.append(asyncio.create_task(later()))
        return row

    async def collect(rows: list[int]) -> list[int]:
        return await asyncio.gather(*late)

    pipeline = Pipeline().source(range(5)).map(call, workers=1).batch(5).map(collect)
    [outcome] = pipeline.stream()
    assert outcome.value == [*range(5)]


def test_an_idle_executor_holds_nobodys_context_L73() -> None:
    class Request:
        pass

    request = Request()
    gone = weakref.ref(request)
    context = Context()
    context.run(tenant.set, request)
    with Executor(2) as executor:
        executor.submit(ask, 1).result(WAIT_S)
        for function in FUNCTIONS.values():
            assert context.run(executor.submit, function, 1).result(WAIT_S) is request
            context.run(executor.execute_batch, function, [1, 2], WAIT_S)
        del request, context
        for _ in range(200):
            gc.collect()
            if gone() is None:
                break
            # A worker's frame may be on its way out: another call comes after it.
            executor.execute_batch(ask, [1, 2, 4, 5], WAIT_S)
        assert gone() is None
