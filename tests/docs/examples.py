"""Runs each example of the pages in `runtime/docs/` and of the docstrings, as a plugin of pytest on sybil: `make docs`.

A docstring's examples are those of doctest (`>>>`). They have all public names of the package, and a temporary folder to
work in, which those of one file share.

What a fenced block of a page is, its first line says:

    python                      is run; all blocks of a page share their names; `await` may stand at the top level
    text title="Output"         is what the python blocks since the last such block have printed
    text title="Error"          is the error that the python block before it raises, with its type
    console                     has commands after `$ `, which are run by bash, each followed by what it prints
    ANY title="FILE.EXT"        is written to that file, in the folder of the page, which is a temporary one
    text                        is shown, and not run

Nothing else may stand there, so that no example is forgotten. What differs from run to run (times, rates, digests, counts of
what happened to be under way) is compared as one figure with another. `...` stands for anything. With HEADRACE_DOCS=accept
in the environment, what was printed is written into the page where it differs.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sybil import Document, Example, Region, Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.rest import DocTestParser

import headrace

ROOT = Path(__file__).parents[2]
ROOMS = ("actors", "runtime", "scenarios")
COMMAND_S = 50.0
_KEPT = "to be closed"
ACCEPTS = os.environ.get("HEADRACE_DOCS") == "accept"
_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$', re.MULTILINE | re.DOTALL
)
_DIFFERS = (
    # What waited for what, and for how long, is as the machine is busy.
    (re.compile(r"waited [\d.]+ (µs|ms|s) for its turn; "), ""),
    (re.compile(r", in one go with [\d,]+ others?"), ""),
    (re.compile(r"\b[\d.]+ (µs|ms)(?!\w)"), "N ms"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "0000-00-00"),
    (re.compile(r"\d\d:\d\d:\d\d(\.\d+)?"), "00:00:00"),
    (re.compile(r"\b\d+(\.\d+)? (µs|ms)(?!\w)"), "0.0 s"),
    (re.compile(r"\d[\d,]*\.\d+(e-\d+)?"), "0.0"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"\b[0-9a-f]{32}\b"), "DIGEST"),
    (re.compile(r"\b(in flight|together_with) [\d,]+"), r"\1 N"),
    (re.compile(r"\b[\d,]+(/s\b| steps\b| rows that were read\b)"), r"N\1"),
    (re.compile(r"\bfor \d+ s\b"), "for N s"),
    (re.compile(r"\b(threads|descriptors) do not grow: \d+, then \d+"), r"\1 do not grow: N, then N"),
)
_FENCE = re.compile(r"^```", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block. `start`, `end`: where its body stands in the page. `error`: the block with the error that it is to
    raise."""

    language: str
    title: str | None
    body: str
    start: int
    end: int
    error: Block | None = None


def parse(document: Document) -> Iterator[Region]:
    """The blocks of a page, each with what is done with it."""
    document.namespace["path"] = document.path
    found = list(_BLOCK.finditer(document.text))
    if len(_FENCE.findall(document.text)) != 2 * len(found):
        raise ValueError(f"{document.path}: a fenced block does not begin as this plugin knows it, or does not end")
    blocks = [
        Block(match["language"], match["title"], match["body"], match.start("body"), match.end("body"))
        for match in found
    ]
    for i, (match, block) in enumerate(zip(found, blocks, strict=True)):
        after = blocks[i + 1] if i + 1 < len(blocks) else None
        if block.language == "python" and after is not None and after.title == "Error":
            block = block._replace(error=after)
        evaluate = _evaluator(block)
        if evaluate is not None:
            yield Region(match.start(), match.end(), block, evaluate)


def _evaluator(block: Block) -> Any:
    if block.title == "Error" or (block.language == "text" and block.title is None):
        return None
    if block.title == "Output":
        return _compare_output
    if block.title is not None:
        return _write_file
    known = {"python": _run_python, "console": _run_console}
    if block.language not in known:
        raise ValueError(f"a block of {block.language!r} is neither a file (title=) nor run: {block.body[:60]!r}")
    return known[block.language]


def _run_python(example: Example) -> None:
    block: Block = example.parsed
    # So that a traceback tells the line of the page.
    source = "\n" * example.line + block.body
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    try:
        with contextlib.redirect_stdout(example.namespace["printed"]):
            result = eval(code, example.namespace["names"])
            if code.co_flags & inspect.CO_COROUTINE:
                example.namespace["loop"].run(result)
    except Exception as error:
        if block.error is None:
            raise
        _compare(example, block.error, f"{type(error).__name__}: {error}\n")
    else:
        if block.error is not None:
            raise AssertionError("the block raises nothing, though the page shows an error")


