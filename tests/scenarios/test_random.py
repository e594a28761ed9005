"""Random scenarios keep every invariant; whatever they come to. `make explore` plays fresh ones for minutes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.scenarios.play import play
from tests.scenarios.random_scripts import random_script

FOUND = [282, 477, 719, 2532, 3013, 4543, 6561, 14389, 16188, 26244, 33, 216, 1112, 1360, 235851, 201328, 100]
FOUND += [588721612, 984814243, 3964, 87, 2804, 1597, 20264003, 20266568]
"""Seeds that once broke something, in the core or in the checker."""


def test_what_was_found_before_stays_mended() -> None:
    for seed in FOUND:
        breach = play(random_script(seed, values=False), seed).breach
        assert breach is None, f"seed {seed}: {breach}"


@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**40))
def test_random_scenarios_keep_every_invariant(seed: int) -> None:
    played = play(random_script(seed), seed)
    assert played.breach is None, f"{played.breach}\n" + "\n".join(played.story)
