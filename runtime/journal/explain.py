"""What happened to a row, and which runs there were: what a journal tells people. In words, `story_text.py` tells it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from headrace.actors.errors import InternalError
from headrace.actors.protocol import BadRow, Kind
from headrace.actors.rows.identity import Bundle, Id, rows_of, show
from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.connectors.row_lines import places_of, source_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.graph.nodes.kinds import KINDS
from headrace.runtime.text import message_of

from .port import Bound
from .records import Records, RunRow
from .values.codec import decode_bits, decode_id, decode_ids, decode_span
from .values.view import view
from .work.fingerprint import Fingerprint, Node

READ_ROWS = 1000
"""Rows that are read at once where they are looked through."""


class RunLine(msgspec.Struct, frozen=True):
    """One run. `done` rows have an outcome that lasts, of `total`; None: the source has not said its end. `state`: of its
    last life; "killed" where that did not say how it ended."""

    name: str
    key: str
    began: float
    lives: int
    state: str
    done: int
    total: int | None
    outcomes: dict[str, int]
    origin: str | None


def runs(journal: Records) -> list[RunLine]:
    """All of them, the oldest first. Raises `Damaged` where what they are told from is not what was written."""
    found = []
    for run in journal.runs():
        journal.check_tally(run.id, ("settled",))
        lives = journal.lives_of(run.id)
        state = lives[-1].state if lives else None
        counts = account_of(journal, run.id)
        done, total = sum(counts.values()), journal.progress_of(run.id).total
        found.append(
            RunLine(run.name, run.key, run.began, len(lives), state or "killed", done, total, counts, run.origin)
        )
    return found


def account_of(journal: Records, run: int) -> dict[str, int]:
    """How many rows of a run ended how."""
    counts: dict[str, int] = {}
    for _, status, _, _, n, _ in journal.read("settled", run):
        counts[status] = counts.get(status, 0) + n
    return {status: n for status, n in counts.items() if n}


def outcomes_of(journal: Records, run: int, rows: Collection[int]) -> dict[int, str | None]:
    """The outcomes of whole rows; None of one that is to be done again. One that was never done is not in it."""
    wanted, found = sorted(rows), dict[int, str | None]()
    for _, status, first, last, n, packed in journal.read("settled", run):
        at = bisect_left(wanted, first)
        bits = decode_bits(first, last, packed) if at < len(wanted) and wanted[at] <= last else 0
        while at < len(wanted) and wanted[at] <= last:
            if bits >> (wanted[at] - first) & 1:
                found[wanted[at]] = str(status) if n > 0 else None
            at += 1
    return found


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to a row, or to what became of it (`of`: `5`, `5.0`, `5+6` for a batch). `at`: seconds since
    1970; None where no time was noted. `took_s` and `waited_s`: the call, and what was before it, since the event before."""

    what: str
    of: str
    where: str
    at: float | None = None
    took_s: float | None = None
    waited_s: float | None = None
    detail: dict[str, object] = {}


class Story(msgspec.Struct, frozen=True):
    """All of what a journal knows of a row. `outcome`: None where it is not done. `source`: the file and the line that it
    is from."""

    run: str
    row: int
    source: str
    outcome: str | None
    events: list[Event]


def run_named(journal: Records, name: str | None) -> RunRow:
    """The latest run, or the latest of that name. Raises `ConfigError` where there is none."""
    found = journal.run_named(name)
    if found is None:
        raise ConfigError(f"{journal.name}: has no run{f' {name!r}' if name is not None else ''}")
    return found


def explain(journal: Records, row: int, name: str | None = None) -> Story:
    """The story of a row of a run: the latest one, unless it is named. Raises `ConfigError`."""
    found = run_named(journal, name)
    journal.check_tally(found.id)
    name, total = found.name, journal.progress_of(found.id).total
    if total is not None and not 0 <= row < total:
        raise ConfigError(f"{journal.name}: row {row} is not in the run {name!r}, whose rows are 0 to {total - 1}")
    known = msgspec.json.decode(found.fingerprint, type=Fingerprint)
    teller = _Teller(journal, found.id, row, known.nodes)
    events = teller.events()
    return Story(name, row, _place_of(known.source, row), teller.outcome(), events)


def _place_of(source: dict[str, Any], row: int) -> str:
    """The file and the line of a row, where the file is still what it was; else the source."""
    connector = source_of(source)
    if connector is None:
        return str(source.get("path") or source["name"])
    if {**connector.fingerprint(), "kind": source["kind"], "name": source["name"]} != source:
        return f"{source['path']}, which has changed since"
    return places_of(connector, [row]).get(row, str(source["path"]))


