"""Every message that one actor can tell another, by conversation.

Messages are news (past tense: `CooldownEnded`) or wishes (`Demand`, `Drain`). Rows travel in columns: `seqs[i]` is the
identity of `values[i]` (see `identity.py`); `seqs` is a `range` where they are contiguous rows of the source, which costs
nothing to slice. Units are the last word of a field's name.

A subclass of `Control` travels in the control lane of an inbox, which overtakes rows (L48).

This file is long: every message stands in it, in sections by conversation, so that a conversation can be read in one
place.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import Any, ClassVar, NewType

import msgspec

from .actor import Ref
from .rows.identity import Id, Ids

Epoch = NewType("Epoch", int)
Key = Hashable
"""Which budget of a keyed limit a row draws on; None where the limit has no key."""

Seqs = Ids
"""Identities: a `range` where contiguous rows of the source, else a list."""


class Message(msgspec.Struct, frozen=True):
    """Base of all messages. `control` says which lane of the inbox it takes."""

    control: ClassVar[bool] = False


class Control(Message, frozen=True):
    """Base of the messages that overtake rows: life, cooldown, questions."""

    control: ClassVar[bool] = True


class Status(enum.StrEnum):
    """The terminal outcome of a row, or of what became of it in a graph. Each has exactly one; the last three are for those
    that live on in others."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    MERGED = "merged"
    SPLIT = "split"
    BATCHED = "batched"


class Kind(enum.StrEnum):
    """What came of a call that did not answer."""

    TRANSIENT = "transient"
    """It may work next time: a reset connection, a 502."""
    PERMANENT = "permanent"
    """It will fail again: a 400, a bug."""
    REFUSED = "refused"
    """The other side said: not now. Costs no attempt."""
    EXHAUSTED = "exhausted"
    """The other side takes no call of this account for long: no credit, a daily quota that is used up, a wrong key. Costs no
    attempt (L71)."""
    PENDING = "pending"
    """It was begun elsewhere and is not done: ask again later. Costs no attempt."""
    UNKNOWN = "unknown"
    """Nobody can say whether it happened: timed out in mid-call, or its worker was lost (L49)."""


# --- rows -------------------------------------------------------------------------------------------------------------


class Rows(Message, frozen=True):
    """From the source along the edges of the graph to a sink or a desk: rows that are well so far.

    `attempts` names only the rows that took more than one attempt in some stage, with the sum of those attempts.
    `span`, to a reorder buffer: of these rows, the others will not come; in the place of `Gaps`.
    """

    seqs: Seqs
    values: list[Any]
    attempts: dict[Id, int] | None = None
    span: range | None = None


class Ended(msgspec.Struct, frozen=True):
    """A row that will not be delivered, and why. `stage` is where it ended; `value` is the row as it was there."""

    seq: Id
    status: Status
    error: BaseException | None
    attempts: int
    value: Any
    stage: str


class Outcomes(Message, frozen=True):
    """Any node → Reorder, Join or Desk behind it, quarantine Sink: rows that ended badly, or were dropped, and why."""

    ended: list[Ended]


class RowsEnded(Message, frozen=True):
    """Any node → observers: the same, once for each row. No actor acts on it."""

    ended: list[Ended]


class Gaps(Message, frozen=True):
    """Any node → Reorder or Join behind it: rows that will not come to you, for they went elsewhere (L42)."""

    seqs: Seqs


class Forked(Message, frozen=True):
    """Fork → Join: rows whose parts are on their way to you."""

    seqs: Seqs
    values: list[Any]


class EndOfRows(Message, frozen=True):
    """Along each edge after its last row. `total` is how many rows the source gave in all."""

    total: int


# --- demand: never more than a window of rows between source and settlement ---------------------------------------------


class Demand(Message, frozen=True):
    """Ledger → Source: there is room for `n` more rows."""

    n: int


class Credit(Message, frozen=True):
    """Stage → what stands before it: I can take `n` more rows. So rows wait unread, not half done, where calls are slow."""

    n: int
    who: Ref


class FlushUpTo(Control, frozen=True):
    """Ledger → Batch: the window is full, and row `seq` is the oldest in it. If you hold it, let its batch go."""

    seq: int


class Read(Message, frozen=True):
    """Source → Reader: up to `n` rows, please; fewer if the next one is slow in coming."""

    n: int


