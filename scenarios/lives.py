"""Plays a scenario with a journal in several lives: the process is killed between any two messages, then the run is resumed,
until it is done. What outlives the process is a model of a disk: what was synced, and perhaps more.

In each life, every message is held against the invariants. What must hold over all of them is looked at from outside: each
row has one outcome and is in each sink that can commit exactly once, in order where the sink is ordered; and no call whose
answer was durable is made again.

This file is long: what a disk loses, what is done in a life, and what is looked at afterwards belong together.
"""

from __future__ import annotations

import errno
import os
import pickle
from collections import Counter
from random import Random
from typing import Any, cast

import msgspec

from headrace.actors import protocol
from headrace.actors.journaling.recovered import LASTING, Recovered, past_of
from headrace.actors.journaling.stage_record import Encoders
from headrace.actors.protocol import State
from headrace.actors.rows.identity import Bundle, Id, place, show, span_of
from headrace.runtime.calls.current import CallInfo
from headrace.runtime.errors import BadInput, ConfigError, JournalError, UnwritableRows
from headrace.runtime.graph.plan import QUARANTINE, Plan
from headrace.runtime.journal.port import Journaling

from .play import SimulatedOutside, plan_of
from .script import Script, id_of
from .stand_ins import Diary
from .world import World

LIVES_MAX = 200
"""A run that is not done after so many goes round in circles."""
GIVEN_UP = ("TooManyHungCalls", "OutageDeadlineExceeded")
"""A run that fails by these, fails by what the scenario says of the outside."""
KILLED_AT = (
    "Rows",
    "Answers",
    "Settled",
    "RowsSettled",
    "Commit",
    "Committed",
    "Write",
    "Written",
    "ReadTo",
    "ReadDone",
    "Formed",
    "Decided",
    "Ends",
    "Opened",
    "Start",
    "EndOfRows",
    "Drained",
    "CloseAccount",
    "AccountClosed",
    "Closed",
)
"""After one of these messages was told, or at some time."""


