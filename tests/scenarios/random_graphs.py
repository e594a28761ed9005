"""Graphs at random: up to twelve nodes of every kind, with random limits, services, faults and stops."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from headrace.scenarios.script import PipelineTable, Script, SinkTable, StageTable
from tests.scenarios.random_scripts import (
    giving_up,
    random_calls,
    random_fault,
    random_service,
    random_sink,
    random_source,
    with_servers,
    with_unwritable,
    with_what_concerns_many,
)

NODES_MAX = 12

Ends = list[str]


class _Garden:
    """Grows one graph. `ends`: the ways that are still open, as `after` names them."""

    def __init__(self, random: Random, rows: int, services: list[str]) -> None:
        self._random = random
        self._rows = rows
        self._services = services
        self.stages: list[StageTable] = []
        self.sinks: list[SinkTable] = []

    @property
    def room(self) -> int:
        """Nodes that may still grow; a sink at the end of the main line is kept free."""
        return NODES_MAX - 1 - len(self.stages) - len(self.sinks)

    def grow(self, ends: Ends, joined: bool, depth: int) -> Ends:
        """Nodes after these ends. `joined`: they lead to a join, so each row must stay one part."""
        for _ in range(self._random.choice((0, 1, 1, 2, 3) if depth else (1, 2, 3, 4))):
            if not ends or self.room < 1:
                break
            ends = self._one(ends, joined, depth)
        return ends

    def _one(self, ends: Ends, joined: bool, depth: int) -> Ends:
        kinds = ["map", "map", "filter", "tap"]
        if not joined:
            kinds += ["flat_map", "batch"]
        if self.room >= 3:
            kinds += ["batched", "route", "route", "join", "join"]
            if not joined:
                kinds.append("fork")
        kind = self._random.choice(kinds) if depth < 3 else "map"
        match kind:
            case "route":
                return self._route(ends, joined, depth)
            case "fork":
                return self._fork(ends, depth)
            case "join":
                return self._join(ends, joined, depth)
            case "batch":
                return [self._batch(ends)]
            case "batched":
                batch = self._batch(ends)
                if self._random.random() < 0.6:
                    batch = self._call("map", [batch])
                return [self._add("unbatch", [batch])]
            case _:
                return [self._call(kind, ends)]

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self.stages)}"

    def _add(self, kind: Any, ends: Ends, **options: Any) -> str:
        name = self._name(kind)
        self.stages.append(StageTable(name=name, kind=kind, after=list(ends), **options))
        return name

    def _call(self, kind: str, ends: Ends, **options: Any) -> str:
        random = self._random
        calls = random_calls(random, self._rows)
        service = random.choice([*self._services, "none", "none"])
        if kind == "join" or service == "none":
            # Values that change in place belong to nobody once they are in several branches.
            calls["quirk"] = [quirk for quirk in calls["quirk"] if quirk.does != "mutate"]
        options = {
            "service": service,
            "on_error": random.choice(("quarantine", "quarantine", "quarantine", "drop", "fail")),
            "every": random.choice((1, 2, 3)),
            "pieces": random.choice((0, 1, 3)),
            **calls,
            **options,
        }
        return self._add(kind, ends, **options)

    def _batch(self, ends: Ends) -> str:
        random = self._random
        count = random.choice((None, 1, 3, 10))
        within = random.choice((None, 0.01, 0.5)) if count is not None else random.choice((0.01, 0.5))
        return self._add(
            "batch",
            ends,
            count=count,
            within=within,
            max_bytes=random.choice((None, None, 8)),
            keys=random.choice((None, None, 3)),
        )

    def _branches(self) -> list[str]:
        return ["a", "b", "late"][: self._random.choice((1, 2, 2, 3))]

    def _end_or_go_on(self, name: str, ends: Ends) -> Ends:
        """Perhaps a branch ends here."""
        if ends and self.room >= 1 and self._random.random() < 0.3:
            self.sink(ends, f"{name}-sink")
            return []
        return ends

    def sink(self, ends: Ends, name: str, after: bool = True) -> None:
        table = random_sink(self._random, self._rows)
        self.sinks.append(
            msgspec.structs.replace(
                table,
                name=name,
                after=list(ends),
                ordered=self._random.choice((None, True, False)),
                on_error=self._random.choice(("abort", "drain")),
            )
        )

    def _route(self, ends: Ends, joined: bool, depth: int) -> Ends:
        branches = self._branches()
        onward = self._random.random() < 0.7
        name = self._call("route", ends, branches=branches, onward=onward)
        open_: Ends = [name] if onward else []
        for branch in branches:
            open_ += self._end_or_go_on(f"{name}.{branch}", self.grow([f"{name}.{branch}"], joined, depth + 1))
        return open_

    def _fork(self, ends: Ends, depth: int) -> Ends:
        branches = self._branches()
        name = self._add("fork", ends, branches=branches)
        open_: Ends = []
        for branch in branches:
            open_ += self._end_or_go_on(f"{name}.{branch}", self.grow([f"{name}.{branch}"], False, depth + 1))
        return open_

    def _join(self, ends: Ends, joined: bool, depth: int) -> Ends:
        random = self._random
        branches = self._branches()
        fork = self._add("fork", ends, branches=branches)
        meeting: list[Ends] = []
        for branch in branches:
            grown = self.grow([f"{fork}.{branch}"], True, depth + 1)
            grown = self._end_or_go_on(f"{fork}.{branch}", grown) if meeting else grown
            if grown:
                meeting.append(grown)
        if not meeting:
            # A filter may not, but a route can have sent all of them to sinks.
            return []
        late = self.room >= 1 and random.random() < 0.3
        require = random.choice(["all", "any", "best", random.randint(1, len(meeting))])
        within = random.choice((None, 0.05, 1.0))
        name = self._call(
            "join",
            [end for each in meeting for end in each],
            fork=fork,
            require=require,
            within=within,
            late=late,
            on_missing=random.choice(("quarantine", "quarantine", "drop", "fail")),
        )
        if late:
            self.sink([f"{name}.late"], f"{name}-late")
        return [f"{name}.merge"]


def with_dedupes(script: Script, seed: int) -> Script:
    """The same graph, with a dedupe or two in front of some nodes, in two of three."""
    random, replace = Random(f"{seed}:dedupes"), msgspec.structs.replace
    stages = list(script.stage)
    # A join looks at the ways by which parts come to it.
    places = [i for i, stage in enumerate(stages) if stage.kind not in ("join", "unbatch")]
    for at in sorted(random.sample(places, min(len(places), random.choice((0, 1, 2)))), reverse=True):
        name, keys, within = f"dedupe{at}", random.choice((None, 3, 20, 40)), random.choice((1, 5, 30, 1000))
        dedupe = StageTable(name=name, kind="dedupe", after=stages[at].after, keys=keys, within=within)
        stages[at : at + 1] = [dedupe, replace(stages[at], after=[name])]
    return replace(script, stage=stages)


def random_graph(seed: int, *, values: bool = True) -> Script:
    """A random graph; `values` as in `random_script`."""
    random = Random(f"{seed}:graph")
    services = [random_service(random, name) for name in ("a", "b")[: random.choice((1, 1, 2))]]
    rows = random.choice((0, 1, 5, 30, 60, 120))
    garden = _Garden(random, rows, [service.name for service in services])
    ends = garden.grow(["source"], False, 0)
    if ends or not garden.sinks:
        garden.sink(ends or ["source"], "sink")
    faults = [random_fault(random, garden.stages) for _ in range(random.choice((0, 0, 1, 1, 2, 3)))]
    names = [stage.name for stage in garden.stages] + [sink.name for sink in garden.sinks]
    names += [f"reorder-{sink.name}" for sink in garden.sinks] + [f"writer-{sink.name}" for sink in garden.sinks]
    for i, fault in enumerate(faults):
        if fault.what in ("kill", "hold") and random.random() < 0.5:
            faults[i] = msgspec.structs.replace(fault, actor=random.choice(names))
        if fault.when is None or random.random() < 0.5:
            continue
        faults[i] = (
            msgspec.structs.replace(
                faults[i], when=random.choice(("Gaps", "Forked", "FlushUpTo", "Outcomes", "EndOfRows"))
            )
            if fault.what != "double"
            else fault
        )
    script = Script(
        shows="a graph at random",
        name="graph",
        pipeline=PipelineTable(
            window=random.choice((None, None, 10, 20, 64)),
            ordered=random.random() < 0.8,
            drain_timeout=random.choice((None, None, 2.0)),
            max_quarantined=random.choice((None, None, None, 20, 0.5)),
            runs=random.choice((1, 1, 1, 2)),
        ),
        source=random_source(random, rows),
        stage=garden.stages,
        sink=garden.sinks,
        quarantine=random_sink(random, rows),
        service=services,
        fault=faults,
        until=5000.0,
    )
    script = with_dedupes(script, seed)
    if not values:
        return giving_up(script)
    return giving_up(with_what_concerns_many(with_servers(with_unwritable(script, seed), seed), seed))
