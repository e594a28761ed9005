"""What a service's answers say of its quotas, in the headers that each provider has for that.

| dialect | headers | the reset |
|---|---|---|
| `openai` | `x-ratelimit-limit-requests`, `-remaining-requests`, `-reset-requests`, the same of `-tokens` | a duration, `6m0s` |
| `anthropic` | `anthropic-ratelimit-requests-limit`, `-remaining`, `-reset`, the same of `tokens` | a date of RFC 3339 |
| `github` | `x-ratelimit-limit`, `-remaining`, `-used`, `-reset`: of calls | seconds since 1970 |
| `ietf` | `RateLimit: "calls";r=49;t=30`, `RateLimit-Policy: "calls";q=100;w=60` (draft-ietf-httpapi-ratelimit-headers-10) | seconds, whole ones |

Dates are of the server's own clock, whole seconds, rounded up as far as they are resets. `Date` is when the answer is sent.
"""  # noqa: E501

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Literal

from .quotas import Standing

Dialect = Literal["none", "openai", "anthropic", "github", "ietf"]
Fields = list[tuple[str, str]]
"""Header fields in order."""
_OF_UNIT = {"calls": "requests", "tokens": "tokens"}


def quota_fields(dialect: Dialect, standings: Iterable[tuple[str, Standing]], wall_s: float) -> Fields:
    """What is told of quotas, each given with its unit. Of several of one unit, only the IETF's dialect tells more than the
    one with the least left. `wall_s`: the server's clock."""
    told = list(standings)
    if dialect == "ietf":
        return _ietf(told)
    scarcest: dict[str, Standing] = {}
    for unit, standing in told:
        if unit not in scarcest or standing.remaining < scarcest[unit].remaining:
            scarcest[unit] = standing
    fields: Fields = []
    for unit, standing in scarcest.items():
        fields += _provider(dialect, unit, standing, wall_s)
    return fields


def date_field(wall_s: float) -> tuple[str, str]:
    """The `Date` field of a header, in the form of RFC 9110, section 5.6.7."""
    return "date", formatdate(math.floor(wall_s), usegmt=True)


def _provider(dialect: Dialect, unit: str, standing: Standing, wall_s: float) -> Fields:
    limit, remaining = f"{standing.limit:.0f}", str(math.floor(standing.remaining + 1e-9))
    resets_at = math.ceil(wall_s + standing.reset_s)
    match dialect:
        case "openai":
            of = _OF_UNIT[unit]
            reset = _duration(standing.reset_s)
            return [
                (f"x-ratelimit-limit-{of}", limit),
                (f"x-ratelimit-remaining-{of}", remaining),
                (f"x-ratelimit-reset-{of}", reset),
            ]
        case "anthropic":
            of = f"anthropic-ratelimit-{_OF_UNIT[unit]}"
            date = datetime.fromtimestamp(resets_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return [(f"{of}-limit", limit), (f"{of}-remaining", remaining), (f"{of}-reset", date)]
        case "github" if unit == "calls":
            used = str(int(standing.limit) - int(remaining))
            return [
                ("x-ratelimit-limit", limit),
                ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-used", used),
                ("x-ratelimit-reset", str(resets_at)),
            ]
        case _:
            return []


def _ietf(told: list[tuple[str, Standing]]) -> Fields:
    if not told:
        return []
    limits, policies = [], []
    for i, (unit, standing) in enumerate(told):
        name = f'"{unit}"' if i == 0 else f'"{unit}-{i}"'
        quota_unit = ';qu="tokens"' if unit == "tokens" else ""
        limits.append(f"{name};r={math.floor(standing.remaining + 1e-9)};t={math.ceil(standing.reset_s)}")
        policies.append(f"{name};q={standing.limit:.0f};w={math.ceil(standing.window_s)}{quota_unit}")
    return [("ratelimit", ", ".join(limits)), ("ratelimit-policy", ", ".join(policies))]


def _duration(seconds: float) -> str:
    """`6m0s`, `1.5s` or `20ms`, as Go writes its durations."""
    ms = math.ceil(seconds * 1000.0 - 1e-6)
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    said = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{said}"
    return f"{minutes}m{said}" if minutes else said
