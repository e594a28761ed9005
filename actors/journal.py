"""The journal: what happened goes through it, and counts when it is durable.

Told: `Answers`, `Ends`, `Faulted`, `Metered`, `Parked`, `Cooled`, `Formed`, `Decided` and `Noted` by nodes, `ReadTo` by the
source, `Settled` by sinks and by nodes where rows end, `RowsSettled` and `AccountClosed` by the ledger, `Committed` and
`CommitFailed` by its keeper (a resource that may block), `MakeDurable` and `CloseAccount` by the conductor, `Learned` by
governors. Tells: `Commit` to the keeper, `Settled` and `CloseAccount` to the ledger, `Kept` to stages that wait,
`LearnedWanted` to governors, `MadeDurable`, `AccountClosed` and `Failing` to the conductor.

Promises: what is told first is durable first, and nothing without all that was told before it. One commit is under way at a
time, of all that has come; the first of it waits `within_s` at most. The ledger hears of an outcome only when it is
durable: so rows that are not are in the window, and a slow disk slows the source. The account is closed when the rest is
durable.

What governors have found out is theirs; the journal asks for it while there is something to commit, every `LEARNED_EVERY_S`,
and when the account is to be closed, however the run ended. Then it waits for their word, but not for long: what it has is
older then, and no less right.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref, Timer
from .protocol import Budget, Lessons, Message
from .states import StateMachine, Table

COMMIT_ROWS = 2048
"""So many rows are committed at once, also where the first of them could wait."""


LEARNED_EVERY_S = 2.0
"""So much of what was found out of a limit a kill may take back."""
LEARNED_WITHIN_S = 1.0
"""At the end, governors are waited for no longer; they never wait for anybody, so who has not answered is dead."""


class StoreState(Enum):
    """What the keeper does: nothing, commit entries, or nothing ever again since a commit has failed."""

    IDLE = auto()
    COMMITTING = auto()
    BROKEN = auto()


STORE_STATES: Table[StoreState] = MappingProxyType(
    {
        StoreState.IDLE: frozenset({StoreState.COMMITTING}),
        StoreState.COMMITTING: frozenset({StoreState.IDLE, StoreState.BROKEN}),
        StoreState.BROKEN: frozenset(),
    }
)


class AccountState(Enum):
    """How far the closing of the account has come.

    OPEN: it is not asked for. CLOSING: all must be durable first, and governors are heard. ASKED: the ledger is. CLOSED: the
    conductor knows.
    """

    OPEN = auto()
    CLOSING = auto()
    ASKED = auto()
    CLOSED = auto()


ACCOUNT_STATES: Table[AccountState] = MappingProxyType(
    {
        AccountState.OPEN: frozenset({AccountState.CLOSING}),
        AccountState.CLOSING: frozenset({AccountState.ASKED}),
        AccountState.ASKED: frozenset({AccountState.CLOSED}),
        AccountState.CLOSED: frozenset(),
    }
)


class JournalStatistics(msgspec.Struct, frozen=True):
    """`entries` that are durable, in `commits`; `pending` ones are not yet."""

    entries: int
    commits: int
    pending: int


class _Due(protocol.Control, frozen=True):
    pass


class _Unanswered(protocol.Control, frozen=True):
    pass


Entry = (
    protocol.Answers
    | protocol.Ends
    | protocol.Faulted
    | protocol.Metered
    | protocol.Parked
    | protocol.Cooled
    | protocol.Formed
    | protocol.Decided
    | protocol.Noted
    | protocol.ReadTo
    | protocol.Settled
    | protocol.RowsSettled
    | protocol.LimitLearned
)
Told = (
    Entry
    | protocol.Learned
    | _Unanswered
    | protocol.Committed
    | protocol.CommitFailed
    | protocol.MakeDurable
    | protocol.CloseAccount
    | protocol.AccountClosed
    | protocol.Start
    | protocol.Abort
    | _Due
)


class Journal(Actor):
    """It does what the module says. `within_s`: how long an entry may wait for others; 0: not at all. `governors`: whose
    lessons are kept, each with what it is known by; `learned`: what is kept of them already; `learned_within_s`: see
    `LEARNED_WITHIN_S`."""

    def __init__(
        self,
        keeper: Ref,
        ledger: Ref,
        conductor: Ref,
        within_s: float,
        governors: Mapping[Ref, Budget] | None = None,
        learned: Mapping[Budget, Lessons] | None = None,
        learned_within_s: float = LEARNED_WITHIN_S,
    ) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self._conductor = conductor
        self._within_s = within_s
        self._pending: list[Entry] = []
        self._rows = 0
        self._under_way: list[Entry] = []
        self._timer: Timer | None = None
        """Of the oldest entry that waits for others."""
        self._store = StateMachine("the keeper of a journal", STORE_STATES, StoreState.IDLE)
        self._account = StateMachine("the account of a journal", ACCOUNT_STATES, AccountState.OPEN)
        self._awaited: Ref | None = None
        """Who is to be told when nothing waits any more."""
        self._closing: protocol.CloseAccount | None = None
        self._closed: protocol.AccountClosed | None = None
        self._entries = 0
        self._commits = 0
        self._governors = dict(governors or {})
        self._learned = {budget for budget, lessons in (learned or {}).items() if lessons.priors}
        self._learned_within_s = learned_within_s
        self._unheard: set[Ref] = set()
        """Governors that were asked, and have not answered."""
        self._asked_at_s = 0.0

    def start(self, context: Context) -> None:
        super().start(context)
        self._asked_at_s = context.now()

    def receive(self, message: Told) -> None:
        match message:
            case protocol.Answers() | protocol.Settled() | protocol.Noted():
                self._note(message, len(message.seqs))
            case protocol.Committed():
                self._on_committed()
            case protocol.CommitFailed(error):
                self._on_commit_failed(error)
            case _Due():
                self._timer = None
                self._commit()
            case protocol.MakeDurable(reply_to):
                self._awaited = reply_to
                self._go_on()
            case protocol.CloseAccount():
                self._closing = message
                self._account.go(AccountState.CLOSING)
                if self._governors and self._store.now is not StoreState.BROKEN:
                    self._ask_what_was_learned()
                    self.context.after(self._learned_within_s, _Unanswered())
                self._go_on()
            case protocol.Learned(who, lessons):
                self._on_learned(who, lessons)
            case _Unanswered():
                self._unheard.clear()
                self._go_on()
            case protocol.AccountClosed():
                self._closed = message
                self._go_on()
            case protocol.Start() | protocol.Abort():
                pass
            case (
                protocol.RowsSettled()
                | protocol.ReadTo()
                | protocol.Formed()
                | protocol.Decided()
                | protocol.Ends()
                | protocol.Faulted()
                | protocol.Metered()
                | protocol.Parked()
                | protocol.Cooled()
                | protocol.LimitLearned()
            ):
                self._note(message, 1)
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _note(self, entry: Entry, rows: int) -> None:
        if self._store.now is StoreState.BROKEN:
            # It never counts: the row is interrupted, and will be done again.
            return
        self._pending.append(entry)
        self._rows += rows
        # What a call took can wait for what came of it, which is told next.
        at_once = self._within_s <= 0.0 and not isinstance(entry, protocol.Metered)
        if self._rows >= COMMIT_ROWS or at_once or self._account.now is not AccountState.OPEN:
            self._commit()
        elif self._timer is None and self._store.now is StoreState.IDLE:
            self._timer = self.context.after(self._within_s, _Due())

    def _commit(self) -> None:
        if self._store.now is not StoreState.IDLE or not self._pending:
            return
        self._store.go(StoreState.COMMITTING)
        self._under_way, self._pending = self._pending, []
        self._rows = 0
        self.context.tell(self._keeper, protocol.Commit(list(self._under_way)))

    def _on_committed(self) -> None:
        self._store.go(StoreState.IDLE)
        durable, self._under_way = self._under_way, []
        self._entries += len(durable)
        self._commits += 1
        kept: dict[Ref, int] = {}
        for entry in durable:
            if isinstance(entry, protocol.Settled):
                self.context.tell(self._ledger, entry)
            elif isinstance(entry, protocol.Answers) and entry.reply_to is not None:
                kept[entry.reply_to] = kept.get(entry.reply_to, 0) + 1
        for stage, n in kept.items():
            self.context.tell(stage, protocol.Kept(n))
        if (
            self.context.now() - self._asked_at_s >= LEARNED_EVERY_S
            and self._account.now is AccountState.OPEN
            and not all(isinstance(entry, protocol.LimitLearned) for entry in durable)
        ):
            self._ask_what_was_learned()
        self._go_on()

    def _on_commit_failed(self, error: BaseException) -> None:
        self._store.go(StoreState.BROKEN)
        self._pending = []
        self._under_way = []
        self._unheard.clear()
        self.context.tell(self._conductor, protocol.Failing(self.context.me, error))
        self._go_on()

    def _ask_what_was_learned(self) -> None:
        self._asked_at_s = self.context.now()
        for governor in self._governors:
            # Who has not answered yet will tell what it knows then.
            if governor not in self._unheard:
                self._unheard.add(governor)
                self.context.tell(governor, protocol.LearnedWanted(self.context.me))

    def _on_learned(self, who: Ref, lessons: Lessons) -> None:
        self._unheard.discard(who)
        budget = self._governors[who]
        if lessons.priors or budget in self._learned:
            # Where all is forgotten again, that is news, too.
            self._learned.add(budget)
            self._note(protocol.LimitLearned(budget, lessons, self.context.now()), 0)
        if self._account.now is not AccountState.OPEN:
            self._go_on()

    def _go_on(self) -> None:
        """What came meanwhile has waited long enough; when nothing is left, the account is closed."""
        self._commit()
        if self._store.now is StoreState.COMMITTING:
            return
        if self._awaited is not None and self._store.now is StoreState.IDLE:
            self.context.tell(self._awaited, protocol.MadeDurable())
            self._awaited = None
        if self._closing is None or self._unheard:
            return
        if self._account.now is AccountState.CLOSING:
            self._account.go(AccountState.ASKED)
            self.context.tell(self._ledger, protocol.CloseAccount(self.context.me, self._closing.complete))
        elif self._account.now is AccountState.ASKED and self._closed is not None:
            self._account.go(AccountState.CLOSED)
            self.context.tell(self._closing.reply_to, self._closed)

    def statistics(self) -> JournalStatistics:
        pending: list[Any] = self._pending + self._under_way
        return JournalStatistics(self._entries, self._commits, len(pending))
