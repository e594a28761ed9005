"""How a report is made: each actor is asked for its statistics, and what they say is put together.

Who owns which number: the ledger the rows by outcome; a stage its calls, how long they took, and which of them failed; a
governor its waits and closings; a reorder buffer and a sink theirs; each node the errors that ended rows in it. Nobody else
counts them. What earlier lives of a run have counted comes from its journal.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from headrace.actors.actor import Ref
from headrace.actors.errors import InternalError
from headrace.actors.governor import GovernorStatistics
from headrace.actors.protocol import Counts, ErrorGroup, State, Status, Traffic
from headrace.actors.reorder import ReorderStatistics
from headrace.actors.sink import SinkStatistics
from headrace.actors.source import SourceStatistics
from headrace.actors.stages.terms import StageStatistics

from ..connectors.port import Written
from ..connectors.row_lines import lines_in
from ..graph.plan import SOURCE, Plan
from ..journal.port import Journaling
from ..names import connector_name
from .report import RunReport
from .report_parts import Cause, ErrorReport, NodeReport, StageReport, WaitReport
from .roster import Roster

Ask = Callable[[Sequence[Any]], Sequence[Any]]
COMMANDS_SHOWN = 3
"""Kinds of errors for which the command is told that tries their rows again."""
_CLOSED: dict[str, Cause] = {"refused": "cooldown", "outage": "outage", "exhausted": "account"}


def report_of(
    plan: Plan,
    roster: Roster,
    ask: Ask,
    state: State,
    counts: Counts,
    elapsed_s: float,
    notes: tuple[str, ...] = (),
    journaling: Journaling | None = None,
) -> RunReport:
    """The report of these counts, with what each actor says of itself to `ask`. `journaling`: what earlier lives left."""
    asked, limits = _asked(roster, ask), roster.governors
    stages = tuple(_stages(roster, asked))
    # Stages that share a limit have the same statistics of it.
    governors = [g for g in (asked[at] for at in dict.fromkeys(limits.values())) if isinstance(g, GovernorStatistics)]
    nodes = tuple(_nodes(plan, roster, asked))
    spent = spent_of(stages)
    before = journaling.spent if journaling is not None else ()
    by_life = (*(_whole(of_life) for of_life in before), spent) if before else ()
    life = journaling.life if journaling is not None else 1
    found = _errors(nodes, stages, journaling.ended if journaling is not None else {})
    # In a later life, nobody here knows how many records were there before.
    quarantine = asked[roster.quarantine] if roster.quarantine is not None and life == 1 else None
    return RunReport(
        name=plan.name,
        state=state,
        rows=counts.rows,
        delivered=counts.delivered,
        dropped=counts.dropped,
        quarantined=counts.quarantined,
        failed=counts.failed,
        interrupted=counts.interrupted,
        calls=sum(s.calls.calls for s in stages),
        refusals=sum(s.calls.refusals for s in stages),
        cooldowns=sum(limit.cooldowns for limit in governors),
        elapsed_s=elapsed_s,
        stages=stages,
        nodes=nodes,
        notes=notes,
        spent=spent,
        spent_by_life=by_life,
        spent_in_all=_sum_of(by_life),
        errors=tuple(_with_records(plan, quarantine, found)),
        waits=tuple(_within(elapsed_s, _waits(roster, asked))),
        life=life,
        expected=source.expected if isinstance(source := asked[roster.source], SourceStatistics) else None,
        this_life=_without(counts, journaling.past.counts) if journaling is not None and life > 1 else None,
    )


def _asked(roster: Roster, ask: Ask) -> dict[Ref, object]:
    whom = [roster.source, *roster.nodes.values(), *roster.reorders.values(), *roster.governors.values()]
    if roster.quarantine is not None:
        whom.append(roster.quarantine)
    whom = list(dict.fromkeys(whom))
    return dict(zip(whom, ask(whom), strict=True))


def finished(report: RunReport, plan: Plan, files: tuple[Written, ...], journaling: Journaling | None) -> RunReport:
    """The report of a run that has ended, with what only its end tells: where the examples stand, and what to do next."""
    lines = _lines(plan, {error.row for error in report.errors})
    # In a file to which was appended, nobody here knows how many records were there before.
    numbered = {file.path for file in files if file.what in ("created", "replaced")}
    errors = tuple(
        msgspec.structs.replace(
            error,
            line=lines.get(error.row),
            record=error.record if error.record is not None and error.record.partition(" of ")[2] in numbered else None,
        )
        for error in report.errors
    )
    report = msgspec.structs.replace(report, errors=errors, files=files)
    return msgspec.structs.replace(report, next_steps=tuple(_next_steps(report, journaling)))


def spent_of(stages: Sequence[StageReport]) -> dict[str, float]:
    """What the calls of these stages took together; whole numbers as ints."""
    return _sum_of(stage.calls.spent for stage in stages)


def executor_errors(stages: Sequence[StageReport]) -> tuple[ErrorReport, ...]:
    """Why calls of an executor did not answer; what became of them, their callers know."""
    return tuple(_errors((), stages, {}))


def waits_of(name: str, limit: GovernorStatistics) -> Iterator[WaitReport]:
    """What the calls of a stage waited for, by what its governor says."""
    if limit.permit_s:
        yield WaitReport("permit", name, limit.permit_s)
    for why, waited_s in limit.closed_s.items():
        yield WaitReport(_CLOSED[why], name, waited_s)


def _stages(roster: Roster, asked: dict[Ref, object]) -> Iterator[StageReport]:
    for name, at in roster.stages.items():
        calls, limit = asked[at], asked[roster.governors[name]]
        if isinstance(calls, StageStatistics):
            yield StageReport(calls, limit if isinstance(limit, GovernorStatistics) else None)


# --- rows ---


def _without(counts: Counts, before: Mapping[Status, int]) -> Counts:
    """What this life has added to the counts of the lives before it."""
    own = {status.value: getattr(counts, status.value) - n for status, n in before.items()}
    return msgspec.structs.replace(counts, rows=counts.rows - sum(before.values()), **own)


def _nodes(plan: Plan, roster: Roster, asked: dict[Ref, object]) -> Iterator[NodeReport]:
    kinds = {node.name: node.kind for node in plan.nodes}
    for name, at in {SOURCE: roster.source, **roster.nodes}.items():
        told = asked[at]
        traffic: Traffic | None = getattr(told, "traffic", None)
        if traffic is None:
            continue
        waiting = asked.get(roster.reorders[name]) if name in roster.reorders else None
        if isinstance(waiting, ReorderStatistics):
            # For those outside, the buffer in front of a sink is a part of it.
            came, here = traffic.came + waiting.buffered, traffic.here + waiting.buffered
            traffic = msgspec.structs.replace(traffic, came=came, here=here)
        yield NodeReport(
            name, kinds.get(name, SOURCE), traffic, getattr(told, "late", 0) if kinds.get(name) == "join" else 0
        )


# --- why ---


def _errors(
    nodes: Sequence[NodeReport], stages: Sequence[StageReport], before: Mapping[tuple[str, str, str], ErrorGroup]
) -> list[ErrorReport]:
    """Rows by what ended them, and calls by what became of them. `before`: rows of earlier lives, by node, outcome and
    error."""
    found = {(node.name, group.what, group.error): group for node in nodes for group in node.traffic.errors}
    errors = [_error(key[0], found.get(key), before.get(key)) for key in sorted({*found, *before})]
    errors += [_error(stage.calls.name, group, None) for stage in stages for group in stage.calls.faults]
    errors.sort(key=lambda error: -error.in_all)
    return errors


def _error(place: str, now: ErrorGroup | None, before: ErrorGroup | None) -> ErrorReport:
    first = before if now is None else now
    if first is None:
        raise InternalError("an error was found in this life or in an earlier one")
    n = now.count if now is not None else 0
    in_all = n + (before.count if before is not None else 0)
    return ErrorReport(place, first.what, first.error, n, in_all, first.row, first.name, first.message, first.attempts)


def _waits(roster: Roster, asked: dict[Ref, object]) -> Iterator[WaitReport]:
    seen: set[Ref] = set()
    for name, at in roster.governors.items():
        limit = asked[at]
        if at not in seen and isinstance(limit, GovernorStatistics):
            seen.add(at)
            yield from waits_of(name, limit)
    for name, at in roster.reorders.items():
        order = asked[at]
        if isinstance(order, ReorderStatistics) and order.waited_s:
            yield WaitReport("order", name, order.waited_s)
    for name, at in roster.nodes.items():
        sink = asked[at]
        if isinstance(sink, SinkStatistics) and sink.waited_s:
            yield WaitReport("sink", name, sink.waited_s)


def _within(elapsed_s: float, waits: Iterable[WaitReport]) -> Iterator[WaitReport]:
    """The actors are asked a little later than the run has ended, and a limit that is shared may be older than the run."""
    for wait in waits:
        yield wait if wait.waited_s <= elapsed_s else msgspec.structs.replace(wait, waited_s=elapsed_s)


# --- where, and what next ---


def _lines(plan: Plan, rows: set[int]) -> dict[int, str]:
    try:
        return lines_in(plan.source(_no_loop), rows) if rows else {}
    except Exception:
        return {}


def _no_loop() -> NoReturn:
    raise InternalError("a source that is only looked at needs no loop")


def _with_records(plan: Plan, quarantine: object, errors: list[ErrorReport]) -> Iterator[ErrorReport]:
    """With the record of each example in the quarantine."""
    known = quarantine.records if isinstance(quarantine, SinkStatistics) else ()
    numbers = {(record.node, record.error, record.name): record.record for record in known}
    for error in errors:
        number = numbers.get((error.place, error.error, error.name))
        if number is None or error.what != Status.QUARANTINED.value or plan.quarantine is None:
            yield error
        else:
            where = connector_name(plan.quarantine)
            yield msgspec.structs.replace(error, record=f"record {number:,} of {where}")


def _next_steps(report: RunReport, journaling: Journaling | None) -> Iterator[str]:
    bad = [error for error in report.errors if error.what == Status.QUARANTINED.value]
    if journaling is None or journaling.commands is None:
        if report.interrupted and not report.spent_by_life:
            yield "without a journal, the next run does all rows again; with one, it goes on where this one ended"
        return
    commands = journaling.commands
    if report.interrupted or report.state is not State.COMPLETED:
        yield commands.resume
    if commands.retry is not None:
        for error in bad[:COMMANDS_SHOWN]:
            yield f"{commands.retry} --error {shlex.quote(error.error)}"
    if bad:
        yield f"{commands.explain} --row {bad[0].row}"


def _sum_of(each: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for spent in each:
        for unit, amount in spent.items():
            total[unit] = total.get(unit, 0.0) + amount
    return _whole(total)


def _whole(spent: dict[str, float]) -> dict[str, float]:
    return {unit: int(amount) if float(amount).is_integer() else amount for unit, amount in spent.items()}
