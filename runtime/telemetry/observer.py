"""Observers: who is told what happens in a run, and takes no part in it.

This listens at the actors of a run: each message that means something to an observer is told to it as an event, in the
order in which the actor got it. Observers of the user's live in an actor of their own, so that what they do there holds up
nobody, and what they raise is logged and goes no further. Where nobody observes a kind of message, nothing is done about it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from loguru import logger

from headrace.actors import protocol
from headrace.actors.actor import Actor
from headrace.actors.errors import InternalError
from headrace.actors.rows.identity import row_of, show

from ..errors import ConfigError
from ..hosts.port import Address
from ..text import traceback_of
from . import events
from .events import Event

BACKLOG_MAX = 10_000
"""Events that may wait for slow observers; what comes beyond is counted, and not told."""
PAUSE_S = 0.02
"""Observers hear of what happens so late at most, when they are not slow themselves."""


class Observer:
    """Base class of observers: override the methods whose events you want to hear of. Each is given one event.

    All observers of a run are called on one thread of their own, one event after another. An event that they raise for is
    logged and lost to that observer alone. Observers that are too slow miss events, which `on_events_missed` tells.

    Examples:
        >>> class Quarantined(Observer):
        ...     def on_row_ended(self, event):
        ...         print(event.stage, event.status.value, event.error)
        >>> quiet = Pipeline().source(["12", "twelve"]).map(int).sink(lambda row: None)
        >>> report = quiet.run(observers=[Quarantined()])
        int quarantined invalid literal for int() with base 10: 'twelve'
    """

    def on_run_began(self, event: events.RunBegan) -> None:
        """The run has begun: it has an `id`, and the name of its pipeline."""

    def on_rows_read(self, event: events.RowsRead) -> None:
        """The source has read rows: how many, how many of them could not be read, and whether they were the last."""

    def on_calls_began(self, event: events.CallsBegan) -> None:
        """A worker of a stage was given rows to call its function with."""

    def on_calls_ended(self, event: events.CallsEnded) -> None:
        """Calls of a stage have ended: how many were answered, which have failed and how, and how long they took."""

    def on_row_ended(self, event: events.RowEnded) -> None:
        """A row will not be delivered: which, at which stage, how it ended, and why."""

    def on_rows_settled(self, event: events.RowsSettled) -> None:
        """Rows have come to their end: how many, and which."""

    def on_cooldown_began(self, event: events.CooldownBegan) -> None:
        """A limit lets no calls go, until when, and why."""

    def on_cooldown_ended(self, event: events.CooldownEnded) -> None:
        """A limit lets calls go again."""

    def on_reopened(self, event: events.Reopened) -> None:
        """An outage is over, or an account has something to spend again."""

    def on_committed(self, event: events.Committed) -> None:
        """The journal has made durable what it was told."""

    def on_run_stopping(self, event: events.RunStopping) -> None:
        """The run was told to drain or to abort."""

    def on_run_ended(self, event: events.RunEnded) -> None:
        """The run is over: how it ended, with its counts and errors. This is the last event."""

    def on_events_missed(self, event: events.EventsMissed) -> None:
        """Events were not told, since the observers were too slow: how many."""


HOOKS: dict[type[Event], str] = {
    events.RunBegan: "on_run_began",
    events.RowsRead: "on_rows_read",
    events.CallsBegan: "on_calls_began",
    events.CallsEnded: "on_calls_ended",
    events.RowEnded: "on_row_ended",
    events.RowsSettled: "on_rows_settled",
    events.CooldownBegan: "on_cooldown_began",
    events.CooldownEnded: "on_cooldown_ended",
    events.Reopened: "on_reopened",
    events.Committed: "on_committed",
    events.RunStopping: "on_run_stopping",
    events.RunEnded: "on_run_ended",
    events.EventsMissed: "on_events_missed",
}
"""Which method of an observer an event goes to."""


def check_observers(observers: Iterable[Any]) -> tuple[Observer, ...]:
    """Raises `ConfigError` for what is no observer."""
    given = tuple(observers) if isinstance(observers, Iterable) else (observers,)
    for observer in given:
        if not isinstance(observer, Observer):
            name = observer.__name__ if isinstance(observer, type) else type(observer).__name__
            mend = f"; give {name}()" if isinstance(observer, type) else "; derive it from headrace.Observer"
            raise ConfigError(f"observers: {name} is no Observer{mend}")
    return given


def _read(at_s: float, name: str, message: protocol.ReadDone) -> Iterable[Event]:
    yield events.RowsRead(at_s, len(message.values), message.bad, message.ended)


def _assigned(at_s: float, name: str, message: protocol.Assign) -> Iterable[Event]:
    yield events.CallsBegan(at_s, name, len(message.seqs))


def _answered(at_s: float, name: str, message: protocol.Answered) -> Iterable[Event]:
    if message.values or message.faults:
        faults = tuple(events.CallFault(row_of(fault.seq), fault.kind, fault.error) for fault in message.faults)
        n = len(message.values)
        yield events.CallsEnded(at_s, name, n, faults, message.busy_s, message.seqs, message.times_s)


def _rows_ended(at_s: float, name: str, message: protocol.RowsEnded) -> Iterable[Event]:
    for end in message.ended:
        yield events.RowEnded(at_s, end.stage, row_of(end.seq), show(end.seq), end.status, end.error, end.attempts)


def _settled(at_s: float, name: str, message: protocol.Settled) -> Iterable[Event]:
    yield events.RowsSettled(at_s, message.status, len(message.seqs), message.sink)


def _closed(at_s: float, name: str, message: protocol.CooldownBegan) -> Iterable[Event]:
    yield events.CooldownBegan(at_s, name, message.closure, message.epoch, message.until_s, message.key, message.words)


def _opened(at_s: float, name: str, message: protocol.CooldownEnded) -> Iterable[Event]:
    yield events.CooldownEnded(at_s, name, message.epoch, message.probing, message.key)


def _reopened(at_s: float, name: str, message: protocol.Reopened) -> Iterable[Event]:
    yield events.Reopened(at_s, name, message.epoch, message.key)


def _committed(at_s: float, name: str, message: protocol.Committed) -> Iterable[Event]:
    yield events.Committed(at_s)


def _draining(at_s: float, name: str, message: protocol.Drain) -> Iterable[Event]:
    yield events.RunStopping(at_s, "drain", None)


def _aborting(at_s: float, name: str, message: protocol.Abort) -> Iterable[Event]:
    yield events.RunStopping(at_s, "abort", message.reason)


def _ended(at_s: float, name: str, message: protocol.RunEnded) -> Iterable[Event]:
    yield events.RunEnded(at_s, message.state, message.counts, tuple(message.errors))


Translation = Callable[[float, str, Any], Iterable[Event]]

TRANSLATIONS: dict[str, dict[type, tuple[type[Event], Translation]]] = {
    "source": {protocol.ReadDone: (events.RowsRead, _read)},
    "worker": {protocol.Assign: (events.CallsBegan, _assigned)},
    "stage": {
        protocol.Answered: (events.CallsEnded, _answered),
        protocol.CooldownBegan: (events.CooldownBegan, _closed),
        protocol.CooldownEnded: (events.CooldownEnded, _opened),
        protocol.Reopened: (events.Reopened, _reopened),
    },
    "node": {protocol.RowsEnded: (events.RowEnded, _rows_ended)},
    "ledger": {protocol.Settled: (events.RowsSettled, _settled)},
    "journal": {protocol.Committed: (events.Committed, _committed)},
    "conductor": {
        protocol.Drain: (events.RunStopping, _draining),
        protocol.Abort: (events.RunStopping, _aborting),
    },
    "caller": {protocol.RunEnded: (events.RunEnded, _ended)},
}
"""What a message means that comes to an actor of this role: the kind of event, and what makes one of it."""


class _Seen(protocol.Control, frozen=True):
    """Observers → Announcer: something has happened. `now`: tell of it at once, since nothing comes after it."""

    now: bool = False


class _PauseOver(protocol.Control, frozen=True):
    pass


class Announcer(Actor):
    """Tells the observers of the user's. `handled`: events that it has told.

    It is woken once for all that happens within `PAUSE_S`: to wake a thread for each event would cost more than the event.
    """

    blocks = True

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._events: deque[Event] = deque()
        self._awake = False
        self.handled = 0

    def add(self, event: Event) -> bool:
        """An event that has happened, from any thread. True: it is to be woken."""
        self._events.append(event)
        if self._awake:
            # It looks at the events after it has said that it sleeps, so it finds this one.
            return False
        self._awake = True
        return True

    def receive(self, message: _Seen | _PauseOver) -> None:
        if isinstance(message, _Seen) and not message.now:
            self.context.after(PAUSE_S, _PauseOver())
            return
        self._awake = False
        self._tell_all()

    def ended(self) -> None:
        # What happened since it was woken last; not each observer wants to know of the run's end, which would wake it.
        self._tell_all()

    def _tell_all(self) -> None:
        while self._events:
            tell(self._observers, self._events.popleft())
            self.handled += 1


def tell(observers: Iterable[Observer], event: Event) -> None:
    """Call the method of each observer that is for such an event."""
    hook = HOOKS[type(event)]
    for observer in observers:
        try:
            getattr(observer, hook)(event)
        except BaseException as error:
            with contextlib.suppress(BaseException):
                logger.warning("the observer {} raised in {}: {}", type(observer).__name__, hook, traceback_of(error))


class Observers:
    """Listens at the actors of one run. `own`: observers that are called where the message comes, so they must be quick;
    `others`: those of the user's, which the `announcer` tells."""

    def __init__(
        self,
        now: Callable[[], float],
        own: Sequence[Observer] = (),
        others: Sequence[Observer] = (),
    ) -> None:
        self._now = now
        self._own = own
        self._others = others
        self._announcer: Announcer | None = None
        self._address: Address | None = None
        self._sent = self._missed = 0
        wanted = {kind for kind, hook in HOOKS.items() if any(map(_overrides(hook), (*own, *others)))}
        self._tables = {
            role: {message: of for message, (kind, of) in table.items() if kind in wanted}
            for role, table in TRANSLATIONS.items()
        }

    @property
    def others(self) -> Sequence[Observer]:
        """The observers that the user gave."""
        return self._others

    def announce_by(self, announcer: Announcer, address: Address) -> None:
        """The actor that tells the user's observers, and its address."""
        self._announcer, self._address = announcer, address

    def listen(self, actor: Actor, role: str, name: str) -> Actor:
        """The actor, heard of by them from now on if an observer wants to know what comes to one of this role."""
        table = self._tables[role]
        if table:
            receive, hear = actor.receive, self._hear

            def heard(message: Any) -> None:
                translated = table.get(type(message))
                if translated is not None:
                    hear(translated, name, message)
                receive(message)

            actor.receive = heard  # type: ignore[method-assign]
        return actor

    def _hear(self, of: Translation, name: str, message: object) -> None:
        try:
            for event in of(self._now(), name, message):
                self.tell(event)
        except Exception as error:
            # Whatever is wrong with what was to be told, the run goes on.
            with contextlib.suppress(BaseException):
                logger.warning("{}: what came could not be told to observers: {}", name, traceback_of(error))

    def address(self, role: str) -> Address | None:
        """Where messages of this role may be sent for them alone; None where nobody wants to know."""
        return cast(Address, _Ear(self, role)) if self._tables[role] else None

    def hear(self, role: str, message: object) -> None:
        """A message that comes to nobody else."""
        translated = self._tables[role].get(type(message))
        if translated is not None:
            self._hear(translated, role, message)

    def tell(self, event: Event) -> None:
        """Tell the observers of an event."""
        tell(self._own, event)
        if self._address is None or self._announcer is None:
            return
        if self._sent - self._announcer.handled >= BACKLOG_MAX and not isinstance(event, events.RunEnded):
            self._missed += 1
            return
        if self._missed:
            missed, self._missed = self._missed, 0
            self._put(events.EventsMissed(event.at_s, missed))
        self._put(event)

    def _put(self, event: Event) -> None:
        if self._address is None:
            raise InternalError("there is an announcer")
        self._sent += 1
        last = isinstance(event, events.RunEnded)
        if (self._announcer is not None and self._announcer.add(event)) or last:
            self._address.put(_Seen(now=last))


class _Ear:
    """A ref that only they hear of."""

    __slots__ = ("_observers", "_role", "name")

    def __init__(self, tap: Observers, role: str) -> None:
        self.name = f"observers of {role}"
        self._observers = tap
        self._role = role

    def put(self, message: object, /) -> None:
        self._observers.hear(self._role, message)


def _overrides(hook: str) -> Callable[[Observer], bool]:
    plain = getattr(Observer, hook)
    return lambda observer: getattr(type(observer), hook) is not plain
