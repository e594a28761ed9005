"""The beginning of a pipeline: its name, how many rows are under way at once, and where they come from."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from functools import partial
from typing import Any, TypeVar, overload

from ..connectors.calling import asked
from ..connectors.check import source_connector
from ..connectors.iterables import AsyncIterableSource, IterableSource, IteratorSource, TypedSource
from ..connectors.port import SourceConnector
from ..errors import ConfigError
from ..graph.plan import SOURCE
from ..limits import Retry, as_retry
from ..names import check_name, connector_name
from ..quantities import WINDOW, optional
from ..rows.contracts import INFER, Contract
from .draft import Draft, SourceDraft
from .flow import Flow

T = TypeVar("T")


class Pipeline(Flow[Any]):
    """Rows from a source through one or more functions to a sink.

    Each method gives a `Flow` with one node more, and leaves what it was called on as it was. The nodes are `map`,
    `flat_map`, `filter`, `tap`, `route`, `fork` and `join`, `batch` and `unbatch`, and any number of sinks. A pipeline may
    be run again where its source can be read again.

    Args:
        name: What reports, logs and journals call it.
        window: How many rows may be between source and sink; by default as many as the workers need.
        ordered: Whether sinks see rows in the order of the source.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> report = (
        ...     Pipeline("shout")
        ...     .source(["Lund", "Oslo"])
        ...     .map(str.upper, workers=32, limit=Limit("200/s"), retry=Retry(5), timeout=10.0)
        ...     .sink(print)
        ...     .run()
        ... )
        LUND
        OSLO
        >>> report.delivered
        2
    """

    def __init__(self, name: str = "pipeline", *, window: int | None = None, ordered: bool = True) -> None:
        """`window`: rows between source and sink at most. `ordered`: the sink sees rows in source order."""
        window = optional("Pipeline", "window", window, WINDOW)
        super().__init__(Draft(check_name("pipeline", name), window, ordered), ((SOURCE, ""),))

    @overload
    def source(self, rows_from: SourceConnector, *, rows: type[T], retry: Retry | int | None = None) -> Flow[T]: ...

    @overload
    def source(
        self,
        rows_from: Iterable[Any] | AsyncIterable[Any],
        *,
        rows: type[T],
        retry: Retry | int | None = None,
    ) -> Flow[T]: ...

    @overload
    def source(
        self, rows_from: SourceConnector, *, rows: Any = None, retry: Retry | int | None = None
    ) -> Flow[Any]: ...

    @overload
    def source(
        self, rows_from: Iterable[T] | AsyncIterable[T], *, rows: None = None, retry: Retry | int | None = None
    ) -> Flow[T]: ...

    @overload
    def source(
        self, rows_from: Iterable[Any] | AsyncIterable[Any], *, rows: Any, retry: Retry | int | None = None
    ) -> Flow[Any]: ...

    def source(
        self,
        rows_from: SourceConnector | Iterable[Any] | AsyncIterable[Any],
        *,
        rows: Any = None,
        retry: Retry | int | None = None,
    ) -> Flow[Any]:
        """Say where the rows come from.

        Args:
            rows_from: A connector out of `sources` or of your own (`SourceConnector`), any iterable, or any async iterable.
            rows: The contract of the rows, to which they are converted ("12" may become 12): a msgspec Struct, a dataclass
                or a TypedDict. Or "infer", from the first hundred: text becomes a number, or true or false, only where it
                would be written back as it stands (`007`, `1.10` and `1e5` stay text). What does not fit goes to
                quarantine.
            retry: How often a connector that knows where it is (`resumable`) is read again after an error, as a `Retry` or
                a number of attempts.

        Raises:
            ConfigError: What is given is no source: text, bytes, a path, a mapping, a class, a function.

        Examples:
            >>> from typing import TypedDict
            >>> class Place(TypedDict):
            ...     name: str
            ...     height: int
            >>> [o.value for o in Pipeline().source([{"name": "Lund", "height": "86"}], rows=Place).stream()]
            [{'name': 'Lund', 'height': 86}]
        """
        contract = rows if rows is None or rows == INFER else Contract(rows)
        draft = _source_draft(rows_from, contract, as_retry(retry) or Retry())
        return self._next(self._draft.with_(source=draft), self._ends, how="source")


def _source_draft(
    rows_from: SourceConnector | Iterable[Any] | AsyncIterable[Any], contract: Contract | str | None, retry: Retry
) -> SourceDraft:
    connector = source_connector(rows_from)
    if connector is not None:
        own = connector
        return SourceDraft(
            lambda _: _held(own, contract), own, partial(asked, "source", own, "fields"), contract, retry
        )
    if isinstance(rows_from, AsyncIterable):
        stream = rows_from
        return SourceDraft(
            lambda loop: _held(AsyncIterableSource(stream, loop), contract), contract=contract, retry=retry
        )
    if isinstance(rows_from, Iterable):
        iterable = rows_from
        return SourceDraft(lambda _: _held(IterableSource(iterable), contract), contract=contract, retry=retry)
    mend = "; call it, to give what it makes" if callable(rows_from) else ""
    if isinstance(rows_from, os.PathLike):
        mend = "; for a file, give sources.csv(path) or sources.jsonl(path)"
    raise ConfigError(f"source: {type(rows_from).__name__} is no connector, iterable or async iterable{mend}")


def _held(connector: SourceConnector, contract: Contract | str | None) -> SourceConnector:
    """The connector, its rows held to the contract."""
    if contract is None:
        return connector
    if isinstance(connector, IteratorSource):
        connector.hold_to(contract)
        return connector
    if isinstance(contract, str):
        raise ConfigError(
            f'rows="infer": {connector_name(connector)} gives rows as they come, so none are the first; name their type'
        )
    return TypedSource(connector, contract)
