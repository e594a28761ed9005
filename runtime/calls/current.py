"""What a function may ask about the call it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.actors.protocol import Heard
from headrace.actors.rows.identity import Id

from ..quantities import AMOUNT, option

if TYPE_CHECKING:
    from ..verdicts.quotas import Reader


class Ear:
    """What one call says that it was told, until it has ended. Any thread may speak into it."""

    __slots__ = ("_began_s", "_monotonic", "_reader", "_seq", "heard")

    def __init__(self, seq: Id, began_s: float, monotonic: Callable[[], float], reader: Reader | None = None) -> None:
        self._seq = seq
        self._began_s = began_s
        self._monotonic = monotonic
        self._reader = reader
        self.heard: list[Heard] = []

    def hear_headers(self, headers: object) -> None:
        """Of an answer that has just come."""
        # Not when this module is imported: most runs never need it.
        from ..verdicts.quotas import quotas_of

        quotas = quotas_of(headers, self._reader)
        if quotas:
            self.heard.append(Heard(self._seq, self._began_s, self._monotonic(), quotas))

    def hear_spent(self, amounts: dict[str, float]) -> None:
        """Added to what was said before."""
        self.heard.append(Heard(self._seq, self._began_s, self._monotonic(), (), amounts))


class CallInfo(msgspec.Struct, frozen=True):
    """The call that is under way.

    `key` is the same in every attempt of the same row, and for no other row: send it as an idempotency key. `attempt`
    counts from 1. `deadline` is the attempt's end in seconds of `time.monotonic()`, None without a time-out. `state`:
    what the last call of the row left by raising `Pending`; None in the first.

    What is told by `headers` and `spent` counts with the outcome of the call, whatever that is; after it, nothing is heard.
    """

    key: str
    seq: int
    attempt: int
    deadline: float | None
    state: Any = None
    _ear: Ear | None = None

    def headers(self, headers: Mapping[str, str] | Mapping[bytes, bytes] | Any) -> None:
        """What the answer says of the other side's quotas, so that the limit keeps to them before anything is refused:
        the headers of any client's response, read in the dialects of OpenAI, Anthropic, GitHub and others, and the IETF's
        draft, and in your own by `Limit(headers=...)`. What cannot be read is no error.

            def ask(row):
                response = client.post(URL, json=row)
                current_call().headers(response.headers)
                return response.raise_for_status().json()
        """
        if self._ear is not None:
            self._ear.hear_headers(headers)

    def spent(self, **units: float) -> None:
        """What the call took, known only now; several times in one call add up. Of the unit of a rate of weights, such as
        "200000 tokens/min", it corrects what `cost=` had reserved for the row; all of it is in the run's report.

            current_call().spent(tokens=answer.usage.total_tokens)

        Raises `ConfigError` for what is no finite number of at least 0, which is then the call's error.
        """
        amounts = {unit: option("current_call().spent", unit, amount, AMOUNT) for unit, amount in units.items()}
        if self._ear is not None and amounts:
            self._ear.hear_spent(amounts)


_current: ContextVar[Callable[[], CallInfo]] = ContextVar("headrace_call")


def current_call() -> CallInfo:
    """The call that this code runs in. Raises `LookupError` outside of one.

    Where the other side takes an idempotency key, send the `key` of the call:

        def charge(card):
            return client.charge(card, idempotency_key=current_call().key)
    """
    return _current.get()()
