"""What is given as a source: mistakes are told with the mend, and a user's own connector keeps all that it can do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime import ConfigError, Pipeline, RunFailed


class Rows:
    """Somebody's class whose objects are iterable."""

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> Any:
    yield 1


async def answer() -> list[int]:
    return [1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("in.csv", "'in.csv' is text, not rows: say sources.csv('in.csv')"),
        ("in.jsonl", "say sources.jsonl('in.jsonl')"),
        (Path("in.csv"), "'in.csv' is a path, not rows: say sources.csv('in.csv')"),
        (b"in.csv", "bytes are no rows"),
        ({"a": 1}, "dict is one mapping, not rows"),
        (Rows, "Rows is a class, not rows: give an object of it, such as Rows(...)"),
        (generate, "generate is a function, not rows: call it, generate()"),
        (generate_async, "generate_async is a function, not rows: call it, generate_async()"),
        (7, "int is no connector, iterable or async iterable"),
    ],
)
def test_what_is_no_source_is_told_with_the_mend_L89(given: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pipeline().source(given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("module", "has", "says"),
    [
        ("pandas.core.frame", "to_dict", "say frame.to_dict('records')"),
        ("polars.dataframe.frame", "iter_rows", "say frame.iter_rows(named=True)"),
    ],
)
def test_a_frame_whose_columns_would_count_as_rows_is_told_L89(module: str, has: str, says: str) -> None:
    """As those of pandas and polars are made, as far as it matters here."""
    members = {"__module__": module, "__iter__": lambda self: iter(["a", "b"]), has: lambda self: []}
    frame = type("DataFrame", (), members)()
    with pytest.raises(ConfigError) as caught:
        Pipeline().source(frame)
    assert says in str(caught.value)


def test_a_coroutine_is_told_and_not_left_unawaited_L68() -> None:
    with pytest.raises(ConfigError, match="await it first, or write an async generator"):
        Pipeline().source(answer())  # type: ignore[call-overload]


def test_what_is_iterable_is_still_a_source() -> None:
    got: list[Any] = []
    for given in ([1], (2,), {3: "x"}.items(), Rows(), generate(), range(1), {9}):
        Pipeline().source(given).sink(got.append).run()
    assert got == [1, 2, (3, "x"), 1, 2, 1, 0, 9]


class Row(msgspec.Struct):
    n: int


class Numbers:
    """A connector of a user's, with places."""

    name = "numbers"
    resumable = False
    placed = True
    total = 60

    def __init__(self) -> None:
        self.at = 0
        self.resumed: list[Any] = []
        self.known = "one"
        self.edited = False
        self.interrupted = False

    def open(self) -> None:
        self.at = 0

    def resume(self, place: Any) -> None:
        self.resumed.append(place)
        self.at = place or 0

    def tell(self) -> Any:
        return self.at

    def verify(self, place: Any) -> str | None:
        assert isinstance(place, int), "the place is the connector's own"
        return "numbers were edited" if self.edited else None

    def fingerprint(self) -> dict[str, Any]:
        return {"known": self.known}

    def interrupt(self) -> None:
        self.interrupted = True

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        until = min(self.total, self.at + min(n, 10))
        rows = [{"n": str(i) if i != 50 else "fifty"} for i in range(self.at, until)]
        self.at = until
        return rows, until == self.total, 0

    def close(self) -> None:
        """Nothing to close."""


def test_a_connector_with_a_contract_keeps_its_places_and_is_known_again_L27(tmp_path: Path) -> None:
    numbers, got, bad = Numbers(), list[int](), list[Any]()
    broken = [True]

    def stops(row: Row) -> int:
        if row.n == 40 and broken:
            raise ValueError("stop here")
        return row.n

    stops.version = "1"  # type: ignore[attr-defined]

    def run() -> Any:
        rows = Pipeline("job", window=16).source(numbers, rows=Row)
        flow = rows.map(stops, name="f", workers=1, retry=1, on_error="fail").sink(got.append).quarantine(bad.append)
        return flow.run(journal=tmp_path / "run.db")

    with pytest.raises(RunFailed, match="stop here"):
        run()
    broken.clear()
    numbers.known = "another"
    with pytest.raises(ConfigError, match="known was one, and is another"):
        run()
    numbers.known, numbers.edited = "one", True
    with pytest.raises(ConfigError, match="numbers were edited"):
        run()
    numbers.edited = False
    assert run().state == "completed"
    assert numbers.resumed[0] is None
    assert numbers.resumed[-1] >= 10
    assert sorted(set(got)) == [n for n in range(60) if n != 50]
    # The row's number counts from the beginning of the source, not from the place.
    assert bad[-1]["message"].startswith("row 50: not a Row")
