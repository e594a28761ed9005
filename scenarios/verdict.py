"""What must always hold, by name; and how it is told that it did not."""

from __future__ import annotations

import enum

import msgspec


class Invariant(enum.StrEnum):
    """What must hold after every message, whatever happens."""

    ACCOUNTED = "accounted: every row has exactly one terminal outcome, and the counters are a fold over them"
    ORDERED = "ordered: a sink sees rows in source order, and gaps are told"
    ONCE = "once: no row is delivered twice, and none leaves a node twice"
    BOUNDED = "bounded: rows in flight never exceed the window, nor permits what was granted"
    QUIET = "quiet in cooldown: no grant and no call between its begin and its end, and one cooldown an epoch"
    ANSWERED = "answered: no waiter outlives its deadline; drain and abort end within theirs"
    PAIRED = "paired: prepare before the first call, once; close once, also after a crash"
    FIRST_ERROR = "first error first: what went wrong first is what the user sees"
    ONE_PATH = "one path: complete only when the source has said its end and every row has an outcome"
    ISOLATED = "isolated: batches and runs never see each other's rows"
    FAIR = "fair: a refused row goes before those that were never tried"
    TURNS = "by turns: of those who wish for permits of one limit, none is overtaken twice by the same other"
    SPARED = "spared: no row is lost to what concerns many: an exhausted account, an outage, a brown-out"
    ALIVE = "alive: no actor dies of itself"
    CEILING = "ceiling: a stated limit is never exceeded, as the server counts"
    DISTINCT = (
        "distinct: a dedupe lets no two rows with one key go on within its bound, and drops no row that is the first"
    )
    JOINED = "joined: one word on each forked row, with the parts that its join requires or not at all"


class Breach(msgspec.Struct, frozen=True):
    """An invariant that did not hold, when and how."""

    invariant: Invariant
    what: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.invariant.name}: {self.what}, at {self.at_s:.6f} s\n  ({self.invariant.value})"
