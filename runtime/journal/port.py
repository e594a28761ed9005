"""What a store is: the narrow port between a run and where its journal is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from headrace.actors.journaling.recovered import NEW, Recovered
from headrace.actors.journaling.stage_record import Encoders
from headrace.runtime.connectors.port import SourceConnector

from .options import COMMIT_S


class Store(Protocol):
    """Entries of one run, durable. All calls come from one thread, one at a time."""

    name: str

    def keeps(self, stage: str) -> Encoders:
        """How what a stage tells is written down; in the thread of the stage."""

    def commit(self, entries: list[object]) -> None:
        """Make these entries (`actors.journal.Entry`) durable, all or none. When it returns, they are."""

    def close(self, complete: bool) -> None:
        """Once. What is committed stays. `complete`: the run ended well."""


class Journaling(msgspec.Struct):
    """A run's journal: where it is kept, what earlier lives have left there, how long an entry may wait for others.
    `holds`: rows go on only when their answers are durable. `remembering`: makes of a source that cannot tell where its
    rows are one that compares them with those of earlier lives."""

    store: Store
    past: Recovered = NEW
    within_s: float = COMMIT_S
    holds: bool = False
    remembering: Callable[[SourceConnector], SourceConnector] | None = None
    spent: tuple[dict[str, float], ...] = ()
    """What the calls of each life before this one took, by unit."""
    go_on: str | None = None
    """What to do so that the run goes on in another life, for people."""
    withdraw: Callable[[], None] = lambda: None
    """In the place of the store's `close`, where the life that was to begin cannot."""
