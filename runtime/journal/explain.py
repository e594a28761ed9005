"""What happened to a row, and which runs there were: what a journal tells people."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import msgspec

from headrace.actors.identity import Bundle, Id, rows_of, show
from headrace.actors.protocol import Kind
from headrace.runtime.connectors.csv_source import CsvSource
from headrace.runtime.connectors.jsonl_source import JsonlSource
from headrace.runtime.errors import ConfigError

from .codec import decode_bits, decode_id, decode_ids, decode_span
from .file import JournalFile, RunRow
from .fingerprint import Fingerprint


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


def runs(file: JournalFile) -> list[RunLine]:
    """All of them, the oldest first."""
    found = []
    for run in file.runs():
        lives, state = file.db.execute(
            "SELECT count(*), (SELECT state FROM life WHERE run = ?1 ORDER BY n DESC LIMIT 1) FROM life WHERE run = ?1",
            (run.id,),
        ).fetchone()
        counts = dict(
            file.db.execute("SELECT status, sum(n) FROM settled WHERE run = ? GROUP BY status", (run.id,)).fetchall()
        )
        done, total = sum(counts.values()), file.progress_of(run.id).total
        found.append(RunLine(run.name, run.key, run.began, lives, state or "killed", done, total, counts, run.origin))
    return found


def settled_as(db: sqlite3.Connection, run: int, row: int) -> str | None:
    """The outcome of a whole row; None where it is not done, or is to be done again."""
    where = "WHERE run = ? AND first <= ? AND last >= ? ORDER BY rowid DESC"
    select = f"SELECT status, first, last, n, bits FROM settled {where}"
    for status, first, last, n, packed in db.execute(select, (run, row, row)):
        if n < 0:
            return None
        if decode_bits(first, last, packed) >> (row - first) & 1:
            return str(status)
    return None


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to a row, or to what became of it (`of`: `5`, `5.0`, `5+6` for a batch). `at`: seconds since
    1970; None where no time was noted. `took_s` and `waited_s`: the call, and what was before it, since the event before."""

    what: str
    of: str
    where: str
    at: float | None = None
    took_s: float | None = None
    waited_s: float | None = None
    detail: dict[str, Any] = {}


class Story(msgspec.Struct, frozen=True):
    """All of what a journal knows of a row. `outcome`: None where it is not done. `source`: the file and the line that it
    is from."""

    run: str
    row: int
    source: str
    outcome: str | None
    events: list[Event]


def run_named(file: JournalFile, name: str | None) -> RunRow:
    """The latest run, or the latest of that name. Raises `ConfigError` where there is none."""
    found = file.run_named(name)
    if found is None:
        raise ConfigError(f"{file.path}: has no run{f' {name!r}' if name is not None else ''}")
    return found


def explain(file: JournalFile, row: int, name: str | None = None) -> Story:
    """The story of a row of a run: the latest one, unless it is named. Raises `ConfigError`."""
    found = run_named(file, name)
    name, total = found.name, file.progress_of(found.id).total
    if total is not None and not 0 <= row < total:
        raise ConfigError(f"{file.path}: row {row} is not in the run {name!r}, whose rows are 0 to {total - 1}")
    known = msgspec.json.decode(found.fingerprint, type=Fingerprint)
    teller = _Teller(file, found.id, row, known.nodes)
    events = teller.events()
    return Story(name, row, _place_of(known.source, row), teller.outcome(), events)


def _place_of(source: dict[str, Any], row: int) -> str:
    """The file and the line of a row, where the file is still what it was; else the source."""
    path = source.get("path")
    if path is None or path == "-" or source.get("stream"):
        return str(source["name"])
    connector: CsvSource | JsonlSource
    if source["kind"] == "CsvSource":
        connector = CsvSource(path, delimiter=source["delimiter"], encoding=source["encoding"])
    elif source["kind"] == "JsonlSource":
        connector = JsonlSource(path, encoding=source.get("encoding", "utf-8"))
    else:
        return str(path)
    if {**connector.fingerprint(), "kind": source["kind"], "name": source["name"]} != source:
        return f"{path}, which has changed since"
    connector.open()
    try:
        left = row
        while left:
            left -= len(connector.read(left)[0])
        connector.read(1)
        return connector.place()
    finally:
        connector.close()


