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
    """The call that is under way; `current_call()` gives it.

    What is told by `headers` and `spent` counts with the outcome of the call, whatever that is. After the call, nothing is
    heard.

    Args:
        key: The same in every attempt of the same row, and for no other row: send it as an idempotency key.
        seq: The number of the row in its source, from 0.
        attempt: Which attempt of the row this is, from 1.
        deadline: The attempt's end in seconds of `time.monotonic()`, None without a time-out.
        state: What the last call of the row left by raising `Pending`; None in the first.
    """

    key: str
    seq: int
    attempt: int
    deadline: float | None
    state: Any = None
    _ear: Ear | None = None

    def headers(self, headers: Mapping[str, str] | Mapping[bytes, bytes] | object) -> None:
        """Tell the limit what the answer says of quotas, so that it keeps to them before anything is refused.

        The headers are read in the dialects of OpenAI, Anthropic, GitHub and others, in that of the IETF's draft, and in
        your own by `Limit(headers=...)`. What cannot be read is no error.

        Args:
            headers: The headers of any client's response: a mapping of text or bytes, or pairs of them.

        Examples:
            >>> def ask(row):
            ...     current_call().headers({"RateLimit-Limit": "60", "RateLimit-Remaining": "59", "RateLimit-Reset": "1"})
            ...     return row
            >>> Pipeline().source(["Lund"]).map(ask).sink(print).run().refusals
            Lund
            0
        """
        if self._ear is not None:
            self._ear.hear_headers(headers)

    def spent(self, **units: float) -> None:
        """Tell the limit and the report what the call took, which is known only now; several times in one call add up.

        Of the unit of a rate of weights, such as "200_000 tokens/min", it corrects what `cost=` had reserved for the row.
        All of it is in the run's report.

        Args:
            units: Amounts by unit, each a finite number of at least 0.

        Raises:
            ConfigError: An amount is something else. It is the call's error then.

        Examples:
            >>> def ask(prompt):
            ...     current_call().spent(tokens=len(prompt), usd=0.002)
            ...     return prompt.upper()
            >>> Pipeline().source(["hello"]).map(ask).sink(print).run().spent
            HELLO
            {'tokens': 5, 'usd': 0.002}
        """
        amounts = {unit: option("current_call().spent", unit, amount, AMOUNT) for unit, amount in units.items()}
        if self._ear is not None and amounts:
            self._ear.hear_spent(amounts)


_current: ContextVar[Callable[[], CallInfo]] = ContextVar("headrace_call")


def current_call() -> CallInfo:
    """The call that this code runs in, for functions that pipelines and executors call.

    Raises:
        LookupError: This code does not run in a call.

    Examples:
        >>> with Executor(max_workers=1) as executor:
        ...     executor.submit(lambda: current_call().attempt).result()
        1

        Where the other side takes an idempotency key, send the `key` of the call:

            def charge(card):
                return client.charge(card, idempotency_key=current_call().key)
    """
    return _current.get()()
