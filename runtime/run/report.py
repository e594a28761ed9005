"""What a run came to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.actors.protocol import Counts, State

from ..connectors.port import Written
from ..graph.plan import SOURCE
from .layout import VALUE_CHARS, Line, as_html, as_text, terminal_width
from .report_parts import (
    ErrorReport,
    NodeReport,
    StageReport,
    WaitReport,
    error_lines,
    node_lines,
    stage_lines,
    wait_lines,
)

_PLAIN = (SOURCE, "map", "sink")
_OUTCOMES = ("delivered", "dropped", "quarantined", "failed", "interrupted")


class RunReport(msgspec.Struct, frozen=True):
    """What a run came to, or, from `Run.stats()`, has come to so far. Rows by outcome add up to `rows`.

    With a journal, rows are those of all lives of the run; calls, times and waits are those of this life.

    Args:
        name: The name of the pipeline.
        state: How the run stands, or ended.
        rows: How many rows the source gave.
        delivered: How many rows the sinks have written.
        dropped: How many rows a filter or a route has let go; of an executor, calls that their callers have cancelled.
        quarantined: How many rows could not be done, and are in quarantine.
        failed: How many rows ended with the error that failed the run; of an executor, calls that ended with an error.
        interrupted: How many rows have no outcome, since the run ended before.
        calls: How many calls were made.
        refusals: How many calls the other side has refused.
        cooldowns: How often a limit let no call go after a refusal.
        elapsed_s: Seconds since the run began, until its end.
        stages: Each stage by itself, with how long its calls took.
        nodes: Each node by itself.
        notes: What else there is to say.
        files: What was done to each output, once the run has ended.
        spent: What the calls say that they took, by unit (`current_call().spent(tokens=...)`), retries included.
        spent_by_life: Of a run that goes on with a journal: the same of each of its lives, this one last. A journal that an
            older Headrace has begun says nothing of its first lives.
        spent_in_all: What the calls of all lives took together, by unit.
        errors: Why rows ended and calls failed, the most frequent first, each with an example.
        waits: What rows waited for, and how long.
        life: Which life of the run this is, from 1.
        this_life: Rows of this life alone, where it is not the first.
        expected: How many rows the source will have given in all, where it can tell; of a file, by its bytes, so about.
        next_steps: Commands, or words, that go on from here: resume, retry, explain.

    Examples:
        >>> report = Pipeline("shout").source(["Lund", "Oslo"]).map(str.upper).sink(print).run()
        LUND
        OSLO
        >>> print(report)
        shout: completed in ... s
          rows                 2
            delivered          2
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
    spent: dict[str, float] = {}
    spent_by_life: tuple[dict[str, float], ...] = ()
    spent_in_all: dict[str, float] = {}
    errors: tuple[ErrorReport, ...] = ()
    waits: tuple[WaitReport, ...] = ()
    life: int = 1
    this_life: Counts | None = None
    expected: int | None = None
    next_steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text(terminal_width())

    def text(self, width: int = 100) -> str:
        """The report for people. Nothing in it is obeyed by a terminal, whatever rows and errors hold.

        Args:
            width: How many characters a line has at most, but for what cannot be broken, such as a path.
        """
        return as_text(self._lines(), width)

    def _repr_html_(self) -> str:
        """For notebooks: a table, in which everything is escaped."""
        return as_html(self._lines())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, for `json.dumps` and the like."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def _lines(self) -> Iterator[Line]:
        yield Line(0, f"{self.name}: {self.state.value} in {self.elapsed_s:.2f} s")
        yield from self._row_lines()
        yield from error_lines(self.errors)
        for stage in self.stages:
            yield from stage_lines(stage, self.elapsed_s)
        yield from wait_lines(self.waits, self.elapsed_s)
        if any(len(node.traffic.ways) > 1 or node.kind not in _PLAIN for node in self.nodes):
            yield from node_lines(self.nodes)
        for told in self.files:
            yield Line(1, str(told))
        # Notes quote errors, which quote rows.
        for note in self.notes:
            yield Line(1, f"note: {note}")
        if self.next_steps:
            yield Line(1, "next")
        for step in self.next_steps:
            yield Line(2, step, whole=True)

    def _row_lines(self) -> Iterator[Line]:
        mine, nth = self.this_life, f"in this life, which is number {self.life}"
        yield Line(1, "rows", f"{self.rows:,}", f"{mine.rows:,} {nth}" if mine is not None else "")
        for status in _OUTCOMES:
            n = getattr(self, status)
            if n or status == "delivered":
                own = getattr(mine, status) if mine is not None else n
                yield Line(2, status, f"{n:,}", f"{own:,} in this life" if own != n else "")
        if self.rows and self.quarantined == self.rows:
            yield Line(1, f"all {self.rows:,} rows are in quarantine: none could be read, or none could be done")
        for unit in {**self.spent, **self.spent_in_all}:
            spent = f"{self.spent.get(unit, 0):,}".rjust(VALUE_CHARS)
            in_all = f"{self.spent_in_all[unit]:,} in {len(self.spent_by_life)} lives" if self.spent_in_all else ""
            yield Line(1, "spent", f"{spent} {unit}", in_all)
