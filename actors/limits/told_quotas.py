"""What the other side has told of its quotas, in the headers of answers, and how many permits that leaves. A gate owns it.

An answer says how much of a quota remained when its call was counted, and when the quota is whole again. Between that
moment and now others were granted; so of what may go out now there are two bounds, as long as nobody else draws on the
quota: what remained less what was granted since the call began, at most, and what remained less all calls that were under
way besides, at least. Permits granted are taken off at once, and each further answer moves what is left into its bounds.

How a quota comes back is a matter of its provider (`Refill`):

    WINDOW       all of it, at the reset
    CONTINUOUS   bit by bit, so that it is whole at the reset: a token bucket
    UNSAID       nobody knows: after the reset one call goes ahead, and its answer says how it stands

Resets in whole seconds are rounded up, as most round them, until a call that asked was refused.
Refusals one after another show that the first two were a wrong guess: from then on nothing is guessed (`refused`). A window
whose reset has passed, and of which the answers tell nothing any more, is forgotten.
"""

from __future__ import annotations

import math

from ..protocol import Heard, Quota, Refill, Spent
from .tally import Tally

LONGEST_S = 3_700.0
"""The longest reset that is waited for: an hour, and a little more. After so long one call asks, whatever was told."""
SILENT_MAX = 3
"""So many calls in a row that began after a reset and told nothing: the headers have stopped."""
FULL = 0.9
"""A bucket is never taken for fuller than so much of it: calls that take longer to arrive than others arrive bunched up."""
RESERVE, RESERVE_LEAST, RESERVE_FROM = 0.05, 0.5, 2.0
"""So much of a bucket is left in it, and so much at least, if it holds as much as this: its rate, and what calls take, are
not known exactly."""
WINDOW_MORE, WINDOW_MORE_S = 1.1, 0.25
"""A window that is told is taken to be so much longer: calls take their time to arrive."""
DOUBTS_MAX = 3
"""Refusals of which no more than `TRUST` calls lie between two: it is not as it was guessed."""
TRUST = 1_000
ROUNDING = 1e-6
RATE_NEWS = 0.03
"""How much a report moves what is known of a bucket's rate; the more, the emptier the bucket was."""
EACH_NEWS = 0.1
"""How much a call moves what calls are thought to take."""


