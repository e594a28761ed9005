"""Journals that are not what they should be, and disks that fail: told in one line, and nothing that was durable is lost."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.test_journal import Breaks, rows_in

from headrace.runtime import Flow, Journal, Pending, Pipeline, RunFailed, sinks
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.audit import export
from headrace.runtime.journal.begin import begin
from headrace.runtime.journal.mistakes import Damaged
from headrace.runtime.journal.stores import hold, look_into


def test_what_is_no_journal_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    def refused(path: Path, what: str) -> None:
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(ConfigError, match=what):
            Pipeline("job").source([1]).run(journal=path)
        assert (path.read_bytes() if path.is_file() else None) == before

    text = tmp_path / "text.db"
    text.write_text("this is no database, and it is long enough to be taken for one" * 20)
    refused(text, "is not a journal")
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as database, database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    refused(foreign, "not a journal of Headrace")
    newer = tmp_path / "newer.db"
    Pipeline("job").source([1]).run(journal=newer)
    with closing(sqlite3.connect(newer)) as database, database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    refused(newer, "is a journal of version 99")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "missing" / "run.db", "the folder .* does not exist")


def test_a_journal_that_was_cut_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    Pipeline("job").source(range(5000)).map(Breaks()).run(journal=path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="is damaged"):
        Pipeline("job").source(range(5000)).map(Breaks()).run(journal=path)


def test_an_output_that_was_changed_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    def run() -> Any:
        return Pipeline("job").source(range(100)).sink(sinks.jsonl(out)).run(journal=tmp_path / "run.db")

    run()
    out.write_bytes(out.read_bytes()[:50])
    with pytest.raises(ConfigError, match="has 50 bytes, and the journal says that 290 were written"):
        run()
    out.unlink()
    with pytest.raises(ConfigError, match="cannot be opened"):
        run()


def test_a_disk_that_fills_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    answered = Breaks()

    def run() -> Any:
        return Pipeline("job").source(range(20_000)).map(answered, workers=2).run(journal=path)

    hold(str(path)).close()
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> Any:
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 64")
        return database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        with pytest.raises(RunFailed, match="the disk is full; what was committed before is safe"):
            run()
    first = len(answered.calls)
    report = run()
    assert report.delivered == 20_000
    assert first <= len(answered.calls) <= 20_000 + first


def test_a_flipped_bit_is_told_or_does_no_harm(tmp_path: Path) -> None:
    """In the header of the file and of every page, of whatever type: SQLite's own pages have no checksums."""
    path, out = tmp_path / "run.db", tmp_path / "out.jsonl"
    breaks = Breaks(at=230)

    def run() -> Any:
        pipeline = Pipeline("job").source(range(300)).map(breaks, workers=1, retry=1, on_error="fail")
        return pipeline.sink(sinks.jsonl(out)).run(journal=path)

    with pytest.raises(RunFailed):
        run()
    breaks.at = None
    whole, part = path.read_bytes(), Path(f"{out}.part").read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    kinds = {whole[at] for at in range(size, len(whole), size)}
    assert {2, 5, 10, 13} & kinds, "leaves and more"
    chance, told = random.Random(1), list[str]()
    places = [chance.randrange(100) for _ in range(8)]
    places += [at + chance.randrange(12) for at in chance.sample(range(size, len(whole), size), 12)]
    for at in places:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        for old in tmp_path.glob("*"):
            old.unlink()
        path.write_bytes(damaged)
        Path(f"{out}.part").write_bytes(part)
        try:
            report = run()
        except (ConfigError, RunFailed) as error:
            told.append(str(error))
        else:
            assert report.delivered == 300, f"byte {at}"
            assert rows_in(out) == [{"n": n} for n in range(300)], f"byte {at}"
    assert len(told) > len(places) // 3
    assert all(str(path) in text for text in told)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_output_that_cannot_be_synced_ends_the_run_and_is_mended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    out, synced = tmp_path / "out.jsonl", itertools.count(1)

    def run() -> Any:
        pipeline = Pipeline("job", window=50).source(range(400)).map(Breaks())
        return pipeline.sink(sinks.jsonl(out)).run(journal=tmp_path / "run.db")

    sync = os.fsync

    def failing(file: int) -> None:
        if next(synced) == at:
            raise OSError(errno.EIO, "Input/output error")
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(RunFailed, match="Input/output error"):
            run()
    assert run().delivered == 400
    assert rows_in(out) == [{"n": n} for n in range(400)]


class Ask:
    """Calls that are answered, fail or are pending; `enough` is set when there were so many."""

    version = "1"

    def __init__(self, many: int = 1 << 30) -> None:
        self.enough = threading.Event()
        self._many = many

    def __call__(self, row: int) -> dict[str, Any]:
        self._many -= 1
        if not self._many:
            self.enough.set()
        if row % 17 == 5:
            raise ValueError("unlucky")
        if row % 19 == 7:
            raise Pending(1000.0, {"job": row})
        return {"n": row, "text": "of no importance " * 2}


def _everything(folder: Path, ask: Ask) -> Flow[Any]:
    """A graph that has something of all that a journal knows."""
    pipeline = Pipeline("job", window=200).source(range(300)).map(ask, name="ask", retry=1)
    line = pipeline.fork(
        one=lambda p: p.map(lambda row: row["n"], name="one"), two=lambda p: p.map(lambda row: -row["n"], name="two")
    )
    joined = line.join(merge=lambda row, parts: {**row, **parts}, name="both")
    return joined.batch(7).map(len).sink(sinks.jsonl(folder / "out.jsonl"))