def _compare_output(example: Example) -> None:
    printed: io.StringIO = example.namespace["printed"]
    text = printed.getvalue()
    printed.seek(0)
    printed.truncate()
    _compare(example, example.parsed, text)


def _write_file(example: Example) -> None:
    block: Block = example.parsed
    assert block.title is not None
    Path(block.title).write_text(block.body, encoding="utf-8")


def _run_console(example: Example) -> None:
    block: Block = example.parsed
    told = []
    for command in _commands(block.body):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "80"}
        ran = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_S,
            text=True,
            env=env,
        )
        assert ran.returncode == 0, f"{command}: exit status {ran.returncode}\n{ran.stdout}"
        output = ran.stdout if not ran.stdout or ran.stdout.endswith("\n") else ran.stdout + "\n"
        told.append(f"$ {command}\n{output}")
    _compare(example, block, "".join(told))


def _commands(body: str) -> Iterator[str]:
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            yield command


def _compare(example: Example, block: Block, got: str) -> None:
    got = "\n".join(line.rstrip() for line in got.replace(str(Path.cwd()), "/home/ada/work").splitlines()) + "\n"
    if doctest.OutputChecker().check_output(_plain(block.body), _plain(got), doctest.ELLIPSIS):
        return
    if ACCEPTS:
        example.namespace["edits"].append((block.start, block.end, got))
        return
    raise AssertionError(f"the page shows\n\n{block.body}\nand this is\n\n{got}\n(HEADRACE_DOCS=accept make docs)")


def _plain(text: str) -> str:
    """Without what differs from run to run, and how it is aligned."""
    for pattern, instead in _DIFFERS:
        text = pattern.sub(instead, text)
    return text


def set_up(namespace: dict[str, Any]) -> None:
    """A folder, names and an event loop for one page."""
    namespace["before"] = os.getcwd()
    namespace["folder"] = tempfile.TemporaryDirectory(prefix="headrace-docs-")
    os.chdir(namespace["folder"].name)
    sys.path.insert(0, namespace["folder"].name)
    namespace["modules"] = set(sys.modules)
    namespace["loop"] = asyncio.Runner()
    namespace["printed"] = io.StringIO()
    namespace["edits"] = []
    namespace["names"] = {"__name__": "__main__"}


def tear_down(namespace: dict[str, Any]) -> None:
    """Leave the folder, and write down what was accepted."""
    namespace["loop"].close()
    folder = namespace["folder"].name
    sys.path.remove(folder)
    for name in set(sys.modules) - namespace["modules"]:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]
    os.chdir(namespace["before"])
    namespace["folder"].cleanup()
    if namespace["edits"]:
        path = Path(namespace["path"])
        text = path.read_text(encoding="utf-8")
        for start, end, new in sorted(namespace["edits"], reverse=True):
            text = text[:start] + new + text[end:]
        path.write_text(text, encoding="utf-8")


class Docstrings(PythonDocStringDocument):  # type: ignore[misc]
    """The docstrings of one file, which is not imported: as a file, it would be another module than the package's."""

    def __init__(self, text: str, path: str) -> None:
        Document.__init__(self, text, path)
        parts = Path(path).relative_to(ROOT).with_suffix("").parts
        if ">>>" in text and parts[0] in ROOMS:
            self.namespace.update(vars(importlib.import_module(".".join(("headrace", *parts)))))


def set_up_docstrings(namespace: dict[str, Any]) -> None:
    """The public names of the package and those of the file itself, in a temporary folder."""
    kept = contextlib.ExitStack()
    kept.enter_context(contextlib.chdir(kept.enter_context(tempfile.TemporaryDirectory(prefix="headrace-docs-"))))
    namespace[_KEPT] = kept
    namespace.update({name: getattr(headrace, name) for name in headrace.__all__})


def tear_down_docstrings(namespace: dict[str, Any]) -> None:
    """Leave the folder."""
    namespace[_KEPT].close()


_pages = Sybil(parsers=[parse], pattern="*.md", exclude="README.md", path="/", setup=set_up, teardown=tear_down)
_docstrings = Sybil(
    parsers=[DocTestParser(optionflags=doctest.ELLIPSIS)],
    pattern="*.py",
    path="/",
    document_types={".py": Docstrings},
    setup=set_up_docstrings,
    teardown=tear_down_docstrings,
)
pytest_collect_file = (_pages + _docstrings).pytest()
