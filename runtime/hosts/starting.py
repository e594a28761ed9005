"""The one place where threads of Headrace are started."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import CannotStartThread


def started(target: Callable[..., object], name: str, *args: object) -> threading.Thread:
    """A daemon thread that runs `target(*args)`. Raises `CannotStartThread`."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise CannotStartThread(name, error) from error
    return thread
