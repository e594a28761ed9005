"""What the calls of a stage say that they took, by unit: summed up for the report, and told to the governor beside what had
been reserved for them.

State only; the stage decides.
"""

from __future__ import annotations

from collections.abc import Callable

from ..protocol import Heard, Spent
from ..rows.identity import Id


class Meter:
    """`total`: all that was spent, retries and refused calls included."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}

    def count(self, heard: tuple[Heard, ...], reserved: Callable[[Id], float]) -> tuple[Spent, ...]:
        """Count what calls have taken. The answer is what the governor must know of it, unit by unit. `reserved` says what
        a row weighs."""
        sums: dict[str, list[float]] = {}
        for each in heard:
            for unit, amount in each.spent.items():
                of_unit = sums.setdefault(unit, [0.0, 0.0, 0])
                of_unit[0] += amount
                of_unit[1] += reserved(each.seq)
                of_unit[2] += 1
        for unit, (amount, _, _) in sums.items():
            self.total[unit] = self.total.get(unit, 0.0) + amount
        return tuple(Spent(unit, amount, weight, int(calls)) for unit, (amount, weight, calls) in sums.items())
