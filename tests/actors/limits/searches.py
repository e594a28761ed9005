"""A rate search with an account of its own of what went out, for the tests of it."""

from __future__ import annotations

from headrace.actors.limits.rate_search import OVERSHOT_SECOND, RECENT_S, RateSearch

STEP_S = 0.01


class Run:
    """A search, with an account of its own of what went out at its rate."""

    def __init__(self, search: RateSearch) -> None:
        self.search = search
        self.sent = self.seconds = 0.0
        self.recent = search.rate
        """About what was sent in the last fifth of a second."""

    def go(self, seconds: float) -> Run:
        """Rows wait for the rate for so long."""
        for _ in range(round(seconds / STEP_S)):
            self.sent += self.search.rate * STEP_S
            self.seconds += STEP_S
            self.recent += (self.search.rate - self.recent) * STEP_S / RECENT_S
            self.search.move(STEP_S, limited=True)
        return self

    def closed(self, closed_s: float, *, last_s: float = 0.0, hinted: bool = False, refused: int = 1) -> float:
        """It is refused, at once, and opens again after so long. What is allowed at least, as far as this run says."""
        self.search.on_refused(0.0, fruitful=True)
        low = self.sent / (self.seconds + closed_s)
        self.search.on_opened(closed_s, last_s, hinted=hinted, refused=refused)
        self.sent = self.seconds = 0.0
        self.recent = self.search.rate
        return low

    @property
    def rate(self) -> float:
        return self.search.rate


def ramped(
    sent: int = 100, seconds: float = 1.0, closed_s: float = 0.1, refusal_s: float = 0.0, hinted: bool = False
) -> Run:
    """Opened after the first refusal of all."""
    search = RateSearch.after_ramp(sent, seconds, refusal_s)
    search.on_opened(closed_s, closed_s, hinted=hinted, refused=1)
    return Run(search)


def second() -> tuple[Run, float]:
    """In the second search; and the rate that had ended the first."""
    run = ramped().go(1.0)
    ended = run.rate
    run.closed(0.01)
    return run, ended


def held() -> tuple[Run, float]:
    """On the way from a little below to what the second search has found; and that."""
    run, _ = second()
    goal = run.go(2.0).rate * OVERSHOT_SECOND
    run.closed(0.01)
    return run, goal


def holding() -> Run:
    run, _ = held()
    return run
