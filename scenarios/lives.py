"""Plays a scenario with a journal in several lives: the process is killed between any two messages, then the run is resumed,
until it is done. What outlives the process is a model of a disk (`disk.py`).

In each life, every message is held against the invariants. What must hold over all of them is looked at from outside: each
row has one outcome and is in each sink that can commit exactly once, in order where the sink is ordered; and no call whose
answer was durable is made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.journaling.recovered import LASTING
from headrace.actors.protocol import State
from headrace.actors.rows.identity import Bundle, Id, place, show
from headrace.runtime.calls.current import CallInfo
from headrace.runtime.errors import ConfigError
from headrace.runtime.graph.plan import QUARANTINE
from headrace.runtime.journal.port import Journaling

from .disk import Disk, DiskStore, on_disk
from .distinct import DistinctInAll
from .kept_disk import KeptDisk, kept_in_memory
from .play import SimulatedOutside, plan_of
from .script import Script
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
    "Noted",
    "Ends",
    "Opened",
    "Start",
    "EndOfRows",
    "Drained",
    "MakeDurable",
    "MadeDurable",
    "Close",
    "CloseAccount",
    "AccountClosed",
    "Closed",
)
"""After one of these messages was told, or at some time."""


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
    retried: int = 0
    """Rows in quarantine that were tried again."""
    distinct: DistinctInAll = msgspec.field(default_factory=DistinctInAll)


def live(
    script: Script, seed: int, kills: int, disk: Disk | None = None, drains: float = 0.2, *, keeps_all: bool = False
) -> Lived:
    """Play `script` with a seed, cut short in so many lives, then to its end. `disk`: one that is new; in one seed of three
    there is a real journal in memory beside it. `drains`: a share of those lives that are drained, not killed. `keeps_all`:
    the journal can keep every answer, whatever the seed."""
    random = Random(f"{seed}:lives")
    disk = disk or (kept_in_memory(random, script) if seed % 3 == 0 else Disk(random))
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
    if lived.breach is None and lived.state is State.COMPLETED and isinstance(disk, KeptDisk):
        lived.breach = disk.complaint()
        if lived.breach is None:
            _try_again(script, seed, lived, disk, drains)
        if lived.breach is None:
            lived.breach = disk.complaint_of_pruning()
    return lived


def _try_again(script: Script, seed: int, lived: Lived, disk: KeptDisk, drains: float) -> None:
    """Try again what is in quarantine, in a life of its own."""
    try:
        again = disk.try_again()
    except ConfigError as error:
        lived.breach = f"rows are counted in quarantine that are not there: {error}"
        return
    if again:
        lived.retried += len(again)
        _one_life(script, seed, lived, disk, None, drains)


def _one_life(script: Script, seed: int, lived: Lived, disk: Disk, random: Random | None, drains: float) -> bool:
    """Until it is killed, or ends; whether it ended."""
    world = World(seed * 1000 + lived.lives, hashed=False)
    diary = Diary(world.note)
    diary.on_call = _watch_calls(lived, disk)
    outside = SimulatedOutside(script, seed, world)
    sleep = world.simulation.sleep
    plan = on_disk(plan_of(script, 0, diary, outside.event, outside.transport), disk, sleep)
    past = disk.past()
    holds = seed % 4 == 1
    if holds:
        _watch_for_haste(world, {stage.name for stage in plan.stages}, disk, lived)
    lived.distinct.watch(plan, world.watch)
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
    return _judge(script, lived, disk, run, breach)


def _judge(script: Script, lived: Lived, disk: Disk, run: Any, breach: Any) -> bool:
    """Look at a life that has ended; whether it was the last one."""
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


def _watch_calls(lived: Lived, disk: Disk) -> Callable[[str, CallInfo], None]:
    """What is told of each call of a life, and must not be about what is durable."""
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

    return on_call


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
    return lived.distinct.complaint(disk.entries)


def _out_of_order(ids: list[Id]) -> Id | None:
    places = list(map(place, ids))
    return next((ids[i] for i in range(1, len(ids)) if places[i] < places[i - 1]), None)


__all__ = ["Lived", "live"]
