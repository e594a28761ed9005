"""One bit of a journal, wherever it is: no command says anything false, none ends with a traceback, none changes
anything (L64)."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.conftest import versioned

from headrace.runtime import Pipeline, RateLimited, RunFailed
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.audit import examine, export
from headrace.runtime.journal.explain import explain, runs
from headrace.runtime.journal.mistakes import in_words
from headrace.runtime.journal.records import Life, Records
from headrace.runtime.journal.sqlite import wal
from headrace.runtime.journal.stores import hold, look_into

ROWS = 120


def ask(row: int) -> dict[str, int]:
    if row % 10 == 7:
        raise ValueError("unlucky")
    return {"n": row}


def made(path: Path) -> bytes:
    """A journal of a run that was cut short, all of it in the one file."""
    stop, refused = [True], set[int]()

    def call(row: int) -> dict[str, int]:
        if row == 40 and row not in refused:
            # So that there is something to find out of the limit.
            refused.add(row)
            raise RateLimited(retry_after=0.001)
        return ask(row)

    def last(row: Any) -> None:
        if stop and len(row) and row[0]["n"] >= 90:
            raise ValueError("stop")

    pipeline = Pipeline("job").source(range(ROWS)).map(versioned(call), name="ask", retry=1).batch(5)
    with pytest.raises(RunFailed):
        pipeline.tap(versioned(last), name="last", on_error="fail", retry=1).run(journal=path)
    _fold(path)
    return path.read_bytes()


def _fold(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def told(path: Path) -> dict[str, Any]:
    """What each command says; that something is wrong, as None."""

    def looking(look: Callable[[Records], Any]) -> Any:
        try:
            file = look_into(str(path))
        except ConfigError as error:
            return names(error)
        try:
            with in_words(str(path)):
                return look(file)
        except ConfigError as error:
            return names(error)
        finally:
            file.close()

    def names(error: ConfigError) -> None:
        assert str(path) in str(error)

    return {
        "runs": looking(runs),
        "explain": looking(lambda file: [explain(file, row) for row in (0, 7, 100)]),
        "export": looking(lambda file: examine(export(file)) and b"".join(export(file))),
    }


def places(whole: bytes, chance: random.Random, many: int) -> Iterator[tuple[int, int]]:
    """Places and bits: some anywhere, and some in the header of each page."""
    size = int.from_bytes(whole[16:18], "big")
    yield from ((chance.randrange(len(whole)), 1 << chance.randrange(8)) for _ in range(many))
    yield from ((at + chance.randrange(12), 1 << chance.randrange(8)) for at in range(size, len(whole), size))


def test_no_command_says_anything_false_of_a_damaged_journal_L64(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    whole = made(path)
    right, chance, seen = told(path), random.Random(5), 0
    assert all(right.values())
    for at, bit in places(whole, chance, 60):
        damaged = bytearray(whole)
        damaged[at] ^= bit
        path.write_bytes(damaged)
        for command, said in told(path).items():
            assert said in (None, right[command]), f"{command}, byte {at}, bit {bit}"
            seen += said is None
        assert path.read_bytes() == damaged
    assert seen > 8


def test_a_page_of_another_journal_is_none_of_this_one_L64(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    alien, whole = made(tmp_path / "alien.db"), made(path)
    right, seen = told(path), 0
    for at in range(4096, min(len(alien), len(whole)), 4096):
        path.write_bytes(whole[:at] + alien[at : at + 4096] + whole[at + 4096 :])
        for command, said in told(path).items():
            assert said in (None, right[command]), f"{command}, page {at // 4096 + 1}"
            seen += said is None
    assert seen > 10


def test_a_row_that_is_missing_or_there_twice_is_told_L64(tmp_path: Path) -> None:
    """By somebody with SQLite at hand, so that its structures are whole."""
    path = tmp_path / "run.db"
    whole = made(path)
    tables = {"answer": "row = 5", "ended": "row = 7", "fault": "row = 7", "settled": "true", "batch": "true"}
    tables["learned"] = "true"
    for table, which in tables.items():
        for change in (
            f"DELETE FROM {table} WHERE {which}",
            f"INSERT INTO {table} SELECT * FROM {table} WHERE {which}",
        ):
            path.write_bytes(whole)
            db = sqlite3.connect(path, isolation_level=None)
            try:
                if not db.execute(f"SELECT count(*) FROM {table} WHERE {which}").fetchone()[0]:
                    assert table != "learned"
                    continue
                db.execute(change)
            except sqlite3.IntegrityError:
                # A table with a key has a row once.
                continue
            finally:
                db.close()
            for command in ("export", "explain"):
                assert told(path)[command] is None, change
            with pytest.raises(ConfigError, match=f"its table '{table}'"):
                Pipeline("job").source(range(ROWS)).map(versioned(ask), retry=1).batch(5).run(
                    journal=path, accept_changes=True
                )


def test_commits_that_are_damaged_in_the_log_are_told_and_a_torn_one_is_none_L64(tmp_path: Path) -> None:
    path, copy = tmp_path / "run.db", tmp_path / "copy.db"
    file = hold(str(path))
    for number in range(8):
        with file.store.transaction():
            file.save_life(1, Life(number + 1, float(number), None, None))
    whole, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    file.close()
    frame = 24 + 4096
    frames = (len(log) - 32) // frame

    def lives(data: bytes) -> int | None:
        for each in tmp_path.glob("copy.db*"):
            each.unlink()
        copy.write_bytes(whole)
        Path(f"{copy}-wal").write_bytes(data)
        try:
            looked = look_into(str(copy))
        except ConfigError:
            return None
        try:
            return len(looked.lives_of(1))
        finally:
            looked.close()

    assert lives(log) == 8
    chance = random.Random(3)
    for at in [chance.randrange(32) for _ in range(8)] + [chance.randrange(32, len(log)) for _ in range(40)]:
        damaged = bytearray(log)
        damaged[at] ^= 1 << chance.randrange(8)
        found, hit = lives(bytes(damaged)), (at - 32) // frame
        # The last commit may have been torn by a crash.
        assert found in (None, 8) if hit < frames - 1 else found in (None, 7, 8), f"byte {at}"
        assert found is None or at < 32 or hit >= frames - 1, f"byte {at}"
    for cut in range(1, frame, 997):
        assert lives(log[:-cut]) == 7
    assert wal.lost_commits(str(tmp_path / "missing.db")) == 0
