"""The grammar of a scenario: a TOML file that says what runs, what the outside is like, what goes wrong, and what
must come of
it. `README.md` beside this file explains each table; `scenario.schema.json` is generated from these types.

This file is long: it is the grammar of scenario files, a table for each section.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from headrace.actors import protocol
from headrace.actors.protocol import Message
from headrace.runtime.errors import ConfigError
from headrace.runtime.files.options import LimitOptions, NodeOptions, RetryOptions
from headrace.runtime.files.strict_toml import Reading
from headrace.runtime.graph.nodes.kinds import IN_FILES
from headrace.runtime.hosts.simulation.policies import Schedule
from headrace.runtime.limits import Limit, Retry, as_limit, as_retry

from .dialects import Dialect
from .latency import Latency, LatencyTable
from .quotas import QuotaTable
from .units import Bounds, Count, Lesson, Seconds, Share, Span

MESSAGES = sorted(name for name, kind in vars(protocol).items() if isinstance(kind, type) and issubclass(kind, Message))
MESSAGES += ["Call", "Reply"]
SCRIPTS = Path(__file__).parent / "scripts"
LONG = ("a_week",)
"""Scenarios that are played only when they are named."""

# --- the outside ----------------------------------------------------------------------------------------------------------


class OutageTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """From `at` on for `lasts` seconds, each call is answered by a 503, a refusal (429), a reset connection, or not
    at all. `fast`: after `refusal_latency`, as a balancer does that has nobody behind it."""

    at: Seconds
    lasts: Seconds
    by: Literal["503", "429", "reset", "silence"] = "503"
    fast: bool = False


class ExhaustedTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """From `at` on, for `lasts` seconds or for good, the account gets nothing: each call is answered by `status`, with a
    body of a `code` and `words`, as providers send it. `hint`: with a Retry-After of the seconds that are left."""

    at: Seconds = 0.0
    lasts: Seconds | None = None
    status: Annotated[int, Meta(ge=400, le=599)] = 429
    code: str | None = "insufficient_quota"
    words: str = "You exceeded your current quota."
    hint: bool = False


class BrownOutTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """From `at` on for `lasts` seconds, a `share` of the calls fails: by a 503, or a reset connection. `fast`: after
    `refusal_latency`, as a balancer does where a share of those behind it is out."""

    at: Seconds
    lasts: Seconds
    share: Share = 0.5
    by: Literal["503", "reset"] = "503"
    fast: bool = False


class TroubleTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Some calls are answered otherwise: those of `rows`, every n-th call, or a share of them; only the `first` n calls of
    each row, where that is said.

    `with`: a status code; `reset` (the connection breaks); `silence` (no answer, ever); `late` (an answer after
    `seconds`); `nonsense` (an answer of the wrong type); `refusal` (a 429).
    """

    answer: Annotated[int, Meta(ge=400, le=599)] | Literal["reset", "silence", "late", "nonsense", "refusal"] = (
        msgspec.field(name="with", default="refusal")
    )
    rows: list[int] = []
    every: Count | None = None
    share: Share | None = None
    first: Count | None = None
    seconds: Seconds = 1.0


RetryAfter = Literal["none", "seconds", "date", "negative", "absurd", "huge", "nan", "unreadable", "zero"]


class ServiceTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[[service]]`: something remote. `retry_after`: the shape of the hint that comes with a refusal (L13); `hint`:
    its seconds.

    `latency`: seconds from a call's arrival to its answer; `refusal_latency`: the same of a quota's refusals, where they
    take another time, and `refuses_with` their status: nginx as shipped says 503, as does who is out. `travel`: seconds
    on the way there, before anything is counted, so that calls arrive otherwise than they were sent. `headers`: the
    dialect in which answers and refusals tell how the quotas stand. `clock`: so many seconds is its clock ahead of ours,
    which shows in the dates that it tells. `tokens`: from and to, what calls take of the quotas of tokens, by their rows
    as `weights` of a limit.
    """

    name: str = "api"
    latency: Latency = 0.02
    refusal_latency: Latency | None = None
    refuses_with: Literal[429, 503] = 429
    travel: Latency = 0.0
    headers: Dialect = "none"
    clock: float = 0.0
    tokens: Span | None = None
    quota: list[QuotaTable] = []
    retry_after: RetryAfter = "none"
    hint: Seconds = 1.0
    outage: list[OutageTable] = []
    exhausted: list[ExhaustedTable] = []
    brown_out: list[BrownOutTable] = []
    trouble: list[TroubleTable] = []

    def tokens_of(self, row: int) -> float:
        """What the call of a row takes of the quotas of tokens."""
        return weight_of(row, self.tokens) if self.tokens is not None else 0.0


# --- what runs ------------------------------------------------------------------------------------------------------------


class LimitTable(LimitOptions):
    """`[stage.limit]`; as `Limit`. `keys`: so many keys, by turns. `weights`: from and to, of the rows, for rates of
    weights."""

    keys: Count | None = None
    weights: Span | None = None


class RetryTable(RetryOptions):
    """The table `[stage.retry]` of a scenario; it says what `Retry` says."""


class QuirkTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the stage's own code does to some rows, in the first of their attempts only where `once`.

    `raise`: a plain error. `interrupt`, `exit`: KeyboardInterrupt, SystemExit. `nonsense`: returns something else.
    `mutate`: changes its row before it fails. `block`: never comes back. `slow`: takes `seconds` of its own.
    `pending`: is begun, and done when it is asked again, `seconds` later. `writes`: adds to its row, in place. `crash`: ends
    its worker process.
    """

    does: Literal["crash", "raise", "interrupt", "exit", "nonsense", "mutate", "block", "slow", "pending", "writes"]
    rows: list[int] = []
    every: Count | None = None
    once: bool = False
    seconds: Seconds = 1.0


class StageTable(NodeOptions):
    """`[[stage]]`: a node, by default calls of a service, as `Pipeline.map`. `on`: threads, or coroutines on a loop.
    `service` "none": no call, the row goes on at once. `shared`: stages of the same service are given the same strategy
    object.

    `kind`: as the methods of `Pipeline`. `after`: the nodes that it stands after, as "score" or "triage.review"; by
    default, the one before it. What functions say follows from the row's number n: a filter drops each `every`-th row,
    a route takes its `branches` and, where `onward`, the way on by turns, a flat_map makes n % (`pieces` + 1) rows, a
    batch by key has `keys` of them, and so has a dedupe. `fork`: which one a join closes; `late`: its late parts have a way
    of their own, "NAME.late".
    """

    name: str = "ask"
    after: list[str] = field(default_factory=list)
    onward: bool = True
    every: Count = 3
    pieces: Annotated[int, Meta(ge=0)] = 2
    keys: Count | None = None
    service: str = "api"
    on: Literal["threads", "loop"] = "threads"
    limit: str | LimitTable | None = None
    retry: Count | RetryTable | None = None
    quirk: list[QuirkTable] = field(default_factory=list)
    prepare: Seconds = 0.0
    close: Seconds = 0.0
    prepare_fails: bool = False
    close_fails: bool = False
    shared: bool = False


class SourceTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[source]`: rows 0, 1, 2, … `rows` -1: without end. `every`: seconds between rows. `pauses`: [row, seconds] pairs.

    `bad`: rows that cannot be read. `fails_at`: reading fails before these rows, `fails` times each; `resumable`: it can be
    tried again there. `hangs_at`: never gives this row. `deaf`: a read that waits cannot be interrupted.
    """

    rows: Annotated[int, Meta(ge=-1)] = 200
    every: Seconds = 0.0
    pauses: list[Span] = []
    bad: list[int] = []
    fails_at: list[int] = []
    fails: Count = 1
    resumable: bool = True
    retry: Count = 3
    hangs_at: int | None = None
    deaf: bool = False
    opens: Seconds = 0.0
    open_fails: bool = False
    close_fails: bool = False


class SinkTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[sink]`, or several `[[sink]]`, and `[quarantine]`. `name`, `after`, `ordered`, `on_error`: as of
    `Pipeline.sink`. `row`: seconds that a row takes. `fails_at`: the write that has this row fails, `error`: as a
    refusal, a full disk, or plainly. `hangs_at`: never comes back from it. `unwritable`: rows that it cannot hold."""

    name: str = "sink"
    after: list[str] = []
    ordered: bool | None = None
    on_error: Literal["abort", "drain"] = "abort"
    row: Seconds = 0.0
    write: Seconds = 0.0
    fails_at: int | None = None
    error: Literal["plain", "disk full", "refused"] = "plain"
    hangs_at: int | None = None
    unwritable: list[int] = []
    opens: Seconds = 0.0
    open_fails: bool = False
    close_fails: bool = False


class PipelineTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[pipeline]`. `runs`: so many at once, which share limits that have a name. `stream`: read by `stream()`, whose reader
    takes `reader` seconds a row."""

    window: Count | None = None
    ordered: bool = True
    max_quarantined: Annotated[float, Meta(ge=0)] | None = None
    drain_timeout: Annotated[float, Meta(gt=0)] | None = None
    runs: Count = 1


class BatchTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[[batch]]`: callers of the executor. So many `callers` at once from `at` on, `every` seconds apart, each with `rows`
    rows, who wait for `timeout` seconds and then go away. `singly`: by `submit`, one call a row; `cancel`: each call is
    cancelled so many seconds later, if it has not begun."""

    callers: Count = 1
    rows: Count = 50
    at: Seconds = 0.0
    every: Seconds = 0.0
    timeout: Annotated[float, Meta(gt=0)] | None = None
    singly: bool = False
    cancel: Seconds | None = None


class ExecutorTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[executor]`, in the place of a pipeline: one `Executor`, with one stage's options."""

    batch: list[BatchTable]
    service: str = "api"
    on: Literal["threads", "loop"] = "threads"
    workers: Count = 8
    limit: str | LimitTable | None = None
    retry: Count | RetryTable | None = None
    timeout: Annotated[float, Meta(gt=0)] | None = None
    deadline: Annotated[float, Meta(gt=0)] | None = None
    on_unknown: Literal["retry", "quarantine"] = "retry"
    quirk: list[QuirkTable] = []
    abort_at: Seconds | None = None


