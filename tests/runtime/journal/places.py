"""Where journals are kept, for tests that each store must pass. A new store is one more class here, and a line in
`PLACES`."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Protocol

from headrace.runtime.journal.memory import forget, memory_named
from headrace.runtime.journal.tables import TABLES, Record


class Place(Protocol):
    """A journal's name, and what happens to it behind its back."""

    name: str

    def kill(self) -> None:
        """The process that holds the journal is gone, in the middle of whatever it did; what is there now is what it
        left."""

    def lose_lock(self) -> None:
        """Whoever holds the journal lives on, and its lock does not: a partition, a machine that stood still."""

    def damage(self, table: str, record: Record | None) -> None:
        """In the place of the first record of a table there is another one, or none."""

    def drop(self) -> None:
        """The test is over."""


class InFile:
    """One SQLite database."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "run.db"
        self.name = str(self._path)

    def kill(self) -> None:
        # What a kill leaves is what another process sees in the files, of which these are copies.
        for end in ("", "-wal"):
            path = Path(f"{self.name}{end}")
            if path.exists():
                shutil.copy(path, f"{self.name}{end}.copy")
                path.unlink()
                Path(f"{self.name}{end}.copy").rename(path)
        Path(f"{self.name}-shm").unlink(missing_ok=True)
        self.lose_lock()

    def lose_lock(self) -> None:
        Path(f"{self.name}.lock").unlink(missing_ok=True)

    def damage(self, table: str, record: Record | None) -> None:
        key = ",".join(TABLES[table].key or ("rowid",))
        with sqlite3.connect(self.name) as db:
            before = db.execute(f"SELECT * FROM {table} ORDER BY {key} LIMIT 1").fetchone()
            columns = [*TABLES[table].columns, "seal"]
            where = " AND ".join(f"{column} IS ?" for column in columns)
            if record is None:
                db.execute(f"DELETE FROM {table} WHERE {where}", before)
            else:
                said = ", ".join(f"{column} = ?" for column in columns)
                db.execute(f"UPDATE {table} SET {said} WHERE {where}", (*record, *before))
        db.close()

    def drop(self) -> None:
        """The folder is pytest's."""


class InMemory:
    """A memory of this process."""

    def __init__(self, folder: Path) -> None:
        self.name = f"memory:{folder.name}"

    def kill(self) -> None:
        self.lose_lock()

    def lose_lock(self) -> None:
        memory_named(self.name, new=False).release()

    def damage(self, table: str, record: Record | None) -> None:
        memory = memory_named(self.name, new=False)
        records = memory.tables[table]
        key = min(records)
        memory.keys.clear()
        if record is None:
            del records[key]
        else:
            n = len(TABLES[table].key)
            del records[key]
            records[record[:n] if n else key] = record

    def drop(self) -> None:
        forget(self.name)


PLACES = (InFile, InMemory)
