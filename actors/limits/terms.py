"""A limit as its governor sees it: what was stated, and how long it closes."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..quantities import DAY_S, HEAVIEST


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


def cost_units(terms: Terms) -> frozenset[str]:
    """What the weights of rows are counted in, where that is more than calls."""
    return frozenset(rate.name for rate in terms.rates if rate.unit == "cost")