# --- what goes wrong ------------------------------------------------------------------------------------------------------


class FaultTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[[fault]]`. When: `at` seconds, or `after` seconds after the `nth` message named `when` was told (`Call` and
    `Reply` count as messages, those of `stage` only, where that is said).

    `kill`: an actor ends, whatever it does. `hold`: it gets no turn for `lasts` seconds, so what it is told is delayed.
    `pause`: the whole process stands still for `lasts` seconds (the clock jumps). `drain`, `abort`: as the user's.
    `double`: the message that it came `when` comes once more (an `Answered`, for the protocol allows no other). `limit`: the
    limit is `limit` from then on. `stats`: somebody asks how it stands. `times`, `every`: again, so many seconds later.

    `actor`: the last part of its name: `source`, `reorder`, `sink`, `governor-ask`, a stage's name. `worker`: the one
    that the message went to or came from; without `when`, one that has a call under way.
    """

    what: Literal["kill", "hold", "pause", "drain", "abort", "double", "limit", "stats"]
    actor: str | None = None
    at: Seconds | None = None
    when: str | None = None
    stage: str | None = None
    nth: Count = 1
    after: Seconds = 0.0
    lasts: Seconds = 1.0
    limit: str | None = None
    times: Count = 1
    every: Seconds = 0.0


# --- what must come of it -------------------------------------------------------------------------------------------------


class ExpectTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[expect]`: numbers, or from and to. What is not named is not looked at; the invariants hold besides.

    `of_ideal`: seconds taken, as a multiple of the ideal that the file's own numbers imply. `elapsed`: seconds.
    `refused`: share of the calls. `in_flight`: calls at once, at most seen. `inbox`: messages in one inbox. `abort_s`:
    from an abort (or the second drain) to the end of the run, or to the last answered waiter. `calls_per_row`.
    `messages_per_row`. `answered`: rows of executors that had an answer. `error`: the class of the run's error. `note`:
    a part of one of its notes. `late`: answers that reached nobody. `late_parts`: parts that came after a join's word.
    `written`: rows (or batches) by sink. `lost`: workers. `opens`: prepares of each strategy.
    """

    state: str | list[str] | None = None
    rows: Bounds | None = None
    delivered: Bounds | None = None
    dropped: Bounds | None = None
    quarantined: Bounds | None = None
    failed: Bounds | None = None
    interrupted: Bounds | None = None
    calls: Bounds | None = None
    refusals: Bounds | None = None
    refused: Bounds | None = None
    cooldowns: Bounds | None = None
    outages: Bounds | None = None
    retries: Bounds | None = None
    elapsed: Bounds | None = None
    of_ideal: Bounds | None = None
    in_flight: Bounds | None = None
    inbox: Bounds | None = None
    abort_s: Bounds | None = None
    calls_per_row: Bounds | None = None
    messages_per_row: Bounds | None = None
    answered: Bounds | None = None
    late: Bounds | None = None
    late_parts: Bounds | None = None
    written: dict[str, Bounds] | None = None
    lost: Bounds | None = None
    error: str | list[str] | None = None
    note: str | None = None


class RealTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`[real]`: what differs under `--real`. `skip`: why it cannot be had there. `expect`: in the place of the same
    expectations."""

    skip: str | None = None
    expect: ExpectTable | None = None


