"""Rows in quarantine are to be tried again, once what was wrong is mended: first looked for, then marked (L65)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from headrace.actors.protocol import ErrorGroup, Status
from headrace.actors.rows.identity import rows_of, show
from headrace.actors.text import MESSAGE_CHARS_MAX, without_secrets
from headrace.runtime.errors import ConfigError

from .explain import outcomes_of, run_named
from .records import HeldRecords, Progress, Records
from .values.codec import decode_id


class Again(msgspec.Struct, frozen=True):
    """Which rows in quarantine are to be tried again: `rows`: only these; `error`: only where an error of this type
    ended them. `note` is told which they are, when they are marked."""

    rows: frozenset[int] = frozenset()
    error: str | None = None
    note: Callable[[list[int]], object] = list


class Candidates(msgspec.Struct, frozen=True):
    """Rows that would be tried again, and how many others are in quarantine, by the error that ended them."""

    rows: list[int]
    others: dict[str, int]
    keys: list[tuple[int, int, bytes]]
    """What ended them, as (row, node, path)."""


def look(journal: Records, run: int, again: Again) -> Candidates:
    """Which rows these are. Raises `ConfigError` where one of them, or none at all, is in quarantine, with why."""
    found, keys, others = set[int](), [], Counter[str]()
    for _, row, node, path, _, _, status, error, _ in journal.read("ended", run):
        if status != Status.QUARANTINED.value:
            continue
        these = set(rows_of(decode_id(row, path)))
        if (again.error is None or again.error == error) and (not again.rows or not again.rows.isdisjoint(these)):
            found |= these
            keys.append((row, node, path))
        else:
            others[str(error)] += 1
    missing = sorted(again.rows - found)
    by = f" by {again.error}" if again.error is not None else ""
    if missing:
        ended = outcomes_of(journal, run, missing[:5])
        total = journal.progress_of(run).total
        first = "; ".join(
            f"row {row} is not in quarantine{by}: {_why_not(row, ended.get(row), total)}" for row in missing[:5]
        )
        more = f"; and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigError(f"{journal.name}: {first}{more}; nothing was marked")
    if not found:
        told = ", ".join(f"{n:,} by {error}" for error, n in others.most_common())
        there = f"; there are {told}" if told else ""
        raise ConfigError(f"{journal.name}: no row is in quarantine{by}{there}; nothing was marked")
    return Candidates(sorted(found), dict(others), keys)


def ended_before(journal: Records, run: int, again: Again | None = None) -> dict[tuple[str, str, str], ErrorGroup]:
    """How many rows have ended by an error, by node, outcome and error, with the first of each; but for those that are to be
    tried again."""
    tried = set(look(journal, run, again).keys) if again is not None else set()
    found: dict[tuple[str, str, str], ErrorGroup] = {}
    for _, row, node, path, attempts, _, status, error, message in journal.read("ended", run):
        # One that failed comes again.
        if error is None or status == Status.FAILED.value or (row, node, path) in tried:
            continue
        key = journal.name_of(node), str(status), str(error)
        known = found.get(key)
        if known is None:
            of = show(decode_id(row, path))
            text = without_secrets(str(message or "")[:MESSAGE_CHARS_MAX])
            known = ErrorGroup(str(status), str(error), 0, row, of, text, attempts)
        found[key] = msgspec.structs.replace(known, count=known.count + 1)
    return found


def _why_not(row: int, status: str | None, total: int | None) -> str:
    if row < 0 or (total is not None and row >= total):
        return "there is no such row" + (f", the last one is row {total - 1}" if total else "")
    if status is None:
        return "it is not done, and `headrace resume` goes on with it"
    return "another error ended it" if status == Status.QUARANTINED.value else f"it was {status}"


def mark_again(journal: HeldRecords, progress: Progress, again: Again) -> list[int]:
    """Forget how these rows ended, so that the run does them again; which ones. What else is known of them stays: calls that
    were answered are not made again. Within a transaction; `progress` is to be saved after it. Raises as `look` does."""
    run = progress.run
    candidates = look(journal, run, again)
    for row, node, path in candidates.keys:
        journal.remove(progress, "ended", (run, row, node, path))
    rows = set(candidates.rows)
    # A join whose word was that something was missing says it anew.
    words = [key for key in journal.read("word", run) if key[1] in rows]
    for word in words:
        journal.remove(progress, "word", word[:4])
    for row, status in outcomes_of(journal, run, candidates.rows).items():
        if status is not None:
            journal.write(progress, "settled", [(run, status, row, row, -1, None)])
    progress.mark = min(progress.mark, *candidates.rows)
    return candidates.rows


def try_again(
    journal: HeldRecords, *, rows: Collection[int] = (), error: str | None = None, name: str | None = None
) -> list[int]:
    """Mark these rows at once, for whoever goes on with the run next; which ones. `name`: of which run. Raises
    `ConfigError`."""
    run = run_named(journal, name).id
    journal.check_tally(run)
    with journal.store.transaction():
        progress = journal.progress_of(run)
        marked = mark_again(journal, progress, Again(frozenset(rows), error))
        journal.save_progress(progress)
    return marked