def rows_by_error(journal: Records, error: str, name: str | None = None) -> list[int]:
    """The rows of a run that an error of this type ended. Raises `ConfigError` where there is none."""
    found = run_named(journal, name)
    journal.check_tally(found.id, ("ended",))
    rows, others = set[int](), Counter[str]()
    for _, row, _, path, _, _, _, kind, _ in journal.read("ended", found.id):
        if kind == error:
            rows.update(rows_of(decode_id(row, path)))
        elif kind is not None:
            others[str(kind)] += 1
    if not rows:
        told = ", ".join(f"{n:,} by {kind}" for kind, n in others.most_common()) or "none by an error"
        raise ConfigError(f"{journal.name}: no row of the run {found.name!r} ended by {error}; there are {told}")
    return sorted(rows)


def rows_where(
    journal: Records, expression: Callable[[object], object], most: int, name: str | None = None
) -> list[int]:
    """The first rows of a run, `most` of them, of which an expression is true. The source is read again for that, as it
    stands in its file. Raises `ConfigError`."""
    found = run_named(journal, name)
    told = msgspec.json.decode(found.fingerprint, type=Fingerprint).source
    source = source_of(told)
    if source is None:
        raise ConfigError(
            f"{journal.name}: the source of the run is no file that can be read again; say --row or --error"
        )
    if {**source.fingerprint(), "kind": told["kind"], "name": told["name"]} != told:
        raise ConfigError(f"{told['path']}: has changed since it was read, so its rows cannot be told apart; say --row")
    rows, wrong = _matching(source, expression, most)
    if not rows:
        why = f": {message_of(wrong)}" if wrong is not None else ""
        raise ConfigError(f"{journal.name}: of no row of {told['path']} that is true{why}")
    return rows


def _matching(
    source: SourceConnector, expression: Callable[[object], object], most: int
) -> tuple[list[int], Exception | None]:
    """The rows, and the first error of the expression where it could not be evaluated for a row."""
    rows: list[int] = []
    wrong: Exception | None = None
    at, ended = 0, False
    source.open()
    try:
        while not ended and len(rows) < most:
            values, ended, _ = source.read(READ_ROWS)
            for number, value in enumerate(values, at):
                if isinstance(value, BadRow):
                    continue
                try:
                    if expression(value) is True:
                        rows.append(number)
                except Exception as error:
                    wrong = wrong or error
            at += len(values)
    finally:
        source.close()
    return rows[:most], wrong


