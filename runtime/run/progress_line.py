"""One line that says how a run is doing, at any width: what matters most stays when there is little room.

Counts come first, then what it waits for and what went wrong, then the rate and the time that is left, then the bar and the
name.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.actors.protocol import State

from ..text import seconds, visible
from .report import RunReport

RECENT_S = 30.0
"""The time that is left is reckoned with the rate of so many last seconds."""
BAR_CHARS = 20
WORDS_CHARS_MIN = 24
"""Words that wait for room are cut to no fewer."""


class Style(NamedTuple):
    """`unicode`: characters beside ASCII can be shown. `colour`: a terminal that wants it. `again`: what stops a run that is
    draining, such as "Ctrl-C again stops"; None where nothing does. `bar`: with one."""

    unicode: bool = False
    colour: bool = False
    again: str | None = None
    bar: bool = True


class _Part(NamedTuple):
    text: str
    rank: int
    """The lower it is, the longer it stays."""
    colour: str = ""


class Pace:
    """How fast rows have been done of late, by looks at reports."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def per_s(self, report: RunReport) -> float:
        """Rows a second within the last seconds; note the report."""
        self._seen.append((report.elapsed_s, done_of(report)))
        while len(self._seen) > 2 and self._seen[1][0] <= report.elapsed_s - RECENT_S:
            self._seen.pop(0)
        (since_s, before), (now_s, now) = self._seen[0], self._seen[-1]
        return (now - before) / (now_s - since_s) if now_s > since_s else 0.0


def done_of(report: RunReport) -> int:
    """Rows with an outcome, in all lives."""
    return report.delivered + report.dropped + report.quarantined + report.failed


def rate_of(report: RunReport) -> float:
    """Rows a second in this life of the run."""
    mine = report.this_life
    n = done_of(report) if mine is None else mine.delivered + mine.dropped + mine.quarantined + mine.failed
    return n / report.elapsed_s if report.elapsed_s > 0.0 else 0.0


def line(report: RunReport, recent_per_s: float, words: str | None, width: int, style: Style) -> str:
    """The line, of `width` characters at most, colours not counted. `words`: what it waits for."""
    parts = _parts(report, recent_per_s, words, style)
    while True:
        text = "  ".join(part.text for part in parts)
        if len(text) <= width:
            break
        last = max(parts, key=lambda part: part.rank)
        over = len(text) - width
        at = parts.index(last)
        if last.rank and len(last.text) - over >= WORDS_CHARS_MIN:
            parts[at] = last._replace(text=f"{last.text[: len(last.text) - over - 3]}...")
        elif len(parts) > 1:
            parts.pop(at)
        else:
            return text[:width]
    if style.colour:
        return "  ".join(f"\x1b[{p.colour}m{p.text}\x1b[0m" if p.colour else p.text for p in parts)
    return text


def _parts(report: RunReport, recent_per_s: float, words: str | None, style: Style) -> list[_Part]:
    """In the order in which they are shown."""
    done, total = done_of(report), report.expected
    draining = report.state is State.DRAINING
    parts = [_Part(_plain(report.name, style), 8)]
    if total and style.bar and not draining:
        parts.append(_Part(_bar(done / total, style), 7))
    parts.append(_Part(f"{done:,} of {total:,} rows" if total is not None else f"{done:,} rows", 0))
    if draining:
        again = f"; {style.again}" if style.again is not None else ""
        parts.append(_Part(f"draining, {max(0, report.rows - done):,} left{again}", 1, "33"))
    elif report.state.terminal:
        parts.append(_Part(report.state.value, 1))
    if report.quarantined:
        parts.append(_Part(f"{report.quarantined:,} in quarantine", 3, "31"))
    if report.failed:
        parts.append(_Part(f"{report.failed:,} failed", 3, "31"))
    parts.append(_Part(f"{_per_s(rate_of(report))}", 4))
    if total is not None and not draining and not report.state.terminal and recent_per_s > 0.0 and total > done:
        parts.append(_Part(f"{seconds((total - done) / recent_per_s)} left", 5))
    if words is not None and not draining:
        parts.append(_Part(_plain(words, style), 2, "33"))
    if report.refusals:
        parts.append(_Part(f"{report.refusals:,} refused", 6))
    return parts


def _per_s(rate: float) -> str:
    if rate >= 10.0 or rate == 0.0:
        return f"{rate:,.0f}/s"
    return f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 3600.0:.1f}/h"


def _bar(share: float, style: Style) -> str:
    share = min(1.0, share)
    full = int(share * BAR_CHARS)
    done, rest = ("\u2588", "\u2591") if style.unicode else ("#", "-")
    return f"{done * full}{rest * (BAR_CHARS - full)} {int(share * 100):>3}%"


def _plain(text: str, style: Style) -> str:
    """Of other people: nothing that a terminal obeys, and only what it can show (L81)."""
    shown = visible(text)
    return shown if style.unicode else shown.encode("ascii", "backslashreplace").decode("ascii")
