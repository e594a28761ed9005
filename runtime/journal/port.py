"""The two ports of a journal.

Between a run and its journal: `RunJournal` and `Journaling`. Between a journal and where it is kept: `Store`, which is
held by one owner and changed, and `Reader`, which only looks. All that a journal means stands between the two, in this
room, and is the same for every store: which entries become which records (`kept_run.py`), what is left to the next life
(`recovery.py`), checksums and counts (`records.py`), what people are told (`explain.py`, `audit.py`) and what they change
(`requeue.py`, `audit.py`).

A store keeps records (`tables.py`), and knows nothing of what they say. What it must do:

- One owner. `stores.py` opens it for a run under a lock that ends with its owner, or refuses. A lock alone is no fence:
  an owner that stood still may wake up when another one has gone on, on another machine perhaps. So each commit looks,
  within its transaction, whether the life that it was begun for is still the last one (`kept_run.py`); a store need only
  see to it that transactions which change something come one after another.
- All or nothing. What is written in a `transaction` is durable when that ends, all of it, and none of it where it is left
  by an exception or by the death of the process.
- No error of its own library leaves it: what it cannot do is `StoreFailed`, what is not under its name any more is
  `StoreLost`, what is not as it was written is `Damaged` (`mistakes.py`), and what cannot be opened at all is a
  `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

import msgspec

from headrace.actors.journaling.recovered import NEW, Recovered
from headrace.actors.journaling.stage_record import Encoders
from headrace.actors.protocol import ErrorGroup
from headrace.runtime.connectors.port import SourceConnector

from .options import COMMIT_S
from .tables import Record


class Bound(NamedTuple):
    """What a column of a record must be. It is never asked of a column that may be empty."""

    column: str
    relation: Literal["=", "<", "<=", ">", ">="]
    value: int | str | bytes


class Change(NamedTuple):
    """By how much a table of a run was changed: in records, and in the sum of their seals."""

    records: int = 0
    seals: int = 0


class Reader(Protocol):
    """What is in a store, for whoever only looks. A reader sees all of it as it was at one moment, while a run goes on. All
    calls come from one thread, one at a time. The methods raise `StoreFailed` and `Damaged`."""

    name: str
    """What people are told that it is called, without what is secret in its name."""
    path: str | None
    """The file that it is kept in; None where it is kept in none."""
    salt: int
    """A number by which checksums differ from those of another journal, made when this one was begun."""

    @property
    def is_small(self) -> bool:
        """All of its answers can be looked at before a run goes on with it: a second for each million of them."""

    def read(self, table: str, run: int | None = None, *bounds: Bound, limit: int | None = None) -> Iterator[Record]:
        """The records of a table, or of one run in it, that are within the bounds; with their seals. They come in the
        order of the key, or, where the table has none, in the order in which they were written.

        Where an index could be damaged without that being seen, the store looks at every record of the table for this."""

    def read_on(self, table: str, run: int, row: int) -> Iterator[Record]:
        """The records of a run from `row` on, in the order of the key. It need not look at those before them."""

    def beside(self, table: str, run: int, row: int) -> Iterable[Record]:
        """What stands just before and just after those that `read_on` gives, where a damaged record could stand in the
        place of one of them: its seal is looked at. A store whose records have checksums of its own gives nothing."""

    def sums(self, table: str, run: int) -> Change:
        """How many records of a run a table has, and what their seals add up to."""

    def now(self) -> float:
        """Seconds since 1970 by the clock that all who share the store go by."""

    def close(self) -> None:
        """Let go of it, and of its lock."""


class Store(Reader, Protocol):
    """A store that is held by one owner, under a lock, and changed. The methods that change something are called within a
    `transaction` only."""

    def transaction(self, *, keep: bool = True) -> AbstractContextManager[object]:
        """What is written until it ends is durable then, all or none. `keep`: False for a trial: nothing of it stays. Raises
        `StoreLost` at its end where the journal is not under its name any more."""

    def write(self, table: str, records: list[Record]) -> Change:
        """Write records of one run, with their seals. Each replaces the one under its key. Of tables that are not in
        `TALLIED` nothing need be told."""

    def remove(self, table: str, run: int, *bounds: Bound) -> Change:
        """Delete the records of a run that are within the bounds."""

    def drop_values(
        self, run: int, first: int, last: int, before: float, node: int | None, seal: Callable[[Record], int]
    ) -> tuple[int, Change]:
        """Of answers of the rows from `first` to `last` that are older than `before` and have a `value`, at `node` if
        that is given: make the value None, `whole` 0 and the seal what `seal` gives of the record. How many there
        were."""

    def compact(self) -> None:
        """Give back the room of what was deleted. Not within a transaction."""


class RunJournal(Protocol):
    """The journal of one run, as its actors use it. All calls come from one thread, one at a time."""

    name: str

    def keeps(self, stage: str) -> Encoders:
        """How what a stage tells is written down; in the thread of the stage."""

    def commit(self, entries: list[object]) -> None:
        """Make these entries (`actors.journal.Entry`) durable, all or none. When it returns, they are. Raises
        `JournalError`."""

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        """Once. What is committed stays. `complete`: the run ended well."""


class Commands(msgspec.Struct, frozen=True):
    """How people go on with a run, once it has ended. `resume`: a command or a sentence. `retry`: the command that tries
    rows in quarantine again; None where no job file is known. `explain`: the command that tells what happened to a row."""

    resume: str
    retry: str | None
    explain: str


class Journaling(msgspec.Struct):
    """A run's journal: where it is kept, what earlier lives have left there, how long an entry may wait for others.
    `holds`: rows go on only when their answers are durable. `remembering`: makes of a source that cannot tell where its
    rows are one that compares them with those of earlier lives."""

    store: RunJournal
    past: Recovered = NEW
    within_s: float = COMMIT_S
    holds: bool = False
    remembering: Callable[[SourceConnector], SourceConnector] | None = None
    spent: tuple[dict[str, float], ...] = ()
    """What the calls of each life before this one took, by unit."""
    go_on: str | None = None
    """What to do so that the run goes on in another life, for people."""
    commands: Commands | None = None
    life: int = 1
    """Which life of the run this is."""
    ended: Mapping[tuple[str, str, str], ErrorGroup] = {}
    """Rows that ended by an error in earlier lives, and are not to be tried again: by node, outcome and error."""
    withdraw: Callable[[], None] = lambda: None
    """In the place of the store's `close`, where the life that was to begin cannot."""
