"""What is public says what a stranger needs: what it does, each parameter, what it raises, and an example.

The examples are run by `make docs`.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec
import pytest

import headrace

CALLED_BY_US = ("Observer", "SourceConnector", "SinkConnector", "PlacedSource", "InterruptibleSource", "DurableSink")
"""Base classes, whose methods are for others to write: the class has the example."""
WITHOUT_EXAMPLE = {
    "CallInfo": "current_call() gives it, and has one",
    "ConfigError": "nobody raises it but Headrace",
    "HeadraceError": "nobody raises it but its kinds",
    "Quota": "Limit(headers=) has one",
    "ReadResult": "SourceConnector has one",
    "Refill": "its members are all there is",
    "State": "its members are all there is",
    "Status": "its members are all there is",
    "RunAborted": "nobody raises it but Headrace",
    "Verdict": "Retry(classify=) has one",
    "Executor.aclose": "as shutdown",
    "Executor.abort": "as it is read",
    "Executor.set_limit": "as Run.set_limit",
    "Executor.stats": "as it is read",
    "Run.abort": "as it is read",
    "Run.drain": "as it is read",
    "Run.ended": "as wait",
    "Run.leave": "as drain",
    "Run.stats": "as it is read",
    "Run.wait_ended": "as wait",
    "RunReport.text": "str(report) is the same at another width",
    "RunReport.to_dict": "as it is read",
    "Stream.close": "as the class shows",
    "Stream.aclose": "as the class shows",
    "Limit.called": "for reports",
}
"""What needs none, and why."""


def public() -> Iterator[tuple[str, Any]]:
    """Every public name, and every public method."""
    for name in headrace.__all__:
        found = getattr(headrace, name)
        if inspect.ismodule(found):
            for each in found.__all__:
                if inspect.isfunction(getattr(found, each)):
                    yield each, getattr(found, each)
        elif not name.startswith("__"):
            yield name, found
        if inspect.isclass(found):
            for method, value in vars(found).items():
                if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    yield f"{name}.{method}", value


NAMES = dict(public())


def is_a_hook(name: str) -> bool:
    """A method of an observer, which is told of an event."""
    return name.partition(".")[2] in vars(headrace.Observer)


def said(name: str) -> str:
    return inspect.getdoc(NAMES[name]) or ""


def parameters(found: Any) -> list[str]:
    if isinstance(found, property) or (inspect.isclass(found) and issubclass(found, enum.Enum)):
        return []
    if inspect.isclass(found) and issubclass(found, msgspec.Struct):
        return [name for name in found.__struct_fields__ if not name.startswith("_")]
    if inspect.isclass(found) and (found.__init__ is object.__init__ or getattr(found, "_is_protocol", False)):
        return []
    try:
        signature = inspect.signature(found)
    except ValueError:
        return []
    return [name for name in signature.parameters if name not in ("self", "args", "kwargs")]


@pytest.mark.parametrize(
    "name", [name for name, found in NAMES.items() if callable(found) or isinstance(found, property)]
)
def test_it_says_what_it_does(name: str) -> None:
    first = said(name).split("\n\n")[0]
    assert first.endswith((".", ":")), f"{name}: {first!r} is no sentence"
    assert len(first.split()) > 2, f"{name}: {first!r} says too little"


MADE_BY_US = ("Flow", "Run", "Stream", "Outcome", "HeadraceError", "RunAborted")
"""Nobody calls these classes but Headrace; what a user reads of them is said elsewhere."""


@pytest.mark.parametrize("name", [name for name, found in NAMES.items() if name not in MADE_BY_US and callable(found)])
def test_it_says_its_parameters(name: str) -> None:
    if is_a_hook(name):
        # Each is given one event, as the class says.
        return
    text = said(name)
    for parameter in parameters(NAMES[name]):
        assert re.search(rf"(?m)^    {parameter}: ", text), f"{name} does not say what {parameter!r} is"


@pytest.mark.parametrize("name", [name for name, found in NAMES.items() if callable(found)])
def test_it_has_an_example(name: str) -> None:
    has = ">>> " in said(name)
    of_a_base = name.partition(".")[0] in CALLED_BY_US and "." in name
    assert has != (name in WITHOUT_EXAMPLE or of_a_base or is_a_hook(name)), (
        f"{name} has {'an' if has else 'no'} example"
    )


def test_the_types_of_all_that_is_public_can_be_asked_for() -> None:
    for found in NAMES.values():
        if inspect.isfunction(found) and found.__module__ != "headrace.runtime.run.run":
            inspect.signature(found)
        if inspect.isclass(found) and issubclass(found, msgspec.Struct):
            get_type_hints(found)
