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

from typing import Any, NamedTuple, Protocol, runtime_checkable


class ReadResult(NamedTuple):
    """What `SourceConnector.read` gives; the plain tuple `(values, ended, bad)` says the same.

    `values`: a list of rows. `ended`: whether there are no more after them. `bad`: how many of them are `BadRow`s.
    """

    values: list[Any]
    ended: bool
    bad: int = 0


@runtime_checkable
class SourceConnector(Protocol):
    """Rows from somewhere. All calls come from one thread, one at a time.

    What it may have besides, and what that is for:

    - `interrupt()`: called from another thread before `close`, it makes a `read` that is waiting return at once.
    - `fingerprint() -> dict[str, Any]`: by what it is known again in another life of a run, as plain data. A source that
      cannot be known again, nor gone back to, says `"stream": True`: a run with a journal is then not gone on with.
    - `fields() -> list[str] | None`: the names that its rows have, where that is known before it is opened.
    - `check()`: raises `ConfigError` where a look shows that it cannot be read. Nothing that can be read only once is read.
    """

    name: str = ""
    """What errors and reports call it; where it is empty or missing, they use the name of the class."""
    resumable: bool = False
    """After `read` has raised, it may be called again and goes on at the same place (L38)."""

    def open(self) -> object:
        """Before the first `read`, once."""
        return None

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        """(values, ended, bad), or a `ReadResult`: up to `n` rows, fewer if the next is slow in coming; whether that was the
        end; how many of the values are `BadRow`s."""
        raise NotImplementedError

    def close(self) -> object:
        """Once, if `open` went well, whatever happened since."""
        return None


@runtime_checkable
class SinkConnector(Protocol):
    """Rows to somewhere. All calls come from one thread, one at a time."""

    name: str = ""
    """What errors and reports call it; where it is empty or missing, they use the name of the class."""

    def open(self) -> object:
        """Before the first `write`, once."""
        return None

    def write(self, items: list[Any]) -> object:
        """Write these rows, in order. When it returns, they count as delivered.

        Where some of them cannot be written because of what they hold, it writes all others and raises `UnwritableRows`:
        those rows go to quarantine, and the run goes on. Any other error fails the run.
        """
        raise NotImplementedError

    def close(self, complete: bool) -> object:
        """Once, if `open` went well. `complete`: every row has come; else the run was cut short."""
        return None


@runtime_checkable
class PlacedSource(SourceConnector, Protocol):
    """A source that knows where its rows are, so that a run that is resumed need not read from the start."""

    placed: bool = True
    """It does."""

    def tell(self) -> Any:
        """Where the next row begins, for `resume`: plain data, or None where that is not known."""
        raise NotImplementedError

    def resume(self, place: Any) -> object:
        """In the place of `open`: the first row is the one there; None: the first of all.

        It may also have `verify(place) -> str | None`: what is not as it was before that place, as a sentence; None where it
        is the same. It is asked before anything is opened.
        """
        raise NotImplementedError


@runtime_checkable
class InterruptibleSource(SourceConnector, Protocol):
    """A source whose `read` may wait for long, and can be told not to."""

    def interrupt(self) -> None:
        """From any thread: a `read` that waits for its next row shall return."""
        raise NotImplementedError


@runtime_checkable
class DurableSink(SinkConnector, Protocol):
    """A sink that can take back what was written after a certain place, so that each row is in it exactly once."""

    durable: bool = True
    """It can."""

    def tell(self) -> Any:
        """How far it has written: plain data."""
        raise NotImplementedError

    def sync(self) -> object:
        """Make what was written durable."""
        raise NotImplementedError

    def resume(self, place: Any) -> object:
        """In the place of `open`: what was written after this place is taken back; None: everything is. Raises
        `ConfigError` where what was written before it is not there."""
        raise NotImplementedError
