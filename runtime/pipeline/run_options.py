"""What can be said of one run of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

from ..hosts.port import Whose
from ..journal.options import Journal
from ..run.progress import Progress
from ..telemetry.observer import Observer


class RunOptions(TypedDict, total=False):
    """What `run`, `run_async` and `start` take.

    Args:
        max_quarantined: A number of rows, or below 1 a share of them, above which the run fails.
        drain_timeout: Seconds that a drain may take before it becomes an abort: calls on the loop are cancelled then, and
            those on threads left to themselves.
        journal: A file in which the run goes on where it was, however it ended: killed, failed, drained. Or a `Journal`,
            which also says how it is kept. What a call has answered is durable within 50 ms, and is not called again. Where
            the source, the functions or the graph are not what they were, `ConfigError` says how.
        accept_changes: Whether to go on all the same where these are not what they were; the log says how they differ.
        suspend_after: End the run, as suspended, when for so many seconds nothing was left to do but to wait for rows that
            are `Pending`.
        loop: Where all that is asynchronous runs: "own" is an event loop of the run, on a thread of its own, on which
            `prepare` and `close` can make and close the clients that calls use. "caller" is the loop that runs here, so
            that calls can use clients that the application has already (an aiohttp session, an httpx client, a connection
            pool). Nothing may block that loop, so the run is then awaited: `await run`, `async with`. If that loop ends
            first, the run fails.
        observers: Who is told what happens, as it happens; see `Observer`.
        progress: Show how the run is doing until it has ended: a live line on a terminal, an output that is renewed in a
            notebook, a line every five seconds elsewhere, on standard error. `headrace run` does so by default.
    """

    max_quarantined: float | None
    drain_timeout: float | None
    journal: str | os.PathLike[str] | Journal | None
    accept_changes: bool
    suspend_after: float | None
    loop: Whose
    observers: Sequence[Observer]
    progress: bool | Progress
