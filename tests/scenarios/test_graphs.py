"""Graphs at random keep every invariant, and add up at every node; `make graphs` plays ten thousand of them."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.scenarios.play import play
from headrace.scenarios.script import Script
from tests.scenarios.random_graphs import random_graph

GRAPHS = st.integers(0, 2**40).map(lambda seed: (seed, random_graph(seed)))
"""A graph of up to twelve nodes of every kind, with rows, faults and a stop; and a seed for its schedule."""
FOUND = (53, 112, 226, 240, 345, 390, 459, 480, 10194, 463, 688, 762, 763, 870, 970, 20553, 20636, 65014734)
"""Seeds that once broke something, in the actors or in the checker."""


def test_what_was_found_before_stays_mended() -> None:
    for seed in FOUND:
        breach = play(random_graph(seed, values=False), seed).breach
        assert breach is None, f"seed {seed}: {breach}"


def test_a_run_that_is_drained_before_a_node_has_begun_adds_up() -> None:
    breach = play(random_graph(20262323), 20262323).breach
    assert breach is None, str(breach)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GRAPHS)
def test_random_graphs_keep_every_invariant(drawn: tuple[int, Script]) -> None:
    seed, graph = drawn
    played = play(graph, seed)
    assert played.breach is None, f"{played.breach}\n" + "\n".join(played.story)
