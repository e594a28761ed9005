"""One budget: the permits of one key of one limit, and the cooldowns that close it. The governor owns it.

    OPEN --hit of today's epoch--> COOLING --time--> OPEN           (refused: the epoch grows by one)
    OPEN --failures in a row-----> COOLING --time--> PROBING        (outage)
    OPEN --turned away in a row--> COOLING --time--> PROBING        (exhausted: the account gets nothing for long, L71)
    PROBING --answered--> OPEN     PROBING --failed, hit or turned away--> COOLING

Which permits go out, to whom, and how many, is in `permits`; here is whether any may. `grant` is the only place where one
goes out, and gives none while COOLING. `outage_watch` says whether the other side is out, `patience` whether
the account is exhausted.
"""

from __future__ import annotations

import enum

import msgspec

from ..actor import Ref
from ..errors import InternalError
from ..protocol import Closure, Epoch, Heard, Prior, Spent
from ..rows.identity import Id
from .outage_watch import OutageWatch
from .patience import REFUSED_FOR_LONG_S, Patience
from .permits import Grant, Permits
from .terms import Terms

MANY = 3
"""So many refusals in a row that brought nothing may be of an account that is exhausted."""
TRIED_S = 0.01
"""A cooldown where it is known what was refused: a call more at once than are let in."""


class GateState(enum.Enum):
    OPEN = "open"
    COOLING = "cooling"
    PROBING = "probing"


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
        self._fruitless = 0
        self._outage = OutageWatch()
        self._in_vain = 0
        self._in_vain_since: float | None = None
        self.patience = Patience()
        self._hinted = False
        self._doubted: Epoch | None = None
        """The epoch that a doubtful refusal began first."""
        self._proven = False
        """Calls of that epoch or a later one were answered: what is refused is a part of them."""
        self._taught = True
        """Whether this cooldown's refusal says something of the rate."""
        self._shut_since = now
        """When the closing began of which this cooldown is a part."""
        self._refused_since = now
        """When this cooldown itself did."""
        self._permits = Permits(terms, now)
        self._pace = self._permits.pace

    @property
    def terms(self) -> Terms:
        """What the user has stated of the limit."""
        return self._permits.terms

    def set_terms(self, terms: Terms, now: float) -> None:
        """A limit changes while in use; permits out stay out."""
        self._permits.set_terms(terms, now)
        self._pace = self._permits.pace

    # --- what is told ---

    def want(self, stage: Ref, n: int, costs: tuple[float, ...]) -> None:
        """The stage wishes for so many more, for rows that weigh so much, where they have weights."""
        self._permits.wishes.add(stage, n, costs)

    def withdraw(self, stage: Ref) -> int:
        """The stage takes back what it asked for; how much that was."""
        return self._permits.wishes.withdraw(stage)

    def returned(self, stage: Ref, n: int, cost: float, now: float, since_s: float | None = None) -> None:
        """Permits that were not used. `since_s`: the stage has had them for as long; None: they have just gone out."""
        self._permits.returned(stage, n, cost, now, since_s, shut=self.state is GateState.COOLING)

    def discharge(self, stage: Ref) -> None:
        """The stage is gone: nothing it holds or wants counts any more (L16)."""
        self._permits.discharge(stage)

    def hear(self, used: int, heard: tuple[Heard, ...], spent: tuple[Spent, ...], now: float) -> None:
        """So many calls, which have `ended`, were told this of quotas, and took so much."""
        self._permits.hear(used, heard, spent, now)

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
        in_use = self._permits.out
        self._permits.release(stage, used)
        # Calls of the run before a cooldown say that it was not for nothing, also if they are answered in it.
        of_run = epoch is None or epoch >= self.epoch - (self.state is GateState.COOLING)
        self._pace.on_ended(used, answered, of_run=of_run, in_use=in_use, latency_s=latency_s, now=now)
        if answered:
            self._outage.on_answered(answered)
            if epoch is not None and self._doubted is not None and epoch >= self._doubted:
                self._proven = True
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
            if self._permits.vegas is not None:
                self._permits.vegas.on_answered(answered, latency_s, in_use)
        elif failed:
            self._outage.on_failed(failed)
        if self.state is GateState.PROBING:
            return bool(failed) and not answered
        return self.state is GateState.OPEN and self._outage.is_out(self.terms.outage_after)

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
        if doubtful and (self.state is GateState.PROBING or self._pace.by_chance(self._permits.out)):
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
        if self._permits.told is not None:
            self._permits.told.refused()
        tried = self._pace.in_flight.tried
        self._teach(took_s, now, doubtful=doubtful)
        cooldown_s = hint if hint is not None else TRIED_S if tried else self._own_cooldown_s(now)
        self._hinted = hint is not None
        # Who is told when to come again need not guess; nor was it in vain that it asked.
        self._fruitless = 0 if self._hinted else self._fruitless + 1
        self._close(Closure.REFUSED, now + cooldown_s, now)
        return True

    def _teach(self, took_s: float, now: float, *, doubtful: bool) -> None:
        """What is found out of the rate by this refusal. A quota lets calls through once it opens again. Who is out does
        not, and what is known of a rate stands until it is seen which of the two it is."""
        self._taught = not doubtful or self._proven or not (self._pace.learned or self.terms.rates)
        if doubtful and self._doubted is None:
            self._doubted = Epoch(self.epoch + 1)
        if self._taught:
            self._pace.on_refused(self._permits.out, took_s, now)

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
        wait_s = self._outage.next_probe_s(self.terms) * (0.75 + 0.5 * random)
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
        self._outage.forget_failures()
        if self.closure is Closure.REFUSED and self._taught:
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
        self._outage.on_reopened()
        self.state = GateState.OPEN
        self.closure = None
        self.out_since_s = None
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
        """Permits that go out now."""
        shut, probing = self.state is GateState.COOLING, self.state is GateState.PROBING
        return self._permits.grant(now, shut=shut, probing=probing)

    def wake_at(self, now: float) -> float | None:
        """When to call again without being told anything; None if only a message can change something."""
        if self.state is GateState.COOLING:
            return self.until_s
        return self._permits.wake_at(now, probing=self.state is GateState.PROBING)

    @property
    def scarce(self) -> bool:
        """Permits are slots of something: a stage should ask for no more than it can start."""
        return self.state is not GateState.OPEN or self._permits.scarce

    def forgettable(self, now: float) -> bool:
        """Nothing is out, nothing waits, every budget is full: a new gate would do the same (idle keys)."""
        return self.state is GateState.OPEN and self._permits.forgettable(now)

    @property
    def learned_per_s(self) -> float | None:
        bucket = self._pace.bucket
        return bucket.rate_per_s if bucket is not None else None

    @property
    def out(self) -> int:
        """How many permits are granted and not yet used or given back."""
        return self._permits.out

    @property
    def waiting(self) -> int:
        """How many are wished for."""
        return self._permits.wishes.waiting
