"""What a run works on and with: other work is told, and the same work is known again (L63)."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import logging
import os
import re
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest
from loguru import logger

from headrace.runtime import ConfigError, Flow, Pipeline
from headrace.runtime.connectors.iterables import IterableSource
from headrace.runtime.journal.work.fingerprint import (
    Fingerprint,
    Function,
    Node,
    contents_of,
    contract_of,
    differences,
    fingerprint_of,
    function_of,
)

PROMPT = "old"
TABLE = {"a": [1, 2]}


def changes(old: Any, new: Any) -> list[str]:
    """What differs between two functions of one node."""
    nodes = [{"ask": Node("map", {}, {"function": function_of(each)})} for each in (old, new)]
    return [each.text for each in differences(Fingerprint({}, nodes[0], []), Fingerprint({}, nodes[1], []))]


def closing_over(prompt: Any) -> Callable[[Any], Any]:
    return lambda row: (prompt, row)


def with_default(prompt: Any) -> Callable[[Any], Any]:
    def ask(row: Any, *, prompt: Any = prompt) -> Any:
        return prompt, row

    return ask


class Asker:
    def __init__(self, prompt: Any) -> None:
        self.prompt = prompt

    def __call__(self, row: Any) -> Any:
        return self.prompt, row

    def ask(self, row: Any) -> Any:
        return self.prompt, row


class Slotted:
    __slots__ = ("prompt",)

    def __init__(self, prompt: Any) -> None:
        self.prompt = prompt

    def __call__(self, row: Any) -> Any:
        return self.prompt, row


@dataclasses.dataclass
class Data:
    prompt: Any

    def __call__(self, row: Any) -> Any:
        return self.prompt, row


class Strict(msgspec.Struct):
    prompt: Any

    def __call__(self, row: Any) -> Any:
        return self.prompt, row


def ask(prompt: Any, row: Any) -> Any:
    return prompt, row


def ask_otherwise(prompt: Any, row: Any) -> Any:
    return row, prompt


def cached(prompt: Any) -> Any:
    return functools.lru_cache(closing_over(prompt))


def naming(prompt: Any) -> Callable[[Any], Any]:
    code = compile("def ask(row):\n return helper(row)\ndef helper(row):\n return PROMPT, row", "job.py", "exec")
    module = types.ModuleType("__main__")
    module.__dict__["PROMPT"] = prompt
    exec(code, module.__dict__)
    return module.__dict__["ask"]  # type: ignore[no-any-return]


HOLDERS: list[Callable[[Any], Any]] = [
    closing_over,
    with_default,
    Asker,
    lambda prompt: Asker(prompt).ask,
    lambda prompt: Asker(Asker(prompt)),
    Slotted,
    Data,
    Strict,
    lambda prompt: functools.partial(ask, prompt),
    lambda prompt: functools.partial(functools.partial(ask), row=prompt),
    lambda prompt: functools.partial(Asker(prompt).ask),
    cached,
    naming,
]


@pytest.mark.parametrize("held", ["new", {"a": [1, {"b"}]}, ("x",), b"bytes", 1 << 80, {3, 4}, Data("x"), ask])
def test_what_a_function_holds_is_what_it_is_L63(held: Any) -> None:
    for holder in HOLDERS:
        assert changes(holder("old"), holder("old")) == [], holder
        assert len(changes(holder("old"), holder(held))) == 1, holder
        assert changes(holder(held), holder(held)) == [], holder


def test_the_difference_names_what_is_another_and_tells_no_secret_L63() -> None:
    (told,) = changes(closing_over("secret-1"), closing_over("secret-2"))
    assert "its function: what it closes over as 'prompt' changed (its digest was " in told
    assert "secret" not in told
    assert "its attribute 'prompt' changed" in changes(Asker(1), Asker(2))[0]
    assert "what it binds as argument 0 changed" in changes(functools.partial(ask, 1), functools.partial(ask, 2))[0]
    assert "its default of 'prompt' changed" in changes(with_default(1), with_default(2))[0]
    assert "what it uses as 'helper' changed" in changes(naming(1), naming(2))[0]
    assert "secret" not in msgspec.json.encode(function_of(closing_over("secret-1"))).decode()
    both = changes(functools.partial(ask, "x"), functools.partial(ask_otherwise, "x"))
    assert "the code of its function changed" in both[0]


def test_the_order_of_a_set_and_of_a_dict_is_no_change() -> None:
    assert changes(closing_over({"a": 1, "b": 2}), closing_over({"b": 2, "a": 1})) == []
    assert changes(closing_over([{"x", "y", "z"}]), closing_over([{"z", "y", "x"}])) == []
    assert changes(closing_over({("a",): 1, ("b",): 2}), closing_over({("b",): 2, ("a",): 1})) == []


def test_a_function_that_uses_itself_and_an_object_that_holds_itself_are_read() -> None:
    one, two = Asker("x"), Asker("x")
    one.prompt, two.prompt = one, two
    assert changes(one, two) == []
    code = "def ask(row):\n return other(row)\ndef other(row):\n return ask(row) if row else {}\n"
    made = []
    for text in (code, code, code.replace("{}", "[]")):
        module = types.ModuleType("__main__")
        exec(text, module.__dict__)
        made.append(module.__dict__["ask"])
    assert changes(made[0], made[1]) == []
    assert len(changes(made[0], made[2])) == 1


def test_what_cannot_be_read_is_named_once_and_a_version_stands_for_it_L63() -> None:
    asker = Asker({"lock": threading.Lock(), "again": threading.Lock(), "prompt": "old"})
    found = function_of(asker)
    assert found.opaque == ["prompt (_thread.lock)"]
    other = Asker({"lock": threading.Lock(), "again": threading.Lock(), "prompt": "new"})
    assert len(changes(asker, other)) == 1, "what can be read is compared all the same"
    event = function_of(Asker(threading.Event()))
    assert event.opaque == ["prompt (threading.Event)"], "of what is not the user's own, only the name"
    asker.version = "1"  # type: ignore[attr-defined]
    assert function_of(asker) == Function("1")
    assert function_of(closing_over(list(range(3)))).opaque == []


WORD = re.compile("[a-z]+")


class Usual:
    """What classes usually have; nothing of it is opaque."""

    class Options(msgspec.Struct):
        words: list[str] = msgspec.field(default_factory=list)

    def __init__(self) -> None:
        self.options = self.Options()
        self.counts = collections.Counter("hello")
        self.last = collections.deque([datetime.date(2024, 1, 1)], maxlen=3)

    @functools.cached_property
    def slow(self) -> int:
        return 1

    @property
    def half(self) -> int:
        return 2

    @classmethod
    def of(cls, row: Any) -> Any:
        return cls, row

    def __call__(self, row: Any) -> Any:
        logging.getLogger(__name__).info("asked")
        logger.info("asked")
        return WORD.findall(row), self.slow, self.half


def test_what_functions_usually_use_can_be_read_L63() -> None:
    for function in (Usual(), Usual, Usual.of, Usual().__call__, functools.partial(Usual.of, 1), str.upper, len, Data):
        found = function_of(function)
        assert found.opaque == [], function
        assert found.parts, function
        assert found == function_of(function), function
    assert changes(str.upper, str.lower)
    assert changes(Usual, Data)


def test_the_class_of_an_object_is_part_of_it() -> None:
    class Ask:
        def __call__(self, row: Any) -> Any:
            return self.rest(row)

        def rest(self, row: Any) -> Any:
            return row

    one = Ask()

    class Ask:  # type: ignore[no-redef]
        def __call__(self, row: Any) -> Any:
            return self.rest(row)

        def rest(self, row: Any) -> Any:
            return [row]

    (told,) = changes(one, Ask())
    assert "its class" in told


JOB = """
import functools, sys
sys.path.insert(0, {folder!r})
import {module} as job
import msgspec
from headrace.runtime.journal.work.fingerprint import function_of
print(msgspec.json.encode([function_of(each) for each in job.FUNCTIONS]).decode())
"""
MODULE = '''
"""A module of somebody's."""
import functools
WORDS = {"b", "a", "c", "d"}
class Ask:
    """Asks."""
    kinds = frozenset({"x", "y", "z"})
    def __init__(self): self.of = {"k": {1, 2, "q"}}
    def __call__(self, row):
        # A comment.
        return helper(row) if row in {"p", "q", "r"} else None
