"""How fast to go: what a gate learns from answers and refusals.

Until the first refusal, a window of calls of which it is not known whether they were let in, that grows as they are:
TCP's slow start (RFC 5681, with the initial window of RFC 6928). A call is known to have been let in when it is
answered, or when it is older than a refusal takes; so slow calls are not begun slowly. Nothing is paced, so that a
fast function is not slowed down.

The first refusal says that there is a limit, not yet which. From there on calls are paced by a rate search
(`rate.py`); if their number in flight turns out to be what is limited (`in_flight.py`), by that. What was stated is
where the search begins, and its ceiling (L74).

After a closing in which nothing went through, one call goes out to see whether it is over.

Some refuse by chance, whatever the rate. Then pacing only costs: calls go out unpaced, and wait as long as a refusal
asks for.
"""

from __future__ import annotations

import math

from ..errors import InternalError
from ..protocol import Prior
from .in_flight import ALIKE, InFlight
from .rate_search import AT_ODDS, FEW, START, RateSearch
from .tally import ROUNDING, Tally
from .token_bucket import TokenBucket

INITIAL_WINDOW = 10
"""Calls in flight at the start (RFC 6928)."""
LOCAL_S = 0.002
"""Calls that take less are no remote ones: the window doubles with each answered round, however short."""
WINDOW_DOUBLES_S = 0.05
"""Otherwise it doubles in this time at most: whatever the quota is, what is in flight when it is met will be
refused."""
LET_IN_S = 0.5
"""A call that is older was let in, as long as nothing is known of how long a refusal takes."""
LET_IN_GROWTH = 0.5
"""What such a call adds to the window; an answered one may add 1."""
REFUSAL_MARGIN, REFUSAL_MARGIN_S = 1.25, 0.01
"""Where something is known of it, by how much older a call must be."""
BURST_S = 0.02
"""A stated rate's default burst, as seconds of it: makes up for a late timer, too little to be noticed (L55)."""
LEARNED_BURST_S = 0.001
"""The same of a learned rate, where that is worth half a call: nobody said that the other side allows a burst."""
BEGINS_S, BEGINS_SHARE = 0.005, 0.1
"""A call begins within so many seconds of its permit, or within such a share of what it takes."""
UNPACED_RUNS = 64
"""For so many refusals calls go unpaced, once it was seen that the rate is not what is refused."""
FRUITLESS = 4
"""... or so often nothing goes through at all, which is no chance."""
OVER_CALLS = 300
"""... or, where it is not sure that they are refusals, so many calls are well in between."""
WORSE, WORSE_BY = 3.0, 0.1
"""... unless so many more of them are refused than when they were paced."""


def small_burst(rate_per_s: float) -> float:
    """The default burst of a rate: 20 ms of it, at least one call."""
    return max(1.0, rate_per_s * BURST_S)


def learned_burst(rate_per_s: float) -> float:
    """The burst of a rate that was refused."""
    late = rate_per_s * LEARNED_BURST_S
    return 1.0 + (late if late >= 0.5 else 0.0)


