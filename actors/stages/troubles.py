"""What is remembered of the attempts of rows: most rows have one, of which nothing need be remembered.

State only; the stage decides.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..protocol import Seqs
from ..rows.identity import Id

Described = tuple[dict[Id, int] | None, dict[Id, Any] | None]
"""Of rows that had trouble: which attempt this is, and the state that they left."""


class Trouble(msgspec.Struct):
    """What is remembered of a row that had any; most rows have none."""

    failed: int = 0
    refusals: int = 0
    state: Any = None
    forgiven: int = 0
    """Failures that were not held against it."""
    doubt: float = 1.0
    """See `witnesses.py`."""
    at: int = 0
    """The number of its call when it was last on trial; ..."""
    alone: int = 0
    """... and how often since then nobody else was here, and nobody was called between two of its trials."""
    turns: int = 0
    """How often the account was exhausted for it, and not for others."""


class Troubles:
    """Those of the rows of one stage, and the attempts that rows had in stages before this one."""

    def __init__(self) -> None:
        self._here: dict[Id, Trouble] = {}
        self._before: dict[Id, int] = {}

    def __contains__(self, seq: Id) -> bool:
        return seq in self._here

    def __getitem__(self, seq: Id) -> Trouble:
        return self._here[seq]

    def of(self, seq: Id) -> Trouble:
        """That of a row which has some from now on."""
        trouble = self._here.get(seq)
        if trouble is None:
            trouble = self._here[seq] = Trouble()
        return trouble

    def came(self, attempts: dict[Id, int]) -> None:
        """Rows have come that were called more than once before."""
        self._before.update(attempts)

    def recalled(self, seq: Id) -> None:
        """The row has had its attempts in an earlier life of the run."""
        self._before.pop(seq, None)

    def described(self, seqs: Seqs) -> Described:
        """What a worker is told of these rows."""
        if not self._here:
            return None, None
        found = {s: self._here[s] for s in seqs if s in self._here}
        attempts = {s: trouble.failed + 1 for s, trouble in found.items()}
        states = {s: trouble.state for s, trouble in found.items() if trouble.state is not None}
        return attempts or None, states or None

    def answered(self, seqs: Seqs) -> dict[Id, int] | None:
        """These rows leave with an answer: how many attempts that took, of those that took more than one."""
        if not (self._here or self._before):
            return None
        attempts = {}
        for seq in seqs:
            trouble = self._here.pop(seq, None)
            before = self._before.pop(seq, 1)
            here = trouble.failed + 1 if trouble else 1
            if here > 1 or before > 1:
                attempts[seq] = here + before - 1
        return attempts or None

    def ended(self, seq: Id) -> int:
        """This row leaves without an answer: how many attempts it had."""
        trouble = self._here.pop(seq, None)
        return (trouble.failed if trouble else 0) + self._before.pop(seq, 1) - 1
