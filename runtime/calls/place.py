"""Where the calls of a plain function run: on threads of this process, or in processes of their own."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from ..errors import ConfigError
from ..quantities import MEMORY, optional

Place = Literal["threads", "processes"]

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)i?B\s*", re.IGNORECASE)


def checked_place(where: str, on: object, memory: object, *, on_a_loop: bool) -> tuple[Place, int | None]:
    """The options `on` and `memory` of a stage or executor: the place, and bytes. `on_a_loop`: the function is a coroutine
    function. Raises `ConfigError`."""
    if on is None:
        on = "threads"
    if on not in get_args(Place):
        raise ConfigError(f"{where}: on={on!r}: 'threads' or 'processes'")
    if on == "processes" and on_a_loop:
        raise ConfigError(
            f"{where}: on='processes' is for plain functions; coroutine functions are called on an event loop, where "
            f"thousands of them wait at once"
        )
    if memory is not None and on != "processes":
        raise ConfigError(f"{where}: memory= is what each process may take, so it goes with on='processes'")
    place: Place = "processes" if on == "processes" else "threads"
    return place, _bytes(where, memory)


def _bytes(where: str, memory: object) -> int | None:
    if isinstance(memory, str):
        match = _SIZE.fullmatch(memory)
        if match is None:
            raise ConfigError(
                f"{where}: memory={memory!r}: a size reads like '2GB' or '512MB', or is a number of bytes"
            )
        number, unit = match.groups()
        memory = int(float(number) * 1000 ** " KMGT".index(unit.upper() or " "))
    size: Any = optional(where, "memory", memory, MEMORY)
    return None if size is None else int(size)