def helper(row):
    """Helps."""
    return sorted(WORDS), [x for x in row if x]
async def later(row, *, words=frozenset({"m", "n"})): return words
FUNCTIONS = [Ask(), helper, later, functools.partial(helper, {"s", "t"}), lambda row: WORDS]
'''


def test_it_is_the_same_in_another_process_another_folder_and_with_other_comments_L63(tmp_path: Path) -> None:
    told = set()
    changed = MODULE.replace("# A comment.", "# Another\n\n        # comment.").replace("Helps.", "Helps people.")
    for n, text in enumerate((MODULE, MODULE, changed)):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "their_job.py").write_text(text)
        script = JOB.format(folder=str(folder), module="their_job")
        environment = {**os.environ, "PYTHONHASHSEED": str(n)}
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, timeout=50
        )
        told.add(ended.stdout)
    assert len(told) == 1


def test_another_python_compares_the_source_text_or_says_that_it_cannot_L63() -> None:
    mine = function_of(ask)
    assert mine.source is not None
    elsewhere = msgspec.structs.replace(
        mine, python="cpython-999", parts={**mine.parts, "its code": "other"}, source={**mine.parts, **mine.source}
    )
    nodes = [{"ask": Node("map", {}, {"function": each})} for each in (elsewhere, mine)]
    assert differences(Fingerprint({}, nodes[0], []), Fingerprint({}, nodes[1], [])) == []
    hidden = msgspec.structs.replace(elsewhere, source=None)
    nodes[0] = {"ask": Node("map", {}, {"function": hidden})}
    (told,) = differences(Fingerprint({}, nodes[0], []), Fingerprint({}, nodes[1], []))
    assert "was compiled by cpython-999" in told.text
    assert function_of(closing_over(1)).source is None, "there may be several lambdas in a line"


def test_a_list_is_its_rows_L63() -> None:
    rows = [{"v": "A", "n": n} for n in range(200)]
    assert contents_of(rows) == contents_of([dict(row) for row in rows])
    assert contents_of(rows) != contents_of([*rows[:100], {"v": "B", "n": 100}, *rows[101:]])
    assert contents_of(range(5)) != contents_of(range(6))
    assert contents_of([object, ask, threading.Lock()]) == contents_of([object, ask, threading.Lock()])


def test_a_source_that_moved_with_its_contents_is_the_same() -> None:
    before = {"kind": "CsvSource", "name": "in.csv", "path": "/one/in.csv", "size": 5, "digest": "aa"}
    moved = {**before, "path": "/two/in.csv", "name": "/two/in.csv"}
    assert differences(Fingerprint(before, {}, []), Fingerprint(moved, {}, [])) == []
    assert len(differences(Fingerprint(before, {}, []), Fingerprint({**moved, "digest": "bb"}, {}, []))) == 2


IMPORTING = """
def ask(row):
    from their_helpers.words import clean
    import their_helpers.numbers as numbers
    from their_helpers import more
    import json
    return json.dumps(numbers.add(clean(row), more.MORE))
"""


@pytest.mark.parametrize("changed", [None, "words", "numbers", "more"])
def test_what_a_function_imports_while_it_runs_is_part_of_it_L63(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str | None
) -> None:
    """By its text, whether it has been imported or not; and nothing is imported for that."""
    folder = tmp_path / "their_helpers"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    texts = {
        "words": "def clean(row):\n    return row\n",
        "numbers": "def add(a, b):\n    return a + b\n",
        "more": "MORE = 1\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = types.ModuleType("__main__")
    exec(compile(IMPORTING, "job.py", "exec"), module.__dict__)
    ask = module.__dict__["ask"]
    before = function_of(ask)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(f'"""Says more."""\n# And more.\n{text}')
    if changed is not None:
        (folder / f"{changed}.py").write_text(texts[changed] + "\nOTHER = 2\n")
    nodes = [{"ask": Node("map", {}, {"function": each})} for each in (before, function_of(ask))]
    told = [each.text for each in differences(Fingerprint({}, nodes[0], []), Fingerprint({}, nodes[1], []))]
    assert len(told) == (changed is not None)
    assert all(f"what it imports as 'their_helpers.{changed}' changed" in text for text in told)


class Person(msgspec.Struct):
    name: str
    age: int | None = None


class OlderPerson(msgspec.Struct):
    name: str
    age: float | None = None


class Ring(msgspec.Struct):
    n: int
    next: Ring | None = None


class Town(TypedDict):
    people: list[Person]


class OlderTown(TypedDict):
    people: list[OlderPerson]


def test_what_rows_are_held_to_is_part_of_the_work_L63() -> None:
    kinds = [Person, OlderPerson, Ring, Town, OlderTown, "infer"]
    told = [contract_of(kind) for kind in kinds]
    assert len(set(told)) == len(kinds)
    assert told == [contract_of(kind) for kind in kinds]
    (difference,) = differences(Fingerprint({}, {}, []), Fingerprint({"contract": told[0]}, {}, []))
    assert difference.text.startswith("source: what its rows are held to (rows=) was None, and is Person ")
    assert difference.mended, "`retry` expects that it was"


@pytest.mark.parametrize("kind", ["map", "filter", "tap", "flat_map", "route"])
def test_a_version_said_of_a_stage_stands_for_its_function_L63(kind: str) -> None:
    def built(function: Any, version: Any) -> Fingerprint:
        flow: Flow[Any] = Pipeline("job").source([1])
        if kind == "route":
            flow = flow.route(function, {"a": lambda way: way.sink(print)}, name="ask", options={"version": version})
        else:
            flow = getattr(flow, kind)(function, name="ask", version=version)
        return fingerprint_of(flow.plan(), IterableSource([1]))

    def told(old: Fingerprint, new: Fingerprint) -> list[str]:
        return [each.text for each in differences(old, new)]

    one, other = closing_over("old"), closing_over("new")
    assert told(built(one, 2), built(other, "2")) == []
    assert told(built(one, "2"), built(one, "3")) == ["ask: version was '2', and is '3'"]
    assert len(told(built(one, None), built(other, None))) == 1
    assert not built(threading.Lock().acquire, "2").opaque


@pytest.mark.parametrize("version", [True, 1.5, ["2"], b"2"])
def test_a_version_of_another_type_is_told(version: Any) -> None:
    with pytest.raises(ConfigError, match="version= is text or a whole number"):
        Pipeline("job").source([1]).map(print, version=version)


def test_a_sink_that_comes_or_goes_is_told_with_what_becomes_of_its_rows() -> None:
    def built(*names: str) -> Fingerprint:
        flow: Flow[Any] = Pipeline("job").source([1])
        for name in names:
            flow = flow.sink([].append, name=name)
        return fingerprint_of(flow.plan(), IterableSource([1]))

    told = [each.text for each in differences(built("a"), built("b"))]
    assert "a: is gone; what was written there stays, and is not completed: a file is named .part" in told
    assert "b: is new; rows that have ended do not come to it, so it will lack them" in told
