"""Scenarios at random: any stages, limits, services, faults and stops; whatever they are, the invariants must hold."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from headrace.scenarios.latency import LatencyTable
from headrace.scenarios.quotas import ChangeTable, QuotaTable
from headrace.scenarios.script import (
    BatchTable,
    BrownOutTable,
    ExecutorTable,
    ExhaustedTable,
    FaultTable,
    LimitTable,
    OutageTable,
    PipelineTable,
    QuirkTable,
    RetryTable,
    Script,
    ServiceTable,
    SinkTable,
    SourceTable,
    StageTable,
    TroubleTable,
)

ANSWERS: tuple[Any, ...] = (400, 500, "reset", "silence", "late", "nonsense", "refusal")
QUIRKS: tuple[Any, ...] = ("crash", "raise", "interrupt", "exit", "mutate", "block", "slow")
WHEN = (
    "Assign",
    "Answered",
    "Call",
    "CooldownBegan",
    "CooldownEnded",
    "Died",
    "Drained",
    "EndOfRows",
    "LimitHit",
    "Open",
    "Opened",
    "Outcomes",
    "PermitsGranted",
    "ReadDone",
    "Rows",
    "RunEnded",
    "Settled",
    "Start",
    "Write",
    "Written",
)


GIVES_UP = FaultTable(what="abort", at=3000.0)
"""What may hang for ever is aborted in the end, and must then end. What may not must end by itself."""


def giving_up(script: Script) -> Script:
    """The same, given up in the end if something in it may hang for ever."""
    ends = [script.source.hangs_at, *(sink.hangs_at for sink in script.sink), script.quarantine.hangs_at]
    silent = any(
        any(trouble.answer == "silence" for trouble in service.trouble)
        or any(outage.by == "silence" for outage in service.outage)
        for service in script.service
    )
    timeouts = [stage.timeout for stage in script.stage]
    if script.executor is not None:
        timeouts = [script.executor.timeout]
    patient = None in timeouts
    # A service that takes nobody is asked a hundred times for each row, with longer and longer cooldowns between.
    refuses = any(
        any(trouble.answer == "refusal" and trouble.first is None for trouble in service.trouble)
        for service in script.service
    )
    # A service that asks to wait for a year is waited for as long as the limit allows, again and again.
    long = any(service.retry_after in ("absurd", "huge") for service in script.service)
    # Calls that are never answered keep their places for ever, and may be as many as the service has; those that are
    # answered too late keep them for long.
    held = any(quota.kind == "concurrency" for service in script.service for quota in service.quota)
    full = held and (silent or any(timeouts))
    # An account that gets nothing is waited for for a day.
    shut = any(service.exhausted for service in script.service)
    if not (refuses or long or full or shut or any(end is not None for end in ends) or (silent and patient)):
        return script
    return msgspec.structs.replace(script, fault=[*script.fault, GIVES_UP])


def random_script(seed: int, *, values: bool = True) -> Script:
    """A random scenario. Without `values`, every sink can hold every row, and servers count as they did at first: seeds
    that found something before replay what they played then."""
    random = Random(f"{seed}:script")
    script = _executor(random) if random.random() < 0.2 else _pipeline(random)
    if not values:
        return giving_up(script)
    script = with_what_concerns_many(with_servers(with_unwritable(script, seed), seed), seed)
    return giving_up(with_fast_troubles(with_other_servers(script, seed), seed))


def with_servers(script: Script, seed: int) -> Script:
    """The same scenario, with servers as the world has them: other quotas, in windows that began at any time, by tokens; a
    way that takes its time; refusals that come fast or slowly; headers of every dialect, and clocks that are wrong. Some of
    the limits are stated to be what the server's are, with the same burst."""
    random, replace = Random(f"{seed}:servers"), msgspec.structs.replace
    services = []
    for service in script.service:
        if random.random() < 0.4:
            services.append(service)
            continue
        rate = random.choice((5.0, 20.0, 50.0))
        services.append(
            replace(
                service,
                quota=_quotas(random, rate, script.source.rows),
                travel=random.choice(
                    (0.0, 0.0, 0.01, LatencyTable(uniform=[0.0, 0.05]), LatencyTable(uniform=[0.1, 2.0]))
                ),
                refusal_latency=random.choice((None, None, 0.0, 0.001, LatencyTable(uniform=[0.0, 1.0]))),
                headers=random.choice(("none", "openai", "anthropic", "github", "ietf")),
                clock=random.choice((0.0, 0.0, 0.4, -180.0, 420.0, 86_400.0)),
                tokens=[1.0, 40.0],
            )
        )
    return unhurried(_stated(random, replace(script, service=services)))


