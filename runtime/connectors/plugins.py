"""Sources and sinks that packages bring, by the entry points `headrace.sources` and `headrace.sinks`.

    [project.entry-points."headrace.sources"]
    acme = "acme_headrace:Orders"

Each is a callable that makes a connector: a class, or a function. Its name is the `type` in job files, and the scheme of a
URL that stands for an end (`acme://...`), which it gets as `url=`. They are loaded when they are asked for.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..errors import ConfigError
from ..text import told, visible

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Role = Literal["source", "sink"]
GROUPS: dict[Role, str] = {"source": "headrace.sources", "sink": "headrace.sinks"}
ALL_GROUPS = (*GROUPS.values(), "headrace.classifiers", "headrace.headers", "headrace.stores")
"""Everything that packages can bring."""


class Found(msgspec.Struct, frozen=True):
    """A plug-in that is installed. `wrong`: why it cannot be used; None where it can."""

    group: str
    name: str
    value: str
    package: str
    wrong: str | None


def names(role: Role) -> list[str]:
    """The names of those that are installed."""
    return sorted({entry.name for entry in _entries(GROUPS[role])})


def made(role: Role, name: str, options: dict[str, object]) -> object:
    """The connector that the plug-in of this name makes. Raises `ConfigError`."""
    entries = [entry for entry in _entries(GROUPS[role]) if entry.name == name]
    if not entries:
        known = names(role)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"installed are {', '.join(known) or 'none'}"
        raise ConfigError(f"there is no {role} {visible(name)!r} among the plug-ins ({GROUPS[role]}); {hint}")
    if len({entry.value for entry in entries}) > 1:
        both = " and ".join(f"{_package_of(entry)} ({entry.value})" for entry in entries[:2])
        raise ConfigError(f"the {role} {name!r} is brought by two packages, {both}; remove one of them")
    entry = entries[0]
    who = f"the {role} {name!r} ({entry.value} of {_package_of(entry)})"
    try:
        make: object = entry.load()
    except Exception as error:
        raise ConfigError(f"{who} cannot be loaded: {told(error)}") from error
    if not callable(make):
        raise ConfigError(f"{who} is a {type(make).__name__}, and makes nothing: a class or a function is expected")
    _check_options(make, options, who)
    try:
        return make(**options)
    except ConfigError as error:
        raise ConfigError(f"{who}: {error}") from None
    except Exception as error:
        raise ConfigError(f"{who} cannot be made: {told(error)}") from error


def _check_options(make: Any, options: dict[str, object], who: str) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        # Of some that are written in C, nobody can say.
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        takes = ", ".join(map(str, signature.parameters.values()))
        raise ConfigError(f"{who}: {error}; it takes ({takes})") from None


def installed() -> list[Found]:
    """All that packages bring, each loaded to see whether it can be."""
    found: list[Found] = []
    for group in ALL_GROUPS:
        for entry in _entries(group):
            wrong = None
            try:
                entry.load()
            except Exception as error:
                wrong = told(error)
            found.append(Found(group, entry.name, entry.value, _package_of(entry), wrong))
    return found


def _entries(group: str) -> list[EntryPoint]:
    # It takes a while, and most runs never need it (L46).
    from importlib.metadata import entry_points

    return sorted(entry_points(group=group), key=lambda entry: (entry.name, _package_of(entry)))


def _package_of(entry: EntryPoint) -> str:
    package = entry.dist
    return f"{package.name} {package.version}" if package is not None else "a package without a name"