class BadRow(msgspec.Struct, frozen=True):
    """In the place of a row that could not be read: it keeps its place and goes to quarantine."""

    error: BaseException
    raw: Any


class ReadDone(Message, frozen=True):
    """Reader → Source. A `BadRow` may stand among the values. `ended`: there are no more rows. `place`: where the next row
    begins, where the source can tell."""

    values: list[Any]
    ended: bool
    bad: int = 0
    place: Any = None
    extent: tuple[float, float, str] | None = None
    """How far the source has been read, and how much there is of it, in which unit; where it can tell."""


class ReadFailed(Message, frozen=True):
    """Reader → Source: reading failed before these rows. `resumable`: it can be tried again at the same place (L38)."""

    error: BaseException
    resumable: bool


# --- permits: a call starts only on a permit; a permit is used or given back ----------------------------------------------


class Register(Control, frozen=True):
    """Stage → Governor: I shall want permits; tell me of cooldowns."""

    stage: Ref


class Unregister(Control, frozen=True):
    """Stage → Governor: I want none any more. Wishes still open are withdrawn."""

    stage: Ref


class PermitsWanted(Message, frozen=True):
    """Stage → Governor: `n` more. `cost` is what those rows weigh together, where the limit weighs rows."""

    stage: Ref
    n: int
    key: Key = None
    costs: tuple[float, ...] = ()


class PermitsGranted(Message, frozen=True):
    """Governor → Stage. `paced`: granted as slots of time, so ask for no more than can start at once."""

    epoch: Epoch
    n: int
    key: Key = None
    cost: float = 0.0
    paced: bool = False


class PermitsReturned(Message, frozen=True):
    """Stage → Governor: granted and not used. `since_s`: when the stage got the oldest of them; None: just now."""

    stage: Ref
    n: int
    key: Key = None
    cost: float = 0.0
    since_s: float | None = None


class WishesWithdrawn(Message, frozen=True):
    """Stage → Governor: forget what I asked for and did not get; I shall ask anew, in another order."""

    stage: Ref
    key: Key = None


class WishesForgotten(Message, frozen=True):
    """Governor → Stage: `n` permits that you had asked for will not come."""

    n: int
    key: Key = None


class CallsEnded(Message, frozen=True):
    """Stage → Governor: calls on permits of `epoch` have ended, refused ones not among the `answered`.

    `answered` counts every call that the other side dealt with, also by a 400. `failed` names the rows whose calls
    failed for transient reasons. `latency_s` is that of one call; `used` is the number of permits that come free.
    """

    stage: Ref
    epoch: Epoch
    used: int
    answered: int
    failed: tuple[Id, ...] = ()
    latency_s: float = 0.0
    key: Key = None
    heard: tuple[Heard, ...] = ()
    """What some of them were told of quotas."""
    spent: tuple[Spent, ...] = ()
    """What some of them took, by unit."""


# --- what calls hear: quotas and costs, from the call by way of the stage to the governor ---------------------------------


class Refill(enum.StrEnum):
    """How a quota comes back: all of it at its reset (`WINDOW`), bit by bit (`CONTINUOUS`), or nobody knows (`UNSAID`)."""

    WINDOW = "window"
    CONTINUOUS = "continuous"
    UNSAID = "unsaid"


class Quota(msgspec.Struct, frozen=True):
    """A quota, as the headers of an answer tell of it.

    Args:
        unit: "calls", or what else is counted, such as "tokens".
        remaining: So much is left.
        reset_s: Seconds until it is whole again.
        limit: So much it is when it is whole; None where that is not said.
        name: Which one of several of one unit it is.
        within_s: Seconds to which `reset_s` is rounded.
        refill: How it comes back.
        window_s: No more than `limit` are taken in so many seconds, whenever they begin; None where that is not said.
    """

    unit: str
    remaining: float
    reset_s: float
    limit: float | None = None
    name: str = ""
    within_s: float = 0.0
    refill: Refill = Refill.UNSAID
    window_s: float | None = None


class Heard(msgspec.Struct, frozen=True):
    """What a call was told: `began_s`, `at_s`: when it began and when it was told, by the host's clock. `spent`: what it
    took, by unit."""

    seq: Id
    began_s: float
    at_s: float
    quotas: tuple[Quota, ...] = ()
    spent: dict[str, float] = {}


