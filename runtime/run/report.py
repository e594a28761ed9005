"""What a run came to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.actors.actor import Ref
from headrace.actors.governor import GovernorStatistics
from headrace.actors.protocol import Counts, State, Traffic
from headrace.actors.reorder import ReorderStatistics
from headrace.actors.stages.terms import StageStatistics

from ..connectors.port import Written
from ..graph.plan import SOURCE
from ..text import visible
from .roster import Roster

if TYPE_CHECKING:
    from ..graph.plan import Plan

Ask = Callable[[Sequence[Any]], Sequence[Any]]
_PLAIN = (SOURCE, "map", "sink")


class StageReport(msgspec.Struct, frozen=True):
    """One stage of a run.

    Args:
        calls: What its calls came to.
        limit: What its governor counted.
    """

    calls: StageStatistics
    limit: GovernorStatistics | None


class NodeReport(msgspec.Struct, frozen=True):
    """One node of the graph: what came, what became of it, and which way the rest went.

    Args:
        name: The node's name.
        kind: What kind of node it is.
        traffic: Its rows by what became of them. Those that are `here` are under way, or, when the run is over,
            interrupted.
        late: How many parts came to a join after its word on their row.
    """

    name: str
    kind: str
    traffic: Traffic
    late: int = 0


class RunReport(msgspec.Struct, frozen=True):
    """What a run came to, or, from `Run.stats()`, has come to so far. Rows by outcome add up to `rows`.

    Args:
        name: The name of the pipeline.
        state: How the run stands, or ended.
        rows: How many rows the source gave.
        delivered: How many rows the sinks have written.
        dropped: How many rows a filter or a route has let go.
        quarantined: How many rows could not be done, and are in quarantine.
        failed: How many rows ended with the error that failed the run.
        interrupted: How many rows have no outcome, since the run ended before.
        calls: How many calls were made.
        refusals: How many calls the other side has refused.
        cooldowns: How often a limit let no call go after a refusal.
        elapsed_s: Seconds since the run began, until its end.
        stages: Each stage by itself.
        nodes: Each node by itself.
        notes: What else there is to say.
        files: What was done to each output, once the run has ended.
        spent: What the calls say that they took, by unit (`current_call().spent(tokens=...)`), retries included.
        spent_by_life: Of a run that goes on with a journal: the same of each of its lives, this one last. A journal that an
            older Headrace has begun says nothing of its first lives.
        spent_in_all: What the calls of all lives took together, by unit.

    Examples:
        >>> report = Pipeline("shout").source(["Lund", "Oslo"]).map(str.upper).sink(print).run()
        LUND
        OSLO
        >>> print(report)
        shout: completed in ... s
          rows                2
            delivered         2
          stage upper
          ...
    """

    name: str
    state: State
    rows: int
    delivered: int
    dropped: int
    quarantined: int
    failed: int
    interrupted: int
    calls: int
    refusals: int
    cooldowns: int
    elapsed_s: float
    stages: tuple[StageReport, ...] = ()
    nodes: tuple[NodeReport, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[Written, ...] = ()
    """What was done to each output, once the run has ended."""
    spent: dict[str, float] = {}
    """What the calls say that they took, by unit (`current_call().spent(tokens=...)`), retries included."""
    spent_by_life: tuple[dict[str, float], ...] = ()
    """Of a run that goes on with a journal: the same of each of its lives, this one last. What a Headrace of before has
    kept says nothing of it."""
    spent_in_all: dict[str, float] = {}
    """What the calls of all lives took together, by unit."""

    def __str__(self) -> str:
        lines = [
            f"{visible(self.name)}: {self.state.value} in {self.elapsed_s:.2f} s",
            f"  rows        {self.rows:>9,}",
        ]
        for status in ("delivered", "dropped", "quarantined", "failed", "interrupted"):
            n = getattr(self, status)
            if n or status == "delivered":
                lines.append(f"    {status:<12}{n:>7,}")
        if self.rows and self.quarantined == self.rows:
            lines.append(f"  all {self.rows:,} rows are in quarantine: none could be read, or none could be done")
        for unit in {**self.spent, **self.spent_in_all}:
            lines.append(f"  spent       {self.spent.get(unit, 0):>9,} {visible(unit)}")
            if self.spent_in_all:
                lines[-1] += f"   ({self.spent_in_all[unit]:,} in {len(self.spent_by_life)} lives)"
        for stage in self.stages:
            lines.extend(_stage_lines(stage, self.elapsed_s))
        if any(len(node.traffic.ways) > 1 or node.kind not in _PLAIN for node in self.nodes):
            lines.extend(_node_lines(self.nodes))
        lines.extend(f"  {visible(str(told))}" for told in self.files)
        # Notes quote errors, which quote rows.
        lines.extend(f"  note: {visible(note)}" for note in self.notes)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, for `json.dumps` and the like."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def report_of(
    plan: Plan,
    roster: Roster,
    ask: Ask,
    state: State,
    counts: Counts,
    elapsed_s: float,
    notes: tuple[str, ...] = (),
    spent_before: tuple[dict[str, float], ...] = (),
) -> RunReport:
    """The report of these counts, with what each actor says of itself to `ask`. `spent_before`: in each earlier life."""
    limits = roster.governors
    whom = list(dict.fromkeys([roster.source, *roster.nodes.values(), *roster.reorders.values(), *limits.values()]))
    asked: dict[Ref, object] = dict(zip(whom, ask(whom), strict=True))
    stages = tuple(
        StageReport(calls, limit if isinstance(limit, GovernorStatistics) else None)
        for name, at in roster.stages.items()
        if isinstance(calls := asked[at], StageStatistics)
        for limit in [asked[limits[name]]]
    )
    # Stages that share a limit have the same statistics of it.
    governors = [g for g in (asked[at] for at in dict.fromkeys(limits.values())) if isinstance(g, GovernorStatistics)]
    spent = spent_of(stages)
    by_life = (*(_whole(of_life) for of_life in spent_before), spent) if spent_before else ()
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
        nodes=tuple(_nodes(plan, roster, asked)),
        notes=notes,
        spent=spent,
        spent_by_life=by_life,
        spent_in_all=_sum_of(by_life),
    )


def spent_of(stages: Sequence[StageReport]) -> dict[str, float]:
    """What the calls of these stages took together; whole numbers as ints."""
    return _sum_of(stage.calls.spent for stage in stages)


def _sum_of(each: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for spent in each:
        for unit, amount in spent.items():
            total[unit] = total.get(unit, 0.0) + amount
    return _whole(total)


def _whole(spent: dict[str, float]) -> dict[str, float]:
    return {unit: int(amount) if float(amount).is_integer() else amount for unit, amount in spent.items()}


def _nodes(plan: Plan, roster: Roster, asked: dict[Ref, object]) -> Iterator[NodeReport]:
    kinds = {node.name: node.kind for node in plan.nodes}
    for name, at in {SOURCE: roster.source, **roster.nodes}.items():
        told = asked[at]
        traffic = getattr(told, "traffic", None)
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


def _stage_lines(stage: StageReport, elapsed_s: float) -> list[str]:
    calls, limit = stage.calls, stage.limit
    per_row = calls.calls / calls.rows if calls.rows else 0.0
    rate = calls.answered / elapsed_s if elapsed_s else 0.0
    lines = [
        f"  stage {visible(calls.name)}",
        f"    calls       {calls.calls:>9,}   ({per_row:.2f} a row; {rate:,.1f} answers/s)",
        f"    in flight   {calls.in_flight_max:>9,}   (at most)",
        f"    retries     {calls.retries:>9,}   (unknown fates {calls.unknown:,}, late answers {calls.late:,})",
        f"    refusals    {calls.refusals:>9,}   ({calls.refusals / calls.calls if calls.calls else 0.0:.2%} of the calls)",
    ]
    if calls.turned_away:
        found = f"the account was exhausted {limit.shut:,} times" if limit is not None else "the account was exhausted"
        lines.append(f"    turned away {calls.turned_away:>9,}   ({found})")
    if limit is not None:
        learned = f"; learned {limit.learned_per_s:,.1f}/s" if limit.learned_per_s else ""
        lines.append(
            f"    cooldowns   {limit.cooldowns:>9,}   ({limit.cooled_s:.2f} s closed; outages {limit.outages}{learned})"
        )
    return lines


def _node_lines(nodes: tuple[NodeReport, ...]) -> list[str]:
    """What came to each node, and what became of it."""
    lines = ["  by node"]
    names = [visible(node.name) for node in nodes]
    width = max(map(len, names))
    for name, node in zip(names, nodes, strict=True):
        traffic = node.traffic
        told = [
            f"{n:,} to {visible(way) or 'go on'}" if len(traffic.ways) > 1 else f"{n:,} went on"
            for way, n in traffic.ways.items()
        ]
        for what in ("delivered", "dropped", "quarantined", "failed", "interrupted", "merged", "split", "batched"):
            n = getattr(traffic, what)
            told += [f"{n:,} {what}"] if n else []
        told += [f"{traffic.here:,} here"] if traffic.here else []
        told += [f"{node.late:,} came late"] if node.late else []
        lines.append(f"    {name:<{width}}  {traffic.came:>9,} came: {', '.join(told)}")
    return lines
