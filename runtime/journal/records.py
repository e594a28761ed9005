"""A journal as it is read and changed: records, checked.

Each record ends with its own checksum, which begins with a salt of the journal, for a record of another one; and `progress`
tells of each table how many records a run has there and what their checksums add up to, so that records that are missing, or
there twice, are told too (L64). That is the same for every store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import msgspec

from .mistakes import Damaged
from .port import Bound, Change, Reader, Store
from .tables import TABLES, TALLIED, Record

_HALF = 1 << 31
"""Less than that, a checksum takes four bytes in SQLite."""
_pack = msgspec.msgpack.Encoder().encode


class RunRow(msgspec.Struct, frozen=True):
    """A run, as its table has it. `key` begins the keys of its calls. `origin`: the file that describes it; `folder`:
    where it was run; `home`: the folder of the journal then, from which the others are found again when all have moved."""

    id: int
    key: str
    name: str
    began: float
    fingerprint: str
    origin: str | None
    folder: str | None = None
    home: str | None = None


class Progress(msgspec.Struct):
    """How far a run is: all rows before `mark` are done; the rows of a batch are less than `reach` apart; there are `total`
    rows, once the source has said its end. `tally`: of tables, the number of records and the sum of their checksums."""

    run: int
    mark: int = 0
    reach: int = 0
    total: int | None = None
    tally: dict[str, tuple[int, int]] = {}

    def note(self, table: str, change: Change) -> None:
        """A table of the run was changed so."""
        n, seals = self.tally.get(table, (0, 0))
        self.tally[table] = n + change.records, seals + change.seals


class Life(msgspec.Struct, frozen=True):
    """A process that worked on a run, from one opening of it to its end. `state`: None where it has not said how it
    ended."""

    n: int
    began: float
    ended: float | None
    state: str | None


class Records:
    """What a journal has, for whoever looks. Its methods raise `Damaged` where something is not what was written, and
    `StoreFailed`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.name = reader.name
        self._seeds = {table: crc32(table.encode(), reader.salt & 0xFFFFFFFF) for table in TABLES}
        self._names: dict[str, int] = {name: number for number, name in self.read("name")}
        self._by_number = {number: name for name, number in self._names.items()}

    def read(self, table: str, run: int | None = None, *bounds: Bound, limit: int | None = None) -> Iterator[Any]:
        """Records of a table, without their seals, as `Reader.read` finds them."""
        return self._checked(table, self.reader.read(table, run, *bounds, limit=limit))

    def read_on(self, table: str, run: int, row: int) -> Iterator[Any]:
        """Records of a run from `row` on, as `Reader.read_on` finds them."""
        for _ in self._checked(table, self.reader.beside(table, run, row)):
            pass
        return self._checked(table, self.reader.read_on(table, run, row))

    def _checked(self, table: str, records: Iterable[Record]) -> Iterator[Any]:
        seed, pack, half = self._seeds[table], _pack, _HALF
        for record in records:
            if crc32(pack(record[:-1]), seed) - half != record[-1]:
                raise Damaged(f"a row of its table {table!r}, {record[:4]}, is not what was written")
            yield record[:-1]

    def check_tally(self, run: int, tables: Iterable[str] = TALLIED) -> None:
        """Whether a run has as many records in these tables as were written, and the same ones. Raises `Damaged`."""
        tally = self.progress_of(run).tally
        for table in tables:
            n, seals = tally.get(table, (0, 0))
            there = self.reader.sums(table, run)
            if there.records != n:
                raise Damaged(f"its table {table!r} has {there.records:,} rows of the run, and {n:,} were written")
            if there.seals != seals:
                raise Damaged(f"a row of its table {table!r} is not what was written")

    # --- runs ---

    def runs(self) -> list[RunRow]:
        """All of them, the oldest first."""
        return sorted((RunRow(*record) for record in self.read("run")), key=lambda run: run.id)

    def run_named(self, name: str | None) -> RunRow | None:
        """The latest one, or the latest of that name; None where there is none."""
        return next((run for run in reversed(self.runs()) if name in (None, run.name)), None)

    def progress_of(self, run: int) -> Progress:
        """How far a run has come."""
        for id_, mark, reach, total, tally in self.read("progress", run):
            told = msgspec.msgpack.decode(tally, type=dict[str, tuple[int, int]])
            return Progress(id_, mark, reach, total, told)
        return Progress(run)

    def lives_of(self, run: int) -> list[Life]:
        """All of them, the oldest first. Raises `Damaged` where one is missing."""
        lives = sorted((Life(*rest) for _, *rest in self.read("life", run)), key=lambda life: life.n)
        if [life.n for life in lives] != list(range(1, len(lives) + 1)):
            raise Damaged("a row of its table 'life' is missing")
        return lives

    def spent_by_life(self, run: int) -> tuple[dict[str, float], ...]:
        """What the calls of each life say that they took, by unit, the oldest first."""
        found: list[dict[str, float]] = [{} for _ in self.lives_of(run)]
        for _, life, _, amounts in self.read("spent", run):
            spent = found[life - 1]
            for unit, amount in msgspec.msgpack.decode(amounts, type=dict[str, float]).items():
                spent[unit] = spent.get(unit, 0.0) + amount
        return tuple(found)

    # --- names ---

    @property
    def numbers(self) -> Mapping[str, int]:
        """Of all nodes and sinks that it knows."""
        return self._names

    def name_of(self, number: int) -> str:
        """Of a node or a sink."""
        name = self._by_number.get(number)
        if name is None:
            raise Damaged(f"it has no node {number}")
        return name

    def close(self) -> None:
        """Let go of the store."""
        self.reader.close()


