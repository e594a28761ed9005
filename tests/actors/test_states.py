"""Named states: each table leads from its first state to every other one, and nowhere else."""

from __future__ import annotations

from enum import Enum
from itertools import product
from typing import Any

import pytest

from headrace.actors import conductor, desk, join, journal, sink, stage
from headrace.actors.errors import InternalError
from headrace.actors.joins import waiting
from headrace.actors.states import StateMachine, Table

TABLES: dict[str, tuple[Table[Any], Enum]] = {
    "stage": (stage.STATES, stage.StageState.COMING),
    "join": (join.STATES, join.JoinState.WORKING),
    "sink": (sink.STATES, sink.SinkState.OPEN),
    "store": (journal.STORE_STATES, journal.StoreState.IDLE),
    "account": (journal.ACCOUNT_STATES, journal.AccountState.OPEN),
    "desk": (desk.STATES, desk.DeskState.TAKING),
    "conductor": (conductor.PHASES, conductor.Phase.NEW),
    "word": (waiting.WORDS, waiting.Word.AWAITED),
}


def pairs(*, legal: bool) -> list[Any]:
    found = []
    for name, (table, first) in TABLES.items():
        for one, other in product(type(first), type(first)):
            if (other in table[one]) is legal:
                found.append(pytest.param(name, one, other, id=f"{name}-{one.name}-{other.name}"))
    return found


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached_and_has_its_place_in_the_table(name: str) -> None:
    table, first = TABLES[name]
    assert set(table) == set(type(first))
    reached, to_do = {first}, [first]
    while to_do:
        for after in table[to_do.pop()] - reached:
            reached.add(after)
            to_do.append(after)
    assert reached == set(type(first))


@pytest.mark.parametrize(("name", "one", "other"), pairs(legal=True))
def test_a_move_of_the_table_is_made(name: str, one: Enum, other: Enum) -> None:
    machine = StateMachine(name, TABLES[name][0], one)
    machine.go(other)
    assert machine.now is other


@pytest.mark.parametrize(("name", "one", "other"), pairs(legal=False))
def test_a_move_that_the_table_does_not_have_is_an_error_that_names_both(name: str, one: Enum, other: Enum) -> None:
    machine = StateMachine(name, TABLES[name][0], one)
    with pytest.raises(InternalError) as raised:
        machine.go(other)
    assert str(raised.value) == f"{name} cannot go from {one.name} to {other.name}"
    assert machine.now is one
