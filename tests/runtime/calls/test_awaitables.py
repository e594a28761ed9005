"""L68: wherever a function is given, an awaitable that comes back is awaited, or told as an error before it counts. Warnings
are errors here, so a coroutine that nobody awaits fails the test that made it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
from loguru import logger

from headrace.runtime import ConfigError, Executor, Flow, Limit, Pipeline, ReadResult, Retry, RunFailed, current_call
from headrace.runtime.errors import AttemptTimedOut
from headrace.scenarios.testing import simulate

HANGS_S = 30.0
ROWS = 10


@pytest.fixture(autouse=True)
def _nobody_forgets_a_coroutine(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    gc.collect()
    assert not [str(warning.message) for warning in recwarn if "never awaited" in str(warning.message)]


async def ask(row: int) -> int:
    await asyncio.sleep(0)
    return row * 2


async def nested(row: int) -> Any:
    return ask(row)


def logged(function: Callable[[int], Any]) -> Callable[[int], Any]:
    @functools.wraps(function)
    def inner(row: int) -> Any:
        return function(row)

    return inner


class Client:
    """A client whose methods appear when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        return lambda row: ask(row)


class Later:
    """Can be awaited, and is no coroutine."""

    def __init__(self, row: int) -> None:
        self._row = row

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        return self._row * 2


@types.coroutine
def _old(row: int) -> Generator[Any, None, int]:
    yield from asyncio.sleep(0).__await__()
    return row * 2


class Asks:
    def __call__(self, row: int) -> Awaitable[int]:
        return ask(row)


HIDDEN: dict[str, Callable[[int], Any]] = {
    "a coroutine function": ask,
    "a lambda": lambda row: ask(row),
    "a decorated one": logged(ask),
    "a partial": functools.partial(lambda before, row: ask(row), 1),
    "a partial of a coroutine function": functools.partial(ask),
    "a method behind __getattr__": Client().ask,
    "a callable object": Asks(),
    "an awaitable object": Later,
    "a generator-based coroutine": _old,
    "a coroutine that gives a coroutine": nested,
    "a lambda around one that gives a coroutine": lambda row: nested(row),
    "now and then a coroutine": lambda row: ask(row) if row % 3 else row * 2,
}
hidden = pytest.mark.parametrize("what", HIDDEN)


@hidden
def test_map_awaits_what_comes_back_L68(what: str) -> None:
    got: list[int] = []
    report = Pipeline().source(range(ROWS)).map(HIDDEN[what]).sink(got.append).start().wait(HANGS_S)
    assert (report.delivered, got) == (ROWS, [row * 2 for row in range(ROWS)])


@hidden
def test_so_it_is_in_the_simulation_L68(what: str) -> None:
    got: list[int] = []
    simulate(Pipeline().source(range(ROWS)).map(HIDDEN[what]).sink(got.append), seed=3)
    assert got == [row * 2 for row in range(ROWS)]


@hidden
def test_an_executor_awaits_what_comes_back_L68(what: str) -> None:
    with Executor(2) as executor:
        assert executor.submit(HIDDEN[what], 21).result(HANGS_S) == 42
        assert list(executor.map(HIDDEN[what], [1, 2], timeout=HANGS_S)) == [2, 4]
        assert [o.value for o in executor.execute_batch(HIDDEN[what], [1, 2], timeout=HANGS_S)] == [2, 4]


@hidden
def test_a_function_as_a_sink_is_awaited_before_the_row_counts_L68(what: str) -> None:
    written: list[int] = []

    async def save(row: int) -> None:
        await asyncio.sleep(0)
        written.append(row)

    save_as = {"a coroutine function": save, "a decorated one": logged(save)}.get(what, lambda row: save(row))
    report = Pipeline().source(range(ROWS)).sink(save_as).start().wait(HANGS_S)
    assert (report.delivered, written) == (ROWS, [*range(ROWS)])


