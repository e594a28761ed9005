"""The permits of one gate: who wishes for some, who has some, and how many may go out by all that limits them.

What limits them: what was stated (`stated_rates`), what is learned (`pace`, `concurrency`), what is told (`told_quotas`).
Whether any may go out at all, the gate says. They go by turns among the stages (`wishes`). State only; every `now` is
`context.now()`.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..actor import Ref
from ..errors import InternalError
from ..protocol import Heard, Spent
from .concurrency import ConcurrencySearch
from .pace import INITIAL_WINDOW, Pace
from .stated_rates import StatedRates
from .terms import Terms, cost_units
from .told_quotas import Told
from .wishes import Wish, Wishes

TICK_S = 1e-5
"""A wake-up is so far off at least: a shorter one may be no later than now, where now is a large number."""


class Grant(NamedTuple):
    stage: Ref
    n: int
    cost: float


class Permits:
    """It does what the module says; one object belongs to one gate."""

    def __init__(self, terms: Terms, now: float) -> None:
        self.wishes = Wishes()
        self.out = 0
        """How many are granted and not yet used or given back."""
        self.told: Told | None = None
        """None until an answer has told of quotas."""
        self._in_use: dict[Ref, int] = {}
        self._rate_bound = False
        self._full = False
        self._idle_since: float | None = now
        self.set_terms(terms, now)

    def set_terms(self, terms: Terms, now: float) -> None:
        """A limit changes while in use; permits out stay out."""
        self.terms = terms
        self._stated = StatedRates(terms.rates, now)
        self.vegas = ConcurrencySearch() if terms.concurrency == "auto" else None
        if self.told is not None:
            self.told.set_terms(cost_units(terms), spread=terms.spread)
        window = float("inf") if terms.stated else float(INITIAL_WINDOW)
        self.pace = Pace(window, now, min((rate.per_s for rate in terms.rates), default=None))

    def returned(self, stage: Ref, n: int, cost: float, now: float, since_s: float | None, *, shut: bool) -> None:
        """Permits that were not used. `since_s`: the stage has had them for as long; None: they have just gone out."""
        self.release(stage, n)
        since_s = now if since_s is None else since_s
        self._stated.put_back(n, cost, since_s, now)
        self.pace.on_returned(n)
        if self.pace.bucket is not None and not shut:
            self.pace.bucket.put_back(n, since_s, now)
        if self.told is not None:
            self.told.returned(n, cost, now)

    def discharge(self, stage: Ref) -> None:
        """The stage is gone: nothing it holds or wants counts any more (L16)."""
        self.wishes.withdraw(stage)
        held = self._in_use.pop(stage, 0)
        self.out -= held
        if self.told is not None:
            self.told.left(held)

    def hear(self, used: int, heard: tuple[Heard, ...], spent: tuple[Spent, ...], now: float) -> None:
        """So many calls, which have `ended`, were told this of quotas, and took so much."""
        if self.told is None:
            if not (heard or spent):
                return
            self.told = Told(now, self.out + used, cost_units(self.terms), spread=self.terms.spread)
        self.told.ended(used, heard, now)
        if spent:
            self.told.spent(spent)
            self._stated.correct(spent, now)

    def grant(self, now: float, *, shut: bool, probing: bool) -> list[Grant]:
        """Permits that go out now: none where it is `shut`, and one at a time where it is `probing`."""
        self.pace.move(limited=self._rate_bound, now=now)
        self._rate_bound = False
        if self.pace.refused and self.terms.rates:
            self._stated.use(self.pace.share, now)
        if not self.out and self._idle_since is None:
            self._idle_since = now
        if shut or not self.wishes:
            return []
        given: dict[Ref, Grant] = {}
        room = self._room(now, probing=probing)
        turn = turns = 0
        while self.wishes and room > 0:
            if not turns:
                turns = len(self.wishes)
                turn = max(1, room // turns)
            turns -= 1
            stage, wishes = self.wishes.first
            n, cost = self._fulfil(stage, wishes, min(turn, room), now)
            if not n:
                break
            room -= n
            self.wishes.end_turn()
            before = given.get(stage)
            given[stage] = Grant(stage, n, cost) if before is None else Grant(stage, before.n + n, before.cost + cost)
        bound = bool(self.wishes) and not probing
        self._rate_bound = bound and self._room_in_flight(now) >= 1
        self._full = bound and not self._rate_bound
        return list(given.values())

    def _fulfil(self, stage: Ref, wishes: deque[Wish], turn: int, now: float) -> tuple[int, float]:
        """How many of its wishes could be fulfilled, `turn` at most, and what they weigh."""
        taken, cost = 0, 0.0
        while wishes and taken < turn:
            wish = wishes[0]
            n = min(wish.n, turn - taken)
            if self._stated.weighing:
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

    def _room_in_flight(self, now: float) -> float:
        """Calls that may be in flight on top of those that are, whatever the rate says."""
        room = self.pace.room(self.out, full=self._full, now=now)
        if isinstance(self.terms.concurrency, int):
            room = min(room, self.terms.concurrency - self.out)
        if self.vegas is not None:
            room = min(room, int(self.vegas.limit) - self.out)
        return room

    def _room(self, now: float, *, probing: bool) -> int:
        if probing:
            # As of now: else the time that has passed would give back what the probe takes.
            self._stated.room(now)
            return max(0, 1 - self.out)
        room = min(float(self.wishes.waiting), self._room_in_flight(now))
        if self.pace.bucket is not None:
            room = min(room, self.pace.bucket.room(now))
        room = min(room, self._stated.room(now))
        if self.told is not None:
            room = min(room, self.told.room(now))
        return int(room)

    def _take_weighed(self, wish: Wish, n: int, now: float) -> tuple[int, float]:
        taken, cost = 0, 0.0
        while taken < n:
            weight = wish.weight
            if not self._stated.affords(weight, now):
                break
            if self.told is not None:
                if not self.told.affords(weight, now):
                    break
                self.told.took_cost(weight)
            if wish.costs:
                wish.costs.popleft()
            self._stated.take_weight(weight)
            cost += weight
            taken += 1
        return taken, cost

    def _take(self, n: int, now: float) -> None:
        self.wishes.waiting -= n
        self.out += n
        if self._idle_since is not None:
            self.pace.on_idle(now - self._idle_since)
            self._idle_since = None
        self.pace.on_sent(n, now)
        if self.pace.bucket is not None:
            self.pace.bucket.take(n)
        self._stated.take(n)
        if self.told is not None:
            self.told.took(n, now)

    def release(self, stage: Ref, n: int) -> None:
        """So many of its permits are not out any more."""
        if stage not in self._in_use:
            return
        if self._in_use[stage] < n:
            raise InternalError(f"{stage.name} gave back {n} permits and held {self._in_use[stage]}")
        self._in_use[stage] -= n
        self.out -= n

    def wake_at(self, now: float, *, probing: bool) -> float | None:
        """When `grant` may give more without that anything is told; None if only a message can change something."""
        if not self.wishes:
            return None
        weight = self.wishes.first[1][0].weight
        waits = self._stated.waits_for_weight(weight, now) if self._stated.weighing else []
        if self.told is not None:
            waits.append(self.told.wait_s(weight, now))
        if probing:
            # One call at a time, whatever the rate of calls says; but a row's weight must be there for it.
            return now + max(TICK_S, *waits) if self._stated.weighing and not self.out else None
        if self.pace.bucket is not None:
            waits.append(self.pace.bucket.wait_s(1.0, now))
        if self.terms.rates:
            waits += self._stated.waits_for_call(now)
        wait_s = max(waits, default=0.0)
        if self._room_in_flight(now) < 1:
            let_in_at = self.pace.wake_at(now)
            return let_in_at if let_in_at is None else max(let_in_at, now + max(wait_s, TICK_S))
        # Nothing to wait for but a call's end: its message will bring us back.
        return now + max(wait_s, TICK_S) if wait_s > 0.0 else None

    @property
    def scarce(self) -> bool:
        """Permits are slots of something: a stage should ask for no more than it can start."""
        return (
            bool(self.terms.rates)
            or self.vegas is not None
            or self.pace.refused
            or self.told is not None
            or self.wishes.waiting > 0
        )

    def forgettable(self, now: float) -> bool:
        """Nothing is out, nothing waits, every budget is full."""
        return (
            self.out == 0
            and not self.wishes
            and not self.pace.learned
            and (self.told is None or self.told.over(now))
            and self._stated.full(now)
        )
