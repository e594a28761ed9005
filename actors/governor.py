"""The governor: gives permits for calls at the rate the other side allows, and closes when it says no or is out.

Told: `Register`, `Unregister`, `PermitsWanted`, `PermitsReturned`, `CallsEnded`, `LimitHit`, `TurnedAway` by stages, of any
number of pipelines and executors that share it; `SetLimit` by users; `LearnedWanted` by journals. Tells: `PermitsGranted`
to one stage; `CooldownBegan`, `CooldownEnded`, `Reopened`, `OutageOverdue`, `AccountGivenUp` to all of them; `Learned` to
who asks.

Promises: no grant between `CooldownBegan` and `CooldownEnded`; one cooldown an epoch, however many calls were refused
(L09); it belongs to nobody but the governor (L12); permits granted = used + returned + out (L16).
The state of one budget is a `Gate`; this file keeps one for each key, and the time.
"""

from __future__ import annotations

from itertools import islice
from typing import assert_never

import msgspec

from . import protocol
from .actor import Actor, Context, Ref
from .buffers.wait_clock import WaitClock
from .errors import InternalError
from .limits.gate import Gate, GateState
from .limits.terms import Terms
from .protocol import Closure, Key, Lessons, Message

KEYS_SWEEP = 1024
"""With more keys than this, idle ones are looked for whenever their number has doubled."""

LATEST_KEYS = 8 * KEYS_SWEEP
"""What was found out is looked for among so many keys, the latest; and of `KEYS_SWEEP` at most it is handed on."""
EARLIER_S = 0.0002
"""A wake-up that is on the way is moved only if it is due sooner by more than this."""


class _Wake(protocol.Control, frozen=True):
    key: Key
    at_s: float


class GovernorStatistics(msgspec.Struct, frozen=True):
    """`granted` = `used` + `returned` + `out`, always. `learned_per_s`: the rate found out, where there was need to. `shut`:
    how often an account was found exhausted; `waits_for`: while it is, the provider's words. `permit_s`: seconds in which
    calls waited for their turn at an open gate; `closed_s`: in which a gate let none go, by why (`refused`, `outage`,
    `exhausted`); a cooldown that is not over counts until now, and several keys that are closed at once count once."""

    granted: int
    used: int
    returned: int
    out: int
    waiting: int
    hits: int
    cooldowns: int
    cooled_s: float
    outages: int
    keys: int
    learned_per_s: float | None
    shut: int
    waits_for: str | None
    permit_s: float = 0.0
    closed_s: dict[str, float] = {}


Told = (
    protocol.Register
    | protocol.Unregister
    | protocol.PermitsWanted
    | protocol.PermitsReturned
    | protocol.WishesWithdrawn
    | protocol.CallsEnded
    | protocol.LimitHit
    | protocol.TurnedAway
    | protocol.SetLimit
    | protocol.LearnedWanted
    | protocol.Start
    | protocol.Abort
    | _Wake
)


