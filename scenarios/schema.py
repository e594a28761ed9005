"""The JSON Schema of scenario files, for editors: `python -m headrace.scenarios.schema` writes it beside this file."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from .script import Script

SCHEMA = Path(__file__).parent / "scenario.schema.json"


def schema() -> str:
    """The schema as text, which is the same on every Python and with every msgspec."""
    return json.dumps(_evened(msgspec.json.schema(Script)), indent=1) + "\n"


def _evened(part: Any) -> Any:
    """That part of the schema without indents in its texts, which are docstrings that Python dedents from 3.13 on, and with
    its alternatives in the order of their text, which is msgspec's own in each version."""
    if isinstance(part, dict):
        even = {key: _evened(value) for key, value in part.items()}
        if isinstance(even.get("description"), str):
            even["description"] = inspect.cleandoc(even["description"])
        if isinstance(even.get("anyOf"), list):
            even["anyOf"].sort(key=json.dumps)
        return even
    if isinstance(part, list):
        return [_evened(each) for each in part]
    return part


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
