"""When a failed call is tried again: exponential backoff with full jitter.

The rule is "Full Jitter" of M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): a uniform
choice in [0, min(cap, base · 2^(n-1))], which spreads retries over the whole interval (L14).
"""

from __future__ import annotations

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """How often and how late.

    `attempts`: calls of one row at most, the first included. `base_s`, `cap_s`: of the wait after a failed attempt.
    `refusals`: how often one row may be refused before it goes to quarantine; a refusal costs no attempt (L11).

    By default a row is called for more than two minutes in the mean, since three attempts in 0.3 s prove nothing (L76).
    """

    attempts: int = 14
    base_s: float = 0.1
    cap_s: float = 60.0
    refusals: int = 100

    def delay_s(self, attempt: int, random: float) -> float:
        """Seconds to wait after attempt number `attempt` has failed; `random` is a number in [0, 1)."""
        return random * min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60))