def test_what_an_awaited_sink_raises_fails_the_run_before_the_row_counts_L68() -> None:
    async def save(row: int) -> None:
        raise OSError("no room")

    with pytest.raises(RunFailed, match=r"OSError: no room \(raised by write\(\) of the sink") as failed:
        Pipeline().source(range(ROWS)).sink(save).start().wait(HANGS_S)
    assert failed.value.report.delivered == 0


async def _odd(row: int) -> bool:
    return row % 2 == 1


async def _way(row: int) -> str | None:
    return "odd" if row % 2 else None


async def _three(row: int) -> list[int]:
    return [row] * 3


async def _stream(row: int) -> AsyncIterator[int]:
    for _ in range(3):
        await asyncio.sleep(0)
        yield row


async def _sum(row: int, parts: Any) -> int:
    return int(parts["a"] + parts["b"])


def test_filters_routes_taps_and_merges_await_too_L68() -> None:
    tapped: list[int] = []

    async def tap(row: int) -> None:
        tapped.append(row)

    def got(build: Callable[[Flow[Any]], Any]) -> list[Any]:
        rows: list[Any] = []
        build(Pipeline().source(range(4))).sink(rows.append).start().wait(HANGS_S)
        return rows

    assert got(lambda p: p.filter(lambda row: _odd(row))) == [1, 3]
    assert got(lambda p: p.tap(lambda row: tap(row))) == sorted(tapped) == [0, 1, 2, 3]
    odd = lambda flow: flow.sink(lambda row: None)  # noqa: E731
    assert got(lambda p: p.route(lambda row: _way(row), odd=odd)) == [0, 2]
    part = lambda flow: flow.map(lambda row: ask(row))  # noqa: E731
    assert got(lambda p: p.fork(a=part, b=part).join(merge=lambda row, parts: _sum(row, parts))) == [0, 4, 8, 12]


@pytest.mark.parametrize(
    "gives",
    [
        _three,
        _stream,
        lambda row: _three(row),
        lambda row: _stream(row),
        lambda row: [row, _half(row), row],
        lambda row: (_half(row) for _ in range(3)),
    ],
)
def test_flat_map_awaits_the_list_and_what_is_in_it_L68(gives: Callable[[int], Any]) -> None:
    got: list[int] = []
    Pipeline().source(range(4)).flat_map(gives).sink(got.append).start().wait(HANGS_S)
    assert got == [row for row in range(4) for _ in range(3)]


async def _half(row: int) -> int:
    return row


def test_an_asynchronous_generator_is_no_row_L68() -> None:
    with pytest.raises(ConfigError, match="use flat_map"):
        Pipeline().source(range(4)).map(_stream)
    outcomes = list(Pipeline().source(range(4)).map(lambda row: _stream(row)).stream())
    assert [type(outcome.error) for outcome in outcomes] == [TypeError] * 4
    assert "use flat_map" in str(outcomes[0].error)


def test_a_coroutine_that_gives_itself_for_ever_is_an_error_L68() -> None:
    async def again(row: int) -> Any:
        return again(row)

    [outcome] = Pipeline().source([1]).map(lambda row: again(row)).stream()
    assert "gave another one" in str(outcome.error)


async def _async_option(*_: Any) -> Any:
    return 1


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("option", ["key", "cost", "batch key", "batch size", "classify"])
def test_options_that_must_answer_at_once_tell_a_coroutine_L68(option: str, hide: bool) -> None:
    function: Any = (lambda *row: _async_option(*row)) if hide else _async_option

    def fails(row: int) -> Any:
        raise ValueError("of the row")

    def pipeline() -> Any:
        source = Pipeline().source(range(4))
        match option:
            case "key":
                return source.map(str, limit=Limit(concurrency=1, key=function))
            case "cost":
                return source.map(str, limit=Limit("5 t/s", cost=function))
            case "batch key":
                return source.batch(2, key=function)
            case "batch size":
                return source.batch(max_bytes=2, size=function)
        return source.map(fails, retry=Retry(2, classify=function))

    if not hide:
        with pytest.raises(ConfigError, match=r"an async function, whose answer nobody awaits here"):
            pipeline()
        return
    records: list[Any] = []
    report = pipeline().sink(lambda row: None).quarantine(records.append).start().wait(HANGS_S)
    assert (report.state, report.quarantined) == ("completed", 4)
    assert all("which nobody awaits" in record["message"] for record in records)


