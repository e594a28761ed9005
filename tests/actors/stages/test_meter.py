"""What calls say that they took: summed up for the report, and told to the governor beside what was reserved."""

from __future__ import annotations

from headrace.actors.protocol import Heard, Spent
from headrace.actors.stages.meter import Meter


def heard(seq: int, **spent: float) -> Heard:
    return Heard(seq, 0.0, 0.1, (), dict(spent))


def test_what_the_calls_of_several_rows_took_is_summed_by_unit_beside_what_was_reserved_for_them() -> None:
    meter = Meter()
    weights = {1: 100.0, 2: 50.0, 3: 25.0}
    told = meter.count(
        (heard(1, tokens=120.0, cents=2.0), heard(2, tokens=30.0), heard(3, cents=1.0), heard(9)),
        lambda seq: weights[seq],  # type: ignore[index]
    )
    assert told == (Spent("tokens", 150.0, 150.0, 2), Spent("cents", 3.0, 125.0, 2))
    assert meter.total == {"tokens": 150.0, "cents": 3.0}


def test_the_total_goes_on_and_what_is_told_begins_anew() -> None:
    meter = Meter()
    meter.count((heard(1, tokens=120.0),), lambda seq: 0.0)
    assert meter.count((heard(1, tokens=7.0),), lambda seq: 5.0) == (Spent("tokens", 7.0, 5.0, 1),)
    assert meter.total == {"tokens": 127.0}
    assert meter.count((), lambda seq: 0.0) == ()
    assert meter.total == {"tokens": 127.0}
