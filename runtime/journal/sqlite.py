"""The journal as one SQLite file: embedded, in WAL mode, synced at each commit.

A row of a table is one thing that happened; rows of the source are numbers, and what they became in a graph is named by
`path` (`codec.py`; empty for a plain row). Who holds the file is a lock that dies with its process (L36), never a word in a
table.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.identity import Bundle, Id, Ids, rows_of, span_of
from headrace.actors.ledger import Settlement
from headrace.actors.past import LASTING, Answer, Past, Settlements, past_of
from headrace.actors.protocol import Ended, Status
from headrace.actors.record import Keeps
from headrace.runtime.errors import ConfigError, JournalError, Recalled, name_of

from .codec import Values, decode_bits, decode_id, decode_ids, decode_span, encode_bits, encode_id, encode_ids

APPLICATION = 0x48647263
"""What the file says that it is ("Hdrc"); see `PRAGMA application_id`."""
VERSION = 1
CHECKED_BYTES = 256 << 20
"""A file up to this size is looked through when it is opened, which takes a second; what is wrong with a larger one is told
when it is come upon."""

SCHEMA = """
CREATE TABLE run (id INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, began REAL NOT NULL,
    fingerprint TEXT NOT NULL, origin TEXT, mark INTEGER NOT NULL DEFAULT 0, reach INTEGER NOT NULL DEFAULT 0,
    total INTEGER);