class Governor(Actor):
    """Owns one gate for each key of its limit; the module says how."""

    def __init__(self, terms: Terms, lessons: Lessons | None = None) -> None:
        """`lessons`: what an earlier governor of the same limit has found out. Where other terms were stated then, it is
        forgotten: they are newer than what was found out."""
        self._terms = terms
        self._stages: list[Ref] = []
        self._gates: dict[Key, Gate] = {}
        self._priors = lessons.priors if lessons is not None and lessons.stated == terms.said else {}
        self._wakes: dict[Key, float] = {}
        self._sweep_at = KEYS_SWEEP
        self._granted = 0
        self._used = 0
        self._returned = 0
        self._discharged = 0
        self._hits = 0
        self._outages = 0
        self._cooldowns = 0
        self._cooled_s = 0.0
        self._shut = 0
        self._queued: set[Key] = set()
        """Keys whose gates are open and have more wishes than they can grant now."""
        self._permits = WaitClock()
        self._closed: dict[Closure, set[Key]] = {why: set() for why in Closure}
        """Keys whose gates are closed, by why."""
        self._closings = {why: WaitClock() for why in Closure}
        self._answered = False
        """A call was, of any key: so what they all share, such as the key of an API, is right."""

    def start(self, context: Context) -> None:
        super().start(context)
        now = context.now()
        for key, prior in self._priors.items():
            gate = self._gates[key] = Gate(self._terms, now)
            gate.recall(prior, now)
            if gate.state is GateState.COOLING:
                self._note_closed(gate, key)
            self._sleep(key, gate, now)
        self._priors = {}

    def lessons(self) -> Lessons:
        """What was found out, for the next governor of this limit. To be asked for when this one has ended; until then, by
        `LearnedWanted`."""
        latest = islice(reversed(self._gates.items()), LATEST_KEYS)
        kept = islice(((key, prior) for key, gate in latest if (prior := gate.prior) is not None), KEYS_SWEEP)
        return Lessons(self._terms.said, dict(reversed(list(kept))))

    def receive(self, message: Told) -> None:
        match message:
            case protocol.PermitsWanted(stage, n, key, costs):
                if stage in self._stages:
                    self._gate(key).want(stage, n, costs)
                    self._grant(key)
            case protocol.CallsEnded():
                self._on_calls_ended(message)
            case protocol.PermitsReturned(stage, n, key, cost, since_s):
                if stage in self._stages:
                    self._returned += n
                    self._gate(key).returned(stage, n, cost, self.context.now(), since_s)
                    self._grant(key)
            case protocol.WishesWithdrawn(stage, key):
                self.context.tell(stage, protocol.WishesForgotten(self._gate(key).withdraw(stage), key))
            case _Wake(key, at_s):
                self._on_wake(key, at_s)
            case protocol.LimitHit():
                self._on_limit_hit(message)
            case protocol.TurnedAway():
                self._on_turned_away(message)
            case protocol.Register(stage):
                self._on_enlist(stage)
            case protocol.Unregister(stage):
                self._on_discharge(stage)
            case protocol.SetLimit(terms):
                self._terms = terms
                for key, gate in self._gates.items():
                    gate.set_terms(terms, self.context.now())
                    self._grant(key)
            case protocol.LearnedWanted(reply_to):
                self.context.tell(reply_to, protocol.Learned(self.context.me, self.lessons()))
            case protocol.Start() | protocol.Abort():
                pass
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _gate(self, key: Key) -> Gate:
        gate = self._gates.get(key)
        if gate is None:
            if len(self._gates) >= self._sweep_at:
                self._forget_idle_keys()
            gate = self._gates[key] = Gate(self._terms, self.context.now())
            if self._answered:
                gate.patience.on_answered()
        return gate

    def _forget_idle_keys(self) -> None:
        now = self.context.now()
        for key in [k for k, gate in self._gates.items() if gate.forgettable(now)]:
            gate = self._gates.pop(key)
            self._cooldowns += gate.cooldowns
            self._cooled_s += gate.cooled_s
            self._shut += gate.patience.closures
            self._wakes.pop(key, None)
        self._sweep_at = max(KEYS_SWEEP, 2 * len(self._gates))

    def _on_enlist(self, stage: Ref) -> None:
        if stage not in self._stages:
            self._stages.append(stage)
        for key, gate in self._gates.items():
            if gate.state is GateState.COOLING:
                if gate.closure is None:
                    raise InternalError("a gate that is closed has a reason")
                self.context.tell(stage, _began(gate, key))

    def _on_discharge(self, stage: Ref) -> None:
        if stage in self._stages:
            self._stages.remove(stage)
        for key, gate in self._gates.items():
            before = gate.out
            gate.discharge(stage)
            self._discharged += before - gate.out
            self._grant(key)

    def _on_calls_ended(self, ended: protocol.CallsEnded) -> None:
        if ended.stage not in self._stages:
            return
        gate = self._gate(ended.key)
        self._used += ended.used
        self._answered = self._answered or ended.answered > 0
        now = self.context.now()
        out = gate.ended(ended.stage, ended.used, ended.answered, ended.failed, ended.latency_s, now, ended.epoch)
        gate.hear(ended.used, ended.heard, ended.spent, now)
        if ended.answered and gate.reopen():
            self._tell_stages(protocol.Reopened(gate.epoch, ended.key))
        if out and ended.epoch == gate.epoch:
            self._close_for_outage(gate, ended.key)
        self._grant(ended.key)

    def _close_for_outage(self, gate: Gate, key: Key) -> None:
        now = self.context.now()
        if gate.out_since_s is None:
            self._outages += 1
        gate.close_for_outage(now, self.context.random())
        self._note_closed(gate, key)
        if gate.out_since_s is None:
            raise InternalError("an outage that is overdue has begun")
        if now - gate.out_since_s > gate.terms.outage_deadline_s:
            self._tell_stages(protocol.OutageOverdue(now - gate.out_since_s))
        self._tell_stages(_began(gate, key))

    def _on_turned_away(self, away: protocol.TurnedAway) -> None:
        gate = self._gate(away.key)
        now = self.context.now()
        if gate.turned_away(away.epoch, away.n, away.retry_after_s, away.words, now):
            self._closed_again(gate, away.key, now)
        self._sleep(away.key, gate, now)

    def _closed_again(self, gate: Gate, key: Key, now: float) -> None:
        """Tell all; and if it is for an account that has been exhausted for longer than anybody waits, that too."""
        self._note_closed(gate, key)
        self._tell_stages(_began(gate, key))
        patience = gate.patience
        exhausted = gate.closure is protocol.Closure.EXHAUSTED and patience.shut_since_s is not None
        if exhausted and patience.overdue(gate.terms.give_up_after_s, now):
            since_s = now - (patience.shut_since_s or 0.0)
            self._tell_stages(protocol.AccountGivenUp(since_s, _words(gate)))

    def _on_limit_hit(self, hit: protocol.LimitHit) -> None:
        self._hits += 1
        gate = self._gate(hit.key)
        now = self.context.now()
        if gate.hit(hit.epoch, hit.retry_after_s, now, hit.took_s, hit.n, doubtful=hit.doubtful):
            self._closed_again(gate, hit.key, now)
        self._sleep(hit.key, gate, now)

    def _on_wake(self, key: Key, at_s: float) -> None:
        if self._wakes.get(key) != at_s:
            return
        del self._wakes[key]
        gate = self._gates.get(key)
        if gate is None:
            return
        if gate.end_cooldown(self.context.now()):
            self._note_opened(key)
            probing = gate.state is GateState.PROBING
            self._tell_stages(protocol.CooldownEnded(gate.epoch, probing, key))
        self._grant(key)

    def _grant(self, key: Key) -> None:
        gate = self._gates.get(key)
        if gate is None:
            return
        now = self.context.now()
        grants = gate.grant(now)
        scarce = gate.scarce
        for grant in grants:
            self._granted += grant.n
            self.context.tell(grant.stage, protocol.PermitsGranted(gate.epoch, grant.n, key, grant.cost, scarce))
        self._sleep(key, gate, now)

    def _sleep(self, key: Key, gate: Gate, now: float) -> None:
        """Have a wake-up on the way for the next thing that only time brings. `now`: when the gate was asked what it gives.
        By a later look at the clock there may be something to give, and nothing to wait for."""
        if gate.waiting and gate.state is not GateState.COOLING:
            self._queued.add(key)
            self._permits.begin(self.context)
        elif self._queued:
            self._queued.discard(key)
            if not self._queued:
                self._permits.end(self.context)
        at_s = gate.wake_at(now)
        if at_s is None:
            return
        known = self._wakes.get(key)
        # Sums of floats differ in the last bit: without tolerance every message would set a timer of its own.
        if known is not None and now < known <= at_s + EARLIER_S:
            return
        self._wakes[key] = at_s
        self.context.after(max(0.0, at_s - now), _Wake(key, at_s))

    def _note_closed(self, gate: Gate, key: Key) -> None:
        if gate.closure is None:
            raise InternalError("a gate that has closed says why")
        self._closed[gate.closure].add(key)
        self._closings[gate.closure].begin(self.context)

    def _note_opened(self, key: Key) -> None:
        for why, keys in self._closed.items():
            if key in keys:
                keys.discard(key)
                if not keys:
                    self._closings[why].end(self.context)

    def _tell_stages(self, message: Message) -> None:
        for stage in self._stages:
            self.context.tell(stage, message)

    def statistics(self) -> GovernorStatistics:
        gates = list(self._gates.values())
        closed_s = {why.value: clock.seconds(self.context) for why, clock in self._closings.items()}
        return GovernorStatistics(
            granted=self._granted,
            used=self._used,
            returned=self._returned + self._discharged,
            out=sum(gate.out for gate in gates),
            waiting=sum(gate.waiting for gate in gates),
            hits=self._hits,
            cooldowns=self._cooldowns + sum(gate.cooldowns for gate in gates),
            cooled_s=self._cooled_s + sum(gate.cooled_s for gate in gates),
            outages=self._outages,
            keys=len(gates),
            learned_per_s=next((g.learned_per_s for g in gates if g.learned_per_s), None),
            shut=self._shut + sum(gate.patience.closures for gate in gates),
            waits_for=next((_words(g) for g in gates if g.patience.shut_since_s is not None), None),
            permit_s=self._permits.seconds(self.context),
            closed_s={why: seconds for why, seconds in closed_s.items() if seconds},
        )


def _words(gate: Gate) -> str:
    return gate.patience.words or "it has refused every call since"


def _began(gate: Gate, key: Key) -> protocol.CooldownBegan:
    if gate.closure is None:
        raise InternalError("a gate that has closed says why")
    words = _words(gate) if gate.closure is protocol.Closure.EXHAUSTED else None
    return protocol.CooldownBegan(gate.epoch, gate.until_s, gate.closure, key, words)
