"""Pipelines in TOML files: read strictly, with every mistake told at once, each with its key and its line.

    name = "geocode"

    [source]
    type = "csv"
    path = "addresses.csv"

    [[stage]]
    call = "geo:geocode"        # module:name, found also next to the file
    workers = 32
    limit = "200/s"             # or [stage.limit], see `Limit`: rates = ["200/s"], headers = "openai"
    retry = 5

    [sink]
    type = "jsonl"
    path = "out.jsonl"

A graph is written down node by node. Each stands after the one before it, or after those that it names:

    [[stage]]
    kind = "route"
    name = "triage"
    by = 'risk > 0.8 ? "review" : ""'       # an expression; or call = "module:name"
    branches = ["review"]

    [[sink]]
    after = "triage.review"
    type = "jsonl"
    path = "review.jsonl"

    [journal]
    sync = "row"                # see `Journal`
    redact = ["person.email"]

Paths are those of the folder that the command runs in.

This file is long by a few lines: one table and one reader for each section of a job file.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from headrace.actors.errors import InternalError

from ..calls.place import Place
from ..errors import ConfigError, GraphError
from ..graph.nodes.kinds import IN_FILES
from ..graph.plan import Plan
from ..journal.options import COMMIT_S, Journal, Payloads, Sync
from ..limits import Limit, Retry, as_retry
from ..pipeline.flow import Flow
from ..pipeline.pipeline import Pipeline
from .ends import QuarantineTable, SinkTable, SourceTable, Target, as_tables, sink_of, source_of
from .options import Count, LimitOptions, NodeOptions, RetryOptions, Seconds
from .strict_toml import Reading
from .targets import made, named, reader


class LimitTable(LimitOptions):
    """`[stage.limit]`. `cost` and `key` are callables, `module:name`; `headers` is one, too, or the name of a dialect."""

    cost: Target | None = None
    key: Target | None = None
    headers: Annotated[str, Meta(pattern=r"^([^:]+|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$")] | None = None


class RetryTable(RetryOptions):
    """The table `[stage.NAME.retry]` of a job file."""

    classify: Target | None = None


class StageTable(NodeOptions):
    """`[[stage]]`, a node; see the method of `Pipeline` that its `kind` names. `by`: an expression, of a filter, of a
    route and of a batch's key. `call`: the function, of a join the one that merges. `after`: what it stands after, as
    "score" or "triage.review"; by default, the stage before it. `fork`: which one a join closes. `version`: what its
    function is to a journal, see `Pipeline.map`."""

    call: Target | None = None
    by: str | None = None
    name: str | None = None
    after: str | list[str] | None = None
    limit: str | LimitTable | None = None
    retry: Count | RetryTable | None = None
    version: str | int | None = None
    on: Place = "threads"
    memory: str | int | None = None


_OPTIONS = ("workers", "limit", "retry", "timeout", "deadline", "on_error", "on_unknown", "version", "on", "memory")
_KEYS: dict[str, tuple[str, ...]] = {
    kind: (
        *(("call",) if said.function is not None else ()),
        *(("by",) if said.expression else ()),
        *said.keys,
        *(_OPTIONS if said.calls is not None else ()),
    )
    for kind, said in IN_FILES.items()
}
"""What can be said of each kind, besides `kind`, `name` and `after`."""


class JournalTable(Struct, forbid_unknown_fields=True):
    """`[journal]`; see `Journal`. With a `path`, the run has it without being told; `--journal` names another file."""

    path: str | None = None
    sync: Sync = "group"
    within: Annotated[float, Meta(ge=0, le=60)] = COMMIT_S
    payloads: Payloads = "keep"
    redact: list[str] = []


class File(Struct, forbid_unknown_fields=True):
    """A whole job file, as it is written."""

    source: SourceTable
    stage: list[StageTable] = []
    sink: list[SinkTable] = []
    quarantine: QuarantineTable | None = None
    journal: JournalTable | None = None
    name: str | None = None
    window: Count | None = None
    ordered: bool = True
    max_quarantined: Annotated[float, Meta(ge=0)] | None = None
    drain_timeout: Seconds | None = None


class Job(Struct, frozen=True):
    """A pipeline out of a file, with what its run is told."""

    pipeline: Flow[object]
    max_quarantined: float | None
    drain_timeout: float | None
    journal: Journal | None = None

    def plan(self) -> Plan:
        """What would be run, checked. Raises `ConfigError`."""
        return self.pipeline.plan(max_quarantined=self.max_quarantined, drain_timeout=self.drain_timeout)


def read(path: Path) -> Job:
    """The job that a file describes. Raises `ConfigError` with all that is wrong, one line for each mistake."""
    reading = Reading.of(path)
    as_tables(reading)
    file = reading.table(File, reading.data, "")
    job = _build(reading, file)
    reading.check()
    if job is None:
        raise InternalError("what has no mistakes is a job")
    return job


def _build(reading: Reading, file: File) -> Job | None:
    folder = str(reading.path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = file.name or reading.path.stem
    bounded = reading.attempt("window", lambda: Pipeline(name, window=file.window, ordered=file.ordered))
    # Without a window, so that the rest of the file is looked at, too.
    beginning = bounded or Pipeline(name, ordered=file.ordered)
    flow: Flow[object] = beginning
    source = source_of(reading, file.source) if file.source is not None else None
    rows = _rows(reading, file.source) if file.source is not None else None
    if source is not None:
        flow = reading.attempt("source", lambda: beginning.source(source, rows=rows)) or flow
    where: dict[str, str] = {}
    for i, stage in enumerate(file.stage or ()):
        if stage is not None:
            flow = _add_stage(reading, flow, stage, f"stage[{i}]")
            where = dict.fromkeys(flow.nodes, f"stage[{i}]") | where
    several = isinstance(reading.data.get("sink"), list)
    sinks_ = [
        (f"sink[{i}]" if several else "sink", table) for i, table in enumerate(file.sink or ()) if table is not None
    ]
    # Those at the end of the line first.
    for key, table in sorted(sinks_, key=lambda pair: pair[1].after is not None):
        flow = _add_sink(reading, flow, table, key)
        where = dict.fromkeys(flow.nodes, key) | where
    quarantine = sink_of(reading, file.quarantine, "quarantine") if file.quarantine is not None else None
    if quarantine is not None:
        flow = reading.attempt("quarantine", partial(flow.quarantine, quarantine)) or flow
    kept = file.journal
    journal = reading.attempt("journal", lambda: _journal(kept)) if kept is not None else None
    job = Job(flow, file.max_quarantined, file.drain_timeout, journal)
    if not reading.mistakes:
        try:
            job.plan()
            job.pipeline.check_files(journal.path if journal is not None else None, reading.path)
        except GraphError as error:
            reading.note(where.get(error.node, ""), str(error))
        except ConfigError as error:
            reading.note("", str(error))
    return None if reading.mistakes else job


def _journal(table: JournalTable) -> Journal:
    return Journal(table.path, table.sync, table.within, table.payloads, tuple(table.redact))


def _add_sink(reading: Reading, flow: Flow[object], table: SinkTable, key: str) -> Flow[object]:
    """The flow with this sink; the flow as it is, where there are mistakes."""
    sink = sink_of(reading, table, key)
    if sink is None or reading.mistakes:
        return flow
    before = _after(reading, flow, table.after, key)
    if reading.mistakes:
        return flow
    options: dict[str, Any] = {"name": table.name, "ordered": table.ordered, "on_error": table.on_error}
    return reading.attempt(key, lambda: before.sink(sink, **options)) or before


def _after(reading: Reading, flow: Flow[Any], after: str | list[str] | None, key: str) -> Flow[object]:
    if after is None or reading.mistakes:
        return flow
    return reading.attempt(f"{key}.after", lambda: flow.after(*_names(after))) or flow


def _names(after: str | list[str] | None) -> list[str]:
    return [after] if isinstance(after, str) else list(after or ())


def _rows(reading: Reading, table: SourceTable) -> object:
    return table.rows if table.rows in (None, "infer") else named(reading, table.rows, "source.rows")


def _add_stage(reading: Reading, flow: Flow[object], stage: StageTable, key: str) -> Flow[object]:
    """The flow with this node; the flow as it is, where there are mistakes."""
    kind = stage.kind or "map"
    for name in _said(reading, key):
        if name not in (*_KEYS[kind], "kind", "name", "after"):
            reading.note(
                f"{key}.{name}", f"says nothing of a {kind}; known are {', '.join(_KEYS[kind]) or 'name, after'}"
            )
    function = _function(reading, stage, kind, key)
    limit = reading.attempt(f"{key}.limit", lambda: _limit(reading, stage.limit, f"{key}.limit"))
    retry = reading.attempt(f"{key}.retry", lambda: _retry(reading, stage.retry, f"{key}.retry"))
    before = _after(reading, flow, stage.after, key)
    if reading.mistakes:
        return flow
    called = stage.name
    if called is None and stage.call is not None and IN_FILES[kind].needed and IN_FILES[kind].calls is not None:
        called = stage.call.split(":")[1].split(".")[-1]
    return (
        reading.attempt(
            key, lambda: stage.add(before, called, function, limit, retry, stage.version, stage.on, stage.memory)
        )
        or before
    )


def _said(reading: Reading, key: str) -> list[str]:
    """What the file says of this stage."""
    tables = reading.data["stage"]
    table = tables[int(key[len("stage[") : -1])] if isinstance(tables, list) else tables
    return [name for name in table if name in StageTable.__struct_fields__]


def _function(reading: Reading, stage: StageTable, kind: str, key: str) -> object:
    """What a stage calls, or its expression; None where it needs none."""
    if stage.call is not None and stage.by is not None:
        reading.note(f"{key}.by", "call= and by= both say what is to be said of a row; one of them is enough")
        return None
    if stage.call is not None:
        function = named(reading, stage.call, f"{key}.call")
        return made(reading, function, f"{key}.call") if isinstance(function, type) else function
    if stage.by is not None:
        return stage.by
    if IN_FILES[kind].function is not None and IN_FILES[kind].needed:
        reading.note(f"{key}.call", "is missing" if "by" not in _KEYS[kind] else "is missing, or by=, an expression")
    return None


def _limit(reading: Reading, limit: str | LimitTable | None, key: str) -> Limit | None:
    if limit is None or isinstance(limit, str):
        return Limit(limit) if limit is not None else None
    cost = named(reading, limit.cost, f"{key}.cost") if limit.cost else None
    key_of = named(reading, limit.key, f"{key}.key") if limit.key else None
    return limit.limit(cost, key_of, reader(reading, limit.headers, f"{key}.headers"))


def _retry(reading: Reading, retry: int | RetryTable | None, key: str) -> Retry | None:
    if retry is None or isinstance(retry, int):
        return as_retry(retry)
    return retry.retry(named(reading, retry.classify, f"{key}.classify") if retry.classify else None)
