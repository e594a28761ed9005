"""The rate search: how fast to go, learned from what was sent until a refusal, and from how long that closed.

A run goes from an opening to the next refusal; then it is closed for a while. What was sent in a run, by the time of
the run alone, is at least about what the other side allows, since it refused; by the time of the run and of the
closing, it is about at most that: a token bucket saves up meanwhile, and a window of time begins anew with the next
one. The longer a run is against its closing, the closer these two are together.

    RAMP    nothing is paced yet
    FIRST   from a guess, doubled again and again until a refusal
    SECOND  the same more slowly, from below what ended the first; left out where it is said that a refusal closes for long
    HOLD    from the lower of the two bounds to the upper one, which takes the longer the more a refusal costs
    GROWN   nothing refused what is above both: the quota has grown, so as FIRST from here

A rate that was stated begins in HOLD, as its own ceiling, and what is learned is a share of it (L74).
"""

from __future__ import annotations

import enum
import math

import msgspec

START = 0.5
"""Where the first search starts, as a share of the rate up to the first refusal."""
DEAR_S = 0.05
"""Refusals that take longer are dear: many calls are under way when one is told."""
FIRST_DOUBLES_S = 0.5
SECOND_DOUBLES_S = 4.0
GROWN_DOUBLES_S = 1.0
DEAR_DOUBLES_PER_CLOSING = 2.0
"""Where it is said that a refusal closes for long, the first search takes so many times as long, and is as slow as the
second one at most: what ends it then is near enough to the rate to need no second one."""
SHORT_S = 0.1
"""... and where the run before was shorter, it had sent hardly more than what was saved up: it begins lower."""
DEAR_GROWN_PER_CLOSING = 4.0
"""... and what is held doubles so slowly once it is beyond."""
DOUBLES_CALLS = 4.0
"""A doubling takes at least so many times as long as a refusal: what is under way meanwhile is refused too."""
SECOND_PER_CLOSING = 8.0
"""... and the second one so many times what a refusal closes for."""
OVERSHOT = 0.7
"""Where the second search starts, as a share of the rate that ended the first."""
OVERSHOT_SECOND = 0.95
"""The estimate, as a share of the rate that ended the second search, or one that found the quota grown."""
EARLY = 8.0
"""A run that is shorter, against its closing, says that the rate was far above the quota."""
FEW = 10
"""Calls; a run of fewer says little."""
CUT = 0.7
"""Of the rate, what is left at least after a run that says little."""
HOLD_S = 4.0
"""From the lower bound to the upper one, seconds at least, ..."""
HOLD_PER_CLOSING = 20.0
"""... and so many times what a refusal closes for."""
HOLD_CALLS = 200.0
"""... and as long as so many calls take: each time, one of them or two are refused."""
RECALLED_CALLS = 50.0
"""The same of a rate that an earlier search has found."""
EARLY_HOLD_S = 1.0
"""The same where the bounds are wide."""
LEAN, LEAN_UP, LEAN_DOWN = 0.5, 0.3, 0.6
"""Where between the bounds the estimate stands (0: the lower, 1: the upper); how much nearer to the upper one it
comes with each run that went beyond it, and what is left with each that did not get there. A server with a large
burst is at the lower bound."""
REACH = 0.05
"""By which share of the upper bound it goes above it in as much time again, at least."""
DIP = 0.97
"""Where that begins at least, as a share of the upper bound."""
GROWN = 1.02
"""So far above the upper bound, the quota has grown."""
LONG_S = 0.75
"""What closes for longer without saying so is a window of time: its sustained rate counts, not the one in it."""
WINDOW_DIP = 0.98
"""Where to begin, as a share of a window's sustained rate."""
AGREE = 1.3
"""Two windows agree if their rates differ by no more than this factor."""
STEP = 0.002
"""By which share a stated rate that was refused is lowered; three times as much each time that it is refused ..."""
STEADY_S = 5.0
"""... within so many seconds."""
MARGIN, MARGIN_PER_S = 0.05, 0.1
"""By which share the upper bound is kept below what was refused: for each second that it closed, and at most."""
RECENT_S = 0.2
"""What was sent in about that time before a refusal is the upper bound."""
STATED_HOLD_S = 20.0
"""Until a stated rate is tried again as stated, where little is missing to it."""
LITTLE = 0.9
AT_ODDS, BELOW = 4, 0.9
"""So often in a row refused so far below what once went through: it is not the rate that is refused."""
LONG_RUN = 30
"""... without so many calls in between that were not."""
STILL_S, STILL_CALLS = 1.0, 10.0
"""Nobody looks at the time for longer, or for as long as so many calls take, but a process that stands still."""
RATE_MIN, RATE_MAX = 0.01, 1e6


