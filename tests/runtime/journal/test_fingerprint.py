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
from typing import Any

import msgspec
import pytest
from loguru import logger

from headrace.runtime.journal.fingerprint import Fingerprint, Function, Node, contents_of, differences, function_of

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
from headrace.runtime.journal.fingerprint import function_of
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
