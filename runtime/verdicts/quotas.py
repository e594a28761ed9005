"""What the headers of an answer tell of quotas: how much is left, and when it is whole again. See `dialects.py`.

A field that cannot be read, or that says less than both, is none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from headrace.actors.protocol import Quota, Refill
from headrace.actors.quantities import finite
from headrace.runtime.errors import ConfigError

from .dialects import DIALECTS, GITHUB_RESOURCE, NAMED, UNITS, Dialect
from .hints import Headers, plain_number, structured, until_s
from .plugins import readers

QUOTAS_MAX = 16
"""So many quotas of one answer are heeded."""
LONGEST_S = 1e9
NAME_MAX = 100
"""Characters of a unit, and of a quota's name."""

Reader = Callable[[Any], "Iterable[Quota] | None"]
"""A dialect of the user's own: the headers, as they were given, to quotas; None where it is not spoken."""


def quotas_of(held: object, own: Reader | None = None) -> tuple[Quota, ...]:
    """The quotas that headers tell of: a mapping of names to text or bytes, or pairs. `own` is asked first; then the
    readers that installed packages bring, then the table."""
    said = own(held) if own is not None else None
    quotas = _checked(said) if said is not None else readers.asked(held, _checked)
    if quotas is None:
        headers = Headers(held)
        quotas = (*_of_dialects(DIALECTS, headers), *_of_ietf(headers))[:QUOTAS_MAX]
    return quotas


def reader_named(name: str) -> Reader:
    """What reads the dialect of that name and no other: one of the table, or one that an installed package brings. Raises
    `ConfigError`."""
    dialects = NAMED.get(name)
    if dialects is not None:

        def known(held: object) -> Iterable[Quota]:
            headers = Headers(held)
            return [*_of_dialects(dialects, headers), *(_of_ietf(headers) if name == "ietf" else ())]

        return known
    installed = readers.named(name)
    if installed is None:
        names = [*NAMED, *readers.names()]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no dialect of headers is called {name!r}; known are {', '.join(names)}{hint}")
    said = installed.ask
    return lambda held: said(held) or ()


def _checked(said: Iterable[Quota]) -> tuple[Quota, ...]:
    return tuple(quota for quota in said if _usable(quota))[:QUOTAS_MAX]


def _of_dialects(dialects: Iterable[Dialect], headers: Headers) -> Iterable[Quota]:
    found: dict[tuple[str, str], Quota] = {}
    for dialect in dialects:
        quota = _of_dialect(dialect, headers)
        if quota is not None:
            found.setdefault((quota.unit, dialect.remaining), quota)
    return found.values()


def _usable(quota: object) -> bool:
    """Whether one of the user's making holds what can be counted with (L60)."""
    if not isinstance(quota, Quota):
        raise TypeError(f"headers=: a {type(quota).__name__} where a Quota was expected")
    numbers = [quota.remaining, quota.reset_s, quota.within_s, *([] if quota.limit is None else [quota.limit])]
    well = all(finite(number) is not None and 0 <= number <= LONGEST_S * 1e6 for number in numbers)
    return well and quota.reset_s <= LONGEST_S and type(quota.unit) is str and type(quota.name) is str


def _of_dialect(dialect: Dialect, headers: Headers) -> Quota | None:
    left, text = plain_number(headers.text(dialect.remaining)), headers.text(dialect.reset)
    if left is None or not text:
        return None
    reset_s = until_s(text, headers)
    if reset_s is None:
        return None
    limit = plain_number(headers.text(dialect.limit).partition(",")[0].partition(";")[0])
    name = headers.text(GITHUB_RESOURCE)[:NAME_MAX] if dialect.unit == "calls" else ""
    return _quota(
        dialect.unit, left, reset_s, limit, f"{dialect.remaining} {name}".strip(), _within_s(text), dialect.refill
    )


def _of_ietf(headers: Headers) -> list[Quota]:
    fields = dict(structured(headers.text("ratelimit")))
    policies = dict(structured(headers.text("ratelimit-policy"))) if fields else {}
    units = _quota_units(headers.text("ratelimit-policy")) if fields else {}
    found = []
    for name, said in fields.items():
        policy = policies.get(name, {})
        left, reset_s = said.get("r", said.get("remaining")), said.get("t", said.get("reset", policy.get("w")))
        if left is None or reset_s is None:
            continue
        unit, window_s = units.get(name, "calls"), policy.get("w")
        limit = policy.get("q", said.get("limit"))
        window_s = window_s if window_s is not None and 0 < window_s <= LONGEST_S else None
        of = f"ratelimit {name}"[:NAME_MAX]
        found.append(_quota(UNITS.get(unit, unit), left, reset_s, limit, of, 1.0, window_s=window_s))
    return [quota for quota in found if quota is not None]


def _quota_units(text: str) -> dict[str, str]:
    """The `qu` parameters of a policy's items, which are text."""
    units = {}
    for item in text.split(","):
        name, *parameters = item.split(";")
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "qu" and len(value) <= NAME_MAX:
                units[name.strip().strip('"')] = value.strip().strip('"').replace("-", "_").lower()
    return {name: {"content_bytes": "content-bytes"}.get(unit, unit) for name, unit in units.items()}


def _quota(
    unit: str,
    left: float,
    reset_s: float,
    limit: float | None,
    name: str,
    within_s: float,
    refill: Refill = Refill.UNSAID,
    window_s: float | None = None,
) -> Quota | None:
    if not (0.0 <= reset_s <= LONGEST_S):
        # Over already; or of a clock that is wrong, or for ever: nothing to go by.
        if not -LONGEST_S <= reset_s < 0.0:
            return None
        reset_s = 0.0
    well = limit is not None and limit > 0
    return Quota(unit, max(0.0, left), reset_s, limit if well else None, name, within_s, refill, window_s)


def _within_s(text: str) -> float:
    """To how many seconds a reset is rounded, as it is written."""
    if plain_number(text) is not None:
        # Seconds since 1970 are told from a Date that is cut off to whole seconds, too.
        number = float(text)
        return 2.0 if number > 1e9 else 1.0 if number == int(number) else 0.001
    if "T" in text or "," in text:
        return 2.0
    return 0.001 if "ms" in text or "." in text or "us" in text or "ns" in text else 1.0
