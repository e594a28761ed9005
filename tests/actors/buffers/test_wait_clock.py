"""How long somebody waited."""

from __future__ import annotations

from tests.actors.fake import Fake

from headrace.actors.actor import Actor
from headrace.actors.buffers.wait_clock import WaitClock


def test_only_the_time_counts_in_which_somebody_waits_and_each_second_once() -> None:
    fake, clock = Fake(Actor()), WaitClock()
    fake.pass_time(5.0)
    clock.begin(fake)
    fake.pass_time(1.0)
    clock.begin(fake)
    fake.pass_time(2.0)
    assert clock.seconds(fake) == 3.0
    clock.end(fake)
    fake.pass_time(7.0)
    clock.end(fake)
    assert clock.seconds(fake) == 3.0
    clock.begin(fake)
    fake.pass_time(0.5)
    assert clock.seconds(fake) == 3.5
