"""Runs with a journal, killed between any two messages and resumed, over random graphs; and what the checks must catch."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from headrace.actors.dedupe import Dedupe
from headrace.actors.joins.waiting import Waiting
from headrace.actors.journal import Journal
from headrace.actors.journaling import recovered as past_module
from headrace.actors.journaling.recovered import Recovered, past_of
from headrace.actors.journaling.stage_record import StageRecord
from headrace.actors.ledger import Ledger
from headrace.actors.reorder import Reorder
from headrace.actors.source import Source
from headrace.runtime.graph.nodes.batch import BatchPlan
from headrace.runtime.graph.nodes.join import JoinPlan
from headrace.runtime.graph.nodes.sink import SinkPlan
from headrace.runtime.journal.sqlite.store import SqliteStore
from headrace.runtime.run.io_actors import Writer
from headrace.runtime.run.wiring import _Assembly
from headrace.scenarios import lives
from headrace.scenarios.disk import Disk
from headrace.scenarios.kept_disk import KeptDisk, kept_in_memory
from headrace.scenarios.lives import Lived, live
from headrace.scenarios.quotas import QuotaTable
from headrace.scenarios.script import (
    LimitTable,
    PipelineTable,
    QuirkTable,
    Script,
    ServiceTable,
    SinkTable,
    SourceTable,
    StageTable,
    TroubleTable,
    find,
    read,
)
from tests.scenarios.mutants import Mutant, mutated, reject_if_vacuous
from tests.scenarios.random_graphs import random_graph

KILLS = 5
WRITES = [QuirkTable(does="writes", every=1)]
# What was about to be awaited when the process was killed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def graph_with_kills(seed: int, *, values: bool = True) -> Script:
    """A random graph in which nothing goes wrong for good but kills: so that each run can be done."""
    return tame(random_graph(seed, values=values), seed)


def batches_with_kills(seed: int) -> Script:
    """Batches by time, of rows that come at their own pace, and a sink that is slower than they are."""
    script, replace = tame(read(find("batches_by_key_in_a_small_window")), seed), msgspec.structs.replace
    stages = [replace(s, count=7, within=0.03, keys=None) if s.kind == "batch" else s for s in script.stage]
    sinks = [replace(sink, write=0.05, ordered=False) for sink in script.sink]
    return replace(script, source=replace(script.source, rows=60, every=0.01), stage=stages, sink=sinks)


def knotted(seed: int) -> Script:
    """Batches by key, of rows far apart, whose parts meet others in a join before an ordered sink: where a life is drained
    before all rows of a batch have come again, what hangs on them must wait for another life."""
    nodes: list[dict[str, Any]] = [
        {"name": "fork", "kind": "fork", "branches": ["a", "b"]},
        {"name": "batch", "kind": "batch", "after": ["fork.a"], "count": 5, "keys": 4},
        {"name": "ask", "service": "a", "workers": 4, "after": ["batch"]},
        {"name": "apart", "kind": "unbatch", "after": ["ask"]},
        {"name": "other", "service": "none", "workers": 4, "after": ["fork.b"]},
        {
            "name": "join",
            "kind": "join",
            "fork": "fork",
            "require": "best",
            "after": ["apart", "other"],
            "service": "none",
        },
    ]
    plain = [node for node in nodes if node["name"] in ("batch", "ask", "apart")] if seed % 2 else nodes
    if seed % 2:
        plain = [{**plain[0], "after": []}, *plain[1:]]
    return Script(
        "rows that are tied together",
        name="knotted",
        pipeline=PipelineTable(window=60, ordered=True),
        source=SourceTable(rows=60, every=0.01),
        stage=[StageTable(**node) for node in plain],
        sink=[SinkTable(name="sink")],
        service=[ServiceTable(name="a", latency=0.3)],
    )


def _passing(trouble: TroubleTable) -> TroubleTable:
    """Rows that are refused for ever, with longer and longer cooldowns, are no matter of kills; nor is silence."""
    if trouble.answer in ("silence", "nonsense"):
        return TroubleTable(answer=500, rows=trouble.rows, first=1)
    if trouble.answer == "refusal" and trouble.first is None and trouble.share is None:
        return msgspec.structs.replace(trouble, first=2)
    return trouble


def tame(script: Script, seed: int) -> Script:
    """The same, but that each run of it can be done."""
    replace = msgspec.structs.replace
    # Where most calls take longer than their time-out, no row is at fault, and all are called again and again.
    hurried = {stage.service for stage in script.stage if stage.timeout is not None}
    # A server that asks for as long as it is believed, again and again, is waited for longer than a life may take.
    services = [
        replace(
            s,
            outage=[],
            # An account that is exhausted ends a life; what goes on in the next one is tried in `test_exhausted.py`.
            exhausted=[],
            trouble=[_passing(t) for t in s.trouble],
            travel=0.0 if s.name in hurried else s.travel,
            retry_after="seconds" if s.retry_after in ("absurd", "huge") else s.retry_after,
        )
        for s in script.service
    ]
    stages = [
        replace(
            stage,
            on_error="drop" if stage.on_error == "drop" else "quarantine",
            on_missing="drop" if stage.on_missing == "drop" else "quarantine",
            quirk=[
                *(quirk for quirk in stage.quirk if quirk.does in ("raise", "slow")),
                *([QuirkTable(does="pending", every=1 + seed % 4, seconds=seed % 3)] if (seed + i) % 3 == 0 else []),
            ],
        )
        for i, stage in enumerate(script.stage)
    ]

    def well(table: Any) -> Any:
        return replace(table, fails_at=None, hangs_at=None, open_fails=False, close_fails=False)

    return replace(
        script,
        service=services,
        stage=stages,
        sink=[well(sink) for sink in script.sink],
        quarantine=well(script.quarantine),
        source=replace(script.source, hangs_at=None, open_fails=False, fails_at=[], close_fails=False, pauses=[]),
        fault=[],
        pipeline=replace(script.pipeline, runs=1, max_quarantined=None, drain_timeout=None),
    )


def plain_graph(seed: int) -> Script:
    """One whose outputs follow from its rows alone: nothing is late, refused or gathered by time."""
    script, replace = graph_with_kills(seed), msgspec.structs.replace
    stages = [
        replace(
            s,
            timeout=None,
            deadline=None,
            within=s.within if s.kind == "dedupe" else None,
            require="all",
            limit=None,
            service="none",
        )
        for s in script.stage
    ]
    # In every other one, functions add to the rows that they are given, and return those.
    stages = [replace(s, quirk=WRITES if seed % 2 and s.kind in ("map", "flat_map") else []) for s in stages]
    return replace(script, stage=[replace(s, count=1) if s.kind == "batch" else s for s in stages])


def slow_line(seed: int) -> Script:
    """Calls that add to their rows in place, and take longer than a commit."""
    stages = [
        StageTable(name=name, service="a", workers=4, on="loop" if seed % 2 else "threads", quirk=WRITES)
        for name in ("one", "two", "three")
    ]
    source, sink = SourceTable(rows=40, every=0.01), SinkTable(name="sink")
    return Script(
        "rows changed in place",
        name="line",
        source=source,
        stage=stages,
        sink=[sink],
        service=[ServiceTable(name="a", latency=0.1)],
    )


FOUND = [861771583, 861780283, 361898775, 293516420, 748225907]
"""Seeds that once broke something."""


def test_what_was_found_before_stays_mended() -> None:
    for seed in FOUND:
        lived = live(graph_with_kills(seed, values=False), seed, KILLS)
        assert lived.breach is None, f"seed {seed}: {lived.breach}"


def test_killed_at_any_moment_and_resumed_each_row_is_done_once_L24_L26_L35() -> None:
    kills = faults = drains = 0
    for seed in range(104):
        lived = live(graph_with_kills(seed), seed, KILLS)
        assert lived.breach is None, f"seed {seed}: {lived.breach}"
        kills += lived.kills
        faults += lived.faults
        drains += lived.drains
    assert kills > 70
    assert faults > 30, "full disks, and such that fail"
    assert drains > 12


def _told(row: Any) -> str:
    """Which parts a row lacks depends on when that is found out."""
    return str({**row, "message": None} if isinstance(row, dict) else row)


def test_the_outputs_are_those_of_a_run_that_nobody_killed() -> None:
    kills = 0
    for seed in range(50):
        script = plain_graph(seed)
        killed, whole = (live(script, seed, cut_short, keeps_all=True) for cut_short in (KILLS, 0))
        assert killed.breach is whole.breach is None, f"seed {seed}: {killed.breach} {whole.breach}"
        kills += killed.kills + killed.drains
        ordered = {sink.name for sink in script.sink if script.pipeline.ordered and sink.ordered is not False}
        for name, rows in whole.files.items():
            again = killed.files[name]
            same = again == rows if name in ordered else sorted(map(_told, again)) == sorted(map(_told, rows))
            assert same, f"seed {seed}: {name}"
    assert kills > 30


def test_what_a_drain_leaves_undone_holds_back_what_is_behind_it() -> None:
    drains = interrupted = 0
    for seed in range(60):
        lived = live(knotted(seed), seed, KILLS, drains=0.6, keeps_all=True)
        assert lived.breach is None, f"seed {seed}: {lived.breach}"
        assert lived.files["sink"] == list(range(60)), f"seed {seed}"
        drains += lived.drains
        interrupted += lived.interrupted
    assert (drains > 10, interrupted > 10) == (True, True), f"{drains} drains, {interrupted} rows"


def test_what_was_answered_is_kept_as_it_was_whatever_is_done_to_it_later() -> None:
    kills = 0
    for seed in range(20):
        lived = live(slow_line(seed), seed, KILLS, keeps_all=True)
        assert lived.breach is None, f"seed {seed}: {lived.breach}"
        assert lived.files["sink"] == [[row, "written", "written", "written"] for row in range(40)], f"seed {seed}"
        kills += lived.kills
    assert kills > 20


def test_killed_ten_times_in_a_row_while_it_is_resumed_L24() -> None:
    for seed in range(25):
        lived = live(graph_with_kills(seed), seed, 30)
        assert lived.breach is None, f"seed {seed}: {lived.breach}"


class Sound(Disk):
    """One that never fails."""

    def begin(self, random: Random | None) -> None:
        self.failed = self.failing = None


class Forgetful(Sound):
    """One on which nothing is kept of what was found out of limits."""

    def past(self) -> Recovered:
        return msgspec.structs.replace(super().past(), learned={})


@pytest.mark.parametrize("keys", [None, 2])
def test_a_life_begins_with_what_the_one_before_had_found_out_of_its_limit(
    monkeypatch: pytest.MonkeyPatch, keys: int | None
) -> None:
    def kill(world: Any, random: Random, killer: list[str]) -> None:
        def killed() -> None:
            killer.append("time")
            world.finishing = True
            world.simulation.finish()

        world.simulation.call_at(3.0, killed)

    monkeypatch.setattr(lives, "_kill", kill)
    quota = QuotaTable("bucket", per_s=100.0 / (keys or 1), burst=5.0, per_key=keys is not None)
    script = Script(
        "rows against a quota that nobody has stated",
        name="found out",
        source=SourceTable(rows=800),
        stage=[StageTable(name="ask", workers=50, limit=LimitTable(keys=keys, name="api"))],
        sink=[SinkTable(name="sink")],
        service=[ServiceTable(quota=[quota], latency=0.05)],
    )
    wasted, took = Counter[str](), Counter[str]()
    for seed in range(2):
        for name, disk in (("kept", Sound(Random(seed))), ("forgotten", Forgetful(Random(seed)))):
            lived = live(script, seed, 2, disk, 0.0, keeps_all=True)
            assert lived.breach is None, lived.breach
            assert lived.kills == 2
            wasted[name] += lived.calls - script.source.rows
            took[name] += round(1000 * disk.clock_s)
    # The first life is the same, and each kill takes some calls back.
    assert wasted["kept"] <= 0.7 * wasted["forgotten"], wasted
    # The server of each life has its burst saved up anew, which who begins gently uses up at once.
    assert took["kept"] <= 1.03 * took["forgotten"], took


def _mutant(name: str, cls: Any, method: str, old: str, new: str) -> Mutant:
    return Mutant(name, cls, method, old, new, (), ())


MUTANTS = (
    _mutant("a sink that commits before it syncs", Writer, "_write", "self._exact.sync()", "pass"),
    _mutant(
        "a sink that tells of its last place with each part",
        Writer,
        "_write",
        "self._exact.sync()",
        "self._exact.sync(); places = [places[-1]] * len(places)",
    ),
    _mutant(
        "a writer that takes what could not be synced for written",
        Writer,
        "_write",
        "                self._exact.sync()",
        "                try:\n                    self._exact.sync()\n"
        "                except OSError:\n                    pass",
    ),
    _mutant(
        "a journal that goes on after a commit has failed",
        Journal,
        "_on_commit_failed",
        "go(StoreState.BROKEN)",
        "go(StoreState.IDLE)",
    ),
    _mutant(
        "a journal that says durable too early",
        Journal,
        "_note",
        "self._pending.append(entry)",
        "isinstance(entry, protocol.Settled) and self.context.tell(self._ledger, entry)\n"
        "        isinstance(entry, protocol.Settled) or self._pending.append(entry)",
    ),
    _mutant(
        "a journal that loses a commit",
        Journal,
        "_commit",
        "protocol.Commit(list(self._under_way))",
        "protocol.Commit(self._under_way[: -1 if self._commits % 3 == 2 else None])",
    ),
    _mutant(
        "a resume that counts twice",
        Ledger,
        "receive",
        "self._rows = self._done + total",
        "self._rows = self._done * 2 + total",
    ),
    _mutant(
        "a resume that forgets what was in a batch",
        BatchPlan,
        "actor",
        "wiring.past.batches.get(name, ())",
        "()",
    ),
    _mutant("a dedupe that forgets the rows of earlier lives", Dedupe, "__init__", "word in notes.last", "word in ()"),
    _mutant("a dedupe that says another word on a row that comes again", Dedupe, "__init__", "dict(notes.open)", "{}"),
    _mutant("a resume that forgets a join's word", JoinPlan, "actor", "wiring.past.joins.get(name)", "None"),
    _mutant("a resume that calls again", _Assembly, "record", "past.answers.get(stage)", "None"),
    _mutant("a resume that begins anew what was pending", _Assembly, "record", "past.parked.get(stage)", "None"),
    _mutant("a stage that does not wait for the journal", StageRecord, "answered", "return False", "return True"),
    _mutant(
        "a stage that lets a row go on whose answer could not be kept",
        StageRecord,
        "keep",
        "kept, unkept = self._keep_each(values)",
        "kept, unkept = [b'N.' for _ in values], []",
    ),
    _mutant(
        "a journal that tells a stage too early",
        Journal,
        "_commit",
        "self._rows = 0",
        "self._rows = 0; [self.context.tell(e.reply_to, protocol.Kept(1)) or setattr(self, '_under_way', "
        "[protocol.Answers(e.node, e.seqs, e.values, e.attempts) if e is o else o for o in self._under_way]) "
        "for e in list(self._under_way) if getattr(e, 'reply_to', None) is not None]",
    ),
    _mutant(
        "a reorder buffer that lets rows pass one that was interrupted", Reorder, "_release", "self._cut = True", "pass"
    ),
    _mutant("a join that goes on without what was interrupted", Waiting, "lose", "odd.cut_off()", "pass"),
    _mutant("a resume that forgets what was written", SinkPlan, "actor", "past.written.get(name, ())", "()"),
    _mutant("a reorder buffer that begins at the first row", _Assembly, "_host_node", "self.past.first", "0"),
    _mutant(
        "a resume that gives done rows again",
        Source,
        "_on_read_done",
        "if rows.start < self._first or self._done:",
        "if False:",
    ),
    _mutant(
        "a gap that is not told when a row was done before",
        Source,
        "_without_done",
        "self._outputs.tell_gaps(gone)",
        "pass",
    ),
)


SOON = {
    "a sink that tells of its last place with each part": 81,
    "a journal that goes on after a commit has failed": 27,
    "a join that goes on without what was interrupted": 64,
}
"""Of mutants that few seeds catch, one that did: it is tried first, and then all the others."""


def caught_after(mutant: Mutant | None = None, seeds: int = 400) -> tuple[int, str] | None:
    """How many runs it took, and what was said; None: it survived. Raises `Vacuous`."""
    runs = 0
    soon = [SOON[mutant.name]] if mutant is not None and mutant.name in SOON else []
    for seed in [*soon, *range(seeds)]:
        for make, drains in ((graph_with_kills, 0.2), (batches_with_kills, 0.2), (knotted, 0.6)):
            lived: Lived = live(make(seed), seed, KILLS, drains=drains)
            runs += 1
            if lived.breach is not None:
                died = re.search(r"died of (\w+): (.*)", lived.breach)
                if mutant is not None and died is not None:
                    reject_if_vacuous(mutant, died[1], died[2])
                return runs, lived.breach
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_what_must_not_be_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "LIVES_MAX", 3)
    with mutated(mutant):
        assert caught_after(mutant) is not None, f"{mutant.name} survived"


def test_a_batch_is_tied_or_that_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module._Done, "tie", lambda self, _: setattr(self, "first", self.known.after(self._floor)))
    monkeypatch.setattr(lives, "LIVES_MAX", 3)
    assert caught_after() is not None


def on_sqlite(seed: int, path: Path, script: Script) -> KeptDisk:
    """A disk with a real journal in a file beside the model."""
    lock = Path(f"{path}.lock")

    def open_() -> SqliteStore:
        store = SqliteStore(str(path))
        store.db.execute("PRAGMA synchronous = OFF")
        return store

    return KeptDisk(Random(f"{seed}:lives"), script, open_, lambda: lock.unlink(missing_ok=True))


def in_memory(seed: int, _: Path, script: Script) -> KeptDisk:
    """A disk with a real journal in memory beside the model."""
    return kept_in_memory(Random(f"{seed}:lives"), script)


@pytest.mark.parametrize("on", [on_sqlite, in_memory])
def test_a_store_leaves_what_the_model_leaves(tmp_path: Path, on: Callable[[int, Path, Script], KeptDisk]) -> None:
    compared = learned = retried = 0
    for seed in range(60):
        script = graph_with_kills(seed)
        disk = on(seed, tmp_path / f"{seed}.db", script)
        lived = live(script, seed, KILLS, disk)
        assert lived.breach is None, f"seed {seed}: {lived.breach}"
        compared += disk.compared
        learned += disk.learned
        retried += lived.retried
    assert compared > 20
    assert learned > 5
    assert retried > 5


def test_a_run_that_is_new_is_a_resume_from_nothing_L23() -> None:
    assert past_of([], [], []) == Recovered()


if __name__ == "__main__":
    # `python -m tests.scenarios.test_lives`: the table of mutants, and how many runs each took.
    lives.LIVES_MAX = 3
    for mutant in MUTANTS:
        with mutated(mutant):
            print(f"{mutant.name:60} {caught_after(mutant)}", file=sys.stdout, flush=True)
