"""The one place where threads of Headrace are started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context, copy_context

from ...errors import CannotStartThread


def started(
    target: Callable[..., object], name: str, *args: object, context: Context | None = None
) -> threading.Thread:
    """A daemon thread that runs `target(*args)`, in a copy of `context`, which is that of the caller if none is given:
    what the application has set there holds for the code of its own that the thread calls (L73). Raises
    `CannotStartThread`."""
    inherited = context.copy() if context is not None else copy_context()
    thread = threading.Thread(target=inherited.run, args=(target, *args), name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise CannotStartThread(name, error) from error
    return thread
