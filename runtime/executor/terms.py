"""What is said of an executor when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from ..calls.place import Place
from ..hosts.port import Whose
from ..limits import Limit, Retry


class ExecutorTerms(msgspec.Struct, frozen=True):
    """As the arguments of `Executor`, checked. `prefix`: what its threads are called by."""

    max_workers: int
    prefix: str
    limit: Limit
    retry: Retry | None
    timeout: float | None
    deadline: float | None
    on_unknown: Literal["retry", "quarantine"]
    initializer: Callable[..., object] | None
    initargs: tuple[object, ...]
    loop: Whose = "own"
    on: Place = "threads"
    memory: int | None = None
