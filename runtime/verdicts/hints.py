"""After how many seconds the other side says to come again, out of its headers and out of its error's details.

| what | who sends it |
|---|---|
| `retry-after-ms`, `x-ms-retry-after-ms` | OpenAI, Azure: milliseconds |
| `Retry-After` | RFC 9110, section 10.2.3: seconds or a date |
| `grpc-retry-pushback-ms` | gRPC (proposal A6): milliseconds |
| `RetryInfo` | Google (google.rpc): a duration in the details of an error |
| `RateLimit`, `RateLimit-Policy` | the IETF's draft-ietf-httpapi-ratelimit-headers: `"name";r=0;t=30` and `"name";q=100;w=60` (revision 8 and later), `limit=100, remaining=0, reset=30` (revision 7) |
| `ratelimit-reset`, `x-ratelimit-reset`, `x-rate-limit-reset` | earlier revisions, GitHub, Twitter: seconds, or seconds since 1970 |
| `x-ratelimit-reset-requests`, `-tokens` | OpenAI and others: a duration such as `6m0s` |
| `anthropic-ratelimit-requests-reset` and others | Anthropic: a date of RFC 3339 |

A date is compared with the `Date` header of the same answer where there is one, so that it does not matter how wrong
the clock of either side is. A hint is a number greater than 0 and at most that of 31 years, or there is none
(`quantities.hint_s`).
"""  # noqa: E501

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from headrace.actors.quantities import finite

from ..quantities import hint_s
from .dialects import DIALECTS
from .reading import attribute

HEADERS_MAX = 200
"""So many headers of one answer are read."""
TEXT_MAX = 4096
"""A longer header is not read."""

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|d|h|m|s))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)", re.ASCII)
_UNIT_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PARAMETER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*\"?(-?\d+(?:\.\d+)?)\"?\s*", re.ASCII)


class Headers:
    """Headers of any client, read by name whatever the case. What cannot be read is not there."""

    def __init__(self, held: object) -> None:
        self._plain: dict[str, object] = {}
        try:
            # Some mappings are particular about the case, and gRPC's metadata are pairs.
            pairs: Any = held if isinstance(held, list | tuple) else held.items()  # type: ignore[attr-defined]
            for name, value in itertools.islice(pairs, HEADERS_MAX):
                if isinstance(name, bytes):
                    name = name.decode("ascii", "replace")
                if isinstance(name, str):
                    self._plain.setdefault(name.lower(), value)
        except BaseException:
            return

    def get(self, name: str) -> Any:
        """A header's value as it is held, or None."""
        return self._plain.get(name)

    def text(self, name: str) -> str:
        """A header's value as a text that is not too long; empty where there is none."""
        value = self._plain.get(name)
        if type(value) is bytes:
            value = value.decode("ascii", "replace")
        elif type(value) in (int, float):
            value = repr(value)
        return value.strip() if type(value) is str and len(value) <= TEXT_MAX else ""


def retry_after_s(headers: object, now: Callable[[], float] | None = None) -> float | None:
    """The hint of a Retry-After header: seconds or a date. None if there is no usable one.

    `now`: seconds since 1970; it counts where the answer has no `Date`.
    """
    held = headers if type(headers) is Headers else Headers(headers)
    return seconds_of(held.get("retry-after"), lambda: _moment_of(held, now))


