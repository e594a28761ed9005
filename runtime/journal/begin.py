"""A run with a journal begins, or goes on: the same, whether it is new or was killed."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from typing import Any, NoReturn

import msgspec

from headrace.actors.outlets import branch_of_answer
from headrace.runtime.contracts import item_of, signature_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.plan import QUARANTINE, SOURCE, Plan, StagePlan

from .codec import Values
from .fingerprint import Fingerprint, differences, fingerprint_of
from .port import COMMIT_S, Journaling
from .sqlite import JournalFile, SqliteStore, wrong


def begin(
    plan: Plan,
    path: str | os.PathLike[str],
    accept_changes: bool = False,
    commit_s: float = COMMIT_S,
    origin: str | None = None,
) -> tuple[Journaling, str]:
    """The journal at `path`, with what it has of this pipeline, and the key of the run. `origin`: the file that describes
    the pipeline. Raises `ConfigError`."""
    whole = next((sink for sink in plan.sinks if sink.whole), None)
    if whole is not None:
        raise ConfigError("a stream has no journal: what its reader has taken, nobody can say after a crash")
    if any(node.name in (QUARANTINE, SOURCE) for node in plan.nodes):
        raise ConfigError(
            f"in a journal, {QUARANTINE!r} and {SOURCE!r} are names of their own: name the node otherwise"
        )
    now = fingerprint_of(plan, plan.source(_no_loop))
    file = JournalFile(os.fspath(path))
    try:
        run, key = _run_of(file, plan.name, now, accept_changes, origin)
        store = SqliteStore(file, run, {stage.name: values_of(stage) for stage in plan.stages})
        past = store.past()
        _new_life(file, run)
    except ConfigError:
        file.close()
        raise
    except sqlite3.Error as error:
        file.close()
        raise ConfigError(f"{file.path}: {wrong(error)}") from error
    except Exception as error:
        # What was read is not what was written.
        file.close()
        raise ConfigError(
            f"{file.path}: is damaged ({type(error).__name__}: {error}); nothing was changed. Restore it from a copy"
        ) from error
    return Journaling(store, past, commit_s), key


def _no_loop() -> NoReturn:
    raise AssertionError("a source that is only looked at needs no loop")


def _run_of(
    file: JournalFile, name: str, now: Fingerprint, accept_changes: bool, origin: str | None
) -> tuple[int, str]:
    db = file.db
    found = db.execute(
        "SELECT id, key, fingerprint FROM run WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)
    ).fetchone()
    text = msgspec.json.encode(now).decode()
    if found is None:
        key = uuid.uuid4().hex
        insert = "INSERT INTO run (key, name, began, fingerprint, origin) VALUES (?,?,?,?,?)"
        number = db.execute(insert, (key, name, time.time(), text, origin)).lastrowid
        assert number is not None
        return number, key
    number, key, before = found
    # As it comes back from JSON, for a tuple is a list there.
    changed = differences(*(msgspec.json.decode(told, type=Fingerprint) for told in (before, text)))
    if changed and not accept_changes:
        raise ConfigError(
            f"{file.path}: the run {name!r} in it was another work:\n"
            + "".join(f"  {what}\n" for what in changed)
            + "go on all the same with --accept-changes (accept_changes=True), or name another journal"
        )
    if changed:
        db.execute("UPDATE run SET fingerprint = ? WHERE id = ?", (text, number))
    return number, key


def _new_life(file: JournalFile, run: int) -> None:
    insert = "INSERT INTO life (run, n, began) VALUES (?1, (SELECT count(*) + 1 FROM life WHERE run = ?1), ?2)"
    file.db.execute(insert, (run, time.time()))


def values_of(stage: StagePlan) -> Values:
    """How the answers of a stage are written down."""
    gives: Any = signature_of(stage.function).gives
    match stage.kind:
        case "filter":
            return Values(stage.name, None, bool)
        case "route":
            return Values(stage.name, None, _way)
        case "tap":
            return Values(stage.name, None, lambda _: None)
        case "flat_map":
            item = item_of(gives)
            return Values(stage.name, list[item] if item is not None else None)  # type: ignore[valid-type]
        case _:
            return Values(stage.name, gives)


def _way(said: Any) -> str | None:
    return branch_of_answer(said) if said is not None else None