class Script(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A whole file. `schedule`: pinned, where the seed shall not choose it."""

    shows: Annotated[str, Meta(min_length=10)]
    lessons: list[Lesson] = []
    pipeline: PipelineTable = msgspec.field(default_factory=PipelineTable)
    source: SourceTable = msgspec.field(default_factory=SourceTable)
    stage: list[StageTable] = msgspec.field(default_factory=lambda: [StageTable()])
    sink: list[SinkTable] = msgspec.field(default_factory=lambda: [SinkTable()])
    quarantine: SinkTable = msgspec.field(default_factory=SinkTable)
    executor: ExecutorTable | None = None
    service: list[ServiceTable] = msgspec.field(default_factory=lambda: [ServiceTable()])
    fault: list[FaultTable] = []
    expect: ExpectTable = msgspec.field(default_factory=ExpectTable)
    real: RealTable = msgspec.field(default_factory=RealTable)
    schedule: Schedule | None = None
    until: Seconds = 86_400.0
    """Seconds after which a scenario that has not ended has failed."""
    name: str = ""


def read(path: Path) -> Script:
    """The scenario of a file. Raises `ConfigError` with all that is wrong, one line for each mistake."""
    reading = Reading.of(path)
    script = reading.table(Script, reading.data, "")
    reading.check()
    assert isinstance(script, Script)
    _check(reading, script)
    reading.check()
    return msgspec.structs.replace(script, name=script.name or path.stem)


def find(name: str) -> Path:
    """A file, or one of the scenarios that come with Headrace, by its name. Raises `ConfigError`."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    known = SCRIPTS / f"{name}.toml"
    if not known.exists():
        near = difflib.get_close_matches(name, [p.stem for p in SCRIPTS.glob("*.toml")], 1)
        hint = f"did you mean {near[0]!r}?" if near else "`headrace scenario list` names those there are"
        raise ConfigError(f"{name}: neither a file nor a scenario that comes with Headrace; {hint}")
    return known


def _check(reading: Reading, script: Script) -> None:
    """What the types do not say."""
    services = {service.name for service in script.service}
    names = [*(stage.name for stage in script.stage), *(sink.name for sink in script.sink)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        reading.note("", f"two nodes are named {name!r}")
    for i, stage in enumerate(script.stage):
        calls = IN_FILES[stage.kind].calls is not None
        if calls and stage.service != "none" and stage.service not in services:
            reading.note(f"stage[{i}].service", f"no [[service]] is named {stage.service!r}")
        reading.attempt(f"stage[{i}].limit", lambda stage=stage: limit_of(stage.limit))  # type: ignore[misc]
    if script.executor is not None and script.executor.service not in services:
        reading.note("executor.service", f"no [[service]] is named {script.executor.service!r}")
    for i, service in enumerate(script.service):
        for name in ("latency", "refusal_latency", "travel"):
            latency = getattr(service, name)
            if isinstance(latency, LatencyTable) and latency.given != 1:
                reading.note(f"service[{i}].{name}", "one of uniform, lognormal and pareto is needed")
        for j, quota in enumerate(service.quota):
            wanted = "per_s" if quota.kind in ("bucket", "queue") else "calls"
            if getattr(quota, wanted) is None:
                reading.note(f"service[{i}].quota[{j}]", f"a quota of kind {quota.kind!r} needs {wanted!r}")
            if quota.unit == "tokens" and service.tokens is None:
                reading.note(f"service[{i}].quota[{j}]", "a quota of tokens needs the service's 'tokens'")
    for i, fault in enumerate(script.fault):
        key = f"fault[{i}]"
        if (fault.at is None) == (fault.when is None):
            reading.note(key, "one of 'at' and 'when' is needed")
        if fault.when is not None and fault.when not in MESSAGES:
            near = difflib.get_close_matches(fault.when, MESSAGES, 1)
            reading.note(
                f"{key}.when", f"no message is named {fault.when!r}{f'; did you mean {near[0]!r}?' if near else ''}"
            )
        if fault.stage is not None and script.executor is None and fault.stage not in names:
            reading.note(f"{key}.stage", f"no [[stage]] is named {fault.stage!r}")
        if fault.what in ("kill", "hold") and fault.actor is None:
            reading.note(key, f"{fault.what!r} needs an 'actor'")
        if fault.what == "double" and fault.when != "Answered":
            reading.note(key, "only an 'Answered' may come twice: when = \"Answered\"")
        if fault.what == "limit" and fault.limit is None:
            reading.note(key, "'limit' needs a 'limit'")


def limit_of(limit: str | LimitTable | None) -> Limit:
    """The limit that a table says. Raises `ConfigError`."""
    if limit is None or isinstance(limit, str):
        return as_limit(limit)
    keys, weights = limit.keys, limit.weights
    return limit.limit(
        cost=(lambda row: weight_of(id_of(row), weights)) if weights else None,
        key=(lambda row: id_of(row) % keys) if keys else None,
    )


def weight_of(row: int, span: list[float]) -> float:
    """A number of that span, which looks random and is the row's own."""
    return span[0] + row * 7919 % 100 / 99 * (span[1] - span[0])


def retry_of(retry: int | RetryTable | None) -> Retry | None:
    """The retry that a table says."""
    return retry.retry() if isinstance(retry, RetryTable) else as_retry(retry)


def id_of(row: Any) -> int:
    """Which row a value belongs to, whatever a stage has made of it; of a batch, the first one; -1: nobody can tell."""
    if type(row) is int and row >= 0:
        return row
    while isinstance(row, list):
        row = row[0] if row else -1
    if isinstance(row, int):
        return row if row >= 0 else -row - 2
    return -1
