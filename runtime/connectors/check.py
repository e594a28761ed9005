"""Whether an object is the connector that it is handed over as: told when it is, and not when the run has begun.

What a connector must have is in `port.py`. A connector is somebody else's object, so that even asking for an attribute may
run code that raises.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterable, Iterable
from typing import Any, Literal, NamedTuple, cast

from ..calls.answers import is_generator_function
from ..errors import ConfigError
from ..names import connector_name, function_name
from ..text import told
from .given import refuse_mistakes
from .iterables import CallableSink
from .port import SinkConnector, SourceConnector

Role = Literal["source", "sink"]


class _Member(NamedTuple):
    name: str
    parameters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.parameters)})"


_MEMBERS: dict[Role, tuple[_Member, ...]] = {
    "source": (_Member("open"), _Member("read", ("n",)), _Member("close")),
    "sink": (_Member("open"), _Member("write", ("items",)), _Member("close", ("complete",))),
}
_PLACE = (_Member("tell"), _Member("resume", ("place",)))
_DECLARED: dict[Role, tuple[str, tuple[_Member, ...]]] = {
    "source": ("placed", _PLACE),
    "sink": ("durable", (*_PLACE, _Member("sync"))),
}
"""What a connector has besides that declares itself so."""
_OPTIONAL: dict[Role, tuple[_Member, ...]] = {"source": (_Member("interrupt"),), "sink": ()}
_MISSING = object()


def source_connector(given: object) -> SourceConnector | None:
    """The connector that somebody handed over as a source; None where it is no connector, but perhaps an iterable. Raises
    `ConfigError` for one that lacks something."""
    refuse_mistakes(given)
    if not _has(given, "read"):
        return None
    if not _has(given, "open") and isinstance(given, Iterable | AsyncIterable):
        # A file that is open already gives its lines.
        return None
    _check("source", given)
    return cast(SourceConnector, given)


def as_sink(given: Any) -> SinkConnector:
    """The connector that somebody handed over as a sink, or what makes one of a function. Raises `ConfigError`."""
    if inspect.isclass(given) and _has(given, "write"):
        raise ConfigError(f"sink: the class {given.__name__} where an instance is expected; give {given.__name__}(...)")
    is_function = callable(given) and not (_has(given, "write") and _has(given, "open"))
    if is_function:
        if inspect.isasyncgenfunction(given) or is_generator_function(given):
            raise ConfigError(
                f"sink: {function_name(given)} is a generator function, of which a call runs nothing; give a function that "
                "does its work and returns"
            )
        return CallableSink(given)
    if isinstance(given, str | os.PathLike) or not any(_has(given, name) for name in ("open", "write", "close")):
        raise ConfigError(f"sink: {type(given).__name__} is neither a connector nor callable{_mend(given)}")
    _check("sink", given)
    return cast(SinkConnector, given)


def _mend(given: object) -> str:
    return "; for a file, give sinks.jsonl(path) or sinks.csv(path)" if isinstance(given, str | os.PathLike) else ""


def _check(role: Role, given: object) -> None:
    name = connector_name(given)
    for member in _MEMBERS[role]:
        _check_member(role, name, given, member)
    for member in _OPTIONAL[role]:
        if _has(given, member.name):
            _check_member(role, name, given, member)
            if inspect.iscoroutinefunction(_member(given, member.name)):
                raise ConfigError(
                    f"{role}: connector {name!r}: its {member.name!r} is async; it is called from another thread, where "
                    f"nobody awaits it: give one that is not"
                )
    declaration, members = _DECLARED[role]
    if _member(given, declaration) is True:
        for member in members:
            _check_member(role, name, given, member, f", which {declaration} = True promises")


def _check_member(role: Role, name: str, given: object, member: _Member, why: str = "") -> None:
    needed = ", ".join(map(str, _MEMBERS[role]))
    method = _member(given, member.name)
    if isinstance(method, _Raised):
        raise ConfigError(f"{role}: connector {name!r}: asking for its {member.name!r} raised {told(method.error)}")
    if method is _MISSING or method is None:
        raise ConfigError(f"{role}: connector {name!r} has no {member}{why}; a {role} needs {needed}")
    if not callable(method):
        raise ConfigError(
            f"{role}: connector {name!r}: its {member.name!r} is a {type(method).__name__}, and no method"
        )
    if inspect.isasyncgenfunction(method) or is_generator_function(method):
        raise ConfigError(
            f"{role}: connector {name!r}: its {member.name!r} is a generator function, of which a call runs nothing; give a "
            "method that does its work and returns"
        )
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        # Of some that are written in C, nobody can say.
        return
    try:
        signature.bind(*member.parameters)
    except TypeError as error:
        raise ConfigError(
            f"{role}: connector {name!r}: {member.name}{signature} cannot be called as {member}: {error}"
        ) from None


class _Raised(NamedTuple):
    error: BaseException


def _member(given: object, name: str) -> object:
    try:
        return getattr(given, name, _MISSING)
    except BaseException as error:
        return _Raised(error)


def _has(given: object, name: str) -> bool:
    return _member(given, name) is not _MISSING