def asked_s(headers: Headers) -> float | None:
    """The seconds after which this very answer says to come again."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms", "grpc-retry-pushback-ms"):
        ms = plain_number(headers.text(name))
        hint = hint_s(ms / 1000.0) if ms is not None else None
        if hint is not None:
            return hint
    return retry_after_s(headers) or _of_details(headers.get("grpc-status-details-bin"))


def reset_s(headers: Headers) -> float | None:
    """The seconds after which a quota that is used up is whole again, the longest where there are several.

    Quotas with something left do not count. Where nothing says how much is left, the shortest counts.
    """
    timed = [window for window in _windows(headers) if hint_s(window.after_s) is not None]
    used_up = [hint_s(window.after_s) or 0.0 for window in timed if window.left is not None and window.left <= 0]
    unsaid = [hint_s(window.after_s) or 0.0 for window in timed if window.left is None]
    return max(used_up) if used_up else min(unsaid, default=None)


def none_left(headers: Headers) -> bool:
    """A quota is said to be used up."""
    return any(window.left is not None and window.left <= 0 for window in _windows(headers))


def duration_s(text: object) -> float | None:
    """`6m0s`, `120ms`, `41s` or `1.5s` in seconds."""
    if type(text) is not str or len(text) > 64 or not _DURATION.fullmatch(text):
        return None
    return hint_s(sum(float(amount) * _UNIT_S[unit] for amount, unit in _PART.findall(text)))


def seconds_of(value: object, now: Callable[[], float] | None = None) -> float | None:
    """What an attribute such as `retry_after` or a header holds: a number of seconds, a time, a text of these."""
    if type(value) is bytes:
        value = value.decode("ascii", "replace")
    if type(value) is str and len(value) > TEXT_MAX:
        return None
    try:
        return hint_s(value, now) or duration_s(value)
    except BaseException:
        # The value is an object of somebody's that does not want to be looked at (L72).
        return None


def duration_message_s(message: object) -> float | None:
    """A google.protobuf.Duration, or what stands for one."""
    if type(message) is timedelta:
        return hint_s(message)
    seconds, nanos = attribute(message, "seconds"), attribute(message, "nanos")
    if type(seconds) is not int or type(nanos) is not int:
        return None
    return hint_s(seconds + nanos / 1e9)


def plain_number(text: str) -> float | None:
    """A text as a finite number."""
    if not text or len(text) > 64 or not text.isascii() or "_" in text:
        return None
    try:
        return finite(float(text))
    except ValueError:
        return None


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _moment_of(headers: Headers, now: Callable[[], float] | None = None) -> float:
    """When the other side sent this, by its own clock if it says so."""
    sent = _date(headers.text("date"))
    return sent if sent is not None else (now or time.time)()


class _Window(NamedTuple):
    """A quota that headers tell of: how much is left, the seconds until it is whole again; None where that is not said."""

    left: float | None
    after_s: float | None


def _windows(headers: Headers) -> Iterator[_Window]:
    for dialect in DIALECTS:
        text = headers.text(dialect.reset)
        left = plain_number(headers.text(dialect.remaining))
        if text or left is not None:
            yield _Window(left, until_s(text, headers))
    fields = dict(structured(headers.text("ratelimit")))
    policies = dict(structured(headers.text("ratelimit-policy"))) if fields else {}
    for name, said in fields.items():
        # Where no time is said, the window of the quota is the longest that it can take.
        after_s = said.get("t", said.get("reset", policies.get(name, {}).get("w")))
        yield _Window(said.get("r", said.get("remaining")), after_s)


def until_s(text: str, headers: Headers) -> float | None:
    """The seconds until a reset: told as seconds, as seconds or milliseconds since 1970, as a duration or as a date."""
    amount = plain_number(text)
    if amount is not None:
        if not amount > 1e9:
            return amount
        # Nobody waits for thirty years: these are seconds, or milliseconds, since 1970.
        return (amount / 1000.0 if amount > 1e12 else amount) - _moment_of(headers)
    seconds = duration_s(text)
    if seconds is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - _moment_of(headers)
    except (ValueError, OverflowError):
        date = _date(text)
        return date - _moment_of(headers) if date is not None else None


def structured(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """The items of a structured field (RFC 9651) with their numeric parameters; a dictionary of numbers is one item."""
    if not text:
        return
    whole: dict[str, float] = {}
    for item in _split(text, ","):
        name, *parameters = _split(item, ";")
        entry = _PARAMETER.fullmatch(name)
        if entry:
            whole[entry[1]] = float(entry[2])
            continue
        matches = (_PARAMETER.fullmatch(parameter) for parameter in parameters)
        yield name.strip().strip('"'), {match[1]: float(match[2]) for match in matches if match}
    if whole:
        yield "", whole


def _split(text: str, separator: str) -> list[str]:
    """The text's parts between separators that stand outside of quotes."""
    quoted = text.split('"')
    # Every second part stands in quotes; a character that no header holds marks the separators outside of them.
    quoted[::2] = [part.replace(separator, "\0") for part in quoted[::2]]
    return '"'.join(quoted).split("\0")


def _of_details(packed: object) -> float | None:
    """The delay of a google.rpc.RetryInfo in a google.rpc.Status, as gRPC sends it in its trailing metadata."""
    if type(packed) is not bytes or len(packed) > TEXT_MAX:
        return None
    for detail in _protobuf(packed).get(3, []):
        held = _protobuf(detail)
        if any(type(url) is bytes and url.endswith(b"google.rpc.RetryInfo") for url in held.get(1, [])):
            for info in held.get(2, []):
                for delay in _protobuf(info).get(1, []):
                    parts = _protobuf(delay)
                    seconds, nanos = (next(iter(parts.get(n, [])), 0) for n in (1, 2))
                    if type(seconds) is int and type(nanos) is int:
                        return hint_s(seconds + nanos / 1e9)
    return None


def _protobuf(data: object) -> dict[int, list[object]]:
    """The fields of a message of Protocol Buffers by number: integers, and bytes. What is cut off is left out."""
    fields: dict[int, list[object]] = {}
    if type(data) is not bytes:
        return fields
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while at < len(data) and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
        return value

    while at < len(data):
        key = varint()
        value: object
        if key & 7 == 0:
            value = varint()
        elif key & 7 == 2:
            length = varint()
            value = data[at : at + length]
            at += length
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
            continue
        else:
            break
        fields.setdefault(key >> 3, []).append(value)
    return fields
