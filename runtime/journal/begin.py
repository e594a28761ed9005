"""A run with a journal begins, or goes on: the same, whether it is new or was killed."""

from __future__ import annotations

import os
import shlex
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec
from loguru import logger

from headrace.actors.edges.operators import branch_of_answer
from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.errors import ConfigError
from headrace.runtime.graph.plan import QUARANTINE, SOURCE, Plan, StagePlan
from headrace.runtime.rows.contracts import item_of, signature_of

from .memory import Memory
from .options import Journal
from .port import Journaling
from .requeue import Again
from .sqlite.file import JournalFile, RunRow, in_words
from .sqlite.schema import TALLIED
from .sqlite.store import SqliteStore
from .values.columns import Values
from .work.fingerprint import Fingerprint, differences, fingerprint_of


def begin(
    plan: Plan,
    options: Journal,
    accept_changes: bool = False,
    origin: str | None = None,
    again: Again | None = None,
) -> tuple[Journaling, str]:
    """The journal, with what it has of this pipeline, and the key of the run. Raises `ConfigError`.

    `accept_changes`: go on although the work is another one; how it is another one is logged. `origin`: the file that
    describes the pipeline. `again`: rows in quarantine that are to be tried again; functions may have been mended then.
    """
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
    if now.opaque:
        logger.warning(
            "the journal cannot see whether these change, for they cannot be read: {}; give the functions that hold them a "
            "`version`",
            ", ".join(now.opaque),
        )
    file = JournalFile(os.fspath(options.path))
    try:
        with in_words(file.path):
            run, changed = _run_of(file, plan.name, now, accept_changes, origin, again)
            file.check_tally(run.id, TALLIED if file.is_small else [name for name in TALLIED if name != "answer"])
            store = SqliteStore(file, run.id, {stage.name: values_of(stage, options) for stage in plan.stages}, options)
            if not accept_changes:
                _verify_source(file, run.id, source)
            past = store.past(again, changed.kinds, changed.run, accept_changes)
            memory = Memory(file.path, run.id, accept_changes) if not getattr(source, "placed", False) else None
            if memory is not None:
                store.given = memory.taken
            before = file.spent_by_life(run.id)
            life = len(file.lives_of(run.id)) + 1
            file.save_life(run.id, life, time.time())
    except BaseException:
        file.close()
        raise

    def withdraw() -> None:
        if life == 1:
            store.close(False)
            return
        try:
            # A life that could not begin does not change what is told of the run: it was complete, perhaps (L65).
            file.drop_life(run.id, life)
        finally:
            file.close()

    holds = options.sync == "row"
    within_s = 0.0 if holds else float(options.within)
    remembering = memory.remembering if memory is not None else None
    if run.origin is not None:
        go_on = f"go on with `headrace resume {shlex.quote(file.path)}`"
    else:
        go_on = f"run it again with the journal {file.path}, with which it goes on"
    return Journaling(store, past, within_s, holds, remembering, before, go_on, withdraw), run.key


def _no_loop() -> NoReturn:
    raise AssertionError("a source that is only looked at needs no loop")


class _Changed(NamedTuple):
    """`run`: the run as it is from now on; None: as it was. `kinds`: nodes whose answers mean something else now."""

    run: RunRow | None = None
    kinds: Sequence[str] = ()


def _run_of(
    file: JournalFile, name: str, now: Fingerprint, accept_changes: bool, origin: str | None, again: Again | None
) -> tuple[RunRow, _Changed]:
    found = file.run_named(name)
    text = msgspec.json.encode(now).decode()
    home, folder = (os.path.dirname(os.path.realpath(file.path)), os.getcwd()) if origin is not None else (None, None)
    if found is None:
        if again is not None:
            raise ConfigError(f"{file.path}: has no run {name!r}; nothing was marked")
        number = max((run.id for run in file.runs()), default=0) + 1
        run = RunRow(number, uuid.uuid4().hex, name, time.time(), text, origin, folder, home)
        file.save_run(run)
        return run, _Changed()
    if now.source.get("stream") and not accept_changes:
        _refuse_stream(file, found, now.source)
    # As it comes back from JSON, for a tuple is a list there.
    before, after = (msgspec.json.decode(told, type=Fingerprint) for told in (found.fingerprint, text))
    changed = differences(before, after)
    other = [each for each in changed if not (again is not None and each.mended)]
    if other and not accept_changes:
        raise ConfigError(
            f"{file.path}: the run {name!r} in it was another work:\n"
            + "".join(f"  {each.text}\n" for each in other)
            + ("nothing was marked; " if again is not None else "")
            + "go on all the same with --accept-changes (accept_changes=True), or name another journal"
        )
    if changed:
        what = "was mended" if not other else "is accepted as another work"
        logger.warning("{} {}:\n{}", name, what, "\n".join(f"  {each.text}" for each in changed))
    renewed = msgspec.structs.replace(found, fingerprint=text)
    if origin is not None:
        renewed = msgspec.structs.replace(renewed, origin=origin, folder=folder, home=home)
    kinds = [key for key, node in after.nodes.items() if key in before.nodes and before.nodes[key].kind != node.kind]
    return found, _Changed(renewed if renewed != found else None, kinds)


def _refuse_stream(file: JournalFile, run: RunRow, source: dict[str, object]) -> None:
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


def values_of(stage: StagePlan, options: Journal | None = None) -> Values:
    """How the answers of a stage are written down."""
    gives: object = signature_of(stage.function).gives
    match stage.kind:
        case "filter":
            return Values(stage.name, None, bool)
        case "route":
            return Values(stage.name, None, _way)
        case "tap":
            return Values(stage.name, None, lambda _: None)
        case "flat_map":
            item = item_of(gives)
            kind: object = list[item] if item is not None else None  # type: ignore[valid-type]
            return Values(stage.name, kind, None, options)
        case _:
            return Values(stage.name, gives, None, options)


def _way(said: object) -> str | None:
    return branch_of_answer(said) if said is not None else None
