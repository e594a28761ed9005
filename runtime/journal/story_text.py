"""What happened to a row, in words that somebody reads who knows nothing of how Headrace works."""

from __future__ import annotations

import time
from typing import Any

from headrace.runtime.text import seconds

from .explain import Event, Story

SHORT_S = 0.0005
"""Waits that are shorter are not told."""
_FOR = {
    "refused": "for quota",
    "outage": "for the other side to come back",
    "exhausted": "for the account to have something to spend",
}
_FAILED = {
    "transient": ("failed", "; it was to be made again"),
    "permanent": ("failed for good", ""),
    "unknown": ("was not answered", "; nobody knows whether it happened"),
}


def story_text(story: Story) -> str:
    """The story as lines: when, where, what."""
    lines = [f"row {story.row} of {story.run}, from {story.source}: {story.outcome or 'not done yet'}"]
    width = max((len(event.where) for event in story.events), default=0)
    for event in story.events:
        at = _clock(event.at) if event.at is not None else " " * 12
        named = f"({event.of}) " if event.of != str(story.row) else ""
        lines.append(f"  {at}  {event.where:<{width}}  {named}{_words(event)}")
    return "\n".join(lines)


def _words(event: Event) -> str:
    told = _what(event)
    waited = _waited(event)
    return f"waited {waited}; {told}" if waited else told


def _waited(event: Event) -> str:
    """For how long, and for what."""
    waited_s = event.waited_s or 0.0
    named: Any = event.detail.get("waited_for_s", {})
    parts = [f"{seconds(s)} {_FOR.get(why, 'for its limit')}" for why, s in named.items() if s >= SHORT_S]
    rest_s = waited_s - sum(named.values())
    if rest_s >= SHORT_S:
        parts.append(f"{seconds(rest_s)} for its turn")
    return " and ".join(parts)


def _what(event: Event) -> str:
    detail: dict[str, Any] = event.detail
    took = f" after {seconds(event.took_s)}" if event.took_s is not None else ""
    error = _error(detail)
    match event.what:
        case "answered" | "kept" | "routed" | "split" | "dropped" if event.took_s is not None:
            return f"{_answer(event)}{took}{_at_call(detail)}"
        case "refused":
            if detail.get("kind") == "exhausted":
                return f"the call was turned away{took}, since the account is exhausted{error}{_hint(detail)}"
            return f"the call was refused{took}{error}{_hint(detail)}"
        case "failed" if "kind" in detail:
            how, then = _FAILED.get(detail["kind"], ("failed", ""))
            return f"the call {how}{took}{error}{_hint(detail)}{then}"
        case "pending":
            after = detail.get("to_be_asked_after_s")
            again = f"; to be asked about again in {seconds(after)}" if after is not None else ""
            return f"begun elsewhere and not done{took}{again}"
        case "batched":
            return f"gathered into a batch of {_rows(detail.get('rows', 1))}"
        case "joined":
            return f"brought together from parts {', '.join(map(str, detail.get('parts', ())))}"
        case "resumed":
            gap = f", {seconds(detail['gap_s'])} after the one before had ended" if detail["gap_s"] >= SHORT_S else ""
            return f"went on in life {detail['life']}{gap}"
    if "together_with" in detail or "record" in detail:
        return _written(event)
    calls = detail.get("attempts")
    return f"{event.what}{f' after {_calls(calls)}' if calls else ''}{error}"


def _answer(event: Event) -> str:
    detail: dict[str, Any] = event.detail
    match event.what:
        case "kept":
            return "let through"
        case "routed":
            return f"sent to {detail.get('to')}"
        case "split":
            return f"split into {_rows(detail.get('into', 0))}"
        case "dropped":
            return "left out"
        case _:
            return "answered"


def _written(event: Event) -> str:
    detail: dict[str, Any] = event.detail
    what = "written" if event.what == "delivered" else "written to the quarantine"
    if "record" in detail:
        what += f" as record {detail['record']:,}{_of(detail)}"
    others = detail.get("together_with", 0)
    return f"{what}, in one go with {others:,} others" if others > 1 else what


def _error(detail: dict[str, Any]) -> str:
    if "error" not in detail:
        return ""
    message = detail.get("message")
    return f": {detail['error']}{f': {message}' if message else ''}"


def _hint(detail: dict[str, Any]) -> str:
    after = detail.get("retry_after_s")
    return f"; it asked to come back in {seconds(after)}" if after is not None else ""


def _at_call(detail: dict[str, Any]) -> str:
    attempts = detail.get("attempts", 1)
    return f", at call {attempts}" if attempts > 1 else ""


def _calls(n: int) -> str:
    return f"{n:,} {'call' if n == 1 else 'calls'}"


def _rows(n: int) -> str:
    return f"{n:,} {'row' if n == 1 else 'rows'}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"


def _of(detail: dict[str, Any]) -> str:
    return f" of {detail['of']}" if detail.get("of") is not None else ""
