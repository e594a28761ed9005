"""The headers in which other sides tell how much of a quota is left: one table, for what is read out of answers (`quotas.py`)
and out of refusals (`hints.py`).

| who | how the quota comes back |
|---|---|
| OpenAI, and who speaks as it does (`x-ratelimit-*-requests`, `-tokens`) | a token bucket: its reset is when it is full |
| Anthropic (`anthropic-ratelimit-…`) | a token bucket: "the time when the limit will be fully replenished" |
| GitHub, GitLab, Twitter and many others (`x-ratelimit-*`, `x-rate-limit-*`) | the first say a window; as many use a bucket or a sliding one, so nothing is taken for said |
| the IETF's draft-ietf-httpapi-ratelimit-headers, revisions up to 6 (`ratelimit-*`) | is left to the server |

Its later revisions have fields of their own, `RateLimit` and `RateLimit-Policy`, which `quotas.py` reads apart.
"""  # noqa: E501

from __future__ import annotations

from typing import NamedTuple

from headrace.actors.protocol import Refill


class Dialect(NamedTuple):
    """Three headers of one quota, and in what it counts."""

    remaining: str
    reset: str
    limit: str
    unit: str = "calls"
    refill: Refill = Refill.UNSAID


def _openai(of: str, unit: str) -> Dialect:
    return Dialect(
        f"x-ratelimit-remaining-{of}",
        f"x-ratelimit-reset-{of}",
        f"x-ratelimit-limit-{of}",
        unit,
        Refill.CONTINUOUS,
    )


def _anthropic(of: str, unit: str) -> Dialect:
    name = f"anthropic-ratelimit-{of}"
    return Dialect(f"{name}-remaining", f"{name}-reset", f"{name}-limit", unit, Refill.CONTINUOUS)


NAMED = {
    "openai": (_openai("requests", "calls"), _openai("tokens", "tokens")),
    "anthropic": (
        _anthropic("requests", "calls"),
        _anthropic("tokens", "tokens"),
        _anthropic("input-tokens", "input_tokens"),
        _anthropic("output-tokens", "output_tokens"),
    ),
    "github": (
        Dialect("x-ratelimit-remaining", "x-ratelimit-reset-after", "x-ratelimit-limit"),
        Dialect("x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-limit"),
        Dialect("x-rate-limit-remaining", "x-rate-limit-reset", "x-rate-limit-limit"),
    ),
    "ietf": (Dialect("ratelimit-remaining", "ratelimit-reset", "ratelimit-limit"),),
}
"""By what `Limit(headers=)` and job files call them. Of two with the same `remaining`, the first that has a reset counts."""
DIALECTS = tuple(dialect for dialects in NAMED.values() for dialect in dialects)
GITHUB_RESOURCE = "x-ratelimit-resource"
"""GitHub says in it which of its quotas the others are about."""
UNITS = {"requests": "calls", "request": "calls", "content-bytes": "bytes"}
"""What the IETF's draft calls units (`qu`), and what they are called here."""
