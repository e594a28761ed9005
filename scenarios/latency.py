"""How long something takes, drawn at random: an answer, a refusal, the way to the server."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct

from .units import Seconds, Span

PARETO_CUT = 1000.0
"""A heavy tail ends at so many times its least value: answers that never come are said, not drawn."""


class LatencyTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Seconds that an answer takes; exactly one of these.

    `lognormal`: median and sigma. `pareto`: least and alpha, a heavy tail; cut at 1,000 times the least.
    """

    uniform: Span | None = None
    lognormal: Span | None = None
    pareto: Span | None = None

    @property
    def given(self) -> int:
        """How many of them are given."""
        return sum(shape is not None for shape in (self.uniform, self.lognormal, self.pareto))


Latency = Seconds | LatencyTable


def drawn_s(latency: Latency, random: Callable[[], float]) -> float:
    """Seconds. `random` gives numbers from 0 to 1; a latency that is a number draws none."""
    if not isinstance(latency, LatencyTable):
        return latency
    u = random()
    if latency.uniform is not None:
        low, high = latency.uniform
        return low + u * (high - low)
    if latency.lognormal is not None:
        median, sigma = latency.lognormal
        # Box and Muller's transform, since the library's own has changed with versions.
        normal = math.sqrt(-2.0 * math.log(1.0 - u)) * math.cos(2.0 * math.pi * random())
        return float(median * math.exp(sigma * normal))
    assert latency.pareto is not None, "one of three was checked"
    least, alpha = latency.pareto
    return float(min(least * (1.0 - u) ** (-1.0 / alpha), least * PARETO_CUT))


def mean_s(latency: Latency) -> float:
    """Seconds in the mean; of a heavy tail with no mean, its median."""
    if not isinstance(latency, LatencyTable):
        return latency
    if latency.uniform is not None:
        return sum(latency.uniform) / 2
    if latency.lognormal is not None:
        median, sigma = latency.lognormal
        return float(median * math.exp(sigma * sigma / 2))
    assert latency.pareto is not None, "one of three was checked"
    least, alpha = latency.pareto
    return float(least * alpha / (alpha - 1) if alpha > 1 else least * 2 ** (1 / alpha))


def spread_s(latency: Latency) -> float:
    """Seconds between the least and the most that can be drawn; infinite where there is no most."""
    if not isinstance(latency, LatencyTable):
        return 0.0
    if latency.uniform is not None:
        low, high = latency.uniform
        return high - low
    return math.inf if latency.pareto is None else latency.pareto[0] * (PARETO_CUT - 1.0)