class Disk:
    """What outlives the process: a journal, and what sinks have written."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.entries: list[Any] = []
        self.files: dict[str, list[Any]] = {}
        self.synced: Counter[str] = Counter()
        self.unkept: frozenset[int] = frozenset()
        """Rows whose answers the journal cannot keep."""
        self.clock_s = 0.0
        """When this life began: each has a clock of its own, which begins at 0."""
        self.failing: str | None = None
        """What fails next: a "commit", a "sync" or a "write"; `failed`: it has, in this life."""
        self.failing_in = 0
        self.failed: BaseException | None = None

    def begin(self, random: Random | None) -> None:
        """A life. `random`: something may fail in it."""
        self.failed = self.failing = None
        if random is not None and random.random() < 0.3:
            self.failing = random.choice(("commit", "sync", "write"))
            self.failing_in = random.choice((1, 1, 2, 5, 20))

    def fault(self, what: str) -> BaseException | None:
        """What is to be raised, if this is what fails now."""
        if self.failing != what:
            return None
        self.failing_in -= 1
        if self.failing_in:
            return None
        self.failing = None
        code = self.random.choice((errno.ENOSPC, errno.EIO))
        self.failed = JournalError(os.strerror(code)) if what == "commit" else OSError(code, os.strerror(code))
        return self.failed

    def past(self) -> Recovered:
        """What is left to the next life."""
        entries = [_moved(unpickled(entry), -self.clock_s) for entry in self.entries]
        settled = [(e.status, *span_of(e.seqs)) for e in self.entries if isinstance(e, protocol.RowsSettled)]
        batches = [(e.node, bundle) for e in self.entries if isinstance(e, protocol.Formed) for bundle in e.bundles]
        return past_of(settled, cast("list[tuple[str, Bundle]]", batches), entries)

    def commit(self, entries: list[Any]) -> None:
        """Make these entries durable, as a commit of the database does."""
        self.entries.extend(_moved(entry, self.clock_s) for entry in entries)

    def crash(self) -> None:
        """What was not synced may be there or not, from some place on."""
        for name, rows in self.files.items():
            del rows[self.random.randint(self.synced[name], len(rows)) :]
            self.synced[name] = len(rows)


class DiskStore:
    """A store on it. A commit takes a while, and may be durable before that is known."""

    name = "journal"

    def __init__(self, disk: Disk, sleep: Any) -> None:
        self._disk = disk
        self._sleep = sleep
        self._unkept = disk.unkept

    def keeps(self, stage: str) -> Encoders:
        return Encoders(self._keep if self._unkept else pickle.dumps, pickle.dumps)

    def _keep(self, answer: Any) -> bytes:
        if id_of(answer) in self._unkept:
            raise BadInput(f"the answer of row {id_of(answer)} cannot be kept")
        return pickle.dumps(answer)

    def commit(self, entries: list[Any]) -> None:
        disk, fault = self._disk, self._disk.fault("commit")
        first = disk.random.random() < 0.5
        if first:
            disk.commit(entries)
        self._sleep(disk.random.choice((0.0, 0.001, 0.02)))
        if fault is not None:
            # What was told to be lost may be durable all the same.
            raise fault
        if not first:
            disk.commit(entries)

    def close(self, complete: bool) -> None:
        """All rows of the run are in the output."""


class DiskSink:
    """A sink on it, in front of a scripted one."""

    durable = True

    def __init__(self, inner: Any, disk: Disk, sleep: Any) -> None:
        self.name = inner.name
        self._inner = inner
        self._disk = disk
        self._sleep = sleep
        self._rows = disk.files.setdefault(inner.name, [])

    def open(self) -> None:
        self._inner.open()
        self._disk.synced[self.name] = 0
        self._rows.clear()

    def resume(self, place: int | None) -> None:
        """Take back what comes after this place."""
        if place is None:
            self.open()
            return
        if self._disk.synced[self.name] < place:
            raise ConfigError(f"{self.name} has {self._disk.synced[self.name]} rows, and {place} were committed")
        self._inner.open()
        del self._rows[place:]
        self._disk.synced[self.name] = place

    def write(self, items: list[Any]) -> None:
        fault = self._disk.fault("write")
        if fault is not None:
            self._rows.extend(items[: self._disk.random.randint(0, len(items))])
            raise fault
        try:
            self._inner.write(items)
        except UnwritableRows as refused:
            self._rows.extend(item for index, item in enumerate(items) if index not in refused.rows)
            raise
        self._rows.extend(items)

    def tell(self) -> int:
        """How many rows the sink has written."""
        return len(self._rows)

    def sync(self) -> None:
        """A sync takes as long as one of a real disk."""
        self._sleep(self._disk.random.choice((0.0, 0.001)))
        fault = self._disk.fault("sync")
        if fault is not None:
            raise fault
        self._disk.synced[self.name] = len(self._rows)

    def close(self, complete: bool) -> None:
        self._inner.close(complete)


class Lived(msgspec.Struct):
    """What came of it. `breach` is what does not hold; `state` that of the last life."""

    seed: int
    lives: int
    state: State | None
    breach: str | None
    calls: int
    kills: int
    files: dict[str, list[Any]]
    faults: int = 0
    """Lives that ended since the disk was full, or failed."""
    drains: int = 0
    """Lives that were drained before their end; rows that were `interrupted` in those."""
    interrupted: int = 0


def live(
    script: Script, seed: int, kills: int, disk: Disk | None = None, drains: float = 0.2, *, keeps_all: bool = False
) -> Lived:
    """Play `script` with a seed, cut short in so many lives, then to its end. `disk`: one that is new. `drains`: a share of
    those lives that are drained, not killed. `keeps_all`: the journal can keep every answer, whatever the seed."""
    random = Random(f"{seed}:lives")
    disk = disk or Disk(random)
    disk.unkept = frozenset() if keeps_all else unkept_in(seed, script.source.rows)
    lived = Lived(seed, 0, None, None, 0, 0, disk.files)
    while lived.breach is None:
        if lived.lives > kills + LIVES_MAX:
            lived.breach = "never done"
            break
        killing = lived.lives < kills
        ended = _one_life(script, seed, lived, disk, random if killing else None, drains)
        lived.lives += 1
        if ended:
            break
        disk.crash()
    if lived.breach is None and lived.state is not None:
        lived.breach = _look_at(script, lived, disk)
    return lived


def _one_life(script: Script, seed: int, lived: Lived, disk: Disk, random: Random | None, drains: float) -> bool:
    """Until it is killed, or ends; whether it ended."""
    world = World(seed * 1000 + lived.lives, hashed=False)
    diary = Diary(world.note)
    durable = _answered(disk.entries)
    batched = _answered_in_batches(disk.entries)
    begun = {f"{e.node}:{show(e.seq)}" for e in disk.entries if isinstance(e, protocol.Parked)}

    def on_call(stage: str, call: CallInfo) -> None:
        lived.calls += 1
        key = call.key.partition(":")[2]
        if key in durable and lived.breach is None:
            lived.breach = f"life {lived.lives}: {key} is called again, and its answer was durable"
        if "." not in key and not batched.isdisjoint(_each_of(key)) and lived.breach is None:
            lived.breach = f"life {lived.lives}: {key} has rows whose batch was answered, and that was durable"
        if key in begun and call.state is None and lived.breach is None:
            lived.breach = f"life {lived.lives}: {key} is begun again, and that it was begun was durable"

    diary.on_call = on_call
    outside = SimulatedOutside(script, seed, world)
    sleep = world.simulation.sleep
    plan = _on_disk(plan_of(script, 0, diary, outside.event, outside.transport), disk, sleep)
    past = disk.past()
    holds = seed % 4 == 1
    if holds:
        _watch_for_haste(world, {stage.name for stage in plan.stages}, disk, lived)
    store = DiskStore(disk, sleep)
    run = world.start(plan, 0, Journaling(store, past, 0.02 if seed % 3 else 0.0, holds))
    killer: list[str] = []
    disk.begin(random)
    if random is not None and disk.failing is None and random.random() < drains:
        world.simulation.call_at(random.choice((0.01, 1.0, 20.0)) * random.random(), _drain, run)
    elif random is not None and disk.failing is None:
        _kill(world, random, killer)
    try:
        world.run(script.until)
    finally:
        disk.clock_s += world.simulation.now
        breach, idle = world.checker.breach, not world.simulation.busy
        world.close()
    if run.ended is None:
        lived.kills += bool(killer)
        if breach is not None:
            lived.breach = f"life {lived.lives}: {breach}"
        elif not killer and idle:
            lived.breach = f"life {lived.lives}: it stands still, and has not ended"
        return not killer
    lived.state = run.ended.state
    if breach is None and disk.failed is not None:
        return not _ended_by(disk.failed, run.ended, lived)
    if breach is not None:
        lived.breach = f"life {lived.lives}: {breach}"
    elif run.ended.errors and type(run.ended.errors[0]).__name__ not in GIVEN_UP:
        lived.breach = f"life {lived.lives}: {run.ended.errors[0]!r}"
    elif run.ended.errors:
        return True
    elif run.ended.state is State.DRAINED:
        lived.drains += 1
        lived.interrupted += run.ended.counts.interrupted
        return False
    elif run.report is not None and run.report.rows != script.source.rows:
        lived.breach = f"{run.report.rows} rows of {script.source.rows} are accounted for"
    elif run.report is not None:
        counts = run.report
        if counts.delivered + counts.dropped + counts.quarantined != counts.rows:
            lived.breach = f"the account does not add up: {counts}"
    return True


def unkept_in(seed: int, rows: int) -> frozenset[int]:
    """Rows whose answers the journal of this seed cannot keep: a few, in one seed of five (L62)."""
    return frozenset({rows // 2, rows - 1, rows // 3}) if seed % 5 == 2 and rows > 30 else frozenset()


def _ended_by(fault: BaseException, ended: protocol.RunEnded, lived: Lived) -> bool:
    """Whether a fault of the disk ended the run as it should."""
    lived.faults += 1
    if ended.state is not State.FAILED or ended.errors[0] is not fault:
        lived.breach = f"life {lived.lives}: {fault!r}, and it ended {ended.state.value} by {ended.errors}"
    return True


def _drain(run: Any) -> None:
    run.parts.conductor.put(protocol.Drain())


def _watch_for_haste(world: World, stages: set[str], disk: Disk, lived: Lived) -> None:
    """Where rows go on only when their answers are durable, none goes on before."""
    durable: set[str] = set()
    seen = 0

    def look(sender: Any, _: Any, rows: protocol.Rows) -> None:
        nonlocal seen
        if sender.name not in stages or lived.breach is not None:
            return
        durable.update(_answered(disk.entries[seen:]))
        seen = len(disk.entries)
        for seq in rows.seqs:
            # A piece goes on by the answer that it is a piece of.
            whole = seq[:-2] if isinstance(seq, tuple) else seq
            whole = whole[0] if isinstance(whole, tuple) and len(whole) == 1 else whole
            if durable.isdisjoint(f"{sender.name}:{show(of)}" for of in (seq, whole)):
                lived.breach = f"life {lived.lives}: {show(seq)} goes on from {sender.name} before that is durable"
                return

    world.watch(protocol.Rows, look)


def _kill(world: World, random: Random, killer: list[str]) -> None:
    """Between two messages, some time. `killer` is told by what."""

    def killed(what: str) -> None:
        killer.append(what)
        # Nobody is to end after this.
        world.finishing = True
        world.simulation.finish()

    if random.random() < 0.2:
        world.simulation.call_at(random.choice((0.01, 1.0, 20.0)) * random.random(), killed, "time")
        return
    kind, left = getattr(protocol, random.choice(KILLED_AT)), random.choice((1, 1, 2, 5, 20))

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            killed(kind.__name__)

    world.watch(kind, count)


def unpickled(entry: Any) -> Any:
    """As it was told: nobody may change what is on a disk."""
    match entry:
        case protocol.Answers():
            return msgspec.structs.replace(entry, values=list(map(pickle.loads, entry.values)))
        case protocol.Parked():
            return msgspec.structs.replace(entry, state=pickle.loads(entry.state))
        case _:
            return entry


def _moved(entry: Any, by_s: float) -> Any:
    """Times that mean the same in another life, by another clock."""
    if not isinstance(entry, protocol.LimitLearned):
        return entry
    replace = msgspec.structs.replace
    priors = {
        key: prior if prior.until_s is None else replace(prior, until_s=prior.until_s + by_s)
        for key, prior in entry.lessons.priors.items()
    }
    return replace(entry, lessons=replace(entry.lessons, priors=priors))


def _answered(entries: list[Any]) -> set[str]:
    """Calls that need not be made again, by their key."""
    keys: set[str] = set()
    for entry in entries:
        match entry:
            case protocol.Answers(node, seqs):
                keys.update(f"{node}:{show(seq)}" for seq in seqs)
            case protocol.Ends(node, ended):
                keys.update(f"{node}:{show(end.seq)}" for end in ended if end.status in LASTING)
    return keys


def _answered_in_batches(entries: list[Any]) -> set[str]:
    """Rows that need not be called about again in any batch."""
    return {
        one
        for entry in entries
        if isinstance(entry, protocol.Answers)
        for seq in entry.seqs
        if isinstance(seq, Bundle)
        for one in _each_of(f"{entry.node}:{show(seq)}")
    }


def _each_of(key: str) -> list[str]:
    node, _, rows = key.rpartition(":")
    return [f"{node}:{row}" for row in rows.split("+")]


def _on_disk(plan: Plan, disk: Disk, sleep: Any) -> Plan:
    nodes = tuple(
        msgspec.structs.replace(node, connector=DiskSink(node.connector, disk, sleep)) if node.kind == "sink" else node
        for node in plan.nodes
    )
    quarantine = DiskSink(plan.quarantine, disk, sleep)
    return msgspec.structs.replace(plan, nodes=nodes, quarantine=quarantine)


def _in(of: Id) -> list[tuple[Any, ...]]:
    """What is in a batch, and in what became of it, each under its own name."""
    if type(of) is int:
        return [(of,)]
    if isinstance(of, Bundle):
        return [one for member in of.members for one in _in(member)]
    assert isinstance(of, tuple)
    return [(*one, *of[1:]) for one in _in(of[0])]


def _look_at(script: Script, lived: Lived, disk: Disk) -> str | None:
    """Look at all that is left after the last life."""
    settled: dict[str, list[Id]] = {}
    outcome: dict[Id, protocol.Status] = {}
    for entry in disk.entries:
        if not isinstance(entry, protocol.Settled):
            continue
        if entry.sink is not None and entry.place is not None:
            settled.setdefault(entry.sink, []).extend(entry.seqs)
        if entry.status is not protocol.Status.INTERRUPTED:
            for seq in entry.seqs:
                if outcome.setdefault(seq, entry.status) is not entry.status:
                    return f"{show(seq)} was {outcome[seq]} in one life and {entry.status} in another"
    names = {sink.name: sink.name for sink in script.sink} | {QUARANTINE: QUARANTINE}
    ordered = {s.name for s in script.sink if (script.pipeline.ordered if s.ordered is None else s.ordered)}
    for sink, name in names.items():
        ids, rows = settled.get(sink, []), disk.files[name]
        n = len(ids)
        twice = [row for row, times in Counter(row for one in ids for row in _in(one)).items() if times > 1]
        if twice:
            return f"{twice[:3]} were written more than once to {sink}"
        if sink in ordered and (late := _out_of_order(ids)) is not None:
            return f"{sink} has {show(late)} after what comes behind it"
        if len(rows) != n:
            return f"{sink} has {len(rows)} rows, and {n} were committed"
    return None


def _out_of_order(ids: list[Id]) -> Id | None:
    places = list(map(place, ids))
    return next((ids[i] for i in range(1, len(ids)) if places[i] < places[i - 1]), None)


__all__ = ["Disk", "Lived", "live", "unpickled"]
