"""While a simulation runs, its thread's `time` is virtual: user code that sleeps or reads the clock need not know.

Replaced are the functions of the module `time`, for code that says `time.sleep(...)`; other threads keep the real ones, and
so does who has imported a function by its name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .system import Simulation

EPOCH_S = 1_767_225_600.0
"""The wall clock when a simulation starts: 2026-01-01T00:00:00Z."""

real_monotonic = time.perf_counter
"""For figures about the simulation itself."""


@contextmanager
def virtual_time(simulation: Simulation) -> Iterator[None]:
    """Within this block, in this thread, time is the simulation's."""
    here = threading.get_ident()

    def replaced(real: Callable[..., Any], virtual: Callable[..., Any]) -> Callable[..., Any]:
        def either(*arguments: Any) -> Any:
            return virtual(*arguments) if threading.get_ident() == here else real(*arguments)

        return either

    functions: dict[str, Callable[..., Any]] = {
        "sleep": simulation.sleep,
        "monotonic": simulation.clock,
        "perf_counter": simulation.clock,
        "time": lambda: EPOCH_S + simulation.now,
        "monotonic_ns": lambda: int(simulation.now * 1e9),
        "perf_counter_ns": lambda: int(simulation.now * 1e9),
        "time_ns": lambda: int((EPOCH_S + simulation.now) * 1e9),
    }
    real = {name: getattr(time, name) for name in functions}
    for name, virtual in functions.items():
        setattr(time, name, replaced(real[name], virtual))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(time, name, function)