class Told:
    """It does what the module says. Times are seconds of `context.now()`."""

    def __init__(self, now: float, out: int, cost_units: frozenset[str], *, spread: bool = False) -> None:
        """`out`: calls under way. `cost_units`: what the rows' weights are counted in. `spread`: what remains goes out
        evenly until the reset."""
        self._from_s = now
        self._out = out
        self.set_terms(cost_units, spread=spread)
        self._grants = Tally()
        self._ends = Tally()
        self._quotas: dict[tuple[str, str], _Known] = {}
        self._each: dict[str, float] = {}
        self._guessing = True
        self._rounds_down = False
        self._doubts = 0
        self._since_doubt = 0
        self._next_at = 0.0
        self._begun = 0
        """Rows whose weights have been taken and whose permits have not."""

    def set_terms(self, cost_units: frozenset[str], *, spread: bool) -> None:
        """The limit has changed; what was told stands."""
        self._cost_units = cost_units
        self._spread = spread

    # --- what is told ---

    def hear(self, heard: Heard, now: float) -> None:
        """A call, which has ended by now, was told how quotas stand."""
        granted_since = self._grants.since(heard.began_s)
        # Itself is one of those that have ended since it began.
        beside = self._out + max(0, self._ends.since(heard.began_s) - 1)
        for told in heard.quotas:
            each = self._each_of(told.unit)
            own = each * (self._grants.since(heard.began_s - (told.window_s or 0.0)) - granted_since)
            low = told.remaining - each * beside
            high = told.remaining - each * granted_since
            known = self._quotas.get((told.unit, told.name))
            if known is None:
                refill = told.refill if self._guessing else Refill.UNSAID
                known = self._quotas[told.unit, told.name] = _Known(told.unit, refill, low, now)
            late_s = told.within_s if self._rounds_down or told.within_s < 0.5 else 0.0
            known.hear(told, heard, low, high, own, now, late_s)

    def ended(self, n: int, heard: tuple[Heard, ...], now: float) -> None:
        """So many calls have ended, and these are all that were told something."""
        self._out = max(0, self._out - n)
        self._since_doubt += n
        self._ends.add(n, now)
        told = {(known.unit, known.name) for each in heard for known in each.quotas}
        for key, known in list(self._quotas.items()):
            if key in told:
                known.silent = 0
            elif known.passed(now):
                known.silent += n
                if known.silent >= SILENT_MAX:
                    del self._quotas[key]
        for each in heard:
            self.hear(each, now)

    def left(self, n: int) -> None:
        """Nobody will hear of so many calls that are under way."""
        self._out = max(0, self._out - n)

    def spent(self, spent: tuple[Spent, ...]) -> None:
        """So much was taken by calls that have ended."""
        for each in spent:
            mean = each.amount / each.calls
            before = self._each.get(each.unit, mean)
            self._each[each.unit] = before + EACH_NEWS * (mean - before)

    def refused(self) -> None:
        """There was less than was thought."""
        self._doubts = self._doubts + 1 if self._since_doubt <= TRUST else 1
        self._since_doubt = 0
        self._guessing = self._guessing and self._doubts < DOUBTS_MAX
        for known in self._quotas.values():
            known.level = min(known.level, 0.0)
            self._rounds_down = self._rounds_down or known.lapsed
            if not self._guessing:
                known.refill = Refill.UNSAID

    # --- what is given ---

    def room(self, now: float) -> float:
        """How many calls may begin now."""
        room = math.inf
        for known in self._quotas.values():
            each = self._each_of(known.unit)
            self._pass_time(known, each, now)
            if known.unit == "calls":
                calls = known.free
            elif known.unit in self._cost_units:
                calls = math.inf if known.free > 0 else 0.0
            elif each:
                # Calls take more, and less, than they do in the mean.
                calls = known.free / each - 1.0
            else:
                calls = math.inf if known.free > 0 else 0.0
            if calls < 1.0 and self._asks(known, self._needs(known, each), now):
                calls = 1.0
            room = min(room, calls)
        if self._spread and self._quotas:
            room = min(room, 1.0 if now >= self._next_at - ROUNDING else 0.0)
        return room + ROUNDING

    def affords(self, cost: float, now: float) -> bool:
        """Whether a row of that weight may go, as far as its weight is concerned; one heavier than all there ever is may go
        once all is there."""
        for known in self._quotas.values():
            if known.unit in self._cost_units:
                self._pass_time(known, self._each_of(known.unit), now)
                asks = not self._begun and self._asks(known, cost, now)
                if not asks and known.free + ROUNDING < known.needed(cost):
                    return False
        return True

    def _asks(self, known: _Known, amount: float, now: float) -> bool:
        """Whether a call may go just to hear how it stands: the first one after the reset, or one while nothing is out and
        time brings no more."""
        if not self._out:
            return known.wait_s(amount, now) <= 0.0
        return known.lapsed and not self._grants.since(known.began_s - ROUNDING)

    @staticmethod
    def _needs(known: _Known, each: float) -> float:
        """What must be free before a call goes whose row has no weight."""
        return 1.0 if known.unit == "calls" else 2.0 * each or ROUNDING

    def _pass_time(self, known: _Known, each: float, now: float) -> None:
        known.pass_time(now, self._out)
        if known.window_s is not None:
            # What was granted before that is counted no more, whatever an answer of long ago has said.
            at_s = now - known.window_s * WINDOW_MORE - WINDOW_MORE_S
            if at_s > self._from_s:
                known.let_go(each * self._grants.since(at_s))

    def took_cost(self, cost: float) -> None:
        """A row of that weight goes."""
        self._begun += 1
        for known in self._quotas.values():
            if known.unit in self._cost_units:
                known.level -= cost
        for unit in self._cost_units:
            self._each.setdefault(unit, cost)

    def took(self, n: int, now: float) -> None:
        """Note that so many permits were granted."""
        if self._spread:
            wait_s = max((known.apart_s(now) for known in self._quotas.values()), default=0.0)
            self._next_at = max(now, self._next_at) + n * wait_s
        self._out += n
        self._begun = 0
        self._grants.add(n, now)
        for known in self._quotas.values():
            if known.unit not in self._cost_units:
                known.level -= n * self._each_of(known.unit)

    def returned(self, n: int, cost: float, now: float) -> None:
        """So many permits have come back that were not used."""
        self._out = max(0, self._out - n)
        # A stage uses its permits in their order, so these are the last.
        self._grants.take_back(n)
        for known in self._quotas.values():
            known.level += cost if known.unit in self._cost_units else n * self._each_of(known.unit)

    def wait_s(self, cost: float, now: float) -> float:
        """Seconds until a row of that weight may go; 0 if it may now, or if only the end of a call can change that."""
        waits = [0.0]
        for known in self._quotas.values():
            known.pass_time(now, self._out)
            if not known.lapsed:
                weighed = known.unit in self._cost_units
                amount = cost if weighed else self._needs(known, self._each_of(known.unit))
                waits.append(known.wait_s(amount, now))
        if self._spread and self._quotas:
            waits.append(self._next_at - now)
        return max(waits)

    def over(self, now: float) -> bool:
        """There is nothing in it that a new one would not do as well."""
        for known in self._quotas.values():
            known.pass_time(now, self._out)
        return all(known.passed(now) for known in self._quotas.values())

    def _each_of(self, unit: str) -> float:
        """What a call takes of a unit; 0: nobody has said."""
        return 1.0 if unit == "calls" else self._each.get(unit, 0.0)


