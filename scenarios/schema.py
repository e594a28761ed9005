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
    """The schema as text, which is the same on every Python."""
    return json.dumps(_with_even_texts(msgspec.json.schema(Script)), indent=1) + "\n"


def _with_even_texts(part: Any) -> Any:
    """That part of the schema without indents in its texts: they are docstrings, which Python dedents from 3.13 on."""
    if isinstance(part, dict):
        even = {key: _with_even_texts(value) for key, value in part.items()}
        if isinstance(even.get("description"), str):
            even["description"] = inspect.cleandoc(even["description"])
        return even
    if isinstance(part, list):
        return [_with_even_texts(each) for each in part]
    return part


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
