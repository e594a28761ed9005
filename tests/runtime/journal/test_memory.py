"""Sources that cannot tell where their rows are: other rows than before are told before they are taken for the former
(L63)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.conftest import versioned

from headrace.runtime import Pipeline, RunFailed, sinks
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.work import fingerprint


class Runs:
    """The call for row `at` breaks the run until that is None."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.at: int | None = 300
        self.asked: list[Any] = []

    def __call__(self, rows: Any, **options: Any) -> Any:
        def ask(row: Any) -> Any:
            self.asked.append(row)
            if self.at is not None and row["n"] == self.at:
                raise ValueError("not yet")
            return row["n"]

        pipeline = Pipeline("job", window=50).source(rows).map(versioned(ask), workers=1, retry=1, on_error="fail")
        return pipeline.sink(sinks.jsonl(self.folder / "out.jsonl")).run(journal=self.folder / "run.db", **options)


def rows(value: Any = "A", many: int = 400, at: int = 120) -> Iterator[dict[str, Any]]:
    for n in range(many):
        yield {"n": n, "v": value if n == at else "A"}


async def later(value: Any = "A") -> Any:
    for row in rows(value):
        yield row


def test_another_row_of_a_generator_is_told_before_any_call_L63(tmp_path: Path) -> None:
    run = Runs(tmp_path)
    with pytest.raises(RunFailed):
        run(rows())
    run.at = None
    run.asked.clear()
    for other, what in (
        (rows("B"), "row 120 is another one than it was in an earlier life of this run"),
        (rows(many=200), "it ends after 200 rows, and more of them were read"),
    ):
        with pytest.raises(RunFailed, match=what):
            run(other)
    assert not [row for row in run.asked if row["n"] < 250], "what is done is not done again"
    assert run(rows()).delivered == 400


def test_another_row_of_an_asynchronous_generator_is_told_too_L63(tmp_path: Path) -> None:
    run = Runs(tmp_path)
    with pytest.raises(RunFailed):
        run(later())
    run.at = None
    with pytest.raises(RunFailed, match="row 120 is another one"):
        run(later("B"))
    assert run(later()).delivered == 400


def test_other_rows_can_be_accepted(tmp_path: Path) -> None:
    run = Runs(tmp_path)
    with pytest.raises(RunFailed):
        run(list(rows()))
    run.at = None
    with pytest.raises(ConfigError, match="source: the digest of its rows was"):
        run(list(rows("B")))
    assert run(list(rows("B")), accept_changes=True).delivered == 400
    assert run(list(rows("B"))).delivered == 400


def test_the_middle_of_a_long_list_is_compared_as_it_is_read_L63(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "ROWS_LOOKED_AT", 50)
    run = Runs(tmp_path)
    with pytest.raises(RunFailed):
        run(list(rows()))
    run.at = None
    with pytest.raises(RunFailed, match="row 120 is another one"):
        run(list(rows("B")))
    assert run(list(rows())).delivered == 400


def test_a_row_that_cannot_be_read_is_not_compared_and_the_others_are_L63(tmp_path: Path) -> None:
    run = Runs(tmp_path)
    run.at = 50
    with pytest.raises(RunFailed):
        run(rows(threading.Lock(), at=20))
    run.at = None
    with pytest.raises(RunFailed, match="row 7 is another one"):
        run({"n": n, "v": threading.Lock() if n == 20 else "B" if n == 7 else "A"} for n in range(400))
    assert run(rows(threading.Lock(), at=20)).delivered == 400