class Phase(enum.Enum):
    """Where the search stands; the module says what each phase does."""

    RAMP = "ramp"
    FIRST = "first"
    SECOND = "second"
    HOLD = "hold"
    GROWN = "grown"


class _Aim(msgspec.Struct, frozen=True):
    """What the rate does from an opening on: doubles from `start` every `over_s`; or, in HOLD, goes from there to
    `goal` in that time, and on."""

    phase: Phase
    start: float
    goal: float
    over_s: float
    grows_s: float = GROWN_DOUBLES_S
    """In HOLD: how fast it doubles once it is beyond."""


class _Run(msgspec.Struct, frozen=True):
    """What was sent in how many seconds, how fast at its end, and in the time just before."""

    sent: float
    seconds: float
    rate: float
    recent: float


class RateSearch:
    """It does what the module says. Rates are in calls a second; or, with `stated_per_s`, as shares of what is stated."""

    def __init__(self, start: float, stated_per_s: float | None = None) -> None:
        self._ceiling = RATE_MAX if stated_per_s is None else 1.0
        self._stated = stated_per_s is not None
        self._few = FEW if stated_per_s is None else FEW / stated_per_s
        phase = Phase.FIRST if stated_per_s is None else Phase.HOLD
        self._aim = self._before = _Aim(phase, start, start, FIRST_DOUBLES_S)
        self._run: _Run | None = None
        self._doubtful: _Run | None = None
        """The run that was just ended, of which it is not known yet whether any call of it was let in."""
        self._refusal_s = 0.0
        self._limited_s = 0.0
        self._seconds = 0.0
        self._sent = 0.0
        self._recent = start
        self._sustained = 0.0
        self._sustained_before = 0.0
        self._steps = self._steps_before = 0
        self._lean = LEAN
        self._floor = self._low = 0.0
        self._calls_at_odds = 0.0
        self._closed = False
        self.at_odds = 0
        """Refusals in a row that contradict what went through before."""
        self.rate = start

    @classmethod
    def after_ramp(cls, sent: int, seconds: float, refusal_s: float) -> RateSearch:
        """Begun by a refusal, when `sent` calls had been let in within so many seconds; to be opened."""
        search = cls(START * sent / seconds)
        search._before = search._aim = _Aim(Phase.RAMP, search.rate, search.rate, FIRST_DOUBLES_S)
        search._refusal_s = refusal_s
        search._run = _Run(sent, seconds, sent / seconds, sent / seconds)
        return search

    @classmethod
    def recalled(cls, rate: float, *, sure: bool, stated_per_s: float | None = None) -> RateSearch:
        """Begun with what an earlier one has found; not `sure`: while it was searching."""
        search = cls(1.0, stated_per_s)
        rate = min(max(rate, RATE_MIN), search._ceiling)
        # It may have changed since: soon find out.
        hold_s = max(HOLD_S, RECALLED_CALLS * search._few / FEW / rate)
        if stated_per_s is not None:
            search._aim = search._hold(rate, rate, search._stated_hold_s(rate, hold_s))
        elif sure:
            search._aim = search._hold(rate, rate, hold_s)
        else:
            search._aim = _Aim(Phase.SECOND, rate, 0.0, SECOND_DOUBLES_S)
        search._before = search._aim
        search._begin_run()
        return search

    @property
    def found(self) -> float:
        """What is to be begun with another time."""
        if self.sure:
            return self._aim.goal
        rate = min(self.rate, self._recent)
        return rate * OVERSHOT if self._closed else rate

    @property
    def sure(self) -> bool:
        """Whether that is more than how far a search has come."""
        return self._aim.phase is Phase.HOLD

    @property
    def _per_s(self) -> float:
        """The rate in calls a second, whether or not it is a share of what was stated."""
        return self.rate * FEW / self._few

    @property
    def odds(self) -> float:
        """Which share of the calls was refused in the runs at odds with what went through before."""
        return self.at_odds / max(self.at_odds + self._calls_at_odds, 1.0)

    def move(self, seconds: float, *, limited: bool) -> None:
        """Time has passed since the opening. Only time in which rows waited for the rate counts: one not used proves
        nothing."""
        # A process that stood still has sent nothing meanwhile.
        seconds = min(seconds, max(STILL_S, STILL_CALLS / self._per_s))
        self._seconds += seconds
        if not limited:
            return
        self._limited_s += seconds
        self._sent += self.rate * seconds
        self._recent += (self.rate - self._recent) * min(1.0, seconds / RECENT_S)
        aim = self._aim
        self.rate = min(max(self._rate_of(aim), RATE_MIN), self._ceiling)
        if aim.phase is Phase.HOLD and self.rate > aim.goal * GROWN:
            self._aim = _Aim(Phase.GROWN, self.rate, aim.goal, aim.grows_s)
            self._limited_s = 0.0

    def was_steady(self, limited_s: float, seconds: float) -> None:
        """So long it went at one rate, `limited_s` of it with rows that waited for it."""
        self._seconds += seconds
        self._sent += self.rate * limited_s

    def _rate_of(self, aim: _Aim) -> float:
        if aim.phase is not Phase.HOLD:
            doubles_s = max(aim.over_s, DOUBLES_CALLS * self._refusal_s)
            return aim.start * math.pow(2.0, min(self._limited_s / doubles_s, 60.0))
        # CUBIC's curve (RFC 9438): steep, flat around the goal, steep again.
        x = self._limited_s / aim.over_s - 1.0
        reach = aim.goal - aim.start if x < 0.0 else max(aim.goal - aim.start, REACH * aim.goal)
        return aim.goal + reach * x * x * x

    def on_refused(self, took_s: float, *, fruitful: bool) -> None:
        """It closes; a call that was refused after `took_s`. Not `fruitful`: as far as is known nothing has gone through
        since it opened, so this belongs to the closing before."""
        self._refusal_s = max(took_s, 0.9 * self._refusal_s)
        seconds = max(self._seconds - took_s, 1e-3)
        run = _Run(max(self._sent - self.rate * took_s, 0.0), seconds, self.rate, self._recent)
        self._doubtful = run
        if fruitful:
            self.on_fruitful()

    def on_fruitful(self) -> None:
        """Calls of the run that was ended by a refusal were let in: their answers may come after it."""
        run, self._doubtful = self._doubtful, None
        if run is None:
            return
        self._closed = True
        self._before = self._aim
        self._run = run
        if self._aim.phase is Phase.GROWN:
            self._lean += LEAN_UP * (1.0 - self._lean)
        elif self._aim.phase is Phase.HOLD and self.rate < self._aim.goal:
            self._lean *= LEAN_DOWN
        self._sustained_before, self._steps_before = self._sustained, self._steps
        self._note_odds(run)

    def _note_odds(self, run: _Run) -> None:
        # Of a quota that stays, what once went through is a lower bound; and one that has shrunk is found in few runs.
        calls = run.sent / self._few * FEW
        self._floor = max(self._low, self._floor)
        if calls >= LONG_RUN:
            self.at_odds, self._calls_at_odds, self._floor = 0, 0.0, 0.0
        elif run.rate < BELOW * self._floor:
            self.at_odds += 1
            self._calls_at_odds += calls

    def forget_run(self) -> None:
        """Calls went out without regard to the rate meanwhile."""
        self._run = self._doubtful = None
        self._hold_on(HOLD_S)

    def begin_anew(self) -> None:
        """A run begins, whatever was before, and what was found is held for as long as it was to be."""
        over_s = self._aim.over_s
        self.forget_run()
        self._hold_on(max(HOLD_S, over_s))
        self._begin_run()

    def _hold_on(self, over_s: float) -> None:
        if self._aim.goal:
            self._aim = self._hold(self._aim.goal, self._aim.goal, over_s)

    def on_opened(self, closed_s: float, last_s: float, *, hinted: bool, refused: int) -> None:
        """After a closing of so long, from the run's end on. It was tried meanwhile, `last_s` ago, and was still
        closed; so it opened at some time since. `refused`: calls that were, to find out."""
        self._doubtful = None
        if self._run is not None:
            if refused > 1:
                closed_s -= last_s / 2.0
            self._aim = self._decide(self._run, self._before, closed_s, hinted=hinted, refused=max(refused, 1))
        self._begin_run()

    def _begin_run(self) -> None:
        self._closed = False
        self._limited_s = self._seconds = self._sent = 0.0
        self.rate = self._recent = min(max(self._rate_of(self._aim), RATE_MIN), self._ceiling)

    def _decide(self, run: _Run, before: _Aim, closed_s: float, *, hinted: bool, refused: int) -> _Aim:
        low = max(run.sent, 0.05 * self._few) / (run.seconds + closed_s)
        mean = run.sent / run.seconds
        self._low = low
        few, early = run.sent < self._few, run.seconds < EARLY * closed_s
        if closed_s - self._refusal_s >= LONG_S and not hinted and not few:
            return self._window(low, closed_s, refused)
        dear = hinted and closed_s >= LONG_S
        hold_s = max(HOLD_S, HOLD_PER_CLOSING * closed_s, HOLD_CALLS * self._few / FEW / run.rate)
        if before.phase is Phase.RAMP:
            # A bucket was full when it began: that went through says nothing of what will.
            self._low = 0.0
            start = self._between(low, mean) if few else max(low, mean * START)
            if dear and not few:
                start = max(low, mean * START * min(1.0, run.seconds / SHORT_S))
                return _Aim(Phase.FIRST, start, 0.0, min(DEAR_DOUBLES_PER_CLOSING * closed_s, SECOND_DOUBLES_S))
            return _Aim(Phase.FIRST, start, 0.0, FIRST_DOUBLES_S)
        if before.phase is Phase.FIRST:
            if few and run.rate > 2.0 * low and run.seconds < 3.0 * closed_s:
                return _Aim(Phase.FIRST, self._between(low, run.rate), 0.0, FIRST_DOUBLES_S)
            if dear:
                # It began below the rate, so that something of it was not used, and ended above, with what was saved up.
                goal = max(low, mean)
                return self._hold(max(low, goal * DIP), goal, hold_s / 2.0, DEAR_GROWN_PER_CLOSING * closed_s)
            doubles_s = max(SECOND_DOUBLES_S, SECOND_PER_CLOSING * closed_s)
            return _Aim(Phase.SECOND, max(low, run.rate * OVERSHOT), 0.0, doubles_s)
        if self._stated and (early or run.rate > LITTLE):
            return self._step_down(run, low, hold_s)
        if early:
            start = max(low, run.rate * CUT)
            return self._hold(start, start, max(EARLY_HOLD_S, hold_s / 4.0))
        if before.phase is Phase.SECOND:
            goal = max(low, run.rate * OVERSHOT_SECOND)
            return self._hold(goal * OVERSHOT_SECOND, goal, hold_s / 2.0)
        goal = max(low, self._upper(run, closed_s))
        goal = low * (goal / low) ** self._lean
        return self._hold(max(low, goal * DIP), goal, hold_s)

    def _upper(self, run: _Run, closed_s: float) -> float:
        """The dearer a refusal is, the further below what was refused."""
        return min(run.recent, run.rate) * (1.0 - min(MARGIN, MARGIN_PER_S * closed_s))

    def _step_down(self, run: _Run, low: float, hold_s: float) -> _Aim:
        """From a stated rate: a little at first, and three times as much each time that this was not enough."""
        steps = self._steps_before + 1 if run.seconds < STEADY_S else 0
        self._steps = steps
        goal = max(low, run.rate * max(1.0 - STEP * 3.0**steps, CUT))
        return self._hold(goal, goal, self._stated_hold_s(goal, hold_s))

    @staticmethod
    def _stated_hold_s(goal: float, hold_s: float) -> float:
        return max(hold_s, STATED_HOLD_S) if goal > LITTLE else hold_s / 4.0

    def _between(self, low: float, high: float) -> float:
        """Where to look between bounds that are far apart: in the middle of their ratio, or nearer to the lower one."""
        return float(low * (max(high, low) / low) ** (0.5 / (1.0 + self._refusal_s / DEAR_S)))

    def _window(self, low: float, closed_s: float, refused: int) -> _Aim:
        before = self._sustained_before
        agrees = before / AGREE < low < before * AGREE
        self._sustained = low
        # The first one may have been a part of one only, or no window at all: find out soon.
        over_s = max(HOLD_S, HOLD_CALLS * self._few / FEW * refused / low) if agrees else max(1.0, closed_s / 2.0)
        return _Aim(Phase.HOLD, low * WINDOW_DIP, low, over_s, max(GROWN_DOUBLES_S, closed_s / 2.0))

    def _hold(self, start: float, goal: float, over_s: float, grows_s: float = GROWN_DOUBLES_S) -> _Aim:
        return _Aim(Phase.HOLD, start, goal, over_s, grows_s)
