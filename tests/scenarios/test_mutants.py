"""Every mutant is caught, by a named invariant, within a few seeds: the checker can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.actors import protocol
from headrace.actors.buffers.resequencer import Order
from headrace.scenarios.play import play
from headrace.scenarios.script import find, read
from headrace.scenarios.verdict import Invariant
from headrace.scenarios.world import World
from tests.scenarios.mutants import MUTANTS, Mutant, Vacuous, mutated, reject_if_vacuous
from tests.scenarios.test_scripts import PATHS

SEEDS = 12


def caught_after(mutant: Mutant) -> tuple[int, str] | None:
    """How many plays it took to catch the mutant, and what was said; None if it survived.

    Raises `Vacuous` if an actor died of an error that says only that the mutant does not fit the code.
    """
    scripts = [read(find(name)) for name in mutant.scenarios]
    plays = 0
    with mutated(mutant):
        for seed in range(SEEDS):
            for script in scripts:
                plays += 1
                deaths: list[BaseException] = []
                breach = play(script, seed, prepare=_noting(deaths)).breach
                for error in deaths:
                    reject_if_vacuous(mutant, type(error).__name__, error)
                if breach is not None and breach.invariant in mutant.caught_by:
                    return plays, f"{breach.invariant.name} in {script.name}: {breach.what}"
    return None


def _noting(deaths: list[BaseException]) -> Callable[[World], None]:
    """A function that has each death of an actor in a world noted."""

    def prepare(world: World) -> None:
        world.watch(protocol.Died, lambda sender, ref, message: deaths.append(message.error))

    return prepare


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_checker_catches(mutant: Mutant) -> None:
    assert caught_after(mutant) is not None, f"{mutant.name}: survived {SEEDS} seeds of {mutant.scenarios}"


def test_a_mutant_that_does_not_fit_the_code_is_not_taken_for_caught() -> None:
    vacuous = Mutant(
        "a reorder buffer that reads a field that is gone",
        Order,
        "take",
        "n = self.next\n",
        "n = self.upcoming\n",
        tuple(Invariant),
        ("gaps_are_told",),
    )
    with pytest.raises(Vacuous, match="a field that is gone' is vacuous: AttributeError: 'Order' object has no"):
        caught_after(vacuous)


def test_the_actors_as_they_are_pass_where_the_mutants_are_caught() -> None:
    # They are played with these seeds by `test_scripts.py`.
    assert {name for mutant in MUTANTS for name in mutant.scenarios} <= {path.stem for path in PATHS}


if __name__ == "__main__":
    # `python -m tests.scenarios.test_mutants`: the table of mutants, and how many plays each took.
    for each in MUTANTS:
        found = caught_after(each)
        print(f"{each.name:<84} {found[0] if found else 'SURVIVED':>4} plays  {found[1] if found else ''}"[:220])