class Spent(msgspec.Struct, frozen=True):
    """So many `calls` took this `amount` of a unit, for which the weights of their rows had `reserved` so much."""

    unit: str
    amount: float
    reserved: float
    calls: int


# --- cooldown: a hit that bears an older epoch is old news (L09) ----------------------------------------------------------


class LimitHit(Control, frozen=True):
    """Stage → Governor: `n` calls on permits of `epoch` were refused, after `took_s` each: what had been sent before was let
    in. `retry_after_s` None: no usable hint came with it."""

    epoch: Epoch
    retry_after_s: float | None
    key: Key = None
    n: int = 1
    took_s: float = 0.0
    doubtful: bool = False
    """They were answers of 503, which may have nothing to do with a limit: then it does not close."""


class TurnedAway(Control, frozen=True):
    """Stage → Governor: `n` calls on permits of `epoch` were answered by an account that is exhausted (L71). `words`: the
    provider's own. None: no usable hint came with it."""

    epoch: Epoch
    n: int
    retry_after_s: float | None
    words: str | None = None
    key: Key = None


class Closure(enum.StrEnum):
    """Why a governor closed."""

    REFUSED = "refused"
    OUTAGE = "outage"
    EXHAUSTED = "exhausted"


class CooldownBegan(Control, frozen=True):
    """Governor → Stages: permits of older epochs are void; give them back. `words`: of an exhausted account, what the other
    side says of it."""

    epoch: Epoch
    until_s: float
    closure: Closure
    key: Key = None
    words: str | None = None


class CooldownEnded(Control, frozen=True):
    """Governor → Stages. `probing`: half open, one call at a time, until `Reopened` or the next `CooldownBegan`."""

    epoch: Epoch
    probing: bool = False
    key: Key = None


class Reopened(Control, frozen=True):
    """Governor → Stages: the probe was answered; the outage is over, or the account has something to spend again."""

    epoch: Epoch
    key: Key = None


class OutageOverdue(Control, frozen=True):
    """Governor → Stages: the other side has been out for longer than the outage deadline."""

    since_s: float


class AccountGivenUp(Control, frozen=True):
    """Governor → Stages: for so many seconds the other side has taken no call of this account, longer than the limit waits
    for it. `words`: the provider's own."""

    since_s: float
    words: str


# --- what is learned of a limit: a prior to its next governor, in this process or in another life of a run -----------------


class Budget(msgspec.Struct, frozen=True):
    """Whose limit it is: that of a stage, or, `shared`, one with a name of its own."""

    name: str
    shared: bool = False


class Prior(msgspec.Struct, frozen=True):
    """What was found out of one budget. `rate`: calls a second; or, where something was stated, a share of it. `sure`: the
    search for it was over. `in_flight`: so many calls at once are what is limited. `chance`: no matter how fast it goes,
    such a share of the calls is refused. `until_s`: it is closed until then, by the host's clock."""

    rate: float | None = None
    sure: bool = True
    in_flight: int | None = None
    chance: float | None = None
    until_s: float | None = None


class Lessons(msgspec.Struct, frozen=True):
    """What was found out of a limit, by key, while so much was `stated` of it (`Terms.said`): of another it says nothing."""

    stated: str
    priors: dict[Key, Prior]


class LearnedWanted(Message, frozen=True):
    """Journal → Governor: what have you found out?"""

    reply_to: Ref


class Learned(Message, frozen=True):
    """Governor → Journal."""

    who: Ref
    lessons: Lessons


# --- work -----------------------------------------------------------------------------------------------------------------


class Assign(Message, frozen=True):
    """Stage → Worker. `id` names the attempt of all its rows: an answer to another id is late news (L05)."""

    id: int
    seqs: Seqs
    values: list[Any]
    attempts: dict[Id, int] | None = None
    states: dict[Id, Any] | None = None
    """Of rows that were pending: what their last call left to the next."""


