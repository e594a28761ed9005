"""What outlives a simulated process: a model of a disk, with what was synced on it, and perhaps more."""

from __future__ import annotations

import errno
import os
import pickle
from collections import Counter
from random import Random
from typing import Any, cast

import msgspec

from headrace.actors import protocol
from headrace.actors.journaling.recovered import Recovered, past_of
from headrace.actors.journaling.stage_record import Encoders
from headrace.actors.rows.identity import Bundle, span_of
from headrace.runtime.errors import BadInput, ConfigError, JournalError, UnwritableRows
from headrace.runtime.graph.nodes.sink import SinkPlan
from headrace.runtime.graph.plan import Plan

from .script import id_of


class Disk:
    """What outlives the process: a journal, and what sinks have written."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.entries: list[Any] = []
        self.files: dict[str, list[Any]] = {}
        self.synced: Counter[str] = Counter()
        self.published: set[str] = set()
        """Outputs that are complete, and have their names: whoever reads them may have done so."""
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
        settled = [(e.status, *span_of(e.seqs)) for e in self.entries if isinstance(e, protocol.RowsSettled) and e.seqs]
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
        if self.name in self._disk.published and self._rows:
            raise ConfigError(f"{self.name} is complete, with {len(self._rows)} rows, and none were committed")
        self._inner.open()
        self._disk.synced[self.name] = 0
        self._rows.clear()

    def resume(self, place: int | None) -> None:
        """Take back what comes after this place."""
        if place is None:
            self.open()
            return
        if self.name in self._disk.published and place != len(self._rows):
            raise ConfigError(f"{self.name} is complete, with {len(self._rows)} rows, and {place} were committed")
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
        if complete:
            self._disk.synced[self.name] = len(self._rows)
            self._disk.published.add(self.name)


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


def on_disk(plan: Plan, disk: Disk, sleep: Any) -> Plan:
    """The plan, with its sinks on a disk."""
    replace = msgspec.structs.replace
    nodes = tuple(
        replace(node, connector=DiskSink(node.connector, disk, sleep)) if isinstance(node, SinkPlan) else node
        for node in plan.nodes
    )
    quarantine = DiskSink(plan.quarantine, disk, sleep)
    return replace(plan, nodes=nodes, quarantine=quarantine)