def _left(folder: Path) -> Any:
    """What the journal leaves to the next life, as far as it can be compared."""
    journaling, _ = begin(_everything(folder, Ask()).plan(), Journal(folder / "run.db"))
    journaling.store.close(False)
    past = journaling.past
    answers = {
        node: {seq: (a.value, a.attempts, a.ended and (a.ended.status, str(a.ended.error))) for seq, a in of.items()}
        for node, of in past.answers.items()
    }
    parked = {node: {seq: state for seq, (state, _) in of.items()} for node, of in past.parked.items()}
    rest = (past.first, past.done, past.counts, past.row, past.batches, past.joins, past.written, past.places)
    return answers, parked, rest, past.crowd, past.again


def test_a_bit_that_flips_anywhere_is_told_or_changes_nothing(tmp_path: Path) -> None:
    path, ask = tmp_path / "run.db", Ask(150)
    run = _everything(tmp_path, ask).start(journal=path)
    assert ask.enough.wait(20.0)
    run.abort("enough")
    assert run.wait().state == "aborted"
    expected, whole = _left(tmp_path), path.read_bytes()
    assert all(expected[:2])
    chance, told = random.Random(4), 0
    for _ in range(80):
        at, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        damaged = bytearray(whole)
        damaged[at] ^= bit
        for old in tmp_path.glob("run.db*"):
            old.unlink()
        path.write_bytes(damaged)
        try:
            left = _left(tmp_path)
        except ConfigError:
            told += 1
        else:
            assert left == expected, f"byte {at}, bit {bit}"
    assert told > 8


def test_what_people_look_at_is_told_to_be_damaged_too(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    Pipeline("job").source(range(50)).map(Breaks()).run(journal=path)
    whole = path.read_bytes()
    at = whole.index(b"\x81\xa1n\x07")
    path.write_bytes(whole[: at + 3] + b"\x08" + whole[at + 4 :])
    file = look_into(str(path))
    with pytest.raises(Damaged, match="its table 'answer'"):
        list(export(file))
    file.close()


FULL = """
import resource, signal, sys
from headrace.runtime import Pipeline, RunFailed, sinks
if int(sys.argv[1]):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
calls = []
def ask(row):
    calls.append(row)
    return row
pipeline = Pipeline("job", window=100).source([{"n": n, "text": "x" * int(sys.argv[3])} for n in range(2000)])
pipeline = pipeline.map(ask, workers=2) if sys.argv[2] == "map" else pipeline.tap(ask, workers=2)
try:
    pipeline.sink(sinks.jsonl("out.jsonl")).run(journal="run.db")
except RunFailed as failed:
    print(len(calls), failed)
    sys.exit(1)
print(len(calls))
"""


@pytest.mark.parametrize(("kind", "what"), [("map", "run.db: cannot be written"), ("tap", "OSError: .*too large")])
def test_no_room_for_files_ends_the_run_and_the_next_one_finishes_it(tmp_path: Path, kind: str, what: str) -> None:
    """Whichever file is the first to fill: the journal, where it has answers, or the output."""
    size = 500 if kind == "map" else 3000

    def run(full: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", FULL, str(full), kind, str(size)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)

    full = run(1)
    assert full.returncode == 1, full.stderr
    assert re.search(what, full.stdout), full.stdout
    more = run(0)
    assert more.returncode == 0, more.stderr
    assert rows_in(tmp_path / "out.jsonl") == [{"n": n, "text": "x" * size} for n in range(2000)]
    # What was answered and was not durable is called again: no more than the window has.
    assert int(full.stdout.split()[0]) + int(more.stdout.split()[0]) <= 2000 + 100


@pytest.mark.parametrize("what", ["journal", "output", "table"])
def test_a_folder_that_vanishes_under_a_run_ends_it(tmp_path: Path, what: str) -> None:
    """A system writes on to a file that nobody can find any more."""
    for name in ("journal", "output", "table"):
        (tmp_path / name).mkdir()

    def ask(row: int) -> dict[str, int]:
        if row == 300:
            # In one step: while `rmtree` goes through a folder, SQLite may put another file into it.
            (tmp_path / what).rename(tmp_path / "gone")
            shutil.rmtree(tmp_path / "gone")
        return {"n": row}

    pipeline = Pipeline("job", window=50).source(range(2000)).map(ask, workers=1)
    pipeline = pipeline.route(lambda row: "odd" if row["n"] % 2 else None, name="way", odd=_into_a_table(tmp_path))
    # SQLite sees to it itself, where it must make a file beside the table's.
    with pytest.raises(RunFailed, match=f"{what}.*(was removed or replaced while it was written|readonly)|I/O error"):
        pipeline.sink(sinks.jsonl(tmp_path / "output" / "out.jsonl")).run(journal=tmp_path / "journal" / "run.db")
    assert not (tmp_path / what).exists(), "nothing is begun anew"


def _into_a_table(folder: Path) -> Callable[[Any], Any]:
    return lambda flow: flow.sink(sinks.sqlite(folder / "table" / "out.db", "odd"))
