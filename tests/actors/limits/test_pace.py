"""What is learned of a limit, against servers of many kinds, in virtual time; `make quotas` has more of them."""

from __future__ import annotations

import statistics
from collections import defaultdict

import pytest
from tests.actors.limits.quota import Chance, Fixed, InFlight, Latency, Play, Sliding, TokenBucket, constant, slow
from tests.benchmarks.quotas import BUDGETS, Cell, grid, play

from headrace.actors.limits.terms import Rate, Terms

FAST = Latency()
STATED = Terms(rates=(Rate(200.0),))


def test_the_storm_of_L52() -> None:
    for seed in range(3):
        came = Play(TokenBucket(200.0, 20.0), 3000, 50, FAST, seed).run()
        assert came.seconds <= 16.0
        assert came.refused_share <= 0.01


def test_waves_make_one_cooldown_each_and_become_rare_L10() -> None:
    came = Play(TokenBucket(200.0, 20.0), 10**9, 1000, constant(0.02)).run(60.0)
    first = came.refused_in(0.0, 10.0)
    assert came.cooldowns <= 25
    assert came.refused_in(10.0, 60.0) < first / 2


def test_a_stated_limit_is_kept_to_and_comes_back_to_what_is_stated_L74() -> None:
    # A burst that the server does not allow: a refusal or a few, and then as stated, less a little.
    came = Play(TokenBucket(200.0, 1.0), 10**9, 50, Latency((0.001, 0.001)), terms=STATED).run(30.0)
    assert came.admitted(1.0, 30.0) >= 0.94 * 200 * 29
    assert came.refused <= 10
    # No more than half of it was allowed for a while.
    server = TokenBucket(200.0, 20.0, changes=((10.0, 100.0), (20.0, 200.0)))
    came = Play(server, 10**9, 50, FAST, terms=STATED).run(40.0)
    assert came.admitted(12.0, 20.0) >= 0.9 * 100 * 8
    assert came.admitted(25.0, 40.0) >= 0.9 * 200 * 15


@pytest.mark.parametrize("per_s", [100.0, 300.0])
@pytest.mark.parametrize("tick", [0.0, 0.001])
def test_a_stated_limit_that_is_far_too_high_is_found_out_also_where_no_burst_is_allowed_L74(
    per_s: float, tick: float
) -> None:
    # The second call of each run is refused before the first one is answered.
    stated = Terms(rates=(Rate(3 * per_s),))
    came = Play(TokenBucket(per_s, 1.0, tick=tick), 10**9, 64, Latency((0.001, 0.001)), terms=stated).run(30.0)
    assert came.refused_share <= 0.01
    assert came.admitted(0.0, 30.0) >= 0.7 * per_s * 30


@pytest.mark.parametrize("stated", [None, 30])
def test_a_limit_in_flight_is_found_out_also_where_calls_begin_a_moment_after_their_permits_L74(
    stated: int | None,
) -> None:
    # Else the call that is refused would be counted among those that were there before it.
    latency = slow(0.1, 0.5)._replace(begin=(0.0002, 0.001))
    terms = Terms(concurrency=stated) if stated is not None else Terms()
    server = InFlight(10)
    came = Play(server, 10**9, 64, latency, terms=terms).run(30.0)
    assert came.admitted(0.0, 30.0) >= 0.93 * server.ideal(0.0, 30.0, 0.1)
    assert came.refused_share <= 0.02


@pytest.mark.parametrize("per_s", [100.0, 190.0, 1000.0])
def test_never_faster_than_what_is_stated_L74(per_s: float) -> None:
    came = Play(TokenBucket(per_s, 5.0), 10**9, 100, FAST, terms=STATED).run(20.0)
    calls = sorted(came.admitted_at + came.refused_at)
    for first in range(0, len(calls) - 100, 50):
        # A hundred calls in a row, but for the small burst and the jitter of the way there.
        assert calls[first + 100] - calls[first] >= (100 - 5) / 200.0 - 0.001


def test_slow_calls_are_begun_as_fast_as_they_are_let_in() -> None:
    assert Play(TokenBucket(50.0, 5.0), 600, 600, slow(1.0)).run().seconds <= 16.0
    assert Play(TokenBucket(50.0, 5.0), 1000, 1000, slow(5.0)).run().seconds <= 30.0


