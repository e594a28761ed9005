"""The scenarios that come with Headrace: each does what it says, in simulation, with several seeds; each lesson has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.runtime.errors import ConfigError
from headrace.scenarios.play import play
from headrace.scenarios.script import LONG, SCRIPTS, find, read

PATHS = sorted(path for path in SCRIPTS.glob("*.toml") if path.stem not in LONG)
HEAVY = {
    "thousand_refused_at_once",
    "fifty_refused_at_once",
    "quota_found_out",
    "quota_halves_and_recovers",
    "quota_stated",
    "siblings_do_not_starve",
    "three_waves",
}
"""Thousands of calls: one seed here, more in `make explore`."""
SEEDS = 2
"""Seeds of each of the others; CI's exploration plays more of them."""
ELSEWHERE = {
    "L23": "a resumed run: the journal",
    "L24": "a resumed run: the journal",
    "L26": "a resumed run: the journal",
    "L27": "a resumed run: the journal",
    "L36": "a resumed run: the journal",
    "L57": "a resumed run: the journal",
    "L28": "what is told of progress, and when: tests/runtime/pipeline/test_options.py",
    "L46": "what is imported: tests/system/test_command.py",
}
"""Lessons that no scenario can show, and where they are answered."""


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_it_does_what_it_says(path: Path) -> None:
    script = read(path)
    for seed in range(1 if script.name in HEAVY else SEEDS):
        played = play(script, seed)
        story = "\n".join(played.story)
        assert played.well, f"seed {seed}: {played.breach or played.missed}\n{story}"


def test_every_lesson_that_needs_neither_graph_nor_journal_has_a_scenario() -> None:
    shown = {lesson for path in SCRIPTS.glob("*.toml") for lesson in read(path).lessons}
    wanted = {f"L{n:02d}" for n in range(1, 60)} - set(ELSEWHERE)
    assert wanted - shown == set()


def test_there_are_enough_of_them_and_each_says_what_it_shows() -> None:
    scripts = [read(path) for path in SCRIPTS.glob("*.toml")]
    assert len(scripts) >= 25
    assert len({script.shows for script in scripts}) == len(scripts)
    for script in scripts:
        assert script.shows.endswith("."), script.name
        assert script.lessons, script.name


BROKEN = {
    'shows = "too short"': "shows: expected `str` of length >= 10; it is 'too short'",
    'shows = "a scenario of no use"\nlesson = ["L01"]': "unknown key; did you mean 'lessons'?",
    'shows = "a scenario of no use"\n[[stage]]\nservice = "web"': "no [[service]] is named 'web'",
    'shows = "a scenario of no use"\n[[fault]]\nwhat = "kill"\nat = 1': "'kill' needs an 'actor'",
    'shows = "a scenario of no use"\n[[fault]]\nwhat = "drain"': "one of 'at' and 'when' is needed",
    'shows = "a scenario of no use"\n[[fault]]\nwhat = "drain"\nwhen = "Asign"': "did you mean 'Assign'?",
    'shows = "a scenario of no use"\n[[fault]]\nwhat = "double"\nwhen = "Rows"': "only an 'Answered' may come twice",
    'shows = "a scenario of no use"\n[[service]]\nquota = [{ kind = "fixed" }]': "a quota of kind 'fixed' needs 'calls'",
    'shows = "a scenario of no use"\n[[service]]\nlatency = {}': "one of uniform, lognormal and pareto is needed",
    'shows = "a scenario of no use"\n[[stage]]\nlimit = "many"': "a rate reads like",
    'shows = "a scenario of no use"\n[expect]\ndelivered = "all"': "expect.delivered",
    "shows = ": "not TOML",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert BROKEN[text] in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_a_name_that_is_none_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'a_heavy_tail'"):
        find("a_heavy_tale")


def test_the_schema_for_editors_is_that_of_the_grammar() -> None:
    from headrace.scenarios.schema import SCHEMA, schema

    assert SCHEMA.read_text(encoding="utf-8") == schema(), "make schema"