class _Teller:
    """`nodes`: what the fingerprint says of them."""

    def __init__(self, journal: Records, run: int, row: int, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self._journal = journal
        self._name_of = journal.name_of
        self._run = run
        self._row = row
        self._lives = journal.lives_of(run)
        self._signs: list[float] = []
        """When the run is known to have lived."""
        # Rows that were in a batch with it are where the batch is.
        self._rows = {row}

    def outcome(self) -> str | None:
        """Of the row as a whole."""
        return outcomes_of(self._journal, self._run, [self._row]).get(self._row)

    def events(self) -> list[Event]:
        """What happened to a row, in the order of time."""
        told = [*self._batches(), *self._answers(), *self._faults(), *self._ends(), *self._words(), *self._writings()]
        told.sort(key=lambda event: event.at if event.at is not None else 0.0)
        self._signs += [event.at for event in told if event.at is not None]
        last: float | None = None
        events: list[Event] = []
        for event in told:
            at = event.at
            if at is not None and last is not None:
                events += self._resumptions(last, at)
                if event.took_s is not None:
                    event = self._with_wait(event, last, at - event.took_s)
            last = at if at is not None else last
            events.append(event)
        return events

    def _with_wait(self, event: Event, last: float, began: float) -> Event:
        """With how long it waited before its call began, and for what: only while a run lived."""
        spans = [(max(since, last), min(until, began)) for since, until in self._lived()]
        spans = [(since, until) for since, until in spans if until > since]
        closed: dict[str, float] = {}
        for since, until in spans:
            for why, seconds in self._closings(event.where, since, until).items():
                closed[why] = round(closed.get(why, 0.0) + seconds, 6)
        detail = dict(event.detail)
        if closed:
            detail["cooldowns_s"], detail["waited_for_s"] = round(sum(closed.values()), 6), closed
        waited_s = sum(until - since for since, until in spans)
        return msgspec.structs.replace(event, waited_s=waited_s, detail=detail)

    def _lived(self) -> list[tuple[float, float]]:
        """From when to when lives of the run were. One that did not say its end is taken to have ended with the last thing
        that is known of it."""
        found = []
        for life, after in zip(self._lives, [*self._lives[1:], None], strict=True):
            until = life.ended
            if until is None:
                bound = after.began if after is not None else float("inf")
                until = max((at for at in self._signs if life.began <= at < bound), default=life.began)
            found.append((life.began, until))
        return found

    def _resumptions(self, since: float, until: float) -> list[Event]:
        """Lives that began in this time."""
        lived = self._lived()
        told: list[Event] = []
        for i, life in enumerate(self._lives):
            if i and since < life.began <= until:
                detail: dict[str, object] = {"life": life.n, "gap_s": max(0.0, life.began - lived[i - 1][1])}
                told.append(Event("resumed", str(self._row), "the run", life.began, detail=detail))
        return told

    def _mine(self, of: Id) -> bool:
        return self._row in rows_of(of)

    def _about(self, table: str) -> list[tuple[Id, str, list[Any]]]:
        """(who, the node, the other columns) of what is told of the row and of batches that it is in."""
        found = []
        for first in sorted(self._rows):
            for _, row, node, path, *others in self._journal.read(table, self._run, Bound("row", "=", first)):
                of = decode_id(row, path)
                if self._mine(of):
                    found.append((of, self._name_of(node), others))
        return found

    def _among(self, table: str) -> list[tuple[Any, ...]]:
        """Of what is told of several rows, those that may be about the row."""
        return list(
            self._journal.read(table, self._run, Bound("first", "<=", self._row), Bound("last", ">=", self._row))
        )

    def _batches(self) -> list[Event]:
        events = []
        for _, node, _, _, members in self._among("batch"):
            bundle = decode_ids(members)[0]
            if not isinstance(bundle, Bundle):
                raise InternalError("what was formed is a batch")
            if self._mine(bundle):
                self._rows.add(min(rows_of(bundle)))
                detail = {"rows": len(bundle.members), "members": show(bundle)}
                events.append(Event("batched", str(self._row), self._name_of(node), detail=detail))
        return events

    def _answers(self) -> list[Event]:
        events = []
        for of, name, (attempts, at, took, value, _) in self._about("answer"):
            event = Event("answered", show(of), name, at, took, detail={"attempts": attempts})
            if value is not None:
                what, detail = self._meaning(name, view(value))
                event = msgspec.structs.replace(event, what=what, detail={**event.detail, **detail})
            events.append(event)
        return events

    def _meaning(self, node: str, said: Any) -> tuple[str, dict[str, Any]]:
        """What became of the row by what was said of it."""
        known = self._nodes.get(node)
        entry = KINDS.get(known.kind) if known is not None else None
        return entry.meaning(said) if entry is not None else ("answered", {})

    def _faults(self) -> list[Event]:
        return [
            self._fault(show(of), node, at, took, Kind(kind), error, message, hint)
            for of, node, (at, took, kind, error, message, hint) in self._about("fault")
        ]

    def _fault(
        self,
        of: str,
        node: str,
        at: float,
        took: float,
        kind: Kind,
        error: str,
        message: str | None,
        hint: float | None,
    ) -> Event:
        if kind is Kind.PENDING:
            return Event("pending", of, node, at, took, detail={"to_be_asked_after_s": hint})
        detail = _told(kind=kind.value, error=error, message=message, retry_after_s=hint)
        return Event(
            "refused" if kind in (Kind.REFUSED, Kind.EXHAUSTED) else "failed", of, node, at, took, detail=detail
        )

    def _ends(self) -> list[Event]:
        return [
            Event(
                status,
                show(of),
                node,
                at,
                detail=_told(attempts=attempts, error=error, message=message),
            )
            for of, node, (attempts, at, status, error, message) in self._about("ended")
        ]

    def _words(self) -> list[Event]:
        return [
            Event("joined", show(of), node, detail={"parts": list(msgspec.msgpack.decode(parts))})
            for of, node, (parts,) in self._about("word")
        ]

    def _writings(self) -> list[Event]:
        events = []
        records: dict[int, int] = {}
        """How many each sink had before."""
        for _, sink, status, first, last, ids, place, at in self._journal.read("written", self._run):
            seqs, name = decode_span(first, last, ids), self._name_of(sink)
            before = records.get(sink, 0)
            self._signs.append(at)
            records[sink] = before + len(seqs)
            if not first <= self._row <= last:
                continue
            for index, of in enumerate(seqs):
                if self._mine(of):
                    record = to = None
                    if place is not None:
                        # It has each row once: so its place follows from what was written before.
                        record = before + index + 1
                        known = self._nodes.get(name)
                        to = known.said.get("to") if known is not None else None
                    detail = _told(record=record, of=to, together_with=len(seqs) - 1)
                    events.append(Event(status, show(of), name, at, detail=detail))
        return events

    def _closings(self, node: str, since: float, until: float) -> dict[str, float]:
        """Seconds in which the governor of a stage was closed, in this time, by why."""
        closed: dict[str, float] = {}
        for _, number, begin, end, why in self._journal.read("cooldown", self._run):
            overlap = min(end, until) - max(begin, since)
            if overlap > 0.0 and self._name_of(number) == node:
                closed[why] = closed.get(why, 0.0) + overlap
        return closed


def _told(**detail: object) -> dict[str, object]:
    """Of these, what there is."""
    return {key: value for key, value in detail.items() if value is not None}
