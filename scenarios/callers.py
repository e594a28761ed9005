"""Those who call an executor in a scenario: batches and single calls, some of whom go away."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from headrace.actors.protocol import Status
from headrace.runtime.errors import RunAborted
from headrace.runtime.executor.executor import Executor
from headrace.runtime.run.outcome import Outcome

from .script import BatchTable, ExecutorTable, id_of, limit_of, retry_of
from .verdict import Invariant

CALLER_IDS = 100_000
"""Rows of different callers are told apart by so much."""


class Crowd(Protocol):
    """Where callers live: a simulated world, or this process."""

    def executor(self, **options: Any) -> Executor:
        """Open an executor with these options."""

    def person(self, name: str, script: Callable[[], object]) -> None:
        """Somebody who does this, and may wait in it."""

    def event(self) -> Any:
        """Something that callers can wait for until it has happened."""

    def now(self) -> float:
        """Seconds since the scenario began."""


class Callers:
    """All callers of a scenario. `answered`: rows that had an outcome, or were told of an abort.

    `complaints`: what must not be."""

    def __init__(self, crowd: Crowd, table: ExecutorTable, function: Any) -> None:
        self._crowd = crowd
        self._function = function
        self.answered = 0
        self.ended_at = 0.0
        self.complaints: list[tuple[Invariant, str]] = []
        self.executor = crowd.executor(**options_of(table))
        number = 0
        for batch in table.batch:
            for i in range(batch.callers):
                crowd.person(f"caller-{number}", partial(self._live, batch, number, batch.at + i * batch.every))
                number += 1
        if table.abort_at is not None:
            crowd.person("the one who aborts", partial(self._abort, table.abort_at))

    def _abort(self, at: float) -> None:
        time.sleep(at)
        self.executor.abort("aborted by the scenario")

    def _live(self, batch: BatchTable, number: int, at: float) -> None:
        time.sleep(at)
        rows = [number * CALLER_IDS + i for i in range(batch.rows)]
        try:
            if batch.singly:
                self._submit(batch, rows)
            else:
                self._check(rows, self.executor.execute_batch(self._function, rows, batch.timeout))
        except TimeoutError:
            pass
        except (RunAborted, concurrent.futures.BrokenExecutor):
            self.answered += len(rows)
        except RuntimeError:
            # "cannot schedule new futures after shutdown": told at once.
            pass
        self.ended_at = max(self.ended_at, self._crowd.now())

    def _submit(self, batch: BatchTable, rows: list[int]) -> None:
        event = self._crowd.event()
        left = len(rows)

        def done(row: int, future: concurrent.futures.Future[Any]) -> None:
            nonlocal left
            left -= 1
            if not future.cancelled() and future.exception() is None and id_of(future.result()) != row:
                self.complaints.append((Invariant.ISOLATED, f"call {row} was answered with {future.result()!r}"))
            self.answered += 1
            if not left:
                event.set()

        futures = []
        for row in rows:
            future = self.executor.submit(self._function, row)
            future.add_done_callback(partial(done, row))
            futures.append(future)
        if batch.cancel is not None:
            time.sleep(batch.cancel)
            for future in futures:
                future.cancel()
        event.wait(batch.timeout)

    def _check(self, rows: list[int], outcomes: list[Outcome[Any]]) -> None:
        self.answered += len(outcomes)
        if [outcome.seq for outcome in outcomes] != list(range(len(rows))):
            self.complaints.append((Invariant.ORDERED, f"outcomes of {[o.seq for o in outcomes]}"))
        for row, outcome in zip(rows, outcomes, strict=True):
            if id_of(outcome.value) != row:
                what = f"row {row} of a batch has the outcome of row {id_of(outcome.value)}"
                self.complaints.append((Invariant.ISOLATED, what))
            if outcome.status is not Status.DELIVERED and outcome.error is None:
                self.complaints.append((Invariant.FIRST_ERROR, f"row {row} was not delivered, and nobody says why"))


def options_of(table: ExecutorTable) -> dict[str, Any]:
    """The options of the `Executor` that a table describes."""
    return {
        "max_workers": table.workers,
        "limit": limit_of(table.limit),
        "retry": retry_of(table.retry),
        "timeout": table.timeout,
        "deadline": table.deadline,
        "on_unknown": table.on_unknown,
    }
