"""What names may be: of pipelines, nodes and branches, which people give, and of functions and connectors, which have them.

Names stand in reports, logs, journals, files and the names of threads. So one rule holds for all of them: a name is one line
of characters that can be seen, neither empty nor longer than `NAME_CHARS_MAX`.
"""

from __future__ import annotations

from headrace.actors.errors import InternalError

from .errors import ConfigError

NAME_CHARS_MAX = 200
"""Longer names make no report readable, and no table."""


def check_name(what: str, name: object) -> str:
    """The name, where it is one that may be given. `what`: whose it is, for the message. Raises `ConfigError`."""
    wrong = _wrong(name)
    if wrong is not None:
        raise ConfigError(f"{what}: {wrong}")
    if not isinstance(name, str):
        raise InternalError("what is not wrong is text")
    return name


def _wrong(name: object) -> str | None:
    if not isinstance(name, str):
        return f"a name is text, not {type(name).__name__}"
    if not name.strip():
        return f"name {name!r} is empty; leave it out, or give one"
    if len(name) > NAME_CHARS_MAX:
        return f"name {name[:20]!r}... has {len(name):,} characters; at most {NAME_CHARS_MAX} are possible"
    if not name.isprintable():
        seen = next(char for char in name if not char.isprintable())
        return f"name {name!r} has a character that cannot be seen ({seen!r}); leave it out"
    return None


def function_name(function: object) -> str:
    """What a function is called: its `__name__`, or the name of its class, where it has none that may be one."""
    try:
        name = getattr(function, "__name__", None)
    except BaseException:
        name = None
    if isinstance(name, str) and _wrong(name) is None:
        return name
    return _class_name(function)


def connector_name(connector: object) -> str:
    """What a connector is called: its `name`, or that of its class. With nothing in it that a terminal obeys."""
    try:
        name = getattr(connector, "name", None)
    except BaseException:
        name = None
    if isinstance(name, str) and name.strip():
        # The name of a connector may be a path, which may be long and hold anything.
        from .text import visible

        return visible(name)
    return _class_name(connector)


def _class_name(of: object) -> str:
    name = type(of).__name__
    return name if _wrong(name) is None else "function"
