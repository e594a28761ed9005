"""What a connector is: the narrow port between Headrace and a place that rows come from or go to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from .file_identity import FileUse


class SourceConnector(Protocol):
    """Rows from somewhere. All calls come from one thread, one at a time.

    One that can be quiet may also have `interrupt()`: called from another thread before `close`, it makes a `read` that is
    waiting return at once.
    """

    name: str
    resumable: bool
    """After `read` has raised, it may be called again and goes on at the same place (L38)."""

    def open(self) -> None:
        """Before the first `read`, once."""

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        """(values, ended, bad): up to `n` rows, fewer if the next is slow in coming; whether that was the end; how many of
        the values are `BadRow`s."""

    def close(self) -> None:
        """Once, if `open` went well, whatever happened since."""


class SinkConnector(Protocol):
    """Rows to somewhere. All calls come from one thread, one at a time."""

    name: str

    def open(self) -> None:
        """Before the first `write`, once."""

    def write(self, items: list[Any]) -> None:
        """Write these rows, in order. When it returns, they count as delivered.

        Where some of them cannot be written because of what they hold, it writes all others and raises `UnwritableRows`:
        those rows go to quarantine, and the run goes on. Any other error fails the run.
        """

    def close(self, complete: bool) -> None:
        """Once, if `open` went well. `complete`: every row has come; else the run was cut short."""


class PlacedSource(SourceConnector, Protocol):
    """A source that knows where its rows are, so that a run that is resumed need not read from the start."""

    placed: bool
    """It does."""

    def tell(self) -> Any:
        """Where the next row begins, for `resume`: plain data, or None where that is not known."""

    def resume(self, place: Any) -> None:
        """In the place of `open`: the first row is the one there; None: the first of all."""


class DurableSink(SinkConnector, Protocol):
    """A sink that can take back what was written after a certain place, so that each row is in it exactly once."""

    durable: bool
    """It can."""

    def tell(self) -> Any:
        """How far it has written: plain data."""

    def sync(self) -> None:
        """Make what was written durable."""

    def resume(self, place: Any) -> None:
        """In the place of `open`: what was written after this place is taken back; None: everything is. Raises
        `ConfigError` where what was written before it is not there."""


class RunInfo(msgspec.Struct, frozen=True):
    """The run that a connector is to work for.

    `pipeline`: its name. `run`: who it is, the same in each life of a run with a journal. `journal`: that journal's path,
    None where the run cannot be resumed. `columns`: the names of the source's columns, where they are known beforehand.
    `window`: rows in flight at most.
    """

    pipeline: str = "pipeline"
    run: str = ""
    journal: str | None = None
    columns: tuple[str, ...] | None = None
    window: int = 8192


class Written(msgspec.Struct, frozen=True):
    """What a run did to an output, for its report.

    `path`: as the user spelled it, with the table of a database. `what`: "created", "replaced", "appended" or "updated";
    "unfinished": the rows are at `at`, since the output is not complete. `existed`: something stood there before the run.
    """

    path: str
    what: Literal["created", "replaced", "appended", "updated", "unfinished"]
    existed: bool = False
    at: str | None = None

    def __str__(self) -> str:
        if self.what == "unfinished":
            old = "; what was there before is untouched" if self.existed else ""
            return f"{self.path}: not complete; the rows so far are in {self.at}{old}"
        was = {"replaced": " what was there before", "appended": " to what was there", "updated": " what was there"}
        return f"{self.path}: {self.what}{was.get(self.what, '')}"


class Claim(Protocol):
    """A sink's output, held for a run."""

    def release(self) -> None:
        """Let go of an output that the run did not come to open; once it was opened, `close` does that."""

    def error(self, within_s: float) -> BaseException | None:
        """Once the sink was closed as complete: why its output is not. Waits so long for an end of the closing."""


class HeldSink(SinkConnector, Protocol):
    """A sink that writes files: these are checked and held before anything runs.

    A sink may have any of these methods without the others.
    """

    def files(self) -> Sequence[FileUse]:
        """Which files it writes. Before anything opens, no other part of the pipeline may use the same ones."""

    def claim(self, run: RunInfo, place: Any) -> Claim:
        """Hold the output for this run, and see whether it can be written; then `open`, or `resume` with the same place,
        is called. Changes nothing of the output. Raises `ConfigError`."""

    def written(self) -> Written | None:
        """What was done to the output, for the report; None where there is nothing to tell."""