class Fault(msgspec.Struct, frozen=True):
    """What a call came to that did not answer. `state`: of a pending one, for the call that asks again. `took_s`: how long
    it took, where that is known of it alone."""

    seq: Id
    kind: Kind
    error: BaseException
    retry_after_s: float | None = None
    state: Any = None
    took_s: float | None = None
    words: str | None = None
    """Of an exhausted account, the provider's own code and message."""
    crashed: bool = False
    """The process that made the call has ended in it: that says nothing of the other side."""
    overloaded: bool = False
    """The other side says that it has too much to do, and not when to come again, as a 503 does: it may be a refusal."""


class Answered(Message, frozen=True):
    """Worker → Stage: these rows of the assignment are done with. `unstarted` were not called (L41).

    `complete`: nothing more will come of this assignment. `busy_s`: seconds that its calls took, one after another.
    """

    id: int
    worker: Ref
    seqs: Seqs
    values: list[Any]
    faults: list[Fault]
    unstarted: Seqs
    complete: bool
    busy_s: float
    heard: tuple[Heard, ...] = ()
    """What some of its calls were told of quotas, and what they took."""
    times_s: tuple[float, ...] = ()
    """How long each call took, in the order of `seqs` and then `faults`; empty where that is not known of each of them."""

    @property
    def answer_s(self) -> float:
        """How long those that answered took, in the mean, where there are any."""
        n = len(self.seqs)
        return sum(self.times_s[:n]) / n if self.times_s else self.busy_s / (n + len(self.faults))


class Recall(Control, frozen=True):
    """Stage → Worker: give back what you have not started."""


class CancelCalls(Control, frozen=True):
    """Stage → Worker: end what is under way, as far as that can be done."""


# --- delivery -------------------------------------------------------------------------------------------------------------


class Write(Message, frozen=True):
    """Sink → Writer: a batch, in order: `Rows`, and `Outcomes` where the sink takes them."""

    batch: list[Rows | Outcomes]


class OutOfTurn(Message, frozen=True):
    """Reorder → Sink or Dedupe: these are behind a row that was interrupted, and shall not go on before it: in another life
    of the run, then."""

    seqs: Seqs


class Written(Message, frozen=True):
    """Writer → Sink: the batch in hand is written, but for its `unwritable` rows: those that the sink cannot hold, each with
    the error that says why (L62). `places`: how far, after each part of the batch, where the sink can tell."""

    places: list[Any] | None = None
    unwritable: dict[Id, BaseException] | None = None


class WriteFailed(Message, frozen=True):
    """Writer → Sink: the batch in hand is not, or only partly, written."""

    error: BaseException


class Settled(Message, frozen=True):
    """Any node → Ledger, by way of the journal if there is one: the terminal outcome of rows. Counters are a fold over
    these.

    `sink`: who wrote them, and how far it has then written, as `place`.
    """

    status: Status
    seqs: Seqs
    sink: str | None = None
    place: Any = None


# --- the journal: what must not be done again, durable before it counts ---------------------------------------------------


class Answers(Message, frozen=True):
    """Stage → Journal: what calls answered. `at_s`: when, `took_s`: each of them. `attempts`: as in `Rows`. `values`: as the
    store keeps them. `reply_to`: the stage, if it waits until this is durable, to be told by `Kept`."""

    node: str
    seqs: Seqs
    values: list[Any]
    attempts: dict[Id, int] | None = None
    at_s: float = 0.0
    took_s: float = 0.0
    reply_to: Ref | None = None


class Kept(Message, frozen=True):
    """Journal → Stage: the oldest `n` of your `Answers` are durable."""

    n: int


class Ends(Message, frozen=True):
    """Any node → Journal: rows that end there, and why."""

    node: str
    ended: list[Ended]
    at_s: float = 0.0


class Faulted(Message, frozen=True):
    """Stage → Journal: calls that did not answer. `took_s`: each of them."""

    node: str
    faults: list[Fault]
    at_s: float
    took_s: float


class Metered(Message, frozen=True):
    """Stage → Journal: so much of each unit calls say that they took, whatever came of them."""

    node: str
    spent: dict[str, float]


class Parked(Message, frozen=True):
    """Stage → Journal: a row is pending, and is to be asked about again after so long, with this state."""

    node: str
    seq: Id
    state: Any
    at_s: float
    after_s: float


class Cooled(Message, frozen=True):
    """Stage → Journal: its governor closed, until about `until_s`."""

    node: str
    at_s: float
    until_s: float
    closure: Closure


