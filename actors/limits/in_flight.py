"""Limits on calls in flight, told apart from limits on rate.

Where refusals come, again and again, at one and the same number of calls in flight, that number is
taken for the limit. Then calls are not paced, but counted: no call is refused that replaces an answered one. If some
are all the same, it was a limit on rate, and the next such guess takes more evidence.
"""

from __future__ import annotations

from ..errors import InternalError

ALIKE = 3
"""Refusals in a row with as many calls in flight make one believe that this is what is limited."""
TRIED_ROUNDS = 10
"""A limit that held for so many rounds of calls is a tried one. Before, a single refusal at it says that it is none."""
LAPSES = 3
"""Of a tried one, so many refusals do, within ..."""
LAPSE_S = 4.0
COARSE = 20
"""... or one, where a call less is much less: the rate search is finer then."""
RAISE_S, RAISE_MAX_S = 1.0, 4.0
"""How long a limit stands before one call more is tried, then two and four as long as they are let in; twice as long
each time that one more is not."""
RAISE_NEXT_S = 0.5
"""... and how long each of those steps does."""
RAISE_CALLS = 200
"""... and for how many calls at least."""
LESS = 0.98
"""What is left of a tried one that was refused."""
LEAST = 5
"""Fewer calls in flight say nothing: the rate search is as good there."""


class InFlight:
    """State of one gate. `limit`: None as long as none is believed in."""

    def __init__(self, evidence: int = ALIKE) -> None:
        self.limit: int | None = None
        self._least = 0
        self._alike = 0
        self._evidence = evidence
        self._proven = 0
        """The limit before one call more was tried."""
        self._raised_at = 0.0
        self._raise_s = RAISE_S
        self._step = 1
        self._raised_after = self._believed_after = 0
        self._lapses = 0
        self._lapsed_at = 0.0

    def recall(self, limit: int, now: float) -> None:
        """An earlier one has found this, and it was tried."""
        self.limit = self._proven = max(limit, 1)
        self._raised_at = now
        self._believed_after = -TRIED_ROUNDS * self.limit

    @property
    def found(self) -> int | None:
        """What is to be begun with another time: without what is just being tried above it."""
        return self._proven if self.limit is not None else None

    @property
    def tried(self) -> bool:
        """More are let out than are known to be let in, to see whether they are."""
        return self.limit is not None and self.limit > self._proven

    def on_refused(self, inside: int, refusal_s: float, latency_s: float, sent: int, now: float) -> None:
        """A call was refused while so many others were in flight; after how long, and how long answers take: what
        comes and goes meanwhile makes the number uncertain. `sent`: calls in all."""
        if self.limit is None:
            if refusal_s < latency_s / 3.0:
                self._guess(inside, 1.0 + inside * 0.5 * refusal_s / latency_s, sent, now)
        elif self.tried:
            # What was tried above it.
            self.limit = self._proven
            self._raised_at = now
            # A larger step was too large: there may be room for a smaller one.
            self._raise_s = min(2.0 * self._raise_s, RAISE_MAX_S) if self._step == 2 else RAISE_S
            self._step = 1
        else:
            self._lapse(sent, now)

    def _guess(self, inside: int, doubt: float, sent: int, now: float) -> None:
        if inside < LEAST:
            self._alike = 0
        elif self._alike and abs(inside - self._least) <= doubt:
            self._alike += 1
            self._least = min(self._least, inside)
        else:
            self._alike = 1
            self._least = inside
        if self._alike >= self._evidence:
            # Answers that are on their way back are counted in.
            self.limit = self._proven = max(self._least - round(doubt - 1.0), LEAST)
            self._raise_s = RAISE_S
            self._step = 1
            self._raised_at = now
            self._believed_after = self._raised_after = sent
            self._lapses = 0

    def _lapse(self, sent: int, now: float) -> None:
        """A call was refused although no more were in flight than the limit allows."""
        if self.limit is None:
            raise InternalError("a limit on calls in flight was found")
        tried = sent - self._believed_after >= TRIED_ROUNDS * self.limit
        self._lapses = self._lapses + 1 if now - self._lapsed_at <= LAPSE_S else 1
        self._lapsed_at = self._raised_at = now
        if not tried or self.limit < COARSE or self._lapses >= LAPSES:
            self.limit = None
            self._alike = 0
            self._evidence *= 1 if tried else 2
        else:
            self.limit = self._proven = int(self.limit * LESS)

    def move(self, *, full: bool, sent: int, now: float) -> None:
        """Time has passed; `full`: rows wait, and only this limit keeps them. `sent`: calls in all."""
        wait_s = self._raise_s if self._step == 1 else RAISE_NEXT_S
        if self.limit is None or not full or now - self._raised_at < wait_s:
            return
        if self._step == 1 and sent - self._raised_after < RAISE_CALLS:
            return
        self._raised_after = sent
        self._proven = self.limit
        self.limit += self._step
        self._step *= 2
        self._raised_at = now