class _Known:
    """One quota. `level`: what may still go out. `began_s`: its last reset, as far as one has been seen. `ends_s`: its next
    reset, at the latest; None: it has passed, and nothing has been told since. `silent`: calls since then that told
    nothing."""

    __slots__ = (
        "_at_s",
        "_each_s",
        "_limit",
        "_missing",
        "_missing_s",
        "_others",
        "_rate",
        "began_s",
        "ends_s",
        "level",
        "refill",
        "silent",
        "unit",
        "window_s",
    )

    def __init__(self, unit: str, refill: Refill, level: float, now: float) -> None:
        self.unit = unit
        self.refill = refill
        self.level = level
        self.began_s = -math.inf
        self.ends_s: float | None = None
        self.silent = 0
        self._limit: float | None = None
        self._rate = self._missing = self._missing_s = 0.0
        self._each_s = 0.0
        self._others = 0.0
        self._at_s = now
        self.window_s: float | None = None

    @property
    def lapsed(self) -> bool:
        """Its reset has come, and how it stands since only a call can tell."""
        known = self._limit is not None and (self.refill is Refill.WINDOW or self._is_bucket)
        return self.ends_s is None and self.began_s > -math.inf and not known

    @property
    def _is_bucket(self) -> bool:
        return self.refill is Refill.CONTINUOUS and self._rate > 0

    def hear(self, told: Quota, heard: Heard, low: float, high: float, own: float, now: float, late_s: float) -> None:
        """It stands so. `low`, `high`: what may go out now, at least and at most. `own`: what of it was granted here, in its
        window. `late_s`: its reset may be so much later."""
        self._limit = told.limit
        self.window_s = told.window_s if told.limit is not None else None
        if told.limit is not None:
            self._others = max(0.0, told.limit - told.remaining - own)
            if self.refill is Refill.CONTINUOUS and self._hear_bucket(told, told.limit, heard, low, high, now):
                return
        reset_s = told.reset_s
        if reset_s > LONGEST_S:
            reset_s, self.refill = LONGEST_S, Refill.UNSAID
        # The call was counted at some time between its beginning and its answer, and resets are rounded, up or down.
        first, last = heard.began_s + reset_s - told.within_s, heard.at_s + reset_s + late_s
        if first <= self.began_s and heard.began_s < self.began_s:
            # Of a window that is over by now.
            return
        self.level = max(min(self.level, high), low)
        if self.ends_s is not None and first > self.ends_s:
            self.began_s, self.ends_s = self.ends_s, last
        else:
            self.ends_s = last if self.ends_s is None else min(self.ends_s, last)

    def _hear_bucket(self, told: Quota, limit: float, heard: Heard, low: float, high: float, now: float) -> bool:
        """Take in what is told of a bucket. The answer is False where nothing is known of its rate."""
        # Most round resets up, and what remains down; and a rate that is a little too low costs less than one too high.
        missing, reset_s = limit - told.remaining - 0.5, told.reset_s - told.within_s * 0.4
        if missing > 0 and reset_s > told.within_s:
            self._missing = self._missing * (1.0 - RATE_NEWS) + missing
            self._missing_s = self._missing_s * (1.0 - RATE_NEWS) + reset_s
            self._rate = self._missing / self._missing_s
        if not self._rate:
            return False
        self.pass_time(now, 0)
        self.level = max(min(self.level, high + self._rate * (now - heard.began_s)), low)
        self.ends_s = now + told.reset_s
        return True

    def pass_time(self, now: float, out: int) -> None:
        """What time alone brings. `out`: calls under way."""
        if self._is_bucket:
            if self.level < self._most:
                self.level = min(self._most, self.level + (now - self._at_s) * self._rate)
        elif self.ends_s is not None and now >= self.ends_s:
            self.began_s, self.ends_s = self.ends_s, None
            # Those under way were sent before the reset, and may be counted after it.
            if self.refill is Refill.WINDOW and self._limit is not None:
                self.level = self._limit - out
            self.silent = 0
        self._at_s = now

    def let_go(self, recent: float) -> None:
        """In the length of its window so much was granted here, and not more."""
        if self._limit is not None:
            self.level = max(self.level, self._limit - self._others - recent)

    def passed(self, now: float) -> bool:
        """Its reset has come, and nothing has been told since."""
        return self.ends_s is None or (self._is_bucket and now > self.ends_s)

    @property
    def free(self) -> float:
        """What of its level may be given."""
        return self.level - self._reserve

    @property
    def _reserve(self) -> float:
        if not self._is_bucket or self._limit is None or self._limit < RESERVE_FROM:
            return 0.0
        return max(self._limit * RESERVE, RESERVE_LEAST)

    def needed(self, amount: float) -> float:
        """What must be free for a row that takes so much."""
        if self._limit is None:
            return amount
        return min(amount, self._most - self._reserve if self._is_bucket else self._limit)

    @property
    def _most(self) -> float:
        """What a bucket is taken to hold when it is full."""
        return max(1.0, (self._limit or 0.0) * FULL)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until it has so much, if nothing is told meanwhile."""
        missing = self.needed(amount) - self.free
        if missing <= ROUNDING:
            return 0.0
        if self._is_bucket:
            return missing / self._rate
        return self.ends_s - now if self.ends_s is not None else 0.0

    def apart_s(self, now: float) -> float:
        """Seconds between two calls that use it evenly."""
        if self.unit != "calls":
            return 0.0
        if self._is_bucket:
            return 1.0 / self._rate
        if self.ends_s is not None:
            self._each_s = max(0.0, self.ends_s - now) / max(self.level, 1.0)
        return self._each_s
