"""What a run waits for just now, in words that a stranger reads: limits that are closed, and why; else what held it up.

It is told by events, which an observer (`LimitWatch`) keeps in a queue for whoever shows them; that one alone owns what is
known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from headrace.actors.protocol import Closure, State

from ..telemetry import events
from ..telemetry.observer import Observer
from ..text import seconds
from .report import RunReport
from .report_parts import Cause

HELD_UP = 0.5
"""A wait that has taken this share of the time since the last look is worth a word."""
_HELD_UP: dict[Cause, str] = {"permit": "for the limit of", "sink": "for the sink"}


class LimitWatch(Observer):
    """Keeps what happens to limits until somebody asks."""

    def __init__(self) -> None:
        self.heard: SimpleQueue[events.Event] = SimpleQueue()

    def on_cooldown_began(self, event: events.CooldownBegan) -> None:
        self.heard.put(event)

    def on_cooldown_ended(self, event: events.CooldownEnded) -> None:
        self.heard.put(event)

    def on_reopened(self, event: events.Reopened) -> None:
        self.heard.put(event)


class Waiting:
    """It does what the module says. One thread asks it."""

    def __init__(self, watch: LimitWatch) -> None:
        self._watch = watch
        self._closed: dict[tuple[str, object], events.CooldownBegan] = {}
        self._waited: dict[tuple[str, str], float] = {}
        self._at_s = 0.0

    def words(self, report: RunReport, now_s: float) -> str | None:
        """What the run waits for, of which this is the report now; None where it goes on. `now_s`: by the clock of the
        events."""
        self._hear()
        held_up = self._held_up(report)
        if report.state.terminal:
            return None
        if self._closed:
            return self._closing(list(self._closed.values()), now_s)
        if report.state is State.OPENING or report.state is State.NEW:
            return "opening the source and the sinks"
        return held_up

    def _hear(self) -> None:
        while True:
            try:
                event = self._watch.heard.get_nowait()
            except Empty:
                return
            match event:
                case events.CooldownBegan():
                    self._closed[event.stage, event.key] = event
                case events.CooldownEnded() if not event.probing:
                    self._closed.pop((event.stage, event.key), None)
                case events.Reopened():
                    self._closed.pop((event.stage, event.key), None)

    def _closing(self, closed: Sequence[events.CooldownBegan], now_s: float) -> str:
        # What lasts longest is worth the most words.
        worst = max(closed, key=lambda began: (began.closure is not Closure.REFUSED, began.until_s))
        left_s = worst.until_s - now_s
        again = f"for {seconds(left_s)} more" if left_s >= 0.5 else "asking again now"
        if left_s >= 120.0:
            again = f"until {time.strftime('%H:%M:%S', time.localtime(time.time() + left_s))}"
        others = f" (and {len(closed) - 1} other limits)" if len(closed) > 1 else ""
        match worst.closure:
            case Closure.REFUSED:
                return f"waiting for quota of {worst.stage} {again}{others}"
            case Closure.OUTAGE:
                return f"waiting for {worst.stage}: it does not answer; {again}{others}"
            case Closure.EXHAUSTED:
                words = (worst.words or "it takes no call of this account").rstrip(".")
                return f"waiting for the account of {worst.stage}: {words}; {again}{others}"

    def _held_up(self, report: RunReport) -> str | None:
        """What has held up rows for most of the time since the last look."""
        span_s, self._at_s = report.elapsed_s - self._at_s, report.elapsed_s
        found: tuple[float, str] | None = None
        for wait in report.waits:
            key = wait.cause, wait.place
            grown_s = wait.waited_s - self._waited.get(key, 0.0)
            self._waited[key] = wait.waited_s
            if wait.cause in _HELD_UP and span_s > 0.0 and grown_s >= HELD_UP * span_s:
                said = f"waiting {_HELD_UP[wait.cause]} {wait.place}"
                found = max(found or (0.0, ""), (grown_s, said))
        return found[1] if found is not None else None
