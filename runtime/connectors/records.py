"""Rows as records, for the sinks that write columns."""

from __future__ import annotations

from typing import Any

import msgspec

from .json_values import fault_of, plain


def record_of(item: object, what: str) -> dict[Any, object] | str:
    """A dict as it is, a Struct or dataclass as a dict; or what is wrong with it. `what`: of which kind of rows this is
    said, in messages."""
    if isinstance(item, dict):
        return item
    try:
        built = msgspec.to_builtins(item, builtin_types=(bytes,), enc_hook=plain)
    except Exception:
        return fault_of(item) or f"{what} is a dict or a struct, not {type(item).__name__}"
    return built if isinstance(built, dict) else f"{what} is a dict or a struct, not {type(item).__name__}"