def with_other_servers(script: Script, seed: int) -> Script:
    """The same scenario, whose services perhaps let calls wait for their turn, refuse with 503, have a quota for each key,
    or change what they allow."""
    random, replace = Random(f"{seed}:others"), msgspec.structs.replace

    def other(quota: QuotaTable) -> QuotaTable:
        if quota.kind == "bucket" and quota.unit == "calls" and random.random() < 0.4:
            quota = replace(quota, kind="queue")
        if random.random() < 0.2:
            quota = replace(quota, per_key=True)
        if random.random() < 0.2:
            share, at, back = random.choice((0.5, 2.0)), random.random() * 4, 4.0 + random.random() * 8
            calls, per_s = quota.calls, quota.per_s
            if quota.kind not in ("bucket", "queue") and calls is not None:
                less = max(1, int(calls * share))
                quota = replace(quota, change=[ChangeTable(at, calls=less), ChangeTable(back, calls=calls)])
            elif per_s is not None:
                quota = replace(quota, change=[ChangeTable(at, per_s=per_s * share), ChangeTable(back, per_s=per_s)])
        return quota

    def perhaps(table: ServiceTable) -> ServiceTable:
        refuses_with: Any = 503 if random.random() < 0.25 else table.refuses_with
        return replace(table, quota=list(map(other, table.quota)), refuses_with=refuses_with)

    return replace(script, service=list(map(perhaps, script.service)))


def unhurried(script: Script) -> Script:
    """The same, but that the way to a server takes no time where a stage gives its calls little: where most of them take
    longer than their time-out, no row is at fault, all are called again and again, and a run takes hours."""
    hurried = {stage.service for stage in script.stage if stage.timeout is not None}
    if script.executor is not None and script.executor.timeout is not None:
        hurried.add(script.executor.service)
    replace = msgspec.structs.replace
    services = [replace(each, travel=0.0) if each.name in hurried else each for each in script.service]
    return replace(script, service=services)