class HeldRecords(Records):
    """What a journal has, for the one who holds its lock, and may change it. What changes something is called within a
    transaction of the store; and where a `progress` is given, that is to be saved after it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.store = store

    def sealed(self, table: str, record: Record) -> Record:
        """A record with the checksum that it ends with. Numbers in columns of real numbers must be floats."""
        return (*record, self._seal(table, record))

    def _seal(self, table: str, record: Record) -> int:
        return crc32(_pack(record), self._seeds[table]) - _HALF

    def write(self, progress: Progress, table: str, records: Iterable[tuple[Any, ...]]) -> None:
        """Records of a table that is tallied; what is told again replaces what was told, where the table has a key."""
        seed, pack, half = self._seeds[table], _pack, _HALF
        sealed = [(*record, crc32(pack(record), seed) - half) for record in records]
        if sealed:
            progress.note(table, self.store.write(table, sealed))

    def put(self, table: str, record: Record) -> None:
        """A record of a table that is not tallied."""
        self.store.write(table, [self.sealed(table, record)])

    def remove(self, progress: Progress, table: str, key: Record) -> None:
        """Delete the record with this key from a table that is tallied."""
        columns = zip(TABLES[table].key[1:], key[1:], strict=True)
        bounds = [Bound(column, "=", value) for column, value in columns]  # type: ignore[arg-type]
        progress.note(table, self.store.remove(table, progress.run, *bounds))

    # --- runs ---

    def save_run(self, run: RunRow) -> None:
        """Write down a run that is new, or was changed."""
        self.put("run", msgspec.structs.astuple(run))

    def save_progress(self, progress: Progress) -> None:
        """Write down how far a run has come."""
        *rest, tally = msgspec.structs.astuple(progress)
        self.put("progress", (*rest, _pack(tally)))

    def save_life(self, run: int, life: Life) -> None:
        """Write down a new one, or its end."""
        self.put("life", (run, *msgspec.structs.astuple(life)))

    def drop_life(self, run: int, n: int) -> None:
        """Forget the last one, in which nothing was done."""
        self.store.remove("life", run, Bound("n", "=", n))

    def forget_answers(
        self, progress: Progress, first: int, last: int, before: float = math.inf, node: int | None = None
    ) -> int:
        """Drop what calls answered of these rows, if it is older, and if `node` is given, only there; that they
        answered stays. How many there were."""
        seal = lambda record: self._seal("answer", record)  # noqa: E731
        n, change = self.store.drop_values(progress.run, first, last, before, node, seal)
        if n:
            progress.note("answer", change)
        return n

    def forget_given(self, progress: Progress) -> None:
        """Rows that are read are not compared with those of earlier lives any more."""
        self.store.remove("given", progress.run)
        progress.tally.pop("given", None)

    # --- names ---

    def number_of(self, name: str) -> int:
        """Of a node or a sink; a new one is written down."""
        number = self._names.get(name)
        if number is None:
            number = max(self._by_number, default=0) + 1
            self.put("name", (number, name))
            self._names[name] = number
            self._by_number[number] = name
        return number