CREATE TABLE life (run INTEGER NOT NULL, n INTEGER NOT NULL, began REAL NOT NULL, ended REAL, state TEXT,
    PRIMARY KEY (run, n)) WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE answer (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, took REAL NOT NULL, value BLOB,
    PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE ended (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, status TEXT NOT NULL, error TEXT, message TEXT,
    PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE fault (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    at REAL NOT NULL, took REAL NOT NULL, kind TEXT NOT NULL, error TEXT NOT NULL, message TEXT, retry_after REAL);
CREATE TABLE parked (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    due REAL NOT NULL, state BLOB NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE cooldown (run INTEGER NOT NULL, node INTEGER NOT NULL, at REAL NOT NULL, until REAL NOT NULL,
    closure TEXT NOT NULL);
CREATE TABLE batch (run INTEGER NOT NULL, node INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    members BLOB NOT NULL);
CREATE TABLE word (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    parts BLOB NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE written (run INTEGER NOT NULL, sink INTEGER NOT NULL, status TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, ids BLOB, place BLOB, at REAL NOT NULL);
CREATE TABLE settled (run INTEGER NOT NULL, status TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    n INTEGER NOT NULL, bits BLOB);
CREATE TABLE read (run INTEGER NOT NULL, row INTEGER NOT NULL, place BLOB);
CREATE INDEX fault_row ON fault (run, row);
CREATE INDEX batch_last ON batch (run, last);
CREATE INDEX written_last ON written (run, last);
CREATE INDEX settled_last ON settled (run, last);
CREATE INDEX read_row ON read (run, row);
"""

_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode

Kinds = dict[str, Values]


class JournalFile:
    """The file: opened, locked, and known to be a journal of this version. Raises `ConfigError` where it is not."""

    def __init__(self, path: str, *, new: bool = True, write: bool = True) -> None:
        """`new`: it may begin here. `write`: hold the lock; else only look."""
        self.path = path
        self._lock: int | None = None
        fresh = not os.path.exists(path)
        if fresh and not new:
            raise ConfigError(f"{path}: no such journal")
        if os.path.isdir(path):
            raise ConfigError(f"{path}: is a folder, not a journal")
        try:
            if fresh:
                # Nobody else may read what a run is about.
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            if write:
                self._hold()
            uri = Path(path).absolute().as_uri() + ("" if write else "?mode=ro")
            self.db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        except FileNotFoundError:
            raise ConfigError(f"{path}: the folder {str(Path(path).parent)!r} does not exist") from None
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{path}: the journal cannot be opened: {getattr(error, 'strerror', None) or error}"
            ) from None
        try:
            self._begin(write)
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(f"{path}: {wrong(error)}") from None
        except ConfigError:
            self.close()
            raise
        self._names: dict[str, int] = dict(self.db.execute("SELECT name, id FROM name"))
        self._by_number = {number: name for name, number in self._names.items()}

    def _hold(self) -> None:
        """A lock that dies with the process; on a file of its own, for SQLite has its own locks on the journal."""
        self._lock = os.open(self.path + ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise ConfigError(f"{self.path}: another process is running with this journal") from None

    def _begin(self, write: bool) -> None:
        (application,) = self.db.execute("PRAGMA application_id").fetchone()
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        (tables,) = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and not tables and write:
            self.db.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {SCHEMA}"
                f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != APPLICATION:
            raise ConfigError(f"{self.path}: is a database, but not a journal of Headrace; name another file")
        elif version > VERSION:
            raise ConfigError(
                f"{self.path}: is a journal of version {version}, and this Headrace reads up to {VERSION}: use a newer one"
            )
        if write:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = FULL")
            small = os.path.getsize(self.path) <= CHECKED_BYTES
            (sound,) = self.db.execute("PRAGMA quick_check(1)").fetchone() if small else ("ok",)
            if sound != "ok":
                raise ConfigError(f"{self.path}: is damaged ({sound}); nothing was changed. Restore it from a copy")

    def number_of(self, name: str) -> int:
        """Of a node or a sink; a new one within a transaction."""
        number = self._names.get(name)
        if number is None:
            cursor = self.db.execute("INSERT INTO name (name) VALUES (?)", (name,))
            assert cursor.lastrowid is not None
            number = self._names[name] = cursor.lastrowid
            self._by_number[number] = name
        return number

    def name_of(self, number: int) -> str:
        """Of a node or a sink."""
        return self._by_number[number]

    def close(self) -> None:
        """Let go of it."""
        if hasattr(self, "db"):
            self.db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def wrong(error: sqlite3.Error) -> str:
    """What is wrong with a journal, for people."""
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_NOTADB":
            return "is not a journal; name another file"
        case "SQLITE_CORRUPT":
            return f"is damaged ({error}); nothing was changed. Restore it from a copy"
        case "SQLITE_READONLY" | "SQLITE_CANTOPEN" | "SQLITE_READONLY_DIRECTORY":
            return "cannot be written; a journal and its folder must be"
        case "SQLITE_FULL":
            return "the disk is full"
        case name:
            return f"{error} ({name})"


class SqliteStore:
    """One run in a journal. `values`: how each stage's answers are written down."""

    def __init__(self, journal: JournalFile, run: int, values: Kinds) -> None:
        self.name = journal.path
        self._journal = journal
        self._db = journal.db
        self._run = run
        self._values = values
        self._node = journal.number_of
        self._clock = time.time() - time.monotonic()
        self._settled = Settlement()
        self._mark, self._reach = self._db.execute("SELECT mark, reach FROM run WHERE id = ?", (run,)).fetchone()

    # --- what is told ---

    def keeps(self, stage: str) -> Keeps:
        """Answers and states of a stage, as bytes. Raise `Unkept`."""
        return Keeps(self._values[stage].encode, Values(stage).encode)

    def commit(self, entries: list[Any]) -> None:
        """All of these, durable when it returns. Raises `JournalError`."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._write(entries)
        except sqlite3.Error as error:
            raise JournalError(f"{self.name}: {_told(error)}; what was committed before is safe") from error

    def _write(self, entries: list[Any]) -> None:
        run, node, many = self._run, self._node, self._db.executemany
        answers: list[tuple[Any, ...]] = []
        settled: list[tuple[Any, ...]] = []
        for entry in entries:
            match entry:
                case protocol.Answers():
                    self._answers(entry, answers)
                case protocol.Settled(status, seqs, sink, place):
                    if sink is not None and status in LASTING:
                        first, last, ids = _ends_of(seqs)
                        told = _pack(place) if place is not None else None
                        row = (run, node(sink), status.value, first, last, ids, told, time.time())
                        self._db.execute("INSERT INTO written VALUES (?,?,?,?,?,?,?,?)", row)
                case protocol.RowsSettled(status, seqs):
                    if status in LASTING:
                        first, bits = span_of(seqs)
                        last = first + bits.bit_length() - 1
                        settled.append((run, status.value, first, last, bits.bit_count(), encode_bits(bits)))
                        self._settled.add_some(first, bits)
                case protocol.Ends(name, ended, at_s):
                    rows = [self._end(name, end, at_s) for end in ended if end.status in LASTING]
                    many("INSERT OR REPLACE INTO ended VALUES (?,?,?,?,?,?,?,?,?)", rows)
                case protocol.Faulted(name, faults, at_s, took_s):
                    failed = [self._fault(name, fault, at_s, took_s) for fault in faults]
                    many("INSERT INTO fault VALUES (?,?,?,?,?,?,?,?,?,?)", failed)
                case protocol.Parked(name, seq, state, at_s, after_s):
                    parked = (run, _row(seq), node(name), encode_id(seq), self._clock + at_s + after_s, state)
                    self._db.execute("INSERT OR REPLACE INTO parked VALUES (?,?,?,?,?,?)", parked)
                case protocol.Cooled(name, at_s, until_s, closure):
                    times = (self._clock + at_s, self._clock + until_s)
                    self._db.execute(
                        "INSERT INTO cooldown VALUES (?,?,?,?,?)", (run, node(name), *times, closure.value)
                    )
                case protocol.ReadTo(row, place, ended):
                    told = _pack(place) if place is not None else None
                    if ended:
                        self._db.execute("UPDATE run SET total = ? WHERE id = ?", (row, run))
                    if told is not None:
                        self._db.execute("INSERT INTO read VALUES (?,?,?)", (run, row, told))
                case protocol.Formed(name, bundles):
                    many("INSERT INTO batch VALUES (?,?,?,?,?)", [self._batch(name, bundle) for bundle in bundles])
                case protocol.Decided(name, seqs, parts):
                    words = [
                        (run, _row(seq), node(name), encode_id(seq), _pack(word))
                        for seq, word in zip(seqs, parts, strict=True)
                    ]
                    many("INSERT OR REPLACE INTO word VALUES (?,?,?,?,?)", words)
                case _:
                    raise AssertionError(f"a journal has no {type(entry).__name__}")
        many("INSERT OR REPLACE INTO answer VALUES (?,?,?,?,?,?,?,?)", answers)
        many("INSERT INTO settled VALUES (?,?,?,?,?,?)", settled)
        if settled:
            mark = self._settled.mark
            if mark != self._mark:
                self._mark = mark
                self._db.execute("UPDATE run SET mark = ? WHERE id = ?", (mark, run))
                # Only the last place before the mark will be asked for.
                self._db.execute(
                    "DELETE FROM read WHERE run = ?1 AND row < "
                    "(SELECT max(row) FROM read WHERE run = ?1 AND row <= ?2 - ?3)",
                    (run, mark, self._reach),
                )

    def _answers(self, entry: protocol.Answers, rows: list[tuple[Any, ...]]) -> None:
        run, node, tries = self._run, self._node(entry.node), entry.attempts or {}
        at, took = self._clock + entry.at_s, entry.took_s
        for seq, value in zip(entry.seqs, entry.values, strict=True):
            plain = type(seq) is int
            rows.append(
                (
                    run,
                    seq if plain else _row(seq),
                    node,
                    b"" if plain else encode_id(seq),
                    tries.get(seq, 1),
                    at,
                    took,
                    value,
                )
            )

    def _end(self, name: str, end: Ended, at_s: float) -> tuple[Any, ...]:
        error = end.error
        kind = name_of(error) if error is not None else None
        message = str(error) if error is not None else None
        path, at = encode_id(end.seq), self._clock + at_s
        return (
            self._run,
            _row(end.seq),
            self._node(name),
            path,
            end.attempts,
            at,
            end.status.value,
            kind,
            message,
        )

    def _fault(self, name: str, fault: protocol.Fault, at_s: float, took_s: float) -> tuple[Any, ...]:
        seq, error = fault.seq, fault.error
        what = (fault.kind.value, name_of(error), str(error), fault.retry_after_s)
        return (self._run, _row(seq), self._node(name), encode_id(seq), self._clock + at_s, took_s, *what)

    def _batch(self, name: str, bundle: Id) -> tuple[Any, ...]:
        assert isinstance(bundle, Bundle)
        rows = list(rows_of(bundle))
        first, last = min(rows), max(rows)
        if last - first >= self._reach:
            self._reach = last - first + 1
            self._db.execute("UPDATE run SET reach = ? WHERE id = ?", (self._reach, self._run))
        return (self._run, self._node(name), first, last, encode_ids([bundle]))

    # --- what was told ---

    def past(self) -> Past:
        """What a life that begins now is left. Reads only what is not done, and where that begins."""
        floor = max(0, self._mark - self._reach)
        while True:
            past = past_of(self._outline(floor), self._gathered(floor), self._entries(floor), self._before(floor))
            if past.first >= floor or not floor:
                break
            # A batch ties rows to one that is not done, and they are before all that was looked at.
            floor = max(0, past.first - self._reach)
        if past.again:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                rows = [(self._run, status.value, row, row, -1, None) for status, row in past.again]
                self._db.executemany("INSERT INTO settled VALUES (?,?,?,?,?,?)", rows)
        self._settled = Settlement(past.first)
        for first, bits in past.done:
            self._settled.add_some(first, bits)
        answers = {
            node: {seq: self._again(node, known) for seq, known in of.items()} for node, of in past.answers.items()
        }
        return msgspec.structs.replace(past, answers=answers)

    def _again(self, node: str, known: Answer) -> Answer:
        if known.ended is not None:
            return known
        return Answer(self._values[node].decode(known.value), known.attempts)

    def _before(self, floor: int) -> Settlements:
        """Rows that are done before `floor`, by outcome."""
        counts: dict[Status, int] = {}
        whole = "SELECT status, sum(n) FROM settled WHERE run = ? AND last < ? GROUP BY status"
        for status, n in self._db.execute(whole, (self._run, floor)):
            counts[Status(status)] = n
        for status, first, bits in self._records(floor):
            if bits < 0:
                continue
            n = (bits & ((1 << max(floor - first, 0)) - 1)).bit_count()
            counts[status] = counts.get(status, 0) + n
        return Settlements(floor, counts)

    def _outline(self, floor: int) -> Iterator[tuple[Status, int, int]]:
        for status, first, bits in self._records(floor):
            cut = max(floor - first, 0)
            if bits < 0:
                yield status, first, bits
            elif bits := bits >> cut:
                low = (bits & -bits).bit_length() - 1
                yield status, first + cut + low, bits >> low

    def _records(self, floor: int) -> Iterator[tuple[Status, int, int]]:
        select = "SELECT status, first, last, n, bits FROM settled WHERE run = ? AND last >= ? ORDER BY rowid"
        for status, first, last, n, packed in self._db.execute(select, (self._run, floor)):
            yield Status(status), first, decode_bits(first, last, packed) if n > 0 else -1

    def _gathered(self, floor: int) -> Iterator[tuple[str, Bundle]]:
        select = "SELECT node, members FROM batch WHERE run = ? AND last >= ? ORDER BY rowid"
        for node, members in self._db.execute(select, (self._run, floor)):
            bundle = decode_ids(members)[0]
            assert isinstance(bundle, Bundle)
            yield self._journal.name_of(node), bundle

    def _entries(self, floor: int) -> Iterator[Any]:
        run, name_of, execute = self._run, self._journal.name_of, self._db.execute
        for row, place in execute("SELECT row, place FROM read WHERE run = ? ORDER BY row", (run,)):
            yield protocol.ReadTo(row, _unpack(place))
        where = "WHERE run = ? AND row >= ?"
        # One that was pruned is not known any more.
        select = f"SELECT node, row, path, value, attempts FROM answer {where} AND value NOT NULL"
        for node, row, path, value, attempts in execute(select, (run, floor)):
            seq = decode_id(row, path)
            yield protocol.Answers(name_of(node), [seq], [value], {seq: attempts})
        select = f"SELECT node, row, path, attempts, status, error, message FROM ended {where}"
        for node, row, path, attempts, status, kind, message in execute(select, (run, floor)):
            error = Recalled(kind, message) if kind is not None else None
            end = Ended(decode_id(row, path), Status(status), error, attempts, None, name_of(node))
            yield protocol.Ends(name_of(node), [end])
        select = f"SELECT node, row, path, due, state FROM parked {where}"
        now = time.time()
        for node, row, path, due, state in execute(select, (run, floor)):
            yield protocol.Parked(name_of(node), decode_id(row, path), _unpack(state), 0.0, max(0.0, due - now))
        select = f"SELECT node, row, path, parts FROM word {where}"
        for node, row, path, parts in execute(select, (run, floor)):
            yield protocol.Decided(name_of(node), [decode_id(row, path)], [tuple(_unpack(parts))])
        # How far each sink had come, however long ago that was.
        select = "SELECT sink, place, max(rowid) FROM written WHERE run = ? AND place IS NOT NULL GROUP BY sink"
        for sink, place, _ in execute(select, (run,)):
            yield protocol.Settled(Status.DELIVERED, [], name_of(sink), _unpack(place))
        select = "SELECT sink, status, first, last, ids FROM written WHERE run = ? AND last >= ? ORDER BY rowid"
        for sink, status, first, last, ids in execute(select, (run, floor)):
            yield protocol.Settled(Status(status), decode_span(first, last, ids), name_of(sink))

    def close(self, complete: bool) -> None:
        """Let go of the file."""
        state = "completed" if complete else "interrupted"
        end = "UPDATE life SET ended = ?, state = ? WHERE run = ? AND n = (SELECT max(n) FROM life WHERE run = ?)"
        try:
            self._db.execute(end, (time.time(), state, self._run, self._run))
        finally:
            self._journal.close()


def _row(seq: Id) -> int:
    return min(rows_of(seq))


def _ends_of(seqs: Ids) -> tuple[int, int, bytes | None]:
    """(first row, last row, who they are); None where they are all rows between."""
    if type(seqs) is range:
        return seqs.start, seqs.stop - 1, None
    rows = [row for seq in seqs for row in rows_of(seq)]
    return min(rows), max(rows), encode_ids(list(seqs))


def _told(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorname", "")
    return {"SQLITE_FULL": "the disk is full", "SQLITE_IOERR_WRITE": "cannot be written"}.get(code, f"{error} ({code})")
