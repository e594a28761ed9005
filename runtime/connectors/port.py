"""What a connector is: the narrow port between Headrace and a place that rows come from or go to.

A connector of your own is any object with the methods of `SourceConnector` or `SinkConnector`; it may derive from them, and
then inherits what they do by default. What else it can do, it declares by an attribute that is True, `placed` for a
`PlacedSource` and `durable` for a `DurableSink`, or by having the method `interrupt` (`InterruptibleSource`).
`Pipeline.source` and `Flow.sink` check what they are given, and name the member that is missing. Methods may be `async`:
they are then awaited on the run's event loop.

    class Orders(SourceConnector):
        name = "orders"

        def open(self):
            self.pages = client.pages("orders")

        def read(self, n):
            page = next(self.pages, None)
            return ReadResult(page or [], ended=page is None)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from .file_identity import FileUse


class ReadResult(NamedTuple):
    """What `SourceConnector.read` gives; the plain tuple `(values, ended, bad)` says the same.

    Args:
        values: A list of rows.
        ended: Whether there are no more after them.
        bad: How many of them are `BadRow`s.
    """

    values: list[Any]
    ended: bool
    bad: int = 0


class Extent(NamedTuple):
    """How far a source has been read.

    Args:
        read: So much of it.
        of: So much there is.
        unit: "rows" where `of` is the number of its rows; else, such as "bytes", it says a share of them.
    """

    read: float
    of: float
    unit: str


@runtime_checkable
class SourceConnector(Protocol):
    """Rows from somewhere. All calls come from one thread, one at a time; each method may be `async`.

    What it may have besides, and what that is for:

    - `interrupt()`: called from another thread before `close`, it makes a `read` that is waiting return at once.
    - `fingerprint() -> dict[str, Any]`: by what it is known again in another life of a run, as plain data. A source that
      cannot be known again, nor gone back to, says `"stream": True`: a run with a journal is then not gone on with.
    - `fields() -> list[str] | None`: the names that its rows have, where that is known before it is opened.
    - `extent() -> Extent | None`: how far it has been read, so that people know how much is left; called after `read`.
    - `check()`: raises `ConfigError` where a look shows that it cannot be read. Nothing that can be read only once is read.

    Examples:
        >>> class Countdown(SourceConnector):
        ...     def open(self):
        ...         self.left = 3
        ...
        ...     def read(self, n):
        ...         self.left -= 1
        ...         return ReadResult([self.left], ended=self.left == 0)
        >>> [outcome.value for outcome in Pipeline().source(Countdown()).stream()]
        [2, 1, 0]
    """

    name: str = ""
    """What errors and reports call it; where it is empty or missing, they use the name of the class."""
    resumable: bool = False
    """After `read` has raised, it may be called again and goes on at the same place (L38)."""

    def open(self) -> object:
        """Get ready; called once, before the first `read`. What it raises fails the run."""
        return None

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        """Give the next rows, or fewer of them if the next is slow in coming.

        Args:
            n: How many rows to give at most.

        Returns:
            The rows, whether they are the last, and how many of them are `BadRow`s, as a `ReadResult` or a plain tuple.

        Raises:
            Exception: What it raises fails the run, unless the connector is `resumable`: then it is called again.
        """
        raise NotImplementedError

    def close(self) -> object:
        """Let go of everything; called once, if `open` went well, whatever has happened since."""
        return None


@runtime_checkable
class SinkConnector(Protocol):
    """Rows to somewhere. All calls come from one thread, one at a time; each method may be `async`.

    Examples:
        >>> class Total(SinkConnector):
        ...     def open(self):
        ...         self.sum = 0
        ...
        ...     def write(self, items):
        ...         self.sum += sum(items)
        ...
        ...     def close(self, complete):
        ...         print(self.sum if complete else "cut short")
        >>> report = Pipeline().source([1, 2, 3]).sink(Total()).run()
        6
    """

    name: str = ""
    """What errors and reports call it; where it is empty or missing, they use the name of the class."""

    def open(self) -> object:
        """Get ready; called once, before the first `write`. What it raises fails the run."""
        return None

    def write(self, items: list[Any]) -> object:
        """Write these rows, in their order. When it returns, they count as delivered.

        Args:
            items: Rows; at least one.

        Raises:
            UnwritableRows: Some rows cannot be written because of what they hold, and all others were: these go to
                quarantine, and the run goes on.
            Exception: Any other error fails the run.
        """
        raise NotImplementedError

    def close(self, complete: bool) -> object:  # noqa: FBT001 - connectors are closed so
        """Finish; called once, if `open` went well.

        Args:
            complete: Whether every row has come; else the run was cut short.
        """
        return None


@runtime_checkable
class PlacedSource(SourceConnector, Protocol):
    """A source that knows where its rows are, so that a run that is resumed need not read from the start.

    Examples:
        >>> class Pages(PlacedSource):
        ...     pages = [["Lund", "Malmö"], ["Oslo"]]
        ...
        ...     def resume(self, place):
        ...         self.page = place or 0
        ...
        ...     def tell(self):
        ...         return self.page
        ...
        ...     def read(self, n):
        ...         self.page += 1
        ...         return ReadResult(self.pages[self.page - 1], ended=self.page == len(self.pages))
        >>> report = Pipeline("pages").source(Pages()).sink(print).run(journal="pages.db")
        Lund
        Malmö
        Oslo
    """

    placed: bool = True
    """It does."""

    def tell(self) -> Any:
        """The place where the next row begins, for `resume`.

        Returns:
            Plain data, or None where that is not known.
        """
        raise NotImplementedError

    def resume(self, place: Any) -> object:
        """Get ready to read from a place on; called in the place of `open`.

        It may also have `verify(place) -> str | None`: what is not as it was before that place, as a sentence; None where
        it is the same. It is asked before anything is opened. And `recall(places)`, called before that with the places
        that were told of the reads since the earliest row that is not done, in their order: a source whose rows may be
        changed or removed meanwhile can give those rows again, and no others.

        Args:
            place: Where the next row is to be read, as `tell` said it; None is the first row of all.
        """
        raise NotImplementedError


@runtime_checkable
class InterruptibleSource(SourceConnector, Protocol):
    """A source whose `read` may wait for long, and can be told not to.

    Examples:
        >>> import queue
        >>> class Orders(InterruptibleSource, SourceConnector):
        ...     orders = queue.SimpleQueue()
        ...
        ...     def read(self, n):
        ...         order = self.orders.get()
        ...         return ReadResult([order] if order else [], ended=order is None)
        ...
        ...     def interrupt(self):
        ...         self.orders.put(None)
        >>> run = Pipeline().source(Orders()).sink(print).start()
        >>> run.drain()
        >>> run.wait(timeout=10).rows
        0
    """

    def interrupt(self) -> None:
        """Make a `read` that waits for its next row return at once. It is called from another thread."""
        raise NotImplementedError


@runtime_checkable
class DurableSink(SinkConnector, Protocol):
    """A sink that can take back what was written after a certain place, so that each row is in it exactly once.

    Examples:
        >>> class Lines(DurableSink):
        ...     def resume(self, place):
        ...         self.file = open("lines.txt", "ab")
        ...         self.file.truncate(place or 0)
        ...
        ...     def write(self, items):
        ...         self.file.writelines(f"{item}\\n".encode() for item in items)
        ...
        ...     def tell(self):
        ...         return self.file.tell()
        ...
        ...     def sync(self):
        ...         self.file.flush()
        ...         os.fsync(self.file.fileno())
        ...
        ...     def close(self, complete):
        ...         self.file.close()
        >>> import os
        >>> Pipeline("lines").source(["Lund"]).sink(Lines()).run(journal="lines.db").delivered
        1
    """

    durable: bool = True
    """It can."""

    def tell(self) -> Any:
        """How far the sink has written.

        Returns:
            Plain data, for `resume`.
        """
        raise NotImplementedError

    def sync(self) -> object:
        """Make what was written durable, on a disk or by a commit."""
        raise NotImplementedError

    def resume(self, place: Any) -> object:
        """Get ready to write from a place on, and take back what was written after it; called in the place of `open`.

        Args:
            place: How far it had written, as `tell` said it; None takes back everything.

        Raises:
            ConfigError: What was written before the place is not there.
        """


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
        raise NotImplementedError
