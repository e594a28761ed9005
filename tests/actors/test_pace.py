"""What is learned of a quota that nobody stated, in virtual time."""

from __future__ import annotations

import pytest

from tests.actors.quota import Play, Service


def test_the_storm_of_L52() -> None:
    for seed in range(3):
        came = Play(Service(200.0, 20.0), 3000, 50, seed=seed).run()
        assert came.seconds <= 16.0
        assert came.refused_share <= 0.01


@pytest.mark.parametrize("workers", [50, 200, 1000])
@pytest.mark.parametrize("latency_s", [(0.02, 0.02), (0.005, 0.03), (0.02, 0.2)])
def test_an_unknown_quota_is_used_and_kept(workers: int, latency_s: tuple[float, float]) -> None:
    came = Play(Service(200.0, 20.0), 10**9, workers, latency_s).run(30.0)
    assert came.answered >= 0.95 * 200 * 30
    assert came.refused_share <= 0.013


@pytest.mark.parametrize("per_s", [20.0, 2000.0])
def test_slow_and_fast_quotas(per_s: float) -> None:
    came = Play(Service(per_s, per_s / 10), 10**9, 200, (0.02, 0.05)).run(12.0 if per_s > 1000 else 30.0)
    assert came.answered >= 0.9 * per_s * came.seconds


def test_a_quota_that_halves_and_recovers_is_followed() -> None:
    service = Service(200.0, 20.0, changes=((20.0, 100.0), (40.0, 200.0)))
    came = Play(service, 10**9, 50).run(60.0)
    assert came.answered >= 0.85 * (200 * 40 + 100 * 20)
    assert came.refused_share <= 0.01


def test_waves_make_one_cooldown_each_and_become_rare_L10() -> None:
    play = Play(Service(200.0, 20.0), 10**9, 1000)
    first = play.run(10.0).cooldowns
    later = play.run(60.0).cooldowns - first
    assert first <= 10
    assert later / 50.0 < first / 10.0
    assert play.refused < 3 * 200


def test_a_hint_of_a_second_is_waited_out_and_asked_for_rarely() -> None:
    came = Play(Service(200.0, 20.0), 10**9, 50, hint_s=1.0).run(30.0)
    assert came.cooldowns <= 6
    assert came.answered >= 0.8 * 200 * 30


def test_a_seed_replays_to_the_call() -> None:
    one, two = (Play(Service(), 2000, 100, (0.01, 0.1), seed=7).run() for _ in range(2))
    assert one == two
