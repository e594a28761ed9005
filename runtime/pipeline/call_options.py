"""The options of a node that calls a function, and the node that they make."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from ..calls.answers import Kind, check_answers_at_once, check_function, on_a_loop
from ..calls.place import Place, checked_place
from ..errors import ConfigError
from ..graph.nodes.calls import StagePlan
from ..graph.nodes.kinds import CALLING
from ..limits import Limit, Retry, as_limit, as_retry, check_on_unknown, checked_times
from ..quantities import WORKERS as WORKER_COUNT
from ..quantities import option

WORKERS = 16
"""Calls in flight of a node that does not say."""


class CallOptions(TypedDict, total=False):
    """How the function of a node is called. Every method that takes a function of a row takes these.

    `name`: of the node, in reports, logs and the journal; by default the function's. `workers`: calls in flight at most, 16
    by default: threads for a function, places on one event loop for a coroutine function. `limit`: a `Limit`, or text such
    as `"200/s"`; by default the rate is learned from refusals. `retry`: a `Retry`, or a number of attempts. `timeout`:
    seconds for one attempt, waits not included. `deadline`: seconds for a row in this node, all waits included. `on_error`:
    what becomes of a row whose attempts are used up. `on_unknown`: what becomes of a row whose call may or may not have
    happened. `version`: what the function is to a journal, in place of its code and of what it uses: under the same version
    a run goes on whatever was edited, under another one it does not. `on`: where a plain function is called: "threads" of
    this process, or "processes", `workers` of them, for code that computes or that may crash. `memory`: what each process
    may take, as a number of bytes or text such as "2GB".
    """

    name: str | None
    workers: int
    limit: Limit | str | None
    retry: Retry | int | None
    timeout: float | None
    deadline: float | None
    on_error: Literal["quarantine", "fail", "drop"]
    on_unknown: Literal["retry", "quarantine"]
    version: str | int | None
    on: Place
    memory: str | int | None


def stage_plan(
    kind: Kind, function: Callable[..., Any], name: str, options: Mapping[str, Any], branches: tuple[str, ...] = ()
) -> StagePlan:
    """A node that calls `function`. Raises `ConfigError` for a value that cannot be, `TypeError` for an option that there
    is not."""
    check_known(kind, options, CallOptions)
    if not callable(function):
        raise ConfigError(f"{kind}: {type(function).__name__} is not callable; give a function of a row")
    workers = option(kind, "workers", options.get("workers", WORKERS), WORKER_COUNT)
    timeout, deadline = checked_times(kind, options.get("timeout"), options.get("deadline"))
    on_unknown, on_error = options.get("on_unknown", "retry"), options.get("on_error", "quarantine")
    check_on_unknown(kind, on_unknown)
    if on_error not in ("quarantine", "fail", "drop"):
        raise ConfigError(f"{kind}: on_error={on_error!r}: 'quarantine', 'fail' or 'drop'")
    version = options.get("version")
    if isinstance(version, bool) or not isinstance(version, str | int | None):
        raise ConfigError(f"{kind}: version= is text or a whole number, not {type(version).__name__}")
    on, memory = checked_place(kind, options.get("on"), options.get("memory"), on_a_loop=on_a_loop(kind, function))
    policy = as_retry(options.get("retry")) or Retry()
    check_function(kind, function)
    limited = as_limit(options.get("limit"))
    for what, asked in (("limit=Limit(key=...)", limited.key), ("limit=Limit(cost=...)", limited.cost)):
        check_answers_at_once(kind, what, asked)
    check_answers_at_once(kind, "retry=Retry(classify=...)", policy.classify)
    return CALLING[kind](
        name=name,
        function=function,
        workers=workers,
        limit=limited,
        retry=policy,
        timeout=timeout,
        deadline=deadline,
        on_error=on_error,
        on_unknown=on_unknown,
        branches=branches,
        version=None if version is None else str(version),
        on=on,
        memory=memory,
    )


def check_known(what: str, options: Mapping[str, Any], known: type) -> None:
    """Raises `TypeError` for an option that the typed dict `known` does not have."""
    for name in options:
        if name not in known.__annotations__:
            near = difflib.get_close_matches(name, known.__annotations__, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}{hint}")


def as_function(function: Callable[[Any], Any] | str, name: str) -> Callable[[Any], Any]:
    """A function as it is; text as an expression of that name. Raises `ConfigError`."""
    if not isinstance(function, str):
        return function
    from ..rows.expressions import Expression

    return Expression(function, name)
