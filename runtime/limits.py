"""What the user says of the other side: `Limit`, and of failed calls: `Retry`."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Literal

import msgspec

from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.protocol import Quota as Quota
from headrace.actors.protocol import Refill as Refill
from headrace.actors.stages.backoff import Backoff

from .errors import ConfigError
from .quantities import (
    ATTEMPTS,
    BURST,
    CALLS,
    RATE_MAX,
    RATE_MIN,
    REFUSALS,
    ROWS,
    SECONDS,
    SECONDS_OR_ZERO,
    option,
    optional,
)
from .verdicts.classify import Classifier

if TYPE_CHECKING:
    from .verdicts.quotas import Reader

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_SECONDS |= {"d": 86400.0, "day": 86400.0}
_RATE = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([A-Za-z]+)?\s*/\s*([A-Za-z]+)\s*")


def parse_rate(text: str, burst: float | None = None) -> Rate:
    """`"200/s"`, `"3,000/min"`, `"200_000 tokens/min"`: a number, a unit that is not `calls` for weights, a period.

    Raises `ConfigError`.
    """
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f"limit {text!r}: a rate reads like '200/s', '3000/min' or '200000 tokens/min'")
    amount, unit, period = match.groups()
    seconds = _SECONDS.get(period.lower())
    if seconds is None:
        raise ConfigError(f"limit {text!r}: unknown period {period!r}; use s, min, h or d")
    per_s = float(amount.replace("_", "").replace(",", "")) / seconds
    if not RATE_MIN <= per_s <= RATE_MAX:
        raise ConfigError(
            f"limit {text!r}: a rate is greater than 0, from {RATE_MIN:.0e} (one in three years) to {RATE_MAX:.0e} a second"
        )
    if unit is None or unit.lower() in ("call", "calls", "row", "rows", "request", "requests"):
        return Rate(per_s, burst)
    return Rate(per_s, burst, "cost", unit.lower())


class Limit:
    """What the other side allows: rates, calls in flight, and how long to wait when it refuses or is out.

    With no rate and no concurrency, Headrace learns from refusals what the other side allows. What is stated is never
    exceeded. If the other side refuses all the same, the calls go on at a little less, or at as much less as it turns out to
    allow. What answers tell of quotas in their headers is kept, too, where calls say so by `current_call().headers(...)`.

    Args:
        rates: Any number of rates, all of which hold: `"500/min"`, or with a unit, `"200_000 tokens/min"`. A rate with a
            unit is one of weights, which `cost` gives for a row. Periods are s, min, h and d.
        burst: How many calls may go at once after a pause. By default 20 ms of the rate, and at least one.
        concurrency: How many calls may be in flight; "auto" follows the latency.
        cost: A function of a row that gives its weight: a finite number from 0 to what the rate lets through in a day.
        key: A function of a row that gives text, a number, a tuple of these, or another object that can be hashed and equals
            itself. Each key has a budget of its own. A row for which `key` or `cost` raises, or gives something else, goes
            to quarantine.
        name: Stages, pipelines and executors of this process that name the same limit share it by turns, and what was
            learned of it is kept for the next one. A journal keeps what was learned of any limit for the next life of its
            run.
        cooldown: Seconds to wait after a refusal that brings no hint. The wait is doubled while nothing goes through; then
            it is a quarter of what has passed meanwhile.
        max_hint: The longest Retry-After, in seconds, that is honoured, whether the call was refused or has failed; 0
            honours none.
        outage_after: After so many rows whose calls failed one after another, it is an outage: rows wait, and one call at a
            time asks whether it is over.
        outage_deadline: Seconds after which an outage fails the run with `OutageDeadlineExceeded`.
        headers: Reads a dialect of your own: a function of the headers that gives a list of `Quota`, or None where they are
            not in this dialect. Or the name of the only dialect that is to be heeded: "openai", "anthropic", "github" (which
            many others use), "ietf", or one that an installed package brings by the entry point group `headrace.headers`.
        spread: Whether what remains of a quota that headers tell goes out evenly until its reset, and not at once.
        give_up_after: Seconds after which an account that is exhausted (no credit, a daily quota that is used up, a wrong
            key) fails the run with `AccountShut`; 0 ends it at once. Until then all rows wait, and one call at a time asks
            whether the account takes calls again: at the time that the other side names, however long that is, else after a
            minute, and less and less often, up to every ten minutes. By default it is a day and an hour, so that a daily
            quota begins anew meanwhile; where the other side names a later time, a day and a half off at most, an hour more
            than that; and half a minute where no call was ever answered, which is a wrong key.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> Limit("500/min", "200_000 tokens/min", cost=len, name="openai")
        Limit('500/min', '200_000 tokens/min')
        >>> by_customer = Limit("10/s", concurrency=8, key=lambda row: row["customer"])
        >>> Limit("200 per second")
        Traceback (most recent call last):
        headrace.runtime.errors.ConfigError: limit '200 per second': a rate reads like '200/s', ...
    """

    def __init__(
        self,
        *rates: str,
        burst: float | None = None,
        concurrency: int | Literal["auto"] | None = None,
        cost: Callable[..., float] | None = None,
        key: Callable[..., Hashable] | None = None,
        name: str | None = None,
        cooldown: float = 0.1,
        max_hint: float = 300.0,
        outage_after: int = 10,
        outage_deadline: float = 600.0,
        headers: Reader | str | None = None,
        spread: bool = False,
        give_up_after: float | None = None,
    ) -> None:
        burst = optional("Limit", "burst", burst, BURST)
        parsed = tuple(parse_rate(rate, burst) for rate in rates)
        if any(rate.unit == "cost" for rate in parsed) != (cost is not None):
            raise ConfigError(
                "a rate of weights such as '200000 tokens/min' and cost= go together: one of them is missing"
            )
        for function, called in (("cost", cost), ("key", key)):
            if called is not None and not callable(called):
                raise ConfigError(f"Limit: {function}= is a {type(called).__name__}; a function of a row is expected")
        if not isinstance(spread, bool):
            raise ConfigError(f"Limit: spread= is a {type(spread).__name__}; True or False is expected")
        self.rates = rates
        self.cost = cost
        self.key = key
        self.name = name
        self.headers = _reader(headers)
        self.terms = Terms(
            rates=parsed,
            concurrency=concurrency if concurrency == "auto" else optional("Limit", "concurrency", concurrency, CALLS),
            cooldown_s=option("Limit", "cooldown", cooldown, SECONDS_OR_ZERO),
            hint_max_s=option("Limit", "max_hint", max_hint, SECONDS_OR_ZERO),
            outage_after=option("Limit", "outage_after", outage_after, ROWS),
            outage_deadline_s=option("Limit", "outage_deadline", outage_deadline, SECONDS),
            spread=spread,
            give_up_after_s=optional("Limit", "give_up_after", give_up_after, SECONDS_OR_ZERO),
        )

    def called(self, stage: str) -> str:
        """What people know the limit by, as that of a stage.

        Args:
            stage: The name of the stage.
        """
        if self.name is not None:
            return f"limit {self.name!r}"
        return f"stage {stage!r}" + (f" (limit {', '.join(self.rates)})" if self.rates else "")

    def __repr__(self) -> str:
        return f"Limit({', '.join(map(repr, self.rates))})"


def _reader(headers: Reader | str | None) -> Reader | None:
    if isinstance(headers, str):
        # Most limits name none.
        from .verdicts.quotas import reader_named

        return reader_named(headers)
    if headers is not None and not callable(headers):
        raise ConfigError(
            f"Limit: headers= is a {type(headers).__name__}; a function of headers or the name of a dialect is expected"
        )
    return headers


def as_limit(limit: Limit | str | None) -> Limit:
    """`limit="200/s"` is short for `Limit("200/s")`. Raises `ConfigError`."""
    if limit is None:
        return Limit()
    return limit if isinstance(limit, Limit) else Limit(limit)


class Retry(msgspec.Struct, frozen=True):
    """How often a call is tried again, and how long it waits before.

    What concerns many rows (an outage, a time in which half of the calls fail, an exhausted account) costs no attempt,
    whatever `attempts` says.

    Args:
        attempts: How many calls a row gets, the first included, which fail while those of other rows are answered.
        base: Seconds. The wait before a retry is a random share of `base` doubled with each attempt (full jitter). By
            default the waits of a row come to more than two minutes in the mean.
        cap: The longest wait before a retry, in seconds.
        refusals: How often one row may be refused, which costs no attempt, while others are answered.
        classify: A function of the exception that gives your own word on it: "transient", "permanent", "refused",
            "exhausted" (the other side takes no call of this account for long), or None to leave it to Headrace.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> Retry(5, base=1.0, classify=lambda error: "transient" if isinstance(error, KeyError) else None).attempts
        5
        >>> Retry(0)
        Traceback (most recent call last):
        headrace.runtime.errors.ConfigError: ...
    """

    attempts: int = 14
    base: float = 0.1
    cap: float = 60.0
    refusals: int = 100
    classify: Classifier | None = None

    def __post_init__(self) -> None:
        option("Retry", "attempts", self.attempts, ATTEMPTS)
        option("Retry", "base", self.base, SECONDS_OR_ZERO)
        option("Retry", "cap", self.cap, SECONDS_OR_ZERO)
        option("Retry", "refusals", self.refusals, REFUSALS)
        if self.classify is not None and not callable(self.classify):
            raise ConfigError(
                f"Retry: classify= is a {type(self.classify).__name__}; a function of an error is expected"
            )

    @property
    def backoff(self) -> Backoff:
        # Whatever kind of number they are: actors count with floats and ints.
        """The same in the words of the actors."""
        return Backoff(int(self.attempts), float(self.base), float(self.cap), int(self.refusals))


def as_retry(retry: Retry | int | None) -> Retry | None:
    """`retry=5` is short for `Retry(5)`. Raises `ConfigError`."""
    if retry is None or isinstance(retry, Retry):
        return retry
    return Retry(option("retry", "attempts", retry, ATTEMPTS))


def checked_times(where: str, timeout: object, deadline: object) -> tuple[float | None, float | None]:
    """The `timeout` and the `deadline` of a stage or executor. Raises `ConfigError`."""
    return optional(where, "timeout", timeout, SECONDS), optional(where, "deadline", deadline, SECONDS)


def check_on_unknown(where: str, on_unknown: str) -> None:
    """What stages and executors are told of calls that may have happened. Raises `ConfigError`."""
    if on_unknown not in ("retry", "quarantine"):
        raise ConfigError(f"{where}: on_unknown={on_unknown!r}: 'retry' or 'quarantine'")
