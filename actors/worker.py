"""A worker: hands an assignment to its calls and tells the stage what came of it.

Told: `Assign`, `Recall`, `CancelCalls` by its stage. Tells: `Answered` to its stage.

The port `Calls` decides how user code runs. With threads, `begin` runs the assignment before it returns: this is the one
actor whose handler may take long. With asyncio, `begin` returns at once and the answers come in parts.

Promises: each row of an assignment is told once, and after `CancelCalls` no call begins.
A worker that dies, or that its stage abandons, leaves an salvage: the rows that it had finished, and the place of the call
it was in; only that one's fate is unknown (L49).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, assert_never

import msgspec

from . import protocol
from .actor import Actor, Ref
from .protocol import Answered, Message

Tell = Callable[[Answered], None]


class Calls(Protocol):
    """The port behind which user code runs. One object belongs to one worker."""

    def begin(self, assign: protocol.Assign, worker: Ref, tell: Tell) -> None:
        """Run the calls of `assign`; `tell` what comes of them, from any thread, in one or more parts."""

    def recall(self) -> None:
        """Give back, as `unstarted`, what has not been started."""

    def cancel(self) -> None:
        """End what is under way as far as that is possible; what it would have told is told as unknown or not at all."""

    def progress(self) -> Progress | None:
        """What is done of the assignment in hand, for the salvage; None when there is none or it is told in parts."""

    def dispose(self) -> None:
        """The worker has ended. May be called from another thread than `begin`."""


class Progress(msgspec.Struct, frozen=True):
    """Of one assignment, in order: the first `len(results)` calls are done, whether they were told or not, and the next
    one was under way."""

    id: int
    results: list[Any]
    """Values, or `protocol.Fault`s."""


class Worker(Actor):
    """Hands each assignment to its calls; the module says how."""

    blocks = True

    def __init__(self, stage: Ref, calls: Calls) -> None:
        self._stage = stage
        self._calls = calls
        self._cancelled = False

    def receive(self, message: protocol.Assign | protocol.Recall | protocol.CancelCalls) -> None:
        match message:
            case protocol.Assign():
                # The order to begin may have been on its way, and overtaken by the one to end.
                if not self._cancelled:
                    self._calls.begin(message, self.context.me, self._tell)
            case protocol.Recall():
                self._calls.recall()
            case protocol.CancelCalls():
                self._cancelled = True
                self._calls.cancel()
            case _:
                self._unknown(message) if not isinstance(message, Message) else assert_never(message)

    def _tell(self, answered: Answered) -> None:
        self.context.tell(self._stage, answered)

    def salvage(self) -> Progress | None:
        return self._calls.progress()

    def ended(self) -> None:
        self._calls.dispose()
