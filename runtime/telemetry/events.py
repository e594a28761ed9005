"""What an observer is told: things that have happened in a run, as plain values.

No event has a row's contents. Where an error is told, its text may quote some of them.
"""

from __future__ import annotations

import msgspec

from headrace.actors.protocol import Closure, Counts, Kind, State, Status
from headrace.actors.rows.identity import Ids


class Event(msgspec.Struct, frozen=True):
    """Something has happened. `at_s`: when, in seconds of the host's monotonic clock."""

    at_s: float


class RunBegan(Event, frozen=True):
    """The actors of the run have begun. `run`: its id, the same in each life of a run with a journal."""

    run: str
    pipeline: str


class RowsRead(Event, frozen=True):
    """The source has read `rows` more, `bad` ones among them. `ended`: there are no more."""

    rows: int
    bad: int
    ended: bool


class CallsBegan(Event, frozen=True):
    """A worker of a stage was given `rows` to call its function with, one after another or all at once."""

    stage: str
    rows: int


class CallFault(msgspec.Struct, frozen=True):
    """A call that did not answer. `row`: the number of its row, counted from 0."""

    row: int
    kind: Kind
    error: BaseException


class CallsEnded(Event, frozen=True):
    """Calls of a stage have ended: `answered` so many, the others by `faults`. `busy_s`: seconds that they took together.
    `rows`: of those that were answered, as the protocol knows them (`show` of `headrace.actors.rows.identity` gives their
    names). `times_s`: how long each call took, the answered ones first; empty where only `busy_s` is known."""

    stage: str
    answered: int
    faults: tuple[CallFault, ...]
    busy_s: float
    rows: Ids = ()
    times_s: tuple[float, ...] = ()


class RowEnded(Event, frozen=True):
    """A row, or a piece of one, will not be delivered. `name`: the row with its branches, as reports show it."""

    stage: str
    row: int
    name: str
    status: Status
    error: BaseException | None
    attempts: int


class RowsSettled(Event, frozen=True):
    """So many rows, or pieces of rows, have come to their end. `sink`: the one that wrote them, if one did."""

    status: Status
    rows: int
    sink: str | None


class CooldownBegan(Event, frozen=True):
    """The limit of a stage lets no calls go. `until_s`: about how long, by the clock of `at_s`. `key`: the part of the limit
    that it concerns, where it has keys. `words`: what the other side says of an account that is exhausted."""

    stage: str
    closure: Closure
    epoch: int
    until_s: float
    key: object
    words: str | None


class CooldownEnded(Event, frozen=True):
    """The limit of a stage lets calls go again; with `probing`, one at a time."""

    stage: str
    epoch: int
    probing: bool
    key: object


class Reopened(Event, frozen=True):
    """A probe was answered: an outage is over, or an account has something to spend again."""

    stage: str
    epoch: int
    key: object


class Committed(Event, frozen=True):
    """What the journal was told up to some moment is durable."""


class RunStopping(Event, frozen=True):
    """The run was told to end before its rows did. `how`: "drain" or "abort"; `reason`: of an abort."""

    how: str
    reason: str | None


class RunEnded(Event, frozen=True):
    """The run is over."""

    state: State
    counts: Counts
    errors: tuple[BaseException, ...]


class EventsMissed(Event, frozen=True):
    """`events` were not told, since the observers were too slow."""

    events: int
