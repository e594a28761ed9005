"""The messages: which of them overtake rows."""

from __future__ import annotations

import pytest

from headrace.actors import protocol
from headrace.actors.desk import Desk, Replier
from headrace.actors.protocol import Control, Message


@pytest.mark.parametrize(
    "kind",
    [protocol.Start, protocol.Drain, protocol.Abort, protocol.CooldownBegan, protocol.Recall, protocol.CancelCalls],
)
def test_life_and_cooldowns_overtake_rows_L48(kind: type[Message]) -> None:
    assert issubclass(kind, Control)
    assert kind.control


@pytest.mark.parametrize(
    "kind", [protocol.Rows, protocol.Gaps, protocol.Outcomes, protocol.EndOfRows, protocol.Answered]
)
def test_rows_and_what_becomes_of_them_stay_in_their_order(kind: type[Message]) -> None:
    """The end of the rows, above all, comes after the last of them."""
    assert not kind.control


def test_who_may_be_kept_waiting_by_a_caller_has_a_thread_of_its_own_and_nobody_else_waits_for_it() -> None:
    assert Replier.blocks
    assert not Desk.blocks
