"""How a stage hands calls to its workers. The port of calls says it (see `Worker`), for each kind of call.

A kind of call that is new says four numbers here, and no actor asks what kind it is.
"""

from __future__ import annotations

import msgspec

CHUNK_MAX = 512
"""Rows in one assignment to a thread at most."""
CHUNK_S = 0.010
"""Work in one assignment to a thread, about."""
PROCESS_CHUNK_S = 0.015
"""Work in one assignment to a process, about: a process that waits for its next one waits for a few hundred microseconds."""
UNBOUND = 1 << 30
"""Rows in one assignment, where each of them is on its own in the worker."""


class Dispatch(msgspec.Struct, frozen=True):
    """`slots`: calls that a worker has in flight at once. `depth`: rows that wait inside it besides, where permits are
    plenty, so that a slot that comes free begins its next call at once. `chunk`: rows in one assignment at most.

    `blocking`: a worker is in its handler until the calls of its assignment have been made, one after another. So it has one
    assignment at a time, whose size follows the time that calls take; it gives nothing back when it is recalled; and only
    whoever gives it up ends a call that takes too long. Where it is not, a worker takes assignments at any time, gives back
    what has not begun, and ends calls that take too long itself. `work_s`: about so much work is in one assignment of a
    worker that is blocking. `times_out`: the worker ends calls that take too long itself, although it is blocking.
    """

    slots: int
    depth: int
    chunk: int
    blocking: bool
    work_s: float = CHUNK_S
    times_out: bool = False

    @staticmethod
    def in_threads(chunk: int = CHUNK_MAX) -> Dispatch:
        """One call at a time, on the thread of the worker."""
        return Dispatch(slots=1, depth=0, chunk=chunk, blocking=True)

    @staticmethod
    def in_processes() -> Dispatch:
        """One call at a time, in the process of the worker: the way there and back costs more than to a thread."""
        return Dispatch(slots=1, depth=0, chunk=8 * CHUNK_MAX, blocking=True, work_s=PROCESS_CHUNK_S, times_out=True)

    @staticmethod
    def on_a_loop(calls: int) -> Dispatch:
        """All calls of a stage in one worker, `calls` of them at once."""
        return Dispatch(slots=calls, depth=calls // 8, chunk=UNBOUND, blocking=False)

    def workers(self, calls: int) -> int:
        """Workers for so many calls at once."""
        return max(1, -(-calls // self.slots))
