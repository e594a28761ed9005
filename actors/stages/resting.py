"""The rows of a stage that rest: between two attempts, while they are pending, or on trial.

A row that rests holds no worker and no permit, and keeps its queue alive. State only; the stage decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..rows.identity import Id
from .key_queue import KeyQueue


class Resting:
    """Those of one stage, each with its value and its queue. `parked`: those among them that are pending."""

    def __init__(self) -> None:
        self._rows: dict[Id, tuple[Any, KeyQueue]] = {}
        self.parked: set[Id] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, seq: Id) -> bool:
        return seq in self._rows

    def items(self) -> Iterator[tuple[Id, KeyQueue]]:
        """The rows with their queues, the one that began first at the front."""
        return ((seq, queue) for seq, (_, queue) in self._rows.items())

    def begin(self, seq: Id, value: Any, queue: KeyQueue) -> None:
        """This row rests from now on."""
        self._rows[seq] = (value, queue)
        queue.resting += 1

    def end(self, seq: Id) -> tuple[Any, KeyQueue] | None:
        """This row rests no more: its value and its queue; None where it did not rest."""
        found = self._rows.pop(seq, None)
        self.parked.discard(seq)
        if found is not None:
            found[1].resting -= 1
        return found
