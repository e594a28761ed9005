"""Every mutant is caught, by a named invariant, within a few seeds: the checker can fail."""

from __future__ import annotations

import pytest

from headrace.scenarios.play import play
from headrace.scenarios.script import find, read
from tests.scenarios.mutants import MUTANTS, Mutant, mutated

SEEDS = 12


def caught_after(mutant: Mutant) -> tuple[int, str] | None:
    """How many plays it took, and what was said; None: it survived."""
    scripts = [read(find(name)) for name in mutant.scenarios]
    plays = 0
    with mutated(mutant):
        for seed in range(SEEDS):
            for script in scripts:
                plays += 1
                breach = play(script, seed).breach
                if breach is not None and breach.invariant in mutant.caught_by:
                    return plays, f"{breach.invariant.name} in {script.name}: {breach.what}"
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_checker_catches(mutant: Mutant) -> None:
    assert caught_after(mutant) is not None, f"{mutant.name}: survived {SEEDS} seeds of {mutant.scenarios}"


def test_the_actors_as_they_are_pass_where_the_mutants_are_caught() -> None:
    for name in sorted({name for mutant in MUTANTS for name in mutant.scenarios}):
        played = play(read(find(name)), 0)
        assert played.well, f"{name}: {played.breach or played.missed}"


if __name__ == "__main__":
    # `python -m tests.scenarios.test_mutants`: the table of mutants, and how many plays each took.
    for each in MUTANTS:
        found = caught_after(each)
        print(f"{each.name:<84} {found[0] if found else 'SURVIVED':>4} plays  {found[1] if found else ''}"[:220])