class _Teller:
    """`nodes`: what the fingerprint says of them."""

    def __init__(self, file: JournalFile, run: int, row: int, nodes: dict[str, dict[str, Any]]) -> None:
        self._nodes = nodes
        self._db = file.db
        self._name_of = file.name_of
        self._run = run
        self._row = row
        # Rows that were in a batch with it are where the batch is.
        self._rows = {row}

    def outcome(self) -> str | None:
        """Of the row as a whole."""
        return settled_as(self._db, self._run, self._row)

    def events(self) -> list[Event]:
        """In the order of time."""
        told = [*self._batches(), *self._answers(), *self._faults(), *self._ends(), *self._words(), *self._writings()]
        told.sort(key=lambda event: event.at if event.at is not None else 0.0)
        last: float | None = None
        events = []
        for event in told:
            at = event.at
            if event.took_s is not None and at is not None and last is not None:
                began = at - event.took_s
                closed = self._cooldowns(event.where, last, began)
                detail = {**event.detail, "cooldowns_s": closed} if closed else event.detail
                event = msgspec.structs.replace(event, waited_s=max(0.0, began - last), detail=detail)
            last = at if at is not None else last
            events.append(event)
        return events

    def _mine(self, of: Id) -> bool:
        return self._row in rows_of(of)

    def _select(self, columns: str, table: str) -> list[tuple[Id, Any]]:
        """(who, the columns) of what is told of the row and of batches that it is in."""
        found = []
        for first in sorted(self._rows):
            select = f"SELECT row, path, {columns} FROM {table} WHERE run = ? AND row = ?"
            for row, path, *others in self._db.execute(select, (self._run, first)):
                of = decode_id(row, path)
                if self._mine(of):
                    found.append((of, others))
        return found

    def _batches(self) -> list[Event]:
        events = []
        select = "SELECT node, members FROM batch WHERE run = ? AND first <= ? AND last >= ?"
        for node, members in self._db.execute(select, (self._run, self._row, self._row)).fetchall():
            bundle = decode_ids(members)[0]
            assert isinstance(bundle, Bundle)
            if self._mine(bundle):
                self._rows.add(min(rows_of(bundle)))
                detail = {"rows": len(bundle.members), "members": show(bundle)}
                events.append(Event("batched", str(self._row), self._name_of(node), detail=detail))
        return events

    def _answers(self) -> list[Event]:
        events = []
        for of, (node, attempts, at, took, value) in self._select("node, attempts, at, took, value", "answer"):
            name = self._name_of(node)
            event = Event("answered", show(of), name, at, took, detail={"attempts": attempts})
            if value is not None:
                what, detail = self._meaning(name, msgspec.msgpack.decode(value))
                event = msgspec.structs.replace(event, what=what, detail={**event.detail, **detail})
            events.append(event)
        return events

    def _meaning(self, node: str, said: Any) -> tuple[str, dict[str, Any]]:
        """What became of the row by what was said of it."""
        match self._nodes.get(node, {}).get("kind"):
            case "filter":
                return ("kept", {}) if said else ("dropped", {})
            case "route":
                return "routed", {"to": said or "the main line"}
            case "flat_map":
                return ("split", {"into": len(said)}) if said else ("dropped", {"into": 0})
            case _:
                return "answered", {}

    def _faults(self) -> list[Event]:
        columns = "node, at, took, kind, error, message, retry_after"
        return [
            self._fault(show(of), self._name_of(node), at, took, Kind(kind), error, message, hint)
            for of, (node, at, took, kind, error, message, hint) in self._select(columns, "fault")
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
        return Event("refused" if kind is Kind.REFUSED else "failed", of, node, at, took, detail=detail)

    def _ends(self) -> list[Event]:
        return [
            Event(
                status,
                show(of),
                self._name_of(node),
                at,
                detail=_told(attempts=attempts, error=error, message=message),
            )
            for of, (node, attempts, at, status, error, message) in self._select(
                "node, attempts, at, status, error, message", "ended"
            )
        ]

    def _words(self) -> list[Event]:
        return [
            Event("joined", show(of), self._name_of(node), detail={"parts": list(msgspec.msgpack.decode(parts))})
            for of, (node, parts) in self._select("node, parts", "word")
        ]

    def _writings(self) -> list[Event]:
        events = []
        columns, where = "rowid, sink, status, first, last, ids, place, at", "run = ? AND first <= ? AND last >= ?"
        found = self._db.execute(f"SELECT {columns} FROM written WHERE {where}", (self._run, self._row, self._row))
        for number, sink, status, first, last, ids, place, at in found.fetchall():
            seqs, name = decode_span(first, last, ids), self._name_of(sink)
            for index, of in enumerate(seqs):
                if self._mine(of):
                    record = to = None
                    if place is not None:
                        # It has each row once: so its place follows from what was written before.
                        record = self._written_before(sink, number) + index + 1
                        to = self._nodes.get(name, {}).get("to")
                    detail = _told(record=record, of=to, together_with=len(seqs) - 1)
                    events.append(Event(status, show(of), name, at, detail=detail))
        return events

    def _written_before(self, sink: int, number: int) -> int:
        """Records that a sink had by then."""
        select = "SELECT first, last, ids FROM written WHERE run = ? AND sink = ? AND rowid < ?"
        before = self._db.execute(select, (self._run, sink, number))
        return sum(len(decode_span(first, last, ids)) for first, last, ids in before)

    def _cooldowns(self, node: str, since: float, until: float) -> float:
        """Seconds in which the governor of a stage was closed, in this time."""
        select = (
            "SELECT max(at, ?), min(until, ?) FROM cooldown JOIN name ON name.id = node WHERE run = ? AND name.name = ?"
        )
        spans = self._db.execute(select, (since, until, self._run, node)).fetchall()
        closed: float = sum(max(0.0, end - begin) for begin, end in spans)
        return round(closed, 6)


def _told(**detail: Any) -> dict[str, Any]:
    """Of these, what there is."""
    return {key: value for key, value in detail.items() if value is not None}


def story_text(story: Story) -> str:
    """For people."""
    lines = [f"row {story.row} of {story.run}, from {story.source}: {story.outcome or 'not done yet'}"]
    for event in story.events:
        at = _clock(event.at) if event.at is not None else " " * 12
        line = f"  {at}  {event.where:<16} {event.what:<12} {event.of}"
        notes = []
        if event.waited_s is not None and event.waited_s >= 0.0005:
            cooled = event.detail.get("cooldowns_s")
            of_it = f", {cooled:.3f} s of it in cooldown" if cooled else ""
            notes.append(f"waited {event.waited_s:.3f} s{of_it}")
        if event.took_s is not None:
            notes.append(f"took {event.took_s:.3f} s")
        if "record" in event.detail:
            of = event.detail.get("of")
            notes.append(f"record {event.detail['record']}{f' of {of}' if of is not None else ''}")
        notes += [f"{key} {value}" for key, value in event.detail.items() if key not in _TOLD_OTHERWISE]
        lines.append(f"{line}  {'; '.join(notes)}".rstrip())
    return "\n".join(lines)


_TOLD_OTHERWISE = ("cooldowns_s", "members", "record", "of")


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