def test_what_is_awaited_knows_its_call_and_its_error_is_the_rows_L68() -> None:
    seen: list[tuple[int, int]] = []

    async def look(row: int) -> int:
        call = current_call()
        seen.append((call.seq, call.attempt))
        if call.attempt == 1:
            raise ConnectionError("once more")
        return row

    report = Pipeline().source(range(3)).map(lambda row: look(row), workers=1, retry=Retry(2, base=0.001))
    assert report.sink(lambda row: None).start().wait(HANGS_S).delivered == 3
    assert sorted(seen) == [(row, attempt) for row in range(3) for attempt in (1, 2)]


def test_a_time_out_holds_for_what_is_awaited_L68() -> None:
    cancelled: list[int] = []

    async def hang(row: int) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(row)
            raise

    pipeline = Pipeline().source([7]).map(lambda row: hang(row), timeout=0.05, retry=1, workers=1)
    [outcome] = pipeline.stream()
    assert isinstance(outcome.error, AttemptTimedOut)
    assert cancelled == [7]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_awaited_cannot_end_the_loop_L68(error: type[BaseException]) -> None:
    async def leave(row: int) -> int:
        if row == 1:
            raise error
        return row

    outcomes = list(Pipeline().source(range(4)).map(lambda row: leave(row), workers=1).stream())
    assert [outcome.status for outcome in outcomes] == ["delivered", "quarantined", "delivered", "delivered"]
    assert type(outcomes[1].error) is error


class AsyncStrategy:
    """Prepared and closed by coroutines that plain methods give."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def _note(self, what: str) -> None:
        self.log.append(what)

    def prepare(self) -> Any:
        return self._note("prepare")

    def close(self) -> Any:
        return self._note("close")

    def __call__(self, row: int) -> int:
        return row


def test_prepare_and_close_are_awaited_also_of_a_function_on_threads_L68() -> None:
    strategy = AsyncStrategy()
    Pipeline().source(range(3)).map(strategy).sink(lambda row: None).start().wait(HANGS_S)
    assert strategy.log == ["prepare", "close"]


class Remote:
    """A client that makes a call of any name, and can be called itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return lambda *args: ask(0)

    def __call__(self, row: int) -> int:
        return row


def test_a_client_that_answers_to_any_name_has_no_prepare_L68() -> None:
    remote = Remote()
    Pipeline().source(range(3)).map(remote, name="ask").sink(lambda row: None).start().wait(HANGS_S)
    assert not {"prepare", "close"} & set(remote.asked)


class AsyncConnector:
    """A source and a sink whose methods are all coroutine functions."""

    name = "async"

    def __init__(self) -> None:
        self.log: list[Any] = []

    async def open(self) -> None:
        self.log.append("open")

    async def read(self, n: int) -> ReadResult:
        return ReadResult([1, 2, 3], ended=True)

    async def write(self, items: list[Any]) -> None:
        self.log += items

    async def close(self, complete: bool = True) -> None:
        self.log.append("close")


def test_connectors_may_be_asynchronous_L68() -> None:
    source, sink = AsyncConnector(), AsyncConnector()
    report = Pipeline().source(source).sink(sink).start().wait(HANGS_S)  # type: ignore[call-overload]
    assert report.delivered == 3
    assert (source.log, sink.log) == (["open", "close"], ["open", 1, 2, 3, "close"])


