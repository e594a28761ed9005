"""A run with a journal begins, or goes on: the same, whether it is new or was killed."""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec
from loguru import logger

from headrace.runtime.connectors.port import SourceConnector
from headrace.runtime.errors import ConfigError
from headrace.runtime.graph.nodes.calls import StagePlan
from headrace.runtime.graph.plan import QUARANTINE, SOURCE, Plan

from .kept_run import KeptRun
from .mistakes import in_words
from .options import Journal
from .port import Commands, Journaling
from .records import HeldRecords, Records, RunRow
from .requeue import Again, ended_before
from .row_digests import RowDigests
from .stores import hold
from .tables import TALLIED
from .values.columns import Values
from .work.fingerprint import Fingerprint, differences, fingerprint_of


def begin(
    plan: Plan,
    options: Journal,
    *,
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
    _check(plan)
    source = plan.source(_no_loop)
    now = fingerprint_of(plan, source)
    for node in plan.nodes:
        if node.state == "lost":
            raise ConfigError(
                f"{node.name!r} is a {node.kind}, which knows rows that came before, and cannot tell the journal of them: "
                f"after a resume it would be wrong; run it without a journal"
            )
    if now.opaque:
        logger.warning(
            "the journal cannot see whether these change, for they cannot be read: {}; give the functions that hold them a "
            "`version`",
            ", ".join(now.opaque),
        )
    journal = hold(options.path)
    try:
        with in_words(journal.name):
            run, changed = _run_of(journal, plan.name, now, accept_changes=accept_changes, origin=origin, again=again)
            journaling = _opened(
                journal, run, changed, plan, options, source, accept_changes=accept_changes, again=again
            )
    except BaseException:
        journal.close()
        raise
    return journaling, run.key


def _check(plan: Plan) -> None:
    """Whether it is a pipeline that a journal can be kept of."""
    whole = next((sink for sink in plan.sinks if sink.whole), None)
    if whole is not None:
        raise ConfigError("a stream has no journal: what its reader has taken, nobody can say after a crash")
    if any(node.name in (QUARANTINE, SOURCE) for node in plan.nodes):
        raise ConfigError(
            f"in a journal, {QUARANTINE!r} and {SOURCE!r} are names of their own: name the node otherwise"
        )


def _opened(
    journal: HeldRecords,
    run: RunRow,
    changed: _Changed,
    plan: Plan,
    options: Journal,
    source: SourceConnector,
    *,
    accept_changes: bool,
    again: Again | None,
) -> Journaling:
    """The run with what is left to it, and its next life begun."""
    # Of a large journal, answers of rows that are done are not looked at again.
    journal.check_tally(run.id, TALLIED if journal.store.is_small else [name for name in TALLIED if name != "answer"])
    kept = KeptRun(journal, run.id, {stage.name: values_of(stage, options) for stage in plan.stages}, options)
    _recall_reads(journal, run.id, source)
    if not accept_changes:
        _verify_source(journal, run.id, source)
    past = kept.past(again, changed.kinds, changed.run, other_rows=accept_changes)
    digests = (
        RowDigests(os.fspath(options.path or journal.name), run.id, anew=accept_changes)
        if not getattr(source, "placed", False)
        else None
    )
    if digests is not None:
        kept.given = digests.taken
    before, ended = journal.spent_by_life(run.id), ended_before(journal, run.id, again)
    life = len(journal.lives_of(run.id)) + 1
    kept.begin_life()
    holds = options.sync == "row"
    return Journaling(
        store=kept,
        past=past,
        within_s=0.0 if holds else float(options.within),
        holds=holds,
        remembering=digests.remembering if digests is not None else None,
        spent=before,
        go_on=_go_on(journal.name, run),
        commands=_commands(journal.name, run),
        life=life,
        ended=ended,
        withdraw=kept.withdraw,
    )


def _go_on(name: str, run: RunRow) -> str:
    if run.origin is not None:
        return f"go on with `headrace resume {shlex.quote(name)}`"
    return f"run it again with the journal {name}, with which it goes on"


def _commands(name: str, run: RunRow) -> Commands:
    quoted, known = shlex.quote(name), run.origin is not None
    resume = f"headrace resume {quoted}" if known else f"run it again with the journal {name}, with which it goes on"
    return Commands(resume, f"headrace retry {quoted}" if known else None, f"headrace explain {quoted}")


def _no_loop() -> NoReturn:
    raise AssertionError("a source that is only looked at needs no loop")


class _Changed(NamedTuple):
    """`run`: the run as it is from now on; None: as it was. `kinds`: nodes whose answers mean something else now."""

    run: RunRow | None = None
    kinds: Sequence[str] = ()


def _run_of(
    journal: HeldRecords, name: str, now: Fingerprint, *, accept_changes: bool, origin: str | None, again: Again | None
) -> tuple[RunRow, _Changed]:
    found = journal.run_named(name)
    text = msgspec.json.encode(now).decode()
    path = journal.reader.path
    home = os.path.dirname(os.path.realpath(path)) if origin is not None and path is not None else None
    folder = os.getcwd() if origin is not None else None
    if found is None:
        if again is not None:
            raise ConfigError(f"{journal.name}: has no run {name!r}; nothing was marked")
        number = max((run.id for run in journal.runs()), default=0) + 1
        run = RunRow(number, uuid.uuid4().hex, name, journal.reader.now(), text, origin, folder, home)
        with journal.store.transaction():
            journal.save_run(run)
        return run, _Changed()
    if now.source.get("stream") and not accept_changes:
        _refuse_stream(journal, found, now.source)
    # As it comes back from JSON, for a tuple is a list there.
    before, after = (msgspec.json.decode(told, type=Fingerprint) for told in (found.fingerprint, text))
    changed = differences(before, after)
    other = [each for each in changed if not (again is not None and each.mended)]
    if other and not accept_changes:
        raise ConfigError(
            f"{journal.name}: the run {name!r} in it was another work:\n"
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


def _refuse_stream(journal: Records, run: RunRow, source: dict[str, object]) -> None:
    """What a stream gives now cannot be told from what it gave to an earlier life, nor is that to be had again (L87)."""
    known = ("settled", "answer", "ended", "parked", "batch")
    if not any(next(journal.read(table, run.id, limit=1), None) for table in known):
        # Nothing came of what was read, so it may as well begin now.
        return
    name, progress = source.get("name"), journal.progress_of(run.id)
    if progress.total is not None and progress.mark >= progress.total:
        raise ConfigError(
            f"{journal.name}: the run {run.name!r} in it is complete, and nobody can tell whether {name}, which is a "
            "stream, has the same rows again or new ones: for new rows name another journal; if they are the same, "
            "nothing is left to do"
        )
    raise ConfigError(
        f"{journal.name}: the run {run.name!r} in it read {name}, which is a stream: what was read is gone, and nobody can "
        "tell whether the same rows come again. Write the rows to a file first, and run that with a new journal; or, if "
        "the same rows come again from the first on, go on with --accept-changes (accept_changes=True)"
    )


def _recall_reads(journal: Records, run: int, source: SourceConnector) -> None:
    """A source whose rows may be changed and removed is told what of it was read and is not done yet."""
    recall = getattr(source, "recall", None)
    if recall is not None:
        recall(list(map(msgspec.msgpack.decode, _places_of(journal, run))))


def _places_of(journal: Records, run: int) -> list[bytes]:
    found = sorted(journal.read("read", run), key=lambda record: record[1])
    return [place for _, _, place in found if place is not None]


def _verify_source(journal: Records, run: int, source: SourceConnector) -> None:
    """Whether what earlier lives have read is still what it was (L88): up to the last place that is known."""
    verify = getattr(source, "verify", None)
    places = _places_of(journal, run)
    if verify is None or not places:
        return
    what = verify(msgspec.msgpack.decode(places[-1]))
    if what is not None:
        raise ConfigError(
            f"{journal.name}: the run in it was another work:\n  source: {what}\n"
            "go on all the same with --accept-changes (accept_changes=True), or name another journal"
        )


def values_of(stage: StagePlan, options: Journal | None = None) -> Values:
    """How the answers of a stage are written down."""
    kind, counts = stage.keeps()
    return Values(stage.name, kind, counts, options)
