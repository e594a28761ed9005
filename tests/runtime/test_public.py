"""The face: what `from headrace import …` gives, and what `help` and `inspect` say of it."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

import headrace
from headrace import runtime

OBJECTS = [name for name in headrace.__all__ if name != "__version__"]


def test_every_public_name_can_be_imported_from_the_package_itself() -> None:
    for name in runtime.__all__:
        assert getattr(headrace, name) is getattr(runtime, name)
    assert headrace.__version__ == version("headrace")
    namespace: dict[str, Any] = {}
    exec("from headrace import *", namespace)
    assert set(headrace.__all__) <= set(namespace)
    assert [name for name in dir(headrace) if not name.startswith("__")] == sorted(OBJECTS)


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Pipelin'; it has .*Pipeline"):
        headrace.Pipelin  # noqa: B018


@pytest.mark.parametrize("name", OBJECTS)
def test_help_and_signatures_work_on_all_that_is_public(name: str) -> None:
    public = getattr(headrace, name)
    assert pydoc.render_doc(public)
    assert inspect.getdoc(public)
    if not inspect.isclass(public):
        return
    if public.__init__ is not Exception.__init__ and not issubclass(public, Exception):
        inspect.signature(public)
    for method, function in inspect.getmembers(public, inspect.isfunction):
        if not method.startswith("_"):
            inspect.signature(function)


def test_importing_the_package_alone_imports_nothing_of_it() -> None:
    script = "import sys, headrace; print([name for name in sys.modules if name.startswith('headrace.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert done.stdout.strip() == "[]"