@pytest.mark.parametrize("hide", [False, True])
def test_callbacks_that_are_async_are_told_L68(hide: bool) -> None:
    made: list[int] = []

    async def note(_: Any) -> None:
        made.append(1)

    callback: Any = (lambda _: note(_)) if hide else note
    run = Pipeline().source(range(3)).sink(lambda row: None).start()
    with Executor(1) as executor:
        future = executor.submit(abs, -1)
        given: list[Callable[[Any], None]] = [run.add_done_callback, future.add_done_callback]
        for add in given:
            said: list[Any] = []
            with _what_is_logged(said):
                if hide:
                    add(callback)
                    run.wait(HANGS_S)
                    future.result(HANGS_S)
                else:
                    with pytest.raises(ConfigError, match="an async function, whose answer nobody awaits here"):
                        add(callback)
    run.wait(HANGS_S)
    assert not made


@contextlib.contextmanager
def _what_is_logged(said: list[Any]) -> Iterator[None]:
    logger.enable("headrace")
    sink = logger.add(said.append, level="WARNING")
    try:
        yield
    finally:
        logger.remove(sink)
        logger.disable("headrace")


def test_a_callback_that_gives_a_coroutine_is_logged_L68() -> None:
    said: list[Any] = []
    with _what_is_logged(said):
        run = Pipeline().source(range(3)).sink(lambda row: None).start()
        run.wait(HANGS_S)
        # It has ended: what is added now is called at once.
        run.add_done_callback(lambda report: ask(1))
    assert [str(line) for line in said if "gave a coroutine, which nobody awaits" in line]


def test_an_initializer_that_is_async_is_told_L68() -> None:
    with pytest.raises(ConfigError, match="initializer="):
        Executor(1, initializer=_async_option)
    with (
        Executor(1, initializer=lambda: _async_option()) as executor,
        pytest.raises(concurrent.futures.BrokenExecutor) as broken,
    ):
        executor.submit(abs, 1).result(HANGS_S)
    assert "gave a coroutine, which nobody awaits" in str(broken.value.__cause__)


def test_a_branch_is_built_at_once_L68() -> None:
    async def branch(flow: Any) -> Any:
        return flow

    with pytest.raises(ConfigError, match="must return the flow"):
        Pipeline().source([1]).route(lambda row: None, a=branch)  # type: ignore[arg-type]


def test_an_interrupt_is_called_where_nobody_awaits_it_L68() -> None:
    class Interruptible(AsyncConnector):
        async def interrupt(self) -> None:
            pass

    with pytest.raises(ConfigError, match="its 'interrupt' is async"):
        Pipeline().source(Interruptible())  # type: ignore[call-overload]


# --- what is not run by a call ---


def _rows_of(row: Any) -> Iterator[Any]:
    yield row


class _Gives:
    def __call__(self, row: Any) -> Iterator[Any]:
        yield row


def _collecting(function: Callable[[Any], Iterator[Any]]) -> Callable[[Any], list[Any]]:
    @functools.wraps(function)
    def collect(row: Any) -> list[Any]:
        return list(function(row))

    return collect


@pytest.mark.parametrize("kind", ["map", "tap", "filter", "route", "sink", "quarantine"])
@pytest.mark.parametrize("function", [_rows_of, _Gives(), functools.partial(_rows_of)])
def test_a_generator_function_that_nobody_would_run_is_told_L68(kind: str, function: Any) -> None:
    branches = {"a": lambda flow: flow.sink(lambda row: None)} if kind == "route" else {}
    node = getattr(Pipeline().source(range(3)), kind)
    with pytest.raises(ConfigError, match="a generator function"):
        node(function, **branches)


def test_a_generator_that_a_sinks_function_gives_is_told_L68() -> None:
    async def later(row: Any) -> Any:
        return _rows_of(row)

    for function in (lambda row: _rows_of(row), later, lambda row: later(row)):
        with pytest.raises(RunFailed, match="gave a generator, of which nothing was run"):
            Pipeline().source(range(3)).map(lambda row: row).sink(function).run()


def test_a_decorator_that_runs_a_generator_function_is_a_function() -> None:
    out: list[Any] = []
    Pipeline().source(range(3)).map(_collecting(_rows_of)).tap(_collecting(_rows_of)).sink(out.append).run()
    assert out == [[0], [1], [2]]
    Pipeline().source(range(3)).flat_map(_rows_of).sink(_collecting(_rows_of)).run()