def test_a_hint_of_50_ms_costs_about_50_ms() -> None:
    class First(TokenBucket):
        """Refuses the first thirty calls."""

        asked = 0

        def admits(self, now: float) -> bool:
            self.asked += 1
            return self.asked > 30

    came = Play(First(hint_s=0.05), 15, 16, FAST).run(60.0)
    assert came.seconds <= 0.5, "it was 7 s, and 23 cooldowns"
    assert came.cooldowns <= 6


@pytest.mark.parametrize(
    ("percent", "hint_s", "least_per_s"), [(5, None, 30), (35, None, 10), (35, 0.05, 40), (60, 0.05, 20)]
)
def test_refusals_by_chance_are_no_quota(percent: float, hint_s: float | None, least_per_s: float) -> None:
    took = [Play(Chance(percent, hint_s, seed), 1000, 200, FAST, seed).run().seconds for seed in range(3)]
    assert 1000 / statistics.mean(took) >= least_per_s


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_limit_on_calls_in_flight_is_found_and_filled(seed: int) -> None:
    came = Play(InFlight(50), 10**9, 200, slow(0.05, 0.5), seed).run(30.0)
    assert came.refused_share <= 0.01
    assert came.admitted(10.0, 30.0) >= 0.95 * 50 / 0.052 * 20


@pytest.mark.parametrize("server", [Fixed(300, 10.0), Fixed(300, 10.0, 4.0), Sliding(300, 10.0)])
def test_windows_of_time_are_recognised(server: Fixed | Sliding) -> None:
    came = Play(server, 10**9, 50, FAST).run(100.0)
    assert came.admitted(0.0, 100.0) >= 0.9 * 300 * 10
    assert came.refused_in(10.0, 100.0) <= 0.02


def test_a_limit_on_calls_in_flight_that_has_grown_is_found_by_one_call_more_at_a_time() -> None:
    came = Play(InFlight(30, ((15.0, 90),)), 10**9, 200, slow(0.05, 0.5), 0).run(90.0)
    assert came.refused_share <= 0.01
    assert came.admitted(70.0, 90.0) >= 0.9 * 90 / 0.052 * 20


def test_of_several_stated_rates_the_slowest_is_what_a_refusal_is_about_L74() -> None:
    def came(*rates: Rate) -> object:
        return Play(TokenBucket(6.0, 1.0), 10**9, 50, FAST, terms=Terms(rates=rates)).run(120.0)

    assert came(Rate(10.0), Rate(1000.0)) == came(Rate(10.0)) == came(Rate(1000.0), Rate(10.0))


@pytest.mark.parametrize("percent", [10, 35])
def test_never_faster_than_what_is_stated_where_refusals_come_by_chance_L74(percent: float) -> None:
    came = Play(Chance(percent, None, 1), 10**9, 200, FAST, terms=STATED).run(120.0)
    calls = sorted(came.admitted_at + came.refused_at)
    for first in range(0, len(calls) - 100, 50):
        assert calls[first + 100] - calls[first] >= (100 - 5) / 200.0 - 0.001
    assert came.admitted(60.0, 120.0) >= 60 * 10


def test_a_seed_replays_to_the_call() -> None:
    one, two = (Play(TokenBucket(), 2000, 100, slow(0.05, 0.5), seed=7).run() for _ in range(2))
    assert one == two


SHORT = [cell for cell in grid() if cell.until <= 60.0 and "2,000/s" not in cell.name and cell.workers <= 400]


@pytest.mark.parametrize("family", [family for family in BUDGETS if family != "beyond"])
def test_the_grid_keeps_its_budgets(family: str) -> None:
    """Every third cell of a family, with one seed: in the median near the budget, and none far off."""
    cells: dict[str, list[Cell]] = defaultdict(list)
    for cell in SHORT:
        cells[cell.family].append(cell)
    results = [play(cell, 1) for cell in cells[family][::3]]
    if results:
        budget = BUDGETS[family]
        assert statistics.median(result.share for result in results) >= budget.share - 0.03
        assert min(result.share for result in results) >= budget.share - 0.15
        assert statistics.median(result.refused for result in results) <= 1.5 * budget.refused
