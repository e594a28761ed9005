"""One budget: the permits of one key of one limit, and the cooldowns that close it. The governor owns it.

    OPEN --hit of today's epoch--> COOLING --time--> OPEN           (refused: the epoch grows by one)
    OPEN --failures in a row-----> COOLING --time--> PROBING        (outage)
    OPEN --turned away in a row--> COOLING --time--> PROBING        (exhausted: the account gets nothing for long, L71)
    PROBING --answered--> OPEN     PROBING --failed, hit or turned away--> COOLING

Permits go out first come, first served, and each stage asks in the order of its rows. `grant` is the only place
where one goes out, and gives none while COOLING.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Literal, NamedTuple

import msgspec

from .actor import Ref
from .bucket import Bucket
from .identity import Id
from .pace import INITIAL_WINDOW, Pace, small_burst
from .patience import REFUSED_FOR_LONG_S, Patience
from .protocol import Closure, Epoch, Heard, Spent
from .quantities import DAY_S, HEAVIEST
from .told import Told
from .vegas import Vegas

NEVER_OUT = 1 << 62
"""Answers since the last outage, where there was none."""
MANY = 3
"""So many rows whose calls fail concern all rows: fewer may be at fault themselves."""
TICK_S = 1e-5
"""A wake-up is so far off at least: a shorter one may be no later than now, where now is a large number."""


class Rate(msgspec.Struct, frozen=True):
    """`per_s` of a unit a second. `burst` None: 20 ms of it, at least one."""

    per_s: float
    burst: float | None = None
    unit: Literal["calls", "cost"] = "calls"
    name: str = ""
    """What the weights of rows are counted in, as "tokens"."""


class Terms(msgspec.Struct, frozen=True):
    """A limit as the governor sees it.

    `cooldown_s` is the first cooldown where a refusal brings no hint; it doubles up to `cooldown_max_s` as long as
    nothing goes through. `hint_max_s` is the ceiling of an honoured Retry-After. `outage_after`: so many rows whose
    calls failed one after another are an outage; probes then start after `probe_s`, and come 1.5 times later each time.
    `spread`: what is told to remain of a quota goes out evenly until its reset.
    `give_up_after_s`: an account that has been exhausted for so long is given up; see `Patience`.
    """

    rates: tuple[Rate, ...] = ()
    concurrency: int | Literal["auto"] | None = None
    cooldown_s: float = 0.1
    cooldown_max_s: float = 30.0
    hint_max_s: float = 300.0
    outage_after: int = 10
    probe_s: float = 0.25
    probe_max_s: float = 15.0
    outage_deadline_s: float = 600.0
    spread: bool = False
    give_up_after_s: float | None = None

    @property
    def weight_max(self) -> float:
        """What the slowest rate of weights lets through in a day: a row may weigh so much at most."""
        return min((DAY_S * rate.per_s for rate in self.rates if rate.unit == "cost"), default=HEAVIEST)

    @property
    def stated(self) -> bool:
        """Somebody said what the other side allows, so nothing need be found out."""
        return bool(self.rates) or isinstance(self.concurrency, int)


def _cost_units(terms: Terms) -> frozenset[str]:
    """What the weights of rows are counted in."""
    return frozenset(rate.name for rate in terms.rates if rate.unit == "cost")


class GateState(enum.Enum):
    OPEN = "open"
    COOLING = "cooling"
    PROBING = "probing"


class Grant(NamedTuple):
    stage: Ref
    n: int
    cost: float


class _Wish(msgspec.Struct):
    stage: Ref
    n: int
    costs: deque[float]


class Gate:
    """See the module. Every `now` is `context.now()`."""

    def __init__(self, terms: Terms, now: float) -> None:
        self.state = GateState.OPEN
        self.epoch = Epoch(0)
        self.closure: Closure | None = None
        self.until_s = 0.0
        self.out_since_s: float | None = None
        self.cooldowns = 0
        self.cooled_s = 0.0
        self._closed_at = 0.0
        self._wishes: deque[_Wish] = deque()
        self._waiting = 0
        self._in_use: dict[Ref, int] = {}
        self._out = 0
        self._fruitless = 0
        self._probes = 0
        self._fruitless_since: float | None = None
        self._failing: set[Id] = set()
        self._failed_in_row = 0
        self.patience = Patience()
        self._answered_since_outage = NEVER_OUT
        self._rate_bound = False
        self._idle_since: float | None = now
        self._told: Told | None = None
        """None until an answer has told of quotas."""
        self._pace = Pace(float("inf"), now)
        self.set_terms(terms, now)
        if not terms.stated:
            self._pace = Pace(float(INITIAL_WINDOW), now)

    def set_terms(self, terms: Terms, now: float) -> None:
        """A limit changes while in use; permits out stay out."""
        self.terms = terms
        self._buckets = [Bucket(r.per_s, r.burst or small_burst(r.per_s), now) for r in terms.rates]
        by_unit = list(zip(self._buckets, terms.rates, strict=True))
        self._counting = [bucket for bucket, rate in by_unit if rate.unit == "calls"]
        self._weighing = [bucket for bucket, rate in by_unit if rate.unit == "cost"]
        self._vegas = Vegas() if terms.concurrency == "auto" else None
        if self._told is not None:
            self._told.set_terms(_cost_units(terms), terms.spread)
        if terms.stated and self._pace.bucket is None:
            self._pace.window = float("inf")

    # --- what is told ---

    def want(self, stage: Ref, n: int, costs: tuple[float, ...]) -> None:
        self._wishes.append(_Wish(stage, n, deque(costs)))
        self._waiting += n

    def returned(self, stage: Ref, n: int, cost: float, now: float) -> None:
        """Permits that were not used: their slots of time are as good as new."""
        self._release(stage, n)
        for bucket in self._counting:
            bucket.put_back(n)
        for bucket in self._weighing:
            bucket.put_back(cost)
        if self._pace.bucket is not None and self.state is not GateState.COOLING:
            self._pace.bucket.put_back(n)
        if self._told is not None:
            self._told.returned(n, cost, now)

    def withdraw(self, stage: Ref) -> int:
        """The stage takes back what it asked for; how much that was."""
        n = sum(wish.n for wish in self._wishes if wish.stage == stage)
        self._wishes = deque(w for w in self._wishes if w.stage != stage)
        self._waiting -= n
        return n

    def discharge(self, stage: Ref) -> None:
        """The stage is gone: nothing it holds or wants counts any more (L16)."""
        self.withdraw(stage)
        held = self._in_use.pop(stage, 0)
        self._out -= held
        if self._told is not None:
            self._told.left(held)

    def ended(self, stage: Ref, used: int, answered: int, failed: tuple[Id, ...], latency_s: float) -> bool:
        """Calls have ended. True: the other side is out, so close."""
        in_use = self._out
        self._release(stage, used)
        if answered:
            self._answered_since_outage += answered
            self._failing.clear()
            self._failed_in_row = 0
            self._fruitless = 0
            self._fruitless_since = None
            if self.patience.on_answered() and self.state is GateState.COOLING:
                # It was taken for a wrong key, and calls that were under way are answered: so ask again now.
                self.until_s = 0.0
            self._pace.on_answered(answered, in_use, latency_s)
            if self._vegas is not None:
                self._vegas.on_answered(answered, latency_s, in_use)
        elif failed:
            self._failing.update(failed)
            self._failed_in_row += len(failed)
        if self.state is GateState.PROBING:
            return bool(failed) and not answered
        # Just reopened, few calls are under way: they would use up their rows' attempts before so many rows had failed.
        enough = min(self.terms.outage_after, 2 + self._answered_since_outage)
        # Where there are fewer rows than that, the same ones fail again and again.
        same = len(self._failing) >= MANY and self._failed_in_row >= self.terms.outage_after
        return self.state is GateState.OPEN and (len(self._failing) >= enough or same)

    def hear(self, used: int, heard: tuple[Heard, ...], spent: tuple[Spent, ...], now: float) -> None:
        """So many calls, which have `ended`, were told this of quotas, and took so much."""
        if self._told is None:
            if not (heard or spent):
                return
            self._told = Told(now, self._out + used, _cost_units(self.terms), self.terms.spread)
        self._told.ended(used, heard, now)
        if spent:
            self._told.spent(spent)
            self._correct(spent, now)

    def _correct(self, spent: tuple[Spent, ...], now: float) -> None:
        """What calls took more, or less, than their rows' weights had reserved."""
        for each in spent:
            for bucket, rate in zip(self._buckets, self.terms.rates, strict=True):
                if rate.unit == "cost" and rate.name == each.unit:
                    if each.amount > each.reserved:
                        bucket.charge(each.amount - each.reserved, now)
                    else:
                        bucket.credit(each.reserved - each.amount, each.reserved, now)

    def hit(self, epoch: Epoch, retry_after_s: float | None, now: float) -> bool:
        """A refusal. True: it closes the gate; else it is old news, which may lengthen a cooldown (L09)."""
        hint = min(retry_after_s, self.terms.hint_max_s) if retry_after_s is not None else None
        if hint is not None and hint <= 0.0:
            hint = None
        if epoch != self.epoch or self.state is GateState.COOLING:
            if hint is not None and self.state is GateState.COOLING and self.closure is Closure.REFUSED:
                self.until_s = max(self.until_s, now + hint)
            return False
        self._fruitless_since = now if self._fruitless_since is None else self._fruitless_since
        if self.state is GateState.PROBING and self.patience.shut_since_s is not None:
            self._shut(hint, None, now)
            return True
        if self._fruitless >= MANY and now - self._fruitless_since >= REFUSED_FOR_LONG_S:
            # Whatever it says, it has taken nobody for long.
            self.patience.on_refused_for_long()
            self._shut(hint, None, now)
            return True
        own = min(self.terms.cooldown_s * 2.0 ** min(self._fruitless, 30), self.terms.cooldown_max_s)
        cooldown_s = hint if hint is not None else own
        self._fruitless += 1
        if self._told is not None:
            self._told.refused()
        self._pace.on_refused(self._out, cooldown_s, now)
        self._close(Closure.REFUSED, now + cooldown_s, now)
        return True

    def turned_away(self, epoch: Epoch, n: int, retry_after_s: float | None, words: str | None, now: float) -> bool:
        """`n` calls were answered by an account that is exhausted. True: it closes the gate (L71)."""
        self.patience.on_turned_away(n, words)
        if epoch != self.epoch or self.state is GateState.COOLING:
            return False
        if self.state is GateState.OPEN and not self.patience.enough:
            return False
        self._shut(retry_after_s, words, now)
        return True

    def _shut(self, retry_after_s: float | None, words: str | None, now: float) -> None:
        wait_s = self.patience.wait_s(retry_after_s, words, self.terms.give_up_after_s, now)
        self._pace.on_closed_for_outage()
        self._close(Closure.EXHAUSTED, now + wait_s, now)

    def close_for_outage(self, now: float, random: float) -> None:
        """Wait, then probe; jittered, so that many governors do not probe one service at the same instant."""
        if self.out_since_s is None:
            self.out_since_s = now
        wait_s = min(self.terms.probe_s * 1.5**self._probes, self.terms.probe_max_s) * (0.75 + 0.5 * random)
        self._probes = min(self._probes + 1, 50)
        self._pace.on_closed_for_outage()
        self._close(Closure.OUTAGE, now + wait_s, now)

    def _close(self, closure: Closure, until_s: float, now: float) -> None:
        assert self.state is not GateState.COOLING, "a gate that cools cannot close again: one cooldown an epoch"
        self.state = GateState.COOLING
        self.closure = closure
        self.until_s = until_s
        self.epoch = Epoch(self.epoch + 1)
        self.cooldowns += 1
        self._closed_at = now

    def end_cooldown(self, now: float) -> bool:
        """True if the cooldown is over now; the gate is then OPEN, or PROBING after an outage."""
        if self.state is not GateState.COOLING or now < self.until_s - 1e-9:
            return False
        self.state = GateState.OPEN if self.closure is Closure.REFUSED else GateState.PROBING
        self.cooled_s += now - self._closed_at
        self._failing.clear()
        self._failed_in_row = 0
        self._pace.on_reopened(now - self._closed_at, now)
        return True

    def reopen(self) -> bool:
        """After an answer: True if that ended an outage, or an account has something to spend again."""
        if self.state is not GateState.PROBING:
            return False
        self._answered_since_outage = 0
        self.state = GateState.OPEN
        self.closure = None
        self.out_since_s = None
        self._probes = 0
        self.patience.on_reopened()
        return True

    # --- what is given ---

    def grant(self, now: float) -> list[Grant]:
        """Permits that may go out now."""
        self._pace.move(self._rate_bound, now)
        self._rate_bound = False
        if not self._out and self._idle_since is None:
            self._idle_since = now
        if self.state is GateState.COOLING or not self._wishes:
            return []
        grants: list[Grant] = []
        room = self._room(now)
        while self._wishes and room > 0:
            wish = self._wishes[0]
            n = min(wish.n, room)
            cost = 0.0
            if self._weighing:
                n, cost = self._take_weighed(wish, n, now)
                if not n:
                    break
            elif wish.costs:
                # The limit was changed into one without weights; who asked weighs its rows all the same.
                cost = sum(wish.costs.popleft() for _ in range(n))
            room -= n
            self._take(n, now)
            self._in_use[wish.stage] = self._in_use.get(wish.stage, 0) + n
            wish.n -= n
            if not wish.n:
                self._wishes.popleft()
            grants.append(Grant(wish.stage, n, cost))
        self._rate_bound = bool(self._wishes) and self.state is GateState.OPEN and self._room_in_flight() >= 1
        return grants

    def _room_in_flight(self) -> float:
        """Calls that may be in flight on top of those that are, whatever the rate says."""
        room = self._pace.window - self._out
        if isinstance(self.terms.concurrency, int):
            room = min(room, self.terms.concurrency - self._out)
        if self._vegas is not None:
            room = min(room, int(self._vegas.limit) - self._out)
        return room

    def _room(self, now: float) -> int:
        if self.state is GateState.PROBING:
            for bucket in self._counting:
                # As of now: else the time that has passed would give back what the probe takes.
                bucket.room(now)
            return max(0, 1 - self._out)
        room = min(float(self._waiting), self._room_in_flight())
        if self._pace.bucket is not None:
            room = min(room, self._pace.bucket.room(now))
        for bucket in self._counting:
            room = min(room, bucket.room(now))
        if self._told is not None:
            room = min(room, self._told.room(now))
        return int(room)

    def _take_weighed(self, wish: _Wish, n: int, now: float) -> tuple[int, float]:
        taken, cost = 0, 0.0
        while taken < n:
            weight = wish.costs[0] if wish.costs else 1.0
            if not all(bucket.affords(weight, now) for bucket in self._weighing):
                break
            if self._told is not None:
                if not self._told.affords(weight, now):
                    break
                self._told.took_cost(weight)
            if wish.costs:
                wish.costs.popleft()
            for bucket in self._weighing:
                bucket.take(weight)
            cost += weight
            taken += 1
        return taken, cost

    def _take(self, n: int, now: float) -> None:
        self._waiting -= n
        self._out += n
        if self._idle_since is not None:
            self._pace.on_idle(now - self._idle_since)
            self._idle_since = None
        if self._pace.bucket is not None:
            self._pace.bucket.take(n)
        for bucket in self._counting:
            bucket.take(n)
        if self._told is not None:
            self._told.took(n, now)

    def _release(self, stage: Ref, n: int) -> None:
        if stage not in self._in_use:
            return
        assert self._in_use[stage] >= n, f"{stage.name} gave back {n} permits and held {self._in_use[stage]}"
        self._in_use[stage] -= n
        self._out -= n

    def wake_at(self, now: float) -> float | None:
        """When to call again without being told anything; None if only a message can change something."""
        if self.state is GateState.COOLING:
            return self.until_s
        if not self._wishes or self.state is GateState.PROBING:
            return None
        waits = []
        wish = self._wishes[0]
        if self._pace.bucket is not None:
            waits.append(self._pace.bucket.wait_s(1.0, now))
        waits += [bucket.wait_s(1.0, now) for bucket in self._counting]
        waits += [bucket.wait_s(wish.costs[0] if wish.costs else 1.0, now) for bucket in self._weighing]
        if self._told is not None:
            waits.append(self._told.wait_s(wish.costs[0] if wish.costs else 1.0, now))
        wait_s = max(waits, default=0.0)
        # Nothing to wait for but a call's end: its message will bring us back.
        return now + max(wait_s, TICK_S) if wait_s > 0.0 else None

    @property
    def scarce(self) -> bool:
        """Permits are slots of something: a stage should ask for no more than it can start."""
        return (
            bool(self.terms.rates)
            or self._vegas is not None
            or self._pace.bucket is not None
            or self._told is not None
            or self.state is not GateState.OPEN
            or self._waiting > 0
        )

    def forgettable(self, now: float) -> bool:
        """Nothing is out, nothing waits, every budget is full: a new gate would do the same (idle keys)."""
        return (
            self._out == 0
            and not self._wishes
            and self.state is GateState.OPEN
            and self._pace.bucket is None
            and (self._told is None or self._told.over(now))
            and all(bucket.full(now) for bucket in self._buckets)
        )

    @property
    def learned_per_s(self) -> float | None:
        return self._pace.bucket.rate_per_s if self._pace.bucket is not None else None

    @property
    def out(self) -> int:
        """Permits that are out."""
        return self._out

    @property
    def waiting(self) -> int:
        return self._waiting
