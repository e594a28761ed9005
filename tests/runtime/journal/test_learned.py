"""What was found out of a limit is kept with a run's journal, and its next life begins with it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.journal.conftest import versioned

from headrace.actors import protocol
from headrace.actors.protocol import Budget, Key, Lessons, LimitLearned, Prior
from headrace.runtime import Journal, Limit, Pending, Pipeline, RateLimited
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.audit import examine, export
from headrace.runtime.journal.explain import explain, runs
from headrace.runtime.journal.kept_run import KeptRun
from headrace.runtime.journal.mistakes import Damaged
from headrace.runtime.journal.records import Records
from headrace.runtime.journal.stores import hold, look_into
from headrace.runtime.journal.values.learned import KEY_MAX, STALE_S, decode_priors, encode_priors

JOB = '''
"""A job against a server that lets 200 calls a second in. Told "die", it kills itself when something that it has found
out is durable."""
import json, os, signal, sqlite3, sys, threading, time
from headrace.runtime import Limit, Pipeline, RateLimited

journal, die = sys.argv[1], sys.argv[2] == "die"

class Server:
    version = "1"

    def __init__(self):
        self.lock, self.level, self.at, self.refused, self.looked = threading.Lock(), 5.0, time.monotonic(), 0, 0.0

    def __call__(self, row):
        with self.lock:
            now = time.monotonic()
            self.level, self.at = min(5.0, self.level + (now - self.at) * 200.0), now
            let_in = self.level >= 1.0
            self.level -= let_in
            self.refused += not let_in
            if die and now > self.looked + 0.05:
                self.looked = now
                with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as db:
                    if db.execute("SELECT count(*) FROM learned").fetchone()[0]:
                        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        if not let_in:
            raise RateLimited()
        return row

server = Server()
pipeline = Pipeline("job").source(range(100_000)).map(server, name="ask", workers=32, limit=Limit(name="api"))
run = pipeline.start(journal=journal)
begins_with = run.stats().stages[0].limit.learned_per_s
time.sleep(30.0 if die else 2.0)
run.drain()
report = run.wait()
print(json.dumps({"begins_with": begins_with, "refused": server.refused, "state": report.state}))
'''


def life(folder: Path, how: str) -> dict[str, Any] | None:
    """A process of its own; None: it was killed."""
    script = folder / "job.py"
    script.write_text(JOB)
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "run.db"), how], capture_output=True, text=True, timeout=50
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def looked_into(path: Path) -> Records:
    return look_into(str(path))


def learned_in(path: Path) -> list[dict[str, Any]]:
    """The records of an export, which is what it says that it is."""
    file = looked_into(path)
    try:
        lines = list(export(file))
    finally:
        file.close()
    assert examine(lines).records == len(lines)
    return [found for line in lines if (found := json.loads(line)["record"])["type"] == "learned"]


def past_of(path: Path) -> Any:
    file = hold(str(path), new=False)
    try:
        return KeptRun(file, file.runs()[0].id, {}).past()
    finally:
        file.close()


def test_a_life_begins_with_what_the_one_before_it_had_found_out_also_where_that_was_killed(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    gentle = life(fresh, "live")
    assert gentle is not None
    assert gentle["begins_with"] is None
    assert life(tmp_path, "die") is None
    (found,) = learned_in(tmp_path / "run.db")
    assert (found["limit"], found["shared"], found["stated"]) == ("api", True, "")
    second = life(tmp_path, "live")
    assert second is not None
    assert second["state"] == "drained"
    assert second["begins_with"] == pytest.approx(found["priors"][0]["rate"], rel=0.1), "it does not begin gently"


def refused_once(row: int, _seen: set[int] = set()) -> int:  # noqa: B006
    """In each process, and each test that clears it."""
    if row == 20 and row not in _seen:
        _seen.add(row)
        raise RateLimited(retry_after=0.01)
    time.sleep(0.001)
    return row


def once() -> Any:
    """A function whose first call of row 20 is refused."""
    seen: set[int] = set()
    return versioned(lambda row: refused_once(row, seen))


def test_the_end_of_a_run_writes_it_down_and_each_limit_has_one_record(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    for _ in range(2):
        ask = once()
        report = (
            Pipeline("job")
            .source(range(200))
            .map(ask, name="ask", workers=2)
            .tap(once(), name="look", limit=Limit(name="api"))
            .tap(once(), name="again", limit=Limit(name="api"))
            .run(journal=path)
        )
        assert report.state == "completed"
    found = learned_in(path)
    assert sorted((one["limit"], one["shared"]) for one in found) == [("api", True), ("ask", False)]
    assert all(one["priors"][0]["rate"] > 0 for one in found)
    file = looked_into(path)
    try:
        assert [(line.lives, line.done, line.total) for line in runs(file)] == [(2, 200, 200)]
        assert explain(file, 20).outcome == "delivered"
    finally:
        file.close()


def test_a_suspended_run_and_an_aborted_one_write_it_down(tmp_path: Path) -> None:
    def ask(row: int) -> int:
        if row == 199:
            raise Pending(60.0)
        return int(inner(row))

    inner = once()
    pipeline = Pipeline("job").source(range(200)).map(versioned(ask), name="ask", workers=2)
    assert pipeline.run(journal=tmp_path / "run.db", suspend_after=0.02).state == "suspended"
    assert [one["limit"] for one in learned_in(tmp_path / "run.db")] == ["ask"]
    far = threading.Event()
    last = once()

    def stop(row: int) -> int:
        if row == 150:
            far.set()
        return int(last(row))

    run = Pipeline("job").source(range(100_000)).map(versioned(stop), name="ask").start(journal=tmp_path / "other.db")
    far.wait(30.0)
    run.abort("enough")
    assert run.wait().state == "aborted"
    assert [one["limit"] for one in learned_in(tmp_path / "other.db")] == ["ask"]


def test_where_nothing_was_found_out_nothing_is_written(tmp_path: Path) -> None:
    pipeline = Pipeline("job").source(range(100)).map(versioned(lambda row: row), limit="1000000/s")
    pipeline.run(journal=tmp_path / "run.db")
    assert learned_in(tmp_path / "run.db") == []


# --- what is written --------------------------------------------------------------------------------------------------

PRIORS: dict[Key, Prior] = {
    None: Prior(rate=0.97),
    "tenant": Prior(rate=47.5, sure=False, in_flight=12),
    7: Prior(chance=0.25),
    ("a", (1, True), b"\xff"): Prior(until_s=50.0),
    2.5: Prior(in_flight=3),
}


def test_priors_come_back_as_they_were_by_another_clock() -> None:
    back = decode_priors(encode_priors(PRIORS, 1000.0, keys=True), 1000.0)
    assert back == PRIORS
    later = decode_priors(encode_priors(PRIORS, 1000.0, keys=True), 990.0)
    assert later["a", (1, True), b"\xff"] == Prior(until_s=60.0), "a clock that began ten seconds earlier"


@pytest.mark.parametrize("key", [object(), frozenset({1}), 1 << 70, "\ud800", "k" * KEY_MAX, ("a", object())])
def test_a_key_that_cannot_be_kept_is_left_out(key: Any) -> None:
    kept = encode_priors({key: Prior(rate=1.0), "well": Prior(rate=2.0)}, 0.0, keys=True)
    assert decode_priors(kept, 0.0) == {"well": Prior(rate=2.0)}


def test_keys_are_left_out_where_nothing_of_the_rows_is_to_be_in_the_file() -> None:
    assert decode_priors(encode_priors(PRIORS, 0.0, keys=False), 0.0) == {None: Prior(rate=0.97)}


API = Budget("api", shared=True)


def stored(path: Path, *entries: Any, options: Journal | None = None) -> None:
    """Commits, one after another, to the journal of a run."""
    if not path.exists():
        Pipeline("job").source([1]).run(journal=path)
    file = hold(str(path))
    store = KeptRun(file, file.runs()[0].id, {}, options)
    store.past()
    for entry in entries:
        store.commit([entry])
    store.close(False)


def of(rate: float, at_s: float) -> LimitLearned:
    return LimitLearned(API, Lessons("200.0 calls/s", {"key": Prior(rate=rate)}), at_s)


def test_the_latest_word_is_what_is_kept_and_is_tallied_L64(tmp_path: Path) -> None:
    path, now = tmp_path / "run.db", time.monotonic()
    stored(path, of(0.5, now), of(0.75, now), LimitLearned(Budget("api"), Lessons("", {None: Prior(rate=9.0)}), now))
    stored(path, of(0.25, now))
    learned = past_of(path).learned
    assert learned[API] == of(0.25, now).lessons
    assert learned[Budget("api")].priors == {None: Prior(rate=9.0)}, "a stage of the same name has its own"
    assert len(learned_in(path)) == 2
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DELETE FROM learned WHERE shared = 1")
    db.close()
    file = looked_into(path)
    with pytest.raises(Damaged, match="its table 'learned' has 1 rows of the run, and 2 were written"):
        list(export(file))
    file.close()


def test_what_was_found_out_too_long_ago_says_nothing(tmp_path: Path) -> None:
    path, now = tmp_path / "run.db", time.monotonic()
    stored(path, of(0.5, now - STALE_S + 60.0))
    assert past_of(path).learned
    stored(path, of(0.5, now - STALE_S - 60.0))
    assert not past_of(path).learned


def test_a_discreet_journal_keeps_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    stored(path, of(0.5, time.monotonic()), options=Journal(payloads="never"))
    assert past_of(path).learned[API].priors == {}
    assert b"key" not in path.read_bytes().replace(b"key TEXT", b"").replace(b"PRIMARY KEY", b"").replace(b"keys", b"")


# --- journals of before -----------------------------------------------------------------------------------------------


def of_before(path: Path) -> None:
    """As a journal is that was written before anything of the kind was."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TABLE learned")
    db.execute("DROP TABLE spent")
    db.execute("DROP TABLE noted")
    db.execute("PRAGMA user_version = 2")
    db.close()


