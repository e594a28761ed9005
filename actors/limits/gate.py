"""One budget: the permits of one key of one limit, and the cooldowns that close it. The governor owns it.

    OPEN --hit of today's epoch--> COOLING --time--> OPEN           (refused: the epoch grows by one)
    OPEN --failures in a row-----> COOLING --time--> PROBING        (outage)
    OPEN --turned away in a row--> COOLING --time--> PROBING        (exhausted: the account gets nothing for long, L71)
    PROBING --answered--> OPEN     PROBING --failed, hit or turned away--> COOLING

Permits go out by turns among the stages that wish for some, however many each of them wants (L77), and each stage
asks in the order of its rows. `grant` is the only place where one goes out, and gives none while COOLING.

This file is long: cooldowns, outages and probes are states of one budget, and each of them decides on the same permits.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Literal, NamedTuple

import msgspec

from ..actor import Ref
from ..errors import InternalError
from ..protocol import Closure, Epoch, Heard, Prior, Spent
from ..quantities import DAY_S, HEAVIEST
from ..rows.identity import Id
from .concurrency import ConcurrencySearch
from .pace import INITIAL_WINDOW, Pace, learned_burst, small_burst
from .patience import REFUSED_FOR_LONG_S, Patience
from .token_bucket import TokenBucket
from .told_quotas import Told

NEVER_OUT = 1 << 62
"""So many answers are taken to have come since the last outage, where there has been none."""
MANY = 3
"""So many rows whose calls fail concern all rows: fewer may be at fault themselves."""
TRIED_S = 0.01
"""A cooldown where it is known what was refused: a call more at once than are let in."""
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
    def said(self) -> str:
        """What was stated, to be told from what was stated another time."""
        rates = [f"{rate.per_s!r} {rate.name or 'calls'}/s" for rate in self.rates]
        return ", ".join([*rates, *([] if self.concurrency is None else [f"{self.concurrency} in flight"])])

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
    n: int
    costs: deque[float]

    @property
    def weight(self) -> float:
        """What its next row weighs; 1 where nobody has said."""
        return self.costs[0] if self.costs else 1.0


class Gate:
    """It does what the module says. Every `now` is `context.now()`."""

    def __init__(self, terms: Terms, now: float) -> None:
        self.state = GateState.OPEN
        self.epoch = Epoch(0)
        self.closure: Closure | None = None
        self.until_s = 0.0
        self.out_since_s: float | None = None
        self.cooldowns = 0
        self.cooled_s = 0.0
        self._closed_at = 0.0
        self._wishes: dict[Ref, deque[_Wish]] = {}
        """Of each stage, in the order of its rows. The stage whose turn it is comes first."""
        self._waiting = 0
        self._in_use: dict[Ref, int] = {}
        self._out = 0
        self._fruitless = 0
        self._probes = 0
        self._in_vain = 0
        self._in_vain_since: float | None = None
        self._failing: set[Id] = set()
        self._failed_in_row = 0
        self.patience = Patience()
        self._answered_since_outage = NEVER_OUT
        self._rate_bound = False
        self._full = False
        self._idle_since: float | None = now
        self._told: Told | None = None
        """None until an answer has told of quotas."""
        self._hinted = False
        self._shut_since = now
        """When the closing began of which this cooldown is a part."""
        self._refused_since = now
        """When this cooldown itself did."""
        self.set_terms(terms, now)

    def set_terms(self, terms: Terms, now: float) -> None:
        """A limit changes while in use; permits out stay out."""
        self.terms = terms
        self._buckets = [TokenBucket(r.per_s, r.burst or small_burst(r.per_s), now) for r in terms.rates]
        by_unit = list(zip(self._buckets, terms.rates, strict=True))
        self._counting = [bucket for bucket, rate in by_unit if rate.unit == "calls"]
        self._weighing = [bucket for bucket, rate in by_unit if rate.unit == "cost"]
        self._share: float | None = None
        self._vegas = ConcurrencySearch() if terms.concurrency == "auto" else None
        if self._told is not None:
            self._told.set_terms(_cost_units(terms), spread=terms.spread)
        window = float("inf") if terms.stated else float(INITIAL_WINDOW)
        self._pace = Pace(window, now, min((rate.per_s for rate in terms.rates), default=None))

    # --- what is told ---

    def want(self, stage: Ref, n: int, costs: tuple[float, ...]) -> None:
        wishes = self._wishes.get(stage)
        if wishes is None:
            wishes = self._wishes[stage] = deque()
        wishes.append(_Wish(n, deque(costs)))
        self._waiting += n

    def returned(self, stage: Ref, n: int, cost: float, now: float, since_s: float | None = None) -> None:
        """Permits that were not used. `since_s`: the stage has had them for as long; None: they have just gone out."""
        self._release(stage, n)
        since_s = now if since_s is None else since_s
        for bucket in self._counting:
            bucket.put_back(n, since_s, now)
        for bucket in self._weighing:
            bucket.put_back(cost, since_s, now)
        self._pace.on_returned(n)
        if self._pace.bucket is not None and self.state is not GateState.COOLING:
            self._pace.bucket.put_back(n, since_s, now)
        if self._told is not None:
            self._told.returned(n, cost, now)

    def withdraw(self, stage: Ref) -> int:
        """The stage takes back what it asked for; how much that was."""
        n = sum(wish.n for wish in self._wishes.pop(stage, ()))
        self._waiting -= n
        return n

    def discharge(self, stage: Ref) -> None:
        """The stage is gone: nothing it holds or wants counts any more (L16)."""
        self.withdraw(stage)
        held = self._in_use.pop(stage, 0)
        self._out -= held
        if self._told is not None:
            self._told.left(held)

    def ended(
        self,
        stage: Ref,
        used: int,
        answered: int,
        failed: tuple[Id, ...],
        latency_s: float,
        now: float = 0.0,
        epoch: Epoch | None = None,
    ) -> bool:
        """Calls on permits of `epoch` have ended. True: the other side is out, so close."""
        in_use = self._out
        self._release(stage, used)
        # Calls of the run before a cooldown say that it was not for nothing, also if they are answered in it.
        of_run = epoch is None or epoch >= self.epoch - (self.state is GateState.COOLING)
        self._pace.on_ended(used, answered, of_run=of_run, in_use=in_use, latency_s=latency_s, now=now)
        if answered:
            self._answered_since_outage += answered
            self._failing.clear()
            self._failed_in_row = 0
            self._in_vain = 0
            self._in_vain_since = None
            if of_run:
                self._fruitless = 0
                if self.state is GateState.COOLING and self.closure is Closure.REFUSED:
                    # Nobody knew of it when the refusal came, which was faster.
                    self._shut_since = self._refused_since
            if self.patience.on_answered() and self.state is GateState.COOLING:
                # It was taken for a wrong key, and calls that were under way are answered: so ask again now.
                self.until_s = 0.0
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
            self._told = Told(now, self._out + used, _cost_units(self.terms), spread=self.terms.spread)
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

    def hit(
        self,
        epoch: Epoch,
        retry_after_s: float | None,
        now: float,
        took_s: float = 0.0,
        n: int = 1,
        *,
        doubtful: bool = False,
    ) -> bool:
        """`n` refusals, of calls that took so long. True: they close the gate; else they are old news, which may
        lengthen a cooldown (L09); or `doubtful`, and have been found to come by chance."""
        hint = min(retry_after_s, self.terms.hint_max_s) if retry_after_s is not None else None
        if hint is not None and hint <= 0.0:
            hint = None
        self._pace.on_refusal_told(n)
        if epoch != self.epoch or self.state is GateState.COOLING:
            if hint is not None and self.state is GateState.COOLING and self.closure is Closure.REFUSED:
                self.until_s = max(self.until_s, now + hint)
                self._hinted = True
            return False
        if doubtful and (self.state is GateState.PROBING or self._pace.by_chance(self._out)):
            return False
        self._refused_since = now - took_s
        if self._pace.fruitful(took_s, now):
            self._fruitless = self._in_vain = 0
            self._in_vain_since = None
            self._shut_since = now - took_s
        self._in_vain_since = now if self._in_vain_since is None else self._in_vain_since
        if self.state is GateState.PROBING and self.patience.shut_since_s is not None:
            self._shut(hint, None, now)
            return True
        if self._in_vain >= MANY and now - self._in_vain_since >= REFUSED_FOR_LONG_S:
            # Whatever it says, it has taken nobody for long.
            self.patience.on_refused_for_long()
            self._shut(hint, None, now)
            return True
        self._in_vain += 1
        if self._told is not None:
            self._told.refused()
        tried = self._pace.in_flight.tried
        self._pace.on_refused(self._out, took_s, now)
        cooldown_s = hint if hint is not None else TRIED_S if tried else self._own_cooldown_s(now)
        self._hinted = hint is not None
        # Who is told when to come again need not guess; nor was it in vain that it asked.
        self._fruitless = 0 if self._hinted else self._fruitless + 1
        self._close(Closure.REFUSED, now + cooldown_s, now)
        return True

    def _own_cooldown_s(self, now: float) -> float:
        """Where nobody said when to come again: twice as long each time, as long as nothing goes through; then, once that is
        four times as long as at first, a quarter of what has passed meanwhile, so that its end is not missed by more."""
        first_s = self.terms.cooldown_s
        doubled_s = first_s * 2.0 ** min(self._fruitless, 30)
        return min(doubled_s, max(4.0 * first_s, (now - self._shut_since) / 4.0), self.terms.cooldown_max_s)

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
        if self.state is GateState.COOLING:
            raise InternalError("a gate that cools cannot close again: one cooldown an epoch")
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
        if self.closure is Closure.REFUSED:
            # Not until now: a process that stood still was not closed out.
            until_s = min(now, self.until_s)
            closed_s, last_s = until_s - self._shut_since, until_s - self._closed_at
            self._pace.on_opened(closed_s, last_s, hinted=self._hinted, fruitless=self._fruitless, now=now)
        else:
            self._pace.on_back(now)
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

    def recall(self, prior: Prior, now: float) -> None:
        """Begin with what an earlier gate of this budget has found out. A cooldown that is not over counts as its own."""
        self._pace.recall(prior, now)
        until_s = min(prior.until_s or 0.0, now + max(self.terms.hint_max_s, self.terms.cooldown_max_s))
        if until_s > now:
            self._close(Closure.REFUSED, until_s, now)
            self.cooldowns = 0
            self._hinted = True

    @property
    def prior(self) -> Prior | None:
        """What the next gate of this budget is to begin with; None if that is nothing."""
        found = self._pace.prior
        if self.state is GateState.COOLING and self.closure is Closure.REFUSED:
            found = msgspec.structs.replace(found or Prior(), until_s=self.until_s)
        return found

    # --- what is given ---

    def grant(self, now: float) -> list[Grant]:
        """Permits that may go out now."""
        self._pace.move(limited=self._rate_bound, now=now)
        self._rate_bound = False
        if self._pace.refused and self.terms.rates:
            self._share_out(now)
        if not self._out and self._idle_since is None:
            self._idle_since = now
        if self.state is GateState.COOLING or not self._wishes:
            return []
        given: dict[Ref, Grant] = {}
        room = self._room(now)
        turn = turns = 0
        while self._wishes and room > 0:
            if not turns:
                turns = len(self._wishes)
                turn = max(1, room // turns)
            turns -= 1
            stage, wishes = next(iter(self._wishes.items()))
            n, cost = self._fulfil(stage, wishes, min(turn, room), now)
            if not n:
                break
            room -= n
            # Its turn is over.
            del self._wishes[stage]
            if wishes:
                self._wishes[stage] = wishes
            before = given.get(stage)
            given[stage] = Grant(stage, n, cost) if before is None else Grant(stage, before.n + n, before.cost + cost)
        bound = bool(self._wishes) and self.state is GateState.OPEN
        self._rate_bound = bound and self._room_in_flight(now) >= 1
        self._full = bound and not self._rate_bound
        return list(given.values())

    def _fulfil(self, stage: Ref, wishes: deque[_Wish], turn: int, now: float) -> tuple[int, float]:
        """How many of its wishes could be fulfilled, `turn` at most, and what they weigh."""
        taken, cost = 0, 0.0
        while wishes and taken < turn:
            wish = wishes[0]
            n = min(wish.n, turn - taken)
            if self._weighing:
                n, weighed = self._take_weighed(wish, n, now)
                cost += weighed
            elif wish.costs:
                # The limit was changed into one without weights; who asked weighs its rows all the same.
                cost += sum(wish.costs.popleft() for _ in range(n))
            if not n:
                break
            taken += n
            wish.n -= n
            if not wish.n:
                wishes.popleft()
        if taken:
            self._take(taken, now)
            self._in_use[stage] = self._in_use.get(stage, 0) + taken
        return taken, cost

    def _share_out(self, now: float) -> None:
        """Of the stated rates, go at what has turned out to be allowed of them; at most at them (L74)."""
        share = self._pace.share
        if share != self._share:
            self._share = share
            for bucket, rate in zip(self._buckets, self.terms.rates, strict=True):
                bucket.set_rate(rate.per_s * share, learned_burst(rate.per_s * share), now)

    def _room_in_flight(self, now: float) -> float:
        """Calls that may be in flight on top of those that are, whatever the rate says."""
        room = self._pace.room(self._out, full=self._full, now=now)
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
        room = min(float(self._waiting), self._room_in_flight(now))
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
            weight = wish.weight
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
        self._pace.on_sent(n, now)
        if self._pace.bucket is not None:
            self._pace.bucket.take(n)
        for bucket in self._counting:
            bucket.take(n)
        if self._told is not None:
            self._told.took(n, now)

    def _release(self, stage: Ref, n: int) -> None:
        if stage not in self._in_use:
            return
        if self._in_use[stage] < n:
            raise InternalError(f"{stage.name} gave back {n} permits and held {self._in_use[stage]}")
        self._in_use[stage] -= n
        self._out -= n

    def wake_at(self, now: float) -> float | None:
        """When to call again without being told anything; None if only a message can change something."""
        if self.state is GateState.COOLING:
            return self.until_s
        if not self._wishes:
            return None
        weight = next(iter(self._wishes.values()))[0].weight
        waits = [bucket.wait_s(weight, now) for bucket in self._weighing]
        if self._told is not None:
            waits.append(self._told.wait_s(weight, now))
        if self.state is GateState.PROBING:
            # One call at a time, whatever the rate of calls says; but a row's weight must be there for it.
            return now + max(TICK_S, *waits) if self._weighing and not self._out else None
        if self._pace.bucket is not None:
            waits.append(self._pace.bucket.wait_s(1.0, now))
        waits += [bucket.wait_s(1.0, now) for bucket in self._counting]
        wait_s = max(waits, default=0.0)
        if self._room_in_flight(now) < 1:
            let_in_at = self._pace.wake_at(now)
            return let_in_at if let_in_at is None else max(let_in_at, now + max(wait_s, TICK_S))
        # Nothing to wait for but a call's end: its message will bring us back.
        return now + max(wait_s, TICK_S) if wait_s > 0.0 else None

    @property
    def scarce(self) -> bool:
        """Permits are slots of something: a stage should ask for no more than it can start."""
        return (
            bool(self.terms.rates)
            or self._vegas is not None
            or self._pace.refused
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
            and not self._pace.learned
            and (self._told is None or self._told.over(now))
            and all(bucket.full(now) for bucket in self._buckets)
        )

    @property
    def learned_per_s(self) -> float | None:
        return self._pace.bucket.rate_per_s if self._pace.bucket is not None else None

    @property
    def out(self) -> int:
        """How many permits are granted and not yet used or given back."""
        return self._out

    @property
    def waiting(self) -> int:
        return self._waiting
