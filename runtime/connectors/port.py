"""What a connector is: the narrow port between Headrace and a place that rows come from or go to."""

from __future__ import annotations

from typing import Any, Protocol


class SourceConnector(Protocol):
    """Rows from somewhere. All calls come from one thread, one at a time.

    What it may have besides, and what that is for:

    - `interrupt()`: called from another thread before `close`, it makes a `read` that is waiting return at once.
    - `fingerprint() -> dict[str, Any]`: by what it is known again in another life of a run, as plain data. A source that
      cannot be known again, nor gone back to, says `"stream": True`: a run with a journal is then not gone on with.
    - `fields() -> list[str] | None`: the names that its rows have, where that is known before it is opened.
    - `check()`: raises `ConfigError` where a look shows that it cannot be read. Nothing that can be read only once is read.
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
        """In the place of `open`: the first row is the one there; None: the first of all.

        It may also have `verify(place) -> str | None`: what is not as it was before that place, as a sentence; None where it
        is the same. It is asked before anything is opened.
        """


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
