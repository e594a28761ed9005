"""The fixture `simulation`, for tests of your own pipelines; pytest finds it by itself.

def test_no_row_is_lost(simulation):
    result = simulation(lambda: Pipeline().source(range(100)).map(ask).sink(print))
    assert result.report.delivered == 100

pytest --simulation-seeds 200       plays each with 200 seeds
pytest --simulation-seed 17         plays seed 17 alone
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import Simulated

SEEDS = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plug-in."""
    group = parser.getgroup("headrace", "simulation of Headrace's pipelines")
    group.addoption("--simulation-seeds", type=int, default=SEEDS, help=f"seeds of each simulation (default {SEEDS})")
    group.addoption("--simulation-seed", type=int, default=None, help="play this seed alone")


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Callable[..., Simulated]:
    """Plays a pipeline with several seeds: `simulation(make, check=None, **options)`.

    `make` gives a fresh pipeline for each seed; `check(simulated)` may assert; options are those of `simulate`. What
    comes of the last seed is returned. What fails is told with its seed.
    """
    alone = request.config.getoption("--simulation-seed")
    seeds = [alone] if alone is not None else range(request.config.getoption("--simulation-seeds"))

    def play(make: Callable[[], Any], check: Callable[[Simulated], object] | None = None, **options: Any) -> Simulated:
        from .testing import simulate

        result = None
        for seed in seeds:
            try:
                result = simulate(make(), seed=seed, **options)
                if check is not None:
                    check(result)
            except Exception as error:
                error.add_note(f"seed {seed}; alone: pytest --simulation-seed {seed} {request.node.nodeid}")
                raise
        assert result is not None, "at least one seed was played"
        return result

    return play
