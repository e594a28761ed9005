"""Durations, rates, counts and hints from outside, read in one place (L60).

Options in Python and in files, headers, attributes of other people's exceptions and `Pending` come through here. An option
that is not a finite number in its range is a `ConfigError`, which names the option, its value and the range. A hint of the
other side is no option: one that cannot be used is none, and one that is too long counts as the longest.

Ints, floats, Decimals, Fractions and numpy's scalars are numbers. A bool is none, and neither is text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from headrace.actors.quantities import HEAVIEST, LONGEST_S, finite, shown

from .errors import ConfigError

RATE_MIN, RATE_MAX = 1e-8, 1e9
"""Calls, or units of weight, a second: from one in three years to one in a nanosecond."""
MANY = 1_000_000_000
"""The largest count of rows, attempts and refusals."""
CALLS_MAX = 1_000_000
"""The most calls in flight that one option can allow."""


class Range(NamedTuple):
    """The values that an option may have. `text`: the same for people. `whole`: only integers. `above`: `least` itself is
    not among them."""

    least: float
    most: float
    text: str
    whole: bool = False
    above: bool = False


SECONDS = Range(0.0, LONGEST_S, f"seconds greater than 0, at most {LONGEST_S:.0e} (31 years)", above=True)
SECONDS_OR_ZERO = Range(0.0, LONGEST_S, f"seconds of at least 0, at most {LONGEST_S:.0e} (31 years)")
DAYS = Range(0.0, 11_574.0, "days of at least 0, at most 11,574 (31 years)")
ROWS = Range(1, MANY, f"greater than 0: a whole number of rows, at most {MANY:,}", whole=True)
REMEMBERED = Range(1, 10_000_000, "greater than 0: a whole number of rows to remember, at most 10,000,000", whole=True)
WINDOW = Range(1, MANY, f"at least one row must fit: a whole number, at most {MANY:,}", whole=True)
CALLS = Range(1, CALLS_MAX, f"at least one call must be allowed: a whole number, at most {CALLS_MAX:,}", whole=True)
WORKERS = Range(1, CALLS_MAX, f"at least one is needed: a whole number, at most {CALLS_MAX:,}", whole=True)
ATTEMPTS = Range(
    1, MANY, f"the first call is an attempt too, so at least 1: a whole number, at most {MANY:,}", whole=True
)
REFUSALS = Range(0, MANY, f"a whole number of at least 0, at most {MANY:,}", whole=True)
BURST = Range(1, RATE_MAX, f"at least one call must be allowed: a number, at most {RATE_MAX:.0e}")
BYTES = Range(1, HEAVIEST, f"greater than 0: a whole number of bytes, at most {HEAVIEST:.0e}", whole=True)
MEMORY = Range(
    1 << 26,
    HEAVIEST,
    "a size such as '2GB', or a number of bytes, at least 64 MB, which a Python takes itself",
    whole=True,
)
PARTS = Range(1, CALLS_MAX, "'all', 'any', 'best', or a number of parts, at least 1", whole=True)
PORT = Range(1, 65_535, "a port: a whole number from 1 to 65,535", whole=True)
AMOUNT = Range(0.0, HEAVIEST, f"a number of at least 0, at most {HEAVIEST:.0e}")
QUARANTINED = Range(0, HEAVIEST, "a number of rows, or a share of them below 1; at least 0 and finite")


def option(where: str, name: str, value: object, allowed: Range, otherwise: str = "") -> Any:
    """The value of an option that has one: an int where only integers are allowed, else a float. Raises `ConfigError`.

    `where`: what the option is one of, such as "Limit". `otherwise`: what it may be besides, for the message.
    """
    number = finite(value)
    if number is not None and allowed.whole:
        number = _whole(value)
    if number is None or not allowed.least <= number <= allowed.most or (allowed.above and number == allowed.least):
        raise ConfigError(f"{where}: {name}={shown(value, private=False)}: {allowed.text}{otherwise}")
    return number


def optional(where: str, name: str, value: object, allowed: Range) -> Any:
    """The same of an option that may be None, which says that there is none. Raises `ConfigError`."""
    if value is None:
        return None
    return option(where, name, value, allowed, ", or None")


def patience(where: str, seconds: object) -> float | None:
    """How long a caller is willing to wait: None for as long as it takes, less than 0 for not at all. Raises `ConfigError`.

    `where`: the method whose `timeout` it is.
    """
    if seconds is None:
        return None
    number = finite(seconds)
    if number is not None and number < 0.0:
        return 0.0
    waits: float = optional(where, "timeout", seconds, SECONDS_OR_ZERO)
    return waits


def hint_s(hint: object, now: Callable[[], float] | None = None) -> float | None:
    """When the other side said to come again, in seconds from now; None where it said nothing that can be used.

    A number of seconds, a timedelta, a datetime, or text as in a Retry-After header (RFC 9110, section 10.2.3): seconds or a
    date. A time that is past, NaN, a bool and any other object say nothing. What is longer than `LONGEST_S` counts as that;
    limits have a ceiling of their own, `Limit(max_hint=...)`. `now` gives the seconds since 1970. Never raises.
    """
    if hint is None:
        return None
    if type(hint) is float and 0.0 < hint <= LONGEST_S:
        return hint
    try:
        seconds = _seconds_of(hint, now or time.time)
    except Exception:
        return None
    return min(seconds, LONGEST_S) if seconds is not None and seconds > 0.0 else None


def _seconds_of(hint: Any, now: Callable[[], float]) -> float | None:
    if isinstance(hint, str):
        try:
            return finite(float(hint))
        except ValueError:
            return parsedate_to_datetime(hint).timestamp() - now()
    if isinstance(hint, timedelta):
        return hint.total_seconds()
    if isinstance(hint, datetime):
        # A naive one is taken to be in UTC, as the dates of headers are.
        return (hint if hint.tzinfo is not None else hint.replace(tzinfo=UTC)).timestamp() - now()
    number = finite(hint)
    if number is None and not isinstance(hint, bool) and hint > LONGEST_S:
        # Infinity, or an integer that no float can hold.
        return LONGEST_S
    return number


def _whole(value: Any) -> int | None:
    try:
        return int(value.__index__())
    except Exception:
        return None
