"""For every test here: threads and pykka's registry are afterwards what they were before."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pykka
import pytest

GRACE_S = 5.0
"""A thread that has told its last word may need a moment to end."""


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not pykka.ActorRegistry.get_all()
    if not _new(before):
        return
    # What nobody holds any more may have to be collected before its threads end. That takes a tenth of a second.
    gc.collect()
    deadline = time.monotonic() + GRACE_S
    for thread in _new(before):
        if thread.name == "fsspecIO":
            # fsspec has one thread for all that is asynchronous, for as long as the process lives.
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), f"{thread.name} is left behind"


def _new(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads that a test has left. One that leaves a call hanging on purpose says so in its thread's name; loops' own pools
    are asyncio's."""
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and "hang" not in thread.name and "asyncio" not in thread.name
    ]