class LimitLearned(Message, frozen=True):
    """Journal → Keeper, in a commit: what was found out of a limit until `at_s`, in the place of what it was told before."""

    budget: Budget
    lessons: Lessons
    at_s: float = 0.0


class Formed(Message, frozen=True):
    """Batch → Journal: these are batches, whatever else may have come by the time they are gathered again."""

    node: str
    bundles: list[Id]


class Decided(Message, frozen=True):
    """Join → Journal: on each of these rows the word was said with these parts, by their index."""

    node: str
    seqs: list[Id]
    parts: list[tuple[int, ...]]


class Noted(Message, frozen=True):
    """Any node with state → Journal, before anybody hears of these rows: they have had their turn there, the first of them
    as the `turn`-th, and what the node must know again of each, as bytes that only it reads.

    Of rows that are not done it comes back in the next life, and of the last `reach` rows that have had their turn.
    """

    node: str
    turn: int
    seqs: Seqs
    words: list[bytes]
    reach: int


class ReadTo(Message, frozen=True):
    """Source → Journal: all before `row` has been read, and `row` begins at `place`. `ended`: there is none."""

    row: int
    place: Any
    ended: bool = False


class RowsSettled(Control, frozen=True):
    """Ledger → Journal: whole rows, all of whose pieces are settled; they need not be read again."""

    status: Status
    seqs: Seqs


class Commit(Message, frozen=True):
    """Journal → Keeper: make these durable, all or none."""

    entries: list[Any]


class Committed(Message, frozen=True):
    """Keeper → Journal: the commit in hand is durable."""


class CommitFailed(Message, frozen=True):
    """Keeper → Journal: nothing of the commit in hand is."""

    error: BaseException


# --- waiting: every waiter is answered, once for each of its rows -------------------------------------------------------


class Submit(Message, frozen=True):
    """Caller → Desk: rows for `stage`, and whom to tell. A waiter submits once."""

    stage: Ref
    values: list[Any]
    waiter: Ref


class EndOfSubmits(Message, frozen=True):
    """Executor → Desk: that was the last one; end when all are answered."""


class Withdraw(Message, frozen=True):
    """Caller → Desk: nobody waits any more; what has not begun shall not begin."""

    waiter: Ref


class Retract(Message, frozen=True):
    """Desk → Stage: end these rows as dropped where they wait; calls under way go on."""

    seqs: Seqs


class Waited(Message, frozen=True):
    """Replier → waiter: the outcome of the row at `place` in what it submitted."""

    place: int
    status: Status
    value: Any
    error: BaseException | None
    attempts: int


class Deliver(Message, frozen=True):
    """Desk → Replier: tell each waiter, in this order."""

    answers: list[tuple[Ref, Waited]]


class DeliveryDone(Message, frozen=True):
    """Replier → Desk: all were told."""

    replier: Ref


# --- life -----------------------------------------------------------------------------------------------------------------


class Open(Control, frozen=True):
    """Conductor → resource (reader, writer, strategy): prepare."""

    reply_to: Ref


class Opened(Control, frozen=True):
    """Resource → Conductor. `error` is None where it is open."""

    resource: Ref
    error: BaseException | None = None


class Close(Control, frozen=True):
    """Conductor → resource. `complete`: the run ended well, so what was written may take its final name."""

    reply_to: Ref
    complete: bool


class Closed(Control, frozen=True):
    """Resource → Conductor. `error` is None where closing went well."""

    resource: Ref
    error: BaseException | None = None


class Start(Control, frozen=True):
    """Conductor → all: everything is open; begin."""


class Drain(Control, frozen=True):
    """Caller → Conductor → Source: give no more rows; what is under way is finished."""


class Abort(Control, frozen=True):
    """Caller → Conductor → all: stop here. Rows without an outcome are interrupted."""

    reason: str
    error: BaseException | None = None


class Drained(Message, frozen=True):
    """Source, Stage, Reorder, Sink → Conductor: everything that was mine has gone on, and the end was passed on."""

    who: Ref


class Died(Control, frozen=True):
    """Host → parent: a child is gone. `salvage` is what it had finished and not told (see `Worker.salvage`)."""

    who: Ref
    error: BaseException
    salvage: Any = None