def test_a_journal_of_before_is_read_as_before_and_goes_on(tmp_path: Path) -> None:
    path, stop = tmp_path / "run.db", [True]
    calls: list[int] = []

    def ask(row: int) -> int:
        if row == 30 and stop:
            raise ValueError("stop")
        calls.append(row)
        return row

    def run() -> Any:
        return (
            Pipeline("job")
            .source(range(60))
            .map(versioned(ask), name="ask", retry=1, on_error="fail")
            .run(journal=path)
        )

    with pytest.raises(Exception, match="stop"):
        run()

    def told() -> Any:
        file = looked_into(path)
        try:
            lines = list(export(file))
            assert examine(lines).records == len(lines)
            return runs(file), explain(file, 0), lines
        finally:
            file.close()

    before = told()
    of_before(path)
    whole = path.read_bytes()
    assert told() == before
    assert path.read_bytes() == whole, "who looks changes nothing"
    stop.clear()
    assert run().delivered == 60
    assert sorted(set(calls)) == list(range(60))
    assert learned_in(path) == []
    assert version_of(path) == 2, "there was nothing to write"
    stored(path, of(0.5, time.monotonic()))
    assert version_of(path) == 4
    assert [one["limit"] for one in learned_in(path)] == ["api"]


def test_a_journal_of_before_whose_tables_are_not_those_of_then_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    Pipeline("job").source([1]).run(journal=path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ConfigError, match="its tables are not what they were made as"):
        looked_into(path)
    of_before(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(ConfigError, match="its tables are not what they were made as"):
        looked_into(path)


def version_of(path: Path) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
    finally:
        db.close()


def test_a_commit_that_fails_leaves_a_journal_of_before_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    Pipeline("job").source([1]).run(journal=path)
    of_before(path)
    file = hold(str(path))
    store = KeptRun(file, file.runs()[0].id, {})
    store.past()
    with pytest.raises(AssertionError, match="a journal has no Start"):
        store.commit([of(0.5, 0.0), protocol.Start()])
    file.close()
    assert version_of(path) == 2
    assert learned_in(path) == []