class Pace:
    """One gate's knowledge. Times are `context.now()` seconds. `stated_per_s`: the slowest rate that was stated, if
    any."""

    def __init__(self, window: float, now: float, stated_per_s: float | None = None) -> None:
        self.window = window
        """Calls at most of which it is not known whether they were let in; infinite where the user stated the limit."""
        self._bucket: TokenBucket | None = None
        self.in_flight = InFlight(ALIKE if stated_per_s is None else 2 * ALIKE)
        self._stated_per_s = stated_per_s
        self._search = RateSearch(1.0, stated_per_s) if stated_per_s is not None else None
        self._refused = False
        self._steady_s = self._steady_limited_s = 0.0
        self._sent = Tally()
        self._ended = Tally()
        self._aged = 0
        self._probe: int | None = None
        """How many calls had been sent before the one that goes out to see."""
        self._refusal_s: float | None = None
        self._latency_s = 0.0
        self._moved_at = now
        self._run_began = now
        self._run_sent = 0
        self._run_answered = 0
        self._idle_s = 0.0
        self._began = now
        self._ramp_out = 0
        self._ramp = (0, 0.0)
        """Calls that were let in until the first refusal, in how many seconds."""
        self._paced_share = 1.0
        self._unpaced = 0
        self._unpaced_next = UNPACED_RUNS
        self._unpaced_sent = self._unpaced_refused = 0
        self._chance_at = 0
        """How many calls had been sent when the last one was refused by chance."""
        self._trusted = AT_ODDS

    def recall(self, prior: Prior, now: float) -> None:
        """Begin with what an earlier one has found out."""
        if prior.in_flight is not None:
            self.in_flight.recall(prior.in_flight, now)
            self._refused = True
        if prior.chance is not None:
            self._go_unpaced(prior.chance)
            self._refused = True
        elif prior.rate is not None:
            self._search = RateSearch.recalled(prior.rate, sure=prior.sure, stated_per_s=self._stated_per_s)
            self._refused = True
            if self._stated_per_s is None:
                rate = self._search.rate
                self._bucket = TokenBucket(rate, learned_burst(rate), now)
                self._bucket.empty(now)

    @property
    def prior(self) -> Prior | None:
        """What the next one is to begin with; None: nothing is known of the other side but what was stated."""
        if self._unpaced:
            return Prior(chance=self._paced_share, in_flight=self.in_flight.found)
        let_in, seconds = max(self._ramp[0], self._run_answered), self._ramp[1]
        rate, sure = None, True
        if self._search is not None:
            if self._stated_per_s is None or self._search.found < 1.0:
                rate, sure = self._search.found, self._search.sure
        elif let_in and seconds:
            # Refused for the first time, and not open again.
            rate, sure = START * let_in / seconds, False
        if rate is None and self.in_flight.limit is None:
            return None
        return Prior(rate, sure, self.in_flight.found)

    @property
    def bucket(self) -> TokenBucket | None:
        """None until a rate is learned that was not stated, and while it is not the rate that is limited."""
        return self._bucket if self.in_flight.limit is None else None

    @property
    def share(self) -> float:
        """Of a stated rate, how much of it to use."""
        return self._search.rate if self._search is not None and self._stated_per_s is not None else 1.0

    @property
    def refused(self) -> bool:
        """Whether a call was ever refused."""
        return self._refused

    @property
    def learned(self) -> bool:
        """Whether anything is known of the other side but what was stated."""
        return self._bucket is not None or self.in_flight.limit is not None or self._unpaced > 0 or self.share < 1.0

    # --- calls ---

    def on_sent(self, n: int, now: float) -> None:
        """Permits for so many calls have gone out."""
        self._sent.add(n, now)

    def on_returned(self, n: int) -> None:
        """So many of them were not used."""
        self._sent.take_back(n)

    def on_ended(self, used: int, answered: int, *, of_run: bool, in_use: int, latency_s: float, now: float) -> None:
        """`used` calls are over, of which `answered` were let in; in `latency_s` each, while `in_use` permits were
        out. `of_run`: they were sent since it opened last."""
        self._ended.add(used, now)
        if not answered:
            return
        self._latency_s += 0.2 * (latency_s - self._latency_s)
        if of_run:
            self._run_answered += answered
            self._probe = None
            if self._search is not None:
                # The refusal that ended its run came before the answer, since refusals are faster.
                self._search.on_fruitful()
        # A window that was not filled proves nothing, and must not grow (RFC 7661).
        if in_use * 2 >= self.window:
            self.window += answered * self._growth()

    def _growth(self) -> float:
        """What an answer adds to the window."""
        if self._latency_s < LOCAL_S:
            return 1.0
        return min(1.0, self._latency_s / WINDOW_DOUBLES_S)

    def on_idle(self, seconds: float) -> None:
        """So long no call was under way, and none was closed out."""
        self._idle_s += seconds

    # --- refusals ---

    def fruitful(self, took_s: float, now: float) -> bool:
        """Whether any call has been let in since it opened last, if one is refused now after `took_s`."""
        if self._probe is not None:
            # What is refused is the one that went out to see.
            return self._run_answered > 0
        return self._run_answered > 0 or self._sent.before(self._sent_at(took_s, now)) > self._run_sent

    def _sent_at(self, took_s: float, now: float) -> float:
        """When the permit for a call went out, or a little before: the call begins a moment later."""
        return now - took_s - max(BEGINS_S, BEGINS_SHARE * took_s)

    def on_refused(self, out: int, took_s: float, now: float) -> None:
        """The first refusal since it opened, which closes it. `out`: permits that are out."""
        self.move(limited=False, now=now)
        if not self._refused:
            self._refused = True
            if self._search is not None:
                self._search.was_steady(self._steady_limited_s, self._steady_s)
        self._refusal_s = max(took_s, 0.9 * (self._refusal_s or 0.0))
        sent_at = self._sent_at(took_s, now)
        let_in = self._sent.before(sent_at)
        fruitful = self.fruitful(took_s, now)
        at = now - took_s
        # Its own permit is older than the call, if only by a moment, and no other.
        others = out - 1 - self._sent.since(at + ROUNDING)
        inside = others + self._ended.total - self._ended.before(at)
        # Unknown as long as none has been answered: slow.
        latency_s = self._latency_s or now - self._began
        believed = self.in_flight.limit is not None
        self.in_flight.on_refused(inside, took_s, latency_s, self._sent.total, now)
        if self.in_flight.limit is not None or believed:
            # What was sent was not paced, so it says nothing of the rate.
            if self._search is not None:
                self._search.forget_run()
            return
        if self._unpaced:
            self._go_on_unpaced()
        elif self._search is not None:
            self._search.on_refused(took_s, fruitful=fruitful)
            if self._search.at_odds >= self._trusted:
                self._begin_unpaced()
        else:
            self._ramp = (
                max(self._ramp[0], let_in - self._run_sent),
                max(sent_at - self._run_began - self._idle_s, took_s, 1e-3),
            )
            self._ramp_out = out

    def on_refusal_told(self, n: int) -> None:
        """So many calls were refused, of whatever epoch their permits were."""
        self._unpaced_refused += n

    def by_chance(self, out: int) -> bool:
        """A call was refused, if it was a refusal. Whether such come by chance, as far as is known, whatever the rate.
        `out`: permits that are out."""
        if not self._unpaced:
            return False
        sent, self._chance_at = self._sent.total - self._chance_at - out, self._sent.total
        if self._worse:
            self._trusted *= 2
            self._end_unpaced()
        elif sent > OVER_CALLS:
            self._end_unpaced()
        return self._unpaced > 0

    def _begin_unpaced(self) -> None:
        if self._search is None:
            raise InternalError("a rate is searched for here")
        self._go_unpaced(self._search.odds)

    def _go_unpaced(self, paced_share: float) -> None:
        self._paced_share = paced_share
        self._search = self._bucket = None
        self._unpaced = self._unpaced_next
        self._unpaced_next *= 2
        self._unpaced_sent = self._sent.total
        self._unpaced_refused = 0
        self._chance_at = self._unpaced_sent
        self.window = max(self.window if math.isfinite(self.window) else 0.0, float(INITIAL_WINDOW))

    def _go_on_unpaced(self) -> None:
        self._unpaced -= 1
        if self._worse:
            self._trusted *= 2
            self._unpaced = 0
        if not self._unpaced:
            self._end_unpaced()

    @property
    def _worse(self) -> bool:
        """Whether far more of the calls are refused than when they were paced."""
        sent = self._sent.total - self._unpaced_sent
        return sent >= 4 * FEW and self._unpaced_refused > (WORSE * self._paced_share + WORSE_BY) * sent

    def _end_unpaced(self) -> None:
        """Search for the rate again: of what was stated, for the share of it that is allowed (L74)."""
        self._unpaced = 0
        if self._stated_per_s is not None:
            self._search = RateSearch(1.0, self._stated_per_s)
            self.window = math.inf

    def on_closed_for_outage(self) -> None:
        """Start from one call; what was learned of the rate stands."""
        self.window = 1.0

    def on_back(self, now: float) -> None:
        """It opens after an outage, which says nothing of a limit."""
        if self._search is not None:
            self._search.begin_anew()
        self._probe = None
        self._moved_at = self._run_began = now
        self._run_sent = self._sent.total
        self._run_answered = self._ramp_out = 0
        self._idle_s = 0.0
        if self._bucket is not None:
            self._bucket.empty(now)

    def on_opened(self, closed_s: float, last_s: float, *, hinted: bool, fruitless: int, now: float) -> None:
        """It opens again, after it was closed for so long since the last call was let in, the last cooldown being so
        long. `fruitless`: how often it was opened meanwhile, and nothing went through, and nobody has said when to
        come again."""
        if not hinted and self._ramp_out:
            # Where it is said when to come again, as many may come again.
            self.window = max(2.0, min(self._ramp_out, self.window) / 2.0)
        self._ramp_out = 0
        let_in, seconds = max(self._ramp[0], self._run_answered), self._ramp[1]
        if let_in and seconds and self._search is None and not self._unpaced:
            self._search = RateSearch.after_ramp(let_in, seconds, self._refusal_s or 0.0)
            self._ramp = (0, 0.0)
        self._moved_at = now
        self._run_began = now
        self._run_sent = self._sent.total
        self._run_answered = 0
        self._idle_s = 0.0
        self._probe = self._sent.total if fruitless > 1 else None
        if fruitless >= FRUITLESS and self._unpaced:
            self._end_unpaced()
        if self._search is None:
            return
        self._search.on_opened(closed_s, last_s, hinted=hinted, refused=fruitless)
        if self._stated_per_s is None:
            rate = self._search.rate
            if self._bucket is None:
                self._bucket = TokenBucket(rate, learned_burst(rate), now)
            else:
                self._bucket.set_rate(rate, learned_burst(rate), now)
            self._bucket.empty(now)

    # --- what may go ---

    def move(self, *, limited: bool, now: float) -> None:
        """Time has passed. Only time in which rows waited for the rate counts (`limited`): one not used proves
        nothing."""
        if self._search is None:
            return
        seconds = now - self._moved_at
        self._moved_at = now
        if not self._refused:
            # As stated, and as long as that is well it need not be looked at more closely.
            self._steady_s += seconds
            if limited:
                self._steady_limited_s += seconds
            return
        self._search.move(seconds, limited=limited and self.in_flight.limit is None)
        if limited and self._bucket is not None:
            rate = self._search.rate
            self._bucket.set_rate(rate, learned_burst(rate), now)

    def room(self, out: int, *, full: bool, now: float) -> float:
        """Calls that may be in flight on top of the `out` that are, whatever the rate says. `full`: rows wait for
        that."""
        if self._probe is not None and self.in_flight.limit is None:
            if self._sent.before(now - self._let_in_s) > self._probe:
                self._probe = None
            else:
                return 1.0 - (self._sent.total - self._probe)
        if self.in_flight.limit is not None:
            self.in_flight.move(full=full, sent=self._sent.total, now=now)
            return self.in_flight.limit - out
        if self._bucket is not None or out < self.window:
            return math.inf if self._bucket is not None else self.window - out
        aged = self._sent.before(now - self._let_in_s)
        new = aged - max(self._aged, self._ended.total)
        if new > 0:
            if out * 2 >= self.window:
                self.window += LET_IN_GROWTH * new
            self._aged = aged
        return self.window - min(out, self._sent.total - aged)

    @property
    def _let_in_s(self) -> float:
        return LET_IN_S if self._refusal_s is None else REFUSAL_MARGIN * self._refusal_s + REFUSAL_MARGIN_S

    def wake_at(self, now: float) -> float | None:
        """When time alone may let more go than `room` says."""
        if self._probe is not None and self.in_flight.limit is None:
            first = self._sent.after(self._probe)
        elif self._bucket is None and self.in_flight.limit is None and math.isfinite(self.window):
            first = self._sent.after(self._sent.before(now - self._let_in_s))
        else:
            return None
        return first + self._let_in_s + 1e-5 if first is not None else None