class Resting(Control, frozen=True):
    """Source, Stage → Conductor, where a run may be suspended: all that I have is `parked` rows (a source has none, and no
    room for more); None: no longer so."""

    who: Ref
    parked: int | None


class Failing(Control, frozen=True):
    """All → Conductor: the run cannot go on, and why. `drain`: what is under way elsewhere may be finished."""

    who: Ref
    error: BaseException
    drain: bool = False


class Counts(msgspec.Struct, frozen=True):
    """Rows by outcome: the ledger's fold."""

    rows: int = 0
    delivered: int = 0
    dropped: int = 0
    quarantined: int = 0
    failed: int = 0
    interrupted: int = 0


class ErrorGroup(msgspec.Struct, frozen=True):
    """Errors of one type that had one consequence at one place.

    Args:
        what: What came of it: of a row `quarantined`, `failed`, `dropped`; of a call `transient`, `refused` and so on.
        error: The name of the error's type.
        count: How many there were.
        row: The number of the first row that had it, from 0.
        name: That row with its branches, as reports show it.
        message: What the error of that row says, or the provider's own words.
        attempts: How many calls were made for that row.
    """

    what: str
    error: str
    count: int
    row: int
    name: str
    message: str
    attempts: int = 1


class Traffic(msgspec.Struct, frozen=True):
    """What has come to a node and what became of it: `came` + `made` = `went` + `here` + all of the others.

    `made`: identities that begin here: parts of a fork, pieces of a split, batches, what a join makes. `ways`: `went`,
    by edge.
    """

    came: int = 0
    made: int = 0
    went: int = 0
    here: int = 0
    delivered: int = 0
    dropped: int = 0
    quarantined: int = 0
    failed: int = 0
    interrupted: int = 0
    merged: int = 0
    split: int = 0
    batched: int = 0
    ways: dict[str, int] = {}
    errors: tuple[ErrorGroup, ...] = ()
    """Of the rows that ended here in this life of the run, by error."""
    recalled: int = 0
    """Rows that ended here in an earlier life, and are none of those."""

    @property
    def adds_up(self) -> bool:
        """Nothing has been lost on the way, and nothing counted twice."""
        ended = self.delivered + self.dropped + self.quarantined + self.failed + self.interrupted
        lives_on = self.merged + self.split + self.batched
        return self.came + self.made == self.went + self.here + ended + lives_on


class RowsGiven(Message, frozen=True):
    """Source → Ledger: the source has given `total` rows so far."""

    total: int


class MakeDurable(Message, frozen=True):
    """Conductor → Journal: all rows are written; say when all that you were told is durable. Only then may outputs get their
    names: where one has its name, a run that goes on can take nothing of it back. It must not overtake a `Settled`."""

    reply_to: Ref


class MadeDurable(Control, frozen=True):
    """Journal → Conductor: it is. Where it cannot be, there is `Failing`."""


class CloseAccount(Message, frozen=True):
    """Conductor → Ledger: the run is over; what has no outcome now is interrupted. It must not overtake a `Settled`."""

    reply_to: Ref
    complete: bool


class AccountClosed(Control, frozen=True):
    """Ledger → Conductor. `open_rows`: rows that had no outcome."""

    counts: Counts
    open_rows: int


class State(enum.StrEnum):
    """How a run stands. The last five are terminal: entered once (L20)."""

    NEW = "new"
    OPENING = "opening"
    RUNNING = "running"
    DRAINING = "draining"
    CLOSING = "closing"
    COMPLETED = "completed"
    DRAINED = "drained"
    ABORTED = "aborted"
    SUSPENDED = "suspended"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """Whether a run that stands so has ended."""
        return self in (State.COMPLETED, State.DRAINED, State.ABORTED, State.SUSPENDED, State.FAILED)


class RunEnded(Control, frozen=True):
    """Conductor → caller: it is over."""

    state: State
    counts: Counts
    errors: list[BaseException]
    notes: list[str]


class StatisticsWanted(Control, frozen=True):
    """Caller → any actor: answered by the host with `actor.statistics()`."""

    reply_to: Ref


class Statistics(Control, frozen=True):
    """Any actor → caller."""

    who: Ref
    statistics: Any


class SetLimit(Control, frozen=True):
    """Caller → Governor: this limit from now on (`governor.Terms`)."""

    terms: Any
