"""The JSON Schema of scenario files, for editors: `python -m headrace.scenarios.schema` writes it beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from .script import Script

SCHEMA = Path(__file__).parent / "scenario.schema.json"


def schema() -> str:
    """As text."""
    return json.dumps(msgspec.json.schema(Script), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