def _quotas(random: Random, rate: float, rows: int) -> list[QuotaTable]:
    every = random.choice((0.5, 1.0, 3.0, 10.0, 60.0))
    # A window that few rows fit into is waited for again and again.
    calls = max(1, int(rate * every), rows // 10)
    offset = random.choice((0.0, random.random() * every, random.random() * 1e6))
    kinds: list[Any] = [
        QuotaTable("bucket", per_s=rate, burst=random.choice((1.0, 1.0, 5.0)), tick=random.choice((0.0, 0.001))),
        QuotaTable("fixed", calls=calls, every=every, offset=offset),
        QuotaTable("sliding", calls=calls, every=every),
        QuotaTable("concurrency", calls=random.choice((1, 3, 10))),
        QuotaTable("bucket", per_s=rate * 20, burst=100.0, unit="tokens"),
        QuotaTable("fixed", calls=20 * calls + 40, every=every, offset=offset, unit="tokens"),
    ]
    return random.sample(kinds, random.choice((1, 1, 1, 2)))


def _stated(random: Random, script: Script) -> Script:
    """Perhaps the limits of the stages that call a service with a bucket of calls are those of the bucket."""
    replace, of = msgspec.structs.replace, {service.name: service for service in script.service}

    def stated(table: Any) -> Any:
        service = of.get(table.service)
        for quota in service.quota if service is not None else ():
            if quota.kind == "bucket" and quota.unit == "calls" and random.random() < 0.5:
                return replace(table, limit=LimitTable(rates=[f"{quota.per_s:g}/s"], burst=quota.burst))
        return table

    executor = stated(script.executor) if script.executor is not None else None
    return replace(script, stage=[stated(stage) for stage in script.stage], executor=executor)


def with_fast_troubles(script: Script, seed: int) -> Script:
    """The same scenario, whose outages and brown-outs perhaps answer as fast as a quota refuses: a balancer says 503 at
    once where nobody is behind it (L40, L76)."""
    random, replace = Random(f"{seed}:fast"), msgspec.structs.replace

    def perhaps(table: ServiceTable) -> ServiceTable:
        if random.random() < 0.5:
            return table
        outages = [replace(outage, fast=True) for outage in table.outage]
        browns = [replace(brown, fast=True) for brown in table.brown_out]
        return replace(table, refusal_latency=0.0005, outage=outages, brown_out=browns)

    return replace(script, service=list(map(perhaps, script.service)))


def with_what_concerns_many(script: Script, seed: int) -> Script:
    """The same scenario, whose services perhaps have brown-outs, or accounts that are exhausted (L71, L76)."""
    random, replace = Random(f"{seed}:many"), msgspec.structs.replace

    def perhaps(table: ServiceTable) -> ServiceTable:
        brown, shut = random.random() < 0.2, random.random() < 0.2
        if brown:
            lasts, share = random.choice((2.0, 20.0, 60.0)), random.choice((0.5, 0.8, 0.95))
            by: Any = random.choice(("503", "reset"))
            table = replace(table, brown_out=[BrownOutTable(random.random() * 3, lasts, share, by)])
        if shut:
            lasts_s = random.choice((60.0, 600.0, None))
            status = random.choice((401, 402, 429))
            hint = random.random() < 0.5
            table = replace(table, exhausted=[ExhaustedTable(random.random() * 2, lasts_s, status, hint=hint)])
        return table

    return replace(script, service=list(map(perhaps, script.service)))


def with_unwritable(script: Script, seed: int) -> Script:
    """The same scenario, in which some sinks perhaps cannot hold some rows (L62)."""
    random, replace = Random(f"{seed}:unwritable"), msgspec.structs.replace

    def perhaps(table: SinkTable) -> SinkTable:
        rows = _some_rows(random, script.source.rows)
        return replace(table, unwritable=rows) if random.random() < 0.2 else table

    return replace(script, sink=list(map(perhaps, script.sink)), quarantine=perhaps(script.quarantine))


def _pipeline(random: Random) -> Script:
    services = [random_service(random, name) for name in ("a", "b")[: random.choice((1, 1, 2))]]
    rows = random.choice((0, 1, 5, 30, 100, 200))
    stages = [_stage(random, i, services, rows) for i in range(random.choice((0, 1, 1, 1, 2, 3)))]
    window = random.choice((None, None, 1, 2, 16, 64))
    return Script(
        shows="a scenario at random",
        name="random",
        pipeline=PipelineTable(
            window=window,
            ordered=random.random() < 0.85,
            drain_timeout=random.choice((None, None, 2.0)),
            max_quarantined=random.choice((None, None, None, 20, 0.5)),
            runs=random.choice((1, 1, 1, 2)),
        ),
        source=random_source(random, rows),
        stage=stages,
        sink=[random_sink(random, rows)],
        quarantine=random_sink(random, rows),
        service=services,
        fault=[random_fault(random, stages) for _ in range(random.choice((0, 0, 1, 1, 2, 3, 5)))],
        until=5000.0,
    )


def _some_rows(random: Random, rows: int) -> list[int]:
    return sorted({int(random.random() * max(rows, 1)) for _ in range(random.choice((1, 3, 10)))})


def _latency(random: Random) -> Any:
    return random.choice(
        (
            0.0,
            0.02,
            0.3,
            LatencyTable(uniform=[0.0, 0.2]),
            LatencyTable(lognormal=[0.02, 1.0]),
            LatencyTable(pareto=[0.01, 1.2]),
        )
    )


def random_service(random: Random, name: str) -> ServiceTable:
    quota: list[QuotaTable] = []
    if random.random() < 0.5:
        kind: Any = random.choice(("bucket", "bucket", "fixed", "sliding", "concurrency"))
        quota = [
            QuotaTable(
                kind, per_s=random.choice((20.0, 100.0)), burst=random.choice((1.0, 10.0)), calls=random.choice((3, 30))
            )
        ]
    outages = [
        OutageTable(
            at=random.random() * 5, lasts=random.random() * 5, by=random.choice(("503", "429", "reset", "silence"))
        )
        for _ in range(random.choice((0, 0, 0, 1, 2)))
    ]
    troubles = [
        TroubleTable(
            answer=random.choice(ANSWERS),
            rows=_some_rows(random, 100),
            first=random.choice((None, 1, 2)),
            seconds=random.random(),
        )
        for _ in range(random.choice((0, 0, 1, 2)))
    ]
    if random.random() < 0.2:
        troubles.append(TroubleTable(answer=random.choice((500, "refusal", "reset")), share=random.random() * 0.5))
    hints: tuple[Any, ...] = ("none", "none", "seconds", "date", "negative", "zero", "unreadable")
    if random.random() < 0.2:
        # What no clock can hold, or nobody should wait for (L60).
        hints = ("absurd", "huge", "nan")
    return ServiceTable(
        name=name,
        latency=_latency(random),
        quota=quota,
        retry_after=random.choice(hints),
        hint=random.random() * 3,
        outage=outages,
        trouble=troubles,
    )


def _limit(random: Random) -> Any:
    return random.choice(
        (
            None,
            None,
            "50/s",
            "300/min",
            LimitTable(concurrency=4),
            LimitTable(concurrency="auto"),
            LimitTable(rates=["100/s", "30/s"], concurrency=3),
            LimitTable(rates=["200 tokens/s"], weights=[1, 40]),
            LimitTable(keys=3, rates=["20/s"]),
            LimitTable(keys=2),
            LimitTable(rates=["40/s"], name="shared"),
        )
    )


def random_calls(random: Random, rows: int) -> dict[str, Any]:
    timeout = random.choice((None, 0.25, 1.0))
    quirks: tuple[Any, ...] = QUIRKS if timeout is not None else tuple(q for q in QUIRKS if q != "block")
    return {
        "on": random.choice(("threads", "threads", "loop")),
        "workers": random.choice((1, 2, 4, 16, 40)),
        "limit": _limit(random),
        "retry": random.choice((None, 1, 5, RetryTable(attempts=4, base=0.01, refusals=random.choice((3, 100))))),
        "timeout": timeout,
        "deadline": random.choice((None, None, None, 2.0)),
        "on_unknown": random.choice(("retry", "quarantine")),
        "quirk": [
            QuirkTable(
                does=random.choice(quirks), rows=_some_rows(random, rows), once=random.random() < 0.5, seconds=0.5
            )
            for _ in range(random.choice((0, 0, 0, 1, 2)))
        ],
    }


def _stage(random: Random, i: int, services: list[ServiceTable], rows: int) -> StageTable:
    return StageTable(
        name=f"stage{i}",
        service=random.choice([s.name for s in services] + ["none"]),
        on_error=random.choice(("quarantine", "quarantine", "drop", "fail")),
        prepare=random.choice((0.0, 0.0, 0.5)),
        close=random.choice((0.0, 0.0, 0.5)),
        prepare_fails=random.random() < 0.03,
        close_fails=random.random() < 0.1,
        **random_calls(random, rows),
    )


def random_source(random: Random, rows: int) -> SourceTable:
    return SourceTable(
        rows=rows,
        every=random.choice((0.0, 0.0, 0.0, 0.01, 0.3)),
        pauses=[[float(int(random.random() * max(rows, 1))), random.random() * 20]] if random.random() < 0.2 else [],
        bad=_some_rows(random, rows) if random.random() < 0.2 else [],
        fails_at=_some_rows(random, rows) if random.random() < 0.2 else [],
        fails=random.choice((1, 2)),
        resumable=random.random() < 0.8,
        hangs_at=int(random.random() * rows) if random.random() < 0.05 else None,
        deaf=random.random() < 0.1,
        opens=random.choice((0.0, 0.0, 0.5)),
        open_fails=random.random() < 0.03,
        close_fails=random.random() < 0.1,
    )


def random_sink(random: Random, rows: int) -> SinkTable:
    return SinkTable(
        row=random.choice((0.0, 0.0, 0.001, 0.05)),
        write=random.choice((0.0, 0.0, 0.01)),
        fails_at=int(random.random() * rows) if random.random() < 0.1 else None,
        error=random.choice(("plain", "disk full", "refused")),
        hangs_at=int(random.random() * rows) if random.random() < 0.03 else None,
        opens=random.choice((0.0, 0.0, 0.5)),
        open_fails=random.random() < 0.03,
        close_fails=random.random() < 0.1,
    )


def random_fault(random: Random, stages: list[StageTable]) -> FaultTable:
    what: Any = random.choice(("kill", "kill", "hold", "hold", "pause", "drain", "abort", "double", "limit", "stats"))
    actors = ["worker", "worker", "source", "reorder", "sink", "ledger", "writer", "reader", "quarantine"]
    actors += [stage.name for stage in stages] + [f"governor-{stage.name}" for stage in stages]
    when = "Answered" if what == "double" else random.choice(WHEN) if random.random() < 0.6 else None
    return FaultTable(
        what=what,
        actor=random.choice(actors) if what in ("kill", "hold") else None,
        at=random.random() * 6 if when is None else None,
        when=when,
        nth=random.choice((1, 1, 2, 5, 20)),
        after=random.choice((0.0, 0.0, 0.001, 0.05, 1.0)),
        lasts=random.choice((0.001, 0.05, 0.5, 3.0)),
        limit="30/s" if what == "limit" else None,
        times=random.choice((1, 1, 1, 2, 4)),
        every=random.choice((0.0, 0.1)),
    )


def _executor(random: Random) -> Script:
    batches = [
        BatchTable(
            callers=random.choice((1, 3, 8)),
            rows=random.choice((1, 5, 20)),
            at=random.choice((0.0, 0.2, 1.0)),
            every=random.choice((0.0, 0.01)),
            timeout=random.choice((None, None, 0.1, 1.0)),
            singly=random.random() < 0.4,
            cancel=random.choice((None, None, 0.0, 0.05)),
        )
        for _ in range(random.choice((1, 2, 3)))
    ]
    calls = random_calls(random, 20)
    calls["quirk"] = [q for q in calls["quirk"] if q.does != "mutate"]
    return Script(
        shows="an executor at random",
        name="random",
        executor=ExecutorTable(
            batch=batches, service="a", abort_at=random.choice((None, None, None, 0.3, 1.0)), **calls
        ),
        service=[random_service(random, "a")],
        fault=[
            fault
            for fault in (random_fault(random, []) for _ in range(random.choice((0, 0, 1, 2))))
            if fault.actor == "worker" or fault.what in ("drain", "abort", "stats", "pause", "double")
        ],
        until=5000.0,
    )
