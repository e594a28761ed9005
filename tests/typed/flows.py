"""What type checkers know of the rows of a flow: read by mypy and pyright, and never run.

`reveal_type(x)  # T` must reveal `T`, and a line that ends in `# error` must be an error; see `test_types.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Never, reveal_type

import msgspec

from headrace import Executor, Flow, Pipeline, sinks, sources


class Tender(msgspec.Struct):
    name: str
    risk: float


def shout(city: str) -> str:
    return city.upper()


def locate(city: str) -> tuple[float, float]:
    return len(city), 0.0


async def locate_async(city: str) -> tuple[float, float]:
    return locate(city)


def letters(city: str) -> list[str]:
    return list(city)


def pages(city: str) -> Iterator[int]:
    yield len(city)


async def pages_async(city: str) -> AsyncIterator[int]:
    yield len(city)


def count(rows: list[str]) -> int:
    return len(rows)


def merged(city: str, parts: dict[str, int]) -> float:
    return float(len(parts))


def printed(flow: Flow[str]) -> Flow[Never]:
    return flow.sink(print)


def riskier(tender: Tender) -> Tender:
    return tender


cities = Pipeline().source(["Lund", "Oslo"])
reveal_type(cities)  # Flow[str]
reveal_type(cities.map(shout).map(locate))  # Flow[tuple[float, float]]
reveal_type(cities.map(locate_async))  # Flow[tuple[float, float]]
reveal_type(cities.map(lambda city: len(city)))  # Flow[int]
reveal_type(cities.flat_map(letters))  # Flow[str]
reveal_type(cities.flat_map(pages))  # Flow[int]
reveal_type(cities.flat_map(pages_async))  # Flow[int]
reveal_type(cities.filter("size(row) > 1").tap(print))  # Flow[str]
reveal_type(cities.batch(10))  # Flow[list[str]]
reveal_type(cities.dedupe(key=shout, within=10))  # Flow[str]
reveal_type(cities.dedupe("row", 10, name="once").map(len))  # Flow[int]
reveal_type(cities.batch(10).map(count))  # Flow[int]
reveal_type(cities.batch(10).unbatch())  # Flow[str]
reveal_type(cities.map(letters).unbatch())  # Flow[str]
reveal_type(cities.fork(a=lambda flow: flow.map(len), b=lambda flow: flow.map(len)).join(merge=merged))  # Flow[float]
reveal_type(cities.route(lambda city: "short" if len(city) < 5 else None, short=printed))  # Flow[str]
reveal_type(cities.sink(sinks.jsonl("out.jsonl")).quarantine(print))  # Flow[Never]
reveal_type(Pipeline().source(sources.csv("in.csv"), rows=Tender).map(riskier))  # Flow[Tender]
reveal_type(Pipeline().source(sources.csv("in.csv")))  # Flow[Any]

for outcome in cities.map(len).stream():
    reveal_type(outcome)  # Outcome[int]
    reveal_type(outcome.value)  # int

with Executor() as executor:
    reveal_type(executor.submit(locate, "Lund").result())  # tuple[float, float]
    reveal_type(executor.submit(locate_async, "Lund").result())  # tuple[float, float]
    reveal_type(executor.execute_batch(locate, ["Lund"]))  # list[Outcome[tuple[float, float]]]
    reveal_type(executor.execute_batch(locate_async, ["Lund"]))  # list[Outcome[tuple[float, float]]]
    executor.execute_batch(locate, [1])  # error
    executor.submit(locate, 1)  # error

cities.map(riskier)  # error
cities.map(locate).map(shout)  # error
cities.map(shout, wrokers=3)  # error
cities.filter(str.isupper, wrokers=3)  # error
cities.map(shout, timeout="3")  # error
cities.batch(10).map(shout)  # error
cities.dedupe(key=riskier, within=10)  # error
cities.dedupe(key=letters, within=10)  # error
cities.dedupe(key=shout, within="10")  # error
cities.map(len).unbatch()  # error
cities.run(jornal="run.db")  # error
Pipeline().source(sources.csv("in.csv"), rows=Tender).map(shout)  # error
