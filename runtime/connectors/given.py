"""What people give as a source by mistake: told at once, with the mend, before it counts as an iterable of other things."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping

from headrace.runtime.errors import ConfigError


def refuse_mistakes(given: object) -> None:
    """Raises `ConfigError` where what was given as a source is none, though some of it could be iterated.

    >>> refuse_mistakes("in.csv")
    Traceback (most recent call last):
    headrace.runtime.errors.ConfigError: source: 'in.csv' is text, not rows: say sources.csv('in.csv')
    """
    mend = _mend_of(given)
    if mend is not None:
        raise ConfigError(f"source: {mend}")


def _mend_of(given: object) -> str | None:
    """What it is and what to say instead; None where it may be a source."""
    if isinstance(given, str):
        shown = repr(given) if len(given) <= 80 else f"{given[:80]!r}..."
        return f"{shown} is text, not rows: say {_reader_of(given)}({shown})"
    if isinstance(given, os.PathLike):
        path = os.fsdecode(given)
        return f"{path!r} is a path, not rows: say {_reader_of(path)}({path!r})"
    if isinstance(given, bytes | bytearray | memoryview):
        return f"{type(given).__name__} are no rows: their items are numbers; give a list of rows, or sources.csv(PATH)"
    if isinstance(given, Mapping):
        return (
            f"{type(given).__name__} is one mapping, not rows, and iterating it gives its keys: say [row] for one row, "
            "row.values() or row.items() for many"
        )
    kind = type(given)
    # Of pandas and polars, known by name: neither is imported.
    if kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] in ("pandas", "polars"):
        rows = "iter_rows(named=True)" if hasattr(kind, "iter_rows") else "to_dict('records')"
        return f"iterating a DataFrame gives its columns, not its rows: say frame.{rows}"
    if inspect.isclass(given):
        return f"{given.__name__} is a class, not rows: give an object of it, such as {given.__name__}(...)"
    if inspect.isroutine(given) and not hasattr(given, "__iter__"):
        name = getattr(given, "__name__", "function")
        return f"{name} is a function, not rows: call it, {name}()"
    if inspect.iscoroutine(given):
        given.close()
        return (
            "a coroutine gives one value once it is awaited, and no rows: await it first, or write an async generator "
            "(async def with yield)"
        )
    return None


def _reader_of(path: str) -> str:
    return "sources.jsonl" if path.endswith((".jsonl", ".ndjson", ".jsonl.gz")) else "sources.csv"
