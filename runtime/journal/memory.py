"""The store that is kept in memory: `memory:NAME` names one of this process. It outlives a run, and a simulated process;
it is for tests, for the simulation, and for whoever wants to resume within one process."""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from headrace.actors.errors import InternalError
from headrace.runtime.errors import ConfigError

from .port import Bound, Change
from .tables import TABLES, Record

_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_KEYS = {table: len(told.key) for table, told in TABLES.items()}


class Memory:
    """What outlives those who open it. `tables`: the records of each, by their keys; where there is none, by their
    number."""

    def __init__(self) -> None:
        self.salt = random.getrandbits(32)
        self.tables: dict[str, dict[Any, Record]] = {table: {} for table in TABLES}
        self.owner: object = None
        """Who holds the lock."""
        self.written = 0
        """Records that were ever written, by which those without a key are told apart."""
        self.keys: dict[str, list[Any]] = {}
        """Of each table that was read in its order, and has got or lost no record since."""
        self.mutex = threading.RLock()
        """Held in a transaction, so that nobody sees a half of it."""

    def release(self) -> None:
        """Take the lock from whoever holds it, as when its process is gone, or is taken to be."""
        self.owner = None


class MemoryStore:
    """A memory that is opened: by its owner, or, with `write=False`, as it is at this moment."""

    path: str | None = None
    is_small = True

    def __init__(self, name: str, memory: Memory, *, write: bool = True) -> None:
        """Raises `ConfigError` where another one holds it."""
        self.name = name
        self.salt = memory.salt
        self._memory = memory
        self._undo: list[tuple[str, Any, Record | None]] | None = None
        self._tables, self._keys = memory.tables, memory.keys
        with memory.mutex:
            if not write:
                self._tables, self._keys = {table: dict(records) for table, records in memory.tables.items()}, {}
            elif memory.owner is not None:
                raise ConfigError(f"{name}: another run is running with this journal; wait for its end, or stop it")
            else:
                memory.owner = self

    # --- what is read ---

    def read(self, table: str, run: int | None = None, *bounds: Bound, limit: int | None = None) -> Iterator[Record]:
        columns = TABLES[table].columns
        tests = [(columns.index(bound.column), _RELATIONS[bound.relation], bound.value) for bound in bounds]
        if run is not None:
            tests.append((columns.index("run"), _RELATIONS["="], run))
        records = self._tables[table]
        left = limit if limit is not None else len(records)
        for key in self._in_order(table):
            record = records[key]
            if left and all(holds(record[at], value) for at, holds, value in tests):
                left -= 1
                yield record

    def read_on(self, table: str, run: int, row: int) -> Iterator[Record]:
        records, keys = self._tables[table], self._in_order(table)
        for key in keys[bisect_left(keys, (run, row)) : bisect_left(keys, (run + 1,))]:
            yield records[key]

    def beside(self, table: str, run: int, row: int) -> Iterable[Record]:
        return ()

    def _in_order(self, table: str) -> list[Any]:
        keys = self._keys.get(table)
        if keys is None:
            # As they were written, where there is no key.
            keys = self._keys[table] = sorted(self._tables[table])
        return keys

    def sums(self, table: str, run: int) -> Change:
        return _sum_of(record for record in self._tables[table].values() if record[0] == run)

    def now(self) -> float:
        return time.time()

    # --- what is changed ---

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        if self._undo is not None:
            raise InternalError("one transaction is under way at a time")
        with self._memory.mutex:
            self._undo = []
            done = False
            try:
                yield
                done = keep
            finally:
                undo, self._undo = self._undo, None
                if not done:
                    for table, key, record in reversed(undo):
                        self._set(table, key, record)

    def _set(self, table: str, key: Any, record: Record | None) -> Record | None:
        """What was there before. `record`: None for nothing."""
        records = self._tables[table]
        before = records.get(key)
        if self._undo is not None:
            self._undo.append((table, key, before))
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record
        if before is None or record is None:
            self._keys.pop(table, None)
        return before

    def _check_written(self) -> None:
        if self._undo is None:
            raise InternalError("what changes a store is done within a transaction")

    def write(self, table: str, records: list[Record]) -> Change:
        self._check_written()
        before, n = [], _KEYS[table]
        for record in records:
            self._memory.written += 1
            replaced = self._set(table, record[:n] if n else self._memory.written, record)
            if replaced is not None:
                before.append(replaced)
        return _difference(before, records)

    def remove(self, table: str, run: int, *bounds: Bound) -> Change:
        self._check_written()
        found = set(map(id, self.read(table, run, *bounds)))
        gone = [key for key, record in self._tables[table].items() if id(record) in found]
        return _difference([record for key in gone if (record := self._set(table, key, None)) is not None], [])

    def drop_values(
        self, run: int, first: int, last: int, before: float, node: int | None, seal: Callable[[Record], int]
    ) -> tuple[int, Change]:
        self._check_written()
        found = []
        for record in self.read_on("answer", run, first):
            _, row, at_node, _, _, at, _, value, _, _ = record
            if row > last:  # type: ignore[operator]
                break
            if at < before and value is not None and node in (None, at_node):  # type: ignore[operator]
                found.append(record)
        empty = [(*record[:7], None, 0) for record in found]
        after = [(*record, seal(record)) for record in empty]
        for record in after:
            self._set("answer", record[: _KEYS["answer"]], record)
        return len(found), _difference(found, after)

    def compact(self) -> None:
        """What was deleted takes no room."""

    def close(self) -> None:
        """Let go of the store, so that others can hold it."""
        if self._memory.owner is self:
            self._memory.owner = None


def _sum_of(records: Iterable[Record]) -> Change:
    seals: list[Any] = [record[-1] for record in records]
    return Change(len(seals), sum(seals))


def _difference(before: list[Record], after: list[Record]) -> Change:
    old, new = _sum_of(before), _sum_of(after)
    return Change(new.records - old.records, new.seals - old.seals)


_memories: dict[str, Memory] = {}


def memory_named(name: str, *, new: bool) -> Memory:
    """The one of that name in this process. Raises `ConfigError` where there is none, and none may begin."""
    if name not in _memories:
        if not new:
            raise ConfigError(f"{name}: no such journal in this process")
        _memories[name] = Memory()
    return _memories[name]


def forget(name: str) -> None:
    """Let go of what is kept under a name."""
    _memories.pop(name, None)
