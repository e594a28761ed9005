"""A run with a journal begins, or goes on: the same, whether it is new or was killed."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any, NoReturn

import msgspec

from headrace.actors.outlets import branch_of_answer
from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.contracts import item_of, signature_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.plan import QUARANTINE, SOURCE, Plan, StagePlan

from .codec import Values
from .file import JournalFile, RunRow, damaged, in_words
from .fingerprint import Fingerprint, differences, fingerprint_of
from .options import Journal
from .port import Journaling
from .sqlite import SqliteStore


def begin(
    plan: Plan, options: Journal, accept_changes: bool = False, origin: str | None = None
) -> tuple[Journaling, str]:
    """The journal, with what it has of this pipeline, and the key of the run. `origin`: the file that describes the
    pipeline. Raises `ConfigError`."""
    if options.path is None:
        raise ConfigError("a journal needs a path: the file that it is kept in")
    whole = next((sink for sink in plan.sinks if sink.whole), None)
    if whole is not None:
        raise ConfigError("a stream has no journal: what its reader has taken, nobody can say after a crash")
    if any(node.name in (QUARANTINE, SOURCE) for node in plan.nodes):
        raise ConfigError(
            f"in a journal, {QUARANTINE!r} and {SOURCE!r} are names of their own: name the node otherwise"
        )
    source = plan.source(_no_loop)
    now = fingerprint_of(plan, source)
    file = JournalFile(os.fspath(options.path))
    try:
        with in_words(file.path):
            run, key = _run_of(file, plan.name, now, accept_changes, origin)
            store = SqliteStore(file, run, {stage.name: values_of(stage, options) for stage in plan.stages}, options)
            past = store.past()
            if not accept_changes:
                _verify_source(file, run, source)
            _new_life(file, run)
    except ConfigError:
        file.close()
        raise
    except Exception as error:
        # What was read is not what was written.
        file.close()
        raise damaged(file.path, f"{type(error).__name__}: {error}") from error
    holds = options.sync == "row"
    return Journaling(store, past, 0.0 if holds else float(options.within), holds), key


def _no_loop() -> NoReturn:
    raise AssertionError("a source that is only looked at needs no loop")


def _run_of(
    file: JournalFile, name: str, now: Fingerprint, accept_changes: bool, origin: str | None
) -> tuple[int, str]:
    found = file.run_named(name)
    text = msgspec.json.encode(now).decode()
    if found is None:
        number = max((run.id for run in file.runs()), default=0) + 1
        run = RunRow(number, uuid.uuid4().hex, name, time.time(), text, origin)
        file.save_run(run)
        return run.id, run.key
    if now.source.get("stream") and not accept_changes:
        _refuse_stream(file, found, now.source)
    # As it comes back from JSON, for a tuple is a list there.
    changed = differences(*(msgspec.json.decode(told, type=Fingerprint) for told in (found.fingerprint, text)))
    if changed and not accept_changes:
        raise ConfigError(
            f"{file.path}: the run {name!r} in it was another work:\n"
            + "".join(f"  {what}\n" for what in changed)
            + "go on all the same with --accept-changes (accept_changes=True), or name another journal"
        )
    if changed:
        file.save_run(msgspec.structs.replace(found, fingerprint=text))
    return found.id, found.key


def _refuse_stream(file: JournalFile, run: RunRow, source: dict[str, Any]) -> None:
    """What a stream gives now cannot be told from what it gave to an earlier life, nor is that to be had again (L87)."""
    known = ("settled", "answer", "ended", "parked", "batch")
    if not any(
        file.db.execute(f"SELECT 1 FROM {table} WHERE run = ? LIMIT 1", (run.id,)).fetchone() for table in known
    ):
        # Nothing came of what was read, so it may as well begin now.
        return
    name, progress = source.get("name"), file.progress_of(run.id)
    if progress.total is not None and progress.mark >= progress.total:
        raise ConfigError(
            f"{file.path}: the run {run.name!r} in it is complete, and nobody can tell whether {name}, which is a stream, "
            "has the same rows again or new ones: for new rows name another journal; if they are the same, nothing is "
            "left to do"
        )
    raise ConfigError(
        f"{file.path}: the run {run.name!r} in it read {name}, which is a stream: what was read is gone, and nobody can "
        "tell whether the same rows come again. Write the rows to a file first, and run that with a new journal; or, if "
        "the same rows come again from the first on, go on with --accept-changes (accept_changes=True)"
    )


def _verify_source(file: JournalFile, run: int, source: SourceConnector) -> None:
    """Whether what earlier lives have read is still what it was (L88): up to the last place that is known."""
    verify = getattr(source, "verify", None)
    places = [place for _, _, place in file.read("read", "run = ?", (run,), "row") if place is not None]
    if verify is None or not places:
        return
    what = verify(msgspec.msgpack.decode(places[-1]))
    if what is not None:
        raise ConfigError(
            f"{file.path}: the run in it was another work:\n  source: {what}\n"
            "go on all the same with --accept-changes (accept_changes=True), or name another journal"
        )


def _new_life(file: JournalFile, run: int) -> None:
    insert = "INSERT INTO life (run, n, began) VALUES (?1, (SELECT count(*) + 1 FROM life WHERE run = ?1), ?2)"
    file.db.execute(insert, (run, time.time()))


def values_of(stage: StagePlan, options: Journal | None = None) -> Values:
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
            kind: Any = list[item] if item is not None else None  # type: ignore[valid-type]
            return Values(stage.name, kind, None, options)
        case _:
            return Values(stage.name, gives, None, options)


def _way(said: Any) -> str | None:
    return branch_of_answer(said) if said is not None else None
