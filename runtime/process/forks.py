"""A child process that was forked has none of its parent's threads (L70): what was begun in the parent goes on there alone.

Executors begin anew in the child; runs and futures of the parent say whose they are, instead of letting the child wait for
threads that it does not have. gunicorn with `--preload`, celery's prefork pool and `multiprocessing` with the start method
"fork" all fork a process that may have such objects already.
"""

from __future__ import annotations

import os
import threading

from ..errors import RunAborted

_mutex = threading.Lock()
generation = 0
"""How many forks lie between the first process and this one; cheaper to look at than the process id."""


def mutex() -> threading.Lock:
    """A lock that nobody holds in a child right after the fork, whoever held it in the parent."""
    return _mutex


def of_the_parent(what: str, pid: int) -> RunAborted:
    """The error that a child is told where it waits for something of its parent's, which has this process id."""
    return RunAborted(
        f"{what} belongs to process {pid}, from which this one ({os.getpid()}) was forked: its threads are there. "
        f"Begin anew in this process"
    )


def _after_fork() -> None:
    global _mutex, generation
    _mutex = threading.Lock()
    generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
